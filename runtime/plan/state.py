"""Steps that carry values from one program of a connection to the next, as shares that nobody reveals.

A *state* is a value that grows by rows: the keys of a decoder's layer, or its values. Each program of a plan
with states keeps the rows that it computes behind those that are there, or, if it reads none, begins anew
with its own. How many there are follows from which programs have run, so both sides know it; what they hold
neither does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..base.ring import Fixed, Ring, Signed
from ..base.share import Share
from ..party.party import Party
from .step import Form, Plain, Shape, Step, Unary


class Recall(Step, frozen=True, kw_only=True, tag=True):
    """The rows of a state, from the first on; those beyond what was kept are 0. Free."""

    wraps = False
    state: str
    num: Fixed
    shape: Shape
    axis: int

    def recalls(self) -> tuple[str, ...]:
        return (self.state,)

    def infer(self) -> Form:
        if not 0 <= self.axis < len(self.shape):
            raise ValueError(f"rows along axis {self.axis} of shape {self.shape}")
        return Form(self.num, self.shape)

    def online(self, p: Party, out: Form, made: None, rows: Ring | None) -> Share:
        return Share(out.num, out.shape, p.both(lambda: _filled(rows, self.shape, self.axis, np.uint64)))

    def clear(self, rows: Signed | None) -> Signed:
        shape = (1 if rows is None else len(rows), *self.shape)
        return _filled(rows, shape, self.axis + 1, np.int64)


class Keep(Unary, frozen=True, kw_only=True, tag=True):
    """The value is kept: more rows of a state. Free."""

    wraps = False
    state: str
    axis: int

    def keeps(self) -> tuple[str, int]:
        return self.state, self.axis

    def infer(self, x: Form) -> Form:
        if not 0 <= self.axis < len(x.shape):
            raise ValueError(f"rows along axis {self.axis} of shape {x.shape}")
        return x

    def online(self, p: Party, out: Form, made: None, x: Share) -> Share:
        return x

    def clear(self, x: Plain) -> Signed:
        return x.data


@dataclass(frozen=True)
class States:
    """What the steps of one plan say of its states: each one's kind, and the rows that are read and kept."""

    kinds: Mapping[str, tuple[Fixed, int, Shape]]
    """Format, axis of the rows, and shape without it."""
    held: int
    added: int

    @staticmethod
    def of(steps: Sequence[Step], forms: Sequence[Form]) -> States:
        """Raises ValueError where the steps do not agree with each other."""
        kinds: dict[str, tuple[Fixed, int, Shape]] = {}
        read: dict[str, int] = {}
        kept: dict[str, int] = {}
        for step, form in zip(steps, forms, strict=True):
            if not isinstance(step, Recall | Keep):
                continue
            rows, axis = read if isinstance(step, Recall) else kept, step.axis
            kind = form.num, axis, (*form.shape[:axis], *form.shape[axis + 1 :])
            if rows is read and step.state in kept:
                raise ValueError(f"state {step.state!r} is read after it is kept")
            if step.state in rows:
                raise ValueError(f"state {step.state!r} is twice {'read' if rows is read else 'kept'}")
            if kinds.setdefault(step.state, kind) != kind:
                raise ValueError(f"state {step.state!r} is kept as {form}, and read as another")
            rows[step.state] = form.shape[axis]
        if read and set(read) != set(kept):
            raise ValueError(
                f"of the states {sorted(kinds)} it reads {sorted(read)} and keeps {sorted(kept)}"
            )
        for rows in (read, kept):
            if len(set(rows.values())) > 1:
                raise ValueError(f"states of {sorted(set(rows.values()))} rows")
        return States(kinds, next(iter(read.values()), 0), next(iter(kept.values()), 0))


def _filled(
    rows: np.ndarray | None, shape: Shape, axis: int, kind: type[np.uint64] | type[np.int64]
) -> np.ndarray:
    """``rows`` in front, and 0 behind them."""
    if rows is None:
        return np.zeros(shape, kind)
    behind = [(0, shape[i] - n if i == axis else 0) for i, n in enumerate(rows.shape)]
    return np.pad(rows, behind)
