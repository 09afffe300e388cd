"""Offline material as a typed skeleton and a stream of packed arrays, and back. No pickle, no code.

The skeleton says what the records are, in the order of a walk; arrays follow in that order, each element
in as many bits as the array needs. Only the records named in `KNOWN` can be written or read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from math import prod
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import _ring
from ..base.ring import packed_size
from ..party.role import Role
from ..protocols.all_zero import AllZeroMade
from ..protocols.booleans import AndMade, SelectMade
from ..protocols.cached import CachedMade
from ..protocols.compare import ComparedMade, CompareMade
from ..protocols.matmul import LinearMade, MatmulMade
from ..protocols.maximum import LastMade, MaximumMade
from ..protocols.multiply import MultiplyMade, ScaledMade, SquareMade, SquareSumMade
from ..protocols.one_of_n import OneOfNMade
from ..protocols.random_ot import RandomOt
from ..protocols.spline import SplineMade, SplinePartMade
from ..protocols.truncate import TruncateMade
from ..protocols.within import WithinMade

Array: TypeAlias = "NDArray[np.uint8] | NDArray[np.uint64]"


class Material(Protocol):
    """What the offline half of a protocol leaves: a dataclass of arrays and further material."""

    TAG: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


KNOWN: dict[str, type[Material]] = {
    kind.TAG: kind
    for kind in (
        AllZeroMade, AndMade, CachedMade, CompareMade, ComparedMade, OneOfNMade, LastMade, LinearMade,
        MatmulMade, MaximumMade, MultiplyMade, RandomOt, ScaledMade, SelectMade, SplineMade, SplinePartMade,
        SquareMade, SquareSumMade, TruncateMade, WithinMade,
    )
}  # fmt: skip
"""Every record that an offline half may leave for the online half, by the tag that its protocol gave it."""

CHUNK = 1 << 20
"""Elements packed at a time: a multiple of 8, so that every chunk begins at a byte."""

SURE = 64
"""Of this many uniform elements one needs every bit of its ring, but for one time in 2^64."""


class Packed(msgspec.Struct, frozen=True, array_like=True, tag=0, forbid_unknown_fields=True):
    """An array: the type of its elements in memory, the bits of each on disk, its shape."""

    kind: Literal["u1", "u8"]
    bits: int
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return packed_size(self.count, self.bits)

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8 * int(self.kind[1]) or any(d < 0 for d in self.shape):
            raise ValueError(f"an array of shape {self.shape} in {self.bits} bits of {self.kind}")


class Record(msgspec.Struct, frozen=True, array_like=True, tag=1, forbid_unknown_fields=True):
    tag: str
    fields: tuple[Node, ...]


class Many(msgspec.Struct, frozen=True, array_like=True, tag=2, forbid_unknown_fields=True):
    """A list, or with ``fixed`` a tuple."""

    fixed: bool
    items: tuple[Node, ...]


class Speaker(msgspec.Struct, frozen=True, array_like=True, tag=3, forbid_unknown_fields=True):
    role: Literal["server", "client"]


Node: TypeAlias = Packed | Record | Many | Speaker | int | None

_DECODER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Node)


def flatten(made: object) -> tuple[Node, list[Array]]:
    """The skeleton of ``made`` and its arrays, in order. TypeError names a type that is not known."""
    arrays: list[Array] = []
    return _flatten(made, arrays), arrays


def _flatten(made: object, arrays: list[Array]) -> Node:
    match made:
        case None:
            return None
        case Role():
            return Speaker("server" if made is Role.SERVER else "client")
        case int():
            return int(made)
        case np.ndarray():
            arrays.append(made)
            return _described(made)
        case list() | tuple():
            return Many(isinstance(made, tuple), tuple(_flatten(each, arrays) for each in made))
    kind = KNOWN.get(getattr(made, "TAG", ""))
    if kind is None or not isinstance(made, kind):
        name = type(made).__name__
        raise TypeError(f"{name} is no offline material that can be stored; add it to session/flatten.py")
    if isinstance(made, OneOfNMade):
        made = made.stored()
    return Record(kind.TAG, tuple(_flatten(getattr(made, f.name), arrays) for f in fields(kind)))


def _described(x: Array) -> Packed:
    """Small arrays keep whole words, so that a file's size tells nothing of what is in them."""
    if x.dtype not in (np.uint8, np.uint64):
        raise TypeError(f"material of {x.dtype}; only uint8 and uint64 can be stored")
    whole = 8 * x.itemsize
    bits = max(1, int(x.max()).bit_length()) if x.size >= SURE else whole
    return Packed("u1" if x.itemsize == 1 else "u8", bits, x.shape)


def encode(skeleton: Node) -> bytes:
    return msgspec.msgpack.encode(skeleton)


def decode(data: bytes) -> Node:
    """The inverse of `encode`; ValueError for anything else."""
    try:
        skeleton: Node = _DECODER.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"not a skeleton of offline material: {error}") from None
    return skeleton


def payload_size(skeleton: Node) -> int:
    """Bytes that all arrays of ``skeleton`` take together."""
    match skeleton:
        case Packed():
            return skeleton.size
        case Record():
            return sum(payload_size(each) for each in skeleton.fields)
        case Many():
            return sum(payload_size(each) for each in skeleton.items)
    return 0


def packed(x: Array) -> Iterator[memoryview]:
    """The elements of an array in `_described` bits each, piece by piece."""
    about, flat = _described(x), x.reshape(-1)
    for at in range(0, about.count, CHUNK):
        piece = flat[at : at + CHUNK]
        if about.bits == 8 * x.itemsize:
            yield np.ascontiguousarray(piece).data.cast("B")
        else:
            yield _ring.pack(np.ascontiguousarray(piece, np.uint64), about.bits).data


def rebuild(skeleton: Node, read: Callable[[memoryview], None]) -> object:
    """Material from its skeleton; ``read`` fills a buffer with the next bytes of the payload.

    Raises ValueError for a record that is unknown or has other fields.
    """
    match skeleton:
        case Packed():
            return _unpacked(skeleton, read)
        case Many():
            items = [rebuild(each, read) for each in skeleton.items]
            return tuple(items) if skeleton.fixed else items
        case Speaker():
            return Role(skeleton.role)
        case Record():
            kind = KNOWN.get(skeleton.tag)
            if kind is None or len(fields(kind)) != len(skeleton.fields):
                raise ValueError(f"a record {skeleton.tag!r} of {len(skeleton.fields)} fields")
            return kind(*(rebuild(each, read) for each in skeleton.fields))
    return skeleton


def _unpacked(about: Packed, read: Callable[[memoryview], None]) -> Array:
    dtype = np.dtype(about.kind)
    out = np.empty(about.count, dtype)
    for at in range(0, about.count, CHUNK):
        piece = out[at : at + CHUNK]
        if about.bits == 8 * dtype.itemsize:
            read(piece.data.cast("B"))
        else:
            raw = np.empty(packed_size(piece.size, about.bits), np.uint8)
            read(raw.data)
            piece[:] = _ring.unpack(raw, about.bits, piece.size)
    return out.reshape(about.shape)
