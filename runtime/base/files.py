"""Files that are written whole or not at all, exactly where they are asked for, and files without a name."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from .errors import BadInput

DISK = "/var/tmp"
"""Where files lie that are too large for a /tmp in memory, unless TMPDIR says otherwise."""


def nameless() -> BinaryIO:
    """A file for what memory has no room for; it is gone when its process is. Raises OSError."""
    return tempfile.TemporaryFile(dir=os.environ.get("TMPDIR", DISK))


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what is to become ``path``: that appears, or replaces what is there, once all is.

    A link goes on pointing where it does, a file keeps its mode; what is no file, a pipe or a device, is
    written to as it is. Raises BadInput with ``path`` where that fails, a full disk included.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with _said(path):
            yield target
        return
    part = target.with_name(f".{uuid4().hex}.part")
    try:
        with _said(path):
            yield part
            if target.exists():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """BadInput where `whole` could not write ``path``: found out before the work, whose result it holds."""
    if path.is_dir():
        raise BadInput(f"{path}: a folder stands where a file is to be written")
    target = Path(os.path.realpath(path))
    for folder in (path.parent, target.parent):
        if not folder.is_dir():
            raise BadInput(f"{path}: there is no folder {folder}")
    with _said(path):
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(f"it may not be changed by user {os.getuid()}")
        if not target.exists() or target.is_file():
            tempfile.TemporaryFile(dir=target.parent).close()


@contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror or error}") from None
