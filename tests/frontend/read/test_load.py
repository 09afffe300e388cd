from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import model, one_node, tensor

from ppc.frontend.errors import (
    ControlFlow,
    FrontendError,
    MissingExternalData,
    NotFinite,
    NotOnnx,
    UnknownOutput,
    UnsupportedModel,
    UsageError,
)
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import walk
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.ir.text import show
from ppc.frontend.read.load import load, survey
from ppc.frontend.read.run import run

X = np.arange(12, dtype=np.float32).reshape(3, 4)
W = np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)


def node(op_type: str, inputs: str, outputs: str, name: str = "", **attributes: object) -> onnx.NodeProto:
    """Inputs and outputs as words."""
    return helper.make_node(op_type, inputs.split(), outputs.split(), name=name, **attributes)


def linear(outputs: str = "y", *more: onnx.NodeProto) -> onnx.ModelProto:
    return model([node("MatMul", "x w", "y"), *more], {"x": X}, outputs.split(), [tensor("w", W)])


def test_printed() -> None:
    proto = model(
        [node("Gemm", "x w b", "h", alpha=0.5), node("Relu", "h", "y")],
        {"x": X},
        ["y"],
        [tensor("w", W), tensor("b", W[0])],
    )
    assert show(load(proto)) == (
        "%0 = Input(x) : f32[3,4]\n"
        "%1 = Const(secret) : f32[4,5]  # w\n"
        "%2 = MatMul(%0, %1) : f32[3,5]\n"
        "%3 = Const(0.5) : f32[]\n"
        "%4 = Mul(%2, %3) : f32[3,5]\n"
        "%5 = Const(secret) : f32[5]  # b\n"
        "%6 = Add(%4, %5) : f32[3,5]  # h\n"
        "%7 = Relu(%6) : f32[3,5]  # y\n"
        "return y=%7\n"
    )


def test_shape_plumbing_folds_away() -> None:
    """What a TorchScript export does to say view(batch, seq, 2, 2) and expand to it."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "rows", axis=0),
        node("Unsqueeze", "rows axes", "rows1"),
        node("Concat", "rows1 rest", "wanted", axis=0),
        node("ConstantOfShape", "three", "ones", value=helper.make_tensor("v", TensorProto.INT64, [1], [1])),
        node("Equal", "wanted ones", "is_one"),
        node("Where", "is_one wanted wanted", "final"),
        node("Reshape", "x final", "view"),
        node("Expand", "small final", "wide"),
        node("Add", "view wide", "y"),
    ]
    initializers = [
        tensor("zero", np.int64(0)),
        tensor("axes", np.array([0])),
        tensor("rest", np.array([2, 2])),
        tensor("three", np.array([3])),
        tensor("small", np.ones((1, 2), np.float32)),
    ]
    graph = load(model(nodes, {"x": X}, ["y"], initializers))
    assert [type(op).__name__ for op in walk(graph)] == ["Input", "Reshape", "Const", "Add"]
    np.testing.assert_array_equal(evaluate(graph, {"x": X})["y"], X.reshape(3, 2, 2) + 1)


def test_a_shape_is_public_though_the_weight_is_not() -> None:
    nodes = [node("Shape", "w", "s"), node("Cast", "s", "f", to=TensorProto.FLOAT), node("Mul", "q f", "y")]
    graph = load(model(nodes, {"q": np.ones(2, np.float32)}, ["y"], [tensor("w", W)]))
    (constant,) = [op for op in walk(graph) if isinstance(op, ops.Const)]
    assert not constant.secret
    assert constant.value.tolist() == [4, 5]


NUMBERS = [(0.5, False), (-1e4, False), (1e-12, False), (1.702, False), (3.0, False), (-np.inf, False)]
NUMBERS += [(np.sqrt(32), True), (4.6052, True), (0.3, True), (2.75, True)]


@pytest.mark.parametrize("as_node", [False, True], ids=["an initializer", "a Constant node"])
@pytest.mark.parametrize(
    ("value", "secret"),
    [
        *(
            (np.full(shape, x, kind), secret)
            for x, secret in NUMBERS
            for shape in ((), (1,))
            for kind in "fe"
        ),
        (W[:1, 1], True),
        (W * 1.1, True),
        (np.int8([1, 2]), True),
        (np.int64([1, 2]), True),
        (np.int64(5), False),
        (np.int64(5000), True),
        (np.tri(4, dtype=np.uint8)[None, None], False),
        (np.tri(4, k=1, dtype=np.bool_), True),
        (np.triu(np.full((4, 4), -np.inf, np.float32), 1), False),
        (np.triu(np.full((4, 4), 0.37, np.float32), 1), True),
        (np.triu(np.full((4, 4), -1e4, np.float32), 2), True),
        (np.eye(2, dtype=np.float32), True),
        ((1e4 ** -(np.arange(8) / 8)).astype(np.float32)[None, :, None], False),
        ((5e5 ** -(np.arange(8) / 8)).astype(np.float16), False),
        ((1.6e5 ** -(np.arange(4) / 4)).astype(np.float32), False),
        ((1e4 ** -(np.arange(8) / 8) * 1.01).astype(np.float32), True),
        ((12345.0 ** -(np.arange(8) / 8)).astype(np.float32), True),
        (np.ones(8, np.float32), True),
        (np.arange(2, 9, dtype=np.int32)[None], False),
        (np.int32([1, 2, 4]), True),
        (np.array([True]), False),
        (np.array([True, False]), True),
    ],
    ids=str,
)
def test_all_is_secret_but_what_belongs_to_a_formula(value: np.ndarray, secret: bool, as_node: bool) -> None:
    """Whatever node an exporter put it in, and whatever its width."""
    cast, held = node("Cast", "c", "y", to=TensorProto.FLOAT), tensor("c", value)
    nodes = [node("Constant", "", "c", value=held), cast] if as_node else [cast]
    made = model(nodes, {}, ["y"], [] if as_node else [held])
    (constant,) = [op for op in walk(load(made)) if isinstance(op, ops.Const)]
    assert constant.secret is secret


@pytest.mark.parametrize("value", [0.37, [0.37, 0.1]], ids=str)
def test_numbers_in_attributes_of_a_constant_node_are_no_less_secret(value: float | list[float]) -> None:
    key = "value_floats" if isinstance(value, list) else "value_float"
    constant = node("Constant", "", "c", **{key: value})
    graph = load(model([constant, node("Add", "x c", "y")], {"x": X[:, :2]}, ["y"]))
    assert next(op for op in walk(graph) if isinstance(op, ops.Const)).secret


@pytest.mark.parametrize(("number", "secret"), [(0.37, True), (-np.inf, False)])
def test_a_tensor_of_one_number_is_as_secret_as_the_number(number: float, secret: bool) -> None:
    filled = node("ConstantOfShape", "shape", "c", value=tensor("v", np.float32([number])))
    proto = model([filled, node("Add", "x c", "y")], {"x": X}, ["y"], [tensor("shape", np.array([3, 4]))])
    assert next(op for op in walk(load(proto)) if isinstance(op, ops.Const)).secret is secret


def test_what_is_folded_from_a_weight_stays_secret() -> None:
    nodes = [node("Transpose", "w", "t"), node("MatMul", "x t", "y")]
    graph = load(model(nodes, {"x": X}, ["y"], [tensor("w", W.T.copy())]))
    assert show(graph, names=False).splitlines()[1] == "%1 = Const(secret) : f32[4,5]"


def test_stray_outputs_are_left_out() -> None:
    graph = load(linear("copy y z", node("Identity", "x", "copy"), node("Neg", "y", "z")))
    assert list(graph.outputs) == ["y", "z"]


def test_an_output_may_be_chosen_even_a_stray_one() -> None:
    proto = linear("copy y", node("Identity", "x", "copy"))
    assert list(load(proto, outputs=("copy",)).outputs) == ["copy"]
    assert show(load(proto, outputs=("copy",))) == "%0 = Input(x) : f32[3,4]\nreturn copy=%0\n"


def test_a_model_without_weights_keeps_its_outputs() -> None:
    assert list(load(one_node("Neg", {"x": X})).outputs) == ["out"]


def test_unknown_output_lists_those_there_are() -> None:
    with pytest.raises(UnknownOutput, match="no output 'nope'; it has copy, y") as caught:
        load(linear("y copy", node("Identity", "x", "copy")), outputs=("nope",))
    assert caught.value.exit_status == 2


@pytest.mark.usefixtures("a_weight_enters")
def test_every_unsupported_operator_is_named() -> None:
    nodes = [
        node("Hardmax", "x", "a", "first"),
        node("Hardmax", "a", "b", "second"),
        node("LSTM", "x x x", "c", "third"),
        node("Add", "c c", "y"),
        node("Einsum", "x", "unused", "not on the way", equation="ij->j"),
    ]
    with pytest.raises(UnsupportedModel) as caught:
        load(model(nodes, {"x": X}, ["y"]))
    assert [each.node for each in caught.value.ops] == ["third"]
    nodes[3] = node("Sum", "b c", "y")
    with pytest.raises(UnsupportedModel) as caught:
        load(model(nodes, {"x": X}, ["y"]))
    # "second" reads what "first" would make, and is named all the same
    assert [each.node for each in caught.value.ops] == ["first", "second", "third"]
    assert str(caught.value).startswith(
        "3 unsupported operators:\n  Hardmax (opset 17) at first: there is no"
    )
    assert caught.value.exit_status == 3


def test_survey_counts_and_lists() -> None:
    found = survey(linear("y z", node("Hardmax", "y", "z", "odd")))
    assert [(each.op_type, type(each.result).__name__) for each in found.nodes] == [
        ("MatMul", "MatMul"),
        ("Hardmax", "Opaque"),
    ]
    assert [each.node for each in found.unsupported] == ["odd"]
    assert found.opset == 17


def branches(cond: str) -> onnx.NodeProto:
    made = [onnx.ValueInfoProto(name="r")]
    then = helper.make_graph([node("MatMul", "x w", "r")], "then", [], made)
    other = helper.make_graph([node("Det", "x", "r")], "else", [], made)
    return node("If", cond, "y", "the_if", then_branch=then, else_branch=other)


def test_an_if_on_a_constant_is_its_branch() -> None:
    proto = model([branches("c")], {"x": X}, ["y"], [tensor("w", W), tensor("c", np.asarray(True))])
    np.testing.assert_allclose(evaluate(load(proto), {"x": X})["y"], X @ W, rtol=1e-6)


def test_an_if_on_data_is_refused() -> None:
    proto = model([branches("c")], {"x": X, "c": np.asarray(True)}, ["y"], [tensor("w", W)])
    with pytest.raises(UnsupportedModel, match="rewrite it with Where") as caught:
        load(proto)
    assert isinstance(caught.value.ops[0], ControlFlow)


def test_local_functions_are_inlined() -> None:
    imports = [helper.make_opsetid("", 17)]
    twice = helper.make_function("mine", "Twice", ["a"], ["b"], [node("Add", "a a", "b")], imports)
    call = helper.make_node("Twice", ["x"], ["y"], domain="mine")
    graph = load(model([call], {"x": X}, ["y"], functions=[twice]))
    np.testing.assert_array_equal(evaluate(graph, {"x": X})["y"], 2 * X)


def test_external_data(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(linear(), str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    np.testing.assert_allclose(evaluate(load(path), {"x": X})["y"], X @ W, rtol=1e-6)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(MissingExternalData, match=r"weights of w are kept in .*w\.bin"):
        load(path)


def test_what_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(NotOnnx, match="No such file"):
        load(path)
    path.write_bytes(b"GIF89a, or so")
    with pytest.raises(NotOnnx, match="not an ONNX model"):
        load(path)
    path.write_bytes(b"")
    with pytest.raises(NotOnnx, match="no graph"):
        load(path)


@pytest.mark.parametrize("opset", [10, 29])
def test_opsets_outside_are_refused(opset: int) -> None:
    with pytest.raises(NotOnnx, match=f"opset {opset}: export the model with an opset from 11 to 28"):
        load(one_node("Neg", {"x": X}, opset=opset))


def test_a_node_before_its_operands_is_refused() -> None:
    nodes = [node("Neg", "a", "y", "early"), node("Neg", "x", "a")]
    with pytest.raises(NotOnnx, match="early reads a"):
        load(model(nodes, {"x": X}, ["y"]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_must_be_finite(bad: float) -> None:
    weights = W.copy()
    weights[1, 1] = bad
    with pytest.raises(NotFinite, match=r"weights with NaN or infinite values: w$") as caught:
        load(model([node("MatMul", "x w", "y")], {"x": X}, ["y"], [tensor("w", weights)]))
    assert caught.value.exit_status == 3


def test_a_mask_may_hold_minus_infinity() -> None:
    mask = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    proto = model([node("Add", "x m", "y")], {"x": np.ones((4, 4), np.float32)}, ["y"], [tensor("m", mask)])
    assert load(proto).outputs.keys() == {"y"}


def test_errors_are_one_tree_and_show_no_weight() -> None:
    assert issubclass(UsageError, FrontendError)
    with pytest.raises(UnsupportedModel) as caught:
        load(model([node("LSTM", "x w", "y")], {"x": X}, ["y"], [tensor("w", np.float32([12345.678]))]))
    assert "12345" not in repr(caught.value) + str(caught.value)


def test_a_cache_that_nobody_has_filled_is_left_out() -> None:
    """What optimum writes for a decoder "with past": keys seen before, in front of the new ones."""
    nodes = [
        node("MatMul", "x w", "new"),
        node("Concat", "past_key_values.0.key new", "present.0.key", axis=1),
        node("Shape", "past_key_values.0.key", "there"),
        node("Gather", "there one", "count"),
        node("Cast", "count", "shift", to=TensorProto.FLOAT),
        node("Add", "present.0.key shift", "logits"),
    ]
    feeds = {"x": X[None], "past_key_values.0.key": np.zeros((1, 0, 5), np.float32)}
    axes = {"x": ["batch_size", 3, 4], "past_key_values.0.key": ["batch_size", "past_sequence_length", 5]}
    proto = model(nodes, feeds, ["logits"], [tensor("w", W), tensor("one", np.int64(1))], axes=axes)
    graph = load(proto)
    assert [each.name for each in graph.inputs] == ["x"]
    expected = run(proto, {"x": X[None]})["logits"]
    np.testing.assert_allclose(evaluate(graph, {"x": X[None]})["logits"], expected, rtol=1e-5)
