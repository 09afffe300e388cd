"""Whether a value is what a state keeps, row by row: then a mask may stay with a row (`protocols.cached`)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..protocols.truncate import rescaling
from .step import Form, Step
from .steps import Concat, Keep, Recall, Rescale, Reshape, TimesInteger, Transpose


def rows_axis(steps: Sequence[Step], forms: Sequence[Form], value: int) -> int | None:
    """The axis along which ``value`` has the rows of a state, then one that this program keeps; None where it
    is anything else, or where shares of a row could be others the next time."""
    moves = list[tuple[Step, Form, Form]]()
    while not isinstance(step := steps[value], Concat):
        if not isinstance(step, Reshape | Transpose | TimesInteger | Rescale):
            return None
        if isinstance(step, Rescale) and not _narrows(steps, forms, value):
            return None
        moves.append((step, forms[step.x], forms[value]))
        value = step.x
    if len(step.parts) != 2:
        return None
    axis = step.axis % len(forms[value].shape)
    old, new = (_widest(steps, forms, part) for part in step.parts)
    recall = steps[old]
    if not isinstance(recall, Recall) or recall.axis != axis or forms[new].shape[axis] != 1:
        return None
    if not any(isinstance(each, Keep) and (each.state, each.x) == (recall.state, new) for each in steps):
        return None
    for moved, before, after in reversed(moves):
        match moved:
            case Transpose():
                axis = moved.order.index(axis)
            case Reshape():
                if (same := _same(before.shape, after.shape, axis)) is None:
                    return None
                axis = same
    return axis


def _narrows(steps: Sequence[Step], forms: Sequence[Form], value: int) -> bool:
    """Whether a step keeps the low bits of each share, and does nothing else."""
    step = steps[value]
    return isinstance(step, Rescale) and rescaling(forms[step.x].num, step.num) == (0, 0)


def _widest(steps: Sequence[Step], forms: Sequence[Form], value: int) -> int:
    """What ``value`` has the low bits of."""
    while _narrows(steps, forms, value):
        step = steps[value]
        assert isinstance(step, Rescale)
        value = step.x
    return value


def _same(before: tuple[int, ...], after: tuple[int, ...], axis: int) -> int | None:
    """Where an axis stands after a reshape; None where it is none of its own any more."""
    for place, size in enumerate(after):
        if size == before[axis] and prod(after[:place]) == prod(before[:axis]):
            return place
    return None
