"""Operators without a translation that only the client's values enter: ONNX Runtime computes them there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from msgspec.structs import replace
from numpy.typing import NDArray

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, FLOAT, INT, MAX_ELEMENTS, Num, Op, walk_from
from ppc.frontend.read.known import OWN_DOMAINS, attributes, operator
from ppc.frontend.read.opened import Opening
from ppc.frontend.read.sandbox import evaluate
from ppc.runtime.base.function import Kind, Onnx, Value
from ppc.runtime.base.onnx_node import KINDS, RUNTIMES, model_of

_KINDS: dict[Num, Kind] = {FLOAT: "float", INT: "int", BOOL: "bool"}
MOST = 2**22
"""Elements of all operands: masks, positions and pixels, and what a check on ones gets done with."""

Array = NDArray[Any]

_A = onnx.AttributeProto
_PLAIN = (_A.INT, _A.FLOAT, _A.STRING, _A.INTS, _A.FLOATS, _A.STRINGS)


def left_to_client(
    node: onnx.NodeProto, operands: Sequence[Op | None], opset: int, opening: Opening
) -> list[Op | None] | None:
    """The node's outputs, or None where a weight enters it, or ONNX Runtime does not run it on ones."""
    xs = tuple(opening.public(each, operator(node)) for each in operands if each is not None)
    if sum(x.type.size for x in xs) > MOST or not _is_plain(node):
        return None
    if not any(asks_client(x) for x in xs) or any(map(has_weight, xs)):
        return None
    described = Onnx(
        operator=operator(node),
        opset=opset,
        result=0,
        results=len(node.output),
        kinds=tuple(None if each is None else _KINDS[each.type.num] for each in operands),
        shape=(),
        attributes=_plain_attributes(node),
    )
    made: list[Op | None] = []
    for which, name in enumerate(node.output):
        wanted = replace(described, result=which)
        found = _tried(wanted, xs) if name else None
        if name and found is None:
            return None
        made.append(None if found is None else ops.Clear(replace(wanted, shape=found[0]), xs, *found))
    return made


def _tried(node: Onnx, xs: tuple[Op, ...]) -> tuple[tuple[int, ...], Num] | None:
    """Shape and kind of the result; None where there is none, or its shape depends on values (NonZero)."""
    given = [(i, kind) for i, kind in enumerate(node.kinds) if kind is not None]

    def result(start: int, step: int) -> Array | None:
        def of(x: Op) -> Array:
            return (start + step * np.arange(x.type.size)).reshape(x.type.shape)

        feeds = {
            f"x{i}": np.asarray(x.value if isinstance(x, ops.Const) else of(x), KINDS[kind])
            for (i, kind), x in zip(given, xs, strict=True)
        }
        found = evaluate(model_of(node), feeds, MAX_ELEMENTS)
        return found[0] if isinstance(found, list) else None

    ones = result(1, 0)
    if ones is None or ones.dtype.kind not in "fiub":
        return None
    others = result(0, 0), result(0, 1)  # of which not all may be what it takes
    if any(other is not None and other.shape != ones.shape for other in others):
        return None
    num: Num = FLOAT if ones.dtype.kind == "f" else BOOL if ones.dtype.kind == "b" else INT
    return ones.shape, num


def _is_plain(node: onnx.NodeProto) -> bool:
    return node.domain in (*OWN_DOMAINS, RUNTIMES) and all(each.type in _PLAIN for each in node.attribute)


def _plain_attributes(node: onnx.NodeProto) -> tuple[tuple[str, Value], ...]:
    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(plain(each) for each in value)
        return value.decode() if isinstance(value, bytes) else value

    return tuple((name, plain(value)) for name, value in attributes(node).items())


def asks_client(op: Op) -> bool:
    return any(isinstance(each, ops.Input) for each in walk_from(op))


def has_weight(op: Op) -> bool:
    """Whether one of the model's secrets enters it."""
    return any(isinstance(each, ops.Const) and each.secret for each in walk_from(op))
