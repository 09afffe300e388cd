from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Threads that wait for each other on a busy machine take longer than small products do, by far."""
    pytest.importorskip("torch").set_num_threads(1)
