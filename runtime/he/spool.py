"""Uploads that wait for their turn: in memory up to a bound, beyond it in a file without a name.

They lie there as they came, encrypted under the client's key.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from ..base.errors import BadInput
from ..base.files import nameless
from ..base.ring import known
from ..base.wire import Buffer


class Spool:
    """Those of one program.

    Args:
        memory: bytes to hold as they are.
    """

    def __init__(self, memory: float) -> None:
        self._left = memory
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None

    def __repr__(self) -> str:
        return "Spool(<encrypted>)"

    def put(self, parts: Sequence[Buffer]) -> Iterator[Buffer]:
        """The parts in order, each let go of once it is taken, by whichever thread. BadInput where the disk
        does not take them."""
        size = sum(memoryview(each).nbytes for each in parts)
        with self._lock:
            fits = size <= self._left
            self._left -= size if fits else 0
        return self._held(list(parts)) if fits else self._read(self._write(parts))

    def _held(self, parts: list[Buffer]) -> Iterator[Buffer]:
        parts.reverse()
        while parts:
            part = parts.pop()
            with self._lock:
                self._left += memoryview(part).nbytes
            yield part

    def _write(self, parts: Sequence[Buffer]) -> list[tuple[int, int]]:
        """Where each of them begins and ends."""
        try:
            if self._file is None:
                self._file = nameless()
            at, places = self._file.seek(0, os.SEEK_END), []
            for each in parts:
                places.append((at, at + self._file.write(each)))
                _, at = places[-1]
            self._file.flush()
        except OSError as error:
            raise BadInput(f"uploads beyond --memory cannot be written: {error}") from None
        return places

    def _read(self, places: list[tuple[int, int]]) -> Iterator[Buffer]:
        file = known(self._file).fileno()
        for start, end in places:
            yield os.pread(file, end - start, start)
