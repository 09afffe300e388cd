"""What the tests of substitutions share: an op, its exact values, and what is put in its place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from rewriting import graph, inp

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op
from ppc.frontend.ir.reference import evaluate
from ppc.passes.friendly import variants
from ppc.passes.substitution import Samples, Substitution

Floats = NDArray[np.float64]

RNG = np.random.default_rng(0)
GAMMA = ops.Const(np.array([1.0, 2.0, 0.5, 1.5], np.float32), True, name="gamma")
BETA = ops.Const(np.array([0.0, 0.1, -1.0, 0.3], np.float32), True, name="beta")
X = RNG.normal(0.5, 1.5, (64, 4))


def row(op_type: type[Op], x: Op) -> Op:
    """An op of that type on x, a norm with `GAMMA` and `BETA`."""
    if op_type is ops.LayerNorm:
        return ops.LayerNorm(x, GAMMA, BETA, eps=1e-5)
    return ops.RMSNorm(x, GAMMA, eps=1e-5) if op_type is ops.RMSNorm else op_type(x)  # type: ignore[call-arg]


def value(g: Graph, x: Floats) -> Floats:
    return evaluate(g, {"x": x})["y"]


def exact(op: Op, x: Floats) -> Floats:
    return value(graph(op), x)


def find(op: type[Op], name: str) -> Substitution:
    return variants(op)[name]


def made(
    substitution: Substitution,
    x: Floats,
    y: Floats | None = None,
    settings: Mapping[str, float | bool] | None = None,
    shape: tuple[int, ...] | None = None,
) -> Graph:
    """The substitution of an op on x, fitted to x and y, as a graph."""
    op = row(substitution.op, inp(*(shape or x.shape)))
    wanted = exact(row(substitution.op, inp(*x.shape)), x) if y is None else y
    settings = {**substitution.settings, **(settings or {})}
    constants = substitution.fit(op, Samples([x], [wanted]), settings)
    return graph(substitution.build(op, constants, settings))


def distance(
    substitution: Substitution, x: Floats, settings: Mapping[str, float | bool] | None = None
) -> float:
    """Mean square difference to the exact op."""
    wanted = exact(row(substitution.op, inp(*x.shape)), x)
    return float(np.mean((value(made(substitution, x, settings=settings), x) - wanted) ** 2))
