import math

import numpy as np
import pytest
from rewriting import becomes, graph, inp, refuses

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.passes.publish_scale import publish_scale

W = ops.Const(np.ones((24, 24), np.float32), True)
ROOT = 1 / math.sqrt(24)


def shared(name: str) -> Op:
    return ops.MatMul(inp(1, 3, 24, name=name), W)


def scores(k: Op | None = None) -> Op:
    return ops.MatMul(shared("q"), ops.Transpose(shared("k") if k is None else k, (0, 2, 1)))


def secret(value: float, kind: type = np.float32) -> ops.Const:
    return ops.Const(np.asarray(value, kind), True)


@pytest.mark.parametrize("scale", [secret(ROOT), secret(-ROOT), secret(ROOT, np.float16)], ids=str)
def test_the_inverse_root_of_what_is_summed_is_public(scale: ops.Const) -> None:
    shown = becomes(
        publish_scale,
        graph(ops.Mul(scores(), scale)),
        f"""
%0 = Input(k)
%1 = Input(q)
%2 = Const(secret)
%3 = MatMul(%1, %2)
%4 = MatMul(%0, %2)
%5 = Transpose(%4, perm=(0,2,1))
%6 = MatMul(%3, %5)
%7 = Const({float(scale.value):.7g})
%8 = Mul(%6, %7)
""",
    )
    assert publish_scale(shown).count == 0


def test_layout_may_stand_between() -> None:
    moved = ops.Reshape(ops.Transpose(scores(), (0, 2, 1)), (3, 3))
    assert publish_scale(graph(ops.Mul(moved, secret(ROOT)))).count == 1


@pytest.mark.parametrize(
    "op",
    [
        ops.Mul(scores(), secret(1.001 * ROOT)),
        ops.Mul(scores(), secret(1 / math.sqrt(32))),
        ops.Mul(scores(), ops.Const(np.full(3, ROOT, np.float32), True)),
        ops.Mul(shared("q"), secret(ROOT)),
        ops.Mul(scores(inp(1, 3, 24, name="k")), secret(ROOT)),
        ops.Mul(ops.Tanh(scores()), secret(ROOT)),
        ops.Add(scores(), secret(ROOT)),
    ],
    ids=["near", "another size", "a row", "a weight", "the client's", "a function between", "a sum"],
)
def test_all_else_stays_secret(op: Op) -> None:
    refuses(publish_scale, graph(op))
