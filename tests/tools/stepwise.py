"""Two parties against the integer meaning: every value is put together from its shares, what a step made
is held against what the step means for the operands that it was really given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppc.runtime.base.exact import Factor
from ppc.runtime.base.ring import Fixed
from ppc.runtime.base.share import Share
from ppc.runtime.party.party import Party, reveal, together
from ppc.runtime.party.role import CLIENT, SERVER
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import Plan, Weights
from ppc.runtime.plan.free import Encoded
from ppc.runtime.protocols.spline import SplineSpec, spline_clear
from ppc.runtime.session.engines import standard
from ppc.runtime.session.executor import Values, offline, online, setup
from ppc.runtime.session.facts import facts
from ppc.runtime.session.inputs import computed_alone, enter

Ints = np.ndarray


class Keeping(Values[Share]):
    """Values that forget nothing."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._all: dict[int, Share] = {}

    def put(self, index: int, value: Share) -> None:
        assert index not in self._all
        self._all[index] = value
        super().put(index, value)

    @property
    def kept(self) -> list[Share]:
        """Step by step."""
        return [self._all[i] for i in range(len(self._all))]


@dataclass(frozen=True)
class Trace:
    """Signed integers of every step: what two parties made, and what that means for their operands."""

    plan: Plan
    made: list[Ints]
    meant: list[Ints]

    def error(self, index: int) -> Ints:
        """made - meant, in units of the last place, in the ring."""
        num = self.plan.forms[index].num
        return num.signed(num.wrap((self.made[index] - self.meant[index]).astype(np.int64).view(np.uint64)))


def trace(plan: Plan, weights: Weights, feeds: Mapping[str, np.ndarray]) -> Trace:
    """Run both roles in this process and keep every value."""
    local = computed_alone(plan, feeds)
    steps_of: Sequence[steps.Step] = plan.steps

    def program(p: Party) -> list[Share]:
        values = Keeping(plan)
        both(p, plan, weights, enter(plan, local), values)
        return values.kept

    server, client, _ = together(program, standard)
    made = [opened(form.num, s, c) for form, s, c in zip(plan.forms, server, client, strict=True)]
    plain = [steps.Plain(form.num, x[None]) for form, x in zip(plan.forms, made, strict=True)]
    meant = [
        np.asarray(
            step.clear(
                *(plain[j] for j in step.reads()),
                *(Factor(weights[name]) for name in step.weights()),
                *(np.asarray(local[j])[None] for j in step.locals()),
            )
        )[0]
        for step in steps_of
    ]
    return Trace(plan, made, meant)


def both(
    p: Party,
    plan: Plan,
    weights: Weights,
    encoded: Mapping[int, Encoded],
    values: Values[Share] | None = None,
) -> dict[str, np.ndarray] | None:
    """Setup, offline and online in one go, without a handshake: the outputs at the client."""
    own = weights if p.role is SERVER else None
    setup(p, facts(plan).cots, plan)
    made = offline(p, plan, own)
    answer = online(p, plan, made, own, encoded if p.role is CLIENT else None, values=values)
    return None if answer is None else answer.outputs


def opened(num: Fixed, server: Share, client: Share) -> Ints:
    assert server.num == client.num == num
    return num.signed(reveal(num.mask, server.ring, client.ring))


def disagreement(seen: Trace, index: int) -> str | None:
    """What is wrong with a step's result, None where it is within the bound that its protocol documents."""
    step, error = seen.plan.steps[index], seen.error(index)
    match step:
        case steps.Rescale(x=x, num=num):
            bound = 1 if seen.plan.forms[x].num.scale > num.scale else 0
            return _beyond(error, bound)
        case steps.Spline(x=x, spec=spec):
            return _spline(seen, index, seen.made[x], seen.plan.forms[x].num, spec)
        case steps.Maximum(x=x, drop=drop, argmax=False):
            return _maximum(seen.made[x], seen.made[index], drop)
    return _beyond(error, sum(2**product.spare for product in step.products()))


def _beyond(error: Ints, bound: float) -> str | None:
    worst = int(np.abs(error).max(initial=0))
    return None if worst <= bound else f"off by {worst} units, where {bound:g} are allowed"


def _spline(seen: Trace, index: int, x: Ints, num: Fixed, spec: SplineSpec) -> str | None:
    """Either the piece that x lies in, or the one to its left where x is less than 2^drop beyond a knot."""
    here = np.abs(seen.error(index))
    late = seen.made[index] - late_spline(x, num, spec)
    left = np.abs(spec.out.signed(spec.out.wrap(late.view(np.uint64))))
    allowed = near_a_knot(x, spec)
    return _beyond(np.where(allowed, np.minimum(here, left), here), math.floor(spec.units + 0.5))


def near_a_knot(x: Ints, spec: SplineSpec) -> np.ndarray:
    """Where a comparison without its dropped bits may take the piece to the left."""
    beyond = x[..., None] - np.array(spec.thresholds.values)
    near: np.ndarray = ((beyond >= 0) & (beyond < 1 << spec.thresholds.drop)).any(axis=-1)
    return near & (spec.thresholds.drop > 0)


def late_spline(x: Ints, num: Fixed, spec: SplineSpec) -> Ints:
    """The spline with every knot 2^drop further right."""
    values = tuple(t + (1 << spec.thresholds.drop) for t in spec.thresholds.values)
    thresholds = type(spec.thresholds)(values, spec.thresholds.drop)
    moved = SplineSpec(thresholds, spec.compare_bits, spec.quad, spec.pieces, spec.gates, spec.out)
    return spline_clear(x, num, moved)


def _maximum(row: Ints, made: Ints, drop: int) -> str | None:
    """A multiple of 2^drop that is less than that away from the row's maximum."""
    off = np.abs(row.max(axis=-1, keepdims=True) - made)
    if (made % (1 << drop)).any():
        return f"no multiple of 2^{drop}"
    return f"off by {off.max()}, where less than 2^{drop} is allowed" if off.max() >= 1 << drop else None


def disagreements(seen: Trace) -> dict[str, str]:
    """Every step that is wrong, by its label."""
    found = {seen.plan.label(i): disagreement(seen, i) for i in range(len(seen.plan.steps))}
    return {label: what for label, what in found.items() if what is not None}
