"""Which constants belong to a formula, so that whoever knows the architecture knows them.

All that a model holds is the server's but for these. Which node it stands in and how wide its floats are
makes no difference: what decides is the number.

    one number     0, ±∞, NaN; a power of two or ten; a whole number up to 256, or 1/n of one up to 16; what
                   fills up masks: a decimal of two digits from 10,000 on, a float type's largest number; the
                   constants of GELU; 127.5 of pixels, and 1/n of it and of 255; all with either sign
    more numbers   a causal mask of such a number; n, n + 1, n + 2, …; the frequencies of a rotary embedding:
                   1, r, r², … with r = θ^(−1/n), θ a decimal of two digits or a power of two

The list is short on purpose: a learned number that happens to be on it is told. Of the float32 between ½ and
1 these are a dozen in eight million, of the float16 six in a thousand.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LARGEST_WHOLE = 256
LARGEST_DIVISOR = 16
FILLER = 1e4
"""From here on a number fills up a mask."""

CONSTANTS = (
    math.sqrt(2), math.sqrt(1 / 2), math.sqrt(2 / math.pi), 0.044715, 1.702, 1 / 1.702,  # of GELU
    127.5, 1 / 127.5, 1 / 255,  # of pixels
)  # fmt: skip
EXTREMES = (float(np.finfo(np.float16).max), (2 - 2**-7) * 2.0**127, float(np.finfo(np.float32).max))

_ULP = 2.0**-23
"""Relative; what rounding in float32 leaves open."""


def of_a_formula(value: Array) -> bool:
    """Whether a tensor that a model holds says no more than its architecture does."""
    if value.dtype.kind not in "fiub":
        return True  # no number at all
    if value.size <= 1:
        return not value.size or is_number(float(value.reshape(()).item()))
    return _is_causal(value) or _is_geometric(value) or _counts(value)


def is_number(x: float) -> bool:
    """Whether x is on the list of single numbers."""
    x = abs(x)
    if not 2.0**-149 <= x <= EXTREMES[-1]:
        return True  # 0, ∞ or NaN, in float32 at least
    if x == round(x) <= LARGEST_WHOLE or any(_same(x, 1 / n) for n in range(2, LARGEST_DIVISOR + 1)):
        return True
    if any(_same(x, float(base) ** round(math.log(x, base))) for base in (2, 10)):
        return True
    if x >= FILLER and _is_decimal(x, 2):
        return True
    return any(_same(x, each) for each in (*CONSTANTS, *EXTREMES))


def _is_decimal(x: float, digits: int) -> bool:
    unit = math.floor(math.log10(x)) - digits + 1
    return any(_same(x, float(f"{round(x / 10.0**at)}e{at}")) for at in (unit, unit + 1))


def _same(x: float, wanted: float) -> bool:
    """Whether x is ``wanted``, rounded to any type of floats."""
    if math.isclose(x, wanted, rel_tol=_ULP, abs_tol=0):
        return True
    with np.errstate(over="ignore"):
        half = float(np.float16(wanted))
    return x in (half, _bfloat16(wanted))


def _bfloat16(x: float) -> float:
    """x rounded to the upper half of a float32."""
    mantissa, exponent = math.frexp(x)
    return math.ldexp(round(mantissa * 256), exponent - 8)


def _is_causal(value: Array) -> bool:
    """0 on and below the diagonal and one other number above it, or the other way round."""
    if value.ndim < 2 or min(value.shape[-2:]) < 2 or math.prod(value.shape[:-2]) != 1:
        return False
    matrix = value.reshape(value.shape[-2:])
    rows, columns = value.shape[-2:]
    below = np.tri(rows, columns, dtype=np.bool_)
    low, high = matrix[-1, 0], matrix[0, -1]
    if (low == 0) == (high == 0) or not is_number(float(low)) or not is_number(float(high)):
        return False
    return bool(np.array_equal(matrix, np.where(below, low, high)))


def _is_geometric(value: Array) -> bool:
    """1, r, r², … with r = θ^(−1/n) < 1: θ^(−2i/d) of a rotary embedding that turns d = 2n channels."""
    row = value.reshape(-1).astype(np.float64)
    n = row.size
    if (
        value.dtype.kind != "f"
        or not 3 <= n == max(value.shape)
        or row[0] != 1
        or not 0 < row[-1] < row[1] < 1
    ):
        return False
    base = row[-1] ** (-n / (n - 1))
    unit = 10.0 ** (math.floor(math.log10(base)) - 1)
    near = [round(base / unit) * unit, 2.0 ** round(math.log2(base))]
    return any(np.allclose(row, each ** (-np.arange(n) / n), rtol=1e-3, atol=0) for each in near)


def _counts(value: Array) -> bool:
    """n, n + 1, n + 2, …"""
    if value.dtype.kind not in "iu" or not 3 <= value.size == max(value.shape):
        return False
    return bool((np.diff(value.reshape(-1).astype(np.int64)) == 1).all())
