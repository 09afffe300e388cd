"""The steps of a plan: what each says, what it needs, does offline, does online, and means in the clear.

A plan is a list of steps in single assignment: step i defines value i and reads earlier ones. Every
step is a typed record without code, so a plan from a stranger can be checked by `infer` alone.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from .errors import BadPlan, RangeFault
from .he_product import Product
from .ledger import SERVER
from .party import Party
from .protocols import matmul as products
from .protocols.maximum import maximum, maximum_offline
from .protocols.multiply import (
    Rows,
    multiply,
    multiply_offline,
    scaled,
    scaled_offline,
    square,
    square_offline,
)
from .protocols.spline import SplineSpec, rounded, spline, spline_clear, spline_offline
from .protocols.truncate import rescaling, truncate, truncate_offline
from .ring import MAX_RANK, Fixed, Int64, Ring, known
from .share import Share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .executor import Run

    Clear = NDArray[np.int64]

MAX_ELEMENTS = 2**30


def fits(shape: tuple[int, ...]) -> bool:
    """Whether a plan's tensor may have that shape."""
    return len(shape) <= MAX_RANK and all(d >= 1 for d in shape) and prod(shape) <= MAX_ELEMENTS


class Form(msgspec.Struct, frozen=True):
    """Format and shape of a value."""

    num: Fixed
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not fits(self.shape):
            raise ValueError(f"a value of shape {self.shape}")

    @property
    def size(self) -> int:
        return prod(self.shape)


class Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="step", forbid_unknown_fields=True):
    """Base of all steps. ``name`` is the ONNX tensor that the value stands for, or ''."""

    name: str = ""

    def reads(self) -> tuple[int, ...]:
        return ()

    def products(self) -> tuple[Product, ...]:
        """What is made under HE."""
        return ()

    def infer(self, forms: list[Form]) -> Form:
        """Format and shape of the value; ValueError where the step is ill-formed."""
        raise TypeError(f"{type(self).__name__} has no form")

    def begin(self, p: Party, run: Run) -> Any:
        """The first offline message, where there is one that can travel with all others of its kind."""
        return None

    def offline(self, p: Party, run: Run, begun: Any) -> Any:
        """Material for one inference, made before any input exists."""
        return None

    def online(self, p: Party, run: Run, made: Any) -> Share:
        raise TypeError(f"{type(self).__name__} has no online half")

    def clear(self, run: Run) -> Clear:
        """The integer meaning, without wrapping."""
        raise TypeError(f"{type(self).__name__} has no clear meaning")


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


class Unary(Step, frozen=True, kw_only=True):
    x: int

    def reads(self) -> tuple[int, ...]:
        return (self.x,)


class Binary(Step, frozen=True, kw_only=True):
    a: int
    b: int

    def reads(self) -> tuple[int, ...]:
        return (self.a, self.b)


class Linear(Unary, frozen=True, kw_only=True, tag=True):
    """x @ W, W at the server: (…, k) by (k, n), under HE."""

    weight: str
    scale: int
    product: Product

    def products(self) -> tuple[Product, ...]:
        return (self.product,)

    def infer(self, forms: list[Form]) -> Form:
        x, made = forms[self.x], self.product
        rows = prod(x.shape[:-1])
        if (made.batch, made.m, made.k, made.ell) != (1, rows, x.shape[-1], x.num.bits):
            raise ValueError(f"{made} does not fit an operand {x}")
        return Form(Fixed(x.num.bits, x.num.scale + self.scale), (*x.shape[:-1], made.n))

    def begin(self, p: Party, run: Run) -> Any:
        return products.linear_begin(p, self.product, lambda: run.weight(self.weight))

    def offline(self, p: Party, run: Run, begun: Any) -> Any:
        return products.linear_offline(p, self.product, begun)

    def online(self, p: Party, run: Run, made: Any) -> Share:
        x = run.share(self.x)
        rows = _view(p, x, (1, self.product.m, self.product.k))
        out = products.linear(p, rows, self.product.n, self.scale, lambda: run.weight(self.weight), made)
        return _view(p, out, (*x.shape[:-1], self.product.n))

    def clear(self, run: Run) -> Clear:
        return run.clear(self.x) @ run.weight(self.weight)


class MatMul(Binary, frozen=True, kw_only=True, tag=True):
    """a @ b over the last two axes, both shared: two products under HE, a's mask by b's and the reverse."""

    left: Product
    right: Product

    def products(self) -> tuple[Product, ...]:
        return (self.left, self.right)

    def infer(self, forms: list[Form]) -> Form:
        a, b = forms[self.a], forms[self.b]
        if len(a.shape) < 2 or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
            raise ValueError(f"cannot multiply {a} and {b}")
        batch, m, k, n = prod(a.shape[:-2]), *a.shape[-2:], b.shape[-1]
        for made, rows, cols in ((self.left, m, n), (self.right, n, m)):
            if (made.batch, made.m, made.k, made.n, made.ell) != (batch, rows, k, cols, a.num.bits):
                raise ValueError(f"{made} does not fit {a} and {b}")
        return Form(a.num.times(b.num), (*a.shape[:-1], b.shape[-1]))

    def begin(self, p: Party, run: Run) -> Any:
        return products.matmul_begin(p, self.left, self.right)

    def offline(self, p: Party, run: Run, begun: Any) -> Any:
        return products.matmul_offline(p, self.left, self.right, begun)

    def online(self, p: Party, run: Run, made: Any) -> Share:
        a, b, q = run.share(self.a), run.share(self.b), self.left
        out = products.matmul(p, _view(p, a, (q.batch, q.m, q.k)), _view(p, b, (q.batch, q.k, q.n)), made)
        return _view(p, out, (*a.shape[:-1], q.n))

    def clear(self, run: Run) -> Clear:
        return run.clear(self.a) @ run.clear(self.b)


class Square(Unary, frozen=True, kw_only=True, tag=True):
    """x^2, element by element."""

    def infer(self, forms: list[Form]) -> Form:
        x = forms[self.x]
        return Form(x.num.times(x.num), x.shape)

    def offline(self, p: Party, run: Run, begun: Any) -> Any:
        x = run.forms[self.x]
        return square_offline(p, x.num, x.shape)

    def online(self, p: Party, run: Run, made: Any) -> Share:
        return square(p, run.share(self.x), made)

    def clear(self, run: Run) -> Clear:
        x = run.clear(self.x)
        return x * x


class Multiply(Binary, frozen=True, kw_only=True, tag=True):
    """a·b, element by element; b may have axes of length 1 along which it repeats."""

    def infer(self, forms: list[Form]) -> Form:
        a, b = forms[self.a], forms[self.b]
        Rows(a.shape, b.shape)
        return Form(a.num.times(b.num), a.shape)

    def offline(self, p: Party, run: Run, begun: Any) -> Any:
        a, b = run.forms[self.a], run.forms[self.b]
        return multiply_offline(p, a.num, Rows(a.shape, b.shape))

    def online(self, p: Party, run: Run, made: Any) -> Share:
        return multiply(p, run.share(self.a), run.share(self.b), made)

    def clear(self, run: Run) -> Clear:
        return run.clear(self.a) * run.clear(self.b)


class Scaled(Unary, frozen=True, kw_only=True, tag=True):
    """x·w, w at the server; of x's rank, with axes of length 1 along which it repeats."""

    weight: str
    shape: tuple[int, ...]
    scale: int
    weight_bits: int

    def infer(self, forms: list[Form]) -> Form:
        x = forms[self.x]
        Rows(x.shape, self.shape)
        if not 2 <= self.weight_bits <= min(x.num.bits, 40):
            raise ValueError(f"weights of {self.weight_bits} bits in a ring of {x.num.bits}")
        return Form(Fixed(x.num.bits, x.num.scale + self.scale), x.shape)

    def _rows(self, run: Run) -> Rows:
        return Rows(run.forms[self.x].shape, self.shape)

    def offline(self, p: Party, run: Run, begun: Any) -> Any:
        num = run.forms[self.x].num
        return scaled_offline(p, num, self._rows(run), self.weight_bits, lambda: run.weight(self.weight))

    def online(self, p: Party, run: Run, made: Any) -> Share:
        x = run.share(self.x)
        return scaled(p, x, self._rows(run), self.scale, lambda: run.weight(self.weight), made)

    def clear(self, run: Run) -> Clear:
        return run.clear(self.x) * run.weight(self.weight).reshape(self.shape)


class Rescale(Unary, frozen=True, kw_only=True, tag=True):
    """Drop fraction bits and change the ring."""

    num: Fixed

    def infer(self, forms: list[Form]) -> Form:
        x = forms[self.x]
        rescaling(x.num, self.num)
        return Form(self.num, x.shape)

    def offline(self, p: Party, run: Run, begun: Any) -> Any:
        x = run.forms[self.x]
        return truncate_offline(p, x.num, self.num, x.shape)

    def online(self, p: Party, run: Run, made: Any) -> Share:
        return truncate(p, run.share(self.x), self.num, made)

    def clear(self, run: Run) -> Clear:
        x, old = run.clear(self.x), run.forms[self.x].num
        drop = old.scale - self.num.scale
        if self.num.bits > old.bits - drop and np.any(np.abs(x) >= 2 ** (old.bits - 2)):
            worst = float(np.abs(x).max()) * 2.0**-old.scale
            raise RangeFault(f"{self.name or 'a value'} reaches {worst:g}, beyond what {old} can truncate")
        return rounded(x, drop)


class Spline(Unary, frozen=True, kw_only=True, tag=True):
    """A piecewise quadratic of one variable."""

    spec: SplineSpec
    function: str = ""

    def infer(self, forms: list[Form]) -> Form:
        x = forms[self.x]
        self.spec.check(x.num)
        return Form(self.spec.out, x.shape)

    def offline(self, p: Party, run: Run, begun: Any) -> Any:
        x = run.forms[self.x]
        return spline_offline(p, x.num, x.shape, self.spec)

    def online(self, p: Party, run: Run, made: Any) -> Share:
        return spline(p, run.share(self.x), self.spec, made)

    def clear(self, run: Run) -> Clear:
        return spline_clear(run.clear(self.x), run.forms[self.x].num, self.spec)


class Maximum(Unary, frozen=True, kw_only=True, tag=True):
    """The maximum of the last axis, up to what dropped bits leave open."""

    drop: int = 0

    def infer(self, forms: list[Form]) -> Form:
        x = forms[self.x]
        if not 0 <= self.drop < x.num.bits - 2:
            raise ValueError(f"cannot drop {self.drop} bits of {x.num}")
        return Form(x.num, (*x.shape[:-1], 1))

    def offline(self, p: Party, run: Run, begun: Any) -> Any:
        x = run.forms[self.x]
        return maximum_offline(p, x.num, x.shape, self.drop)

    def online(self, p: Party, run: Run, made: Any) -> Share:
        return maximum(p, run.share(self.x), self.drop, made)

    def clear(self, run: Run) -> Clear:
        return np.asarray(run.clear(self.x).max(axis=-1, keepdims=True))


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


class Output(Unary, frozen=True, kw_only=True, tag=True):
    """server -> client    the server's share: the one reveal of a plan"""

    def infer(self, forms: list[Form]) -> Form:
        return forms[self.x]

    def online(self, p: Party, run: Run, made: Any) -> Share:
        x = run.share(self.x)
        said = p.tell(SERVER, x.num.bits, x.shape, lambda: x.ring)
        data = p.each(
            client=lambda: x.num.wrap(x.ring + known(said)), server=lambda: np.zeros(x.shape, np.uint64)
        )
        return x.like(data)

    def clear(self, run: Run) -> Clear:
        return run.clear(self.x)


AnyStep = (
    Encode | Weight | Public | Linear | MatMul | Square | Multiply | Scaled | Rescale | Spline | Maximum
    | Add | TimesInteger | Sum | Reshape | Transpose | Broadcast | Slice | Take | Concat
    | Output
)  # fmt: skip


def _view(p: Party, x: Share, shape: tuple[int, ...]) -> Share:
    return Share(x.num, shape, p.both(lambda: x.ring.reshape(shape)))
