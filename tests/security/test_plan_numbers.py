"""A learned number, pruning mask or table is in no plan, whatever node and type an exporter gave it; and
every number that a plan does hold is on the list of what it makes public."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import model, tensor

import ppc
from ppc.backend.public import public_numbers
from ppc.frontend.read import known
from ppc.frontend.read.known import Kept
from ppc.runtime.plan import local, steps
from ppc.runtime.plan.file import Plan

pytestmark = pytest.mark.long

TOKENS, WIDTH = 4, 8
R = np.random.default_rng(2)


def mirrored(x: np.ndarray) -> np.ndarray:
    """The same from both ends of the last axis, so that what is turned around there has the same range."""
    return (x + x[..., ::-1]).astype(np.float32)


W, V = (mirrored(mirrored(R.normal(size=(WIDTH, WIDTH))).T) for _ in range(2))


@dataclass
class Net:
    """Nodes that read x and mask, the client's, and y, which x times a matrix of the server's is."""

    as_node: str = ""
    nodes: list[onnx.NodeProto] = field(
        default_factory=lambda: [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    )
    held: list[onnx.TensorProto] = field(default_factory=lambda: [tensor("w", W), tensor("v", V)])

    def op(self, kind: str, *names: str, **attributes: Any) -> str:
        made = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [made], name=made, **attributes))
        return made

    def public(self, value: Any) -> str:
        name = f"c{len(self.held)}"
        self.held.append(tensor(name, value))
        return name

    def learned(self, value: np.ndarray) -> str:
        """The tensor as an initializer, or in a node of the kind asked for."""
        match self.as_node:
            case "Constant":
                return self.op("Constant", value=tensor("t", value))
            case "value_float":
                return self.op("Constant", value_float=float(value.reshape(())))
            case "ConstantOfShape":
                shape = self.public(np.array(value.shape, np.int64))
                return self.op("ConstantOfShape", shape, value=tensor("t", value.reshape(1)))
        self.held.append(tensor("learned", value))
        return "learned"

    def compiled(self, out: str, path: Path) -> Plan:
        rng, read = np.random.default_rng(1), {name for node in self.nodes for name in node.input}
        samples = []
        for kept in range(2, 2 + TOKENS):
            x = mirrored(rng.normal(size=(1, TOKENS, WIDTH)))
            feeds = {"x": x, "mask": (np.arange(TOKENS) < kept).astype(np.int64)[None]}
            samples.append({name: each for name, each in feeds.items() if name in read})
        onnx.save(model(self.nodes, samples[0], [out], self.held), path / "m.onnx")
        return ppc.compile(path / "m.onnx", calibrate=samples).plan


def numbers(plan: Plan) -> Iterator[float]:
    """Every number of the plan: those that stand for reals as reals, all others as they are."""
    for row in public_numbers(plan):
        yield from (float(v) for v in row["values"])
    for step in plan.steps:
        if isinstance(step, steps.Spline):
            unit = 2.0 ** -plan.forms[step.x].num.scale
            yield from (knot * unit for knot in step.spec.thresholds.values)
    yield from _leaves(msgspec.msgpack.decode(plan.body))


def _leaves(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def tells(plan: Plan, value: float) -> bool:
    """Whether a number of the plan is that one, or its inverse, with either sign, in a plan's precision."""
    return any(abs(abs(x) - wanted) < 3e-3 * wanted for x in numbers(plan) for wanted in (value, 1 / value))


# ---- a learned number

Build = Callable[[Net, str], str]
"""Nodes that use the learned tensor of that name; the output's name."""


def factor(net: Net, learned: str) -> str:
    return net.op("Mul", net.op("Relu", "y"), learned)


def divisor(net: Net, learned: str) -> str:
    return net.op("Div", net.op("Relu", "y"), learned)


def addend(net: Net, learned: str) -> str:
    return net.op("Add", net.op("Relu", "y"), learned)


def temperature(net: Net, learned: str) -> str:
    scores = net.op("MatMul", "y", net.op("Transpose", net.op("Tanh", "y"), perm=[0, 2, 1]))
    return net.op("Softmax", net.op("Mul", scores, learned))


def swish(net: Net, learned: str) -> str:
    x = net.op("Relu", "y")
    return net.op("Mul", x, net.op("Sigmoid", net.op("Mul", x, learned)))


def bound(net: Net, learned: str) -> str:
    return net.op("Clip", "y", "", learned)


def least(net: Net, learned: str) -> str:
    return net.op("Max", "y", learned)


def scaled_by_the_client(net: Net, learned: str) -> str:
    """The client's own value, which it would scale alone if it knew the number."""
    kept = net.op("Cast", "mask", to=TensorProto.FLOAT)
    return net.op("Add", "y", net.op("Unsqueeze", net.op("Mul", kept, learned), net.public(np.array([-1]))))


def chosen(net: Net, learned: str) -> str:
    kept = net.op("Unsqueeze", net.op("Cast", "mask", to=TensorProto.BOOL), net.public(np.array([-1])))
    return net.op("Where", kept, "y", learned)


def of_one_hot(net: Net, learned: str) -> str:
    row = net.op("Reshape", learned, net.public(np.array([1])))
    values = net.op("Concat", net.public(np.zeros(1, np.float32)), row, axis=0)
    return net.op("Add", "y", net.op("OneHot", "mask", net.public(np.array(WIDTH)), values))


PLACES: tuple[Build, ...] = (
    factor, divisor, addend, temperature, swish, bound, least, scaled_by_the_client, chosen,
    of_one_hot,
)  # fmt: skip
FORMS = {
    "initializer": ("", np.float32, ()),
    "initializer of one axis": ("", np.float32, (1,)),
    "half": ("", np.float16, ()),
    "Constant": ("Constant", np.float32, ()),
    "Constant of one axis": ("Constant", np.float32, (1,)),
    "half in a Constant": ("Constant", np.float16, (1,)),
    "Constant by attribute": ("value_float", np.float32, ()),
    "ConstantOfShape": ("ConstantOfShape", np.float32, (1,)),
}


def with_number(build: Build, form: str, value: float, path: Path) -> Plan:
    node, kind, shape = FORMS[form]
    net = Net(node)
    learned = net.learned(np.full(shape, value, kind))
    if kind == np.float16:
        learned = net.op("Cast", learned, to=TensorProto.FLOAT)
    return net.compiled(build(net, learned), path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("build", PLACES, ids=lambda build: build.__name__)
def test_a_learned_number_is_in_no_plan(build: Build, form: str, tmp_path: Path) -> None:
    assert not tells(with_number(build, form, 0.7312, tmp_path), 0.7312)


@pytest.mark.parametrize("build", PLACES, ids=lambda build: build.__name__)
def test_it_would_be_seen_there(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every single number public, as those in Constant nodes once were."""
    real = known.of_a_formula
    monkeypatch.setattr(known, "of_a_formula", lambda value: value.size == 1 or real(value))
    assert tells(with_number(build, "Constant", 0.7312, tmp_path), 0.7312)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "build", [each for each in PLACES if each not in (temperature,)], ids=lambda build: build.__name__
)
def test_another_number_of_the_same_range_gives_the_same_plan(
    build: Build, form: str, tmp_path: Path
) -> None:
    one, two = (with_number(build, form, value, tmp_path) for value in (0.7312, 0.7297))
    assert one.body == two.body


# ---- masks and tables

MASK = np.array([1, 0, 0, 1, 1, 0, 1, 0])
TABLE = np.array([3, 11, -7, 9, 2, 13, -5, 1])


def prunes(net: Net, learned: str) -> str:
    return net.op("Mul", "y", net.op("Cast", learned, to=TensorProto.FLOAT))


def prunes_by_where(net: Net, learned: str) -> str:
    return net.op("Where", net.op("Cast", learned, to=TensorProto.BOOL), "y", net.public(np.float32(0.5)))


def prunes_the_clients(net: Net, learned: str) -> str:
    """x itself, before the first weight."""
    return net.op("MatMul", net.op("Mul", "x", net.op("Cast", learned, to=TensorProto.FLOAT)), "v")


def prunes_the_clients_by_where(net: Net, learned: str) -> str:
    kept = net.op("Cast", learned, to=TensorProto.BOOL)
    return net.op("MatMul", net.op("Where", kept, "x", net.public(np.float32(0.5))), "v")


def adds(net: Net, learned: str) -> str:
    return net.op("Add", "y", net.op("Cast", learned, to=TensorProto.FLOAT))


USES: tuple[Build, ...] = (prunes, prunes_by_where, prunes_the_clients, prunes_the_clients_by_where, adds)
LEAKS: tuple[Build, ...] = USES[1:]
"""A factor of many numbers goes to the server's tensors even where it is public."""

KINDS = [(MASK, np.bool_), (MASK, np.int64), (TABLE, np.int64), (TABLE, np.int32), (MASK, np.float16)]


def with_tensor(build: Build, value: np.ndarray, as_node: str, path: Path) -> Plan:
    net = Net(as_node)
    return net.compiled(build(net, net.learned(value)), path)


@pytest.mark.parametrize("as_node", ["", "Constant"], ids=["initializer", "Constant"])
@pytest.mark.parametrize(("values", "kind"), KINDS, ids=str)
@pytest.mark.parametrize("build", USES, ids=lambda build: build.__name__)
def test_a_mask_or_table_is_in_no_plan(
    build: Build, values: np.ndarray, kind: type, as_node: str, tmp_path: Path
) -> None:
    """The same numbers in another order give the same plan, so there is nothing of them in it."""
    one, two = (with_tensor(build, each.astype(kind), as_node, tmp_path) for each in (values, values[::-1]))
    assert one.body == two.body
    assert not holds(one, values)


@pytest.mark.parametrize(("values", "kind"), [each for each in KINDS if each[0] is MASK], ids=str)
@pytest.mark.parametrize("build", LEAKS, ids=lambda build: build.__name__)
def test_it_would_be_seen_in_the_plan(
    build: Build, values: np.ndarray, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every tensor of eight numbers public, as whole numbers once were."""
    real = known.kept
    monkeypatch.setattr(known, "kept", lambda x: Kept.PUBLIC if x.size == 8 else real(x))
    one, two = (with_tensor(build, each.astype(kind), "", tmp_path) for each in (values, values[::-1]))
    assert one.body != two.body


def holds(plan: Plan, values: np.ndarray) -> bool:
    """Whether a constant of the plan is those numbers."""
    rows = [row["values"] for row in public_numbers(plan)]
    return any([float(v) for v in row] == values.tolist() for row in rows)


def test_a_mask_that_prunes_nothing_looks_like_any_other(tmp_path: Path) -> None:
    def zeroes(net: Net, learned: str) -> str:
        return net.op("Where", learned, "y", net.public(np.float32(0)))

    for build in (prunes, zeroes):
        one, two = (
            with_tensor(build, each.astype(np.bool_), "", tmp_path) for each in (MASK, np.ones_like(MASK))
        )
        assert one.body == two.body


# ---- what is public is told

STRUCTURE = {
    "step", "name", "x", "a", "b", "parts", "axes", "axis", "shape", "order", "cuts", "num", "local",
    "weight", "scale", "product", "left", "right", "weight_bits", "drop", "function", "together", "kept",
    "flight",
}  # fmt: skip
"""Fields of steps that hold graph, shapes, formats, sizes of noise and what the network is like."""


def told_in_full(plan: Plan) -> None:
    """Every number beyond the structure is on the list, in the step or value that holds it."""
    rows = {row["where"]: row for row in public_numbers(plan)}
    for i, step in enumerate(plan.steps):
        said = {k: v for k, v in msgspec.to_builtins(step).items() if k not in STRUCTURE}
        count = sum(1 for _ in _leaves(_without_forms(said)))
        if said.get("factor") in (1, -1, 2 ** getattr(step, "scale", 0)):
            count = 0
        assert (rows[plan.label(i)]["numbers"] if plan.label(i) in rows else 0) == count, plan.label(i)
    for i, op in enumerate(plan.local):
        match op:
            case local.Const(values=values):
                (row,) = [each for where, each in rows.items() if where.startswith(f"client {i:04d} ")]
                assert [float(v) for v in row["values"]] == list(values)
            case local.Packed():
                (row,) = [each for where, each in rows.items() if where.startswith(f"client {i:04d} ")]
                assert row["numbers"] == np.prod(op.shape)


def _without_forms(said: dict[str, Any]) -> Any:
    """A spline's knots, pieces and slopes without its rings and the knots that gates name; a guard's limits
    without the values that they are of."""
    if "watched" in said:
        return [[each["low"], each["high"]] for each in said["watched"]]
    if "spec" not in said:
        return said
    spec = said["spec"]
    return [spec["thresholds"]["values"], spec["pieces"], [slope for _, slope in spec["gates"]]]


def everything(path: Path) -> Plan:
    """A model with a constant of every kind that a plan may hold."""
    net = Net()
    places = net.public(np.array([3, 0, 0, 1]))
    at_places = net.op("Gather", net.op("Clip", "y", "", net.public(np.float32(0.5))), places, axis=1)
    scores = net.op("MatMul", at_places, net.op("Transpose", net.op("Tanh", "y"), perm=[0, 2, 1]))
    root = net.op("Mul", scores, net.public(np.float32(WIDTH**-0.5)))
    kept = net.op("Equal", "mask", net.public(np.array([[5, 700, 1, 3]])))
    wide = net.op("Unsqueeze", kept, net.public(np.array([1])))
    masked = net.op("Softmax", net.op("Where", wide, net.public(np.float32(-1e9)), root))
    third = net.op("Mul", net.op("MatMul", masked, "y"), net.public(np.float32(3)))
    norm = net.op("LayerNormalization", third, net.public(V[0]), net.public(V[1]), axis=-1)
    return net.compiled(net.op("Add", norm, net.public(np.float32(2))), path)


def test_every_number_of_a_plan_is_on_the_list(small: Any, tmp_path: Path) -> None:
    made = everything(tmp_path)
    told_in_full(made)
    told_in_full(small.compiled.plan)
    kinds = {type(each).__name__ for each in (*made.steps, *made.local)}
    assert {"Public", "TimesInteger", "Take", "Spline", "Const"} <= kinds


@pytest.mark.parametrize("kind", ["Public", "TimesInteger", "Take", "Spline", "Const"])
def test_one_that_is_left_out_is_found(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, rows = everything(tmp_path), public_numbers(everything(tmp_path))
    left = [row for row in rows if f" {kind}" not in row["where"]]
    assert len(left) < len(rows)
    monkeypatch.setattr(f"{__name__}.public_numbers", lambda plan: left)
    with pytest.raises((AssertionError, ValueError)):
        told_in_full(made)
