"""Plans that recall and keep, of a few steps each."""

from __future__ import annotations

import numpy as np

from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import Options, OutputSpec, Plan

F = Fixed(20, 4)
HELD = 3


def recall(state="k", shape=(2, HELD), axis=1, num=F):
    return steps.Recall(state=state, num=num, shape=shape, axis=axis)


def keep(x, state="k", axis=1):
    return steps.Keep(x=x, state=state, axis=axis)


def public(shape=(2, 1), num=F):
    return steps.Public(values=(1,) * int(np.prod(shape)), num=num, shape=shape)


def plan(*program, **more):
    done = (*program, steps.Output(x=0, name="y"))
    return Plan(
        model="m", profile="exact", options=Options(byte_price=1e-7), inputs=(), weights=(), local=(),
        steps=done, outputs=(OutputSpec("y", len(program), (2 * HELD,)),), **more,
    )  # fmt: skip
