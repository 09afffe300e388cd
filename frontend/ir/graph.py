"""What every IR op has in common, and walks over the graph they form.

The IR is an expression DAG: an op holds its operands in its fields. Ops are frozen and compared by identity,
so a value is its op, and rewriting makes new ops above the change and keeps the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from ppc.runtime.base.ring import MAX_RANK, Fixed


class IRError(ValueError):
    """An op that cannot be built: its operands do not fit together."""


@dataclass(frozen=True)
class FloatType:
    """Reals; the width of the exporter's floats does not matter here."""

    def __str__(self) -> str:
        return "f32"


@dataclass(frozen=True)
class IntType:
    """Integers: token ids, masks, shapes."""

    def __str__(self) -> str:
        return "i64"


@dataclass(frozen=True)
class BoolType:
    def __str__(self) -> str:
        return "bool"


Num = FloatType | IntType | BoolType | Fixed
FLOAT, INT, BOOL = FloatType(), IntType(), BoolType()


MAX_ELEMENTS = 2**27
"""Of a value that is computed, of which a small file could ask for any number. As many as the one-hot rows of
500 tokens in a vocabulary of 250,000."""


@dataclass(frozen=True)
class TensorType:
    shape: tuple[int, ...]
    num: Num

    def __str__(self) -> str:
        return f"{self.num}[{','.join(map(str, self.shape))}]"

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Owner(Enum):
    """Who knows a value. ``a | b`` owns what is computed from both."""

    PUBLIC = "public"
    SERVER = "server"
    CLIENT = "client"
    SHARED = "shared"

    def __or__(self, other: Owner) -> Owner:
        if Owner.PUBLIC in (self, other):
            return other if self is Owner.PUBLIC else self
        return self if self is other else Owner.SHARED


Self = TypeVar("Self", bound="Op")


@dataclass(frozen=True, eq=False)
class Op:
    """A value and how it comes about. ``name`` is the ONNX tensor it came from, "" where there was none."""

    name: str = field(default="", kw_only=True)
    most: ClassVar[float] = MAX_ELEMENTS

    def __init_subclass__(cls, **rest: Any) -> None:
        # In the class's own dictionary before the dataclass decorator looks, which then leaves it alone: a
        # generated repr would print weights, and a shared operand once for every path to it.
        cls.__repr__ = Op.__repr__  # type: ignore[method-assign]
        super().__init_subclass__(**rest)

    def __post_init__(self) -> None:
        if self.type.rank > MAX_RANK:
            raise IRError(f"{type(self).__name__} {self.name}: {self.type} has more than {MAX_RANK} axes")
        if self.type.size > self.most or any(n < 0 for n in self.type.shape):
            raise IRError(f"{type(self).__name__} {self.name}: {self.type}, of 0 to {self.most:,} elements")

    def infer(self) -> TensorType:
        raise NotImplementedError

    @cached_property
    def type(self) -> TensorType:
        return self.infer()

    @cached_property
    def operands(self) -> tuple[Op, ...]:
        """The ops in the fields, in their order; tuples of ops laid flat."""
        found: list[Op] = []
        for value in self._fields().values():
            if isinstance(value, Op):
                found.append(value)
            elif isinstance(value, tuple):
                found += [each for each in value if isinstance(each, Op)]
        return tuple(found)

    @property
    def attributes(self) -> dict[str, object]:
        """The fields that are no operands, the name left out."""
        return {
            key: value
            for key, value in self._fields().items()
            if key != "name" and not isinstance(value, Op) and not _is_ops(value)
        }

    def replace(self: Self, operands: Iterable[Op]) -> Self:
        """The same op on other operands, given in the order of ``operands``; itself where none differs."""
        new = tuple(operands)
        if len(new) != len(self.operands):
            raise IRError(f"{self!r} has {len(self.operands)} operands, not {len(new)}")
        if all(a is b for a, b in zip(new, self.operands, strict=True)):
            return self
        rest = iter(new)
        changes: dict[str, Any] = {}
        for key, value in self._fields().items():
            if isinstance(value, Op):
                changes[key] = next(rest)
            elif _is_ops(value):
                changes[key] = tuple(next(rest) for _ in value)
        return replace(self, **changes)

    def named(self: Self, name: str) -> Self:
        return self if name == self.name else replace(self, name=name)

    def _fields(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def __repr__(self) -> str:
        label = f" {self.name}" if self.name else ""
        return f"<{type(self).__name__}{label} : {self.type}>"


def _is_ops(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(each, Op) for each in value)


@dataclass(frozen=True, eq=False)
class Input(Op):
    """What the client brings, token ids for one; ``public`` where both sides know it, ``carried`` where
    neither does: earlier runs have left it, as shares; ``counted`` where it is how many rows they have
    left."""

    shape: tuple[int, ...]
    num: Num
    public: bool = False
    carried: bool = False
    counted: bool = False

    def infer(self) -> TensorType:
        return TensorType(self.shape, self.num)


@dataclass(frozen=True, eq=False)
class Graph:
    """Named inputs and named outputs; the ops between are found by walking up from the outputs."""

    inputs: tuple[Input, ...]
    outputs: dict[str, Op]
    name: str = ""

    def __post_init__(self) -> None:
        names = [each.name for each in self.inputs]
        if len(set(names)) != len(names):
            raise IRError(f"two inputs of one name among {names}")
        known = set(self.inputs)
        for op in walk(self):
            if isinstance(op, Input) and op not in known:
                raise IRError(f"{op!r} is used but is no input of the graph")

    def mapped(self, new: Mapping[Op, Op]) -> Graph:
        """The same inputs, and what ``new`` has for the outputs."""
        return replace(self, outputs={name: new[op] for name, op in self.outputs.items()})


def walk(graph: Graph) -> list[Op]:
    """All ops, inputs first, operands before users; the order depends on nothing but the graph."""
    order: dict[Op, None] = dict.fromkeys(graph.inputs)
    for output in graph.outputs.values():
        _post_order(output, order)
    return list(order)


def walk_from(*roots: Op) -> list[Op]:
    """The ops that ``roots`` are made of, themselves last; operands before users."""
    order: dict[Op, None] = {}
    for root in roots:
        _post_order(root, order)
    return list(order)


def _post_order(root: Op, order: dict[Op, None]) -> None:
    # A stack of iterators and not recursion: twelve layers are deeper than Python's limit.
    if root in order:
        return
    stack = [(root, iter(root.operands))]
    while stack:
        op, rest = stack[-1]
        below = next((each for each in rest if each not in order), None)
        if below is None:
            order[op] = None
            stack.pop()
        else:
            stack.append((below, iter(below.operands)))


def uses(graph: Graph) -> dict[Op, int]:
    """How often each value is read; an output of the graph is one read."""
    counts = dict.fromkeys(walk(graph), 0)
    for op in list(counts):
        for each in op.operands:
            counts[each] += 1
    for output in graph.outputs.values():
        counts[output] += 1
    return counts


def rebuild(graph: Graph, fn: Callable[[Op], Op]) -> Graph:
    """The graph with ``fn`` applied to every op, operands first; what does not change stays identical.

    ``fn`` gets the op with its operands already replaced, and returns it or another.
    """
    new: dict[Op, Op] = {}
    for op in walk(graph):
        new[op] = fn(op.replace(new[each] for each in op.operands))
    inputs = []
    for old in graph.inputs:
        now = new[old]
        if not isinstance(now, Input):
            raise IRError(f"input {old.name} was replaced by {now!r}")
        inputs.append(now)
    outputs = {name: new[op] for name, op in graph.outputs.items()}
    unchanged = all(new[op] is op for op in graph.outputs.values()) and tuple(inputs) == graph.inputs
    return graph if unchanged else replace(graph, inputs=tuple(inputs), outputs=outputs)
