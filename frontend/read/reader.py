"""One walk over a model's nodes, which makes IR of them by the table, or says why not."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ppc.frontend.errors import ControlFlow, NotOnnx, UnsupportedOp
from ppc.frontend.ir.graph import FLOAT, Graph, IRError, Num, Op, walk_from
from ppc.frontend.ir.ops import Const, Input, Opaque
from ppc.frontend.ops.node import Node, Unsupported
from ppc.frontend.ops.quantised import into_weight
from ppc.frontend.ops.table import REMEDIES, TABLE
from ppc.frontend.read.axes import inferred_types
from ppc.frontend.read.caches import BRANCH, reads_caches
from ppc.frontend.read.client import asks_client, has_weight, left_to_client
from ppc.frontend.read.damage import DAMAGE, check_attributes, ill_formed
from ppc.frontend.read.fold import fold
from ppc.frontend.read.known import (
    OWN_DOMAINS,
    Kept,
    Known,
    attributes,
    constant_node,
    held,
    operator,
)
from ppc.frontend.read.lookups import LookUps
from ppc.frontend.read.needed import label, needed
from ppc.frontend.read.opened import Opening
from ppc.frontend.read.scales import Scales
from ppc.frontend.read.sequences import Sequences
from ppc.frontend.read.versions import understood, version_of
from ppc.frontend.read.weights import Given, unpacked

OPSETS = range(11, 29)
"""The versions of ONNX's own operators that are understood."""

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


class Reader:
    """One walk over the nodes; what each tensor's name stands for grows as it goes."""

    def __init__(
        self, model: onnx.ModelProto, inputs: tuple[Input, ...], chosen: tuple[str, ...], seq_len: int | None
    ) -> None:
        self.model, self.chosen, self.seq_len = model, chosen, seq_len
        self.inputs = tuple(each for each in inputs if each.type.size)
        self.opset = max((o.version for o in model.opset_import if o.domain in OWN_DOMAINS), default=0)
        if self.opset not in OPSETS:
            raise NotOnnx(
                f"opset {self.opset}: export the model with an opset from {OPSETS[0]} to {OPSETS[-1]}"
            )
        self.values: dict[str, Op | Known | None] = {}
        """An op, a tensor known already, or None behind an unsupported node."""
        self.sources: dict[str, tuple[Op, ...]] = {}
        """What a tensor of which nothing is known was made of, as far back as that is known."""
        self.unmade: dict[str, str] = {}
        """Statistics and masks for training, by the operator that has them: an error once they are read."""
        self.constants: dict[str, Const] = {}
        self.opening = Opening()
        self.scales = Scales(chosen)
        self.lookups = LookUps()
        self.sequences = Sequences()
        self.unsupported: list[UnsupportedOp] = []
        self.nodes: list[Surveyed] = []
        self.guessed: dict[str, tuple[tuple[int, ...], Num]] | None = None
        cached = reads_caches(model, {each.name: each.shape for each in inputs})
        for each in inputs:
            self.define(each.name, _given(each, cached))
        self.read_initializers(model.graph.initializer)

    def define(self, name: str, value: Op | Known | None) -> None:
        """Every name is given once: of two meanings the wrong one would be read."""
        if name in self.values:
            raise NotOnnx(f"two tensors have the name {name}")
        self.values[name] = value

    def read_initializers(self, tensors: Iterable[onnx.TensorProto]) -> None:
        for tensor in tensors:
            try:
                value = held(tensor)
            except DAMAGE as error:
                raise NotOnnx(f"the tensor {tensor.name} is damaged: {error}") from None
            self.define(tensor.name, value)

    def run(self, nodes: Sequence[onnx.NodeProto], needed: set[int]) -> None:
        for i, node in enumerate(nodes):
            if i in needed:
                self.node(node)

    def node(self, node: onnx.NodeProto) -> None:
        for name in node.input:
            if name and name not in self.values:
                raise NotOnnx(f"node {node.name} reads {name}, which nothing before it makes")
        try:
            self.scales.follow(node)
            self.bind(node, self.meaning(node))
        except Unsupported as reason:
            if (values := self.left_to_client(node)) is not None:
                self.bind(node, values)
            elif operator(node) in TABLE and self.follows(node):
                self.bind(node, self.stand_ins(node))
            else:
                self.refuse(node, str(reason))
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
        self.nodes.append(Surveyed(label(node), operator(node), outputs, result, inner))

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
        self.unsupported.append(kind(label(node), operator(node), self.version(node), reason))
        self.bind(node, self.stand_ins(node))

    def follows(self, node: onnx.NodeProto) -> bool:
        """Whether it reads whole numbers or truth values that are made by an unsupported operator.

        Those are shapes, places and choices: that it cannot do without them is no fault of its own.
        """
        read = [self.values[name] for name in node.input if name]
        return any(
            isinstance(each, Op)
            and each.type.num != FLOAT
            and any(isinstance(op, Opaque) for op in walk_from(each))
            for each in read
        )

    def behind(self, node: onnx.NodeProto) -> list[Op | None]:
        """The outputs of a node of which an input is not known.

        Raises Unsupported where that makes no difference: there is no translation, and both parties' values
        enter, so that neither computes it alone.
        """
        known = operator(node) in TABLE or node.op_type in (*_CONTROL, "Shape", "Size", "Constant")
        made_of = self.made_of(node)
        if not known and any(map(asks_client, made_of)) and any(map(has_weight, made_of)):
            raise Unsupported(self.no_translation(node))
        return self.stand_ins(node)

    def no_translation(self, node: onnx.NodeProto) -> str:
        for function in self.model.functions:  # one that was not inlined
            if (function.domain, function.name) == (node.domain, node.op_type):
                own = max((o.version for o in function.opset_import if o.domain in OWN_DOMAINS), default=0)
                return (
                    f"a function of the model's own, written with operators of opset {own} where the model "
                    f"has {self.opset}, and not to be converted; export both with one opset"
                )
        return REMEDIES.get(
            operator(node), "there is no translation of it; rewrite it with operators of docs/operators.md"
        )

    def made_of(self, node: onnx.NodeProto) -> tuple[Op, ...]:
        """What a node reads, or where that is not known, what was known last of it."""
        found: dict[Op, None] = {}
        for name in node.input:
            try:
                op = self.op(name, self.values.get(name))
            except (Unsupported, IRError):  # no tensor that the IR could hold
                continue
            found |= dict.fromkeys(self.sources.get(name, ()) if op is None else (op,))
        return tuple(found)

    def left_to_client(self, node: onnx.NodeProto) -> list[Op | None] | None:
        """The outputs of a node that the client can have ONNX Runtime compute, or None."""
        values = [self.values[name] if name else None for name in node.input]
        if any(name and value is None for name, value in zip(node.input, values, strict=True)):
            return None
        if any(name in self.scales.powers for name in node.input):
            return None  # the client has the float, not the integers
        try:
            operands = [self.op(name, each) for name, each in zip(node.input, values, strict=True)]
            opset = version_of(understood(node, self.model.opset_import))
            return left_to_client(node, operands, opset, self.opening)
        except (Unsupported, *DAMAGE):
            return None

    def stand_ins(self, node: onnx.NodeProto) -> list[Op | None]:
        return [self.stand_in(node, name) for name in node.output]

    def stand_in(self, node: onnx.NodeProto, output: str) -> Op | None:
        """What stands for an unsupported node's output, where shape inference knows its type."""
        if self.guessed is None:
            self.guessed = inferred_types(self.model, self.inputs)
        if output not in self.guessed:
            return None
        shape, num = self.guessed[output]
        try:
            return Opaque(self.made_of(node), shape, num)
        except IRError:
            return None

    def bind(self, node: onnx.NodeProto, values: Sequence[Op | Known | None]) -> None:
        for name, value in zip(node.output, values, strict=False):
            if name:
                if value is None:
                    self.sources[name] = self.made_of(node)
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
        if (parts := self.sequences.meaning(node, inputs)) is not None:
            return parts
        if any(name and value is None for name, value in zip(node.input, inputs, strict=True)):
            return self.behind(node)
        if node.op_type == "If":
            return self.branch(node, inputs[0])
        if node.op_type in _CONTROL:
            raise Unsupported("loops are not compiled; unroll it when exporting")
        if node.op_type in ("Shape", "Size") and inputs[0] is not None:
            return [self.shape(node, inputs[0])]
        known = [each for each in inputs if each is None or isinstance(each, Known)]
        opsets = understood(node, self.model.opset_import)
        if len(known) == len(inputs):
            folded = fold(node, known, opsets)
            if folded is not None:
                return folded
        if (moved := self.lookups.moved(node, inputs, opsets)) is not None:
            return [moved]
        if (scaled := self.scaled(node, inputs)) is not None:
            return [scaled]
        given = unpacked(node, inputs, opsets) or list(zip(node.input, inputs, strict=True))
        built = self.build(node, given)
        self.lookups.gathered(node, inputs)
        return built

    def scaled(self, node: onnx.NodeProto, inputs: Sequence[Op | Known | None]) -> Op | None:
        """A product of integers by its scale, as the product of floats; None where the node is none."""
        if operator(node) != "Mul" or not self.scales.products & set(node.input):
            return None
        a, b = (self.op(name, each) for name, each in zip(node.input, inputs, strict=True))
        if a is None or b is None:
            return None
        return into_weight(a, b) or into_weight(b, a)

    def build(self, node: onnx.NodeProto, given: Sequence[Given]) -> tuple[Op | None, ...]:
        key = operator(node)
        builder = TABLE.get(key)
        if builder is None:
            raise Unsupported(self.no_translation(node))
        version = self.version(node)
        check_attributes(node, version)
        operands = [self.op(name, each) for name, each in given]
        context = Node(node.op_type, version, attributes(node), tuple(node.output))
        try:
            inspect.signature(builder).bind(context, *operands)
        except TypeError:
            raise Unsupported(f"{len(operands)} inputs are not what opset {version} gives it") from None
        out = builder(context, *operands)
        made = out if isinstance(out, tuple) else (out,)
        for name, each in zip(node.output, made, strict=False):
            if name and each is None:
                self.unmade[name] = node.op_type
        return tuple(None if each is None else self.opening.of(each) for each in made)

    def op(self, name: str, value: Op | Known | None) -> Op | None:
        if not isinstance(value, Known):
            return value
        if name not in self.constants:
            if value.value.dtype.kind not in "fiub":
                raise Unsupported(f"{name} holds no numbers")
            self.constants[name] = value.const(name)
        return self.constants[name]

    def shape(self, node: onnx.NodeProto, x: Op | Known) -> Known:
        """Shapes are public even where the values are not."""
        shape = x.value.shape if isinstance(x, Known) else x.type.shape
        if node.op_type == "Size":
            return Known(np.asarray(int(np.prod(shape)), np.int64), Kept.PUBLIC)
        given = {each.name: each.i for each in node.attribute}
        cut = slice(given.get("start"), given.get("end"))
        return Known(np.asarray(shape[cut], np.int64), Kept.PUBLIC)

    def branch(self, node: onnx.NodeProto, condition: Op | Known | None) -> list[Op | Known | None]:
        """An If whose condition is known is its branch."""
        if not isinstance(condition, Known):
            raise Unsupported("the branch depends on the input's values; rewrite it with Where")
        if condition.kept is Kept.SECRET:
            raise Unsupported("the branch depends on a weight's values; rewrite it with Where")
        graphs = {each.name: each.g for each in node.attribute}
        graph = graphs["then_branch" if bool(condition.value) else "else_branch"]
        results = [each.name for each in graph.output]
        outside = dict(self.values), dict(self.constants), dict(self.unmade)
        marks = dict(self.lookups.found), dict(self.scales.powers), dict(self.sequences.members)
        try:
            self.read_initializers(graph.initializer)
            self.run(graph.node, needed(graph.node, results))
            if any(self.scales.powers.get(name) for name in results):
                raise Unsupported("the branch gives integers of 8 bits without their scale")
            return [self.values[name] for name in results]
        finally:
            self.values, self.constants, self.unmade = outside  # another branch may give the same names
            self.lookups.found, self.scales.powers, self.sequences.members = marks

    def version(self, node: onnx.NodeProto) -> int:
        if node.domain in OWN_DOMAINS:
            return self.opset
        return max((o.version for o in self.model.opset_import if o.domain == node.domain), default=1)

    def graph(self, names: Iterable[str], *, explicit: bool) -> Graph:
        """The outputs of these names, those without a weight only if ``explicit``, and their inputs."""
        found: dict[str, Op] = {}
        for name in names:
            if self.values.get(name) is None:
                raise NotOnnx(f"output {name} is made by no node that can be compiled")
            op = self.op(name, self.values[name])
            assert op is not None
            found[name] = op
        real = {name: op for name, op in found.items() if explicit or has_weight(op)}
        return self.of(real or found)

    def of(self, outputs: dict[str, Op]) -> Graph:
        read = set(walk_from(*outputs.values()))
        return Graph(tuple(each for each in self.inputs if each in read), outputs, self.model.graph.name)


def _given(each: Input, cached: bool | None) -> Input | Known:
    """An input, or what it holds where that follows from shapes: a cache of no tokens, or whether caches have
    any."""
    if each.name == BRANCH and cached is not None:
        return Known(np.array([cached]), Kept.PUBLIC)
    if not each.type.size:
        return Known(np.zeros(each.shape, np.float32 if each.type.num == FLOAT else np.int64), Kept.PUBLIC)
    return each
