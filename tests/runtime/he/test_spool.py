"""Uploads that wait: in memory as far as there is room, and beyond it on disk."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ppc.runtime.base.errors import BadInput
from ppc.runtime.he.spool import Spool

PARTS = [bytes([i]) * (i + 1) for i in range(4)]
SIZE = sum(map(len, PARTS))


@pytest.mark.parametrize("memory", [0, SIZE - 1, SIZE, 2 * SIZE, float("inf")])
def test_all_comes_back_in_order(memory: float) -> None:
    spool = Spool(memory)
    waiting = [spool.put(PARTS) for _ in range(3)]
    for each in reversed(waiting):
        assert [bytes(part) for part in each] == PARTS


def test_what_is_taken_leaves_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second goes to disk, and the third does not."""
    written = []
    real = Spool._write
    monkeypatch.setattr(
        Spool, "_write", lambda self, parts: (written.append(len(parts)), real(self, parts))[1]
    )
    spool = Spool(SIZE)
    first, second = spool.put(PARTS), spool.put(PARTS)
    assert written == [4]
    list(first)
    third = spool.put(PARTS)
    assert written == [4]
    assert list(second) == list(third) == PARTS


def test_its_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spool = Spool(0)
    waiting = spool.put(PARTS)
    assert not list(tmp_path.iterdir())
    assert list(waiting) == PARTS
    assert "\\x" not in repr(spool)


def test_threads_take_them_side_by_side() -> None:
    spool, found = Spool(0), {}
    waiting = {i: spool.put([bytes([i]) * 1000] * 50) for i in range(8)}

    def take(i: int) -> None:
        found[i] = b"".join(map(bytes, waiting[i]))

    threads = [threading.Thread(target=take, args=(i,)) for i in waiting]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == {i: bytes([i]) * 50_000 for i in range(8)}


def test_a_disk_that_takes_nothing_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ppc.runtime.he.spool.nameless", full)
    with pytest.raises(BadInput, match=r"uploads beyond --memory cannot be written: .*No space left"):
        Spool(0).put(PARTS)
