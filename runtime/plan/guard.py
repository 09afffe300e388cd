"""The step that tells the client whether its answer can be trusted."""

from __future__ import annotations

import msgspec
import numpy as np

from ..base.ring import Fixed, Int64, Signed
from ..base.share import Share
from ..party.party import Party
from ..party.role import CLIENT
from ..protocols.within import Limits, WithinMade, within, within_offline
from .step import Form, Plain, Step

ALARM = Fixed(2, 0)
"""1 where a value left its limits, 0 where none did."""


class Guarded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value that is watched: low <= x < high in its units, but for the low ``drop`` bits."""

    value: int
    low: Int64 | None
    high: Int64 | None
    drop: int = 0

    @property
    def limits(self) -> Limits:
        return Limits(self.low, self.high, self.drop)


class Guard(Step, frozen=True, kw_only=True, tag=True):
    """Whether every watched value is within its limits: one number for the client, or with ``locate`` one for
    each value; nobody learns more."""

    wraps = False
    watched: tuple[Guarded, ...]
    locate: bool = False

    @property
    def groups(self) -> int:
        return len(self.watched) if self.locate else 1

    def reads(self) -> tuple[int, ...]:
        return tuple(each.value for each in self.watched)

    def reveals(self) -> bool:
        return True

    def infer(self, *xs: Form) -> Form:
        if not xs:
            raise ValueError("it watches nothing")
        for each, x in zip(self.watched, xs, strict=True):
            each.limits.check(x.num)
        return Form(ALARM, (self.groups,))

    def offline(self, p: Party, begun: None, *xs: Form) -> WithinMade:
        asked = [(x.num, x.shape, each.limits) for each, x in zip(self.watched, xs, strict=True)]
        return within_offline(p, asked, self.groups)

    def online(self, p: Party, out: Form, made: WithinMade, *xs: Share) -> Share:
        asked = [(x, each.limits) for each, x in zip(self.watched, xs, strict=True)]
        held = within(p, asked, self.groups, made)

        def alarms() -> np.ndarray:
            if p.role is not CLIENT or held is None:
                return np.zeros(out.shape, np.uint64)
            return (~held).astype(np.uint64)

        return Share(out.num, out.shape, p.both(alarms))

    def clear(self, *xs: Plain) -> Signed:
        samples = max(len(x.data) for x in xs)
        left = [
            np.broadcast_to(each.limits.left(x.data, x.num).reshape(len(x.data), -1).any(axis=1), (samples,))
            for each, x in zip(self.watched, xs, strict=True)
        ]
        found = np.stack(left, axis=1).astype(np.int64)
        return found if self.locate else found.max(axis=1, keepdims=True)
