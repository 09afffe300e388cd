"""Prepared offline material on disk: one file an inference at each side, claimed once, never used twice.

A file is a header (what it belongs to, and the sizes of what follows), the skeleton and the arrays of
`flatten`; `once` says how it is written, claimed and gone. It is published when the peer says that it has
written its own too. Only the header of a ready file is read, to see whether it belongs to the plan at hand.

A store that is copied, or restored from a backup, holds material a second time; it is used a second time only
if the peer's is restored as well.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from math import inf
from pathlib import Path
from typing import NamedTuple

from ..party.role import SERVER, Role
from ..plan.file import Plan, Weights, weights_digest
from .flatten import Many, decode, encode, payload_size, rebuild
from .held import Held
from .once import DIGEST, ID, Draft, Once, opened, owned

MAGIC = b"PPCMADE1"
HEAD = struct.Struct(f"<8s8s32s32s32s{ID}sQQ")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Binding:
    """What material belongs to. ``weights`` is zero at the client, who does not know them."""

    role: Role
    plan: bytes
    parameters: bytes
    weights: bytes

    @staticmethod
    def of(plan: Plan, parameters: bytes, weights: Weights | None) -> Binding:
        """Of the server where ``weights`` are given; ``parameters`` as the handshake compares them."""
        held = bytes(DIGEST) if weights is None else weights_digest(plan, weights)
        return Binding(Role.CLIENT if weights is None else SERVER, bytes.fromhex(plan.hash), parameters, held)


class _Head(NamedTuple):
    magic: bytes
    role: bytes
    plan: bytes
    parameters: bytes
    weights: bytes
    id: bytes
    skeleton: int
    payload: int

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return HEAD.size + self.skeleton + self.payload + DIGEST


class _OtherLength(ValueError):
    """Material of the same plan for prompts of another length, which stays where it is."""


class Store:
    """A directory of material for one plan at one role. It need not exist until something is written.

    ``others`` make the bindings of all the plan's lengths, by their hashes: their material lies here too.
    Every file that is passed over is logged once, with the reason.

    Raises:
        BadInput: the directory can be read by other users, or not by this one.
    """

    def __init__(
        self, path: Path, binding: Binding, others: Mapping[bytes, Callable[[], Binding]] | None = None
    ) -> None:
        self.path = path
        self.binding = binding
        self._others = others or {}
        self.elsewhere = 0
        """How many files of other lengths `ids` has met."""
        self._said: dict[str, str] = {}
        self._once = Once(path, binding.role.value, "prepared material")

    def __repr__(self) -> str:
        return f"Store({self.path}, {self.binding.role.value})"

    def of(self, plan: Plan) -> Store:
        """The material for another length of the same plan; this store for its own."""
        length = bytes.fromhex(plan.hash)
        if length == self.binding.plan:
            return self
        return Store(self.path, self._others[length](), self._others)

    def ids(self, limit: int) -> list[bytes]:
        """Ready files that belong here, newest first, at most ``limit``."""
        ready: list[bytes] = []
        wrong: dict[str, str] = {}
        self.elsewhere = 0
        for _, path in self._once.entries():
            if len(ready) == limit:
                break
            try:
                with opened(path) as file:
                    ready.append(self._head(file, bytes.fromhex(path.stem)).id)
            except FileNotFoundError:  # claimed since the listing
                continue
            except _OtherLength:
                self.elsewhere += 1
            except (ValueError, OSError) as error:
                wrong[path.name] = str(error)
        self._pass_over(wrong)
        return ready

    def named(self) -> list[bytes]:
        """Ids of all that lies here for this role, of whatever length, newest first."""
        return [bytes.fromhex(path.stem) for _, path in self._once.entries()]

    def discard(self, id: bytes) -> None:
        """Nobody will use it, unless somebody has claimed it already."""
        self._once.discard(id)

    def create(self) -> None:
        """Make the directory where it is missing. BadInput where nothing can be written to it."""
        self._once.create()

    def draft(self, id: bytes, made: Held) -> Draft:
        """Write material out in full under a name that nothing claims; see `Draft.publish`."""
        return self._once.draft(id, self._pieces(id, made))

    def claim(self, id: bytes, memory: float = inf) -> Held | None:
        """Take the material ``id`` for good; None where it is not there, not whole or not ours.

        The caller alone holds what is returned; the file is gone.
        """
        try:  # what belongs to another plan stays where it is
            return self._once.claim(
                id, lambda file: self._head(file, id), lambda file: self._load(file, id, memory)
            )
        except _OtherLength:
            return None  # the peer means another length
        except (ValueError, OSError) as error:
            self._pass_over({self._once.ready(id).name: str(error)})
            return None

    def _head(self, file: FileIO, id: bytes) -> _Head:
        """Read and check the header; ValueError says what is wrong with the file."""
        size = owned(file)
        raw = file.read(HEAD.size)
        if len(raw) < HEAD.size or raw[: len(MAGIC)] != MAGIC:
            raise ValueError("not prepared material of this version")
        head, here = _Head(*HEAD.unpack(raw)), self.binding
        if head.plan != here.plan and head.plan in self._others:
            raise _OtherLength
        for got, want, what in (
            (head.role.rstrip(b"\0"), here.role.value.encode(), "of the other role"),
            (head.plan, here.plan, "of another plan"),
            (head.parameters, here.parameters, "of other parameters, --check-ot among them"),
            (head.weights, here.weights, "of other weights"),
            (head.id, id, "of another id"),
        ):
            if got != want:
                raise ValueError(what)
        if head.size != size:
            raise ValueError(f"damaged, {size} bytes where {head.size} belong")
        return head

    def _load(self, file: FileIO, id: bytes, memory: float) -> Held:
        head = self._head(file, id)
        skeleton = decode(file.read(head.skeleton))
        if payload_size(skeleton) != head.payload:
            raise ValueError("damaged, its arrays have another size")
        if not isinstance(skeleton, Many):
            raise ValueError("damaged, it holds no list of material")
        made = Held(memory)
        for each in skeleton.items:
            made.put(rebuild(each, lambda view: _fill(file, view)))
        return made

    def _pieces(self, id: bytes, made: Held) -> Iterator[bytes | memoryview]:
        """A file, but for its digest."""
        skeleton = Many(False, tuple(made.skeletons()))
        text, here = encode(skeleton), self.binding
        yield HEAD.pack(
            MAGIC, here.role.value.encode(), here.plan, here.parameters, here.weights, id,
            len(text), payload_size(skeleton),
        )  # fmt: skip
        yield text
        yield from made.pieces()

    def _pass_over(self, wrong: dict[str, str]) -> None:
        """Say once of each file what is wrong with it, those with the same fault in one line."""
        new = {name: why for name, why in wrong.items() if self._said.get(name) != why}
        self._said |= new
        for why in dict.fromkeys(new.values()):
            names = [name for name in new if new[name] == why]
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            log.warning("%s%s: passed over: %s", self.path / names[0], others, why)


def _fill(file: FileIO, view: memoryview) -> None:
    at = 0
    while at < len(view):
        got = file.readinto(view[at:])
        if not got:
            raise ValueError("damaged, it is cut short")
        at += got
