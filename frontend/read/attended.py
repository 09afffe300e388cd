"""A decoder that takes no cache, made to carry on what its attention reads of earlier tokens.

    softmax(mask + q kᵀ) v

Rows of k and v are their own token's, so that earlier ones can be kept. `remembering` takes the graph of a
whole text and leaves of it what its last tokens need: inputs, and what is made of them, have these rows
alone; k and v are kept rows with new ones behind; and of a mask, which the model makes for the whole text,
those rows are left that the last tokens read. Which axes count tokens is seen from a text of one token more.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path

import onnx

from ppc.frontend.errors import UsageError
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Input, IRError, Op, walk
from ppc.frontend.read.load import Told, load_told, survey
from ppc.frontend.read.past import Carried

_STRUCTURE = (ops.Reshape, ops.Transpose, ops.Broadcast)
"""What may lie between rows that are kept and the product that reads them."""

_BY_ELEMENT = (ops.Binary, ops.Unary, ops.Where)

_ALONG = (ops.Softmax, ops.CumSum, ops.Concat)
"""What joins values along its axis, which must not be that of the tokens."""


def load_last(
    model: str | Path | onnx.ModelProto,
    new: int,
    past: int,
    dims: Mapping[str, int],
    output: str,
    masks: Container[str],
) -> tuple[Told, tuple[Carried, ...]]:
    """A model's last ``new`` tokens behind ``past`` others, and what is carried on (`remembering`)."""
    total, outputs = new + past, [output]
    told = load_told(model, seq_len=total, dims=dims, outputs=outputs)
    longer = survey(model, seq_len=total + 1, dims=dims, outputs=outputs).graph
    assert longer is not None, "what it is made of has been read just now"
    graph, caches = remembering(told.graph, longer, new, masks)
    return replace(told, graph=graph), caches


def remembering(
    whole: Graph, longer: Graph, new: int, masks: Container[str]
) -> tuple[Graph, tuple[Carried, ...]]:
    """The ``new`` last tokens of ``whole``, and what is carried on: of each the new rows are an output.

    ``longer`` is the graph of one token more; ``masks`` are inputs that all tokens have a part in. Raises
    UsageError where keys and values are not to be told from the rest.
    """
    return _Last(whole, longer, new, masks).found()


class _Last:
    def __init__(self, whole: Graph, longer: Graph, new: int, masks: Container[str]) -> None:
        self._whole, self._new, self._masks = whole, new, masks
        here, there = walk(whole), walk(longer)
        if [type(each) for each in here] != [type(each) for each in there]:
            raise _unclear("a text of one token more is computed otherwise")
        self._rows = {
            a: [i for i, (n, m) in enumerate(zip(a.type.shape, b.type.shape, strict=True)) if n != m]
            for a, b in zip(here, there, strict=True)
        }
        """The axes that count tokens; of a product of tokens with tokens the first is the last ones'."""
        self._made: dict[Op, Op] = {}
        """What stands for an op of the whole text: itself, where it is of no token but by a mask."""
        self._kept: dict[Op, Op] = {}
        """By what is kept: kept rows and new ones."""
        self._inputs: list[Input] = []

    def found(self) -> tuple[Graph, tuple[Carried, ...]]:
        for op in walk(self._whole):
            try:
                self._made[op] = self._last(op)
            except IRError as error:
                raise _unclear(f"{op!r}: {error}") from None
        if not self._kept:
            raise _unclear("no product has rows of tokens at both sides")
        outputs = {name: self._made[op] for name, op in self._whole.outputs.items()}
        outputs |= {op.name: self._made[op] for op in self._kept}
        inputs = [self._made[each] for each in self._whole.inputs]
        told = (*(each for each in inputs if isinstance(each, Input)), *self._inputs)
        return Graph(told, outputs, self._whole.name), tuple(
            Carried(_past(op), op.name, self._rows[op][0], "") for op in self._kept
        )

    def _of_tokens(self, op: Op) -> bool:
        return self._made[op] is not op

    def _last(self, op: Op) -> Op:
        if isinstance(op, Input):  # a copy, also where all tokens are new
            return op if op.name in self._masks else replace(op, shape=self._short(op))
        if not any(map(self._of_tokens, op.operands)):
            return op
        made = self._replaced(op)
        if made.type.shape != self._short(op):
            raise _unclear(f"{op!r} joins tokens")
        return made

    def _replaced(self, op: Op) -> Op:
        new = [self._made[each] for each in op.operands]
        match op:
            case ops.MatMul(a=a, b=b) if self._rows[b] and self._of_tokens(a) and self._of_tokens(b):
                return op.replace((self._made[a], self._all(b)))
            case ops.Slice(x=x) if self._rows[x] and not self._rows[op]:
                return self._of_the_last(op, self._rows[x][0])
            case ops.Reshape() | ops.Broadcast():
                return replace(op, x=new[0], shape=self._short(op))
            case ops.Clear():
                return replace(op, xs=tuple(new), shape=self._short(op))
            case _ if isinstance(op, _BY_ELEMENT):
                return op.replace(self._beside(op, each) for each in op.operands)
        joins = isinstance(op, _ALONG) and op.axis % op.type.rank in self._rows[op][:1]
        if joins or (any(map(self._rows.get, op.operands)) and not self._rows[op]):
            raise _unclear(f"{op!r} joins tokens")
        if any(self._rows[each] and not self._of_tokens(each) for each in op.operands):
            raise _unclear(f"{op!r} reads what is of all tokens")
        return op.replace(new)

    def _of_the_last(self, op: ops.Slice, at: int) -> Op:
        """A slice that takes some of the tokens, of which it must be the last."""
        gone, taken = op.x.type.shape[at] - self._new, op.places()[at]
        if taken.start < gone or taken.step != 1:
            raise _unclear(f"{op!r} takes other tokens than the last")
        ends = {at: (taken.start - gone, taken.stop - gone)}
        cuts = [
            ends.get(axis % op.x.type.rank, (start, end))
            for start, end, axis in zip(op.starts, op.ends, op.axes, strict=True)
        ]
        return replace(
            op, x=self._made[op.x], starts=tuple(a for a, _ in cuts), ends=tuple(b for _, b in cuts)
        )

    def _all(self, op: Op) -> Op:
        """The rows that are kept, and behind them the new ones, in the form that a product reads."""
        if isinstance(op, _STRUCTURE):
            return op.replace((self._all(op.operands[0]),))
        if op not in self._kept:
            if not op.name or len(self._rows[op]) != 1:
                raise _unclear(f"{op!r} is read by tokens and has no rows of its own")
            (axis,) = self._rows[op]
            shape = list(op.type.shape)
            shape[axis] -= self._new
            self._kept[op] = self._made[op]
            if shape[axis]:
                self._inputs.append(Input(tuple(shape), op.type.num, name=_past(op)))
                self._kept[op] = ops.Concat((self._inputs[-1], self._made[op]), axis)
        return self._kept[op]

    def _beside(self, op: Op, operand: Op) -> Op:
        """An operand of the last tokens, also where it is of all: a mask, or places that the model knows."""
        at = self._rows[op][0] - (op.type.rank - operand.type.rank) if self._rows[op] else -1
        if self._of_tokens(operand) or at < 0 or at not in self._rows[operand]:
            return self._made[operand]
        count = operand.type.shape[at]
        return ops.Slice(operand, (count - self._new,), (count,), (at,), (1,))

    def _short(self, op: Op) -> tuple[int, ...]:
        shape = list(op.type.shape)
        if self._rows[op]:
            shape[self._rows[op][0]] = self._new
        return tuple(shape)


def _past(op: Op) -> str:
    return f"past.{op.name}"


def _unclear(why: str) -> UsageError:
    return UsageError(
        f"the model takes no cache, and what it would keep of earlier tokens is not to be seen: {why}. "
        "Export it with past, as optimum does"
    )
