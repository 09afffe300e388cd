"""Softmax as weights without an exponential, of which most need no sum and no division either.

    relu_sum        e/(Σe + ε)     e = max(x + t, 0)
    relu2_sum       e/(Σe + ε)     e = max(x + t, 0)²
    square_sum      e/(Σe + ε)     e = (x + t)², 0 where masked
    relu_mean       c·max(x + t, 0)/n      n the unmasked scores of the row
    relu_running    c·max(x + t, 0)        1/c for the Σ of a row (Powerformer, ACL 2025)
    relu2           c·max(x + t, 0)²
    square          c·(x + t)²             0 where masked (MPCFormer, arXiv 2211.01452, has it with Σ)

t and c are one number for each head, fitted to come near to the softmax. c goes on to the weight behind the
heads (`passes/carry_factor.py`); where there are no heads, or nothing is fitted, it is a power of two, which
costs nothing and tells the client no more than a format does.

n is a public number where nothing masks. Under a client's mask the client knows it: 1/n is then one number
for all scores, or one a row where the mask is causal too, and multiplies what comes out of the product with
V (`passes/delay_division.py`). Below a ReLU a mask is a term of a sum; a square
would see it, so what the mask keeps is a factor of each score there, 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np

from ppc.frontend.errors import UsageError
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Op
from ppc.passes import masked_layout as layout
from ppc.passes.errors import place
from ppc.passes.fold_constants import settled
from ppc.passes.masked import Mask, Masked
from ppc.passes.substitute import scalar
from ppc.passes.substitution import LEAST, Constants, Floats, Samples, Settings, Substitution, secret

EPSILON = 1 / 16
"""Added to the sum that a row is divided by: a power of two, since it bounds the reciprocal's range."""

BARE_SHIFT = 5.0
"""t of a square where nothing is fitted, as in MPCFormer: a score below −t would weigh the more the lower."""

_MASKED = -1e3
"""Scores below are masked."""
_ROWS = 512
"""Rows of scores a head that a shift is fitted on."""
_SHIFTS = np.linspace(-4.0, 4.0, 33)
"""Shifts tried, in units of the head's typical score."""

Weigh = Callable[[Floats, Floats], Floats]
"""e of rows of scores + t, and of which of them no mask hides."""


# ---- what is fitted


@dataclass(frozen=True)
class _Form:
    """``weigh`` is the formula before it is divided by its sum (``divides``) or multiplied by c."""

    weigh: Weigh
    divides: bool

    def fit(self, op: ops.Softmax, samples: Samples, settings: Settings) -> Constants:
        """t, for each head what brings the formula nearest to the softmax, and c, which then fits best."""
        by_head = op.type.rank >= 3 and op.axis % op.type.rank == op.type.rank - 1
        heads = op.type.shape[-3] if by_head else 1
        x, y = (_by_head(side, op.axis, heads) for side in (samples.x, samples.y))
        shape = (heads, 1, 1) if by_head else ()
        found: dict[str, Floats] = {}
        t = np.zeros(shape)
        if settings["calibrate"]:
            epsilon = float(settings["epsilon"]) if self.divides else None
            shifts = [self._shift(x[h], y[h], epsilon) for h in range(heads)]
            t = found["t"] = np.array(shifts).reshape(shape)
        elif self.weigh is _squared:
            t = np.full(shape, BARE_SHIFT)
        if not self.divides:
            e = self.weigh(x + t, _kept(x))
            apart = by_head and bool(settings["calibrate"])
            found["c"] = _scales(e, y).reshape(shape) if apart else _power_of_two(e, y)
        return found

    def _shift(self, x: Floats, y: Floats, epsilon: float | None) -> float:
        seen = x[(y > 0) & (x > _MASKED)]  # in a row that is masked throughout, all weigh the same
        unit = float(np.sqrt(np.mean(seen**2))) if seen.size else 0.0

        def error(t: float) -> float:
            e = self.weigh(x + t, _kept(x))
            if epsilon is not None:
                return float(np.sum((e / (e.sum(axis=-1, keepdims=True) + epsilon) - y) ** 2))
            square, product = float(np.sum(e * e)), float(np.sum(e * y))
            return -product * product / square if square > LEAST else 0.0

        return min((float(t) * unit for t in _SHIFTS), key=lambda t: (error(t), abs(t)))


def _cut_off(z: Floats, kept: Floats) -> Floats:
    return np.maximum(z, 0.0)


def _cut_off_squared(z: Floats, kept: Floats) -> Floats:
    return np.maximum(z, 0.0) ** 2


def _averaged(z: Floats, kept: Floats) -> Floats:
    return np.asarray(np.maximum(z, 0.0) / np.maximum(kept.sum(axis=-1, keepdims=True), 1.0))


def _squared(z: Floats, kept: Floats) -> Floats:
    return np.where(kept > 0, z, 0.0) ** 2


def _kept(x: Floats) -> Floats:
    return (x > _MASKED).astype(np.float64)


def _scales(e: Floats, y: Floats) -> Floats:
    """The c of each head that brings c·e nearest to y; 1 where all weights are 0."""
    square, product = (np.sum(e * each, axis=(-2, -1)) for each in (e, y))
    found = np.minimum(square, product) > LEAST
    return np.where(found, product / np.where(found, square, 1.0), 1.0)


def _power_of_two(e: Floats, y: Floats) -> Floats:
    square, product = float(np.sum(e**2)), float(np.sum(e * y))
    return np.array(2.0 ** (round(math.log2(product / square)) if min(product, square) > LEAST else 0))


def _by_head(values: list[Floats], axis: int, heads: int) -> Floats:
    """(heads, rows, n), of at most `_ROWS` rows evenly spread."""
    moved = [np.moveaxis(each, axis, -1) for each in values]
    if heads > 1:
        moved = [each.reshape(-1, *each.shape[-3:]).swapaxes(0, 1) for each in moved]
    rows = np.concatenate([each.reshape(heads, -1, each.shape[-1]) for each in moved], axis=1)
    return rows[:, :: -(-rows.shape[1] // _ROWS)]


# ---- what is built


def _relu(op: ops.Softmax, constants: Constants) -> Op:
    return ops.Relu(ops.Add(op.x, secret(constants["t"])) if "t" in constants else op.x)


def _relu2(op: ops.Softmax, constants: Constants) -> Op:
    return ops.Square(_relu(op, constants))


def _square(op: ops.Softmax, constants: Constants) -> Op:
    parts = Masked().outermost(op.x)
    content = layout.wide(parts.content, op.x.type.shape)
    shifted = ops.Add(content, secret(constants["t"]) if "t" in constants else scalar(BARE_SHIFT))
    kept = _unmasked(op)
    return ops.Square(shifted) if kept is None else ops.Mul(ops.Square(shifted), kept)


def _relu_mean(op: ops.Softmax, constants: Constants) -> Op:
    return ops.Mul(_relu(op, constants), _inverse_count(op))


def _divided(
    e: Callable[[ops.Softmax, Constants], Op], op: ops.Softmax, constants: Constants, settings: Settings
) -> Op:
    """A row without any positive weight, one that is masked for instance, is 0."""
    made = e(op, constants)
    total = ops.ReduceSum(made, axes=(op.axis % op.type.rank,), keepdims=True)
    return ops.Div(made, ops.Add(total, scalar(float(settings["epsilon"]))))


def _scaled(
    e: Callable[[ops.Softmax, Constants], Op], op: ops.Softmax, constants: Constants, settings: Settings
) -> Op:
    c = constants["c"]
    return ops.Mul(e(op, constants), secret(c) if c.ndim else scalar(float(c)))


def _inverse_count(op: ops.Softmax) -> Op:
    """1/n, n the scores along the axis that no mask hides, at least 1."""
    axis, most = op.axis % op.type.rank, op.type.shape[op.axis]
    kept = _unmasked(op)
    if kept is None:
        return scalar(1 / most)
    wide = (*kept.type.shape[:axis], most, *kept.type.shape[axis + 1 :])
    kept = kept if kept.type.shape == wide else settled(ops.Broadcast(kept, wide))
    total = settled(ops.ReduceSum(kept, axes=(axis,), keepdims=True))
    return settled(ops.Reciprocal(settled(ops.Clip(total, lo=1.0, hi=float(most)))))


def _unmasked(op: ops.Softmax) -> Op | None:
    """1 where no mask hides a score and 0 where one does, known to one party, of as many axes as the scores
    have; None without masks."""
    masked = Masked()
    factors = [_factor(op, mask, masked) for mask in masked.outermost(op.x).masks]
    if not factors:
        return None
    kept = reduce(lambda a, b: settled(ops.Mul(a, b)), factors)
    shape = (1,) * (op.type.rank - kept.type.rank) + kept.type.shape
    return kept if shape == kept.type.shape else settled(ops.Reshape(kept, shape))


def _factor(op: ops.Softmax, mask: Mask, masked: Masked) -> Op:
    if masked.owners.shared(mask.term if mask.kept is None else mask.kept):
        raise UsageError(
            f"{place(op)}: neither party alone knows its mask, which this substitution must; keep it "
            'with "exact", or take "relu_sum"'
        )
    if mask.kept is None:
        return settled(ops.Exp(mask.term))
    kept = settled(ops.Not(mask.kept)) if mask.swapped else mask.kept
    return settled(ops.Cast(kept, FLOAT))


_SUM = {"epsilon": EPSILON, "calibrate": True}
_FITTED = {"calibrate": True}


def _of(
    name: str,
    form: _Form,
    e: Callable[[ops.Softmax, Constants], Op],
    formula: str,
    cost: str,
    max_error: float = math.inf,
) -> Substitution:
    build = partial(_divided if form.divides else _scaled, e)
    settings = _SUM if form.divides else _FITTED
    return Substitution(
        ops.Softmax, name, form.fit, build, "eˣ/Σeˣ", formula, "all x", max_error, cost, settings
    )


_CUT = "one comparison and one selection a score"
_MASK = "under a client's mask a product"

SUBSTITUTIONS = (
    _of(
        "relu_sum",
        _Form(_cut_off, divides=True),
        _relu,
        "max(x + t, 0)/(Σ max(x + t, 0) + ε)",
        f"{_CUT}; a reciprocal a row, a product an output",
        1.0,
    ),
    _of(
        "relu2_sum",
        _Form(_cut_off_squared, divides=True),
        _relu2,
        "max(x + t, 0)²/(Σ max(x + t, 0)² + ε)",
        "as relu_sum, and a square a score",
        1.0,
    ),
    _of(
        "relu2",
        _Form(_cut_off_squared, divides=False),
        _relu2,
        "c·max(x + t, 0)²",
        f"{_CUT}, and a square; no division",
    ),
    _of(
        "relu_running",
        _Form(_cut_off, divides=False),
        _relu,
        "c·max(x + t, 0)",
        f"{_CUT}; no division",
    ),
    _of(
        "relu_mean",
        _Form(_averaged, divides=False),
        _relu_mean,
        "c·max(x + t, 0)/n",
        f"{_CUT}; {_MASK} an output with one number",
    ),
    _of(
        "square",
        _Form(_squared, divides=False),
        _square,
        "c·(x + t)²",
        f"one square a score; {_MASK} an output",
    ),
    _of(
        "square_sum",
        _Form(_squared, divides=True),
        _square,
        "(x + t)²/(Σ (x + t)² + ε)",
        f"one square a score; a reciprocal a row, a product an output; {_MASK} a score",
        1.0,
    ),
)
