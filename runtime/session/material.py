"""Prepared offline material on disk: one file an inference at each side, claimed once, never used twice.

A file is a header (what it belongs to, and the sizes of what follows), the skeleton and the arrays of
`flatten`, and the BLAKE2b-256 of all before. Its name says what state it is in:

    ID.ROLE.part       being written, under a lock; what a dead process left is removed
    ID.ROLE            ready
    ID.ROLE.claimed    taken by one process, under a lock; what a dead process left is removed

Writing goes  write -> fsync -> (the peer says that it has written too) -> rename -> fsync of the directory.
Claiming goes  lock -> rename -> fsync of the directory -> check and load -> unlink -> use.  So no byte of
the arrays is read before the name is gone for good, whatever crashes when: material may be lost, never
used twice. Only the header of a ready file is read, to see whether it belongs to the plan at hand.

This holds for the files that this program moves. A store that is copied, or restored from a backup, holds
material a second time; it is used a second time only if the peer's is restored as well.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from math import inf
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from ..base.errors import BadInput
from ..party.role import SERVER, Role
from ..plan.file import Plan, Weights, weights_digest
from .flatten import Many, decode, encode, payload_size, rebuild
from .held import Held

MAGIC = b"PPCMADE1"
ID = 16
DIGEST = 32
HEAD = struct.Struct(f"<8s8s32s32s32s{ID}sQQ")
BUFFER = 4 << 20
PART, CLAIMED = ".part", ".claimed"

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
        with self._faults("read"):
            if path.is_dir():
                self._private()
                self._sweep()

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
        for _, path in sorted(self._entries(f".{self.binding.role.value}"), reverse=True):
            if len(ready) == limit:
                break
            try:
                with _opened(path) as file:
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
        found = sorted(self._entries(f".{self.binding.role.value}"), reverse=True)
        return [bytes.fromhex(path.stem) for _, path in found]

    def discard(self, id: bytes) -> None:
        """Nobody will use it, unless somebody has claimed it already."""
        with contextlib.suppress(FileNotFoundError), self._faults("removed"):
            os.unlink(self._ready(id))

    def create(self) -> None:
        """Make the directory where it is missing. BadInput where nothing can be written to it."""
        with self._faults("written"):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._private()
            if not os.access(self.path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def draft(self, id: bytes, made: Held) -> Draft:
        """Write material out in full under a name that nothing claims; see `Draft.publish`."""
        self.create()
        with self._faults("written"):
            draft = Draft(self, self._ready(id))
            try:
                self._write(draft.fd, id, made)
            except BaseException:
                draft.drop()
                raise
        return draft

    def claim(self, id: bytes, memory: float = inf) -> Held | None:
        """Take the material ``id`` for good; None where it is not there, not whole or not ours.

        The caller alone holds what is returned; the file is gone.
        """
        ready = self._ready(id)
        claimed = ready.with_name(ready.name + CLAIMED)
        try:
            with _opened(ready) as file:
                self._head(file, id)  # what belongs to another plan stays where it is
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.rename(ready, claimed)
                try:
                    self.sync()
                    return self._load(file, id, memory)
                finally:
                    os.unlink(claimed)
        except (BlockingIOError, FileNotFoundError, _OtherLength):
            return None  # another process was faster, or the peer means another length
        except (ValueError, OSError) as error:
            self._pass_over({ready.name: str(error)})
            return None

    def sync(self) -> None:
        """Make renames durable."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _ready(self, id: bytes) -> Path:
        if len(id) != ID:
            raise ValueError(f"an id has {ID} bytes, not {len(id)}")
        return self.path / f"{id.hex()}.{self.binding.role.value}"

    def _entries(self, suffix: str) -> Iterator[tuple[int, Path]]:
        """(time, path) of files named by an id and ``suffix``."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                id = entry.name[: 2 * ID]
                if entry.name[2 * ID :] == suffix and set(id) <= set("0123456789abcdef"):
                    with contextlib.suppress(FileNotFoundError):
                        yield entry.stat(follow_symlinks=False).st_mtime_ns, Path(entry.path)

    def _head(self, file: FileIO, id: bytes) -> _Head:
        """Read and check the header; ValueError says what is wrong with the file."""
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
            raise ValueError("other users can read it")
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
        if head.size != status.st_size:
            raise ValueError(f"damaged, {status.st_size} bytes where {head.size} belong")
        return head

    def _load(self, file: FileIO, id: bytes, memory: float) -> Held:
        file.seek(0)
        head = self._head(file, id)
        file.seek(0)
        state, left = hashlib.blake2b(digest_size=DIGEST), head.size - DIGEST
        while left:
            piece = file.read(min(left, BUFFER))
            if not piece:
                raise ValueError("damaged, it is cut short")
            state.update(piece)
            left -= len(piece)
        if file.read(DIGEST) != state.digest():
            raise ValueError("damaged, its checksum does not match")
        file.seek(HEAD.size)
        skeleton = decode(file.read(head.skeleton))
        if payload_size(skeleton) != head.payload:
            raise ValueError("damaged, its arrays have another size")
        if not isinstance(skeleton, Many):
            raise ValueError("damaged, it holds no list of material")
        made = Held(memory)
        for each in skeleton.items:
            made.put(rebuild(each, lambda view: _fill(file, view)))
        return made

    def _write(self, fd: int, id: bytes, made: Held) -> None:
        skeleton = Many(False, tuple(made.skeletons()))
        text, here = encode(skeleton), self.binding
        state, waiting = hashlib.blake2b(digest_size=DIGEST), bytearray()

        def put(data: bytes | memoryview) -> None:
            state.update(data)
            waiting.extend(data)
            if len(waiting) >= BUFFER:
                _write_all(fd, waiting)

        put(
            HEAD.pack(
                MAGIC, here.role.value.encode(), here.plan, here.parameters, here.weights, id,
                len(text), payload_size(skeleton),
            )
        )  # fmt: skip
        put(text)
        for piece in made.pieces():
            put(piece)
        waiting.extend(state.digest())
        _write_all(fd, waiting)
        os.fsync(fd)

    def _private(self) -> None:
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & 0o077:
            raise BadInput(
                f"{self.path}: open to other users (mode {mode:o}); prepared material is secret: chmod 700"
            )

    def _sweep(self) -> None:
        """Remove what processes of this role left that are no more: nobody holds the lock of such a file."""
        for suffix in (PART, CLAIMED):
            for _, path in self._entries(f".{self.binding.role.value}{suffix}"):
                with contextlib.suppress(OSError), _opened(path) as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)

    def _pass_over(self, wrong: dict[str, str]) -> None:
        """Say once of each file what is wrong with it, those with the same fault in one line."""
        new = {name: why for name, why in wrong.items() if self._said.get(name) != why}
        self._said |= new
        for why in dict.fromkeys(new.values()):
            names = [name for name in new if new[name] == why]
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            log.warning("%s%s: passed over: %s", self.path / names[0], others, why)

    @contextlib.contextmanager
    def _faults(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            raise BadInput(f"{self.path}: prepared material cannot be {done}: {why}") from None


class Draft:
    """Material that is whole on disk but that nothing claims yet. Dropped on exit unless published."""

    def __init__(self, store: Store, ready: Path) -> None:
        self._store = store
        self._ready = ready
        self._part = ready.with_name(ready.name + PART)
        self._open = True
        while True:
            self.fd = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.fd, fcntl.LOCK_EX)
            if os.fstat(self.fd).st_nlink:
                return
            os.close(self.fd)  # swept away between the two calls

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: object, trace: TracebackType | None) -> None:
        self.drop()

    def publish(self) -> None:
        """Give the file the name under which it can be claimed."""
        with self._store._faults("written"):
            os.rename(self._part, self._ready)
            self._store.sync()
        self._close()

    def drop(self) -> None:
        if self._open:
            with contextlib.suppress(OSError):
                os.unlink(self._part)
            self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self.fd)


def _opened(path: Path) -> FileIO:
    return FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


def _write_all(fd: int, waiting: bytearray) -> None:
    with memoryview(waiting) as view:
        at = 0
        while at < len(view):
            at += os.write(fd, view[at:])
    waiting.clear()


def _fill(file: FileIO, view: memoryview) -> None:
    at = 0
    while at < len(view):
        got = file.readinto(view[at:])
        if not got:
            raise ValueError("damaged, it is cut short")
        at += got
