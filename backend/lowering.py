"""A plan as it grows, and what every rule of lowering asks for."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ppc.backend.lower_local import local_op
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Op, Owner, walk
from ppc.runtime.base.errors import Error
from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import Weights
from ppc.runtime.plan.local import LocalOp


class LoweringError(Error, ValueError):
    """An op that no protocol computes for the owners and formats at hand."""

    exit_status = 3


@dataclass(repr=False)
class Lowering:
    """The plan as it grows. ``at`` maps ops to steps, ``local`` ops to the client's own values, ``tables``
    factors to what they are by the number of rows that are kept (`lower_counted.py`)."""

    graph: Graph
    owner: dict[Op, Owner]
    spare: dict[Op, int]
    merged: dict[Op, tuple[ops.MatMul, ...]]
    summed: frozenset[Op]
    byte_price: float
    flight: int
    together: int
    carried: dict[str, int]
    tables: dict[Op, NDArray[np.int64]]
    program: list[steps.Step] = field(default_factory=list)
    forms: list[steps.Form] = field(default_factory=list)
    at: dict[Op, int] = field(default_factory=dict)
    locals: list[LocalOp] = field(default_factory=list)
    local_at: dict[Op, int] = field(default_factory=dict)
    weights: Weights = field(default_factory=dict)
    public: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def put(self, step: steps.Step) -> int:
        try:
            self.forms.append(step.infer(*(self.forms[i] for i in step.reads())))
        except ValueError as error:
            raise LoweringError(f"{step.name or type(step).__name__}: {error}") from None
        self.program.append(step)
        return len(self.program) - 1

    def weight(self, name: str, values: NDArray[np.int64]) -> str:
        """Keep a tensor for the server, under a name not yet taken."""
        unique, n = name or "weight", 1
        while unique in self.weights:
            n += 1
            unique = f"{name or 'weight'}.{n}"
        self.weights[unique] = values
        return unique

    def local(self, op: Op) -> int:
        """The client's own value of ``op``."""
        if op not in self.local_at:
            args = tuple(self.local(each) for each in op.operands)
            self.locals.append(local_op(op, args))
            self.local_at[op] = len(self.locals) - 1
        return self.local_at[op]

    def value(self, op: Op) -> int:
        """The step whose value ``op`` is; constants enter when first asked for."""
        if op not in self.at:
            num = fixed(op)
            match op:
                case ops.Const(secret=False) if op.value.size <= 64:
                    flat = tuple(int(v) for v in integers(op.value, num).ravel())
                    step: steps.Step = steps.Public(name=op.name, values=flat, num=num, shape=op.type.shape)
                case ops.Const():
                    weight = self.weight(op.name, integers(op.value, num))
                    step = steps.Weight(name=op.name, weight=weight, num=num, shape=op.type.shape)
                case _:
                    raise LoweringError(f"{op!r} is needed before it is computed")
            self.at[op] = self.put(step)
        return self.at[op]


def readers(graph: Graph) -> dict[Op, list[Op]]:
    """Of every op that is read the ops that read it."""
    found: dict[Op, list[Op]] = {}
    for op in walk(graph):
        for x in op.operands:
            found.setdefault(x, []).append(op)
    return found


def fixed(op: Op) -> Fixed:
    if not isinstance(op.type.num, Fixed):
        raise LoweringError(f"{op!r} is shared, but has no fixed-point format")
    return op.type.num


def integers(values: NDArray[np.generic], num: Fixed) -> NDArray[np.int64]:
    """Constants as signed integers of ``num``; raises where one does not fit."""
    try:
        return num.signed(num.encode(np.asarray(values, np.float64)))
    except OverflowError as error:
        raise LoweringError(f"a constant: {error}") from None


def signed_bits(w: NDArray[np.int64]) -> int:
    return 1 + max(
        int(w.max(initial=0)).bit_length(),
        (-int(w.min(initial=0)) - 1).bit_length() if w.min(initial=0) < 0 else 0,
    )


def const(op: Op) -> ops.Const:
    assert isinstance(op, ops.Const)
    return op


def is_weight(op: Op) -> bool:
    return isinstance(op, ops.Const)


def reshape(state: Lowering, x: int, shape: tuple[int, ...]) -> int:
    if state.forms[x].shape == shape:
        return x
    return state.put(steps.Reshape(name=state.program[x].name, x=x, shape=shape))


def broadcast(state: Lowering, x: int, shape: tuple[int, ...]) -> int:
    if state.forms[x].shape == shape:
        return x
    return state.put(steps.Broadcast(x=x, shape=shape))
