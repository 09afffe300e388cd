"""Put what a profile asks for in the place of what the model has, layer by layer from the inputs on.

A substitution's constants are fitted so that what it makes of the values that reach it, those before it being
substituted already, comes near to what the original model has there. To that end both are evaluated side by
side on the calibration data while the graph is rebuilt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppc.frontend.ir.graph import Graph, Op, uses, walk
from ppc.frontend.ir.reference import apply, evaluate_all
from ppc.passes.friendly import REPLACEABLE
from ppc.passes.masked import Masked
from ppc.passes.owners import Owners
from ppc.passes.profile import Profile, ProfileError, Rule, label
from ppc.passes.substitution import Constants, Samples, Substitution

Array = NDArray[Any]
_SHOWN = 3
Values = dict[Op, list[Array]]
"""Of each op, one array for each set of inputs."""


@dataclass(frozen=True)
class Applied:
    """What one substitution did: ``layers`` has a name for every op replaced."""

    op: str
    variant: str
    replaces: str
    formula: str
    difference: str
    layers: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.layers[:_SHOWN]) + (", …" if len(self.layers) > _SHOWN else "")
        return f"{len(self.layers)} {self.op} -> {self.variant}: {self.formula}, {self.difference} ({shown})"


@dataclass(frozen=True)
class Substituted:
    """``fitted`` has the constants of each op replaced, in the order of `walk`; ``chosen`` which substitution
    took its place, and ``made`` what every op of the graph became."""

    graph: Graph
    applied: tuple[Applied, ...] = ()
    fitted: tuple[Constants, ...] = ()
    chosen: Mapping[Op, Substitution] = field(default_factory=dict)
    made: Mapping[Op, Op] = field(default_factory=dict)


def apply_profile(
    graph: Graph,
    profile: Profile,
    feeds: Sequence[Mapping[str, ArrayLike]],
    fitted: Sequence[Constants] = (),
    only: Collection[Op] | None = None,
) -> Substituted:
    """The graph with everything shared that ``profile`` names replaced, and what that was.

    ``feeds`` is the calibration data, inputs by name. ``fitted``, where given, is what was found before, for
    the same model at another length, which then has the same weights. With ``only`` no others are replaced.
    What one party knows alone stays as it is. Raises ProfileError for a rule of a file that fits no op of the
    model.
    """
    owners = Owners()
    asked = [op for op in walk(graph) if any(rule.op is type(op) for rule in profile.rules)]
    asked = [op for op in asked if owners.shared(op)]
    chosen = {op: rule for op in asked if (rule := profile.rule(op)) and rule.substitution}
    _all_fit(profile, asked, graph)
    chosen = chosen if only is None else {op: rule for op, rule in chosen.items() if op in only}
    if not chosen:
        return Substituted(graph)
    with np.errstate(all="ignore"):
        found = tuple(fitted) or tuple(_fit(graph, chosen, feeds))
    made = _rebuild(graph, chosen, found)
    taken = {op: rule.substitution for op, rule in chosen.items() if rule.substitution}
    return Substituted(graph.mapped(made), _report(chosen), found, taken, made)


def _all_fit(profile: Profile, asked: list[Op], graph: Graph) -> None:
    for rule in profile.rules:
        if not rule.where or any(rule.fits(op) for op in asked):
            continue
        there = [label(op) for op in asked if type(op) is rule.op]
        kind = rule.op.__name__
        if not there:
            kinds = Counter(type(op).__name__ for op in walk(graph))
            raise ProfileError(f'{rule.where}: op = "{kind}" fits nothing; {_summary(kinds)}')
        globs = ", ".join(f'"{glob}"' for glob in rule.layers)
        raise ProfileError(f"{rule.where}: layers = {globs} fits no {kind}; there are {', '.join(there)}")


def _summary(kinds: Counter[str]) -> str:
    names = {op.__name__ for op in REPLACEABLE}
    known = [f"{n} {kind}" for kind, n in sorted(kinds.items()) if kind in names]
    return f"the model has {', '.join(known)}" if known else "the model has nothing to replace"


def _rebuild(graph: Graph, chosen: Mapping[Op, Rule], fitted: Sequence[Constants]) -> dict[Op, Op]:
    """What every op of the graph becomes."""
    new: dict[Op, Op] = {}
    constants = dict(zip(chosen, fitted, strict=True))
    for op in walk(graph):
        new[op] = op.replace(new[each] for each in op.operands)
        if op in chosen:
            new[op] = _substituted(chosen[op], new[op], constants[op])
    return new


def _substituted(rule: Rule, op: Op, constants: Constants) -> Op:
    assert rule.substitution is not None
    return rule.substitution.build(op, constants, rule.settings).named(op.name)


def _fit(
    graph: Graph, chosen: Mapping[Op, Rule], feeds: Sequence[Mapping[str, ArrayLike]]
) -> Iterator[Constants]:
    """Each op's constants, fitted to what those before it have made of the values."""
    given = [evaluate_all(Graph(graph.inputs, {}), each) for each in feeds]
    before: Values = {op: [each[op] for each in given] for op in graph.inputs}
    after = dict(before)
    left, waiting = uses(graph), len(chosen)
    for each in (x for op in chosen for x in _under(op)):
        left[each] += 1
    for op in walk(graph):
        if op not in before:
            before[op] = [apply(op, values) for values in _each(op.operands, before, len(feeds))]
        if op in chosen:
            constants = _constants(chosen[op], op, after[op.operands[0]], before[op])
            yield constants
            made = _substituted(chosen[op], op, constants)
            after[op] = _values(made, (*op.operands, *_under(op)), after, len(feeds))
            waiting -= 1
        elif op not in after:
            same = all(after[each] is before[each] for each in op.operands)
            after[op] = before[op] if same else _values(op, op.operands, after, len(feeds))
        if not waiting:
            return
        for each in (*op.operands, *(_under(op) if op in chosen else ())):
            left[each] -= 1
            if not left[each]:
                before.pop(each, None)
                after.pop(each, None)


def _under(op: Op) -> list[Op]:
    """What a substitution may read beside the operand: that without its masks, and these."""
    parts = Masked().outermost(op.operands[0])
    masks = [mask.term if mask.kept is None else mask.kept for mask in parts.masks]
    return [parts.content, *masks] if masks else []


def _each(operands: Sequence[Op], values: Values, count: int) -> list[list[Array]]:
    """The operands' values, set of inputs by set of inputs."""
    return [[values[each][i] for each in operands] for i in range(count)]


def _constants(rule: Rule, op: Op, x: list[Array], y: list[Array]) -> Constants:
    assert rule.substitution is not None
    samples = Samples([np.asarray(each, np.float64) for each in x], [np.nan_to_num(each) for each in y])
    return rule.substitution.fit(op, samples, rule.settings)


def _values(op: Op, operands: Sequence[Op], known: Values, count: int) -> list[Array]:
    """The value of ``op``, which is made of ``operands``, on each set of inputs."""

    def value(each: Op, found: dict[Op, Array]) -> Array:
        if each not in found:
            found[each] = apply(each, [value(x, found) for x in each.operands])
        return found[each]

    below = _each(operands, known, count)
    return [value(op, dict(zip(operands, values, strict=True))) for values in below]


def _report(chosen: Mapping[Op, Rule]) -> tuple[Applied, ...]:
    """One line for each substitution, in the order of first use."""
    layers: dict[Substitution, list[str]] = {}
    for op, rule in chosen.items():
        assert rule.substitution is not None
        layers.setdefault(rule.substitution, []).append(label(op))
    return tuple(
        Applied(each.op.__name__, each.name, each.replaces, each.formula, each.difference, tuple(found))
        for each, found in layers.items()
    )
