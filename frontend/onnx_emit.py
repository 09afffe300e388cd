"""IR -> ONNX: a graph of plain functions as a model that any runtime runs and the compiler takes again.

Opset 17, in single precision. Weights become initializers, numbers of formulas Constant nodes, so that what
the loader holds for secret stays what it was. Functions that ONNX lacks (GELU, SiLU, RMSNorm) are written in
pieces, which the compiler recognises. What only two parties compute with, splines and the like, is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, FLOAT, INT, Graph, Input, IRError, Num, Op, walk
from ppc.frontend.onnx_emit_clear import OPSET, Final, clear

IR_VERSION = 8
LARGEST_FILE = 1 << 30
"""Bytes of weights beyond which they are kept in a file of their own; protobuf ends at twice that."""

_TYPES = {FLOAT: TensorProto.FLOAT, INT: TensorProto.INT64, BOOL: TensorProto.BOOL}
_FEW = 64
"""Different values that a public table may have and be written so that it stays public."""


def emit(graph: Graph) -> onnx.ModelProto:
    """The graph as a model; tensors keep the names of the ops. Raises IRError for an op that ONNX lacks."""
    writer = _Writer(graph)
    for op in walk(graph):
        writer.write(op)
    for name, op in graph.outputs.items():
        if writer.at[op] != name:
            writer.nodes.append(helper.make_node("Identity", [writer.at[op]], [name], name=name))
    made = helper.make_graph(
        writer.nodes,
        graph.name or "graph",
        [_declared(each.name, each) for each in graph.inputs],
        [_declared(name, op) for name, op in graph.outputs.items()],
        writer.initializers,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="ppc")
    model.ir_version = IR_VERSION
    return model


def save(graph: Graph, path: Path) -> None:
    """Write `emit`'s model, with the weights in ``<path>.data`` where one file would be too large."""
    model = emit(graph)
    large = sum(len(t.raw_data) for t in model.graph.initializer) > LARGEST_FILE
    data = path.name + ".data"
    if large:  # onnx appends to what is there
        path.with_name(data).unlink(missing_ok=True)
    onnx.save(model, str(path), save_as_external_data=large, location=data if large else None)


def _declared(name: str, op: Op) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[_num(op)], op.type.shape)


def _num(op: Op) -> Num:
    if op.type.num not in _TYPES:
        raise IRError(f"{op!r}: ONNX has no {op.type.num}")
    return op.type.num


@dataclass
class _Writer:
    """Nodes as they are written. ``at`` names the tensor of each op."""

    graph: Graph
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    at: dict[Op, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.results = {op: name for name, op in reversed(self.graph.outputs.items())}
        self.taken |= {each.name for each in self.graph.inputs} | set(self.graph.outputs)

    def write(self, op: Op) -> None:
        if isinstance(op, Input):
            self.at[op] = op.name
        elif isinstance(op, ops.Const):
            self.at[op] = self.constant(op)
        else:
            rule = RULES.get(type(op))
            if rule is None:
                raise IRError(f"{op!r}: ONNX has no {type(op).__name__}")
            kind, inputs, attributes = rule(self, op)
            name = self.results.get(op) or self.fresh(op.name or kind)
            self.at[op] = self.add(kind, inputs, name, **attributes)

    def fresh(self, wanted: str) -> str:
        """A name not yet taken."""
        name, n = wanted, 1
        while name in self.taken:
            n += 1
            name = f"{wanted}.{n}"
        self.taken.add(name)
        return name

    def add(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """An inner node; outputs after the first are called :1, :2, …"""
        name = self.fresh(kind)
        names = [name, *(f"{name}:{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return name

    def kept(self, value: NDArray[Any], wanted: str) -> str:
        """An initializer."""
        name = self.fresh(wanted)
        self.initializers.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def number(self, value: ArrayLike, num: Num = FLOAT) -> str:
        """A public number, as a Constant node."""
        tensor = numpy_helper.from_array(np.asarray(value, _dtype(num)))
        return self.node("Constant", value=tensor)

    def integers(self, values: tuple[int, ...]) -> str:
        return self.kept(np.array(values, np.int64), "integers")

    def constant(self, op: ops.Const) -> str:
        with np.errstate(over="ignore"):  # a mask of −10³⁹ is −∞ in single precision
            value = op.value.astype(_dtype(_num(op)))
        if op.secret or value.dtype != np.float32:
            return self.kept(value, op.name or "constant")
        if value.size == 1:
            return self.number(value)
        return self.public_table(value, op.name)

    def public_table(self, value: NDArray[Any], name: str) -> str:
        """A mask, for one. The loader takes tensors of floats for weights, but not what it computes from
        integers and numbers."""
        different, indices = np.unique(value, return_inverse=True)
        if len(different) > _FEW:
            return self.kept(value, name or "constant")
        shape = self.integers((1,))
        numbers = [self.node("Reshape", self.number(each), shape) for each in different]
        table = self.node("Concat", *numbers, axis=0)
        places = self.kept(indices.reshape(value.shape).astype(np.int64), "places")
        return self.node("Gather", table, places, axis=0)

    def of(self, op: Op, num: Num) -> str:
        """The operand as another kind of number."""
        return self.at[op] if op.type.num == num else self.node("Cast", self.at[op], to=_TYPES[num])


def _dtype(num: Num) -> Any:
    return {FLOAT: np.float32, INT: np.int64, BOOL: np.bool_}[num]


# ---- one rule an op


def _same(kind: str) -> Callable[[_Writer, Op], Final]:
    """The ONNX operator of that name, operands as they are."""
    return lambda w, op: (kind, [w.at[each] for each in op.operands], {})


def _joined(kind: str) -> Callable[[_Writer, Op], Final]:
    """Operands as the kind of number that the result is."""
    return lambda w, op: (kind, [w.of(each, _num(op)) for each in op.operands], {})


def _real(kind: str) -> Callable[[_Writer, Op], Final]:
    return lambda w, op: (kind, [w.of(each, FLOAT) for each in op.operands], {})


def _compared(kind: str) -> Callable[[_Writer, Op], Final]:
    def rule(w: _Writer, op: Op) -> Final:
        nums = {each.type.num for each in op.operands}
        num = FLOAT if FLOAT in nums else INT
        return kind, [w.of(each, num) for each in op.operands], {}

    return rule


def _mod(w: _Writer, op: ops.Mod) -> Final:
    a, b = w.of(op.a, _num(op)), w.of(op.b, _num(op))
    if op.fmod or _num(op) != FLOAT:
        return "Mod", [a, b], {"fmod": int(op.fmod)}
    whole = w.node("Floor", w.node("Div", a, b))
    return "Sub", [a, w.node("Mul", whole, b)], {}


def _relu(w: _Writer, op: ops.Relu) -> Final:
    if op.type.num == FLOAT:
        return "Relu", [w.at[op.x]], {}
    return "Max", [w.at[op.x], w.number(0, INT)], {}


def _clip(w: _Writer, op: ops.Clip) -> Final:
    ends = ["" if end is None else w.number(end, _num(op)) for end in (op.lo, op.hi)]
    return "Clip", [w.at[op.x], *(ends if ends[1] else ends[:1])], {}


def _cast(w: _Writer, op: ops.Cast) -> Final:
    return "Cast", [w.at[op.x]], {"to": _TYPES[_num(op)]}


def _where(w: _Writer, op: ops.Where) -> Final:
    return "Where", [w.at[op.condition], *(w.of(each, _num(op)) for each in (op.a, op.b))], {}


def _square(w: _Writer, op: ops.Square) -> Final:
    return "Mul", [w.at[op.x], w.at[op.x]], {}


def _gelu(w: _Writer, op: ops.Gelu) -> Final:
    x, half, one = w.at[op.x], w.number(0.5), w.number(1.0)
    if op.approx == "tanh":
        cube = w.node("Mul", w.node("Mul", x, x), x)
        inner = w.node("Add", x, w.node("Mul", cube, w.number(0.044715)))
        bent = w.node("Tanh", w.node("Mul", inner, w.number(math.sqrt(2 / math.pi))))
    else:
        bent = w.node("Erf", w.node("Div", x, w.number(math.sqrt(2))))
    return "Mul", [w.node("Mul", x, w.node("Add", bent, one)), half], {}


def _silu(w: _Writer, op: ops.Silu) -> Final:
    return "Mul", [w.at[op.x], w.node("Sigmoid", w.at[op.x])], {}


def _softmax(w: _Writer, op: ops.Softmax) -> Final:
    return "Softmax", [w.at[op.x]], {"axis": op.axis}


def _layer_norm(w: _Writer, op: ops.LayerNorm) -> Final:
    return "LayerNormalization", [w.at[each] for each in op.operands], {"axis": -1, "epsilon": op.eps}


def _rms_norm(w: _Writer, op: ops.RMSNorm) -> Final:
    x = w.at[op.x]
    square = w.node("ReduceMean", w.node("Mul", x, x), axes=[-1], keepdims=1)
    root = w.node("Sqrt", w.node("Add", square, w.number(op.eps)))
    return "Mul", [w.node("Div", x, root), w.at[op.gamma]], {}


def _reduce_sum(w: _Writer, op: ops.ReduceSum) -> Final:
    return "ReduceSum", [w.at[op.x], w.integers(op.axes)], {"keepdims": int(op.keepdims)}


def _reduce(kind: str) -> Callable[[_Writer, Any], Final]:
    return lambda w, op: (kind, [w.at[op.x]], {"axes": list(op.axes), "keepdims": int(op.keepdims)})


def _cumsum(w: _Writer, op: ops.CumSum) -> Final:
    modes = {"exclusive": int(op.exclusive), "reverse": int(op.reverse)}
    return "CumSum", [w.at[op.x], w.number(op.axis, INT)], modes


def _gather(w: _Writer, op: ops.Gather) -> Final:
    return "Gather", [w.at[op.x], w.at[op.indices]], {"axis": op.axis}


def _one_hot(w: _Writer, op: ops.OneHot) -> Final:
    ends = w.node("Concat", *(w.node("Reshape", w.number(v), w.integers((1,))) for v in (0.0, 1.0)), axis=0)
    return "OneHot", [w.at[op.ids], w.number(op.depth, INT), ends], {}


def _reshape(w: _Writer, op: ops.Reshape) -> Final:
    return "Reshape", [w.at[op.x], w.integers(op.shape)], {"allowzero": int(0 in op.shape)}


def _transpose(w: _Writer, op: ops.Transpose) -> Final:
    return "Transpose", [w.at[op.x]], {"perm": list(op.perm)}


def _broadcast(w: _Writer, op: ops.Broadcast) -> Final:
    return "Expand", [w.at[op.x], w.integers(op.shape)], {}


def _slice(w: _Writer, op: ops.Slice) -> Final:
    return "Slice", [w.at[op.x], *map(w.integers, (op.starts, op.ends, op.axes, op.steps))], {}


def _concat(w: _Writer, op: ops.Concat) -> Final:
    return "Concat", [w.of(each, _num(op)) for each in op.xs], {"axis": op.axis}


RULES: dict[type[Op], Callable[[_Writer, Any], Final]] = {
    **{getattr(ops, kind): _joined(kind) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "MatMul")},
    **{
        getattr(ops, kind): _compared(kind)
        for kind in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual")
    },
    **{getattr(ops, kind): _same(kind) for kind in ("And", "Or", "Not", "Neg", "Abs", "Pow")},
    **{
        getattr(ops, kind): _real(kind)
        for kind in ("Sqrt", "Exp", "Erf", "Tanh", "Sigmoid", "Reciprocal", "Floor", "IsNaN")
    },
    ops.Mod: _mod,
    ops.Relu: _relu,
    ops.Clip: _clip,
    ops.Cast: _cast,
    ops.Where: _where,
    ops.Square: _square,
    ops.Gelu: _gelu,
    ops.Silu: _silu,
    ops.Softmax: _softmax,
    ops.LayerNorm: _layer_norm,
    ops.RMSNorm: _rms_norm,
    ops.ReduceSum: _reduce_sum,
    ops.ReduceMean: _reduce("ReduceMean"),
    ops.ReduceMax: _reduce("ReduceMax"),
    ops.CumSum: _cumsum,
    ops.Gather: _gather,
    ops.OneHot: _one_hot,
    ops.Reshape: _reshape,
    ops.Transpose: _transpose,
    ops.Broadcast: _broadcast,
    ops.Slice: _slice,
    ops.Concat: _concat,
    ops.Clear: clear,
}
"""The rest of the IR is what two parties compute with: Spline, Rescale."""
