"""The plan's integer meaning in the clear, of any number of samples, and how near to its rings it comes.

Values are kept as they are, not modulo their ring, up to where a step reads them as numbers
(`runtime/plan/reach.py`): there what is beyond the ring is seen, however often it went around, and goes on as
two parties would have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.errors import RangeFault, RuntimeFault
from ..base.exact import Factor
from ..base.one_hot import OneHotRows
from ..plan.file import Outputs, Plan, Weights
from ..plan.local import Local
from ..plan.reach import Reach, Reading
from ..plan.steps import Plain, Step
from ..plan.unrounded import Real, unrounded
from .cache import Cache
from .executor import Progress, Values
from .inputs import as_array, computed_alone, fit, naming, prompts

Floats = NDArray[np.float64]
Feeds = Mapping[str, ArrayLike]

_ALARM = "{} goes so far that the guard alarms"
_REMEDY = "calibrate on samples that go as far, or compile with a larger --margin"

AT_ONCE = 16
"""Samples that are walked together: enough to share what weights cost, few enough for the caches."""


@dataclass(frozen=True, repr=False)
class Simulated:
    """One sample: the length of the plan that it ran at, values by step, decoded, and where it came how near
    to a ring, by the steps that read a number."""

    length: Plan
    values: dict[int, Floats]
    reaches: tuple[Reach, ...] = ()

    @property
    def outputs(self) -> Outputs:
        return self.length.named(self.values)

    @property
    def left(self) -> tuple[str, ...]:
        """What the guard would say of it."""
        guard = self.length.guard
        return () if guard is None else self.length.left(self.values[guard])

    @property
    def wraps(self) -> tuple[Reach, ...]:
        """Where it left a ring: the outputs then mean nothing."""
        return tuple(each for each in self.reaches if each.wrapped)


class Simulator:
    """A plan and its weights, ready for many samples.

    What the weights are for products is made once and kept: 8 bytes an element, or 16.
    """

    def __init__(self, plan: Plan, weights: Weights) -> None:
        self._plan = plan
        self._tensors = {name: Factor(ints) for name, ints in weights.items()}

    def run(
        self,
        samples: Sequence[Feeds],
        keep: bool = False,
        *,
        wrapping: bool = False,
        rounding: bool = True,
        progress: Progress | None = None,
    ) -> list[Simulated]:
        """Each sample at the shortest length that holds it: its outputs, or with ``keep`` every value.

        A sample's values do not depend on the others. Raises BadInput for inputs that do not fit the plan and
        RangeFault for the first value beyond its ring, by how much; of several samples it says which. With
        ``wrapping`` such a sample goes on as two parties would have it, and `Simulated.wraps` names the
        places. Without ``rounding`` values are real numbers (`plan.unrounded`), and none leaves a ring.
        ``progress`` is called with "simulated", samples done, samples in all.
        """
        fitted = []
        for i, feeds in enumerate(samples):
            with naming(i, len(samples), prompts(self._plan)):
                fitted.append(fit(self._plan, {name: as_array(name, value) for name, value in feeds.items()}))
        found: dict[int, Simulated] = {}
        for length in self._plan.lengths:
            of_length = [i for i, (chosen, _) in enumerate(fitted) if chosen is length]
            for first in range(0, len(of_length), AT_ONCE):
                some = of_length[first : first + AT_ONCE]
                try:
                    walked = self._walk(length, [fitted[i][1] for i in some], keep, rounding)
                except RuntimeFault:
                    for i in some if len(samples) > 1 else ():
                        with naming(i, len(samples), prompts(self._plan)):
                            self._walk(length, [fitted[i][1]], keep, rounding)
                    raise
                found |= zip(some, walked, strict=True)
                if progress:
                    progress("simulated", len(found), len(samples))
        simulated = [found[i] for i in range(len(samples))]
        if not wrapping:
            refuse_wraps(simulated, prompts(self._plan))
        return simulated

    def further(self, plan: Plan, feeds: Feeds, cache: Cache) -> Simulated:
        """One program of ``plan``, a length of this one, after those that left ``cache``; errors as of
        `run`."""
        simulated = self._walk(plan, [feeds], False, True, cache)
        refuse_wraps(simulated, prompts(self._plan))
        return simulated[0]

    def _walk(
        self, plan: Plan, samples: Sequence[Feeds], keep: bool, rounding: bool, cache: Cache | None = None
    ) -> list[Simulated]:
        """Samples of one length together."""
        cache = cache or Cache(lead=1)
        cache.open(plan)
        local = [computed_alone(plan, feeds) for feeds in samples]
        steps: Sequence[Step] = plan.steps
        values: Values[Any] = Values(plan)
        found: list[dict[int, Floats]] = [{} for _ in samples]
        reaches: list[list[Reach]] = [[] for _ in samples]
        places = {out.value for out in plan.outputs if plan.choices(out) is not None}
        for i, step in enumerate(steps):
            operands = values.read(i)
            read = rounding and i not in places  # a place fits by its format
            if read and (readings := step.reads_as_number(*operands)):
                name = plan.tensor(step.reads()[0]) or plan.label(i)
                for at, each in enumerate(reaches):
                    each += (_reach(i, name, reading, at) for reading in readings)
                if any(np.any(each.far >= each.limit) for each in readings):
                    operands = [Plain(x.num, x.num.reduced(x.data)) for x in operands]
            tensors = [self._tensors[name] for name in step.weights()]
            own: list[Any] = [_stacked([each[j] for each in local]) for j in step.locals()]
            own += cache.recalled(step)
            num = plan.forms[i].num
            value: Any
            if rounding:
                value = step.clear(*operands, *tensors, *own)
                values.put(i, Plain(num, value))
            else:
                value = unrounded(step, operands, tensors, own)
                values.put(i, Real(num, value))
            if step.keeps():
                cache.keep(step, value)
            if keep or step.reveals():
                units = np.asarray(value)
                decoded = (num.reduced(units) if rounding else units) * 2.0**-num.scale
                for at, kept in enumerate(found):
                    kept[i] = decoded[at if len(decoded) > 1 else 0]
        cache.close(plan)
        return [Simulated(plan, each, tuple(near)) for each, near in zip(found, reaches, strict=True)]


def _reach(step: int, name: str, reading: Reading, sample: int) -> Reach:
    far = float(reading.far[sample if len(reading.far) > 1 else 0])
    return Reach(step, name, reading.when, far, reading.limit)


def headroom(samples: Sequence[Simulated]) -> list[Reach]:
    """How near each place came to its ring in the worst of all samples; the nearest place first."""
    return nearest(each for sample in samples for each in sample.reaches)


def nearest(reaches: Iterable[Reach]) -> list[Reach]:
    """The worst of each place; the nearest to its ring first."""
    worst: dict[tuple[str, str], Reach] = {}
    for each in reaches:
        key = (each.name, each.when)
        if key not in worst or each.headroom < worst[key].headroom:
            worst[key] = each
    return sorted(worst.values(), key=lambda each: each.headroom)


def refuse_wraps(samples: Sequence[Simulated], together: int = 1) -> None:
    """Raises RangeFault where a sample left a ring or would alarm the guard: the first, and how many.
    ``together`` as of `naming`."""
    left = [
        (i, [*each.wraps, *(_ALARM.format(name) for name in each.left)]) for i, each in enumerate(samples)
    ]
    left = [(i, why) for i, why in left if why]
    if not left:
        return
    first, why = left[0]
    with naming(first, len(samples), together):
        most = f" ({len(left)} of {len(samples)} samples leave a ring)" if len(samples) > 1 else ""
        raise RangeFault(f"{why[0]}{most}; {_REMEDY}")


def simulate(plan: Plan, weights: Weights, feeds: Feeds, keep: bool = False) -> dict[int, Floats]:
    """The outputs of one sample by step, or with ``keep`` every value."""
    return Simulator(plan, weights).run([feeds], keep)[0].values


def _stacked(samples: Sequence[Local]) -> Local:
    rows = [each for each in samples if isinstance(each, OneHotRows)]
    if len(rows) == len(samples):
        return OneHotRows(np.stack([each.ids for each in rows]), rows[0].depth)
    return np.stack([np.asarray(each) for each in samples])
