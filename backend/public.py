"""What of the model a plan makes public: every number that came from it, where it stands, and why.

Found in the plan itself, so that nothing can be left out by whoever made it. Beside these a plan tells graph,
shapes, formats, ranges and norms (docs/threat-model.md), and the names of tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from ppc.backend.document import PublicNumbers
from ppc.runtime.base import function
from ppc.runtime.plan import local, steps
from ppc.runtime.plan.file import Plan

SHOWN = 64
"""Of a constant up to so many numbers are written out."""

EPSILON = "added under a root or a reciprocal, as the ε of a norm"
ADDED = "added to a value"
FACTOR = "that multiply a value, as attention's 1/√d or a mean's 1/n"
PLACES = "that are places of a look-up"
KNOTS = "that are knots and pieces of splines"
LIMITS = "that are limits of what the guard watches: calibrated ranges"
CLIENTS = "that the client's own part holds, for its mask as a rule"
ATTRIBUTES = "that are attributes in the client's own part"

_GRAPH = (
    function.Reduction, function.CumSum, function.OneHot, function.Gather, function.Reshape,
    function.Broadcast, function.Transpose, function.Slice, function.Concat, function.Softmax,
    function.LogSoftmax, function.ArgExtreme, function.Top, function.Mod, function.BitShift, function.IsInf,
)  # fmt: skip
"""Functions whose attributes are axes, shapes and the like."""


def public_numbers(plan: Plan) -> list[PublicNumbers]:
    """Every constant of the model that the plan holds, at each of its lengths."""
    return [row for each in plan.lengths for row in _Reader(each).rows()]


@dataclass
class Group:
    """The constants that are there for one reason."""

    why: str
    rows: list[PublicNumbers] = field(default_factory=list)

    def __str__(self) -> str:
        numbers = sum(row["numbers"] for row in self.rows)
        values = list(dict.fromkeys(_text(v) for row in self.rows for v in row["values"]))
        shown = f": {', '.join(values[:_FEW])}{', …' if len(values) > _FEW else ''}" if values else ""
        return f"{numbers:,} {'number' if numbers == 1 else 'numbers'} {self.why}{shown}"


_FEW = 6


def groups(rows: Sequence[PublicNumbers]) -> list[Group]:
    """The same by reason, in the order of first use."""
    found: dict[str, Group] = {}
    for row in rows:
        found.setdefault(row["why"], Group(row["why"])).rows.append(row)
    return list(found.values())


def names(plan: Plan) -> set[str]:
    """Every name of a tensor that the plan tells."""
    said = {each.name for part in plan.lengths for of in (part.steps, part.weights) for each in of}
    ends = {each.name for part in plan.lengths for of in (part.inputs, part.outputs) for each in of}
    return (said | ends) - {""}


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


class _Reader:
    """One walk over a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.readers = plan, plan.readers

    def rows(self) -> Iterator[PublicNumbers]:
        for i, step in enumerate(self.plan.steps):
            yield from self.step(i, step)
        yield from self.clients()

    def step(self, i: int, step: steps.Step) -> Iterator[PublicNumbers]:
        where, name = self.plan.label(i), self.plan.tensor(i)
        match step:
            case steps.Public(values=values, num=num, shape=shape):
                why = EPSILON if self.is_epsilon(i) else ADDED
                yield _row(where, name, shape, why, [v * 2.0**-num.scale for v in values])
            case steps.TimesInteger(factor=factor, scale=scale) if factor not in (-1, 1, 2**scale):
                yield _row(where, name, (), FACTOR, [factor * 2.0**-scale])
            case steps.TimesPublic(factors=factors, scale=scale, shape=shape):
                yield _row(where, name, shape, FACTOR, [each * 2.0**-scale for each in factors])
            case steps.TimesRow(table=table, scale=scale):
                numbers = (local.unpacked(table) * 2.0**-scale).ravel().tolist()
                yield _row(where, name, table.shape, FACTOR, numbers)
            case steps.Take(places=places):
                yield _row(where, name, (len(places),), PLACES, places)
            case steps.Spline(spec=spec):
                count = len(spec.thresholds.values) + 3 * len(spec.pieces) + len(spec.gates)
                yield _row(where, name, (count,), KNOTS, [])
            case steps.Guard(watched=watched):
                ends = [end for each in watched for end in self.limits(each)]
                yield _row(where, name, (len(ends),), LIMITS, ends)

    def limits(self, each: steps.Guarded) -> list[float]:
        """Those of a watched value, in reals."""
        scale = self.plan.forms[each.value].num.scale
        return [end * 2.0**-scale for end in (each.low, each.high) if end is not None]

    def is_epsilon(self, i: int) -> bool:
        """Whether it is added to what only a root or a reciprocal reads."""
        sums = self.readers[i]
        queue = [k for j in sums for k in self.readers[j]]
        for j in queue:
            match self.plan.steps[j]:
                case steps.Spline(function="rsqrt" | "sqrt" | "reciprocal"):
                    pass
                case steps.Rescale() | steps.Reshape() | steps.TimesInteger():
                    queue += self.readers[j]
                case _:
                    return False
        return bool(queue) and all(isinstance(self.plan.steps[j], steps.Add) for j in sums)

    def clients(self) -> Iterator[PublicNumbers]:
        """Constants and attributes of the client's own part, each with the value that it first ends in."""
        ends = self.ends()
        for i, op in enumerate(self.plan.local):
            where, name = f"client {i:04d} {type(op).__name__}", ends.get(i, "")
            match op:
                case local.Const(shape=shape, values=values):
                    yield _row(where, name, shape, CLIENTS, values)
                case local.Packed(shape=shape):
                    few = math.prod(shape) <= SHOWN
                    yield _row(
                        where, name, shape, CLIENTS, local.unpacked(op).ravel().tolist() if few else ()
                    )
                case local.Apply(function=made) if not isinstance(made, (*_GRAPH, function.Plain)):
                    if numbers := list(_numbers(msgspec.to_builtins(made))):
                        where = f"client {i:04d} {made.key}"
                        yield _row(where, name, (len(numbers),), ATTRIBUTES, numbers)

    def ends(self) -> dict[int, str]:
        """By local value the first of the shared values that it enters, by name."""
        found: dict[int, str] = {}
        for i, step in enumerate(self.plan.steps):
            stack = list(step.locals())
            while stack:
                at = stack.pop()
                if at not in found:
                    found[at] = self.plan.tensor(i)
                    op = self.plan.local[at]
                    stack += op.args if isinstance(op, local.Apply) else ()
        return found


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def _row(where: str, name: str, shape: tuple[int, ...], why: str, values: Sequence[float]) -> PublicNumbers:
    shown: list[float | str] = [v if math.isfinite(v) else str(v) for v in map(float, values)]
    return {
        "where": where, "name": name, "shape": shape, "numbers": math.prod(shape), "why": why,
        "values": shown if len(shown) <= SHOWN else [],
    }  # fmt: skip
