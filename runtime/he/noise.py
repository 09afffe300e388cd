"""The proved bound on the error of a product under HE, and the moduli in which its answer is sent.

All is counted in units of the product, 2^-ell of the modulus: the two shares of U·V add up to it but for an
error, of which `Product.spare` says how much is harmless. Four things add to it:

    noise       of the uploads and their product, and of the encryption of zero      `noise_bound`
    packing     of the key switches, where answers are packed                        `packing_noise`
    switching   c1 and c0 are rounded to the moduli in which they are sent           `answer_bits`
    sharing     client and server each round their share to a unit: 1/2 and 1/2

Every one is sub-Gaussian or bounded; a sub-Gaussian variable of proxy variance v exceeds ``tail·√v`` with
probability at most 2·exp(-tail²/2) (Hoeffding). ``tail`` is chosen so that the sum of all stays below its
bound at *all* results of a product but with probability 2^-40.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, log2, sqrt

from .params import HeParams

FAILURE_BITS = 42
"""Each of three kinds of noise exceeds its bound somewhere in a product with probability 2^-42 at most."""

_ERROR_VARIANCE = 10.5
"""Of SEAL's centred binomial of 2·21 bits; as a sum of 42 centred bits its proxy is its variance."""
_ERROR_MAX = 21
_ROUNDING_PROXY = 1 / 12
"""What is rounded looks uniform by RLWE, so that the error is uniform in an interval of length 1; the proxy
of a uniform variable is its variance (it is strictly sub-Gaussian)."""
_SWITCH_ROUNDING = 0.5 + 2.0**-8
"""One rounding to the answer's modulus, with what the 64-bit fractions of the switch add."""
_SHARING = 1.0

MAX_DROP = 40

MOST_ANSWER_BITS = 53
"""Centred residues of c1 are doubles to the client."""


def tail(coefficients: int) -> float:
    """Standard deviations that none of so many coefficients exceeds, except with probability 2^-42."""
    return sqrt(2 * log(2) * (FAILURE_BITS + 1 + log2(coefficients)))


@dataclass(frozen=True)
class Meeting:
    """What adds up in one result coefficient of a product.

    Attributes:
        norm: L2 norm of all the plaintext coefficients of V that meet in it.
        terms: how many they are.
        results: the coefficients of which none may exceed the bound.
    """

    norm: float
    terms: int
    results: int


def noise_bound(params: HeParams, ell: int, meeting: Meeting, drop: int = 0) -> float:
    """B with |noise| <= B at all results, in units of 1 modulo q; low ``drop`` bits of c0 are not uploaded.

    A plaintext u = h - k is uniform mod 2^ell, and its ciphertext holds round(q·h/2^ell) - round(q·k/2^ell)
    in q·u/2^ell's place, so each coefficient has error e + f + f', independent; and d more, uniform in an
    interval of length 2^drop, where bits are dropped. The product has Σ wᵢ·(eᵢ + fᵢ + f'ᵢ + dᵢ): proxy
    (10.5 + 2/12 + 4^drop/12)·|w|²; the means, 2^-ell and 1/2 at most, add √terms·|w| times as much. The fresh
    encryption of zero adds e_pk·u + e·s with u, s ternary (proxy 1 a coefficient) and |e_pk| <= 21: proxies
    21²·N and 10.5·N. Wrapping mod 2^ell adds multiples of q and nothing else.
    """
    dropped = _ROUNDING_PROXY * 4.0**drop * meeting.norm**2 if drop else 0.0
    return tail(meeting.results) * sqrt(_own(params, meeting) + dropped) + _mean(ell, meeting, drop > 0)


def most_drop(params: HeParams, ell: int, meeting: Meeting, most: float) -> int:
    """The largest drop, up to `MAX_DROP`, with a `noise_bound` of at most ``most``; 0 if there is none."""
    if not meeting.norm:
        return MAX_DROP
    sigmas = (most - _mean(ell, meeting, True)) / tail(meeting.results)
    dropped = (sigmas**2 - _own(params, meeting)) / (_ROUNDING_PROXY * meeting.norm**2)
    if sigmas <= 0 or dropped < 4:
        return 0
    return min(MAX_DROP, int(log2(dropped) / 2))


def _own(params: HeParams, meeting: Meeting) -> float:
    """The proxy of all that is there without dropped bits."""
    fresh = (_ERROR_MAX**2 + _ERROR_VARIANCE) * params.degree
    return (_ERROR_VARIANCE + 2 * _ROUNDING_PROXY) * meeting.norm**2 + fresh


def _mean(ell: int, meeting: Meeting, dropped: bool) -> float:
    return sqrt(meeting.terms) * meeting.norm * (2.0**-ell + (0.5 if dropped else 0.0))


def packing_noise(params: HeParams, fill: int, coefficients: int) -> float:
    """Noise, in units of 1 modulo q, that packing ``fill`` answers into one adds.

    Each of its levels doubles what those before it added, and adds a key switch: the residues of c1 modulo
    each prime of q, at most half of it, times errors of proxy 10.5, divided by the special prime, and the
    rounding of that division, r0 + r1·s.
    """
    if fill == 1:
        return 0.0
    sigmas = tail(coefficients * 64)  # two terms a level, at most 32 levels
    rounding = 0.5 + sigmas * sqrt(_ROUNDING_PROXY * params.degree)
    digits = sum(4.0 ** (bits - 1) for bits in params.data_bits)
    special = params.all_primes[-1]
    switching = sigmas * sqrt(_ERROR_VARIANCE * params.degree * digits) / special
    return (fill - 1) * (rounding + switching)


def units(params: HeParams, ell: int, noise: float) -> float:
    """Noise modulo q in units of the product."""
    return noise * 2.0**ell / params.q


def room(spare: int) -> float:
    """Units of error that are left for noise and switching where 2^spare are harmless."""
    return 2.0**spare - _SHARING


def answer_bits(
    params: HeParams, ell: int, left: float, coefficients: int, kept: float
) -> tuple[int, int] | None:
    """The bits b of c1 and r of c0 in an answer whose switch may err by ``left`` units; None if none do.

    c1 is rounded to 2^b and c0 to 2^r values: r1·2^(ell-b)·s + r0·2^(ell-r) units, the first a sum of N
    terms of one rounding each. No key multiplies r0, so c0 may be coarser. Of the pairs that do, the one of
    fewest bits, where ``kept`` coefficients of c0 are sent for each of c1.
    """
    if left <= 0:
        return None
    first = _turned_rounding(params, coefficients)
    least = max(1, ceil(ell + log2((first + _SWITCH_ROUNDING) / left) + 1e-9))
    offers = []
    for bits in range(least, min(least + 3, MOST_ANSWER_BITS + 1)):
        rest = left - first * 2.0 ** (ell - bits)
        offers.append((bits, min(bits, max(1, ceil(ell + log2(_SWITCH_ROUNDING / rest) + 1e-9)))))
    return min(offers, key=lambda offer: offer[0] + kept * offer[1], default=None)


def _turned_rounding(params: HeParams, coefficients: int) -> float:
    """|r1·s| for the rounding of c1 and a ternary s, in units of the modulus to which it is rounded."""
    return 2 * _SWITCH_ROUNDING * tail(coefficients) * sqrt(_ROUNDING_PROXY * params.degree)


def error_bound(params: HeParams, ell: int, noise: float, sizes: tuple[int, int], coefficients: int) -> float:
    """What all of them add up to, in units of the product; ``noise`` modulo q, packing included."""
    bits, result_bits = sizes
    first = _turned_rounding(params, coefficients) * 2.0 ** (ell - bits)
    return units(params, ell, noise) + first + _SWITCH_ROUNDING * 2.0 ** (ell - result_bits) + _SHARING
