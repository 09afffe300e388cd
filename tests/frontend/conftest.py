from __future__ import annotations

import pytest


@pytest.fixture
def a_weight_enters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes are read as if a weight entered them, so that no ONNX Runtime at the client computes them."""
    monkeypatch.setattr("ppc.frontend.read.reader.left_to_client", lambda *arguments: None)
