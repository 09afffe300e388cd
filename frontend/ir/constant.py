"""Tensors that are known when compiling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir.graph import BOOL, FLOAT, INT, Graph, IRError, Num, Op, TensorType, rebuild


@dataclass(frozen=True, eq=False)
class Const(Op):
    """A tensor known at compile time. ``secret``: it derives from what the model holds, the server's alone;
    ``may_open``: it comes of whole numbers alone, which an operator may ask for in the open.

    ``value`` is held read-only; floats stay in the width they came in and mean reals. ``num`` set to a Fixed
    says in which format the value is to be encoded; the value itself stays real.
    """

    value: NDArray[Any]
    secret: bool = False
    may_open: bool = field(default=False, kw_only=True)
    num: Num | None = field(default=None, kw_only=True)
    most: ClassVar[float] = math.inf  # it is there already

    def __post_init__(self) -> None:
        value = np.asarray(self.value)
        if value.dtype == np.float16:
            value = value.astype(np.float32)
        elif value.dtype.kind in "iu":
            value = value.astype(np.int64, copy=False)
        elif value.dtype.kind not in "fb":
            raise IRError(f"a constant of {value.dtype}")
        value = value.view()
        value.setflags(write=False)
        object.__setattr__(self, "value", value)
        super().__post_init__()

    def infer(self) -> TensorType:
        kinds: dict[str, Num] = {"f": FLOAT, "i": INT, "b": BOOL}
        return TensorType(self.value.shape, self.num or kinds[self.value.dtype.kind])


def scalar(op: Op) -> float | None:
    """The number in a constant of one element, None for anything else."""
    if isinstance(op, Const) and op.value.size == 1 and op.value.dtype.kind in "fi":
        return float(op.value.reshape(()).item())
    return None


def with_values(graph: Graph, values: Mapping[Const, NDArray[Any]]) -> Graph:
    """The graph with other numbers in some of its constants."""
    return rebuild(
        graph, lambda op: replace(op, value=values[op]) if isinstance(op, Const) and op in values else op
    )
