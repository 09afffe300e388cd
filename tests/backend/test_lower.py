"""Lowering: a plan means what its graph means in integers, and what cannot be lowered is named."""

from __future__ import annotations

import numpy as np
import pytest

from models.tiny_bert import sample
from ppc import passes
from ppc.backend.choose import worth
from ppc.backend.lower import RULES, LoweringError, lower
from ppc.frontend.ir import fixed, ops
from ppc.frontend.ir.graph import FLOAT, INT, Graph, Input, Op
from ppc.frontend.read.load import load
from ppc.passes import functions
from ppc.passes.errors import RangeError
from ppc.passes.legal import LEGAL
from ppc.runtime.base.function import Plain
from ppc.runtime.base.ring import Fixed
from ppc.runtime.net.network import parse_network
from ppc.runtime.plan import local, steps
from ppc.runtime.plan.file import Options, decode
from ppc.runtime.protocols.halves import FLIGHT
from ppc.runtime.session.simulate import simulate

F, G = Fixed(24, 8), Fixed(24, 6)
RNG = np.random.default_rng(8)
X = np.round(RNG.uniform(-2, 2, (2, 4)) * 256) / 256

OPTIONS = Options(byte_price=1e-7)


def weight(*shape: int, num: Fixed = G, name: str = "w", secret: bool = True) -> ops.Const:
    return ops.Const(np.round(RNG.uniform(-1, 1, shape) * 64) / 64, secret, num=num, name=name)


def shared(rows: int = 2, cols: int = 4) -> tuple[Input, Op]:
    """A client's input, and it plus a weight: a value that neither side knows."""
    x = Input((rows, cols), FLOAT, name="x")
    return x, ops.Add(ops.Cast(x, F), weight(cols, num=F, name="bias"), name="sum")


def plan_of(x: Input, y: Op):
    return lower(Graph((x,), {"y": y}), model="m", profile="exact", options=OPTIONS)


def agrees(x: Input, y: Op, feed: np.ndarray = X) -> list[str]:
    """The plan and the graph give the same integers; the kinds of the plan's steps."""
    plan, weights = plan_of(x, y)
    assert decode(plan.body) == plan
    (got,) = simulate(plan, weights, {"x": feed}).values()
    want = fixed.evaluate(Graph((x,), {"y": y}), {"x": feed})["y"]
    assert np.array_equal(got.reshape(want.shape), want)
    assert plan.outputs[0].shape == y.type.shape
    return [type(step).__name__ for step in plan.steps]


UNARY = {
    "Neg": lambda s: ops.Neg(s),
    "Square": lambda s: ops.Square(s),
    "Rescale": lambda s: ops.Rescale(s, Fixed(16, 5)),
    "ReduceSum kept": lambda s: ops.ReduceSum(s, (1,), True),
    "ReduceSum gone": lambda s: ops.ReduceSum(s, (-1,), False),
    "Reshape": lambda s: ops.Reshape(s, (4, 2)),
    "Transpose": lambda s: ops.Transpose(s, (1, 0)),
    "Broadcast": lambda s: ops.Broadcast(s, (3, 2, 4)),
    "Slice": lambda s: ops.Slice(s, (1,), (4,), (1,), (2,)),
    "Gather a row": lambda s: ops.Gather(s, ops.Const(np.array([3, 0, -1, 0, 2])), -1),
    "Gather a matrix": lambda s: ops.Gather(s, ops.Const(np.array([[1, 0], [0, 0]])), 0),
    "Concat": lambda s: ops.Concat((s, s), -1),
    "Add": lambda s: ops.Add(s, s),
    "Sub": lambda s: ops.Sub(s, ops.Neg(s)),
    "Mul shared": lambda s: ops.Mul(s, s),
    "Mul repeated": lambda s: ops.Mul(ops.ReduceSum(s, (1,), True), s),
    "Mul scalar": lambda s: ops.Mul(s, ops.Const(np.float64(0.75), num=Fixed(24, 4))),
    "Mul weight": lambda s: ops.Mul(weight(4), s),
    "Mul column": lambda s: ops.Mul(s, weight(2, 1)),
    "MatMul weight": lambda s: ops.MatMul(s, weight(4, 3)),
    "weight MatMul": lambda s: ops.MatMul(weight(3, 2), s),
    "MatMul shared": lambda s: ops.MatMul(s, ops.Transpose(s, (1, 0))),
    "MatMul batch": lambda s: ops.MatMul(ops.Broadcast(s, (3, 2, 4)), weight(3, 4, 2)),
}


@pytest.mark.parametrize("name", UNARY)
def test_a_plan_means_what_its_graph_means(name):
    x, s = shared()
    agrees(x, UNARY[name](s))


@pytest.mark.parametrize(("steadies", "drop"), [(False, 0), (True, F.scale - 2)])
def test_the_maximum_of_a_row(steadies, drop):
    """Exact, but for what a softmax subtracts."""
    x, s = shared()
    most = ops.ReduceMax(s, (1,), True, steadies)
    plan, weights = plan_of(x, most)
    (got,) = simulate(plan, weights, {"x": X}).values()
    assert np.array_equal(got, fixed.evaluate(Graph((x,), {"y": most}), {"x": X})["y"])
    (step,) = [s for s in plan.steps if isinstance(s, steps.Maximum)]
    assert step.drop == drop


@pytest.mark.long
def test_a_whole_model_through_lowering_is_its_fixed_point_graph(small):
    graph = load(small.model, seq_len=8)
    state = passes.run(graph)
    feeds = sample(8, used=5, seed=2)
    plan, weights = lower(state.graph, model="small", profile="exact", options=OPTIONS)
    values = simulate(plan, weights, feeds)
    want = fixed.evaluate(state.graph, feeds)
    for out in plan.outputs:
        assert np.array_equal(values[out.value].reshape(out.shape), want[out.name])


# ---- who holds what


def test_products_with_one_operand_share_its_upload():
    x, s = shared()
    parts = [ops.MatMul(s, weight(4, n, num=Fixed(24, scale))) for n, scale in ((3, 6), (2, 7))]
    y = ops.Concat((ops.Rescale(parts[0], Fixed(24, 10)), ops.Rescale(parts[1], Fixed(24, 10))), -1)
    kinds = agrees(x, y)
    assert kinds.count("Linear") == 1


@pytest.mark.parametrize(("rows", "batches"), [(3, 1), (64, 6)])
def test_small_products_of_a_batch_are_made_at_once(rows, batches):
    """Three rows of a head leave most of an upload empty; sixty-four fill it."""
    x = Input((6, rows, 64), FLOAT, name="x")
    s = ops.Add(ops.Cast(x, F), weight(64, num=F, name="bias"))
    plan, _ = plan_of(x, ops.MatMul(s, ops.Transpose(s, (0, 2, 1))))
    (product,) = (step for step in plan.steps if isinstance(step, steps.MatMul))
    assert {made.batch for made in product.products()} == {batches}


def test_products_in_other_rings_do_not():
    x, s = shared()
    wide = ops.MatMul(ops.Rescale(s, Fixed(30, 8)), weight(4, 2, num=Fixed(30, 6)))
    y = ops.Add(ops.MatMul(s, weight(4, 2)), ops.Rescale(wide, Fixed(24, 14)))
    assert agrees(x, y).count("Linear") == 2


def test_secrets_stay_with_the_server_and_small_public_constants_do_not():
    x, s = shared()
    public = ops.Const(np.arange(4) / 4, False, num=F, name="public")
    plan, weights = plan_of(x, ops.Add(ops.Add(s, weight(4, num=F, name="secret")), public))
    assert set(weights) == {"bias", "secret"}
    assert [step.name for step in plan.steps if isinstance(step, steps.Public)] == ["public"]


def test_weights_of_one_name_are_kept_apart():
    x, s = shared()
    y = ops.Add(ops.Add(s, weight(4, num=F)), weight(4, num=F))
    plan, weights = plan_of(x, y)
    assert set(weights) == {"bias", "w", "w.2"}
    assert {w.name: w.bits for w in plan.weights}.keys() == set(weights)
    agrees(x, y)


def test_what_the_client_knows_it_computes_alone():
    x = Input((2, 4), FLOAT, name="x")
    alone = ops.Cast(ops.Exp(ops.Mul(x, ops.Const(np.float32(0.5)))), F)
    plan, weights = plan_of(x, ops.Add(alone, weight(4, num=F)))
    half = local.Const((), (0.5,))
    product, power = local.Apply(Plain("Mul"), (0, 1)), local.Apply(Plain("Exp"), (2,))
    assert plan.local == (local.Input("x"), half, product, power)
    assert [type(s).__name__ for s in plan.steps] == ["Encode", "Weight", "Add", "Output"]
    (got,) = simulate(plan, weights, {"x": X}).values()
    assert np.abs(got - np.exp(X / 2) - weights["w"] / 256).max() <= 1 / 512


def test_ids_are_bounded_by_the_smallest_table_they_look_up():
    ids = Input((1, 3), INT, name="x")
    looked = [ops.MatMul(ops.OneHot(ids, n, num=Fixed(24)), weight(n, 2)) for n in (9, 5)]
    plan, _ = plan_of(ids, ops.Add(*looked))
    assert (plan.inputs[0].kind, plan.inputs[0].low, plan.inputs[0].high) == ("int", 0, 4)


def test_norms_are_the_smallest_power_of_two_that_holds():
    x, s = shared()
    plan, weights = plan_of(x, ops.MatMul(s, weight(4, 3)))
    norm = np.linalg.norm(weights["w"].astype(float), axis=0).max()
    assert 2.0 ** (plan.products[0].norm_bits - 1) < norm <= 2.0 ** plan.products[0].norm_bits


# ---- refusals


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x, s: ops.ReduceMax(s, (0,), True), "other axes than the last"),
        (lambda x, s: ops.Tanh(s, num=F), "no protocol computes Tanh"),
        (lambda x, s: ops.Add(x, weight(4, num=None)), "no protocol|no fixed-point format"),
        (lambda x, s: ops.Add(s, ops.Const(np.full(4, 1e6), True, num=F)), "does not fit"),
    ],
)
def test_what_cannot_be_lowered_is_named(build, message):
    x, s = shared()
    with pytest.raises(LoweringError, match=message) as refused:
        plan_of(x, build(x, s))
    assert refused.value.exit_status == 3


def test_a_product_in_too_wide_a_ring_is_named():
    x = Input((2, 4), FLOAT, name="x")
    wide = ops.Add(ops.Cast(x, Fixed(49, 8)), weight(4, num=Fixed(49, 8)))
    product = ops.MatMul(wide, weight(4, 4, num=Fixed(49, 6)), name="scores")
    with pytest.raises(RangeError, match=r"MatMul scores .* 2\^48, not 2\^49. Allow a larger") as refused:
        plan_of(x, product)
    assert refused.value.exit_status == 6


def test_a_product_that_no_parameters_carry_is_named():
    x = Input((2, 4), FLOAT, name="x")
    wide = ops.Add(ops.Cast(x, Fixed(48, 8)), weight(4, num=Fixed(48, 8)))
    product = ops.MatMul(wide, weight(4, 4, num=Fixed(48, 6)), name="scores")
    with pytest.raises(RangeError, match=r"MatMul scores .*harmless. Allow a larger --max-error"):
        plan_of(x, product)


def test_an_output_that_nobody_computes_is_refused():
    x = Input((2, 4), FLOAT, name="x")
    with pytest.raises(LoweringError, match="does not depend on the model's weights"):
        plan_of(x, ops.Neg(x))


def test_what_the_passes_leave_on_shares_is_what_can_be_lowered() -> None:
    assert LEGAL["check_range"].shared == set(RULES)


def test_of_a_label_its_place_is_all_that_is_revealed():
    x, y = shared()
    plan, weights = lower(Graph((x,), {"y": y}), model="m", profile="exact", options=OPTIONS, argmaxes=("y",))
    told = [step for step in plan.steps if step.reveals()]
    assert [type(plan.steps[step.x]) for step in told] == [steps.Maximum]
    assert [(out.name, out.shape, plan.choices(out)) for out in plan.outputs] == [("y", (2,), 4)]
    assert plan.forms[plan.outputs[0].value].num == Fixed(3)
    want = fixed.evaluate(Graph((x,), {"y": y}), {"x": X})["y"].argmax(axis=-1)
    assert np.array_equal(next(iter(simulate(plan, weights, {"x": X}).values()))[:, 0], want)


def norm(rows: int = 256, cols: int = 64) -> tuple[Input, Op]:
    """Rows, each times a number of its own that comes of the sum of its squares, then times factors."""
    x, y = shared(rows, cols)
    squares = ops.Rescale(ops.ReduceSum(ops.Square(y), (1,), True), F)
    scaled = ops.Rescale(ops.Mul(y, squares), F)
    return x, ops.Rescale(ops.Mul(scaled, weight(cols, name="factors")), F)


@pytest.mark.parametrize(
    ("byte_price", "kinds", "made"),
    [(1e-5, {"SquareSum"}, [1, 2, 1]), (1e-12, {"Square", "Sum"}, [0, 0])],
)
def test_rows_meet_numbers_under_he_where_bytes_are_dear(monkeypatch, byte_price, kinds, made):
    monkeypatch.setattr("ppc.backend.lower_rows.cot_seconds", lambda: 0.0)
    x, y = norm()
    options = Options(byte_price=byte_price)
    plan, weights = lower(Graph((x,), {"y": y}), model="m", profile="exact", options=options)
    assert {type(step).__name__ for step in plan.steps} & {"Square", "Sum", "SquareSum"} == kinds
    rows = [step for step in plan.steps if isinstance(step, steps.SquareSum | steps.Multiply | steps.Scaled)]
    assert [len(step.products()) for step in rows] == made
    feed = {"x": np.round(RNG.uniform(-0.1, 0.1, (256, 64)) * 256) / 256}
    (got,) = simulate(plan, weights, feed).values()
    assert np.array_equal(got, fixed.evaluate(Graph((x,), {"y": y}), feed)["y"])


@pytest.mark.parametrize(("network", "flight"), [("20Mbit,2ms", 2500), ("wan", FLIGHT)])
def test_comparisons_know_what_a_flight_is_worth(network, flight):
    x, value = shared()
    link = parse_network(network)
    options = Options(byte_price=link.byte_price, flight=worth(link))
    outputs = {
        "most": ops.ReduceMax(value, axes=(1,), keepdims=True),
        "best": value,
        "relu": ops.Spline(value, functions.relu(), num=F, quad=F, width=24),
    }
    graph = Graph((x,), outputs)
    plan, _ = lower(graph, model="m", profile="exact", options=options, argmaxes=("best",))
    kinds = [step for step in plan.steps if isinstance(step, steps.Spline | steps.Maximum)]
    assert [step.flight for step in kinds] == [flight] * len(kinds)
    assert len(kinds) >= 3


def test_squares_that_something_else_reads_are_kept():
    x, y = shared()
    squares = ops.Square(y)
    total = ops.Broadcast(ops.ReduceSum(squares, (1,), True), (2, 4))
    assert "SquareSum" not in agrees(x, ops.Add(squares, total))


def test_a_public_factor_for_every_column_is_free():
    x, value = shared()
    told = agrees(x, ops.Mul(value, weight(4, secret=False)))
    assert "TimesPublic" in told
    assert "Scaled" not in told
    assert "Scaled" in agrees(x, ops.Mul(value, weight(4)))


@pytest.mark.parametrize(
    ("factors", "shape", "why"),
    [((1, 2), (3,), "2 factors"), ((1, 2), (2,), "do not repeat"), ((1, 2, 3), (1, 3), "do not repeat")],
)
def test_public_factors_that_do_not_fit_are_refused(factors, shape, why):
    with pytest.raises(ValueError, match=why):
        steps.TimesPublic(x=0, factors=factors, shape=shape, scale=1).infer(steps.Form(F, (2, 4)))
