"""Small models written as a function of a `Net`, compiled, and the plan simulated against ONNX Runtime.

Batches of two; what is shared comes out of a product of the client's x with the server's w.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx_models import DOMAIN, model, tensor
from whole import simulated_errors

import ppc
from ppc.backend.compile import Compiled

ALLOWED = 0.01
"""Of the output's standard deviation."""

BATCH, TOKENS, WIDTH = 2, 6, 8
LOW = float(np.finfo(np.float32).min)


@dataclass
class Net:
    """A model that grows node by node; every call names its result."""

    opset: int = 17
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        return self.several(1, kind, *inputs, **attributes)[0]

    def several(self, outputs: int, kind: str, *inputs: Any, **attributes: Any) -> list[str]:
        names = [each if isinstance(each, str) else self.const(each) for each in inputs]
        made = [f"{kind}{len(self.nodes)}{i or ''}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, name=made[0], **attributes))
        return made

    def const(self, value: Any) -> str:
        array = np.asarray(value)
        name = f"c{len(self.weights)}"
        self.weights.append(tensor(name, array.astype(np.float32) if array.dtype == np.float64 else array))
        return name

    def linear(self, x: str = "x", width: int = WIDTH) -> str:
        return self.op("MatMul", x, self.rng.normal(size=(WIDTH, width)) / np.sqrt(WIDTH))

    def scores(self) -> str:
        """[batch, 1, tokens, tokens]"""
        q, k = (self.op("Unsqueeze", self.linear(), np.array([1])) for _ in range(2))
        return self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2]))

    def attended(self, probabilities: str) -> str:
        values = self.op("Unsqueeze", self.linear(), np.array([1]))
        return self.op("MatMul", probabilities, values)

    def kept(self) -> str:
        """mask as floats, [batch, 1, 1, tokens]"""
        return self.op("Unsqueeze", self.op("Cast", "mask", to=1), np.array([1, 2]))

    def kept_bits(self) -> str:
        return self.op("Unsqueeze", self.op("Cast", "mask", to=9), np.array([1, 2]))


def feeds(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    kept = np.arange(TOKENS) < np.array([[TOKENS], [2 + seed % 4]])
    return {"x": rng.normal(size=(BATCH, TOKENS, WIDTH)).astype(np.float32), "mask": kept.astype(np.int64)}


def compiled(folder: Path, build: Callable[[Net], str], opset: int = 17) -> tuple[Path, Compiled]:
    """The model's file and its plan, to an error of `ALLOWED`."""
    net = Net(opset)
    y = build(net)
    read = {each for node in net.nodes for each in node.input}
    samples = [{k: v for k, v in feeds(seed).items() if k in read} for seed in range(40)]
    proto = model(net.nodes, samples[0], [y], net.weights, opset=opset)
    del proto.opset_import[1:]
    assert DOMAIN not in {each.domain for each in proto.opset_import}
    path = folder / "m.onnx"
    onnx.save(proto, path)
    return path, ppc.compile(path, calibrate=samples[8:], max_error=ALLOWED)


def worst_error(folder: Path, build: Callable[[Net], str], opset: int = 17) -> float:
    """Of inputs that calibration has not seen, in parts of the output's standard deviation."""
    path, made = compiled(folder, build, opset)
    read = {each.name for each in made.plan.inputs}
    samples = [{k: v for k, v in feeds(seed).items() if k in read} for seed in range(8)]
    (error,) = simulated_errors(path, made, samples).values()
    return error.worst
