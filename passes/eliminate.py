"""Word elimination: from some layers on, one token in so many goes on, the same ones whatever the text is.

After PoWER-BERT (arXiv 2001.08950) and the Funnel-Transformer (arXiv 2006.03236): a model that answers once
for a whole text needs no value of each word in its last layers. A layer that a profile names asks with every
second token, say, and answers come from all of them, so that what is left out has been read. Whatever follows
is computed for the tokens that are left, and a mean is of these. Which they are is public, and leaving out
the others costs nothing.

PoWER-BERT leaves out what little attention goes to, a prompt at a time, and with that tells which words
matter. A fixed stride tells nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, TensorType, walk, walk_from
from ppc.passes.apply_profile import Applied
from ppc.passes.errors import place
from ppc.passes.fold_constants import settled
from ppc.passes.owners import Owners
from ppc.passes.profile import Elimination, Profile, ProfileError, label

_DIFFERENCE = "changes the function"
_FOR = "[[eliminate]] is for models that answer once for a whole text"


class _Mixed(ProfileError):
    """What cannot do without some of its tokens."""


Strides = Mapping[int, int]
"""By axis, of those on which not all places are left: every how many-th is, from the first."""


@dataclass(frozen=True)
class Eliminated:
    """``layers``: where tokens were left out, by the names of the softmaxes, and ``tokens``: how many there
    were at first and how many went on from each."""

    graph: Graph
    layers: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()

    @property
    def applied(self) -> tuple[Applied, ...]:
        """As what a profile replaces is told."""
        if not self.layers:
            return ()
        first, *left = map(str, self.tokens)
        formula = f"{' and then '.join(left)} of {first} tokens go on"
        return (Applied("Softmax", "fewer queries", "one a token", formula, _DIFFERENCE, self.layers),)


def eliminate(graph: Graph, profile: Profile) -> Eliminated:
    """``graph`` without the tokens that ``profile`` leaves out.

    Raises ProfileError for an entry that fits no softmax, where an output has a value of each token, and for
    what is computed of tokens by their places.
    """
    chosen: dict[Op, Elimination] = {}
    for each in profile.eliminations:
        found = [op for op in walk(graph) if isinstance(op, ops.Softmax) and each.fits(op)]
        if not found:
            there = ", ".join(label(op) for op in walk(graph) if isinstance(op, ops.Softmax))
            raise ProfileError(f"{each.where}: layers fits no Softmax; there are {there or 'none'}")
        chosen |= dict.fromkeys(found, each)
    if not chosen:
        return Eliminated(graph)
    thinner, layers = _Thinner(graph), list[str]()
    where = profile.eliminations[0].where
    try:
        for op in walk(graph):
            if op in chosen:
                thinner.queries(op, chosen[op])
                layers.append(label(op))
            else:
                thinner.others(op)
    except _Mixed as error:
        raise ProfileError(f"{where}: {error}; {_FOR}") from None
    cut, new, tokens = thinner.cut, thinner.new, thinner.tokens
    for name, op in graph.outputs.items():
        if cut[op]:
            raise ProfileError(f"{where}: output {name!r} has a value of each token; {_FOR}")
    return Eliminated(graph.mapped(new), tuple(layers), tuple(tokens))


def stride(whole: int, left: int) -> int:
    """The least stride that leaves so many of ``whole``."""
    return next((step for step in range(1, whole) if -(-whole // step) <= left), max(1, whole))


def thins(whole: TensorType, left: TensorType) -> bool:
    """Whether ``left`` is the type of the same value at all its tokens or at some."""
    return (whole.num, whole.rank) == (left.num, left.rank) and all(
        m == -(-n // stride(n, m)) for n, m in zip(whole.shape, left.shape, strict=True)
    )


# ---- how a stride goes on


class _Thinner:
    """What every op has become, and which of its places are left.

    ``tokens``: how many there were at first and how many are left of them. Where something has been left out
    in what a value is made of, ``behind`` says how many-th token it is of.
    """

    def __init__(self, graph: Graph) -> None:
        self.new: dict[Op, Op] = {}
        self.cut: dict[Op, Strides] = {}
        self.tokens: list[int] = []
        self._behind: dict[Op, int] = {}
        self._owners = Owners()
        self._counts: dict[tuple[Op, int], Op] = {}

    def queries(self, op: Op, wanted: Elimination) -> None:
        """A softmax over the keys, of every so many-th query alone."""
        assert isinstance(op, ops.Softmax)
        rank = op.type.rank
        if op.axis % rank != rank - 1 or rank < 2:
            raise ProfileError(f"{wanted.where}: {place(op)} has no queries on the axis before its last")
        have = self.cut[op.x].get(rank - 2, 1)
        every = have * wanted.every
        self._made(op, op.replace([_to({rank - 2: every}, self.new[op.x], {rank - 2: have})]), every)
        self.cut[op] = {**self.cut[op.x], rank - 2: every}
        self.tokens += [] if self.tokens else [op.type.shape[-2]]
        self.tokens.append(self.new[op].type.shape[-2])

    def others(self, op: Op) -> None:
        """An op of operands of which some have fewer places, or none has."""
        step = math.lcm(*(self._behind.get(x, 1) for x in op.operands))
        given = [self._of_tokens_left(x, step) for x in op.operands]
        cut = [self.cut[x] for x in op.operands]
        if not any(cut):
            self._made(op, op.replace(given), step)
            self.cut[op] = {}
            return
        wanted, build = _rule(op, cut)
        operands = zip(wanted.operands, given, cut, strict=True)
        self._made(op, build([_to(*each) for each in operands]), step)
        self.cut[op] = wanted.result

    def _made(self, op: Op, made: Op, step: int) -> None:
        self.new[op] = made
        if step > 1:
            self._behind[op] = step

    def _of_tokens_left(self, x: Op, step: int) -> Op:
        """An operand, in which sums over tokens that one party forms alone are of those that are left: what a
        mean is divided by."""
        if step == 1 or x in self._behind or self._owners.shared(x):
            return self.new[x]
        for op in walk_from(x):
            if (op, step) in self._counts:
                continue
            made = op.replace(self._counts[each, step] for each in op.operands)
            if isinstance(made, ops.Reduction):
                axes = [axis % made.x.type.rank for axis in made.axes]
                every = {axis: step for axis in axes if made.x.type.shape[axis] == self.tokens[0]}
                made = made.replace([_to(every, made.x, {})])
            self._counts[op, step] = made
        return self._counts[x, step]


def _to(wanted: Strides, x: Op, have: Strides) -> Op:
    """``x``, cut further to ``wanted`` where it has more."""
    further = {axis: step // have.get(axis, 1) for axis, step in wanted.items() if x.type.shape[axis] > 1}
    further = {axis: step for axis, step in further.items() if step > 1}
    if not further:
        return x
    axes, steps = tuple(further), tuple(further.values())
    ends = tuple(x.type.shape[axis] for axis in axes)
    return settled(ops.Slice(x, (0,) * len(axes), ends, axes, steps))


@dataclass(frozen=True)
class _Wanted:
    """What strides the operands must have, and the result has then."""

    operands: tuple[Strides, ...]
    result: Strides


_Built = tuple[_Wanted, Callable[[Sequence[Op]], Op]]


@singledispatch
def _rule(op: Op, cut: Sequence[Strides]) -> _Built:
    """What keeps places apart, one operand like the other, by broadcasting."""
    if not isinstance(op, _ELEMENTWISE):
        raise _Mixed(f"{place(op)}: tokens cannot be left out before it")
    return _alike(op, cut), op.replace


_ELEMENTWISE = (ops.Binary, ops.Unary, ops.Where, ops.Function, ops.Broadcast)


def _alike(op: Op, cut: Sequence[Strides], ends: int = 0) -> _Wanted:
    """All axes but the last ``ends`` broadcast, and meet in the greatest stride that one operand has."""
    rank = op.type.rank
    found: dict[int, int] = {}
    for x, strides in zip(op.operands, cut, strict=True):
        for axis, step in strides.items():
            at = axis - x.type.rank  # shapes broadcast from their ends
            if at < -ends:
                found[at] = math.lcm(found.get(at, 1), step)
    operands = tuple(
        {x.type.rank + at: step for at, step in found.items() if -at <= x.type.rank} for x in op.operands
    )
    return _Wanted(operands, {rank + at: step for at, step in found.items()})


@_rule.register
def _(op: ops.Broadcast, cut: Sequence[Strides]) -> _Built:
    wanted = _alike(op, cut)
    shape = _left(op.shape, wanted.result)
    return wanted, lambda xs: ops.Broadcast(xs[0], shape, name=op.name)


@_rule.register(ops.LayerNorm)
@_rule.register(ops.RMSNorm)
@_rule.register(ops.Softmax)
def _(op: Op, cut: Sequence[Strides]) -> _Built:
    if op.type.rank - 1 in cut[0] and not isinstance(op, ops.Softmax):
        raise _Mixed(f"{place(op)}: a norm over tokens, of which some were left out before it")
    rest: tuple[Strides, ...] = ({},) * (len(cut) - 1)
    return _Wanted((cut[0], *rest), cut[0]), op.replace


@_rule.register
def _(op: ops.MatMul, cut: Sequence[Strides]) -> _Built:
    a, b = op.a.type.rank, op.b.type.rank
    if min(a, b) < 2:
        raise _Mixed(f"{place(op)}: a product with a vector, and tokens are left out before it")
    outer = _alike(op, cut, ends=2)
    inner = math.lcm(cut[0].get(a - 1, 1), cut[1].get(b - 2, 1))
    rows, columns = cut[0].get(a - 2, 1), cut[1].get(b - 1, 1)
    first = {**outer.operands[0], a - 2: rows, a - 1: inner}
    second = {**outer.operands[1], b - 2: inner, b - 1: columns}
    result = {**outer.result, op.type.rank - 2: rows, op.type.rank - 1: columns}
    return _Wanted((_real(first), _real(second)), _real(result)), op.replace


@_rule.register
def _(op: ops.Reduction, cut: Sequence[Strides]) -> _Built:
    rank = op.x.type.rank
    gone = {axis % rank for axis in op.axes}
    left = [axis for axis in range(rank) if op.keepdims or axis not in gone]
    result = {left.index(axis): step for axis, step in cut[0].items() if axis not in gone}
    return _Wanted((cut[0],), result), op.replace


@_rule.register
def _(op: ops.Transpose, cut: Sequence[Strides]) -> _Built:
    return _Wanted((cut[0],), {op.perm.index(axis): step for axis, step in cut[0].items()}), op.replace


@_rule.register
def _(op: ops.Reshape, cut: Sequence[Strides]) -> _Built:
    """An axis goes on where as many elements stand before it and behind it as before."""
    known = {_around(op.shape, axis): axis for axis in range(len(op.shape)) if op.shape[axis] > 1}
    result = {}
    for axis, step in cut[0].items():
        at = known.get(_around(op.x.type.shape, axis))
        if at is None or op.shape[at] != op.x.type.shape[axis]:
            raise _Mixed(f"{place(op)}: tokens become one axis with others, and some were left out")
        result[at] = step
    shape = _left(op.shape, result)
    return _Wanted((cut[0],), result), lambda xs: ops.Reshape(xs[0], shape, name=op.name)


@_rule.register
def _(op: ops.Slice, cut: Sequence[Strides]) -> _Built:
    """What is taken of places that are left, or all of them."""
    result = dict(cut[0])
    starts, ends, steps = list(op.starts), list(op.ends), list(op.steps)
    for i, axis in enumerate(each % op.x.type.rank for each in op.axes):
        step, taken = cut[0].get(axis, 1), op.places()[axis]
        if step == 1:
            continue
        if taken == range(op.x.type.shape[axis]):
            starts[i], ends[i], steps[i] = 0, op.x.type.shape[axis], 1
            continue
        if any(at % step for at in taken) or taken.step < 0:
            raise _Mixed(f"{place(op)}: takes tokens by their places, and some were left out before it")
        starts[i], ends[i] = taken.start // step, (taken[-1] // step + 1 if taken else 0)
        steps[i] = max(1, taken.step // step)
        del result[axis]
    made = (tuple(starts), tuple(ends), op.axes, tuple(steps))
    return _Wanted((cut[0],), result), lambda xs: ops.Slice(xs[0], *made, name=op.name)


@_rule.register
def _(op: ops.Gather, cut: Sequence[Strides]) -> _Built:
    """Constant places that are left, of the first tokens for one."""
    axis, rank = op.axis % op.x.type.rank, op.indices.type.rank
    if cut[1]:
        raise _Mixed(f"{place(op)}: looks up by tokens of which some were left out before it")
    step = cut[0].get(axis, 1)
    others = {at if at < axis else at + rank - 1: every for at, every in cut[0].items() if at != axis}
    if step == 1:
        return _Wanted((cut[0], {}), others), op.replace
    places = op.indices.value % op.x.type.shape[axis] if isinstance(op.indices, ops.Const) else None
    if places is None or (places % step).any():
        raise _Mixed(f"{place(op)}: takes tokens by their places, and some were left out before it")
    assert isinstance(op.indices, ops.Const)
    indices = replace(op.indices, value=places // step)
    return _Wanted((cut[0], {}), others), lambda xs: op.replace((xs[0], indices))


@_rule.register
def _(op: ops.Concat, cut: Sequence[Strides]) -> _Built:
    along = op.axis % op.type.rank
    if any(along in each for each in cut):
        raise _Mixed(f"{place(op)}: puts tokens behind others, and some were left out before it")
    found: dict[int, int] = {}
    for each in cut:
        found |= {axis: math.lcm(found.get(axis, 1), step) for axis, step in each.items()}
    return _Wanted((found,) * len(cut), found), op.replace


def _real(strides: Strides) -> Strides:
    return {axis: step for axis, step in strides.items() if step > 1}


def _left(shape: Sequence[int], strides: Strides) -> tuple[int, ...]:
    return tuple(-(-n // strides.get(axis, 1)) for axis, n in enumerate(shape))


def _around(shape: Sequence[int], axis: int) -> tuple[int, int]:
    return math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
