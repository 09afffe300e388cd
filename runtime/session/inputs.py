"""The client's inputs: which of a plan's lengths they run at, the padding up to it, and whether they fit.

All of it, up to the ring elements that enter the computation, is done before a server hears anything: what
does not fit costs no material, and nobody but the client can tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.errors import BadInput, RangeFault, RuntimeFault
from ..plan.file import INPUT_KINDS, InputSpec, Plan
from ..plan.free import Encode, Encoded
from ..plan.local import Local, run_local

Array = NDArray[Any]


@dataclass(frozen=True, repr=False)
class ClientInput:
    """An input that fits: the length it runs at, and what enters the computation, by step."""

    plan: Plan
    encoded: dict[int, Encoded]

    def __repr__(self) -> str:
        return f"ClientInput(plan {self.plan.hash[:12]}, <secret>)"

    @staticmethod
    def of(plan: Plan, feeds: Mapping[str, ArrayLike]) -> ClientInput:
        """Raises BadInput, naming the input, RangeFault for a value beyond its range or format."""
        return ClientInput.at(*fit(plan, {name: as_array(name, value) for name, value in feeds.items()}))

    @staticmethod
    def at(length: Plan, feeds: Mapping[str, ArrayLike]) -> ClientInput:
        """At this length of a plan, which ``feeds`` fill; errors as of `of`."""
        return ClientInput(length, enter(length, computed_alone(length, feeds)))


def as_array(name: str, value: ArrayLike) -> Array:
    """What numpy makes of it; of a tensor of PyTorch's its numbers, wherever it is. BadInput for no array."""
    detach = getattr(value, "detach", None)
    try:
        return np.asarray(value if detach is None else detach().cpu())
    except (ValueError, TypeError) as error:
        raise BadInput(f"input {name!r} is no array: {error}") from None


def computed_alone(plan: Plan, feeds: Mapping[str, ArrayLike]) -> list[Local]:
    """What the client computes alone, of an input of the plan's length. Raises BadInput, naming the input."""
    return run_local(plan.local, check_inputs(plan, feeds))


def enter(plan: Plan, local: Sequence[Local]) -> dict[int, Encoded]:
    """What enters the computation, by step. Raises RangeFault where a format cannot hold it."""
    return {
        i: step.encoded(local[step.local]) for i, step in enumerate(plan.steps) if isinstance(step, Encode)
    }


def once(plan: Plan) -> None:
    """Raises BadInput for a plan that one inference is not all of."""
    if plan.states.added:
        raise BadInput("this plan generates, token after token; use `ppc generate`")


def fit(plan: Plan, feeds: Mapping[str, Array]) -> tuple[Plan, dict[str, Array]]:
    """The shortest of the plan's lengths that holds ``feeds``, and the feeds padded to it with zeros.

    Padded is only where one of the inputs is a mask, whose zeros make the model ignore the rest, and only
    along the prompt: the axes in which the lengths differ, or, of a plan of one length, those that are as
    long as the mask's last where ``feeds`` are as long as the mask given.

    Raises BadInput, naming the input and the lengths, where none of several lengths fits.
    """
    once(plan)
    mask = next((spec for spec in plan.inputs if "mask" in spec.name), None)
    if not plan.shorter:
        return plan, dict(feeds) if mask is None else _padded_as(mask, plan, feeds)
    for each in plan.lengths:
        if all(_fits(spec, plan, feeds.get(spec.name), mask is not None) for spec in each.inputs):
            specs = {spec.name: spec for spec in each.inputs}
            return each, {n: _padded(x, specs[n].shape) if n in specs else x for n, x in feeds.items()}
    held = ", ".join(str(each.inputs[0].shape) for each in plan.lengths)
    given = ", ".join(f"{name!r} of shape {np.shape(value)}" for name, value in feeds.items())
    exactly = "" if mask else "; the model has no mask, so its inputs must have exactly one of these"
    raise BadInput(f"no length of this plan holds {given}; its lengths take {held}{exactly}")


def _padded_as(mask: InputSpec, plan: Plan, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Along the axes on which ``feeds`` are as long as the mask given, and the plan as long as its own."""
    given = feeds.get(mask.name)
    if given is None or not given.ndim == len(mask.shape) > 0 or not 0 < given.shape[-1] < mask.shape[-1]:
        return dict(feeds)
    short, long = given.shape[-1], mask.shape[-1]
    specs = {spec.name: spec for spec in plan.inputs}

    def wanted(name: str, x: Array) -> tuple[int, ...]:
        if name not in specs or x.ndim != len(specs[name].shape):
            return x.shape
        return tuple(
            long if (i or x.ndim == 1) and (has, held) == (short, long) else has
            for i, (has, held) in enumerate(zip(x.shape, specs[name].shape, strict=True))
        )

    return {name: _padded(x, wanted(name, x)) for name, x in feeds.items()}


def _fits(spec: InputSpec, plan: Plan, value: Array | None, masked: bool) -> bool:
    if value is None:  # named as missing when inputs are checked
        return True
    if value.ndim != len(spec.shape):
        return False
    longest = next(each.shape for each in plan.inputs if each.name == spec.name)
    shortest = next(each.shape for each in plan.shorter[0].inputs if each.name == spec.name)
    return all(
        given == held or (masked and given < held and high != low)
        for given, held, high, low in zip(value.shape, spec.shape, longest, shortest, strict=True)
    )


def _padded(x: Array, shape: tuple[int, ...]) -> Array:
    return np.pad(x, [(0, held - given) for given, held in zip(x.shape, shape, strict=True)])


def check_inputs(plan: Plan, feeds: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """The client's inputs as the plan wants them.

    Raises BadInput, naming the first that is not, or RangeFault for one that goes further than calibration.
    """
    wanted = [i.name for i in plan.inputs]
    for name in feeds:
        if name not in wanted:
            raise BadInput(f"input {name!r} is not one of the plan's: {', '.join(wanted)}")
    checked = {}
    for spec in plan.inputs:
        if spec.name not in feeds:
            raise BadInput(f"input {spec.name!r} is missing; the plan wants {', '.join(wanted)}")
        value = np.asarray(feeds[spec.name])
        if value.dtype.kind not in INPUT_KINDS[spec.kind]:
            raise BadInput(f"input {spec.name!r} holds {value.dtype}, the plan wants {spec.kind}")
        if value.shape != spec.shape:
            raise BadInput(f"input {spec.name!r} has shape {value.shape}, the plan wants {spec.shape}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise BadInput(f"input {spec.name!r} holds a value that is not finite")
        _check_range(spec, value)
        checked[spec.name] = value
    return checked


_REMEDY = {
    "samples": "all that the samples it was calibrated on allow for; calibrate on samples that go as far",
    "assumed": "which was assumed for want of samples; compile again with --calibrate and samples like it",
}


def _check_range(spec: InputSpec, value: Array) -> None:
    """Raises BadInput for what is no row of a table, RangeFault for what the rings inside were not made
    for."""
    for bound, bad in ((spec.low, np.less), (spec.high, np.greater)):
        if bound is not None and bad(value, bound).any():
            where = value[bad(value, bound)].ravel()[0]
            said = f"input {spec.name!r} holds {where:g}, outside [{spec.low:g}, {spec.high:g}]"
            if spec.bound == "table":
                raise BadInput(said)
            raise RangeFault(f"{said}, {_REMEDY[spec.bound]}")


UNNAMED = "\0"
"""What an array is called of a file that holds one and no names, .npy; no input is called so."""


def named(feeds: Mapping[str, ArrayLike], names: Sequence[str], source: str) -> dict[str, Array]:
    """``feeds`` of ``source``, where an array without a name is that of the only input; BadInput where there
    are others."""
    given = {name: np.asarray(value) for name, value in feeds.items()}
    if UNNAMED not in given:
        return given
    if len(names) != 1:
        raise BadInput(f"{source}: one array, and the inputs are {', '.join(names)}; give them as npz")
    return {names[0]: given[UNNAMED]}


def prompts(plan: Plan) -> int:
    """How many one inference answers: the first axis of every input and output, where that is the same."""
    inputs = {spec.shape[0] if len(spec.shape) > 1 else 1 for spec in plan.inputs}
    outputs = {spec.shape[0] if spec.shape else 1 for spec in plan.outputs}
    return inputs.pop() if len(inputs | outputs) == 1 else 1


@contextmanager
def naming(sample: int, of: int, together: int = 1) -> Iterator[None]:
    """A fault says which of ``of`` samples it is about, where those are several, or which prompts where each
    has some ``together``."""
    try:
        yield
    except RuntimeFault as fault:
        if of == 1:
            raise
        first = sample * together
        which = f"samples[{sample}]" if together == 1 else f"prompts {first} to {first + together - 1}"
        raise type(fault)(f"{which}: {fault}") from None
