"""Every product of a compiled plan: its error spares the bits that are kept, by arithmetic of its own.

The bounds are worked out here once more, from the primes themselves, the weights' own norms and the steps
that follow, not by the functions that made the plan.
"""

from __future__ import annotations

from itertools import pairwise
from math import log, log2, prod, sqrt

import msgspec
import numpy as np
import pytest

from ppc.runtime.base.errors import BadPlan
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.product import Product
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.plan.file import decode
from ppc.runtime.plan.steps import (
    Add,
    Broadcast,
    Concat,
    Linear,
    MatMul,
    Rescale,
    Reshape,
    Slice,
    Sum,
    Take,
    TimesInteger,
    Transpose,
)

FAILURE = 40
"""No result of a product is further off than its bound, but with probability 2^-40."""
BINOMIAL = 10.5
"""Variance of a fresh error; none exceeds 21."""


LIGHT = [plan_product(1, 8, 16, 8, ell, he_seconds, norm_bits=norm) for ell in (12, 24) for norm in (0, 3)]
"""Products whose noise is mostly that of the encryption of zero."""


@pytest.fixture(scope="module")
def products(small) -> list[tuple[Product, float]]:
    """Each product of the plan with the largest norm that its server's side can have."""
    plan, weights = small.compiled.plan, small.compiled.weights
    found = []
    for step in plan.steps:
        if isinstance(step, Linear):
            found.append(
                (step.product, float(np.linalg.norm(weights[step.weight].astype(np.float64), axis=0).max()))
            )
        elif isinstance(step, MatMul):  # the server's side is a uniform mask
            found += [(made, 2.0 ** (made.ell - 1) * sqrt(made.k)) for made in step.products()]
    assert {type(step) for step in plan.steps} >= {Linear, MatMul}
    return [*found, *((product, 2.0**product.norm_bits) for product in LIGHT)]


def test_weights_keep_the_norm_that_the_plan_promises(products):
    for product, norm in products:
        assert norm <= 2.0**product.norm_bits * (1 + 1e-9), str(product)


def deviation(product: Product, norm: float) -> float:
    """A standard deviation that the error of a share has at most, in units, its bounded parts left out."""
    degree, meets = product.params.degree, product.tile.cols
    unit = prod(int(p) for p in product.params.primes) / 2.0**product.ell
    errors = (BINOMIAL + 1 / 6 + (4.0**product.drop / 12 if product.drop else 0)) * norm**2 * meets
    zero = (21**2 + BINOMIAL) * degree
    packing = (product.fill - 1) ** 2 * (degree + 1) / 12
    switch = degree / 12 * 4.0 ** (product.ell - product.answer_bits)
    return sqrt(errors + zero + packing) / unit + sqrt(switch)


def test_the_error_stays_below_what_the_plan_promises(products):
    for product, norm in products:
        results = product.batch * product.m * product.n
        tail = sqrt(2 * log(2) * (FAILURE + 1 + log2(results)))
        rounded = 1 + 0.5 * 2.0 ** (product.ell - product.result_bits)
        assert tail * deviation(product, norm) + rounded <= 2.0**product.spare * 1.01, str(product)


MOVES = (Reshape, Transpose, Broadcast, Slice, Take, Concat)


def bits_dropped(plan, at: int) -> float:
    """log2 of the error of value `at`, in its units, that is half a unit wherever something is dropped."""
    found = 64.0
    for i, step in enumerate(plan.steps):
        if at not in step.reads():
            continue
        form, out = plan.forms[at], plan.forms[i]
        if isinstance(step, Rescale) and form.num.scale > step.num.scale:
            bears = form.num.scale - step.num.scale - 1.0
        elif isinstance(step, (*MOVES, Rescale, Add)):
            bears = bits_dropped(plan, i)
        elif isinstance(step, TimesInteger):
            bears = bits_dropped(plan, i) - log2(abs(step.factor) or 1)
        elif isinstance(step, Sum):
            bears = bits_dropped(plan, i) - log2(prod(form.shape) / prod(out.shape))
        else:
            bears = 0.0
        found = min(found, bears)
    return found


def test_no_error_reaches_a_bit_that_is_kept(small):
    """At most half a unit of what the next rescaling keeps; two units where nothing is dropped."""
    plan, seen = small.compiled.plan, []
    for i, step in enumerate(plan.steps):
        if isinstance(step, Linear | MatMul):
            error = sum(2.0**product.spare for product in step.products())
            least = 2.0 * len(step.products())
            assert error <= max(least, 2.0 ** bits_dropped(plan, i)), str(step)
            seen.append(max(product.spare for product in step.products()))
    assert max(seen) >= 8


def test_a_plan_whose_errors_are_too_large_is_refused(small):
    """Errors are derived and not stored. A plan can promise smaller weights, which the server checks, or
    larger ones, for which there is no room."""
    plan = small.compiled.plan
    document = msgspec.msgpack.decode(plan.body)
    at = next(i for i, s in enumerate(document["steps"]) if s["step"] == "Linear")
    assert not {"drop", "noise", "answer_bits"} & set(document["steps"][at]["product"])
    document["steps"][at]["product"]["norm_bits"] = 60
    with pytest.raises(BadPlan, match="cannot carry a product"):
        decode(msgspec.msgpack.encode(document))


def test_the_sum_of_statistical_distances_is_small(products):
    """Ternary numbers, cut from words of 64 bits, are all that is not exactly as the proofs take it."""
    edges = [-(-(i << 64) // 3) for i in range(4)]  # words from one edge to the next become -1, 0, 1
    assert [(word * 3 >> 64) - 1 for edge in edges[1:3] for word in (edge - 1, edge)] == [-1, 0, 0, 1]
    distance = sum(abs(3 * (b - a) - 2**64) for a, b in pairwise(edges)) / 6 / 2.0**64
    assert 0 < distance <= 2.0**-64
    answers = sum(product.answer_ciphertexts * product.params.degree for product, _ in products)
    assert answers * distance <= 2.0**-40
    assert 4400 * 4096 * distance <= 2.0**-39  # of BERT-base, as docs/threat-model.md says
