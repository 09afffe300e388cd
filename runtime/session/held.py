"""The offline material of one inference between its two halves: in memory, and beyond a bound on disk.

What is on disk lies in a file without a name, which is gone when its process is, and is encrypted under a key
that only memory holds: AES-128 in counter mode, each step under a counter of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import BinaryIO

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from ..base.errors import BadInput
from ..base.files import nameless
from ..base.prg import SEED_BYTES
from ..base.ring import known
from .flatten import Array, Node, flatten, packed, rebuild


@dataclass(frozen=True)
class _Spilled:
    skeleton: Node
    counter: int
    at: int


class Held:
    """Material by step: put in the order of the plan's steps, and each taken once.

    Args:
        memory: bytes of arrays to hold as they are; of all that come later only the skeleton stays in memory.
    """

    def __init__(self, memory: float = inf) -> None:
        self._left = memory
        self._steps: list[object | _Spilled] = []
        self._file: BinaryIO | None = None
        self._key = os.urandom(SEED_BYTES)

    @staticmethod
    def of(made: Iterable[object]) -> Held:
        """All of it in memory."""
        held = Held()
        held._steps = list(made)
        return held

    def __iter__(self) -> Iterator[object]:
        """What is there, step by step; nothing is taken."""
        return (self._read(made) if isinstance(made, _Spilled) else made for made in self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        return f"Held({len(self)} steps, <secret>)"

    def put(self, made: object) -> None:
        """The next step's. BadInput where the disk does not take it."""
        if self._left == inf:
            self._steps.append(made)
            return
        skeleton, arrays = flatten(made)
        size = sum(each.nbytes for each in arrays)
        if size <= self._left:
            self._left -= size
            self._steps.append(made)
        else:
            self._left = 0
            self._steps.append(self._spill(skeleton, arrays))

    def take(self, index: int) -> object:
        """Step ``index``'s, which is not held any longer."""
        made, self._steps[index] = self._steps[index], None
        return self._read(made) if isinstance(made, _Spilled) else made

    def apart(self, count: int) -> list[Held]:
        """The material of as many inferences, one behind the other; this holds nothing any longer."""
        size, parts = len(self) // count, []
        for at in range(0, len(self), size):
            part = Held.of(self._steps[at : at + size])
            part._file, part._key = self._file, self._key
            parts.append(part)
        self._steps = []
        return parts

    def skeletons(self) -> list[Node]:
        """What is held, without its arrays."""
        return [made.skeleton if isinstance(made, _Spilled) else flatten(made)[0] for made in self._steps]

    def pieces(self) -> Iterator[memoryview]:
        """The arrays of all steps, as `packed` writes them; nothing is taken."""
        for made in self:
            for array in flatten(made)[1]:
                yield from packed(array)

    def _spill(self, skeleton: Node, arrays: list[Array]) -> _Spilled:
        try:
            if self._file is None:
                self._file = nameless()
            spilled = _Spilled(skeleton, len(self._steps), self._file.seek(0, os.SEEK_END))
            cipher = self._cipher(spilled)
            for array in arrays:
                for piece in packed(array):
                    self._file.write(cipher.update(piece))
            self._file.flush()
        except OSError as error:
            raise BadInput(f"offline material beyond --memory cannot be written: {error}") from None
        return spilled

    def _read(self, spilled: _Spilled) -> object:
        file, cipher = known(self._file), self._cipher(spilled)
        file.seek(spilled.at)

        def read(view: memoryview) -> None:
            view[:] = cipher.update(file.read(len(view)))

        return rebuild(spilled.skeleton, read)

    def _cipher(self, spilled: _Spilled) -> CipherContext:
        """Both ways, since the same stream is added; 2^64 blocks lie between the counters of two steps."""
        counter = spilled.counter.to_bytes(8, "big") + bytes(8)
        return Cipher(algorithms.AES(self._key), modes.CTR(counter)).encryptor()
