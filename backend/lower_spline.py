"""A spline of reals as integers: thresholds, quadratics over a ring, and the bits a comparison may drop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ppc.frontend.ir.spline import SplineSpec as Real
from ppc.runtime.base.ring import Fixed
from ppc.runtime.protocols.compare import Thresholds
from ppc.runtime.protocols.spline import SplineSpec

MAX_DROP = 12


def integer_spline(real: Real, num: Fixed, quad: Fixed, width: int, out: Fixed) -> SplineSpec:
    """``real`` for an argument of format ``num``; ValueError where it cannot be said in integers."""
    knots = [round(k * 2**num.scale) for k in real.knots]
    if len(set(knots)) != len(knots):
        raise ValueError(f"knots of {real.function} fall together at scale {num.scale}")
    slopes = [int(slope) for _, slope in real.gates]
    if any(slope != s for (_, slope), s in zip(real.gates, slopes, strict=True)):
        raise ValueError(f"{real.function} has a gate of a slope that is no integer")
    spec = SplineSpec(
        thresholds=Thresholds(tuple(knots)),
        compare_bits=width,
        quad=quad,
        pieces=tuple(_integer(piece, num, quad) for piece in real.pieces),
        gates=tuple((g, s) for (g, _), s in zip(real.gates, slopes, strict=True)),
        out=out,
    )
    return replace(spec, thresholds=Thresholds(tuple(knots), _drop(real, spec, num)))


def _integer(piece: tuple[float, float, float], num: Fixed, quad: Fixed) -> tuple[int, int, int]:
    c0, c1, c2 = (round(c * 2 ** (quad.scale - i * num.scale)) for i, c in enumerate(piece))
    return _centred(c0, quad), _centred(c1, quad), _centred(c2, quad)


def _centred(c: int, quad: Fixed) -> int:
    half = 1 << (quad.bits - 1)
    return (c + half) % (2 * half) - half


def _drop(real: Real, spec: SplineSpec, num: Fixed) -> int:
    """The most low bits that a comparison may ignore.

    A comparison without its d low bits takes the piece left of a knot for up to 2^d units beyond it, which
    does no harm while that piece is still within half the spline's own error, or a unit, of the right one.
    """
    ts = spec.thresholds.values
    allowed = max(real.max_error / 2, 2.0**-spec.out.scale)
    most = max(0, min(MAX_DROP, spec.compare_bits - 3))
    for d in range(1, most + 1):
        if any(t % (1 << d) for t in ts):
            return d - 1
        for j, t in enumerate(ts):
            x = np.linspace(t, t + 2**d, 33) * 2.0**-num.scale
            if np.abs(_total(real, j, x) - _total(real, j + 1, x)).max() > allowed:
                return d - 1
    return most


def _total(real: Real, piece: int, x: np.ndarray) -> np.ndarray:
    """The quadratic and the gates that hold on piece ``piece``, continued to x."""
    c0, c1, c2 = real.pieces[piece]
    value = c0 + x * (c1 + x * c2)
    for g, slope in real.gates:
        if g < piece:
            value = value + slope * x
    return np.asarray(value)
