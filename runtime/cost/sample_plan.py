"""A plan that computes nothing of use: every kind of step in several sizes, for measuring a machine.

Values are zeros, masked like any others; times do not depend on them.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import msgspec
import numpy as np

from ..base.ring import Fixed
from ..he.packing import Tile
from ..he.params import PACKING_SETS, PARAMETER_SETS, HeParams
from ..he.product import Product, uniform_norm_bits
from ..plan import steps
from ..plan.file import Options, OutputSpec, Plan, Weights, WeightSpec
from ..plan.local import Const, LocalOp, packed
from ..protocols.compare import Thresholds
from ..protocols.spline import SplineSpec

Shape = tuple[int, ...]

NUM = Fixed(26, 8)
WEIGHT_BITS = 9


def _set(degree: int, primes: int, *, levels: int = 0) -> HeParams:
    """The widest set of so many primes, for packing if there are levels."""
    sets = PACKING_SETS if levels else PARAMETER_SETS
    found = [each for each in sets if (each.degree, len(each.data_bits)) == (degree, primes)]
    return found[-1].packing(levels)


SMALL, ONE, TWO, LARGE = _set(2048, 1), _set(4096, 1), _set(4096, 2), _set(8192, 2)
ONE_PACKED, TWO_PACKED = _set(4096, 1, levels=6), _set(4096, 2, levels=6)

SUMS = Product(4, 8, 256, 8, 26, 29, 12, Tile(8, 256, 1), TWO)
LINEAR = (
    Product(1, 64, 384, 384, 29, 13, 12, Tile(64, 4, 8), SMALL),
    Product(1, 32, 1536, 384, 33, 13, 12, Tile(32, 32, 4), TWO),
    Product(1, 16, 4096, 64, 20, 13, 8, Tile(16, 256, 1), ONE),
    Product(1, 256, 256, 192, 31, 13, 12, Tile(32, 16, 8), ONE),
    Product(1, 32, 64, 1024, 27, 13, 12, Tile(32, 16, 8), TWO),
    Product(1, 1, 4096, 512, 24, 13, 8, Tile(1, 256, 8), SMALL),
    Product(1, 32, 512, 768, 31, 13, 12, Tile(32, 32, 4), ONE_PACKED, 32),
    Product(1, 8, 128, 2048, 28, 13, 12, Tile(8, 32, 16), ONE_PACKED, 32),
    Product(1, 128, 1024, 128, 26, 13, 12, Tile(32, 64, 2), TWO_PACKED, 64),
)
"""With a weight of small integers. Tiles of many kinds, good or not, so that each kind of work is a large
part of some product: one row of tiles or several, long blocks and short, answers alone and packed."""


def _masks(
    batch: int, m: int, k: int, n: int, ell: int, tile: Tile, params: HeParams, fill: int = 1
) -> Product:
    return Product(batch, m, k, n, ell, uniform_norm_bits(ell, k), 12, tile, params, fill)


MATMUL = (
    (
        _masks(8, 32, 32, 32, 28, Tile(32, 4, 32), TWO),
        _masks(8, 32, 32, 32, 28, Tile(32, 32, 4), TWO_PACKED, 8),
    ),
    (
        _masks(2, 128, 64, 64, 27, Tile(128, 8, 4), TWO),
        _masks(2, 64, 64, 128, 27, Tile(64, 16, 8), LARGE),
    ),
    (
        _masks(1, 1, 32, 384, 30, Tile(1, 32, 192), LARGE),
        _masks(1, 384, 32, 1, 30, Tile(128, 32, 1), TWO),
    ),
)
"""Both products of a product of two shared matrices."""

QUICK = (16, 128)
"""Of what is measured in a second."""

SHAPES: tuple[Shape, ...] = ((1, 1), (8, 64), (64, 512), (128, 1024))
"""Small for what a step costs by itself, large for what an element costs."""

SPLINES: tuple[tuple[int, int, int], ...] = ((1, 12, 1), (1, 24, 1), (6, 10, 0), (8, 9, 1), (12, 16, 0))
"""Knots, bits compared, gates."""

WIDE: Shape = (256, 1536)
"""As large as the activation of a BERT's feed-forward layer: its arrays leave the caches."""


class _Builder:
    """``name`` is that of every step, so that no two plans have a label in common."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[steps.AnyStep] = []
        self.local: list[LocalOp] = [Const((), (0.0,))]
        self.weights: dict[str, Shape] = {}
        self.outputs: list[OutputSpec] = []
        self.guard: int | None = None

    def put(self, step: steps.AnyStep) -> int:
        self.steps.append(msgspec.structs.replace(step, name=self.name))
        return len(self.steps) - 1

    def value(self, shape: Shape, num: Fixed = NUM) -> int:
        return self.put(steps.Encode(local=0, num=num, shape=shape))

    def watch(self, shape: Shape) -> None:
        """The one guard of the plan."""
        watched = steps.Guarded(self.value(shape), -(1 << 20), 1 << 20, 4)
        self.guard = self.put(steps.Guard(watched=(watched,)))

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = shape
        return name

    def plan(self) -> Plan:
        return Plan(
            model=self.name,
            profile="exact",
            options=Options(byte_price=8e-8),
            inputs=(),
            outputs=tuple(self.outputs),
            weights=tuple(WeightSpec(name, shape, WEIGHT_BITS) for name, shape in self.weights.items()),
            local=tuple(self.local),
            steps=tuple(self.steps),
            guard=self.guard,
        )


def _products(b: _Builder) -> None:
    for made in LINEAR:
        x = b.value((made.m, made.k), Fixed(made.ell, 8))
        b.put(steps.Linear(x=x, weight=b.weight(made.k, made.n), scale=8, product=made))
    for left, right in MATMUL:
        x, y = (
            b.value((left.batch, *shape), Fixed(left.ell, 8))
            for shape in ((left.m, left.k), (left.k, left.n))
        )
        b.put(steps.MatMul(a=x, b=y, left=left, right=right))
    rows = b.value((SUMS.batch * SUMS.m, SUMS.k), Fixed(SUMS.ell, 8))
    b.put(steps.SquareSum(x=rows, product=SUMS))


def _nonlinear(b: _Builder, shape: Shape) -> None:
    x = b.value(shape)
    b.put(steps.Square(x=x))
    b.put(steps.Multiply(a=x, b=x))
    b.put(steps.Multiply(a=x, b=b.value((shape[0], 1))))
    b.put(steps.Scaled(x=x, weight=b.weight(*shape), shape=shape, scale=8, weight_bits=WEIGHT_BITS))
    row = (1, shape[1])
    b.put(steps.Scaled(x=x, weight=b.weight(*row), shape=row, scale=8, weight_bits=WEIGHT_BITS))
    for bits in (12, 20, 24, 32):
        b.put(steps.Rescale(x=x, num=Fixed(bits, 4)))
    b.put(steps.Maximum(x=x))
    b.put(steps.Maximum(x=x, drop=4))
    for knots, bits, gates in SPLINES:
        b.put(steps.Spline(x=x, spec=_spline(knots, bits, gates)))


def _spline(knots: int, bits: int, gates: int) -> SplineSpec:
    """A spline of one gate alone, or curved between ``knots``."""
    thresholds = Thresholds(tuple(8 * j - 4 * knots for j in range(knots)))
    if knots == 1:
        return SplineSpec(thresholds, bits, NUM, ((0, 0, 0),) * 2, ((0, 1),), NUM)
    quad = Fixed(24, 20)
    pieces = tuple((j, j, 2 * j + 1) for j in range(knots + 1))
    return SplineSpec(thresholds, bits, quad, pieces, tuple((knots - 1, 1) for _ in range(gates)), NUM)


def _free(b: _Builder, shape: Shape) -> None:
    x = b.value(shape)
    rows, cols = shape
    b.put(steps.Weight(weight=b.weight(*shape), num=NUM, shape=shape))
    b.put(steps.Add(a=x, b=x))
    b.put(steps.TimesInteger(x=x, factor=3))
    b.put(steps.TimesPublic(x=x, factors=(3,) * cols, shape=(1, cols), scale=0))
    b.put(steps.TimesRow(x=x, table=packed(np.full((SHAPES[-1][0] + 1, 1, cols), 3)), scale=0))
    b.put(steps.Sum(x=x, axes=(1,)))
    b.put(steps.Reshape(x=x, shape=(rows * cols,)))
    b.put(steps.Transpose(x=x, order=(1, 0)))
    b.put(steps.Broadcast(x=x, shape=(2, *shape)))
    b.put(steps.Slice(x=x, cuts=((0, rows, 1), (0, max(1, cols // 2), 1))))
    b.put(steps.Take(x=x, axis=1, places=tuple(range(cols))))
    b.put(steps.Concat(parts=(x, x), axis=1))
    last = b.put(steps.Output(x=x))
    b.outputs.append(OutputSpec(f"out{last}", last, shape))
    if prod(shape) <= 1024:
        b.put(steps.Public(values=(0,) * prod(shape), num=NUM, shape=shape))


@lru_cache(maxsize=1)
def sample_plans() -> tuple[Plan, Plan]:
    """Products under HE, and all other steps."""
    products, others = _Builder("products"), _Builder("others")
    _products(products)
    for shape in SHAPES:
        _nonlinear(others, shape)
        _free(others, shape)
    rows = others.put(steps.Recall(state="rows", num=NUM, shape=SHAPES[-1], axis=0))
    others.put(steps.Keep(x=rows, state="rows", axis=0))
    wide = others.value(WIDE)
    for knots, bits, gates in SPLINES[2:4]:
        others.put(steps.Spline(x=wide, spec=_spline(knots, bits, gates)))
    products.watch(SHAPES[0])
    others.watch(SHAPES[-2])
    return products.plan(), others.plan()


@lru_cache(maxsize=1)
def quick_plan() -> Plan:
    """All steps but products, once, of a size that matters."""
    quick = _Builder("quick")
    _nonlinear(quick, QUICK)
    _free(quick, QUICK)
    return quick.plan()


def sample_weights(plan: Plan) -> Weights:
    """Public numbers that look like weights."""
    top = 1 << (WEIGHT_BITS - 2)
    return {
        spec.name: (np.arange(prod(spec.shape), dtype=np.int64) * 40503 % (2 * top) - top).reshape(spec.shape)
        for spec in plan.weights
    }
