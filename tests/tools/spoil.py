"""Peers that send what they should not."""

from __future__ import annotations

import pytest

from ppc.runtime.he.engine import HeEngine


def spoil_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every upload reaches the server's computation a byte short."""
    real = HeEngine._queue

    def queue(self, product, upload, right, hides):  # type: ignore[no-untyped-def]
        upload[0] = upload[0][:-1]
        return real(self, product, upload, right, hides)

    monkeypatch.setattr(HeEngine, "_queue", queue)
