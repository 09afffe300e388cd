"""Fuzzes what reads a model: `ppc check` and `ppc compile` on damaged ones.

    python tests/fuzz/fuzz_onnx.py --seconds 600 --seed 1

Seeds are the models of the frontend's tests; what is changed is the protobuf message, or its bytes. Where
ONNX Runtime runs a model that loads, the loaded graph must give the same values.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

sys.path.append(str(Path(__file__).parents[1] / "tools"))
sys.path.append(str(Path(__file__).parents[2]))

from campaign import Target, main
from change_proto import Words, change, scrambled
from onnx_cases import CASES, REFUSED
from onnx_models import model, one_node, tensor

from models.tiny_bert import Shape, tiny_bert
from ppc import simulate
from ppc.backend.check import as_text, check_model
from ppc.backend.compile import Compiled, compile_model
from ppc.backend.report import summary
from ppc.cli import _line, _status
from ppc.frontend.ir.graph import FLOAT, INT, Graph, TensorType, walk
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.read.load import load
from ppc.frontend.read.run import run as run_onnx
from ppc.passes.draw_inputs import random_feeds
from ppc.runtime.base.errors import BadPlan
from ppc.runtime.plan.file import decode

TOKENS = 3
SMALL = 2**20
"""Elements of all values of a model that is compiled too, which takes its time for more."""
X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
_HELD = tempfile.TemporaryDirectory(prefix="fuzz-onnx-")  # and removed in the end
FOLDER = Path(_HELD.name)
"""Where the model lies, with `weights` beside it, which models may keep their tensors in."""


@cache
def seeds() -> tuple[bytes, ...]:
    (FOLDER / "weights").write_bytes(np.arange(16, dtype=np.float32).tobytes())
    singles = [(name, feeds, values, rest) for name, feeds, values, rest in CASES]
    singles += [case for case, _ in REFUSED]
    protos = [one_node(name, feeds, values, **rest) for name, feeds, values, rest in singles]
    protos += [_shared(each) for each in protos if _floats(each)]
    protos += [_dense(), _elsewhere(), _branching(), _functional(), _folding(), *_small()]
    protos += [tiny_bert(Shape(layers=1, width=4, vocabulary=7, positions=5))] * 3
    return tuple(each.SerializeToString() for each in protos)


@cache
def _words() -> Words:
    words = Words()
    for data in seeds():
        words.learn(onnx.ModelProto.FromString(data))
    return words


def _node(op_type: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), outputs.split(), name=op_type, **attributes)


W = tensor("w", np.eye(4, dtype=np.float32) + 0.1)


def _floats(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs that a matrix can be multiplied to."""
    tensors = [(each, each.type.tensor_type) for each in proto.graph.input]
    return [each for each, kind in tensors if kind.elem_type == TensorProto.FLOAT and kind.shape.dim]


def _shared(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same on values that neither party knows: its inputs times a weight."""
    made = onnx.ModelProto.FromString(proto.SerializeToString())
    for value in _floats(made):
        name, width = value.name, value.type.tensor_type.shape.dim[-1].dim_value
        value.name, weight = f"{name}_in", f"{name}_w"
        made.graph.node.insert(
            0, helper.make_node("MatMul", [value.name, weight], [name], name=f"{name}_dense")
        )
        made.graph.initializer.append(tensor(weight, np.eye(width, dtype=np.float32) + np.float32(0.1)))
    return made


def _dense() -> onnx.ModelProto:
    nodes = [_node("MatMul", "x w", "a"), _node("Add", "a b", "c"), _node("Gelu", "c", "y")]
    return model(nodes, {"x": X}, ["y"], [W, tensor("b", X[0])], opset=20)


def _elsewhere() -> onnx.ModelProto:
    proto = model([_node("MatMul", "x w", "y")], {"x": X}, ["y"], [W])
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights"), ("offset", "0"), ("length", "64")):
        weight.external_data.add(key=key, value=value)
    return proto


def _branching() -> onnx.ModelProto:
    made = [onnx.ValueInfoProto(name="r")]
    branches = [helper.make_graph([_node(op, "a", "r")], op, [], made, [W]) for op in ("Neg", "Relu")]
    flow = _node("If", "c", "y", then_branch=branches[0], else_branch=branches[1])
    return model([_node("MatMul", "x w", "a"), flow], {"x": X}, ["y"], [W, tensor("c", np.asarray(True))])


def _functional() -> onnx.ModelProto:
    imports = [helper.make_opsetid("", 17)]
    twice = helper.make_function("local", "Twice", ["p"], ["q"], [_node("Add", "p p", "q")], imports)
    call = helper.make_node("Twice", ["a"], ["y"], domain="local")
    return model([_node("MatMul", "x w", "a"), call], {"x": X}, ["y"], [W], functions=[twice])


def _small() -> list[onnx.ModelProto]:
    """Values of rank 0 and 1."""
    one, row = np.float32(0.5), X[0]
    given = [("Mul", one, [np.float32(3)]), ("Relu", one, []), ("Mul", row, [row]), ("MatMul", row, [row])]
    given += [("Softmax", row, []), ("ReduceSum", row, []), ("Unsqueeze", one, [np.array([0])])]
    return [one_node(op, {"x": np.asarray(x)}, constants) for op, x, constants in given]


def _folding() -> onnx.ModelProto:
    """What exporters do with shapes, and quantized weights."""
    nodes = [
        _node("Shape", "x", "shape"),
        _node("Gather", "shape zero", "rows", axis=0),
        _node("Range", "zero rows one", "places"),
        _node("ConstantOfShape", "shape", "ones", value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1])),
        _node("DequantizeLinear", "bytes step", "small"),
        _node("MatMul", "x small", "a"),
        _node("Mul", "a ones", "b"),
        _node("Cast", "places", "p", to=TensorProto.FLOAT),
        _node("Unsqueeze", "p one1", "q"),
        _node("Add", "b q", "y"),
    ]
    known = {"zero": np.int64(0), "one": np.int64(1), "one1": np.array([1]), "step": np.float32(0.5)}
    known["bytes"] = np.eye(4, dtype=np.int8)
    return model(nodes, {"x": X}, ["y"], [tensor(name, value) for name, value in known.items()])


def mutate(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.05:
        return scrambled(data, rng)
    try:
        proto = onnx.ModelProto.FromString(data)
        for _ in range(1 + int(rng.expovariate(0.7))):
            change(proto, _words(), rng)
        return proto.SerializeToString()
    except (DecodeError, ValueError):  # bytes changed earlier, or numbers that a field does not hold
        return scrambled(data, rng)


def run(data: bytes) -> None:
    path = FOLDER / "m.onnx"
    path.write_bytes(data)
    seq_len = TOKENS if b"sequence" in data else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_model(path, seq_len=seq_len)
        json.dumps(found.document())
        as_text(found)
        graph = load(path, seq_len=seq_len)
        if sum(op.type.size for op in walk(graph)) > SMALL:
            return
        _compare(path, graph)
        compiled = compile_model(path, seq_len=seq_len)
        try:
            json.dumps(summary(decode(compiled.plan.body)))
        except BadPlan as fault:
            raise Wrong(f"the plan that was compiled is refused: {fault}") from fault
        _compare_fixed(compiled, graph)


class Wrong(Exception):
    """A model that loads, but as another than ONNX Runtime runs."""


def _compare(path: Path, graph: Graph) -> None:
    """The loaded graph against ONNX Runtime, where that takes the model."""
    rng = np.random.default_rng(1)
    feeds = {each.name: _sample(each.type, rng) for each in graph.inputs}
    try:
        onnx.checker.check_model(str(path), full_check=True)
        theirs = run_onnx(path, feeds, list(graph.outputs))
    except Exception:  # not a model, to those who should know
        return
    ours = evaluate(graph, feeds)
    for name, value in theirs.items():
        if ours[name].shape != value.shape:
            raise Wrong(f"{name} has shape {ours[name].shape}, not {value.shape}")
        if np.isfinite(value).all() and not np.allclose(ours[name], value, 1e-2, 1e-2):
            raise Wrong(f"{name} is {ours[name]}, not {value}")


def _compare_fixed(compiled: Compiled, graph: Graph) -> None:
    """The plan against the graph, on data as it was calibrated on, to a tenth of the largest value."""
    feeds = random_feeds(graph)[0]
    got, wanted = simulate(compiled.plan, compiled.weights, feeds), evaluate(graph, feeds)
    for name, value in got.items():
        right = np.asarray(wanted[name], np.float64)
        if value.shape != right.shape or not np.abs(value - right).max() <= 0.1 * (1 + np.abs(right).max()):
            raise Wrong(f"{name} is {value} in fixed point, not {right}")


def _sample(kind: TensorType, rng: np.random.Generator) -> np.ndarray:
    whole = rng.integers(0, 2, kind.shape)
    return rng.normal(size=kind.shape) if kind.num == FLOAT else whole if kind.num == INT else whole > 0


def expected(fault: Exception) -> bool:
    """Whether the command line would say it in one line; the line must be there."""
    return _status(fault) is not None and bool(_line(fault).strip())


TARGET = Target(seeds, mutate, run, expected)

if __name__ == "__main__":
    main(TARGET)
