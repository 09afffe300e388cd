"""Every product of a compiled plan: its noise drowns in the flooding, the flooding fits, by exact arithmetic.

The bounds are worked out here once more, from the primes themselves and the weights' own norms, not by the
functions that made the plan.
"""

from __future__ import annotations

import math
from math import log, log2, prod, sqrt

import msgspec
import numpy as np
import pytest

from ppc.runtime.base.errors import BadPlan
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.product import Product
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.plan.file import decode
from ppc.runtime.plan.steps import Linear, MatMul

SIGMA = 40
"""Statistical security of the flooding, in bits."""
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


def own_noise(product: Product, norm: float) -> float:
    """A bound on the noise of an answer before flooding that fails with probability 2^-41 at most."""
    meets, degree, results = product.tile.cols, product.params.degree, product.batch * product.m * product.n
    errors = (BINOMIAL + 0.25) * norm**2 * meets
    zero = (21**2 + BINOMIAL) * degree + BINOMIAL  # e·u + e1 + e2·s of the encryption of zero
    tail = sqrt(2 * log(2 * results * 2.0 ** (SIGMA + 1)))
    return tail * sqrt(errors + zero)


def test_weights_keep_the_norm_that_the_plan_promises(products):
    for product, norm in products:
        assert norm <= 2.0**product.norm_bits * (1 + 1e-9), str(product)


def test_flooding_is_forty_bits_above_the_noise(products):
    for product, norm in products:
        assert product.flood_bits - product.noise_bits >= SIGMA
        assert product.flood_bits - log2(own_noise(product, norm)) >= SIGMA - 0.01, str(product)


def test_flooded_answers_still_decrypt(products):
    """noise + flooding < q / 2^(ell+1), in whole numbers."""
    for product, _ in products:
        q = prod(int(p) for p in product.params.primes)
        assert 2 ** (product.ell + 1) * (2**product.noise_bits + 2**product.flood_bits) < q, str(product)


def test_switched_answers_still_decrypt(products):
    """What is left at the modulus 2^b, with the rounding of c1 times a ternary key, is below 2^(b-ell-1)."""
    for product, _ in products:
        q = prod(int(p) for p in product.params.primes)
        scaled = (2.0**product.noise_bits + 2.0**product.flood_bits) * 2.0**product.answer_bits / q
        results = product.batch * product.m * product.n
        rounding = 0.5 * 2.0 ** (product.answer_bits - product.result_bits)
        rounding += 0.5 * sqrt(2 * log(2 * results * 2.0**SIGMA) * product.params.degree)
        assert scaled + rounding < 2.0 ** (product.answer_bits - product.ell - 1), str(product)


def test_the_answer_modulus_shows_no_more_than_it_must(products):
    """The flooding reaches the answer's lowest bits: switching down does not cut it off above the noise."""
    for product, norm in products:
        q = prod(int(p) for p in product.params.primes)
        assert own_noise(product, norm) * 2.0**product.answer_bits / q < 1, str(product)


def test_a_plan_that_floods_too_little_is_refused(small):
    """Sizes of noise are derived and not stored. A plan can promise smaller weights, which the server checks,
    or larger ones, for which there is no room."""
    plan = small.compiled.plan
    document = msgspec.msgpack.decode(plan.body)
    at = next(i for i, s in enumerate(document["steps"]) if s["step"] == "Linear")
    assert not {"flood_bits", "noise_bits", "answer_bits"} & set(document["steps"][at]["product"])
    document["steps"][at]["product"]["norm_bits"] = 60
    with pytest.raises(BadPlan, match="cannot carry a product"):
        decode(msgspec.msgpack.encode(document))


def test_the_sum_of_statistical_distances_is_small(products):
    """All flooded coefficients of an inference together: at most 2^-40 · results."""
    results = sum(p.batch * p.m * p.n for p, _ in products)
    distance = math.fsum(p.batch * p.m * p.n * own_noise(p, norm) / 2.0**p.flood_bits for p, norm in products)
    assert distance <= results * 2.0**-SIGMA
