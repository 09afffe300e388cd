"""Whole numbers of the model that meet the client's: opened where nothing else will do, and told."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import model, tensor

from ppc.frontend.errors import UnsupportedModel
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Owner, walk
from ppc.frontend.read.load import load
from ppc.frontend.read.opened import Opened, told
from ppc.passes.owners import owners

N, B, X = np.array([[5, 0, 2]]), np.array([[True, False, True]]), np.float32([[0.5, 1, 2]])
HELD = {
    "n": np.array([[700, 3, 1]]),
    "b": np.array([[True, True, False]]),
    "w": np.float32([[0.37, -0.2, 1.1]]),
    "table": np.array([4, 9, 2, 7, 1, 3]),
    "places": np.array([0, 0, 0]),
    "narrow": np.array([0, 0], np.int32),
    "low": np.float32(-1e9),
    "high": np.float32(0.37),
    "three": np.float32(3.17),
    "one": np.array([1]),
    "short": np.array([300, 1], np.int32),
    "codes": np.array([[3, -9, 70], [5, 8, -2]], np.int8),
}


def net(*nodes: tuple[str, str, str, dict[str, Any]]) -> onnx.ModelProto:
    """Operators on the client's ids, bits and x, and on ``HELD``; the last one's result is the output."""
    made = [
        helper.make_node(kind, given.split(), [out], name=out, **more) for kind, given, out, more in nodes
    ]
    read = {name for each in made for name in each.input}
    feeds = {k: v for k, v in {"ids": N, "bits": B, "x": X}.items() if k in read}
    held = [tensor(k, v) for k, v in HELD.items() if k in read]
    return model(made, feeds, [nodes[-1][2]], held, opset=18)


def one(kind: str, given: str, **more: Any) -> onnx.ModelProto:
    return net((kind, given, "out", more))


def secrets(graph: Graph) -> dict[str, bool]:
    return {op.name: op.secret for op in walk(graph) if isinstance(op, ops.Const)}


@pytest.mark.parametrize(
    ("proto", "name"),
    [
        (one("And", "bits b"), "b"),
        (one("Equal", "ids n"), "n"),
        (one("Mul", "ids n"), "n"),
        (one("Mod", "ids n"), "n"),
        (one("Xor", "bits b"), "b"),
        (one("Concat", "ids n", axis=1), "n"),
        (one("Gather", "x places"), "places"),
        (one("Gather", "x narrow"), "narrow"),
        (one("Gather", "table ids"), "table"),
        (one("BitwiseAnd", "ids n"), "n"),
        (one("Where", "b x low"), "b"),
    ],
    ids=lambda each: each if isinstance(each, str) else each.graph.node[0].op_type,
)
def test_what_no_protocol_computes_is_opened_and_told(
    proto: onnx.ModelProto, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        graph = load(proto)
    assert secrets(graph)[name] is False
    assert owners(graph)[graph.outputs["out"]] is Owner.CLIENT
    (line,) = [each.getMessage() for each in caplog.records]
    assert line.startswith(f"public: {HELD[name].size} whole numbers of the model, in the open for ")
    assert line.endswith(f": {name}")


@pytest.mark.parametrize(
    "proto",
    [
        one("Where", "b x high"),
        net(("Cast", "b", "f", {"to": TensorProto.FLOAT}), ("Mul", "x f", "out", {})),
        net(("Cast", "n", "f", {"to": TensorProto.FLOAT}), ("Add", "x f", "out", {})),
        one("Mul", "x w"),
    ],
    ids=["a choice", "bits that multiply", "whole numbers that are added", "a float"],
)
def test_what_a_protocol_computes_stays_secret(
    proto: onnx.ModelProto, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        graph = load(proto)
    assert {v for k, v in secrets(graph).items() if k != "high"} == {True}
    assert owners(graph)[graph.outputs["out"]] is Owner.SHARED
    assert not caplog.records


def test_what_derives_from_a_tensor_of_floats_is_never_opened() -> None:
    """Which of the weights are above 0, for one."""
    made = load(net(("Greater", "w low", "sign", {}), ("And", "bits sign", "out", {})))
    assert owners(made)[made.outputs["out"]] is Owner.SHARED
    assert all(secrets(made).values())


def test_codes_of_a_quantized_table_are_never_opened() -> None:
    made = load(net(("Gather", "codes ids", "rows", {}), ("Cast", "rows", "out", {"to": TensorProto.FLOAT})))
    assert all(secrets(made).values())


def test_structure_may_be_narrow() -> None:
    assert load(one("Slice", "x narrow short")).outputs["out"].type.shape == (1, 1)


def test_a_size_may_come_of_a_single_number() -> None:
    """As where a grid of positions is laid out anew."""
    whole = ("Cast", "three", "whole", {"to": TensorProto.INT64})
    made = load(net(whole, ("Reshape", "whole one", "row", {}), ("Reshape", "x row", "out", {})))
    assert made.outputs["out"].type.shape == (3,)


@pytest.mark.parametrize(
    ("kind", "given", "what"),
    [("Reshape", "x at", "the shape"), ("Slice", "x at at", "the starts"), ("Expand", "x at", "the shape")],
)
def test_a_graph_that_would_tell_a_weight_is_refused(kind: str, given: str, what: str) -> None:
    whole = ("Cast", "w", "at", {"to": TensorProto.INT64})
    with pytest.raises(UnsupportedModel, match=f"{what} must not depend on a weight's values"):
        load(net(whole, (kind, given, "out", {})))


def test_a_tensor_opened_for_one_reader_is_opened_once(caplog: pytest.LogCaptureFixture) -> None:
    proto = net(("And", "bits b", "p", {}), ("Or", "bits b", "q", {}), ("Xor", "p q", "out", {}))
    with caplog.at_level(logging.INFO):
        graph = load(proto)
    assert [op.name for op in walk(graph) if isinstance(op, ops.Const)] == ["b"]
    assert len(caplog.records) == 1


def test_a_line_tells_of_all_that_one_operator_needs() -> None:
    found = [Opened(f"t{i}", (2, 600), "Gather") for i in range(4)] + [Opened("", (), "And")]
    assert list(told(found)) == [
        "public: 4,800 whole numbers of the model, in the open for Gather: t0, t1, t2, …",
        "public: 1 whole numbers of the model, in the open for And: a constant",
    ]


def test_what_the_server_computes_alone_is_not_opened() -> None:
    """Whole numbers of the server's with each other, and the floats that come of them."""
    squared = ("Mul", "n n", "square", {}), ("Cast", "square", "f", {"to": TensorProto.FLOAT})
    assert all(secrets(load(net(*squared, ("Add", "x f", "out", {})))).values())
