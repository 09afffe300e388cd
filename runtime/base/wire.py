"""Ring elements as bits on the wire, little-endian, without gaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _ring
from .ring import Ring, as_u64

Buffer = bytes | bytearray | memoryview


def pack(x: Ring, bits: int) -> memoryview:
    """The elements of ``x``, ``bits`` bits each: ceil(size·bits/8) bytes."""
    return _ring.pack(as_u64(x).ravel(), bits).data


def unpack(data: Buffer, bits: int, count: int) -> Ring:
    """The inverse of `pack`; a flat array of ``count`` elements."""
    return _ring.unpack(as_bytes(data), bits, count)


def as_bytes(data: Buffer) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)
