import pytest
from rewriting import becomes, graph, inp, refuses

from ppc.frontend.ir import ops
from ppc.passes.outer_product import LEAST, outer_product

W = ops.Const([[1.0, 2.0], [0.5, -1.0]], True)
ROWS = LEAST // 2


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
