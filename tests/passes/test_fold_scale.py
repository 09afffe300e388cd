import numpy as np
from numpy.testing import assert_allclose

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.ir.text import show
from ppc.passes.fold_scale import fold_scale

X = Input((1, 3, 4), FLOAT, name="x")
RNG = np.random.default_rng(3)
W, B, U = (ops.Const(RNG.normal(size=shape), True) for shape in ((4, 4), (4,), (4, 4)))
C = ops.Const(0.25)


def dense():
    return ops.Add(ops.MatMul(X, W), B)


def split(x):
    return ops.Transpose(ops.Reshape(x, (1, 3, 2, 2)), (0, 2, 1, 3))


def scores(q):
    return ops.MatMul(split(q), ops.Transpose(split(ops.MatMul(X, U)), (0, 1, 3, 2)))


def same(before, after):
    feeds = {"x": RNG.normal(size=X.type.shape)}
    assert_allclose(evaluate(before, feeds)["y"], evaluate(after, feeds)["y"], rtol=1e-6)


def test_factor_goes_into_weight_and_bias():
    before = Graph((X,), {"y": ops.Mul(dense(), C, name="scaled")})
    done = fold_scale(before)
    assert show(done.graph) == (
        "%0 = Input(x) : f32[1,3,4]\n"
        "%1 = Const(secret) : f32[4,4]\n"
        "%2 = MatMul(%0, %1) : f32[1,3,4]\n"
        "%3 = Const(secret) : f32[4]\n"
        "%4 = Add(%2, %3) : f32[1,3,4]  # scaled\n"
        "return y=%4\n"
    )
    same(before, done.graph)


def test_attention_scale_passes_reshape_and_transpose():
    for op in (
        ops.Mul(scores(dense()), C),
        ops.Mul(C, scores(dense())),
        ops.Div(scores(dense()), ops.Const(4.0)),
    ):
        before = Graph((X,), {"y": op})
        done = fold_scale(before)
        assert done.count == 1
        assert not [
            line for line in show(done.graph).splitlines() if "Mul(%" in line and "MatMul" not in line
        ]
        same(before, done.graph)


def test_a_value_with_another_user_refuses():
    q = dense()
    done = fold_scale(Graph((X,), {"y": ops.Mul(q, C), "q": q}))
    assert done.count == 0
    assert "another user" in str(done.refusals[0])


def test_without_a_weight_it_stays():
    for x in (ops.Relu(dense()), ops.Add(dense(), X)):
        assert fold_scale(Graph((X,), {"y": ops.Mul(x, C)})).count == 0


def test_a_vector_stays():
    assert fold_scale(Graph((X,), {"y": ops.Mul(dense(), ops.Const(np.ones(4)))})).count == 0


def test_what_the_client_owns_stays():
    assert fold_scale(Graph((X,), {"y": ops.Mul(ops.Neg(X), C)})).count == 0
