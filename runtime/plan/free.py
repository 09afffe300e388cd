"""Steps that say nothing: a value that one party has enters, or each works on its share alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.errors import BadPlan, RangeFault
from ..base.exact import Factor
from ..base.one_hot import OneHotRows
from ..base.ring import Fixed, Int64, Integers, Ring, Signed, known
from ..base.share import Share
from ..party.party import Party
from .local import Local, Packed, unpacked
from .step import Binary, Form, Plain, Shape, Step, Unary

Number = TypeVar("Number", bound=np.generic)

Encoded = Ring | OneHotRows
"""A value of the client's in its format."""


class Encode(Step, frozen=True, kw_only=True, tag=True):
    """A value that the client computes alone enters the computation: its share is the value."""

    wraps = False
    local: int
    num: Fixed
    shape: Shape

    def locals(self) -> tuple[int, ...]:
        return (self.local,)

    def infer(self) -> Form:
        return Form(self.num, self.shape)

    def encoded(self, local: Local) -> Encoded:
        """The client's ring elements. Raises BadPlan for another shape, RangeFault for what does not fit."""
        if isinstance(local, OneHotRows) and local.shape == self.shape:
            return self._rows(local)
        try:
            value = np.broadcast_to(local, self.shape)
        except ValueError:
            raise BadPlan(
                f"the client's value {self.name!r} has shape {local.shape}, which does not repeat to "
                f"{self.shape}"
            ) from None
        return self._encoded(value)

    def _rows(self, local: OneHotRows) -> OneHotRows:
        """Rows of a look-up, which are not written out."""
        return replace(local, value=int(self.num.signed(self._encoded(1.0))))

    def _encoded(self, value: ArrayLike) -> Ring:
        try:
            return self.num.encode(value)
        except OverflowError as error:
            raise RangeFault(f"the client's value {self.name!r}: {error}") from None

    def online(self, p: Party, out: Form, made: None, encoded: Encoded | None) -> Share:
        def mine() -> Ring:
            assert encoded is not None
            return self.num.wrap(np.asarray(encoded))

        data = p.each(client=mine, server=lambda: np.zeros(self.shape, np.uint64))
        return Share(self.num, self.shape, data)

    def clear(self, local: Local) -> Signed | OneHotRows:
        if isinstance(local, OneHotRows) and local.shape[1:] == self.shape:
            return self._rows(local)
        return np.stack([self.num.signed(np.asarray(self.encoded(each))) for each in np.asarray(local)])


class Weight(Step, frozen=True, kw_only=True, tag=True):
    """A tensor of the server's enters as its share (a bias, a position table)."""

    weight: str
    num: Fixed
    shape: Shape

    def weights(self) -> Mapping[str, Shape]:
        return {self.weight: self.shape}

    def infer(self) -> Form:
        return Form(self.num, self.shape)

    def online(self, p: Party, out: Form, made: None, w: Integers | None) -> Share:
        data = p.each(
            server=lambda: self.num.wrap(known(w)).reshape(self.shape),
            client=lambda: np.zeros(self.shape, np.uint64),
        )
        return Share(self.num, self.shape, data)

    def clear(self, w: Factor) -> Signed:
        return w.ints.astype(np.int64).reshape(1, *self.shape)


class Public(Step, frozen=True, kw_only=True, tag=True):
    """A small constant that both may know."""

    values: tuple[Int64, ...]
    num: Fixed
    shape: Shape

    def infer(self) -> Form:
        if prod(self.shape) != len(self.values):
            raise ValueError(f"{len(self.values)} values for shape {self.shape}")
        return Form(self.num, self.shape)

    def online(self, p: Party, out: Form, made: None) -> Share:
        data = p.each(
            server=lambda: self.num.wrap(self.clear()[0]), client=lambda: np.zeros(self.shape, np.uint64)
        )
        return Share(self.num, self.shape, data)

    def clear(self) -> Signed:
        return np.array(self.values, np.int64).reshape(1, *self.shape)


class Add(Binary, frozen=True, kw_only=True, tag=True):
    """a + b, repeating as numpy does. Free."""

    def infer(self, a: Form, b: Form) -> Form:
        if a.num != b.num:
            raise ValueError(f"cannot add {a.num} and {b.num}")
        return Form(a.num, tuple(np.broadcast_shapes(a.shape, b.shape)))

    def online(self, p: Party, out: Form, made: None, a: Share, b: Share) -> Share:
        return Share(out.num, out.shape, p.both(lambda: out.num.wrap(a.ring + b.ring)))

    def clear(self, a: Plain, b: Plain) -> Signed:
        rank = max(a.data.ndim, b.data.ndim) - 1
        return _of_rank(a.data, rank) + _of_rank(b.data, rank)


def _of_rank(x: NDArray[Number], rank: int) -> NDArray[Number]:
    """Samples of fewer axes, with axes of length 1 in front of their own."""
    return x.reshape(len(x), *(1,) * (rank + 1 - x.ndim), *x.shape[1:])


class TimesInteger(Unary, frozen=True, kw_only=True, tag=True):
    """x times a public integer that stands for factor·2^-scale. Free."""

    factor: Int64
    scale: int = 0

    def infer(self, x: Form) -> Form:
        return Form(Fixed(x.num.bits, x.num.scale + self.scale), x.shape)

    def online(self, p: Party, out: Form, made: None, x: Share) -> Share:
        factor = np.uint64(self.factor % 2**64)
        return x.like(p.both(lambda: out.num.wrap(x.ring * factor)), out.num)

    def clear(self, x: Plain) -> Signed:
        return x.data * self.factor


class TimesPublic(Unary, frozen=True, kw_only=True, tag=True):
    """x times public integers of x's rank, with axes of length 1 along which they repeat; each stands for
    factor·2^-scale. Free."""

    factors: tuple[Int64, ...]
    shape: Shape
    scale: int

    def infer(self, x: Form) -> Form:
        if prod(self.shape) != len(self.factors):
            raise ValueError(f"{len(self.factors)} factors for shape {self.shape}")
        return _scaled(x, self.shape, self.scale)

    def _factors(self) -> Signed:
        return np.array(self.factors, np.int64).reshape(self.shape)

    def online(self, p: Party, out: Form, made: None, x: Share) -> Share:
        return x.like(p.both(lambda: out.num.wrap(x.ring * self._factors().astype(np.uint64))), out.num)

    def clear(self, x: Plain) -> Signed:
        return x.data * self._factors()


class TimesRow(Unary, frozen=True, kw_only=True, tag=True):
    """x times the integers of one row of a public ``table`` (rows, *shape), of x's rank as `TimesPublic`'s:
    the one whose number is that of the rows which earlier programs have kept. Free.

    A rotary embedding turns a new token by that. The factors stand in the plan, since two machines may round
    a cosine in two ways.
    """

    table: Packed
    scale: int

    def counts(self) -> bool:
        return True

    def infer(self, x: Form) -> Form:
        if self.table.kind not in ("i1", "i2", "i4", "i8") or not self.table.shape:
            raise ValueError(f"a table of {self.table.kind} in shape {self.table.shape}")
        return _scaled(x, unpacked(self.table).shape[1:], self.scale)

    def _factors(self, rows: int) -> Signed:
        return np.asarray(unpacked(self.table)[rows], np.int64)

    def online(self, p: Party, out: Form, made: None, x: Share, rows: int) -> Share:
        return x.like(p.both(lambda: out.num.wrap(x.ring * self._factors(rows).astype(np.uint64))), out.num)

    def clear(self, x: Plain, rows: int) -> Signed:
        return x.data * self._factors(rows)


def _scaled(x: Form, shape: Shape, scale: int) -> Form:
    """Of x times factors of that shape. Raises ValueError where they do not repeat to it."""
    if len(shape) != len(x.shape) or any(n not in (1, d) for n, d in zip(shape, x.shape, strict=True)):
        raise ValueError(f"factors of shape {shape} do not repeat to {x.shape}")
    return Form(Fixed(x.num.bits, x.num.scale + scale), x.shape)


class Sum(Unary, frozen=True, kw_only=True, tag=True):
    """The sum over axes, which stay with length 1. Free."""

    axes: tuple[int, ...]

    def infer(self, x: Form) -> Form:
        if any(not 0 <= a < len(x.shape) for a in self.axes):
            raise ValueError(f"axes {self.axes} of shape {x.shape}")
        return Form(x.num, tuple(1 if i in self.axes else d for i, d in enumerate(x.shape)))

    def online(self, p: Party, out: Form, made: None, x: Share) -> Share:
        def mine() -> Ring:
            return out.num.wrap(x.ring.sum(axis=self.axes, dtype=np.uint64, keepdims=True))

        return Share(out.num, out.shape, p.both(mine))

    def clear(self, x: Plain) -> Signed:
        return np.asarray(x.data.sum(axis=tuple(a + 1 for a in self.axes), keepdims=True))


class Layout(Unary, frozen=True, kw_only=True):
    """Moves elements without changing them. Free."""

    wraps = False

    def move(self, x: NDArray[Number]) -> NDArray[Number]:
        """Of samples (samples, *shape), each alike."""
        raise TypeError(f"{type(self).__name__} moves nothing")

    def infer(self, x: Form) -> Form:
        return Form(x.num, self.move(np.broadcast_to(np.int8(0), (1, *x.shape))).shape[1:])

    def online(self, p: Party, out: Form, made: None, x: Share) -> Share:
        return Share(x.num, out.shape, p.both(lambda: np.ascontiguousarray(self.move(x.ring[None])[0])))

    def clear(self, x: Plain) -> Signed:
        return self.move(x.data)


class Reshape(Layout, frozen=True, kw_only=True, tag=True):
    shape: Shape

    def move(self, x: NDArray[Number]) -> NDArray[Number]:
        return x.reshape(len(x), *self.shape)


class Transpose(Layout, frozen=True, kw_only=True, tag=True):
    order: tuple[int, ...]

    def move(self, x: NDArray[Number]) -> NDArray[Number]:
        return x.transpose(0, *(axis + 1 for axis in self.order))


class Broadcast(Layout, frozen=True, kw_only=True, tag=True):
    shape: Shape

    def infer(self, x: Form) -> Form:
        if tuple(np.broadcast_shapes(x.shape, self.shape)) != self.shape:
            raise ValueError(f"shape {x.shape} does not repeat to {self.shape}")
        return Form(x.num, self.shape)

    def move(self, x: NDArray[Number]) -> NDArray[Number]:
        return np.broadcast_to(_of_rank(x, len(self.shape)), (len(x), *self.shape))


class Slice(Layout, frozen=True, kw_only=True, tag=True):
    """(start, stop, step) for every axis."""

    cuts: tuple[tuple[int, int, int], ...]

    def infer(self, x: Form) -> Form:
        ok = len(self.cuts) == len(x.shape) and all(
            0 <= a < b <= d and s > 0 for (a, b, s), d in zip(self.cuts, x.shape, strict=True)
        )
        if not ok:
            raise ValueError(f"cannot cut {self.cuts} out of shape {x.shape}")
        return Form(x.num, tuple(-(-(b - a) // s) for a, b, s in self.cuts))

    def move(self, x: NDArray[Number]) -> NDArray[Number]:
        return x[(slice(None), *(slice(a, b, s) for a, b, s in self.cuts))]


class Take(Layout, frozen=True, kw_only=True, tag=True):
    """The elements at ``places`` of an axis, in that order."""

    axis: int
    places: tuple[int, ...]

    def infer(self, x: Form) -> Form:
        if not 0 <= self.axis < len(x.shape):
            raise ValueError(f"shape {x.shape} has no axis {self.axis}")
        if not self.places or not 0 <= min(self.places) <= max(self.places) < x.shape[self.axis]:
            raise ValueError(f"places beyond axis {self.axis} of shape {x.shape}")
        return Form(x.num, (*x.shape[: self.axis], len(self.places), *x.shape[self.axis + 1 :]))

    def move(self, x: NDArray[Number]) -> NDArray[Number]:
        return np.take(x, self.places, axis=self.axis + 1)


class Concat(Step, frozen=True, kw_only=True, tag=True):
    """Join along an axis. Free."""

    wraps = False
    parts: tuple[int, ...]
    axis: int

    def reads(self) -> tuple[int, ...]:
        return self.parts

    def infer(self, *parts: Form) -> Form:
        if not parts or any(x.num != parts[0].num for x in parts):
            raise ValueError("cannot join values of several formats")
        shape, rank = list(parts[0].shape), len(parts[0].shape)
        if not -rank <= self.axis < rank:
            raise ValueError(f"cannot join values of shape {parts[0].shape} along axis {self.axis}")
        axis = self.axis % rank
        rests = {(x.shape[:axis], x.shape[axis + 1 :], len(x.shape)) for x in parts}
        if len(rests) != 1:
            raise ValueError(
                f"cannot join values of shapes {sorted({x.shape for x in parts})} along axis {axis}"
            )
        shape[axis] = sum(x.shape[axis] for x in parts)
        return Form(parts[0].num, tuple(shape))

    def online(self, p: Party, out: Form, made: None, *parts: Share) -> Share:
        joined = p.both(lambda: np.concatenate([x.ring for x in parts], axis=self.axis))
        return Share(out.num, out.shape, joined)

    def clear(self, *parts: Plain) -> Signed:
        samples = max(len(x.data) for x in parts)
        all_of = [np.broadcast_to(x.data, (samples, *x.data.shape[1:])) for x in parts]
        return np.concatenate(all_of, axis=self.axis + 1 if self.axis >= 0 else self.axis)
