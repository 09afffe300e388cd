"""Files that are claimed once and never used twice, whoever dies when: a directory of secrets.

A file ends with the BLAKE2b-256 of all before. Its name says what state it is in:

    ID.KIND.part       being written, under a lock; what a dead process left is removed
    ID.KIND            ready
    ID.KIND.claimed    taken by one process, under a lock; what a dead process left is removed

Writing goes  write -> fsync -> rename -> fsync of the directory.
Claiming goes  lock -> rename -> fsync of the directory -> check and load -> unlink -> use.  So nothing secret
is read before the name is gone for good, whatever crashes when: it may be lost, never used twice.

This holds for the files that this program moves. A directory that is copied, or restored from a backup, holds
its files a second time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ..base.errors import BadInput

ID = 16
DIGEST = 32
BUFFER = 4 << 20
PART, CLAIMED = ".part", ".claimed"

T = TypeVar("T")


class Once:
    """The files of one kind in ``path``, which need not exist until something is written.

    Args:
        what: is in them, for messages.

    Raises:
        BadInput: the directory can be read by other users, or not by this one.
    """

    def __init__(self, path: Path, kind: str, what: str) -> None:
        self.path = path
        self._kind = kind
        self._what = what
        with self.faults("read"):
            if path.is_dir():
                self._private()
                self._sweep()

    def __repr__(self) -> str:
        return f"Once({self.path}, {self._kind})"

    def entries(self) -> list[tuple[int, Path]]:
        """(time in ns, path) of what is ready, newest first."""
        return sorted(self._entries(f".{self._kind}"), reverse=True)

    def ready(self, id: bytes) -> Path:
        """Where the file of this id is while nobody has claimed it."""
        if len(id) != ID:
            raise ValueError(f"an id has {ID} bytes, not {len(id)}")
        return self.path / f"{id.hex()}.{self._kind}"

    def discard(self, id: bytes) -> None:
        """Nobody will use it, unless somebody has claimed it already."""
        with contextlib.suppress(FileNotFoundError), self.faults("removed"):
            os.unlink(self.ready(id))

    def create(self) -> None:
        """Make the directory where it is missing. BadInput where nothing can be written to it."""
        with self.faults("written"):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._private()
            if not os.access(self.path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def draft(self, id: bytes, pieces: Iterable[bytes | memoryview]) -> Draft:
        """Write all of it under a name that nothing claims; see `Draft.publish`. BadInput where it fails."""
        self.create()
        with self.faults("written"):
            draft = Draft(self, self.ready(id))
            try:
                _write(draft.fd, pieces)
            except BaseException:
                draft.drop()
                raise
        return draft

    def claim(self, id: bytes, check: Callable[[FileIO], object], load: Callable[[FileIO], T]) -> T | None:
        """What ``load`` makes of the file, which is gone then and whole; None where there is none.

        ``check`` is given it before, to look at what is not secret, and may raise: it stays where it is then.
        Raises ValueError for a damaged file, OSError, and what both raise.
        """
        ready = self.ready(id)
        claimed = ready.with_name(ready.name + CLAIMED)
        try:
            with opened(ready) as file:
                check(file)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.rename(ready, claimed)
                try:
                    self.sync()
                    return _whole(file, load)
                finally:
                    os.unlink(claimed)
        except (BlockingIOError, FileNotFoundError):
            return None  # another process was faster

    def sync(self) -> None:
        """Make renames durable."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def faults(self, done: str) -> Iterator[None]:
        """BadInput for what the system refuses."""
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            raise BadInput(f"{self.path}: {self._what} cannot be {done}: {why}") from None

    def _entries(self, suffix: str) -> Iterator[tuple[int, Path]]:
        """(time, path) of files named by an id and ``suffix``."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                id = entry.name[: 2 * ID]
                if entry.name[2 * ID :] == suffix and set(id) <= set("0123456789abcdef"):
                    with contextlib.suppress(FileNotFoundError):
                        yield entry.stat(follow_symlinks=False).st_mtime_ns, Path(entry.path)

    def _private(self) -> None:
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & 0o077:
            raise BadInput(
                f"{self.path}: open to other users (mode {mode:o}); {self._what} is secret: chmod 700"
            )

    def _sweep(self) -> None:
        """Remove what processes left that are no more: nobody holds the lock of such a file."""
        for suffix in (PART, CLAIMED):
            for _, path in self._entries(f".{self._kind}{suffix}"):
                with contextlib.suppress(OSError), opened(path) as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)


class Draft:
    """What is whole on disk but nothing claims yet. Dropped on exit unless published."""

    def __init__(self, once: Once, ready: Path) -> None:
        self._once = once
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
        with self._once.faults("written"):
            os.rename(self._part, self._ready)
            self._once.sync()
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


def opened(path: Path) -> FileIO:
    """To read; no link is followed."""
    return FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


def owned(file: FileIO) -> int:
    """Its size, digest included. ValueError where it is not its owner's alone."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
        raise ValueError("other users can read it")
    return status.st_size


def _write(fd: int, pieces: Iterable[bytes | memoryview]) -> None:
    state, waiting = hashlib.blake2b(digest_size=DIGEST), bytearray()
    for piece in pieces:
        state.update(piece)
        waiting.extend(piece)
        if len(waiting) >= BUFFER:
            _write_all(fd, waiting)
    waiting.extend(state.digest())
    _write_all(fd, waiting)
    os.fsync(fd)


def _write_all(fd: int, waiting: bytearray) -> None:
    with memoryview(waiting) as view:
        at = 0
        while at < len(view):
            at += os.write(fd, view[at:])
    waiting.clear()


def _whole(file: FileIO, load: Callable[[FileIO], T]) -> T:
    """What ``load`` makes of it, from its beginning. ValueError where it is not what was written."""
    file.seek(0)
    state, left = hashlib.blake2b(digest_size=DIGEST), owned(file) - DIGEST
    while left > 0:
        piece = file.read(min(left, BUFFER))
        if not piece:
            raise ValueError("damaged, it is cut short")
        state.update(piece)
        left -= len(piece)
    if file.read(DIGEST) != state.digest():
        raise ValueError("damaged, its checksum does not match")
    file.seek(0)
    return load(file)
