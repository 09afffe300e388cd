"""What ONNX Runtime does not cover (see ops/test_table): special functions, and the ops of our own."""

import weakref

import numpy as np
import pytest
import scipy

from models.tiny_bert import Shape, tiny_bert
from ppc import passes
from ppc.frontend.ir import ops, reference
from ppc.frontend.ir.graph import FLOAT, INT, Graph, Input, IRError, Op, walk
from ppc.frontend.ir.spline import SplineSpec
from ppc.frontend.read.load import load
from ppc.runtime.base.namespace import NUMPY, of_torch
from ppc.runtime.base.ring import Fixed

X = Input((2, 3), FLOAT, name="x")
IDS = Input((4,), INT, name="ids")
VALUE = np.random.default_rng(0).normal(size=(2, 3))
RELU = SplineSpec((0.0,), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), ((0, 1.0),), (-1.0, 1.0), 0.0, "relu")


def value(op: Op, **feeds: np.ndarray) -> np.ndarray:
    graph = Graph(tuple(each for each in (X, IDS) if each.name in feeds), {"y": op})
    return reference.evaluate(graph, feeds)["y"]


def test_erf_to_the_last_places() -> None:
    x = np.linspace(-6, 6, 10_001)
    np.testing.assert_allclose(NUMPY.erf(x), scipy.special.erf(x), rtol=1e-14, atol=1e-15)


def test_functions_in_double_precision() -> None:
    phi = scipy.special.ndtr(VALUE)
    np.testing.assert_allclose(value(ops.Gelu(X), x=VALUE), VALUE * phi, rtol=1e-13)
    np.testing.assert_allclose(value(ops.Silu(X), x=VALUE), VALUE * scipy.special.expit(VALUE), rtol=1e-13)
    np.testing.assert_allclose(
        value(ops.Softmax(X), x=VALUE), scipy.special.softmax(VALUE, axis=-1), rtol=1e-13
    )


def test_sigmoid_and_softmax_at_the_ends() -> None:
    far = np.array([[-1e4, 0, 1e4], [-np.inf, 0, -3.4e38]])
    assert value(ops.Sigmoid(X), x=far).tolist() == [[0, 0.5, 1], [0, 0.5, 0]]
    assert value(ops.Softmax(X), x=far).tolist() == [[0, 0, 1], [0, 1, 0]]


def test_splines() -> None:
    np.testing.assert_array_equal(value(ops.Spline(X, RELU), x=VALUE), np.maximum(VALUE, 0))
    np.testing.assert_array_equal(value(ops.Square(X), x=VALUE), VALUE**2)


def test_one_hot() -> None:
    ids = np.array([0, 2, -1, 3])
    expected = [[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert value(ops.OneHot(IDS, 3), ids=ids).tolist() == expected


def test_weights_count_in_double_precision() -> None:
    thirds = ops.Const(np.full((2, 3), 1 / 3, np.float32), True)
    exact = np.float64(np.float32(1 / 3)) ** 2
    assert value(ops.Square(thirds)).tolist() == [[exact] * 3] * 2


def test_formats_do_not_matter() -> None:
    rounded = ops.Rescale(ops.Cast(X, Fixed(32, 2)), Fixed(16, 1))
    np.testing.assert_array_equal(value(rounded, x=VALUE), VALUE)


def test_all_values() -> None:
    op = ops.Tanh(ops.Neg(X))
    graph = Graph((X,), {"y": op})
    assert list(reference.evaluate_all(graph, {"x": VALUE})) == walk(graph)


def test_feeds_are_checked() -> None:
    graph = Graph((X,), {"y": ops.Neg(X)})
    with pytest.raises(IRError, match="input x : f32\\[2,3\\] is missing"):
        reference.evaluate(graph, {})
    with pytest.raises(IRError, match="was given shape \\(3, 2\\)"):
        reference.evaluate(graph, {"x": VALUE.T})
    with pytest.raises(IRError, match="no input is called z; there are x"):
        reference.evaluate(graph, {"x": VALUE, "z": VALUE})


def test_every_op_has_a_meaning() -> None:
    def leaves(cls: type[Op]) -> set[type[Op]]:
        below = [each for each in cls.__subclasses__() if each.__module__.startswith("ppc.frontend.ir.")]
        return {cls} if not below else set().union(*map(leaves, below))

    assert leaves(Op) - {Input, ops.Opaque} == set(reference.MEANING)


def test_a_spline_is_checked() -> None:
    zero = (0.0, 0.0, 0.0)
    for knots, pieces, gates, reason in (
        ((0.0,), (zero,), (), "need 2 pieces"),
        ((1.0, 0.0), (zero,) * 3, (), "must increase"),
        ((0.0,), (zero, zero), ((1, 1.0),), "gate at knot 1"),
        ((0.0,), (zero, (0.0, 0.0)), (), "three coefficients"),
    ):
        with pytest.raises(ValueError, match=reason):
            SplineSpec(knots, pieces, gates, (-1.0, 1.0), 0.0, "f")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="empty domain"):
        SplineSpec((), (zero,), (), (1.0, -1.0), 0.0, "f")


def test_a_spline_takes_the_right_piece_at_its_knots() -> None:
    steps = SplineSpec((0.0, 1.0), ((1.0, 0, 0), (2.0, 0, 0), (3.0, 0, 0)), (), (-1.0, 2.0), 0.0, "steps")
    assert steps.evaluate([-0.5, 0, 0.5, 1, 2]).tolist() == [1, 2, 2, 3, 3]
    assert hash(steps) == hash(steps)


@pytest.mark.parametrize("stage", ["", "approximate"])
@pytest.mark.parametrize(("real", "within"), [("float64", 1e-12), ("float32", 1e-4)])
def test_a_whole_model_in_pytorch(stage: str, real: str, within: float) -> None:
    """As it is and with splines in it: the oracle's values, and a slope for every weight."""
    torch = pytest.importorskip("torch")
    graph = load(tiny_bert(Shape(layers=1, width=8, positions=6)), seq_len=6)
    graph = passes.run(graph, stop_after=stage).graph if stage else graph
    assert any(isinstance(op, ops.Spline) for op in walk(graph)) == bool(stage)
    feeds = {
        "input_ids": np.array([[3, 1, 4, 1, 5, 0]]),
        "attention_mask": np.array([[1, 1, 1, 1, 1, 0]]),
        "token_type_ids": np.array([[0, 0, 1, 1, 1, 0]]),
    }
    xp = of_torch(torch, getattr(torch, real))
    weights = {
        op: xp.astype(xp.asarray(op.value), xp.real).requires_grad_()
        for op in walk(graph)
        if isinstance(op, ops.Const) and op.secret
    }
    values = reference.evaluate_in(xp, graph, feeds, weights)
    want = reference.evaluate(graph, feeds)
    for name, op in graph.outputs.items():
        assert values[op].dtype == xp.real
        np.testing.assert_allclose(values[op].detach().numpy(), want[name], rtol=within, atol=within)
    sum((values[op] ** 3).sum() for op in graph.outputs.values()).backward()
    assert len(weights) > 10
    for op, weight in weights.items():
        assert torch.isfinite(weight.grad).all(), op
        assert weight.grad.abs().max() > 0, op


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_one_hot_rows_look_up(library: str) -> None:
    """As the product would: from behind where an id is negative, 0 beyond the table."""
    xp = NUMPY if library == "numpy" else of_torch(pytest.importorskip("torch"))
    table = ops.Const(np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32))
    rows = ops.OneHot(IDS, 5)
    product = ops.MatMul(rows, table)
    graph = Graph((IDS,), {"y": product, "rows": rows})
    ids = np.array([4, -1, 7, -6])
    values = reference.evaluate_in(xp, graph, {"ids": xp.asarray(ids)}, {table: xp.asarray(table.value)})
    found, picked = np.asarray(values[product]), np.asarray(values[rows])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, picked @ table.value.astype(np.float64), rtol=1e-15)
    assert not found[2:].any()
    assert found[:2].any()


def test_a_value_is_let_go_once_nobody_reads_it() -> None:
    once = ops.Neg(X)
    twice = ops.Square(once)
    graph = Graph((X,), {"y": ops.Add(twice, ops.Neg(twice))})
    held = {}
    for op, found in reference.values_in(NUMPY, graph, {"x": VALUE}, {}):
        held[op] = weakref.ref(found)
        del found
    assert held.keys() == set(walk(graph))
    assert held[once]() is None
    assert held[twice]() is None
