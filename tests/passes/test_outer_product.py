import sys

import numpy as np
import pytest
from rewriting import becomes, graph, inp, refuses

from ppc import passes
from ppc.backend.choose import BYTE_PRICE
from ppc.backend.lower import lower
from ppc.frontend.ir import ops
from ppc.passes.outer_product import LEAST, outer_product
from ppc.runtime.plan.file import Options
from ppc.runtime.session.connection import predict_cost

W = ops.Const([[1.0, 2.0], [0.5, -1.0]], True)
ROWS = LEAST // 2
FEEDS = [
    {"x": np.random.default_rng(seed).normal(size=(16 * ROWS, 2)), "n": np.array([[0.1]])}
    for seed in range(2)
]


def large(rows=ROWS):
    return ops.MatMul(inp(rows, 2), W)


EXPECTED = f"""
%0 = Input(n)
%1 = Input(x)
%2 = Reshape(%0, shape=(1,1))
%3 = Const(secret)
%4 = MatMul(%1, %3)
%5 = Reshape(%4, shape=(1,{LEAST}))
%6 = MatMul(%2, %5)
%7 = Reshape(%6, shape=({ROWS},2))
"""


@pytest.mark.parametrize("first", [True, False])
def test_a_number_of_the_clients_times_many(first):
    n, z = inp(1, 1, name="n"), large()
    becomes(outer_product, graph(ops.Mul(n, z) if first else ops.Mul(z, n)), EXPECTED)


@pytest.mark.parametrize(
    "product",
    [
        lambda: ops.Mul(large(ROWS - 1), inp(1, 1, name="n")),
        lambda: ops.Mul(large(), inp(1, 2, name="n")),
        lambda: ops.Mul(large(), ops.Const([[3.0]], True)),
        lambda: ops.Mul(large(), ops.MatMul(inp(ROWS, 2, name="v"), W)),
        lambda: ops.Mul(inp(ROWS, 2), inp(1, 1, name="n")),
    ],
    ids=["few", "a row", "the server's number", "element by element", "the client's own"],
)
def test_other_products_stay(product):
    refuses(outer_product, graph(product()))


def offline(g):
    """Bytes of the offline phase of its plan."""
    done = passes.run(g, feeds=FEEDS)
    plan, _ = lower(done.graph, model="", profile="exact", options=Options(byte_price=BYTE_PRICE))
    total = predict_cost(plan).total("offline")
    return total.client + total.server


@pytest.mark.long
def test_the_pipeline_has_it_at_a_third_of_the_bytes(monkeypatch):
    many = graph(ops.Mul(ops.Relu(large(16 * ROWS)), inp(1, 1, name="n")))
    cheap = offline(many)
    monkeypatch.setattr(sys.modules[outer_product.__module__], "LEAST", 1 << 30)
    relu = offline(graph(ops.Add(ops.Relu(large(16 * ROWS)), inp(1, 1, name="n"))))
    assert cheap - relu < (offline(many) - relu) / 3
