import numpy as np
import pytest
import tiny_bert
from numpy.testing import assert_allclose

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, Graph, Input, walk
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.ir.text import show
from ppc.passes.calibrate import calibrate
from ppc.passes.errors import RangeError
from ppc.passes.owners import owners
from ppc.passes.spline_fit import FitError
from ppc.passes.substitute import APPROXIMATIONS, DECOMPOSITIONS, approximate, decompose

RNG = np.random.default_rng(0)
X = Input((2, 4), FLOAT, name="x")
WEIGHT = ops.Const(RNG.normal(size=(4, 4)).astype(np.float32), True)
FEEDS = [{"x": RNG.normal(size=(2, 4))} for _ in range(4)]


def hidden():
    return ops.MatMul(X, WEIGHT)


def row(*values):
    return ops.Const(np.array(values, np.float32), True)


GAMMA, BETA = row(1, 2, 0.5, 1), row(0, 0.1, -1, 0)

DECOMPOSED = {
    "softmax": lambda: ops.Softmax(hidden(), name="y"),
    "layer norm": lambda: ops.LayerNorm(hidden(), GAMMA, BETA, eps=1e-5, name="y"),
    "rms norm": lambda: ops.RMSNorm(hidden(), GAMMA, eps=1e-5, name="y"),
    "division": lambda: ops.Div(hidden(), ops.Exp(hidden()), name="y"),
    "mean": lambda: ops.ReduceMean(hidden(), axes=(1,), name="y"),
    "abs": lambda: ops.Abs(hidden(), name="y"),
}


@pytest.mark.parametrize("name", DECOMPOSED)
def test_decomposition_keeps_the_meaning(name):
    before = Graph((X,), {"y": DECOMPOSED[name]()})
    after = decompose(before)
    assert type(after.outputs["y"]) is not type(before.outputs["y"])
    assert after.outputs["y"].name == "y"
    for feeds in FEEDS:
        assert_allclose(evaluate(before, feeds)["y"], evaluate(after, feeds)["y"], rtol=1e-5, atol=1e-6)


def test_softmax_printed():
    graph = Graph((X,), {"y": ops.Softmax(hidden(), name="y")})
    assert show(decompose(graph)).split("\n", 3)[3] == (
        "%3 = ReduceMax(%2, axes=(1), keepdims=true, steadies=true) : f32[2,1]\n"
        "%4 = Sub(%2, %3) : f32[2,4]\n"
        "%5 = Exp(%4) : f32[2,4]\n"
        "%6 = ReduceSum(%5, axes=(1), keepdims=true) : f32[2,1]\n"
        "%7 = Reciprocal(%6) : f32[2,1]\n"
        "%8 = Mul(%5, %7) : f32[2,4]  # y\n"
        "return y=%8\n"
    )


def test_what_the_client_owns_is_left_alone():
    for op in (
        ops.Softmax(X),
        ops.Div(X, ops.Neg(X)),
        ops.Gelu(X),
        ops.LayerNorm(X, ops.Const(np.ones(4)), ops.Const(np.ones(4)), eps=0.1),
    ):
        graph = Graph((X,), {"y": op})
        assert decompose(graph) is graph
        assert show(approximate(graph, calibrate(graph, FEEDS))) == show(graph)


def test_a_reciprocal_of_the_clients_stays_the_clients():
    count = Input((2, 1), FLOAT, name="count")
    after = decompose(Graph((X, count), {"y": ops.Div(hidden(), count)}))
    (reciprocal,) = (op for op in walk(after) if isinstance(op, ops.Reciprocal))
    assert owners(after)[reciprocal].value == "client"


def test_private_ids_become_one_hot_rows():
    ids = Input((1, 3), INT, name="ids")
    table = ops.Const(RNG.normal(size=(7, 4)), True)
    before = Graph((ids,), {"y": ops.Gather(table, ids)})
    after = decompose(before)
    assert "OneHot(%0, depth=7) : f32[1,3,7]" in show(after)
    feeds = {"ids": np.array([[6, 0, 2]])}
    assert_allclose(evaluate(before, feeds)["y"], evaluate(after, feeds)["y"])
    public = Input((1, 3), INT, public=True, name="ids")
    graph = Graph((public,), {"y": ops.Gather(table, public)})
    assert decompose(graph) is graph


def test_first_token_is_a_slice():
    before = Graph((X,), {"y": ops.Gather(hidden(), ops.Const(np.array(0)), axis=0)})
    assert "Gather" not in show(decompose(before))
    assert_allclose(evaluate(before, FEEDS[0])["y"], evaluate(decompose(before), FEEDS[0])["y"])


APPROXIMATED = {
    "gelu": lambda x: ops.Gelu(x),
    "gelu tanh": lambda x: ops.Gelu(x, approx="tanh"),
    "silu": ops.Silu,
    "sigmoid": ops.Sigmoid,
    "tanh": ops.Tanh,
    "erf": ops.Erf,
    "relu": ops.Relu,
    "clip": lambda x: ops.Clip(x, lo=-0.5, hi=1.0),
    "exp": lambda x: ops.Exp(ops.Neg(ops.Square(x))),
    "reciprocal": lambda x: ops.Reciprocal(ops.Add(ops.Square(x), ops.Const(0.5))),
    "sqrt": lambda x: ops.Sqrt(ops.Add(ops.Square(x), ops.Const(0.5))),
    "rsqrt": lambda x: ops.Reciprocal(ops.Sqrt(ops.Add(ops.Square(x), ops.Const(0.5)))),
}


@pytest.mark.parametrize("name", APPROXIMATED)
def test_approximation_is_a_spline_within_its_error(name):
    before = Graph((X,), {"y": APPROXIMATED[name](hidden())})
    after = approximate(before, calibrate(before, FEEDS))
    splines = [op.spline for op in walk(after) if isinstance(op, ops.Spline)]
    beside = ["relu"] if name in ("gelu", "gelu tanh", "silu") else []
    assert [each.function for each in splines[:-1]] == beside
    for feeds in FEEDS:
        exact, near = evaluate(before, feeds)["y"], evaluate(after, feeds)["y"]
        scale = np.abs(exact) if name in ("reciprocal", "sqrt", "rsqrt") else 1.0
        assert np.max(np.abs(near - exact) / scale) <= splines[-1].max_error * 1.001 + 1e-15


def test_declared_errors_hold():
    graph = Graph((X,), {"y": hidden()})
    x = calibrate(graph, FEEDS)[graph.outputs["y"]]
    positive = type(x)(0.5, 9.0, 1.0)
    for each in APPROXIMATIONS:
        argument = positive if each.name in ("reciprocal", "sqrt") else type(x)(-9.0, 0.0, 1.0)
        op = each.op(hidden(), lo=-1.0, hi=1.0) if each.op is ops.Clip else each.op(hidden())
        made = each.spline(op, argument)
        between = made.knots[-1] - made.knots[0] if made.knots else 0.0
        assert (made.error * between**0.5 if made.error else made.max_error) <= each.error


@pytest.mark.parametrize(
    ("op", "why"),
    [
        (ops.Exp, "exp is supported up to"),
        (ops.Reciprocal, "must stay above 0"),
        (ops.Sqrt, "must stay above 0"),
    ],
)
def test_ranges_outside_the_domain_are_refused(op, why):
    graph = Graph(
        (X,), {"y": op(ops.Mul(ops.Square(hidden()), ops.Const(-1.0 if op is not ops.Exp else 1.0)))}
    )
    ranges = calibrate(Graph((X,), {"y": graph.outputs["y"].x}), FEEDS)
    with pytest.raises(ValueError, match=why):
        approximate(graph, ranges)


def test_an_op_is_listed_once():
    for table in (DECOMPOSITIONS, APPROXIMATIONS):
        assert len({each.op for each in table}) == len(table)


def test_a_model_in_splines_means_the_same():
    graph = tiny_bert.tiny_bert()
    apart = decompose(graph)
    near = approximate(apart, calibrate(apart, [tiny_bert.feeds(n, n) for n in range(1, 7)]))
    for length in (6, 3):
        feeds = tiny_bert.feeds(length)
        exact = evaluate(graph, feeds)["pooled"]
        assert_allclose(evaluate(apart, feeds)["pooled"], exact, atol=1e-5)
        assert tiny_bert.cosine(evaluate(near, feeds)["pooled"], exact) > 0.9999


def test_a_root_that_is_only_inverted_is_not_fitted(monkeypatch):
    root = ops.Sqrt(ops.Add(ops.Square(hidden()), ops.Const(np.array(0.5))))
    inverted = Graph((X,), {"y": ops.Reciprocal(root)})
    both = Graph((X,), {"y": ops.Reciprocal(root), "root": root})
    ranges = calibrate(both, FEEDS)
    assert [op.spline.function for op in walk(approximate(both, ranges)) if isinstance(op, ops.Spline)] == [
        "rsqrt",
        "sqrt",
    ]

    def fitted(*_):
        raise AssertionError("fitted for nothing")

    monkeypatch.setattr("ppc.passes.functions.sqrt", fitted)
    approximate(inverted, ranges)


def test_a_fit_that_does_not_reach_its_error_is_named(monkeypatch):
    def unreachable(*_):
        raise FitError("erf: error 0.001 is out of reach")

    monkeypatch.setattr("ppc.passes.functions.erf", unreachable)
    graph = Graph((X,), {"y": ops.Erf(hidden(), name="y")})
    with pytest.raises(RangeError, match=r"Erf y : f32.*out of reach.*range is \[-.*calibrate on data"):
        approximate(graph, calibrate(graph, FEEDS))
