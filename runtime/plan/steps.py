"""The steps of a plan: what each says, what it needs, does offline, does online, and means in the clear.

A plan is a list of steps in single assignment: step i defines value i and reads earlier ones. Every
step is a typed record without code, so a plan from a stranger can be checked by `infer` alone.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.errors import RangeFault
from ..base.integers import rounded
from ..base.ring import Fixed, known
from ..base.share import Share
from ..he.product import Product
from ..party.party import Party
from ..party.role import SERVER
from ..protocols import matmul as products
from ..protocols.maximum import maximum, maximum_offline
from ..protocols.multiply import (
    Rows,
    multiply,
    multiply_offline,
    scaled,
    scaled_offline,
    square,
    square_offline,
)
from ..protocols.spline import SplineSpec, spline, spline_clear, spline_offline
from ..protocols.truncate import rescaling, truncate, truncate_offline
from .free import (
    Add,
    Broadcast,
    Concat,
    Encode,
    Public,
    Reshape,
    Slice,
    Sum,
    Take,
    TimesInteger,
    Transpose,
    Weight,
)
from .step import Binary, Form, Step, Unary, fits

if TYPE_CHECKING:
    from ..session.executor import Run
    from .step import Clear

__all__ = [
    "Add", "AnyStep", "Broadcast", "Concat", "Encode", "Form", "Linear", "MatMul", "Maximum",
    "Multiply", "Output", "Public", "Rescale", "Reshape", "Scaled", "Slice", "Spline", "Square", "Step",
    "Sum", "Take", "TimesInteger", "Transpose", "Weight", "fits",
]  # fmt: skip


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
