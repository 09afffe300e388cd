"""What a party gains that deviates where nothing is checked, as docs/threat-model.md has it."""

from __future__ import annotations

import numpy as np

from ppc.runtime.base.ring import Fixed, Ring
from ppc.runtime.base.share import Share
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.party.party import Party, together
from ppc.runtime.party.role import CLIENT
from ppc.runtime.protocols import matmul as products
from ppc.runtime.session.engines import standard

NUM = Fixed(28, 8)
M, K, N = 3, 6, 5
PRODUCT = plan_product(1, M, K, N, NUM.bits, he_seconds, spare=4, norm_bits=10)
DELTA = 1 << 12


def opened(weight: np.ndarray, x: np.ndarray, shift: Ring) -> np.ndarray:
    """x @ W as it is revealed to a client that adds `shift` to its opening."""

    def program(p: Party) -> Share:
        p.linear.plan([PRODUCT])
        made = products.linear_offline(p, products.linear_begin(p, PRODUCT, weight))
        client = x.astype(np.int64).view(np.uint64) + shift
        mine = client if p.role is CLIENT else np.zeros(x.shape, np.uint64)
        return products.linear(p, Share(NUM, x.shape, NUM.wrap(mine)), N, 6, weight, made)

    server, client, _ = together(program, standard)
    return server.num.signed(server.num.wrap(server.ring + client.ring))


def test_a_shifted_opening_adds_a_row_of_the_weights():
    """Two inferences, and a row of the last matrix is known; nothing of it shows at the server."""
    rng = np.random.default_rng(3)
    weight, x = rng.integers(-200, 200, (K, N)), rng.integers(-500, 500, (1, M, K))
    shift = np.zeros((1, M, K), np.uint64)
    shift[0, 0, 4] = DELTA
    more = opened(weight, x, shift) - opened(weight, x, np.zeros_like(shift))
    assert np.array_equal(np.rint(more[0, 0] / DELTA), weight[4])
    assert np.abs(more[0, 1:]).max() <= 2 * 2**PRODUCT.spare
