"""Steps that say nothing: a value that one party has enters, or each works on its share alone."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.errors import BadPlan, RangeFault
from ..base.ring import Fixed, Int64, Ring
from ..base.share import Share
from ..party.party import Party
from .step import Binary, Form, Step, Unary

if TYPE_CHECKING:
    from ..session.executor import Run
    from .step import Clear


class Encode(Step, frozen=True, kw_only=True, tag=True):
    """A value that the client computes alone enters the computation: its share is the value."""

    local: int
    num: Fixed
    shape: tuple[int, ...]

    def infer(self, forms: list[Form]) -> Form:
        return Form(self.num, self.shape)

    def _encoded(self, run: Run) -> Ring:
        local = run.local[self.local]
        try:
            value = np.broadcast_to(local, self.shape)
        except ValueError:
            raise BadPlan(
                f"the client's value {self.name!r} has shape {local.shape}, which does not repeat to "
                f"{self.shape}"
            ) from None
        try:
            return self.num.encode(value)
        except OverflowError as error:
            raise RangeFault(f"the client's value {self.name!r}: {error}") from None

    def online(self, p: Party, run: Run, made: Any) -> Share:
        data = p.each(client=lambda: self._encoded(run), server=lambda: np.zeros(self.shape, np.uint64))
        return Share(self.num, self.shape, data)

    def clear(self, run: Run) -> Clear:
        return self.num.signed(self._encoded(run))


class Weight(Step, frozen=True, kw_only=True, tag=True):
    """A tensor of the server's enters as its share (a bias, a position table)."""

    weight: str
    num: Fixed
    shape: tuple[int, ...]

    def infer(self, forms: list[Form]) -> Form:
        return Form(self.num, self.shape)

    def online(self, p: Party, run: Run, made: Any) -> Share:
        data = p.each(
            server=lambda: self.num.wrap(run.weight(self.weight)).reshape(self.shape),
            client=lambda: np.zeros(self.shape, np.uint64),
        )
        return Share(self.num, self.shape, data)

    def clear(self, run: Run) -> Clear:
        return run.weight(self.weight).reshape(self.shape)


class Public(Step, frozen=True, kw_only=True, tag=True):
    """A small constant that both may know."""

    values: tuple[Int64, ...]
    num: Fixed
    shape: tuple[int, ...]

    def infer(self, forms: list[Form]) -> Form:
        if prod(self.shape) != len(self.values):
            raise ValueError(f"{len(self.values)} values for shape {self.shape}")
        return Form(self.num, self.shape)

    def online(self, p: Party, run: Run, made: Any) -> Share:
        data = p.each(
            server=lambda: self.num.wrap(self.clear(run)),
            client=lambda: np.zeros(self.shape, np.uint64),
        )
        return Share(self.num, self.shape, data)

    def clear(self, run: Run) -> Clear:
        return np.array(self.values, np.int64).reshape(self.shape)


class Add(Binary, frozen=True, kw_only=True, tag=True):
    """a + b, repeating as numpy does. Free."""

    def infer(self, forms: list[Form]) -> Form:
        a, b = forms[self.a], forms[self.b]
        if a.num != b.num:
            raise ValueError(f"cannot add {a.num} and {b.num}")
        return Form(a.num, tuple(np.broadcast_shapes(a.shape, b.shape)))

    def online(self, p: Party, run: Run, made: Any) -> Share:
        a, b, form = run.share(self.a), run.share(self.b), run.form_of(self)
        return Share(form.num, form.shape, p.both(lambda: form.num.wrap(a.ring + b.ring)))

    def clear(self, run: Run) -> Clear:
        return run.clear(self.a) + run.clear(self.b)


class TimesInteger(Unary, frozen=True, kw_only=True, tag=True):
    """x times a public integer that stands for factor·2^-scale. Free."""

    factor: Int64
    scale: int = 0

    def infer(self, forms: list[Form]) -> Form:
        x = forms[self.x]
        return Form(Fixed(x.num.bits, x.num.scale + self.scale), x.shape)

    def online(self, p: Party, run: Run, made: Any) -> Share:
        x, num = run.share(self.x), run.form_of(self).num
        return x.like(p.both(lambda: num.wrap(x.ring * np.uint64(self.factor % 2**64))), num)

    def clear(self, run: Run) -> Clear:
        return run.clear(self.x) * self.factor


class Sum(Unary, frozen=True, kw_only=True, tag=True):
    """The sum over axes, which stay with length 1. Free."""

    axes: tuple[int, ...]

    def infer(self, forms: list[Form]) -> Form:
        x = forms[self.x]
        if any(not 0 <= a < len(x.shape) for a in self.axes):
            raise ValueError(f"axes {self.axes} of shape {x.shape}")
        return Form(x.num, tuple(1 if i in self.axes else d for i, d in enumerate(x.shape)))

    def online(self, p: Party, run: Run, made: Any) -> Share:
        x, form = run.share(self.x), run.form_of(self)
        return Share(
            form.num, form.shape,
            p.both(lambda: form.num.wrap(x.ring.sum(axis=self.axes, dtype=np.uint64, keepdims=True))),
        )  # fmt: skip

    def clear(self, run: Run) -> Clear:
        return np.asarray(run.clear(self.x).sum(axis=self.axes, keepdims=True))


class Layout(Unary, frozen=True, kw_only=True):
    """Moves elements without changing them. Free."""

    def move(self, x: Any) -> Any:
        raise TypeError(f"{type(self).__name__} moves nothing")

    def infer(self, forms: list[Form]) -> Form:
        x = forms[self.x]
        return Form(x.num, self.move(np.broadcast_to(np.int8(0), x.shape)).shape)

    def online(self, p: Party, run: Run, made: Any) -> Share:
        x, form = run.share(self.x), run.form_of(self)
        return Share(x.num, form.shape, p.both(lambda: np.ascontiguousarray(self.move(x.ring))))

    def clear(self, run: Run) -> Clear:
        return np.asarray(self.move(run.clear(self.x)))


class Reshape(Layout, frozen=True, kw_only=True, tag=True):
    shape: tuple[int, ...]

    def move(self, x: Any) -> Any:
        return x.reshape(self.shape)


class Transpose(Layout, frozen=True, kw_only=True, tag=True):
    order: tuple[int, ...]

    def move(self, x: Any) -> Any:
        return x.transpose(self.order)


class Broadcast(Layout, frozen=True, kw_only=True, tag=True):
    shape: tuple[int, ...]

    def infer(self, forms: list[Form]) -> Form:
        x = forms[self.x]
        if tuple(np.broadcast_shapes(x.shape, self.shape)) != self.shape:
            raise ValueError(f"shape {x.shape} does not repeat to {self.shape}")
        return Form(x.num, self.shape)

    def move(self, x: Any) -> Any:
        return np.broadcast_to(x, self.shape)


class Slice(Layout, frozen=True, kw_only=True, tag=True):
    """(start, stop, step) for every axis."""

    cuts: tuple[tuple[int, int, int], ...]

    def infer(self, forms: list[Form]) -> Form:
        x = forms[self.x]
        ok = len(self.cuts) == len(x.shape) and all(
            0 <= a < b <= d and s > 0 for (a, b, s), d in zip(self.cuts, x.shape, strict=True)
        )
        if not ok:
            raise ValueError(f"cannot cut {self.cuts} out of shape {x.shape}")
        return Form(x.num, tuple(-(-(b - a) // s) for a, b, s in self.cuts))

    def move(self, x: Any) -> Any:
        return x[tuple(slice(a, b, s) for a, b, s in self.cuts)]


class Take(Layout, frozen=True, kw_only=True, tag=True):
    """The elements at ``places`` of an axis, in that order."""

    axis: int
    places: tuple[int, ...]

    def infer(self, forms: list[Form]) -> Form:
        x = forms[self.x]
        if not 0 <= self.axis < len(x.shape):
            raise ValueError(f"shape {x.shape} has no axis {self.axis}")
        if not self.places or not 0 <= min(self.places) <= max(self.places) < x.shape[self.axis]:
            raise ValueError(f"places beyond axis {self.axis} of shape {x.shape}")
        return Form(x.num, (*x.shape[: self.axis], len(self.places), *x.shape[self.axis + 1 :]))

    def move(self, x: Any) -> Any:
        return np.take(x, self.places, axis=self.axis)


class Concat(Step, frozen=True, kw_only=True, tag=True):
    """Join along an axis. Free."""

    parts: tuple[int, ...]
    axis: int

    def reads(self) -> tuple[int, ...]:
        return self.parts

    def infer(self, forms: list[Form]) -> Form:
        parts = [forms[i] for i in self.parts]
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

    def online(self, p: Party, run: Run, made: Any) -> Share:
        parts, form = [run.share(i) for i in self.parts], run.form_of(self)
        joined = p.both(lambda: np.concatenate([x.ring for x in parts], axis=self.axis))
        return Share(form.num, form.shape, joined)

    def clear(self, run: Run) -> Clear:
        return np.concatenate([run.clear(i) for i in self.parts], axis=self.axis)
