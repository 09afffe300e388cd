"""LayerNorm and RMSNorm without a deviation for each row.

    centred_affine    a·(x − mean x) + b     a and b for each channel
    centred_scalar    the same               a one number, b for each channel
    affine            a·x + b                a and b for each channel
    scalar            the same               a one number, b for each channel

a and b are fitted to the calibration data by least squares, and a takes γ's place. Where nothing but weights
reads the norm, as in a model that norms before each block, they take a and b (`passes/fold_affine.py`): an a
for each channel costs no more than one number, which is nothing. Where a residual reads it too, as in BERT,
one number goes past the sum (`passes/carry_factor.py`), up to the model's last norm, but a row of numbers is
a product of each element: the next norm's centring does not commute with it.
"""

from __future__ import annotations

import math

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.passes.substitution import LEAST, Constants, Floats, Samples, Settings, Substitution, secret

RIDGE = 0.1
"""Weight of γ·mean(1/σ) against a channel's own fit, in units of the channels' mean variance."""

Norm = ops.LayerNorm | ops.RMSNorm


def _fit_centred(op: ops.LayerNorm, samples: Samples, settings: Settings) -> Constants:
    x, y = samples.rows()
    return _fitted(op, _centred(x), _deviation(op, _centred(x)), y)


def _fit_affine(op: Norm, samples: Samples, settings: Settings) -> Constants:
    x, y = samples.rows()
    return _fitted(op, x, _deviation(op, _centred(x) if isinstance(op, ops.LayerNorm) else x), y)


def _fit_centred_scalar(op: ops.LayerNorm, samples: Samples, settings: Settings) -> Constants:
    x, y = samples.rows()
    return _fitted_alike(op, _centred(x), _deviation(op, _centred(x)), y)


def _fit_scalar(op: ops.RMSNorm, samples: Samples, settings: Settings) -> Constants:
    x, y = samples.rows()
    return _fitted_alike(op, x, _deviation(op, x), y)


def _fitted(op: Norm, z: Floats, deviation: Floats, y: Floats) -> Constants:
    """a and b of each channel: y ≈ a·z + b by least squares, a drawn to γ·mean(1/σ)."""
    z_mean, y_mean = z.mean(axis=0), y.mean(axis=0)
    variance = np.mean((z - z_mean) ** 2, axis=0)
    ridge = RIDGE * float(variance.mean()) + LEAST
    covariance = np.mean((z - z_mean) * (y - y_mean), axis=0)
    a = (covariance + ridge * _gamma(op) * _inverse(deviation)) / (variance + ridge)
    return {"a": a, "b": y_mean - a * z_mean}


def _fitted_alike(op: Norm, z: Floats, deviation: Floats, y: Floats) -> Constants:
    """One a for all channels by least squares, γ's mean times mean(1/σ) where nothing varies; b of each."""
    z_mean, y_mean = z.mean(axis=0), y.mean(axis=0)
    variance = float(np.mean((z - z_mean) ** 2))
    covariance = float(np.mean((z - z_mean) * (y - y_mean)))
    a = (covariance + LEAST * float(np.mean(_gamma(op))) * _inverse(deviation)) / (variance + LEAST)
    return {"a": np.array(a), "b": y_mean - a * z_mean}


def _gamma(op: Norm) -> Floats:
    return np.asarray(op.gamma.value if isinstance(op.gamma, ops.Const) else 1.0, np.float64)


def _inverse(deviation: Floats) -> float:
    return float(np.mean(1 / np.maximum(deviation, LEAST)))


def _centred_affine(op: ops.LayerNorm, constants: Constants, settings: Settings) -> Op:
    mean = ops.ReduceMean(op.x, axes=(op.type.rank - 1,), keepdims=True)
    return _affine_of(op, ops.Sub(op.x, mean), constants)


def _affine(op: Norm, constants: Constants, settings: Settings) -> Op:
    return _affine_of(op, op.x, constants)


def _affine_of(op: Norm, x: Op, constants: Constants) -> Op:
    beta = op.beta.name if isinstance(op, ops.LayerNorm) else ""
    return ops.Add(ops.Mul(x, secret(constants["a"], op.gamma.name)), secret(constants["b"], beta))


def _deviation(op: Norm, x: Floats) -> Floats:
    return np.asarray(np.sqrt(np.mean(np.square(x), axis=-1) + op.eps))


def _centred(x: Floats) -> Floats:
    return np.asarray(x - x.mean(axis=-1, keepdims=True))


_LAYER_NORM = "γ·(x − mean x)/√(var x + ε) + β"
_RMS_NORM = "γ·x/√(mean x² + ε)"
_ROW = "a product with a an element, or nothing where weights alone read it"
_NUMBER = "nothing where weights read it, or a residual sum up to the last norm; there a product an element"

SUBSTITUTIONS = tuple(
    Substitution(op, name, fit, build, replaces, formula, "all x", math.inf, cost)
    for op, name, fit, build, replaces, formula, cost in (
        (
            ops.LayerNorm, "centred_affine", _fit_centred, _centred_affine, _LAYER_NORM,
            "a·(x − mean x) + b", _ROW,
        ),
        (ops.LayerNorm, "affine", _fit_affine, _affine, _LAYER_NORM, "a·x + b", _ROW),
        (
            ops.LayerNorm, "centred_scalar", _fit_centred_scalar, _centred_affine, _LAYER_NORM,
            "a·(x − mean x) + b, one a", _NUMBER,
        ),
        (ops.RMSNorm, "affine", _fit_affine, _affine, _RMS_NORM, "a·x + b", _ROW),
        (ops.RMSNorm, "scalar", _fit_scalar, _affine, _RMS_NORM, "a·x + b, one a", _NUMBER),
    )
)  # fmt: skip
