"""The heap of the C library: what is let go, the system gets back. Others than glibc stay as they are."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of malloc.h."""

ALONE = 1 << 16
"""Bytes of a block that is mapped by itself, and unmapped as soon as it is free."""


def give_back() -> None:
    """Return what is free now, which glibc keeps for a thread that may never come."""
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def give_back_always() -> None:
    """From now on, in the whole process, return blocks of `ALONE` bytes or more as soon as they are free.

    Else glibc learns from the first large block that is freed to take such from its heaps, of which each
    thread has one, and a heap that anything is left in stays as large as it was.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_MMAP_THRESHOLD, ALONE)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * ALONE)
