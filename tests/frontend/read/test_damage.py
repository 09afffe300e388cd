"""Damaged models are refused in words: what tests/fuzz/fuzz_onnx.py found, each in its smallest form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import model, one_node, tensor

from ppc.frontend.errors import FrontendError, NotOnnx, UnknownDim, UnsupportedModel
from ppc.frontend.ir.graph import IRError
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.read import sandbox
from ppc.frontend.read.load import load, survey

X = np.arange(12, dtype=np.float32).reshape(3, 4)
W = np.eye(4, dtype=np.float32)
HUGE = 2**40


def node(op_type: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), outputs.split(), name=f"/{outputs}", **attributes)


def refused(proto: onnx.ModelProto, kind: type[FrontendError], says: str) -> None:
    with pytest.raises(kind, match=says):
        load(proto)


# ---- names


def test_two_inputs_of_one_name() -> None:
    proto = model([node("Neg", "x", "y")], {"x": X}, ["y"])
    proto.graph.input.add().CopyFrom(proto.graph.input[0])
    refused(proto, NotOnnx, "two tensors have the name x")


def test_two_weights_of_one_name() -> None:
    proto = model([node("MatMul", "x w", "y")], {"x": X}, ["y"], [tensor("w", W), tensor("w", 2 * W)])
    refused(proto, NotOnnx, "two tensors have the name w")


def test_a_node_that_gives_a_name_again() -> None:
    proto = model([node("Neg", "x", "a"), node("Relu", "x", "a"), node("Abs", "a", "y")], {"x": X}, ["y"])
    refused(proto, NotOnnx, "two tensors have the name a")


def test_two_branches_may_give_the_same_names() -> None:
    """The weight of the first branch is not the second's."""

    def chosen(output: str, weight: np.ndarray) -> onnx.NodeProto:
        made = [onnx.ValueInfoProto(name="r")]
        branch = helper.make_graph([node("MatMul", "x w", "r")], "branch", [], made, [tensor("w", weight)])
        return node("If", "c", output, then_branch=branch, else_branch=branch)

    nodes = [chosen("a", W), chosen("b", 3 * W), node("Add", "a b", "y")]
    proto = model(nodes, {"x": X}, ["y"], [tensor("c", np.asarray(True))])
    np.testing.assert_array_equal(evaluate(load(proto), {"x": X})["y"], 4 * X)


@pytest.mark.parametrize("name", [b"/out", b"Neg", b"out", b"first_axis"])
def test_names_that_are_no_text(tmp_path: Path, name: bytes) -> None:
    proto = model([node("Neg", "x", "out")], {"x": X}, ["out"], axes={"x": ["first_axis", 4]})
    data = proto.SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data.replace(name, b"\xff" * len(name)))
    with pytest.raises(NotOnnx, match="no text"):
        survey(tmp_path / "m.onnx")


def calling(*inner: str, name: str = "F0") -> onnx.FunctionProto:
    """A local function that calls others in a row."""
    names = ["p", *(f"t{i}" for i in range(len(inner) - 1)), "q"]
    calls = [
        helper.make_node(op, [names[i]], [names[i + 1]], domain="" if op == "Neg" else "local")
        for i, op in enumerate(inner)
    ]
    return helper.make_function("local", name, ["p"], ["q"], calls, [helper.make_opsetid("", 17)])


def test_functions_that_are_not_one() -> None:
    call = helper.make_node("F0", ["x"], ["y"], domain="local")
    recursive = model([call], {"x": X}, ["y"], functions=[calling("F0")])
    refused(recursive, NotOnnx, "cannot be inlined")
    twice = model([call], {"x": X}, ["y"], functions=[calling("Neg"), calling("Neg")])
    refused(twice, NotOnnx, "cannot be inlined")


def test_functions_that_double_their_nodes_sixty_times() -> None:
    called = [calling(*(["Neg"] if i == 60 else [f"F{i + 1}"] * 2), name=f"F{i}") for i in range(61)]
    call = helper.make_node("F0", ["x"], ["y"], domain="local")
    refused(model([call], {"x": X}, ["y"], functions=called), NotOnnx, r"come to 1,152,9[\d,]+ nodes")


@pytest.mark.filterwarnings("ignore:The onnxtxt format is experimental")
@pytest.mark.parametrize("suffix", ["onnx", "json", "textproto", "onnxtxt"])
def test_files_that_are_none_whatever_their_ending(tmp_path: Path, suffix: str) -> None:
    """ONNX reads a file as its ending says."""
    path = tmp_path / f"m.{suffix}"
    path.write_bytes(b"no { model")
    with pytest.raises(NotOnnx, match="is not an ONNX model"):
        load(path)


@pytest.mark.parametrize("value", [np.array(["1", "2", "3", "4"], object), X[0] + 1j])
def test_numbers_that_are_none(value: np.ndarray) -> None:
    """ "1" is no 1, and a complex number not its real part."""
    refused(one_node("Add", {"x": X}, [value]), NotOnnx, "c0 is damaged: it holds no numbers")


# ---- sizes


def test_an_input_too_large_for_anyone() -> None:
    proto = model([node("Neg", "x", "y")], {"x": X}, ["y"], axes={"x": [3, HUGE]})
    refused(proto, UnknownDim, "input x of shape .* elements")


@pytest.mark.parametrize(
    ("op_type", "constants", "attributes"),
    [
        ("Expand", [np.array([HUGE, 3, 4])], {}),
        ("Tile", [np.array([HUGE, 1])], {}),
        ("Pad", [np.array([HUGE, 0, 0, 0])], {}),
        ("Conv", [np.ones((1, 4, 1), np.float32)], {"pads": [0, HUGE]}),
        ("Split", [], {"num_outputs": HUGE, "opset": 18}),
    ],
)
def test_an_attribute_that_asks_for_terabytes(
    op_type: str, constants: list[np.ndarray], attributes: dict[str, object]
) -> None:
    x = X.reshape(1, 4, 3) if op_type == "Conv" else X
    refused(one_node(op_type, {"x": x}, constants, **attributes), UnsupportedModel, op_type)


@pytest.mark.parametrize(
    ("op_type", "constants"),
    [
        ("ConstantOfShape", [np.array([HUGE])]),
        ("Expand", [np.float32(1), np.array([HUGE])]),
        ("Range", [np.int64(0), np.int64(HUGE), np.int64(1)]),
        ("Tile", [np.ones(1, np.float32), np.array([HUGE])]),
        ("OneHot", [np.array([1]), np.int64(HUGE), np.float32([0, 1])]),
    ],
)
def test_constants_that_ask_for_terabytes(op_type: str, constants: list[np.ndarray]) -> None:
    refused(one_node(op_type, {}, constants), UnsupportedModel, "elements, more than")


def test_a_kernel_that_grows_from_one_number() -> None:
    nodes = [node("Expand", "w s", "k"), node("Conv", "x k", "y")]
    x = np.broadcast_to(np.float32(1), (1, 1, 2**23))
    proto = model(
        nodes, {"x": x, "w": X.reshape(1, 1, 12)[..., :1]}, ["y"], [tensor("s", np.array([1, 1, 2**13]))]
    )
    refused(proto, UnsupportedModel, "a kernel .* of more than 4096 places")


def test_weights_kept_in_a_place_that_is_no_text(tmp_path: Path) -> None:
    kept = tensor("w", X)
    kept.data_location = onnx.TensorProto.EXTERNAL
    entry = kept.external_data.add()
    entry.key, entry.value = "location", "#file#"
    data = model([node("Add", "x w", "y")], {"x": X}, ["y"], [kept]).SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(data.replace(b"#file#", b"\xfffile\xff"))
    refused(path, NotOnnx, "kept is no text")


@pytest.mark.parametrize("dims", [[HUGE], [4, HUGE, -(2**31)]])
def test_a_shape_beyond_its_data(dims: list[int]) -> None:
    thin = onnx.TensorProto(name="w", data_type=onnx.TensorProto.INT4, dims=dims, raw_data=b"ab")
    refused(model([node("Add", "x w", "y")], {"x": X}, ["y"], [thin]), NotOnnx, "data for at most 4 elements")


def test_more_axes_than_anyone_has() -> None:
    refused(model([node("Neg", "x", "y")], {"x": X.reshape([1] * 8 + [12])}, ["y"]), UnknownDim, "or 8 axes")
    refused(one_node("Expand", {"x": X}, [np.ones(36, np.int64)]), UnsupportedModel, "Expand")
    refused(one_node("Add", {"x": X}, [np.ones([1] * 36, np.float32)]), UnsupportedModel, "more than 8 axes")


# ---- nodes


@pytest.mark.parametrize("equation", ["...i\0->...", "...ij%", ">....%k.", "ij,jk->>ik", "i.j"])
def test_equations_that_shape_inference_never_ends(equation: str) -> None:
    refused(one_node("Einsum", {"x": X}, equation=equation), NotOnnx, "the_node: Einsum has no equation")


@pytest.mark.parametrize("version", [2**40, -(2**40)])
def test_a_domain_of_a_version_that_is_none(version: int) -> None:
    proto = one_node("Neg", {"x": X, "y": X})
    proto.opset_import.add(domain="other", version=version)
    refused(proto, UnsupportedModel, "2 inputs are not what opset 17 gives it")
    proto = one_node("Concat", {"x": X, "y": X}, axis="x")
    proto.opset_import.add(domain="other", version=version)
    refused(proto, UnsupportedModel, "ill-formed|not what its operator takes")


@pytest.mark.parametrize(
    ("op_type", "constants", "attributes"),
    [
        ("Gather", [np.array([3])], {}),
        ("GatherND", [np.array([[3, 0]])], {}),
        ("GatherElements", [np.array([[0, 0, 0, -4]])], {}),
        ("ScatterND", [np.array([[0, 4]]), X[0, :1]], {"reduction": "add", "opset": 18}),
    ],
)
@pytest.mark.usefixtures("a_weight_enters")
def test_constant_places_outside_a_table(
    op_type: str, constants: list[np.ndarray], attributes: dict[str, object]
) -> None:
    refused(one_node(op_type, {"x": X}, constants, **attributes), UnsupportedModel, "places outside of")


def test_a_place_beyond_all_memory_is_refused_by_the_first_who_reads_it() -> None:
    """ONNX's reference would count up to it, until the process that asks it is ended."""
    proto = one_node("GatherElements", {"x": X}, [np.array([[0, 0, 0, 2**60]])])
    refused(one_node("Det", {"x": X}), UnsupportedModel, "Det")
    before = sandbox._WORKER._process
    refused(proto, UnsupportedModel, "places outside of")
    assert before is not None
    assert sandbox._WORKER._process is before


@pytest.mark.parametrize("op_type", ["Shrink", "Neg"])
def test_functions_of_numbers_on_truths(op_type: str) -> None:
    graph = load(one_node(op_type, {"x": X > 0}))
    with pytest.raises(IRError, match="cannot be evaluated"):
        evaluate(graph, {"x": X > 0})


@pytest.mark.parametrize("axis", [1.0, "1", [1]])
@pytest.mark.parametrize("op_type", ["ArgMax", "Softmax", "Concat"])
def test_an_attribute_of_another_type(op_type: str, axis: object) -> None:
    refused(one_node(op_type, {"x": X}, axis=axis), UnsupportedModel, "the_node: it is ill-formed: .*axis")


def test_places_that_do_not_fit() -> None:
    places = np.zeros((2, 3), np.int64)
    refused(one_node("GatherND", {"x": X, "p": places}), UnsupportedModel, r"indices i64\[2,3\] into 2 axes")
    refused(
        one_node("ScatterElements", {"x": X}, [places, X[:3, :2]]), UnsupportedModel, "updates .* for indices"
    )


def test_places_outside_a_table_that_only_data_shows() -> None:
    graph = load(one_node("Gather", {"x": X, "p": np.array([0])}))
    with pytest.raises(IRError, match="cannot be evaluated: index 3 is out of bounds"):
        evaluate(graph, {"x": X, "p": np.array([3])})


@pytest.mark.parametrize("axis", [2, -3])
@pytest.mark.parametrize(
    ("op_type", "constants"),
    [
        ("Softmax", []),
        ("LogSoftmax", []),
        ("ArgMax", []),
        ("TopK", [np.array([1])]),
        ("Gather", [np.array([0])]),
        ("GatherElements", [np.zeros((1, 1), np.int64)]),
        ("LayerNormalization", [X[0]]),
        ("LpNormalization", []),
    ],
)
@pytest.mark.usefixtures("a_weight_enters")
def test_an_axis_that_is_not_there(op_type: str, constants: list[np.ndarray], axis: int) -> None:
    """Taken modulo the rank it would be another."""
    refused(
        one_node(op_type, {"x": X}, constants, axis=axis), UnsupportedModel, f"axis {axis}|axes \\[{axis}\\]"
    )


@pytest.mark.parametrize("axis", [2, -3])
@pytest.mark.parametrize(
    ("op_type", "before"),
    [("CumSum", []), ("ReduceSum", []), ("Squeeze", []), ("Slice", [[0], [1]]), ("Pad", [[1, 1], []])],
)
@pytest.mark.usefixtures("a_weight_enters")
def test_an_axis_among_the_inputs_that_is_not_there(op_type: str, before: list[list[int]], axis: int) -> None:
    constants = [np.array(each) if each else None for each in (*before, [axis])]
    refused(one_node(op_type, {"x": X}, constants, opset=18), UnsupportedModel, f"axes \\[{axis}\\]")


@pytest.mark.parametrize(
    ("op_type", "axes"), [("Unsqueeze", [0, 0]), ("Unsqueeze", [1, -3]), ("ReduceSum", [1, -1])]
)
@pytest.mark.usefixtures("a_weight_enters")
def test_axes_named_twice(op_type: str, axes: list[int]) -> None:
    refused(one_node(op_type, {"x": X}, [np.array(axes)]), UnsupportedModel, "an axis twice")


@pytest.mark.parametrize("attributes", [{"dilations": [9]}, {"auto_pad": "SAME", "pads": [HUGE, HUGE]}])
def test_a_shape_that_inference_makes_up(attributes: dict[str, object]) -> None:
    """-5 elements, or terabytes: then nothing is known of an unsupported operator's result."""
    x, kernel = np.ones((1, 1, 4), np.float32), np.ones((1, 1, 2), np.float32)
    found = survey(one_node("Conv", {"x": x}, [kernel], **attributes))
    assert found.graph is None
    assert [each.node for each in found.unsupported] == ["the_node"]
