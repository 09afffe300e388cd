"""What can be wrong with a model, as a user meets it: a line with the node and what to do, and a status."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from command import Done, called
from onnx import TensorProto, helper
from onnx_models import model, tensor

from models.tiny_bert import Shape, tiny_bert

X = np.ones((3, 4), np.float32)
R = np.random.default_rng(0)
W = tensor("w", R.normal(size=(4, 4)).astype(np.float32))


def node(op_type: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), outputs.split(), name=f"/layer/{op_type}", **attributes)


def product(*more: onnx.NodeProto, weights: tuple[onnx.TensorProto, ...] = ()) -> onnx.ModelProto:
    """x @ w, then ``more`` from a to y."""
    return model([node("MatMul", "x w", "a"), *more], {"x": X}, ["y"], [W, *weights])


class Compiles:
    """Saves models and compiles them from the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, proto: onnx.ModelProto | bytes | Path, *args: object) -> Done:
        path = proto if isinstance(proto, Path) else self.folder / "m.onnx"
        if isinstance(proto, bytes):
            path.write_bytes(proto)
        elif isinstance(proto, onnx.ModelProto):
            onnx.save(proto, path)
        return called("compile", path, "-o", self.folder / "plan.bin", *args)

    def samples(self, **arrays: np.ndarray) -> Path:
        path = self.folder / "samples.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return path


@pytest.fixture
def compiling(tmp_path: Path) -> Compiles:
    return Compiles(tmp_path)


def test_no_file(compiling: Compiles) -> None:
    compiling(compiling.folder / "nowhere.onnx").failed(2, r"nowhere\.onnx: No such file")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(compiling: Compiles, keep: float) -> None:
    whole = tiny_bert(Shape(layers=1, width=16)).SerializeToString()
    compiling(whole[: int(len(whole) * keep)], "--seq-len", 8).failed(2, r"m\.onnx")


def test_another_kind_of_file(compiling: Compiles) -> None:
    compiling(b"PK\x03\x04 no model").failed(2, r"m\.onnx is not an ONNX model")
    compiling(b"").failed(2, "it has no graph")


def test_an_axis_without_a_size(compiling: Compiles) -> None:
    done = compiling(tiny_bert(Shape(layers=1, width=16)))
    done.failed(2, "axis 1, called 'sequence': give --seq-len VALUE, the prompt's length, or --dim sequence=")


def test_more_tokens_than_positions(compiling: Compiles) -> None:
    done = compiling(tiny_bert(Shape(layers=1, width=16)), "--seq-len", 999)
    done.failed(3, "do not broadcast; is --seq-len 999 more than the model has positions for?")


def test_missing_and_short_external_data(compiling: Compiles) -> None:
    path = compiling.folder / "m.onnx"
    onnx.save(
        product(node("Relu", "a", "y")),
        str(path),
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    (compiling.folder / "w.bin").write_bytes(b"\0" * 7)
    compiling(path).failed(2, r"w\.bin")
    (compiling.folder / "w.bin").unlink()
    compiling(path).failed(
        2, r"weights of w are kept in .*w\.bin, which is not there; put it beside the model"
    )


def test_external_data_from_elsewhere(compiling: Compiles) -> None:
    secret = compiling.folder / "secret"
    secret.write_bytes(b"\0" * 64)
    inside = compiling.folder / "inside"
    inside.mkdir()
    proto = product(node("Relu", "a", "y"))
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")
    onnx.save(proto, inside / "m.onnx")
    compiling(inside / "m.onnx").failed(2, "secret")


def test_operators_that_nothing_translates(compiling: Compiles) -> None:
    done = compiling(
        product(node("Hardmax", "a", "b"), node("NonZero", "b", "c"), node("Cast", "c", "y", to=1))
    )
    done.failed(
        3, "2 unsupported operators", r"Hardmax \(opset 17\) at /layer/Hardmax", "rewrite it with masks"
    )


def test_operators_that_no_protocol_computes_are_named_all_at_once(compiling: Compiles) -> None:
    done = compiling(product(node("Log", "a", "b"), node("Add", "b a", "c"), node("Floor", "c", "y")))
    done.failed(3, "2 unsupported operators", "at /layer/Log: .* no protocol", "at /layer/Floor")


def test_control_flow(compiling: Compiles) -> None:
    made = [onnx.ValueInfoProto(name="r")]
    branch = [helper.make_graph([node("Neg", "a", "r")], "one", [], made) for _ in range(2)]
    flow = node("If", "c", "y", then_branch=branch[0], else_branch=branch[1])
    proto = model([node("MatMul", "x w", "a"), flow], {"x": X, "c": np.asarray(True)}, ["y"], [W])
    compiling(proto).failed(3, "If .* at /layer/If: the branch depends on .* rewrite it with Where")
    body = helper.make_graph([], "body", [], [])
    loop = node("Loop", "n a", "y", body=body)
    compiling(product(loop, weights=(tensor("n", np.int64(3)),))).failed(3, "at /layer/Loop: .* unroll it")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers(compiling: Compiles, bad: float) -> None:
    values = np.full((4, 4), bad, np.float32)
    proto = product(node("Add", "a b", "y"), weights=(tensor("b", values[0]),))
    compiling(proto).failed(3, "weights with NaN or infinite values: b")


def test_calibration_data_that_are_no_numbers(compiling: Compiles) -> None:
    samples = compiling.samples(x=np.full((2, 3, 4), np.nan, np.float32))
    compiling(product(node("Relu", "a", "y")), "--calibrate", samples).failed(
        2, "calibration: input 'x' holds a value that is not finite"
    )


def test_calibration_data_that_do_not_fit(compiling: Compiles) -> None:
    proto = product(node("Relu", "a", "y"))
    compiling(proto, "--calibrate", compiling.samples(z=X[None])).failed(2, "without input 'x'")
    compiling(proto, "--calibrate", compiling.samples(x=X[None, :2])).failed(2, "has shape")
    compiling(proto, "--calibrate", compiling.samples(x=X)).failed(2, "samples are stacked on a first axis")
    compiling(proto, "--calibrate", compiling.samples(x=np.array([["a"]]))).failed(2, "x")


@pytest.mark.parametrize("bad", [-1, 5])
def test_calibration_data_that_are_no_rows_of_a_table(compiling: Compiles, bad: int) -> None:
    table = helper.make_node("Gather", ["t", "x"], ["y"])
    ids = helper.make_tensor_value_info("x", TensorProto.INT64, [1, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4])
    graph = helper.make_graph([table], "g", [ids], [y], [tensor("t", np.ones((5, 4), np.float32))])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    good = compiling.samples(x=np.array([[[0, 4, 2]]]))
    assert compiling(proto, "--calibrate", good).status == 0
    wrong = compiling.samples(x=np.array([[[0, bad, 2]]]))
    compiling(proto, "--calibrate", wrong).failed(
        2, f"input 'x' holds {bad}, and its table has the rows 0 to 4"
    )


def test_a_folder_where_a_file_is_to_be_written(compiling: Compiles, tmp_path) -> None:
    compiling(product(node("Relu", "a", "y")), "--emit-onnx", str(tmp_path)).failed(
        2, "a folder stands where"
    )


def test_a_value_that_is_no_number_on_the_data(compiling: Compiles) -> None:
    proto = product(node("Sqrt", "a", "b"), node("Neg", "b", "y"))
    compiling(proto).failed(6, "Sqrt b : .* is not a number on the calibration data", "--calibrate")


def test_a_divisor_that_comes_to_zero(compiling: Compiles) -> None:
    proto = product(node("Reciprocal", "a", "y"))
    compiling(proto).failed(6, "Reciprocal y : .* must stay above 0", "epsilon")


def test_ranges_that_fit_no_ring(compiling: Compiles) -> None:
    huge = tensor("h", np.float32([[1e18, 1, 1, 1]]))
    proto = product(node("Mul", "a h", "b"), node("Mul", "b b", "y"), weights=(huge,))
    compiling(proto).failed(6, r"needs a ring of \d+ bits, more than 64", "Scale it down in the model")


def test_a_mask_that_no_ring_holds_is_cut_and_said_to_be(compiling: Compiles) -> None:
    done = compiling(tiny_bert(Shape(layers=1, width=16)), "--seq-len", 8)
    assert done.status == 0
    assert "masks reach below -" in done.err
    assert "are cut there, which acts the same" in done.err


def test_checking_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(product(node("Log", "a", "b"), node("Floor", "b", "y")), path)
    done = called("check", path)
    assert done.status == 3
    assert done.out.splitlines()[-2:] == [
        line for line in done.out.splitlines() if "at /layer/" in line and "no protocol computes" in line
    ]
    told = called("check", path, "--json")
    assert told.status == 3
    assert [each["node"] for each in told.json["unsupported"]] == ["/layer/Log", "/layer/Floor"]
    onnx.save(product(node("Relu", "a", "y")), path)
    assert called("check", path).status == 0
    called("check", tmp_path / "nowhere.onnx").failed(2, "No such file")
