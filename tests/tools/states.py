"""Plans that recall and keep, of a few steps each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import Options, OutputSpec, Plan

Shape = tuple[int, ...]

F = Fixed(20, 4)
HELD = 3


def recall(state: str = "k", shape: Shape = (2, HELD), axis: int = 1, num: Fixed = F) -> steps.Recall:
    return steps.Recall(state=state, num=num, shape=shape, axis=axis)


def keep(x: int, state: str = "k", axis: int = 1) -> steps.Keep:
    return steps.Keep(x=x, state=state, axis=axis)


def public(shape: Shape = (2, 1), num: Fixed = F) -> steps.Public:
    return steps.Public(values=(1,) * int(np.prod(shape)), num=num, shape=shape)


def plan(*program: steps.AnyStep, **more: Any) -> Plan:
    done = (*program, steps.Output(x=0, name="y"))
    return Plan(
        model="m", profile="exact", options=Options(byte_price=1e-7), inputs=(), weights=(), local=(),
        steps=done, outputs=(OutputSpec("y", len(program), (2 * HELD,)),), **more,
    )  # fmt: skip
