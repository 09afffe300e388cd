"""GELU and SiLU as a ReLU, or as one square.

    relu         max(x, 0) + m          m for each channel what max(x, 0) lacks there on average
    quadratic    a·((x + s)² + m)       a one number, s and m for each channel

The second is a·x² + b·x + c with its square completed, so that a product is left with a alone, which the next
weight takes (`passes/fold_affine.py`). It is fitted by least squares to the calibration data; bare it is
MPCFormer's x²/8 + x/4 + 1/2 (arXiv 2211.01452), and for SiLU the fit to a standard normal x. It follows the
function where x was seen and no further, and needs no comparison; its square costs more bytes than a ReLU.
"""

from __future__ import annotations

import math

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.frontend.ir.reference import apply
from ppc.passes.substitute import scalar
from ppc.passes.substitution import LEAST, Constants, Floats, Samples, Settings, Substitution, secret

Activation = ops.Gelu | ops.Silu

BARE: dict[type[Op], tuple[float, float, float]] = {
    ops.Gelu: (1 / 8, 1.0, 3.0),
    ops.Silu: (0.175, 1.43, -1.86),
}
"""a, s and m where nothing is fitted."""

RIDGE = 0.1
"""Weight of all channels' slope against a channel's own, in units of the channels' mean variance."""


def _exact(op: Activation, x: Floats) -> Floats:
    return np.asarray(apply(op.replace((ops.Const(x),)), [x]))


def _fit_missing(op: Activation, samples: Samples, settings: Settings) -> Constants:
    if not settings["calibrate"]:
        return {}
    x, _ = samples.rows()
    return {"m": np.mean(_exact(op, x) - np.maximum(x, 0.0), axis=0)}


def _relu(op: Activation, constants: Constants, settings: Settings) -> Op:
    cut = ops.Relu(op.x)
    return ops.Add(cut, secret(constants["m"])) if "m" in constants else cut


def _fit_quadratic(op: Activation, samples: Samples, settings: Settings) -> Constants:
    """a from all channels, then b and c of each; nothing where no x varies enough to show a curve upwards."""
    if not settings["calibrate"]:
        return {}
    x, _ = samples.rows()
    y = _exact(op, x)
    variance = np.var(x, axis=0)
    ridge = RIDGE * float(variance.mean()) + LEAST
    bent, risen = (_beside_line(x, each, variance) for each in (x**2, y))
    curve = float(np.sum(bent**2))
    a = float(np.sum(bent * risen)) / curve if curve > LEAST else 0.0
    if a <= LEAST:
        return {}
    rest = y - a * x**2
    slopes = _covariance(x, rest)
    common = float(slopes.sum() / max(float(variance.sum()), LEAST))
    b = (slopes + ridge * common) / (variance + ridge)
    c = np.mean(rest - b * x, axis=0)
    s = b / (2 * a)
    return {"a": np.array(a), "s": s, "m": c / a - s**2}


def _beside_line(x: Floats, y: Floats, variance: Floats) -> Floats:
    """What of y the line through each channel's points leaves."""
    slope = _covariance(x, y) / np.maximum(variance, LEAST)
    return np.asarray(y - y.mean(axis=0) - slope * (x - x.mean(axis=0)))


def _covariance(x: Floats, y: Floats) -> Floats:
    return np.asarray(np.mean((x - x.mean(axis=0)) * (y - y.mean(axis=0)), axis=0))


def _quadratic(op: Activation, constants: Constants, settings: Settings) -> Op:
    if constants:
        a, s, m = (secret(constants[each]) for each in ("a", "s", "m"))
    else:
        a, s, m = (scalar(each) for each in BARE[type(op)])
    return ops.Mul(ops.Add(ops.Square(ops.Add(op.x, s)), m), a)


def _of(op: type[Op], replaces: str, missing: float) -> tuple[Substitution, Substitution]:
    return (
        Substitution(
            op,
            "relu",
            _fit_missing,
            _relu,
            replaces,
            "max(x, 0) + m",
            "all x",
            missing,
            "one comparison, one selection",
            {"calibrate": True},
        ),
        Substitution(
            op,
            "quadratic",
            _fit_quadratic,
            _quadratic,
            replaces,
            "a·((x + s)² + m)",
            "where x was seen",
            math.inf,
            "one square; a in the next weight",
            {"calibrate": True},
        ),
    )


SUBSTITUTIONS = (*_of(ops.Gelu, "x·Φ(x)", 0.171), *_of(ops.Silu, "x/(1+e⁻ˣ)", 0.279))
