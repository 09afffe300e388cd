"""Apply a rule to every op until nothing changes; say what it refused, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ppc.frontend.ir.graph import Graph, Op, rebuild, uses, walk, walk_from

Uses = dict[Op, int]
Rule = Callable[[Op, Uses], Op | None]
"""``rule(op, uses)``: what replaces op, None where it does not apply; raises Refuse where it nearly does.

The replacement has the op's type. ``uses`` counts the readers of every op below.
"""

_SWEEPS = 64


class Refuse(Exception):
    """The pattern is there but may not be rewritten; the reason is for a person to read."""


@dataclass(frozen=True)
class Refusal:
    """Where a rule stopped short."""

    op: str
    reason: str

    def __str__(self) -> str:
        return f"{self.op}: {self.reason}"


@dataclass(frozen=True)
class Rewritten:
    """The graph after a rule, how often the rule applied, and what it refused in the graph as it now is."""

    graph: Graph
    count: int
    refusals: tuple[Refusal, ...] = ()


class RewriteError(AssertionError):
    """A rule that is wrong: it changes a value's type, or never comes to rest."""


def apply(rule: Rule, graph: Graph) -> Rewritten:
    """``rule`` on all ops, operands first, until it finds nothing more to do."""
    total = 0
    for _ in range(_SWEEPS):
        graph, count, refusals = _sweep(rule, graph)
        total += count
        if not count:
            return Rewritten(graph, total, tuple(refusals))
    raise RewriteError(f"{getattr(rule, '__name__', rule)} still finds work after {_SWEEPS} sweeps")


def apply_all(rules: tuple[Rule, ...], graph: Graph) -> Rewritten:
    """Several rules, each to rest, in turn until none finds anything."""
    total = 0
    for _ in range(_SWEEPS):
        results = []
        for rule in rules:
            results.append(apply(rule, graph))
            graph = results[-1].graph
        count = sum(each.count for each in results)
        total += count
        if not count:
            return Rewritten(graph, total, tuple(each for result in results for each in result.refusals))
    raise RewriteError(f"{len(rules)} rules undo each other's work: no rest after {_SWEEPS} rounds")


def _sweep(rule: Rule, graph: Graph) -> tuple[Graph, int, list[Refusal]]:
    known = uses(graph)
    refusals: list[Refusal] = []
    count = 0
    order = iter(walk(graph))

    def visit(op: Op) -> Op:
        nonlocal count
        before = next(order)  # rebuild visits in the order of walk
        known.setdefault(op, known[before])
        try:
            new = rule(op, known)
        except Refuse as refuse:
            refusals.append(Refusal(_label(op), str(refuse)))
            return op
        if new is None or new is op:
            return op
        if new.type != op.type:
            raise RewriteError(f"a rule replaced {op!r} by {new!r}, which has another type")
        count += 1
        fresh = new not in known
        new = new.named(op.name) if fresh and op.name and not new.name else new
        for each in walk_from(new):
            if each not in known:
                known[each] = known[before] if each is new else 1
        return new

    return rebuild(graph, visit), count, refusals


def _label(op: Op) -> str:
    return f"{type(op).__name__} {op.name}".strip()
