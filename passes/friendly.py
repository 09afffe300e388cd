"""Substitutions that change the model: functions that are cheap on shares in place of those that are not.

After "LLMs Can Understand Encrypted Prompt: Towards Privacy-Computing Friendly Transformers" (arXiv
2305.18396):

    GELU, SiLU    max(x, 0) + m
    softmax       e = max(x + t, 0) or max(x + t, 0)²:  e/(Σe + ε), or c·e without any division
    LayerNorm     a·(x − mean x) + b, or a·x + b without a mean for each row
    RMSNorm       a·x + b

A model is meant to be tuned with them. What can be had without training is had here: m, t, a and b are
fitted to the calibration data, so that the untuned model starts close, and cost nothing: sums with constants
are local, and a takes γ's place. With everything replaced in MiniLM's three layers the mean cosine of its
embeddings to the exact ones is 0.01 for a = γ·mean(1/σ), b = β, m = t = 0; fitted to random tokens it is
0.82, to a handful of sentences 0.86.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.frontend.ir.reference import apply
from ppc.passes.substitute import scalar

Floats = NDArray[np.float64]
Settings = Mapping[str, float | bool]
Constants = Mapping[str, Floats]
"""What was fitted, by the letter it has in the formula."""

EPSILON = 1 / 16
"""Added to the sum that a row is divided by: a power of two, since it bounds the reciprocal's range."""

RIDGE = 0.1
"""Weight of γ·mean(1/σ) against a channel's own fit, in units of the channels' mean variance."""

_LEAST = 1e-12
_MASKED = -1e3
"""Scores below are masked."""
_ROWS = 512
"""Rows of scores a head that a shift is fitted on."""
_SHIFTS = np.linspace(-4.0, 4.0, 33)
"""Shifts tried, in units of the head's typical score."""


@dataclass(frozen=True)
class Samples:
    """The calibration data of one op: ``x`` its operand as the rebuilt model has it, ``y`` its result in the
    original one; one array for each set of inputs."""

    x: list[Floats]
    y: list[Floats]

    def rows(self) -> tuple[Floats, Floats]:
        """Both as one matrix of rows."""
        x, y = (np.concatenate([v.reshape(-1, v.shape[-1]) for v in side]) for side in (self.x, self.y))
        return x, y


@dataclass(frozen=True, eq=False)
class Substitution:
    """``build(op, constants, settings)`` computes ``formula`` where the model has ``replaces``, with the
    constants that ``fit(op, samples, settings)`` found, at this length of sequence or another.

    ``max_error`` is the largest difference on ``domain``, infinite where there is no bound; ``settings``
    are what a profile may set, with their defaults.
    """

    op: type[Op]
    name: str
    fit: Callable[[Any, Samples, Settings], Constants]
    build: Callable[[Any, Constants, Settings], Op]
    replaces: str
    formula: str
    domain: str
    max_error: float
    cost: str
    settings: Settings = field(default_factory=dict)

    @property
    def difference(self) -> str:
        bound = "" if math.isinf(self.max_error) else f", by {self.max_error:g} at most"
        return f"changes the function{bound}"


# ---- activations


def _fit_missing(op: ops.Gelu | ops.Silu, samples: Samples, settings: Settings) -> Constants:
    """m: for each channel, what max(x, 0) lacks on average."""
    if not settings["calibrate"]:
        return {}
    x, _ = samples.rows()
    exact = apply(op.replace((ops.Const(x),)), [x])
    return {"m": np.mean(exact - np.maximum(x, 0.0), axis=0)}


def _relu(op: ops.Gelu | ops.Silu, constants: Constants, settings: Settings) -> Op:
    cut = ops.Relu(op.x)
    return ops.Add(cut, _secret(constants["m"])) if "m" in constants else cut


# ---- softmax


def _fit_shift(op: ops.Softmax, samples: Samples, settings: Settings) -> Constants:
    """t: for each head what brings max(x + t, 0)/Σ nearest to the softmax."""
    return {"t": _shifts(op, samples, 1, float(settings["epsilon"]))} if settings["calibrate"] else {}


def _fit_shift2(op: ops.Softmax, samples: Samples, settings: Settings) -> Constants:
    """The same for the square."""
    return {"t": _shifts(op, samples, 2, float(settings["epsilon"]))} if settings["calibrate"] else {}


def _fit_scale2(op: ops.Softmax, samples: Samples, settings: Settings) -> Constants:
    """t, and c: a power of two, which costs nothing and tells the client no more than a format does."""
    found = {"t": _shifts(op, samples, 2, None)} if settings["calibrate"] else {}
    e = [np.maximum(each + found.get("t", 0.0), 0.0) ** 2 for each in samples.x]
    square = sum(float(np.sum(each**2)) for each in e)
    product = sum(float(np.sum(each * y)) for each, y in zip(e, samples.y, strict=True))
    exponent = round(math.log2(product / square)) if min(product, square) > _LEAST else 0
    return {**found, "c": np.array(2.0**exponent)}


def _relu_sum(op: ops.Softmax, constants: Constants, settings: Settings) -> Op:
    return _divided(op, _cut(op, constants), float(settings["epsilon"]))


def _relu2_sum(op: ops.Softmax, constants: Constants, settings: Settings) -> Op:
    return _divided(op, ops.Square(_cut(op, constants)), float(settings["epsilon"]))


def _relu2(op: ops.Softmax, constants: Constants, settings: Settings) -> Op:
    return ops.Mul(ops.Square(_cut(op, constants)), scalar(float(constants["c"])))


def _cut(op: ops.Softmax, constants: Constants) -> Op:
    return ops.Relu(ops.Add(op.x, _secret(constants["t"])) if "t" in constants else op.x)


def _divided(op: ops.Softmax, e: Op, epsilon: float) -> Op:
    """A row without any positive score, one that is masked for instance, is 0."""
    total = ops.ReduceSum(e, axes=(op.axis % op.type.rank,), keepdims=True)
    return ops.Div(e, ops.Add(total, scalar(epsilon)))


def _shifts(op: ops.Softmax, samples: Samples, power: int, epsilon: float | None) -> Floats:
    """The t of each head that brings max(x + t, 0)^power nearest to the softmax, divided by its sum or, with
    ``epsilon`` None, scaled."""
    by_head = op.type.rank >= 3 and op.axis % op.type.rank == op.type.rank - 1
    heads = op.type.shape[-3] if by_head else 1
    x, y = (_by_head(side, op.axis, heads) for side in (samples.x, samples.y))
    t = np.array([_shift(x[h], y[h], power, epsilon) for h in range(heads)])
    return t.reshape((heads, 1, 1) if by_head else ())


def _by_head(values: list[Floats], axis: int, heads: int) -> Floats:
    """(heads, rows, n), of at most `_ROWS` rows evenly spread."""
    moved = [np.moveaxis(each, axis, -1) for each in values]
    if heads > 1:
        moved = [each.reshape(-1, *each.shape[-3:]).swapaxes(0, 1) for each in moved]
    rows = np.concatenate([each.reshape(heads, -1, each.shape[-1]) for each in moved], axis=1)
    return rows[:, :: -(-rows.shape[1] // _ROWS)]


def _shift(x: Floats, y: Floats, power: int, epsilon: float | None) -> float:
    seen = x[(y > 0) & (x > _MASKED)]  # in a row that is masked throughout, all weigh the same
    unit = float(np.sqrt(np.mean(seen**2))) if seen.size else 0.0

    def error(t: float) -> float:
        e = np.maximum(x + t, 0.0) ** power
        if epsilon is not None:
            return float(np.sum((e / (e.sum(axis=-1, keepdims=True) + epsilon) - y) ** 2))
        square, product = float(np.sum(e * e)), float(np.sum(e * y))
        return -product * product / square if square > _LEAST else 0.0

    return min((float(t) * unit for t in _SHIFTS), key=lambda t: (error(t), abs(t)))


# ---- norms


def _fit_centred(op: ops.LayerNorm, samples: Samples, settings: Settings) -> Constants:
    x, y = samples.rows()
    return _fitted(op, _centred(x), _deviation(op, _centred(x)), y)


def _fit_affine(op: ops.LayerNorm | ops.RMSNorm, samples: Samples, settings: Settings) -> Constants:
    x, y = samples.rows()
    return _fitted(op, x, _deviation(op, _centred(x) if isinstance(op, ops.LayerNorm) else x), y)


def _fitted(op: ops.LayerNorm | ops.RMSNorm, z: Floats, deviation: Floats, y: Floats) -> Constants:
    """a and b of each channel: y ≈ a·z + b by least squares, a drawn to γ·mean(1/σ)."""
    gamma = op.gamma.value if isinstance(op.gamma, ops.Const) else 1.0
    prior = gamma * np.mean(1 / np.maximum(deviation, _LEAST))
    z_mean, y_mean = z.mean(axis=0), y.mean(axis=0)
    variance = np.mean((z - z_mean) ** 2, axis=0)
    ridge = RIDGE * float(variance.mean()) + _LEAST
    a = (np.mean((z - z_mean) * (y - y_mean), axis=0) + ridge * prior) / (variance + ridge)
    return {"a": a, "b": y_mean - a * z_mean}


def _centred_affine(op: ops.LayerNorm, constants: Constants, settings: Settings) -> Op:
    mean = ops.ReduceMean(op.x, axes=(op.type.rank - 1,), keepdims=True)
    return _affine_of(op, ops.Sub(op.x, mean), constants)


def _affine(op: ops.LayerNorm | ops.RMSNorm, constants: Constants, settings: Settings) -> Op:
    return _affine_of(op, op.x, constants)


def _affine_of(op: ops.LayerNorm | ops.RMSNorm, x: Op, constants: Constants) -> Op:
    beta = op.beta.name if isinstance(op, ops.LayerNorm) else ""
    return ops.Add(ops.Mul(x, _secret(constants["a"], op.gamma.name)), _secret(constants["b"], beta))


def _deviation(op: ops.LayerNorm | ops.RMSNorm, x: Floats) -> Floats:
    return np.asarray(np.sqrt(np.mean(np.square(x), axis=-1) + op.eps))


def _centred(x: Floats) -> Floats:
    return np.asarray(x - x.mean(axis=-1, keepdims=True))


def _secret(value: Floats, name: str = "") -> ops.Const:
    return ops.Const(np.asarray(value, np.float32), secret=True, name=name)


_GAMMA = "a product with a an element, or nothing where the next weight takes it"

SUBSTITUTIONS: tuple[Substitution, ...] = (
    Substitution(
        ops.Gelu,
        "relu",
        _fit_missing,
        _relu,
        "x·Φ(x)",
        "max(x, 0) + m",
        "all x",
        0.171,
        "one comparison, one selection",
        {"calibrate": True},
    ),
    Substitution(
        ops.Silu,
        "relu",
        _fit_missing,
        _relu,
        "x/(1+e⁻ˣ)",
        "max(x, 0) + m",
        "all x",
        0.279,
        "one comparison, one selection",
        {"calibrate": True},
    ),
    Substitution(
        ops.Softmax,
        "relu_sum",
        _fit_shift,
        _relu_sum,
        "eˣ/Σeˣ",
        "max(x + t, 0)/(Σ max(x + t, 0) + ε)",
        "all x",
        1.0,
        "one comparison and one selection a score; a reciprocal a row, a product an output",
        {"epsilon": EPSILON, "calibrate": True},
    ),
    Substitution(
        ops.Softmax,
        "relu2_sum",
        _fit_shift2,
        _relu2_sum,
        "eˣ/Σeˣ",
        "max(x + t, 0)²/(Σ max(x + t, 0)² + ε)",
        "all x",
        1.0,
        "as relu_sum, and a square a score",
        {"epsilon": EPSILON, "calibrate": True},
    ),
    Substitution(
        ops.Softmax,
        "relu2",
        _fit_scale2,
        _relu2,
        "eˣ/Σeˣ",
        "c·max(x + t, 0)²",
        "all x",
        math.inf,
        "one comparison, one selection and a square a score; no division",
        {"calibrate": True},
    ),
    Substitution(
        ops.LayerNorm,
        "centred_affine",
        _fit_centred,
        _centred_affine,
        "γ·(x − mean x)/√(var x + ε) + β",
        "a·(x − mean x) + b",
        "all x",
        math.inf,
        _GAMMA,
    ),
    Substitution(
        ops.LayerNorm,
        "affine",
        _fit_affine,
        _affine,
        "γ·(x − mean x)/√(var x + ε) + β",
        "a·x + b",
        "all x",
        math.inf,
        _GAMMA,
    ),
    Substitution(
        ops.RMSNorm,
        "affine",
        _fit_affine,
        _affine,
        "γ·x/√(mean x² + ε)",
        "a·x + b",
        "all x",
        math.inf,
        _GAMMA,
    ),
)
"""The first of each op is what profile ``friendly`` takes."""


def variants(op: type[Op]) -> dict[str, Substitution]:
    """What may stand for ``op``, by name."""
    return {each.name: each for each in SUBSTITUTIONS if each.op is op}


REPLACEABLE: tuple[type[Op], ...] = tuple(dict.fromkeys(each.op for each in SUBSTITUTIONS))
