"""A plan of every kind of step, small enough to run in a second, built by hand."""

from __future__ import annotations

import numpy as np

from ppc.runtime.base.function import OneHot
from ppc.runtime.base.ring import Fixed
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.product import Product
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import InputSpec, Options, OutputSpec, Plan, Weights, WeightSpec
from ppc.runtime.plan.local import Apply, Input
from ppc.runtime.protocols.compare import Thresholds
from ppc.runtime.protocols.row_products import Axes, numbers_at_client, numbers_at_server, rows_at_both
from ppc.runtime.protocols.spline import SplineSpec

TOKENS, WIDTH, VOCABULARY = 4, 6, 11
F = Fixed(26, 8)


WATCHED = (steps.Guarded(10, None, 1 << 20, 4), steps.Guarded(15, 0, 1 << 24))
"""Of the maxima and the sums of squares: what no input of the tests leaves."""


def relu(num: Fixed) -> SplineSpec:
    return SplineSpec(Thresholds((0,)), num.bits, num, ((0, 0, 0),) * 2, ((0, 1),), num)


def rows_product(axes: Axes, norm_bits: int | None = None) -> Product:
    return plan_product(*axes, F.bits, he_seconds, norm_bits=norm_bits)


def tiny_weights() -> Weights:
    rng = np.random.default_rng(5)
    return {
        "table": rng.integers(-255, 255, (VOCABULARY, WIDTH)),
        "bias": rng.integers(-200, 200, (WIDTH,)),
        "gamma": rng.integers(-100, 100, (1, 1, WIDTH)),
    }


def tiny_plan(model: str = "tiny") -> Plan:
    table = plan_product(1, TOKENS, VOCABULARY, WIDTH, 26, he_seconds, norm_bits=11)
    square = plan_product(1, TOKENS, WIDTH, TOKENS, 26, he_seconds)
    bump = SplineSpec(
        Thresholds((-256, 0, 256)),
        20,
        Fixed(24, 22),
        ((0, 0, 0), (0, 0, 64), (0, 0, 64), (0, 0, 0)),
        ((1, 1),),
        F,
    )
    program: tuple[steps.AnyStep, ...] = (
        steps.Encode(name="/in/ids", local=1, num=Fixed(26, 0), shape=(1, TOKENS, VOCABULARY)),
        steps.Linear(name="/emb/table", x=0, weight="table", scale=8, product=table),
        steps.Weight(weight="bias", num=F, shape=(WIDTH,)),
        steps.Add(a=1, b=2),
        steps.Spline(name="/act/bump", x=3, spec=bump, function="bump"),
        steps.Scaled(name="/norm/gamma", x=4, weight="gamma", shape=(1, 1, WIDTH), scale=7, weight_bits=9),
        steps.Rescale(x=5, num=F),
        steps.Transpose(x=6, order=(0, 2, 1)),
        steps.MatMul(name="/att/scores", a=6, b=7, left=square, right=square),
        steps.Rescale(x=8, num=F),
        steps.Maximum(name="/att/max", x=9),
        steps.TimesInteger(x=10, factor=-1),
        steps.Add(a=9, b=11),
        steps.Square(x=12),
        steps.Rescale(x=13, num=Fixed(30, 6)),
        steps.Sum(x=14, axes=(2,)),
        steps.Broadcast(x=14, shape=(1, TOKENS, TOKENS)),
        steps.Multiply(name="/mul", a=16, b=15),
        steps.Public(values=(3,), num=Fixed(30, 12), shape=(1,)),
        steps.Add(a=17, b=18),
        steps.Concat(parts=(17, 19), axis=2),
        steps.Slice(x=20, cuts=((0, 1, 1), (0, TOKENS, 2), (1, 6, 1))),
        steps.Take(x=21, axis=2, places=(4, 0, 0, 1, 3)),
        steps.Reshape(x=22, shape=(1, 10)),
        steps.Spline(name="/act/relu", x=23, spec=relu(Fixed(30, 12)), function="relu"),
        steps.Guard(watched=WATCHED),
        steps.Output(name="y", x=24),
        steps.Maximum(x=24, argmax=True),
        steps.Output(name="label", x=27),
        steps.SquareSum(name="/norm/squares", x=6, product=rows_product(rows_at_both(TOKENS, WIDTH, 2))),
        steps.Rescale(x=29, num=F),
        steps.Reshape(x=30, shape=(1, TOKENS, 1)),
        steps.Multiply(
            name="/norm/mul",
            a=6,
            b=31,
            left=rows_product(numbers_at_server(TOKENS, WIDTH, 3)),
            right=rows_product(numbers_at_client(TOKENS, WIDTH, 4)),
        ),
        steps.Scaled(
            name="/norm/again",
            x=6,
            weight="gamma",
            shape=(1, 1, WIDTH),
            scale=8,
            weight_bits=9,
            product=rows_product(numbers_at_server(WIDTH, TOKENS, 4), norm_bits=8),
        ),
        steps.Add(a=32, b=33),
        steps.Output(name="z", x=34),
    )
    weights = tiny_weights()
    return Plan(
        model=model,
        profile="exact",
        options=Options(seq_len=TOKENS, byte_price=1e-7),
        inputs=(InputSpec("ids", (1, TOKENS), "int", 0, VOCABULARY - 1),),
        outputs=(
            OutputSpec("y", 26, (1, 10)),
            OutputSpec("label", 28, (1,)),
            OutputSpec("z", 35, (1, TOKENS, WIDTH)),
        ),
        weights=tuple(WeightSpec(name, w.shape, 9) for name, w in weights.items()),
        local=(Input("ids"), Apply(OneHot(VOCABULARY), (0,))),
        steps=program,
        guard=25,
    )


def tiny_feeds() -> dict[str, np.ndarray]:
    return {"ids": np.array([[3, 0, 10, 7]])}
