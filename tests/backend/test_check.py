"""`ppc check`: everything in the way at once, and for the rest who runs it and how."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import model, tensor

from models.tiny_bert import tiny_bert
from ppc.backend.check import ALONE, BEHIND, FOLDED, UNSUPPORTED, Checked, Row, as_text, check_model
from ppc.frontend.errors import DynamicAxis, NotFinite

X = np.ones((3, 4), np.float32)
W = numpy_helper.from_array(np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4), "w")


def checked(
    *nodes: str, outputs: str = "y", chosen: Sequence[str] | None = None, **feeds: np.ndarray
) -> Checked:
    """Nodes as "Op a b -> c", named after what they make."""
    made = []
    for each in nodes:
        left, _, right = each.partition(" -> ")
        op_type, *inputs = left.split()
        more = {"to": TensorProto.FLOAT} if op_type == "Cast" else {}
        made.append(helper.make_node(op_type, inputs, right.split(), name=f"the {right.split()[0]}", **more))
    return check_model(model(made, {"x": X, **feeds}, outputs.split(), [W]), outputs=chosen)


def row(found: Checked, node: str) -> Row:
    (only,) = [each for each in found.rows if node in each.nodes]
    return only


def test_a_model_that_is_supported() -> None:
    found = check_model(tiny_bert(), seq_len=8)
    assert found.supported
    assert (found.opset, found.unsupported) == (17, ())
    assert sum(each.count for each in found.rows) == len(tiny_bert().graph.node)
    for node, owner, how in (
        ("/words/Gather/Gather", "shared", "product under HE, one-hot rows"),
        ("/mask/Mul/Mul", "client", ALONE),
        ("/places/Slice/Slice", "server", FOLDED),
        ("/shape/Shape", "public", FOLDED),
        ("/layer.0/attention/query/MatMul/MatMul", "shared", "product under HE, a weight"),
        ("/layer.0/attention/MatMul/MatMul", "shared", "product under HE, both shared"),
        ("/layer.0/gelu/Erf/Erf", "shared", "part of Gelu: spline"),
        ("/layer.0/gelu/Mul_1/Mul", "shared", "spline"),
        ("/layer.0/attention/Transpose/Transpose", "shared", "each share alone"),
    ):
        there = row(found, node)
        assert (there.owner, there.how) == (owner, how), node


def test_outputs_have_their_shapes_where_these_are_known() -> None:
    found = checked("MatMul x w -> a", "Odd a -> b", outputs="a b")
    assert found.document()["outputs"] == [
        {"name": "a", "compiles": True, "shape": (3, 4)},
        {"name": "b", "compiles": False, "shape": None},
    ]
    assert as_text(found).splitlines()[-1] == "  these outputs compile: a (3, 4)"
    whole = as_text(check_model(tiny_bert(), seq_len=8)).splitlines()[-1]
    assert whole == "  outputs: last_hidden_state (1, 8, 32), sentence_embedding (1, 32)"


def test_everything_in_the_way_at_once() -> None:
    found = checked(
        "MatMul x w -> a", "Hardmax a -> b", "Log b -> c", "Cos a -> d", "NonZero a -> e",
        "Add c d -> y", outputs="y e",
    )  # fmt: skip
    assert [(each.node, each.op_type) for each in found.unsupported] == [
        ("the b", "Hardmax"),
        ("the e", "NonZero"),
        ("the c", "Log"),
        ("the d", "Cos"),
    ]
    assert not found.supported
    reasons = {each.op_type: each.reason for each in found.unsupported}
    assert "no protocol computes it on shares; make its operand, b, an output" in reasons["Log"]
    assert "masks" in reasons["NonZero"]
    assert row(found, "the y").how == "each share alone"
    assert {row(found, f"the {each}").how for each in "bcde"} == {UNSUPPORTED}


def test_what_follows_without_a_known_shape_is_said_not_to_be_looked_at() -> None:
    found = checked("NonZero x -> a", "Neg a -> y")
    assert row(found, "the y").how == BEHIND
    assert [each.op_type for each in found.unsupported] == ["NonZero"]


@pytest.mark.parametrize(
    ("nodes", "faults"),
    [
        (("MatMul x w -> a", "Odd a -> b", "Odder b -> c", "NonZero c -> y"), ["b", "c", "y"]),
        (("MatMul x w -> a", "Log a -> b", "Odd b -> c", "Relu c -> d", "Odd d -> y"), ["c", "y", "b"]),
        (("MatMul x w -> a", "Odd a -> b", "Softmax b -> c", "Hardmax c -> y"), ["b", "y"]),
        (("MatMul x w -> a", "Unique a -> b", "Log b -> y"), ["b"]),
    ],
)
def test_what_stands_behind_an_unsupported_operator_is_looked_at(nodes, faults) -> None:
    found = checked(*nodes)
    assert [each.node for each in found.unsupported] == [f"the {each}" for each in faults]
    assert {each for row in found.rows if row.how == UNSUPPORTED for each in row.nodes} == {
        f"the {each}" for each in faults
    }


@pytest.mark.parametrize(
    ("nodes", "faults"),
    [
        (("MatMul x w -> a", "Greater a x -> c", "Not c -> n", "Where n a x -> y"), ["c"]),
        (("MatMul x w -> a", "Greater a x -> c", "Cast c -> f", "MatMul f w -> y"), ["c"]),
        (("MatMul x w -> a", "ArgMax a -> i", "Gather w i -> y"), ["i"]),
        (("MatMul x w -> a", "Less a x -> c", "Log a -> b", "Where c b x -> y"), ["c", "b"]),
        (("Odd x -> a", "Neg a -> b", "MatMul b w -> y"), ["a"]),
    ],
)
def test_what_follows_from_a_fault_is_none_of_its_own(nodes, faults) -> None:
    assert {each.node for each in checked(*nodes).unsupported} == {f"the {each}" for each in faults}


def test_a_shape_that_an_unsupported_operator_makes_is_no_fault_of_the_reshape() -> None:
    nodes = ("MatMul x w -> a", "ArgMin a -> i", "Hardmax a -> h", "Expand h i -> y")
    assert {each.node for each in checked(*nodes).unsupported} >= {"the h"}


@pytest.mark.parametrize(
    ("nodes", "compiling"),
    [
        (("MatMul x w -> a", "Log a -> b"), ["a"]),
        (("MatMul x w -> a", "Hardmax a -> b"), ["a"]),
        (("MatMul x w -> a", "Relu a -> b", "Odd b -> c"), ["a", "b"]),
        (("Log x -> l", "MatMul l w -> a", "Greater a l -> g", "Where g a l -> b"), ["a"]),
        (("MatMul x w -> a", "Odd a -> b", "Odd b -> c"), ["a"]),
        (("MatMul x w -> z", "Odd z -> a", "Log a -> b"), []),
    ],
)
def test_the_outputs_that_compile_are_named(nodes, compiling, tmp_path) -> None:
    outputs = [each for each in "abc" if any(f"-> {each}" in node for node in nodes)]
    for chosen in (None, outputs[-1:]):
        found = checked(*nodes, outputs=" ".join(outputs), chosen=chosen)
        assert list(found.compiling) == compiling
        assert {each["name"]: each["compiles"] for each in found.document()["outputs"]} == {
            each: each in compiling for each in outputs
        }
        line = f"these outputs compile: {', '.join(compiling)}"
        assert (line in str(found.refusal())) == ("these outputs" in as_text(found)) == bool(compiling)
    for each in compiling:
        assert checked(*nodes, outputs=" ".join(outputs), chosen=[each]).supported


def test_no_name_of_the_programs_own_is_told() -> None:
    """A node without a name goes by what it makes, and its operator by ONNX's name."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("IsInf", ["a"], ["b"])]
    nodes += [helper.make_node("Cast", ["b"], ["f"], to=1), helper.make_node("ReduceLogSumExp", ["a"], ["c"])]
    nodes += [helper.make_node("Add", ["f", "c"], ["y"])]
    found = check_model(model(nodes, {"x": X}, ["y"], [W]))
    assert {(each.node, each.op_type) for each in found.unsupported} == {
        ("b", "IsInf"),
        ("c", "ReduceLogSumExp"),
    }
    assert not any(word in str(found.refusal()) for word in ("Clear", "Plain", "Opaque", "LogSumExp on"))


@pytest.mark.parametrize(("opset", "op_type"), [(18, "Sigmoid"), (15, "Tanh"), (20, "Relu"), (13, "Erf")])
def test_a_function_of_another_opset_is_inlined(opset: int, op_type: str) -> None:
    body = [helper.make_node(op_type, ["x"], ["y"])]
    made = helper.make_function("own", "Fn", ["x"], ["y"], body, [helper.make_opsetid("", opset)])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Fn", ["a"], ["y"], domain="own"),
    ]
    assert check_model(model(nodes, {"x": X}, ["y"], [W], functions=[made])).supported


@pytest.mark.parametrize(
    ("nodes", "remedy"),
    [
        (("MatMul x w -> a", "ArgMax a -> y"), "make its operand, a, an output, under --reveal argmax"),
        (("MatMul x w -> a", "ArgMin a -> y"), "let the client choose"),
        (("MatMul x w -> a", "LogSoftmax a -> y"), "let the client finish"),
        (("MatMul x w -> a", "Greater a x -> c", "Where c a x -> y"), "write the choice with Relu or Clip"),
        (("MatMul x w -> a", "Pow a x -> y"), "whole exponents"),
        (("MatMul x w -> a", "Floor a -> y"), "make its operand, a, an output, and let the client finish"),
        (("MatMul x w -> a", "Log a -> y"), "make its operand, a, an output, and let the client finish"),
        (
            ("MatMul x w -> a", "Log a -> c", "Floor c -> y"),
            "make what compiles before it an output",
        ),
        (("MatMul x w -> a", "Log a -> c", "Neg c -> n", "Floor n -> y"), "make what compiles before it an"),
        (("MatMul x w -> a", "Mish a -> y"), "train with ReLU, GELU, SiLU or tanh in its place"),
    ],
)
def test_what_to_do_about_it(nodes: tuple[str, ...], remedy: str) -> None:
    found = checked(*nodes)
    assert any(remedy in each.reason for each in found.unsupported)
    assert {each.node for each in found.unsupported} <= {"the y", "the c"}


def test_the_same_operators_are_the_clients_own_where_it_knows_what_they_read() -> None:
    found = checked("Log x -> a", "Floor a -> b", "Cos b -> c", "MatMul c w -> y")
    assert found.supported
    assert {row(found, f"the {each}").how for each in "abc"} == {ALONE}


def test_a_mask_of_infinity_is_no_obstacle_but_an_infinite_choice_is() -> None:
    inf = numpy_helper.from_array(np.float32(-np.inf), "inf")
    kept = np.ones((3, 4), np.bool_)

    def ending(last: str) -> Checked:
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["a"], name="the a"),
            helper.make_node("Where", ["kept", "a", "inf"], ["m"], name="the m"),
            helper.make_node(last, ["m"], ["y"], name="the y"),
        ]
        return check_model(model(nodes, {"x": X, "kept": kept}, ["y"], [W, inf]))

    assert ending("Softmax").supported
    assert [each.node for each in ending("Tanh").unsupported] == ["the m"]


def test_text_and_json() -> None:
    found = checked("MatMul x w -> a", "Floor a -> b", "Neg b -> y")
    text = as_text(found)
    assert text.splitlines()[0].split() == ["operator", "count", "owner", "how", "nodes"]
    assert "opset 17, 3 nodes: 1 not supported" in text
    assert text.splitlines()[-1].startswith("  Floor (opset 17) at the b: neither party knows")
    document = found.document()
    assert document["supported"] is False
    assert document["unsupported"][0]["node"] == "the b"
    assert document["operators"][0] == {
        "operator": "Floor", "count": 1, "owner": "shared", "how": UNSUPPORTED, "nodes": ["the b"],
    }  # fmt: skip


def test_long_lists_of_nodes_are_cut() -> None:
    text = as_text(check_model(tiny_bert(), seq_len=8))
    assert " +" in text
    assert all(len(line) < 200 for line in text.splitlines())


def test_what_the_user_must_say_first_is_still_an_error() -> None:
    with pytest.raises(DynamicAxis):
        check_model(tiny_bert())
    broken = onnx.ModelProto()
    broken.CopyFrom(tiny_bert())
    table = next(each for each in broken.graph.initializer if each.name == "words")
    values = numpy_helper.to_array(table).copy()
    values[0, 0] = np.nan
    table.CopyFrom(numpy_helper.from_array(values, "words"))
    with pytest.raises(NotFinite, match="words"):
        check_model(broken, seq_len=8)


def test_a_table_in_few_bits_is_looked_up_by_what_unpacks_it() -> None:
    nodes = [
        helper.make_node("Gather", ["q", "ids"], ["g"], name="looks"),
        helper.make_node("DequantizeLinear", ["g", "s"], ["y"], name="unpacks"),
    ]
    held = [tensor("q", np.arange(-20, 20, dtype=np.int8).reshape(8, 5)), tensor("s", np.float32(0.03))]
    found = check_model(model(nodes, {"ids": np.array([[1, 2, 7]])}, ["y"], held))
    told = {row.nodes[0]: (row.owner, row.how) for row in found.rows}
    assert told == {
        "looks": ("shared", "part of what reads it"),
        "unpacks": ("shared", "product under HE, one-hot rows"),
    }
