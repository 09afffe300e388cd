"""What may be in a graph after each stage of the pipeline: the table, and a cheap check of it.

Each stage may rely on what those before it have removed, and must not bring it back. What one party knows
alone it computes alone, so the table is about values that are shared.

    real numbers        any op but those of two parties
    after legalise      no selections, comparisons or whole numbers
    after decompose     sums, products, functions of one value, the maximum of a row
    after approximate   splines for the functions
    after assign_scale  all that is shared in fixed point, with rescalings
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Graph, Input, IRError, Op, Owner
from ppc.passes.owners import owners
from ppc.passes.substitute import APPROXIMATIONS, DECOMPOSITIONS
from ppc.runtime.base.ring import Fixed

Classes = frozenset[type[Op]]
Forms = Mapping[type[Op], Callable[[Any], bool]]

LAYOUT: Classes = frozenset(
    (ops.Reshape, ops.Transpose, ops.Slice, ops.Concat, ops.Broadcast, ops.Gather),
)
SUMS: Classes = frozenset((ops.Add, ops.Sub, ops.Neg, ops.ReduceSum))
PRODUCTS: Classes = frozenset((ops.MatMul, ops.Mul, ops.Square))
FUNCTIONS: Classes = frozenset(each.op for each in APPROXIMATIONS)
WHOLE: Classes = frozenset(each.op for each in DECOMPOSITIONS)
"""What `decompose` takes apart."""

TWO_PARTY: Classes = frozenset((ops.Spline, ops.Rescale))
REAL: Classes = (
    frozenset(
        each for name in ops.__all__ if isinstance(each := getattr(ops, name), type) and issubclass(each, Op)
    )
    - TWO_PARTY
    - {ops.Opaque}
)
"""The IR of models."""


@dataclass(frozen=True)
class Legal:
    """``shared``: the classes of ops that may compute what neither party knows, of those in ``forms`` only
    such as fit; ``fixed``: whether what is shared is in fixed point, or nothing is."""

    shared: Classes
    forms: Forms = field(default_factory=dict)
    fixed: bool = False

    def on_shares(self, op: Op) -> bool:
        """Whether a shared ``op`` may be there."""
        fits = self.forms.get(type(op))
        return type(op) in self.shared and (fits is None or fits(op))

    def offence(self, op: Op, owner: Owner) -> str:
        """Why ``op`` may not be there, "" where it may."""
        is_fixed = isinstance(op.type.num, Fixed)
        if is_fixed and not self.fixed:
            return "is in fixed point already"
        if owner is Owner.SHARED:
            if type(op) not in self.shared:
                return "is shared, and there is no way to compute it on shares"
            if not self.on_shares(op):
                return "is shared, and not of the form that can be computed on shares"
            return "is shared, and not in fixed point" if self.fixed and not is_fixed else ""
        if type(op) in TWO_PARTY or isinstance(op, ops.Opaque):
            return "is known to one party, who has no use for it"
        if is_fixed and not isinstance(op, ops.Const | ops.Cast):
            return "is known to one party, who computes on no shares"
        if self.fixed and owner is Owner.SERVER and not isinstance(op, ops.Const):
            return "is known to the server, and was not computed when compiling"
        return ""


def _at_public_places(op: ops.Gather) -> bool:
    return isinstance(op.indices, ops.Const) and not op.indices.secret


_CANONICAL = Legal(REAL, {ops.Softmax: lambda op: op.axis == -1})
_KNOWN = LAYOUT | SUMS | PRODUCTS | {ops.ReduceMax}
_LEGAL = Legal(
    _KNOWN | FUNCTIONS | WHOLE,
    {
        **_CANONICAL.forms,
        ops.ReduceMax: lambda op: op.axes == (op.x.type.rank - 1,),
        ops.Slice: lambda op: min(op.steps, default=1) > 0,
    },
)
_SPLIT = Legal(_KNOWN | FUNCTIONS, {**_LEGAL.forms, ops.Gather: _at_public_places})
_APPROXIMATE = Legal(_KNOWN | {ops.Spline}, _SPLIT.forms)
_FIXED = Legal(
    _KNOWN | {ops.Spline, ops.Rescale, ops.Cast},
    {
        **_SPLIT.forms,
        ops.Spline: lambda op: op.quad is not None and op.width is not None,
        ops.Cast: lambda op: isinstance(op.x, Input) and op.x.carried,
    },
    fixed=True,
)

LEGAL: dict[str, Legal] = {
    "canonicalize": _CANONICAL,
    "fuse": _CANONICAL,
    "eliminate": _CANONICAL,
    "slice_early": _CANONICAL,
    "pool": _CANONICAL,
    "hoist_mask": _CANONICAL,
    "fold_scale": _CANONICAL,
    "apply_profile": _CANONICAL,
    "calibrate": _CANONICAL,
    "check_mask": _CANONICAL,
    "clamp_mask": _CANONICAL,
    "legalise": _LEGAL,
    "decompose": _SPLIT,
    "carry_factor": _SPLIT,
    "fold_affine": _SPLIT,
    "delay_division": _SPLIT,
    "calibrate_functions": _SPLIT,
    "approximate": _APPROXIMATE,
    "calibrate_values": _APPROXIMATE,
    "assign_scale": _FIXED,
    "check_range": _FIXED,
    "group_queries": _FIXED,
}
"""By the name of the stage, in the order of ``PIPELINE``."""


def check_legal(graph: Graph, stage: str) -> None:
    """Raises IRError, with op and stage, for the first op that may not be in a graph after ``stage``."""
    legal = LEGAL[stage]
    for op, owner in owners(graph).items():
        if not isinstance(op, Input) and (offence := legal.offence(op, owner)):
            raise IRError(f"after {stage}: {op!r} {offence}")
