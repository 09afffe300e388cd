"""A shared value and what masks it: the part that is computed, and the terms that one party knows.

    x = content + m                   m the client's or public, a constant that goes deep, or such a value
                                      after multiplications by numbers of the server's
    x = where(kept, content, low)     kept known to one party, low a number

``Masked`` finds this wherever a mask comes in, and carries it outwards through what moves elements about,
through sums, and through multiplications by constants:

    f(s + m)          -> f(s) + f(m)          f reshapes, transposes, repeats, slices, scales, negates
    (s + m) + t       -> (s + t) + m          t shared, or a bias of the server's
    max(s + m, low)   -> max(s, low) + m
    [s + m, t]        -> [s, t] + [m, 0]      and with −10⁴ for t: [s + m, 0] + [0, −10⁴]

and in the same way where(kept, s, low). What is masked need not stay the same number: whoever reads it, a
softmax, a ReLU, a maximum, takes it for minus infinity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Op, Owner, walk
from ppc.frontend.ir.ops import Const
from ppc.passes import masked_layout as layout
from ppc.passes.fold_constants import settled
from ppc.passes.owners import Owners

DEEP = -1e3
"""A constant that goes below is a mask and no bias."""


@dataclass(frozen=True)
class Mask:
    """Over x: x + ``term`` or, with ``kept``, where(kept, x, term), or where(kept, term, x) if it is
    ``swapped``. ``sure``: it goes deep; what is added as an input has it may or may not."""

    term: Op
    kept: Op | None = None
    swapped: bool = False
    sure: bool = True
    name: str = ""

    def over(self, x: Op) -> Op:
        if self.kept is None:
            return ops.Add(x, self.term, name=self.name)
        a, b = (self.term, x) if self.swapped else (x, self.term)
        return ops.Where(self.kept, a, b, name=self.name)

    def moved(self, move: Callable[[Op], Op]) -> Mask:
        """After its elements have been moved about."""
        if self.kept is not None:
            return replace(self, kept=move(self.kept), name="")
        return replace(self, term=move(self.term), name="")

    def times(self, c: Const) -> Mask:
        """After a multiplication by numbers of one sign."""
        if self.kept is not None:  # one number fills all places: the mildest of several
            c = Const(c.value.ravel()[np.argmin(np.abs(c.value))], c.secret)
        return replace(self, term=settled(ops.Mul(self.term, c)), name="")

    def negated(self) -> Mask:
        return replace(self, term=settled(ops.Neg(self.term)), name="")


@dataclass(frozen=True)
class Parts:
    """``content`` under ``masks``, from the inside out."""

    content: Op
    masks: tuple[Mask, ...] = ()

    def whole(self) -> Op:
        x = self.content
        for mask in self.masks:
            x = mask.over(x)
        return x


class Masked:
    """``masked[op]``: the parts of ops that have been visited, operands before users."""

    def __init__(self) -> None:
        self.owners = Owners()
        self._parts: dict[Op, Parts] = {}
        self._deep: dict[Op, bool] = {}

    def __getitem__(self, op: Op) -> Parts:
        return self._parts.get(op) or Parts(op)

    def visit(self, op: Op) -> None:
        if not self.owners.shared(op) or op.type.num != FLOAT:
            return
        layer = self.layer(op)
        if layer is None:
            found = self._through(op)
        else:
            inner = self[layer.content]
            found = Parts(inner.content, inner.masks + layer.masks)
        if found is not None and found.masks:
            self._parts[op] = found

    def outermost(self, op: Op) -> Parts:
        """The parts as far as they can be read off ``op`` itself: masks with which nothing more happens."""
        masks: list[Mask] = []
        while (layer := self.layer(op)) is not None:
            op = layer.content
            masks += layer.masks
        return Parts(op, tuple(masks[::-1]))

    # ---- where masks come in

    def layer(self, op: Op) -> Parts | None:
        """``op`` as one mask over one of its operands."""
        match op:
            case ops.Add(a=a, b=b):
                for s, m in ((a, b), (b, a)):
                    if self.owners.shared(s) and (mask := self._added(m)) is not None:
                        return Parts(s, (replace(mask, name=op.name),))
            case ops.Where(condition=kept, a=a, b=b) if self._is_known(kept) and self.owners.shared(op):
                ends = [(abs(value), value, low) for low in (a, b) if (value := _uniform(low))]
                if ends:
                    size, value, low = max(ends, key=lambda each: each[0])
                    end = Const(np.array(value), self.owners[low] is Owner.SERVER)
                    return Parts(b if low is a else a, (Mask(end, kept, low is a, size >= -DEEP, op.name),))
        return None

    def roots(self, term: Op, scale: float = 1.0) -> dict[Op, float] | None:
        """What of a mask one party knows, and the least factor between it and the mask, with its sign; None
        where something else is in it."""
        if not self.owners.shared(term):
            return {term: scale}
        match term:
            case ops.Mul(a=x, b=Const(value=c)) if _one_sign(c):
                return self.roots(x, scale * float(c.ravel()[np.argmin(np.abs(c))]))
            case ops.Neg(x=x):
                return self.roots(x, -scale)
            case ops.Reshape() | ops.Transpose() | ops.Broadcast() | ops.Slice() | ops.Concat():
                found: dict[Op, float] = {}
                for each in term.operands:
                    below = self.roots(each, scale)
                    if below is None:
                        return None
                    found |= below
                return found
        return None

    def _added(self, m: Op) -> Mask | None:
        """m as a mask on what it is added to."""
        if self._is_known(m) and not isinstance(m, Const):
            return Mask(m, sure=self._goes_deep(m))
        return Mask(m) if self._goes_deep(m) and self.roots(m) is not None else None

    def _is_known(self, op: Op) -> bool:
        return self.owners[op] in (Owner.CLIENT, Owner.PUBLIC)

    def _goes_deep(self, op: Op) -> bool:
        """Whether a number beyond `DEEP` has a part in it."""
        if op not in self._deep:
            if isinstance(op, Const):
                deep = op.value.dtype.kind == "f" and bool(np.any(np.abs(op.value) > -DEEP))
            elif self.owners.shared(op) and self.roots(op) is None:
                deep = False
            else:
                deep = any(self._goes_deep(each) for each in op.operands)
            self._deep[op] = deep
        return self._deep[op]

    # ---- and what they come through

    def _through(self, op: Op) -> Parts | None:
        match op:
            case ops.Reshape() | ops.Transpose() | ops.Broadcast() | ops.Slice():
                return self._moved(op)
            case ops.Gather(indices=Const(secret=False)):
                return self._moved(op)
            case ops.Concat():
                return self._joined(op)
            case ops.Add() | ops.Sub():
                return self._sum(op)
            case ops.Neg(x=x):
                return Parts(op.replace((self[x].content,)), _negated(self[x].masks))
            case ops.Mul(a=x, b=Const() as c) | ops.Mul(a=Const() as c, b=x) if _one_sign(c.value):
                if not all(mask.sure or mask.kept is not None or not c.secret for mask in self[x].masks):
                    return None  # a product, for what is perhaps no mask
                content = op.replace(each if each is c else self[x].content for each in op.operands)
                return Parts(content, tuple(mask.times(c) for mask in self[x].masks))
            case ops.Max(a=x, b=Const(value=low) as c) if np.all(low <= DEEP) and self._all_sure(x):
                return Parts(op.replace((self[x].content, c)), self[x].masks)
            case ops.Clip(x=x, lo=lo, hi=None) if lo is not None and lo <= DEEP and self._all_sure(x):
                return Parts(op.replace((self[x].content,)), self[x].masks)
        return None

    def _all_sure(self, x: Op) -> bool:
        return all(mask.sure for mask in self[x].masks)

    def _moved(self, op: layout.Layout) -> Parts | None:
        x = self[op.x]
        if not x.masks:
            return None
        content = op.replace((layout.wide(x.content, op.x.type.shape), *op.operands[1:]))
        return Parts(content, tuple(mask.moved(partial(layout.moved, op)) for mask in x.masks))

    def _sum(self, op: ops.Add | ops.Sub) -> Parts | None:
        """Of two that are masked, or of one that is and a term that stays with it."""
        a, b = self._term(op.a), self._term(op.b)
        if isinstance(op, ops.Sub):
            b = (b[0], _negated(b[1]))
        masks = a[1] + b[1]
        if not masks or any(mask.kept is not None and not mask.sure for mask in masks):
            return None
        if a[0] is not None and b[0] is not None:
            return Parts(op.replace((a[0], b[0])), masks)
        if b[0] is None:
            return None if a[0] is None else Parts(a[0], masks)
        return Parts(ops.Neg(b[0]) if isinstance(op, ops.Sub) else b[0], masks)

    def _term(self, x: Op) -> tuple[Op | None, tuple[Mask, ...]]:
        """Content, None where there is none, and masks."""
        mask = self._added(x)
        return (self[x].content, self[x].masks) if mask is None else (None, (mask,))

    def _joined(self, op: ops.Concat) -> Parts | None:
        axis, rank = op.axis % op.type.rank, op.type.rank
        contents: list[Op] = []
        masks: list[tuple[int, Mask]] = []
        for i, x in enumerate(op.xs):
            content, over = self._term(x)
            contents.append(
                Const(np.zeros(x.type.shape)) if content is None else layout.wide(content, x.type.shape)
            )
            masks += ((i, mask) for mask in over)

        def beside(i: int, m: Op) -> Op:
            """m at its place, and what masks nothing at the others."""
            nothing = np.array(True) if m.type.num != FLOAT else np.array(0.0)
            xs = [m if i == j else Const(nothing) for j in range(len(op.xs))]
            sizes = [x.type.shape[axis] for x in op.xs]
            whole = [layout.along(x, rank, axis, n) for x, n in zip(xs, sizes, strict=True)]
            return layout.joined(whole, axis)

        if not masks:
            return None
        moved = tuple(mask.moved(partial(beside, i)) for i, mask in masks)
        return Parts(op.replace(contents), moved)


_FILLED = (
    *(ops.Add, ops.Sub, ops.Neg, ops.Mul, ops.Max, ops.Clip),
    *(ops.Reshape, ops.Transpose, ops.Broadcast, ops.Slice, ops.Gather, ops.Concat),
)
"""What of a masked value is still full of the mask's numbers."""


def contents(graph: Graph) -> dict[Op, Op]:
    """Of every shared value that deep masks fill, the same value without them."""
    masked = Masked()
    found: dict[Op, Op] = {}
    for op in walk(graph):
        layer = masked.layer(op)
        if layer is not None and layer.masks[0].sure:
            bare = found.get(layer.content, layer.content)
            found[op] = layout.wide(bare, op.type.shape)
        elif isinstance(op, _FILLED) and any(each in found for each in op.operands):
            found[op] = op.replace(found.get(each, each) for each in op.operands)
    return found


def _negated(masks: tuple[Mask, ...]) -> tuple[Mask, ...]:
    return tuple(mask.negated() for mask in masks)


def _one_sign(c: np.ndarray) -> bool:
    return bool(np.all(c > 0) or np.all(c < 0))


def _uniform(op: Op) -> float | None:
    """The one number in all places of a constant."""
    while isinstance(op, ops.Broadcast):
        op = op.x
    if not isinstance(op, Const) or op.value.dtype.kind not in "fi" or not op.value.size:
        return None
    first = op.value.ravel()[0]
    return float(first) if np.all(op.value == first) else None
