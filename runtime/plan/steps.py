"""The steps of a plan that cost something, and the union of all.

A plan is a list of steps in single assignment: step i defines value i and reads earlier ones. Every
step is a typed record without code, so a plan from a stranger can be checked by `infer` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from ..base import exact
from ..base.errors import RangeFault
from ..base.integers import rounded
from ..base.ring import Fixed, Integers, Signed, known
from ..base.share import Share
from ..he.product import Product
from ..party.party import Party
from ..party.ports import PendingProduct
from ..party.role import SERVER, Role
from ..protocols.cached import Along, CachedMade, Opened, cached, cached_apart
from ..protocols.halves import FLIGHT, check_flight
from ..protocols.matmul import (
    LinearMade,
    MatmulBegun,
    MatmulMade,
    at_once,
    linear,
    linear_begin,
    linear_offline,
    matmul,
    matmul_begin,
    matmul_offline,
)
from ..protocols.maximum import (
    MaximumMade,
    argmax,
    argmax_num,
    argmax_offline,
    maximum,
    maximum_offline,
)
from ..protocols.multiply import (
    MultiplyBegun,
    MultiplyMade,
    Rows,
    ScaledMade,
    SquareMade,
    SquareSumBegun,
    SquareSumMade,
    multiply,
    multiply_begin,
    multiply_finish,
    multiply_offline,
    scaled,
    scaled_begin,
    scaled_finish,
    scaled_offline,
    square,
    square_offline,
    square_sum,
    square_sum_begin,
    square_sum_offline,
)
from ..protocols.pieces import pieces
from ..protocols.row_products import (
    Axes,
    NumbersAtServer,
    axes,
    numbers_at_client,
    numbers_at_server,
    rows_at_both,
)
from ..protocols.spline import SplineMade, SplineSpec, spline, spline_clear, spline_offline
from ..protocols.truncate import TruncateMade, rescaling, truncate, truncate_offline
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
    TimesPublic,
    TimesRow,
    Transpose,
    Weight,
)
from .guard import Guard, Guarded
from .reach import Reading, apart, outgoing, through, truncating
from .state import Keep, Recall
from .step import Binary, Form, Plain, Shape, Step, Unary, fits

__all__ = [
    "Add", "AnyStep", "Broadcast", "Concat", "Encode", "Form", "Guard", "Guarded", "Keep", "Linear",
    "MatMul", "Maximum", "Multiply", "Output", "Plain", "Public", "Recall", "Rescale", "Reshape", "Scaled",
    "Slice", "Spline", "Square", "SquareSum", "Step", "Sum", "Take", "TimesInteger", "TimesPublic",
    "TimesRow", "Transpose", "UnderHE", "Weight", "fits",
]  # fmt: skip


ROWS = 4096
"""Of a matrix that are squared at once: a table of words is large."""


class Linear(Unary, frozen=True, kw_only=True, tag=True):
    """x @ W, W at the server: (…, k) by (k, n), under HE. Offline it is made for so many inferences
    ``together``, their rows below each other."""

    weight: str
    scale: int
    product: Product
    together: int = 1

    def weights(self) -> Mapping[str, Shape]:
        return {self.weight: (self.product.k, self.product.n)}

    def products(self) -> tuple[Product, ...]:
        return (self.product,)

    def promised(self) -> int:
        return self.product.norm_bits

    def check(self, *weights: Integers) -> None:
        (w,) = weights
        squares = sum(
            np.square(w[at : at + ROWS].astype(np.float64)).sum(axis=0) for at in range(0, len(w), ROWS)
        )
        if np.max(squares) > 4.0 ** self.promised() * (1 + 1e-9):
            raise RangeFault(
                f"the server's matrix {self.weight!r} has a norm above 2^{self.promised()}, which the plan "
                "announced; compile it again"
            )

    def infer(self, x: Form) -> Form:
        made, rows = self.product, self.together * prod(x.shape[:-1])
        if self.together < 1 or (made.batch, made.m, made.k, made.ell) != (1, rows, x.shape[-1], x.num.bits):
            raise ValueError(f"{made} does not fit an operand {x}")
        return Form(Fixed(x.num.bits, x.num.scale + self.scale), (*x.shape[:-1], made.n))

    def begin(self, p: Party, x: Form, w: Integers | None) -> PendingProduct:
        return linear_begin(p, self.product, w)

    def offline(self, p: Party, begun: PendingProduct, x: Form, w: Integers | None) -> LinearMade:
        return linear_offline(p, begun)

    def apart(self, made: LinearMade) -> Sequence[LinearMade]:
        return pieces(made, self.together, axis=1)  # rows lie below each other

    def online(self, p: Party, out: Form, made: LinearMade, x: Share, w: Integers | None) -> Share:
        rows = _view(p, x, (1, prod(x.shape[:-1]), self.product.k))
        return _view(p, linear(p, rows, self.product.n, self.scale, w, made), out.shape)

    def clear(self, x: Plain, w: exact.Factor) -> Signed:
        return exact.matmul(x.held, w)


class MatMul(Binary, frozen=True, kw_only=True, tag=True):
    """a @ b over the last two axes, both shared: two products under HE, a's mask by b's and the reverse.

    Each makes one of the batch at a time, or several `at_once`. Offline the batch is that of so many
    inferences ``together``; or where ``kept`` tells which axis of b are the rows of a state, their rows of a
    lie below each other, and b is masked once for all of them.
    """

    left: Product
    right: Product
    together: int = 1
    kept: Along | None = None

    def opens(self) -> bool:
        return self.kept is not None

    def products(self) -> tuple[Product, ...]:
        return (self.left, self.right)

    def infer(self, a: Form, b: Form) -> Form:
        if len(a.shape) < 2 or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
            raise ValueError(f"cannot multiply {a} and {b}")
        if self.together < 1:
            raise ValueError(f"{self.together} inferences together")
        batch, m, k, n = self._axes(a, b)
        for made, whole in ((self.left, (batch, m, k, n)), (self.right, (batch, n, k, m))):
            count, rest = divmod(batch, made.batch)
            if rest or (axes(made), made.ell) != (at_once(whole, count), a.num.bits):
                raise ValueError(f"{made} does not fit {a} and {b}")
        return Form(a.num.times(b.num), (*a.shape[:-1], b.shape[-1]))

    def begin(self, p: Party, a: Form, b: Form) -> MatmulBegun:
        return matmul_begin(p, self._axes(a, b), self.left, self.right)

    def offline(self, p: Party, begun: MatmulBegun, a: Form, b: Form) -> MatmulMade:
        return matmul_offline(p, self.left, begun)

    def apart(self, made: MatmulMade) -> Sequence[MatmulMade | CachedMade]:
        return cached_apart(made, self.together) if self.kept else pieces(made, self.together)

    def _axes(self, a: Form, b: Form) -> Axes:
        """Those that are made together."""
        batch, m, k, n = _axes(a, b)
        return (batch, self.together * m, k, n) if self.kept else (self.together * batch, m, k, n)

    def online(
        self,
        p: Party,
        out: Form,
        made: MatmulMade | CachedMade | None,
        a: Share,
        b: Share,
        rows: int = 0,
        opened: Opened | None = None,
    ) -> Share:
        batch, m, k, n = _axes(a, b)
        left, right = _view(p, a, (batch, m, k)), _view(p, b, (batch, k, n))
        if self.kept is None or opened is None:
            assert not isinstance(made, CachedMade)
            return _view(p, matmul(p, left, right, made), out.shape)
        assert not isinstance(made, MatmulMade)
        return _view(p, cached(p, left, right, made, self.kept, rows, opened), out.shape)

    def clear(self, a: Plain, b: Plain) -> Signed:
        return exact.matmul(a.data, b.data)


class Square(Unary, frozen=True, kw_only=True, tag=True):
    """x^2, element by element."""

    def infer(self, x: Form) -> Form:
        return Form(x.num.times(x.num), x.shape)

    def offline(self, p: Party, begun: None, x: Form) -> SquareMade:
        return square_offline(p, x.num, x.shape)

    def online(self, p: Party, out: Form, made: SquareMade, x: Share) -> Share:
        return square(p, x, made)

    def clear(self, x: Plain) -> Signed:
        data = x.data
        return data * data


class SquareSum(Unary, frozen=True, kw_only=True, tag=True):
    """Σ x^2 over the last axis, which is left out: of the masks' squares only sums are made, under HE, for so
    many inferences ``together``."""

    product: Product
    together: int = 1

    def products(self) -> tuple[Product, ...]:
        return (self.product,)

    def infer(self, x: Form) -> Form:
        if not x.shape:
            raise ValueError(f"{x} has no axis to sum over")
        made, wanted = self.product, rows_at_both(self._rows(x), x.shape[-1], self.product.m)
        if self.together < 1 or (axes(made), made.ell) != (wanted, x.num.bits):
            raise ValueError(f"{made} does not fit an operand {x}")
        return Form(x.num.times(x.num), x.shape[:-1])

    def begin(self, p: Party, x: Form) -> SquareSumBegun:
        return square_sum_begin(p, self.product, self._rows(x))

    def offline(self, p: Party, begun: SquareSumBegun, x: Form) -> SquareSumMade:
        return square_sum_offline(p, x.num, self._rows(x), begun)

    def apart(self, made: SquareSumMade) -> Sequence[SquareSumMade]:
        return pieces(made, self.together)

    def _rows(self, x: Form) -> int:
        return self.together * prod(x.shape[:-1])

    def online(self, p: Party, out: Form, made: SquareSumMade, x: Share) -> Share:
        return square_sum(p, x, made)

    def clear(self, x: Plain) -> Signed:
        data = x.data
        return np.asarray((data * data).sum(axis=-1))


class Multiply(Binary, frozen=True, kw_only=True, tag=True):
    """a·b, element by element; b may have axes of length 1 along which it repeats.

    With ``left`` and ``right`` the masks' products are made under HE, for so many inferences ``together``:
    a's at the client with b's at the server, and the reverse.
    """

    left: Product | None = None
    right: Product | None = None
    together: int = 1

    def products(self) -> tuple[Product, ...]:
        return () if self.left is None or self.right is None else (self.left, self.right)

    def infer(self, a: Form, b: Form) -> Form:
        if (self.left is None) != (self.right is None):
            raise ValueError("one of two products under HE is missing")
        if self.together < 1 or (self.together > 1 and self.left is None):
            raise ValueError(f"{self.together} inferences together")
        rows = self._rows(a, b)
        for made, shape in zip(self.products(), (numbers_at_server, numbers_at_client), strict=False):
            if (axes(made), made.ell) != (shape(rows.groups, rows.length, made.k), a.num.bits):
                raise ValueError(f"{made} does not fit {a} and {b}")
        return Form(a.num.times(b.num), a.shape)

    def begin(self, p: Party, a: Form, b: Form) -> MultiplyBegun | None:
        if self.left is None or self.right is None:
            return None
        return multiply_begin(p, self._rows(a, b), self.left, self.right)

    def offline(self, p: Party, begun: MultiplyBegun | None, a: Form, b: Form) -> MultiplyMade:
        if begun is None:
            return multiply_offline(p, a.num, Rows(a.shape, b.shape))
        return multiply_finish(p, a.num, self._rows(a, b), begun)

    def apart(self, made: MultiplyMade) -> Sequence[MultiplyMade]:
        return pieces(made, self.together)

    def _rows(self, a: Form, b: Form) -> Rows:
        """Of all inferences, one after the other."""
        return Rows((self.together, *a.shape), (self.together, *b.shape))

    def online(self, p: Party, out: Form, made: MultiplyMade, a: Share, b: Share) -> Share:
        return multiply(p, a, b, made)

    def clear(self, a: Plain, b: Plain) -> Signed:
        return a.data * b.data


class Scaled(Unary, frozen=True, kw_only=True, tag=True):
    """x·w, w at the server; of x's rank, with axes of length 1 along which it repeats.

    With ``product`` that of the client's mask and w is made under HE.
    """

    weight: str
    shape: Shape
    scale: int
    weight_bits: int
    product: Product | None = None

    def products(self) -> tuple[Product, ...]:
        return () if self.product is None else (self.product,)

    def weights(self) -> Mapping[str, Shape]:
        return {self.weight: self.shape}

    def promised(self) -> int:
        return self.weight_bits

    def check(self, *weights: Integers) -> None:
        (w,) = weights
        limit = 1 << (self.weight_bits - 1)
        if w.size and not -limit <= int(w.min()) <= int(w.max()) < limit:
            raise RangeFault(
                f"the server's weight {self.weight!r} does not fit the {self.weight_bits} bits that the plan "
                "announced; compile it again"
            )

    def infer(self, x: Form) -> Form:
        rows = Rows(x.shape, self.shape)
        if not 2 <= self.weight_bits <= min(x.num.bits, 40):
            raise ValueError(f"weights of {self.weight_bits} bits in a ring of {x.num.bits}")
        if (made := self.product) is not None:
            wanted = numbers_at_server(rows.groups, rows.length, made.k)
            if (axes(made), made.ell, made.norm_bits) != (wanted, x.num.bits, self.weight_bits - 1):
                raise ValueError(f"{made} does not fit {x} and weights of {self.weight_bits} bits")
        return Form(Fixed(x.num.bits, x.num.scale + self.scale), x.shape)

    def begin(self, p: Party, x: Form, w: Integers | None) -> NumbersAtServer | None:
        return None if self.product is None else scaled_begin(p, self.product, w)

    def offline(self, p: Party, begun: NumbersAtServer | None, x: Form, w: Integers | None) -> ScaledMade:
        rows = Rows(x.shape, self.shape)
        if begun is None:
            return scaled_offline(p, x.num, rows, self.weight_bits, w)
        return scaled_finish(p, rows, begun)

    def online(self, p: Party, out: Form, made: ScaledMade, x: Share, w: Integers | None) -> Share:
        return scaled(p, x, Rows(x.shape, self.shape), self.scale, w, made)

    def clear(self, x: Plain, w: exact.Factor) -> Signed:
        return x.data * w.ints


class Rescale(Unary, frozen=True, kw_only=True, tag=True):
    """Drop fraction bits and change the ring."""

    num: Fixed

    def infer(self, x: Form) -> Form:
        rescaling(x.num, self.num)
        return Form(self.num, x.shape)

    def offline(self, p: Party, begun: None, x: Form) -> TruncateMade:
        return truncate_offline(p, x.num, self.num, x.shape)

    def online(self, p: Party, out: Form, made: TruncateMade, x: Share) -> Share:
        return truncate(p, x, self.num, made)

    def clear(self, x: Plain) -> Signed:
        return rounded(x.data, rescaling(x.num, self.num)[0])

    def reads_as_number(self, *plain: Plain) -> tuple[Reading, ...]:
        (x,) = plain
        return truncating(x.data, x.num, self.num)


class Spline(Unary, frozen=True, kw_only=True, tag=True):
    """A piecewise quadratic of one variable."""

    spec: SplineSpec
    function: str = ""
    sender: Role = SERVER
    flight: int = FLIGHT

    def infer(self, x: Form) -> Form:
        self.spec.check(x.num)
        check_flight(self.flight)
        return Form(self.spec.out, x.shape)

    def offline(self, p: Party, begun: None, x: Form) -> SplineMade:
        return spline_offline(p, x.num, x.shape, self.spec, self.sender, self.flight)

    def online(self, p: Party, out: Form, made: SplineMade, x: Share) -> Share:
        return spline(p, x, self.spec, made)

    def clear(self, x: Plain) -> Signed:
        return spline_clear(x.data, x.num, self.spec)

    def reads_as_number(self, *plain: Plain) -> tuple[Reading, ...]:
        (x,) = plain
        return through(x.data, x.num, self.spec, self.function)


class Maximum(Unary, frozen=True, kw_only=True, tag=True):
    """The maximum of the last axis, up to what dropped bits leave open; or with ``argmax`` where it is there,
    the lowest of several places, exactly."""

    wraps = False
    drop: int = 0
    argmax: bool = False
    sender: Role = SERVER
    flight: int = FLIGHT

    def infer(self, x: Form) -> Form:
        if not 0 <= self.drop < x.num.bits - 2:
            raise ValueError(f"cannot drop {self.drop} bits of {x.num}")
        check_flight(self.flight)
        if not self.argmax:
            return Form(x.num, (*x.shape[:-1], 1))
        if self.drop or x.shape[-1] < 2:
            raise ValueError(f"a place among {x.shape[-1]} with {self.drop} bits dropped")
        num = argmax_num(x.shape[-1])
        Fixed(x.num.bits + num.bits, x.num.scale + num.bits)  # that of the last round
        return Form(num, (*x.shape[:-1], 1))

    def offline(self, p: Party, begun: None, x: Form) -> MaximumMade:
        if self.argmax:
            return argmax_offline(p, x.num, x.shape, self.sender, self.flight)
        return maximum_offline(p, x.num, x.shape, self.drop, self.sender, self.flight)

    def online(self, p: Party, out: Form, made: MaximumMade, x: Share) -> Share:
        return argmax(p, x, made) if self.argmax else maximum(p, x, self.drop, made)

    def clear(self, x: Plain) -> Signed:
        if self.argmax:
            return np.asarray(x.data.argmax(axis=-1, keepdims=True))
        return np.asarray(x.data.max(axis=-1, keepdims=True))

    def reads_as_number(self, *plain: Plain) -> tuple[Reading, ...]:
        (x,) = plain
        return apart(x.data, x.num, self.drop)


class Output(Unary, frozen=True, kw_only=True, tag=True):
    """server -> client    the server's share: what the plan is for"""

    wraps = False

    def reveals(self) -> bool:
        return True

    def infer(self, x: Form) -> Form:
        return x

    def online(self, p: Party, out: Form, made: None, x: Share) -> Share:
        said = p.tell(SERVER, x.num.bits, x.shape, lambda: x.ring)
        data = p.each(
            client=lambda: x.num.wrap(x.ring + known(said)), server=lambda: np.zeros(x.shape, np.uint64)
        )
        return x.like(data)

    def clear(self, x: Plain) -> Signed:
        return x.data

    def reads_as_number(self, *plain: Plain) -> tuple[Reading, ...]:
        (x,) = plain
        return outgoing(x.data, x.num)


AnyStep = (
    Encode | Weight | Public | Linear | MatMul | Square | SquareSum | Multiply | Scaled | Rescale | Spline
    | Maximum | Add | TimesInteger | TimesPublic | TimesRow | Sum | Reshape | Transpose | Broadcast
    | Slice | Take | Concat | Recall | Keep | Output | Guard
)  # fmt: skip

UnderHE = Linear | MatMul | SquareSum | Multiply
"""What may be made for several inferences ``together``."""


def _axes(a: Form | Share, b: Form | Share) -> Axes:
    """batch, m, k, n of a @ b over the last two axes."""
    m, k = a.shape[-2:]
    return prod(a.shape[:-2]), m, k, b.shape[-1]


def _view(p: Party, x: Share, shape: Shape) -> Share:
    return Share(x.num, shape, p.both(lambda: x.ring.reshape(shape)))
