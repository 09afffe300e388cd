"""ONNX -> IR: fixed shapes, folded constants, chosen outputs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import external_data_helper, inliner
from onnx.checker import ValidationError

from ppc.frontend.errors import (
    ControlFlow,
    FrontendError,
    MissingExternalData,
    NotFinite,
    NotOnnx,
    UnknownOutput,
    UnsupportedModel,
    UnsupportedOp,
)
from ppc.frontend.ir.graph import FLOAT, Graph, IRError, Num, Op, walk_from
from ppc.frontend.ir.ops import Const, Input, Opaque
from ppc.frontend.onnx_axes import fixed_inputs, inferred_types
from ppc.frontend.onnx_client import left_to_client
from ppc.frontend.onnx_damage import (
    DAMAGE,
    MOST_NODES,
    check_attributes,
    check_texts,
    ill_formed,
    written_out,
)
from ppc.frontend.onnx_fold import Known, attributes, constant_node, fold, is_weight, read_tensor
from ppc.frontend.onnx_node import Node, Unsupported
from ppc.frontend.onnx_ops import REMEDIES, TABLE

OPSETS = range(11, 24)
"""The versions of ONNX's own operators that are understood."""

_OWN_DOMAINS = ("", "ai.onnx")
_CONTROL = ("If", "Loop", "Scan")


@dataclass(frozen=True)
class Surveyed:
    """One node and what became of it: an op, a value known already, or None where nothing can be said of it.

    ``inner`` are all ops that it was written out in, the result's last.
    """

    name: str
    op_type: str
    outputs: tuple[str, ...]
    result: Op | Known | None
    inner: tuple[Op, ...] = ()


@dataclass(frozen=True)
class Survey:
    """What ``ppc check`` starts from: every node that the outputs are made of, and those without support.

    In ``graph`` an `Opaque` stands for each of these. Outputs whose type is not known are not in it; it is
    None where that is all of them.
    """

    opset: int
    nodes: tuple[Surveyed, ...]
    unsupported: tuple[UnsupportedOp, ...]
    graph: Graph | None


def load(
    path_or_model: str | Path | onnx.ModelProto,
    *,
    seq_len: int | None = None,
    dims: Mapping[str, int] | None = None,
    outputs: Sequence[str] | None = None,
) -> Graph:
    """Read a model into IR.

    Open axes are fixed by ``dims`` (axis name, or ``input.axis``, to size), by ``seq_len`` for sequence axes,
    and to 1 for the batch. Without ``outputs`` those that do not depend on a weight are left out, because
    exporters leave inputs and masks among the outputs.

    Raises a FrontendError: UsageError for what the caller can put right by asking differently,
    UnsupportedModel with all operators that cannot be compiled, NotFinite for broken weights.
    """
    reader = _read(path_or_model, seq_len, dims or {}, outputs)
    if reader.unsupported:
        raise UnsupportedModel(reader.unsupported)
    graph = reader.graph(reader.chosen, explicit=outputs is not None)
    _check_finite(graph)
    return graph


def survey(
    path_or_model: str | Path | onnx.ModelProto,
    *,
    seq_len: int | None = None,
    dims: Mapping[str, int] | None = None,
    outputs: Sequence[str] | None = None,
) -> Survey:
    """All that ``load`` would compile, and all that it cannot; raises only UsageErrors and NotFinite."""
    reader = _read(path_or_model, seq_len, dims or {}, outputs)
    known = [name for name in reader.chosen if reader.values.get(name) is not None]
    graph = reader.graph(known, explicit=outputs is not None) if known else None
    if graph is not None:
        _check_finite(graph)
    return Survey(reader.opset, tuple(reader.nodes), tuple(reader.unsupported), graph)


def read_model(path_or_model: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    """The model with its external data in memory and its local functions inlined."""
    if isinstance(path_or_model, onnx.ModelProto):
        model, base = path_or_model, None
    else:
        base = Path(path_or_model).parent
        model = _parse(Path(path_or_model))
    _load_external(model, base)
    whole = _inlined(model) if model.functions else model
    check_texts(whole.graph)
    return whole


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        size = written_out(model)
        if size <= MOST_NODES:
            return inliner.inline_local_functions(model)
    except Exception as error:  # the inliner raises what it likes
        raise NotOnnx(f"the model's local functions cannot be inlined: {error}") from None
    raise NotOnnx(f"the model's local functions come to {size:,} nodes, more than {MOST_NODES:,}")


def _parse(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise NotOnnx(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # by the file's ending one of several parsers, each with errors of its own
        raise NotOnnx(f"{path} is not an ONNX model, or cut short: {error}; fetch it again") from None
    if not model.ir_version or not model.graph.output:
        raise NotOnnx(f"{path} is not an ONNX model: it has no graph with an output")
    return model


def _load_external(model: onnx.ModelProto, base: Path | None) -> None:
    for tensor in _tensors(model.graph):
        if not external_data_helper.uses_external_data(tensor):
            continue
        for each in tensor.external_data:
            if not isinstance(each.key, str) or not isinstance(each.value, str):
                raise NotOnnx(f"where the weights of {tensor.name!r} are kept is no text: {each.value!r}")
        where = next((each.value for each in tensor.external_data if each.key == "location"), "")
        try:
            if base is None or not (base / where).is_file():
                raise MissingExternalData(tensor.name, str(base / where) if base else where)
            external_data_helper.load_external_data_for_tensor(tensor, str(base))
        except (OSError, ValueError, ValidationError) as error:
            raise NotOnnx(f"the weights of {tensor.name}, kept in {where or 'no file'}: {error}") from None
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Initializers, and tensors in attributes, of the graph and those within."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _read(
    path_or_model: str | Path | onnx.ModelProto,
    seq_len: int | None,
    dims: Mapping[str, int],
    outputs: Sequence[str] | None,
) -> _Reader:
    model = read_model(path_or_model)
    there = [each.name for each in model.graph.output]
    for name in outputs or ():
        if name not in there:
            raise UnknownOutput(name, there)
    inputs, _ = fixed_inputs(model, seq_len, dims)
    chosen = tuple(outputs or _not_stray(model, there))
    reader = _Reader(model, inputs, chosen, seq_len)
    reader.run(model.graph.node, _needed(model.graph.node, chosen))
    return reader


class _Reader:
    """One walk over the nodes; what each tensor's name stands for grows as it goes."""

    def __init__(
        self, model: onnx.ModelProto, inputs: tuple[Input, ...], chosen: tuple[str, ...], seq_len: int | None
    ) -> None:
        self.model, self.chosen, self.seq_len = model, chosen, seq_len
        self.inputs = tuple(each for each in inputs if each.type.size)
        self.opset = max((o.version for o in model.opset_import if o.domain in _OWN_DOMAINS), default=0)
        if self.opset not in OPSETS:
            raise NotOnnx(
                f"opset {self.opset}: export the model with an opset from {OPSETS[0]} to {OPSETS[-1]}"
            )
        self.values: dict[str, Op | Known | None] = {}
        """An op, a tensor known already, or None behind an unsupported node."""
        self.unmade: dict[str, str] = {}
        """Statistics and masks for training, by the operator that has them: an error once they are read."""
        self.constants: dict[str, Const] = {}
        self.unsupported: list[UnsupportedOp] = []
        self.nodes: list[Surveyed] = []
        self.guessed: dict[str, tuple[tuple[int, ...], Num]] | None = None
        for each in inputs:
            self.define(each.name, each if each.type.size else _empty(each))
        self.read_initializers(model.graph.initializer)

    def define(self, name: str, value: Op | Known | None) -> None:
        """Every name is given once: of two meanings the wrong one would be read."""
        if name in self.values:
            raise NotOnnx(f"two tensors have the name {name}")
        self.values[name] = value

    def read_initializers(self, tensors: Iterable[onnx.TensorProto]) -> None:
        for tensor in tensors:
            try:
                value = read_tensor(tensor)
            except DAMAGE as error:
                raise NotOnnx(f"the tensor {tensor.name} is damaged: {error}") from None
            self.define(tensor.name, Known(value, is_weight(value)))

    def run(self, nodes: Sequence[onnx.NodeProto], needed: set[int]) -> None:
        for i, node in enumerate(nodes):
            if i in needed:
                self.node(node)

    def node(self, node: onnx.NodeProto) -> None:
        for name in node.input:
            if name and name not in self.values:
                raise NotOnnx(f"node {node.name} reads {name}, which nothing before it makes")
        try:
            self.bind(node, self.meaning(node))
        except Unsupported as reason:
            if (values := self.left_to_client(node)) is None:
                self.refuse(node, str(reason))
            else:
                self.bind(node, values)
        except IRError as reason:
            long = (
                f"; is --seq-len {self.seq_len} more than the model has positions for?"
                if self.seq_len
                else ""
            )
            self.refuse(node, f"{reason}{long}")
        except DAMAGE as error:
            self.refuse(node, ill_formed(node, error, self.model.opset_import))
        first = next((name for name in node.output if name), "")
        outputs = tuple(name for name in node.output if name)
        result = self.values.get(first)
        inner = self.between(node, result) if isinstance(result, Op) else ()
        self.nodes.append(Surveyed(node.name, self.key(node), outputs, result, inner))

    def between(self, node: onnx.NodeProto, result: Op) -> tuple[Op, ...]:
        """The ops that the node's builder made."""
        given = [self.values[name] for name in node.input if name]
        edge = {each for each in given if isinstance(each, Op)}
        edge |= {self.constants[name] for name in node.input if name in self.constants}
        found: dict[Op, None] = {}
        stack = [result]
        while stack:
            op = stack.pop()
            if op not in edge and op not in found:
                found[op] = None
                stack += op.operands
        return tuple(found)[::-1]

    def refuse(self, node: onnx.NodeProto, reason: str) -> None:
        kind = ControlFlow if node.op_type in _CONTROL else UnsupportedOp
        self.unsupported.append(kind(node.name, self.key(node), self.version(node), reason))
        self.bind(node, [self.stand_in(node, name) for name in node.output])

    def left_to_client(self, node: onnx.NodeProto) -> list[Op | None] | None:
        """The outputs of a node that the client can have ONNX Runtime compute, or None."""
        values = [self.values[name] if name else None for name in node.input]
        if any(name and value is None for name, value in zip(node.input, values, strict=True)):
            return None
        try:
            operands = [self.op(name, each) for name, each in zip(node.input, values, strict=True)]
            return left_to_client(node, operands, self.opset)
        except (Unsupported, *DAMAGE):
            return None

    def stand_in(self, node: onnx.NodeProto, output: str) -> Op | None:
        """What stands for an unsupported node's output, where shape inference knows its type."""
        if self.guessed is None:
            self.guessed = inferred_types(self.model, self.inputs)
        if output not in self.guessed:
            return None
        shape, num = self.guessed[output]
        try:
            xs = [self.op(name, self.values[name]) for name in node.input if name]
            return Opaque(tuple(x for x in xs if x is not None), shape, num)
        except (Unsupported, IRError):
            return None

    def bind(self, node: onnx.NodeProto, values: Sequence[Op | Known | None]) -> None:
        for name, value in zip(node.output, values, strict=False):
            if name:
                fresh = isinstance(value, Op) and not value.name
                self.define(name, value.named(name) if fresh and isinstance(value, Op) else value)
        for name in node.output[len(values) :]:
            if name:
                self.define(name, None)
                self.unmade[name] = node.op_type

    def meaning(self, node: onnx.NodeProto) -> Sequence[Op | Known | None]:
        if node.op_type == "Constant" and (value := constant_node(node)) is not None:
            return [value]
        inputs = [self.values[name] if name else None for name in node.input]
        for name in node.input:
            if name in self.unmade:
                raise Unsupported(f"{name} is a further output of {self.unmade[name]}, which is not compiled")
        if any(name and value is None for name, value in zip(node.input, inputs, strict=True)):
            return [None] * len(node.output)  # behind an unsupported node, which has been reported
        if node.op_type == "If":
            return self.branch(node, inputs[0])
        if node.op_type in _CONTROL:
            raise Unsupported("loops are not compiled; unroll it when exporting")
        if node.op_type in ("Shape", "Size") and inputs[0] is not None:
            return [self.shape(node, inputs[0])]
        known = [each for each in inputs if each is None or isinstance(each, Known)]
        if len(known) == len(inputs):
            folded = fold(node, known, self.model.opset_import)
            if folded is not None:
                return folded
        return self.build(node, inputs)

    def build(self, node: onnx.NodeProto, inputs: Sequence[Op | Known | None]) -> tuple[Op, ...]:
        key = self.key(node)
        builder = TABLE.get(key)
        if builder is None:
            raise Unsupported(
                REMEDIES.get(
                    key, "there is no translation of it; rewrite it with operators of docs/operators.md"
                )
            )
        version = self.version(node)
        check_attributes(node, version)
        operands = [self.op(name, each) for name, each in zip(node.input, inputs, strict=True)]
        context = Node(node.op_type, version, attributes(node), tuple(node.output))
        try:
            inspect.signature(builder).bind(context, *operands)
        except TypeError:
            raise Unsupported(f"{len(operands)} inputs are not what opset {version} gives it") from None
        out = builder(context, *operands)
        return out if isinstance(out, tuple) else (out,)

    def op(self, name: str, value: Op | Known | None) -> Op | None:
        if not isinstance(value, Known):
            return value
        if name not in self.constants:
            if value.value.dtype.kind not in "fiub":
                raise Unsupported(f"{name} holds no numbers")
            self.constants[name] = Const(value.value, value.secret, name=name)
        return self.constants[name]

    def shape(self, node: onnx.NodeProto, x: Op | Known) -> Known:
        """Shapes are public even where the values are not."""
        shape = x.value.shape if isinstance(x, Known) else x.type.shape
        if node.op_type == "Size":
            return Known(np.asarray(int(np.prod(shape)), np.int64), secret=False)
        given = attributes(node)
        cut = slice(given.get("start", 0), given.get("end"))
        return Known(np.asarray(shape[cut], np.int64), secret=False)

    def branch(self, node: onnx.NodeProto, condition: Op | Known | None) -> list[Op | Known | None]:
        """An If whose condition is known is its branch."""
        if not isinstance(condition, Known):
            raise Unsupported("the branch depends on the input's values; rewrite it with Where")
        graph = attributes(node)["then_branch" if bool(condition.value) else "else_branch"]
        results = [each.name for each in graph.output]
        outside = dict(self.values), dict(self.constants), dict(self.unmade)
        try:
            self.read_initializers(graph.initializer)
            self.run(graph.node, _needed(graph.node, results))
            return [self.values[name] for name in results]
        finally:
            self.values, self.constants, self.unmade = outside  # another branch may give the same names

    def key(self, node: onnx.NodeProto) -> str:
        return node.op_type if node.domain in _OWN_DOMAINS else f"{node.domain}.{node.op_type}"

    def version(self, node: onnx.NodeProto) -> int:
        if node.domain in _OWN_DOMAINS:
            return self.opset
        return max((o.version for o in self.model.opset_import if o.domain == node.domain), default=1)

    def graph(self, names: Iterable[str], *, explicit: bool) -> Graph:
        found: dict[str, Op] = {}
        for name in names:
            if self.values.get(name) is None:
                raise NotOnnx(f"output {name} is made by no node that can be compiled")
            op = self.op(name, self.values[name])
            assert op is not None
            found[name] = op
        real = {name: op for name, op in found.items() if explicit or _depends_on_weights(op)}
        return Graph(self.inputs, real or found, self.model.graph.name)


def _empty(given: Input) -> Known:
    """What an input without elements holds: a cache of no tokens."""
    return Known(np.zeros(given.shape, np.float32 if given.type.num == FLOAT else np.int64), secret=False)


def _depends_on_weights(op: Op) -> bool:
    return any(isinstance(each, Const) and each.secret for each in walk_from(op))


def _not_stray(model: onnx.ModelProto, outputs: Sequence[str]) -> list[str]:
    """Outputs that are made from a weight by more than its shape; all of them where none is."""
    weighty = {each.name for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("Shape", "Size") and (_reads(node) & weighty):
            weighty |= {name for name in node.output if name}
    return [name for name in outputs if name in weighty] or list(outputs)


def _reads(node: onnx.NodeProto) -> set[str]:
    """The names a node reads, those its subgraphs read from outside among them."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= _reads(inner)
            names |= {each.name for each in graph.output}
    return names


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> set[int]:
    """Indices of the nodes that the outputs are made of."""
    wanted = set(outputs)
    found = set()
    for i in reversed(range(len(nodes))):
        if wanted & set(nodes[i].output):
            found.add(i)
            wanted |= _reads(nodes[i])
    return found


def _check_finite(graph: Graph) -> None:
    """Weights must be finite, but for masks, which may hold −∞ beside 0."""
    broken = []
    for op in walk_from(*graph.outputs.values()):
        if not isinstance(op, Const) or op.value.dtype.kind != "f" or np.isfinite(op.value).all():
            continue
        if not set(np.unique(op.value).tolist()) <= {0.0, -math.inf}:
            broken.append(op.name or "a constant")
    if broken:
        raise NotFinite(broken)


__all__ = ["OPSETS", "FrontendError", "Survey", "Surveyed", "load", "read_model", "survey"]
