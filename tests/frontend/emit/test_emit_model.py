import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose

from ppc.frontend.emit.clear import RULES as CLEAR_RULES
from ppc.frontend.emit.model import emit, save
from ppc.frontend.emit.rules import RULES
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, FLOAT, INT, Graph, Input, IRError, Owner, walk, walk_from
from ppc.frontend.ir.reference import MEANING, evaluate
from ppc.frontend.read.load import load
from ppc.frontend.read.run import run
from ppc.passes import functions
from ppc.passes.owners import owners
from ppc.runtime.base import clear as alone
from ppc.runtime.base import function as f
from ppc.runtime.base.ring import Fixed

RNG = np.random.default_rng(0)
X, Y = Input((2, 3, 4), FLOAT, name="x"), Input((3, 1), FLOAT, name="y")
N, M, P = Input((2, 3), INT, name="n"), Input((3,), INT, name="m"), Input((2, 3), BOOL, name="p")
GAMMA = ops.Const(RNG.normal(size=4).astype(np.float32), True, name="gamma")
WEIGHT = ops.Const(RNG.normal(size=(4, 5)).astype(np.float32), True, name="weight")
FEEDS = {
    "x": RNG.normal(0, 2, (2, 3, 4)).astype(np.float32),
    "y": RNG.uniform(0.5, 2, (3, 1)).astype(np.float32),
    "n": np.array([[3, -2, 0], [1, 5, -7]]),
    "m": np.array([2, 3, 4]),
    "p": np.array([[True, False, True], [False, False, True]]),
}


def clears(function, *xs, shape=None, to=FLOAT):
    function = f.Plain(function) if isinstance(function, str) else function
    return ops.Clear(function, xs, shape or xs[0].type.shape, to)


UNIT = ops.Tanh(X)
HARDMAX = f.Onnx(
    operator="Hardmax",
    opset=17,
    result=0,
    results=1,
    kinds=("float",),
    shape=(2, 3, 4),
    attributes=(("axis", 1),),
)
CASES = {
    "onnx": clears(HARDMAX, X),
    "add": ops.Add(X, Y),
    "int and float": ops.Mul(N, ops.Reshape(Y, (1, 3))),
    "bool and float": ops.Sub(ops.Cast(P, FLOAT), ops.Reshape(Y, (1, 3))),
    "div": ops.Div(X, Y),
    "int div": ops.Div(N, M),
    "pow": ops.Pow(Y, ops.Const(np.float32(3))),
    "mod": ops.Mod(X, Y),
    "fmod": ops.Mod(X, Y, fmod=True),
    "int mod": ops.Mod(N, M),
    "int fmod": ops.Mod(N, M, fmod=True),
    "max": ops.Max(X, Y),
    "min": ops.Min(N, M),
    "equal": ops.Equal(N, M),
    "equal bools": ops.Equal(P, ops.Not(P)),
    "less": ops.Less(X, Y),
    "greater": ops.Greater(N, ops.Reshape(Y, (1, 3))),
    "less or equal": ops.LessOrEqual(N, M),
    "greater or equal": ops.GreaterOrEqual(X, Y),
    "and": ops.And(P, ops.Not(P)),
    "or": ops.Or(P, ops.Less(N, M)),
    "neg": ops.Neg(N),
    "abs": ops.Abs(X),
    "relu": ops.Relu(X),
    "int relu": ops.Relu(N),
    "clip": ops.Clip(X, lo=-1.0, hi=0.5),
    "clip above": ops.Clip(X, hi=0.5),
    "int clip": ops.Clip(N, lo=0),
    "is nan": ops.IsNaN(ops.Sqrt(X)),
    "floor": ops.Floor(X),
    "square": ops.Square(X),
    "to int": ops.Cast(X, INT),
    "to bool": ops.Cast(N, BOOL),
    "where": ops.Where(P, ops.Const(np.float32(0)), N),
    "sqrt": ops.Sqrt(Y),
    "exp": ops.Exp(X),
    "erf": ops.Erf(X),
    "tanh": ops.Tanh(X),
    "sigmoid": ops.Sigmoid(X),
    "reciprocal": ops.Reciprocal(Y),
    "gelu": ops.Gelu(X),
    "gelu tanh": ops.Gelu(X, "tanh"),
    "silu": ops.Silu(X),
    "softmax": ops.Softmax(X, axis=1),
    "layer norm": ops.LayerNorm(X, GAMMA, ops.Const(np.ones(4), True), eps=1e-3),
    "rms norm": ops.RMSNorm(X, GAMMA, eps=1e-3),
    "matmul": ops.MatMul(X, WEIGHT),
    "sum": ops.ReduceSum(X, axes=(0, 2), keepdims=False),
    "int sum": ops.ReduceSum(N, axes=(1,)),
    "mean": ops.ReduceMean(X, axes=(-1,)),
    "max of a row": ops.ReduceMax(X, axes=(2,)),
    "cumsum": ops.CumSum(N, axis=1),
    "cumsum from the end": ops.CumSum(X, axis=0, exclusive=True, reverse=True),
    "gather": ops.Gather(WEIGHT, ops.Const(np.array([[0, 3], [-1, 2]])), axis=0),
    "gather columns": ops.Gather(X, ops.Const(np.array(1)), axis=2),
    "one hot": ops.OneHot(ops.Const(np.array([0, -1, 2])), 4),
    "reshape": ops.Reshape(X, (6, 4)),
    "transpose": ops.Transpose(X, (2, 0, 1)),
    "broadcast": ops.Broadcast(Y, (2, 3, 4)),
    "slice": ops.Slice(X, (0, -1), (2, -9), (1, 2), (1, -2)),
    "concat": ops.Concat((X, ops.Neg(X)), axis=1),
    "concat kinds": ops.Concat((N, ops.Cast(P, FLOAT)), axis=0),
    "rescaled": ops.Mul(X, ops.Const(np.array([1.5]))),
    **{name: clears(name, UNIT) for name in ("Ceil", "Round", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan")},
    **{name: clears(name, UNIT) for name in ("Sinh", "Cosh", "Asinh", "Atanh", "Softplus", "Softsign")},
    "Mish": clears("Mish", UNIT),
    "Acosh": clears("Acosh", ops.Exp(ops.Abs(X))),
    "Log": clears("Log", Y),
    "IsInf": clears(f.IsInf(True, False), ops.Div(X, ops.Const(np.float32(0))), to=BOOL),
    "Elu": clears(f.Elu(1.3, 1.0), X),
    "Celu": clears(f.Celu(1.3), X),
    "ThresholdedRelu": clears(f.ThresholdedRelu(0.5), X),
    "Shrink": clears(f.Shrink(0.3, 0.5), X),
    "LogSoftmax": clears(f.LogSoftmax(2), X),
    "Product": clears(f.Product((1,), True), X, shape=(2, 1, 4)),
    "LogSumExp": clears(f.LogSumExp((2,), False), X, shape=(2, 3)),
    "ArgExtreme": clears(f.ArgExtreme(2, False, True, True), X, shape=(2, 3), to=INT),
    "Top": clears(f.Top(2, 2, True, False), X, shape=(2, 3, 2)),
    "Top places": clears(f.Top(2, 2, False, True), X, shape=(2, 3, 2), to=INT),
    "BitShift": clears(f.BitShift(True), M, M, to=INT),
}  # fmt: skip


def graph(*outputs):
    inputs = {each for each in walk_from(*outputs) if isinstance(each, Input)}
    found = tuple(each for each in (X, Y, N, M, P) if each in inputs)
    return Graph(found, {f"out{i or ''}": op for i, op in enumerate(outputs)})


def both(g):
    feeds = {each.name: FEEDS[each.name] for each in g.inputs}
    model = emit(g)
    onnx.checker.check_model(model, full_check=True)
    return evaluate(g, feeds), run(model, feeds), model


@pytest.mark.parametrize("case", CASES)
def test_onnx_runtime_computes_what_the_graph_means(case):
    exact, got, model = both(graph(CASES[case]))
    assert_allclose(got["out"], exact["out"], rtol=2e-5, atol=2e-6)
    assert got["out"].dtype.kind == {FLOAT: "f", INT: "i", BOOL: "b"}[CASES[case].type.num]
    assert model.opset_import[0].version == 17


def test_every_op_has_a_case_or_is_refused():
    reached = {type(op) for case in CASES.values() for op in walk(graph(case))}
    assert set(MEANING) - reached == {ops.Spline, ops.Rescale}
    assert set(RULES) <= reached
    clear = {
        op.function.key for case in CASES.values() for op in walk(graph(case)) if isinstance(op, ops.Clear)
    }
    assert clear == set(CLEAR_RULES)
    assert {*alone.PLAIN, *alone.WITH_ATTRIBUTES} - clear == {"BitAnd", "BitOr", "BitXor", "BitNot"}


@pytest.mark.parametrize(
    "op",
    [
        ops.Spline(X, functions.relu()),
        ops.Cast(X, Fixed(20, 8)),
        ops.Const(np.ones(2), num=Fixed(20, 8)),
        clears("BitAnd", N, N, to=INT),
    ],
)
def test_what_onnx_lacks_is_refused(op):
    with pytest.raises(IRError, match="ONNX has no"):
        emit(graph(op))


def test_names_are_kept_and_never_shared():
    a = ops.Relu(X, name="layer.0")
    b = ops.Neg(a, name="layer.0")
    c = ops.Abs(b, name="x")
    model = emit(graph(ops.Tanh(c, name="last"), a))
    made = [name for node in model.graph.node for name in node.output]
    assert made == ["out1", "layer.0", "x.2", "out"]
    assert len(set(made)) == len(made)


def test_outputs_that_no_node_makes():
    g = Graph((X,), {"same": X, "weight": GAMMA, "twice": X})
    got = run(emit(g), {"x": FEEDS["x"]})
    assert_allclose(got["same"], FEEDS["x"])
    assert_allclose(got["twice"], FEEDS["x"])
    assert_allclose(got["weight"], GAMMA.value)


def test_one_value_under_two_names():
    op = ops.Relu(X)
    got = run(emit(Graph((X,), {"a": op, "b": op})), {"x": FEEDS["x"]})
    assert_allclose(got["a"], got["b"])


MASK = ops.Const(np.where(np.tri(3, 4) > 0, 0, -np.inf).astype(np.float32), name="mask")
WIDE = ops.Const(RNG.normal(size=(20, 20)).astype(np.float32), name="wide")


def test_what_is_secret_stays_secret_and_a_public_mask_public():
    scores = ops.MatMul(X, ops.Const(RNG.normal(size=(4, 4)).astype(np.float32), True))
    half = ops.Const(np.float32(0.5))
    kept = ops.Const(np.tri(3, 4) > 0)
    g = Graph((X,), {"y": ops.Add(ops.Where(kept, ops.Mul(scores, half), MASK), MASK)})
    again = load(emit(g))
    assert_allclose(evaluate(again, {"x": FEEDS["x"]})["y"], evaluate(g, {"x": FEEDS["x"]})["y"], rtol=1e-5)
    found = [
        (op.value.size, op.value.dtype.kind, op.secret) for op in walk(again) if isinstance(op, ops.Const)
    ]
    assert sorted(found) == [(1, "f", False), (12, "b", False), (12, "f", False), (16, "f", True)]
    assert owners(again)[again.outputs["y"]] is Owner.SHARED


def test_a_public_table_of_many_values_becomes_the_servers():
    again = load(emit(Graph((X,), {"y": ops.MatMul(ops.Reshape(X, (6, 4)), ops.Reshape(WIDE, (4, 100)))})))
    assert any(op.secret for op in walk(again) if isinstance(op, ops.Const) and op.value.size == 400)


def test_a_mask_beyond_single_precision_is_minus_infinity():
    deep = ops.Const(np.array(-1e39), name="deep")
    got = run(emit(graph(ops.Add(X, deep))), {"x": FEEDS["x"]})["out"]
    assert np.all(np.isneginf(got))


@pytest.mark.parametrize("limit", [1 << 30, 64])
def test_weights_beside_the_file(tmp_path, monkeypatch, limit):
    monkeypatch.setattr("ppc.frontend.emit.model.LARGEST_FILE", limit)
    path = tmp_path / "model.onnx"
    weight = ops.Const(RNG.normal(size=(4, 500)).astype(np.float32), True)
    g = graph(ops.MatMul(X, weight))
    for _ in range(2):  # a second time over what is there
        save(g, path)
    assert (tmp_path / "model.onnx.data").exists() == (limit == 64)
    assert_allclose(run(path, {"x": FEEDS["x"]})["out"], evaluate(g, {"x": FEEDS["x"]})["out"], atol=1e-5)
    if limit == 64:
        assert (tmp_path / "model.onnx.data").stat().st_size == 8000
