"""Operators without a translation that only the client's values enter: ONNX Runtime computes them there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import onnx

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import BOOL, FLOAT, INT, MAX_ELEMENTS, Num, Op, walk_from
from ppc.frontend.onnx_apart import evaluate
from ppc.frontend.onnx_fold import attributes
from ppc.runtime.onnx_node import KINDS, MISSING, model_of

_NUMBERS: dict[Num, int] = {FLOAT: 0, INT: 1, BOOL: 2}
MOST = 2**22
"""Elements of all operands: masks, positions and pixels, and what a check on ones gets done with."""

_A = onnx.AttributeProto
_PLAIN = (_A.INT, _A.FLOAT, _A.STRING, _A.INTS, _A.FLOATS, _A.STRINGS)


def left_to_client(
    node: onnx.NodeProto,
    operands: Sequence[Op | None],
    opset: int,
    types: Mapping[str, tuple[tuple[int, ...], Num]],
) -> list[Op | None] | None:
    """The node's outputs, or None where a weight enters it, or ONNX Runtime does not run it on ones."""
    xs = tuple(each for each in operands if each is not None)
    if sum(x.type.size for x in xs) > MOST:
        return None
    if not _is_plain(node, opset) or not any(_asks_client(x) for x in xs) or any(map(_has_weight, xs)):
        return None
    kinds = tuple(MISSING if each is None else _NUMBERS[each.type.num] for each in operands)
    data = msgspec.msgpack.encode(_plain_attributes(node))
    made: list[Op | None] = []
    for which, name in enumerate(node.output):
        if not name:
            made.append(None)
            continue
        if name not in types:
            return None
        shape, num = types[name]
        ints = (opset, which, len(node.output), *kinds)
        if not _runs(model_of(node.op_type, ints, data), xs, kinds, shape):
            return None
        made.append(ops.Clear("Onnx", xs, shape, num, ints, text=node.op_type, data=data))
    return made


def _runs(model: bytes, xs: tuple[Op, ...], kinds: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether ONNX Runtime gives a result of this shape, on ones where the value is not known."""
    given = [i for i, kind in enumerate(kinds) if kind != MISSING]
    feeds = {
        f"x{i}": np.asarray(x.value if isinstance(x, ops.Const) else np.ones(x.type.shape), KINDS[kinds[i]])
        for i, x in zip(given, xs, strict=True)
    }
    found = evaluate(model, feeds, MAX_ELEMENTS)
    return isinstance(found, list) and found[0].shape == shape


def _is_plain(node: onnx.NodeProto, opset: int) -> bool:
    known = node.domain in ("", "ai.onnx") and onnx.defs.has(node.op_type, opset)
    return known and all(each.type in _PLAIN for each in node.attribute)


def _plain_attributes(node: onnx.NodeProto) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(each) for each in value]
        return value.decode() if isinstance(value, bytes) else value

    return {name: plain(value) for name, value in attributes(node).items()}


def _asks_client(op: Op) -> bool:
    return any(isinstance(each, ops.Input) for each in walk_from(op))


def _has_weight(op: Op) -> bool:
    return any(isinstance(each, ops.Const) and each.secret for each in walk_from(op))
