"""Whether every bit of b = b0 xor b1 is 0, group by group, told to the client and nothing else.

    h = H(b),  z = r·h in GF(2^64)        H linear and random, known to both; r uniform, the server's

z is 0 where all bits are. Else h is not 0 but for one time in 2^64, and then z is uniform: it tells the
client that one bit that it is meant to learn. r·h1 is a product of what each side knows, by correlated OT
(Gilboa, CRYPTO 1999) of a random x of the client's, made before there are bits. Every group has an r and an x
of its own.

    offline   server -> client   a seed of H, then k0 xor k1 xor r·X^i for each bit of x
    online    client -> server   h1 xor x                      8 bytes a group
              server -> client   r·(h0 xor h1 xor x) xor s     8 bytes a group
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..base.prg import SEED_BYTES, Prg
from ..base.ring import Ring, known
from ..party.party import Party
from ..party.role import CLIENT, SERVER
from .booleans import Bits
from .random_ot import keyed_ot

BITS = 64
_X64 = np.uint64(0b11011)
"""X^64 = X^4 + X^3 + X + 1."""


@dataclass(frozen=True, repr=False)
class AllZeroMade:
    """``seed``, uint8 (16,), is H's. The server holds r and s, the client x and r·x xor s, uint64
    (groups,)."""

    TAG: ClassVar[str] = "all-zero"

    seed: Bits | None = None
    r: Ring | None = None
    s: Ring | None = None
    x: Ring | None = None
    rx: Ring | None = None


def all_zero_offline(p: Party, groups: int) -> AllZeroMade:
    said = p.tell_bytes(SERVER, SEED_BYTES, lambda: p.prg.bytes(SEED_BYTES).data)
    seed = None if said is None else np.frombuffer(said, np.uint8).copy()
    ots = keyed_ot(p, SERVER, groups * BITS, BITS // 8)

    def words(keys: Bits | None) -> Ring:
        return known(keys).view("<u8").astype(np.uint64).reshape(groups, BITS)

    r = p.each(server=lambda: p.prg.ring(BITS, (groups,)))
    powers = np.uint64(1) << np.arange(BITS, dtype=np.uint64)
    turned = p.tell(
        SERVER,
        BITS,
        (groups, BITS),
        lambda: words(ots.k0) ^ words(ots.k1) ^ times(known(r)[:, None], powers[None]),
    )
    if p.role is SERVER:
        return AllZeroMade(seed, r=r, s=np.bitwise_xor.reduce(words(ots.k0), axis=1))
    if p.role is CLIENT:
        choice = known(ots.choice).astype(np.uint64).reshape(groups, BITS)
        rx = np.bitwise_xor.reduce(words(ots.k) ^ choice * known(turned), axis=1)
        return AllZeroMade(seed, x=np.bitwise_or.reduce(choice * powers, axis=1), rx=rx)
    return AllZeroMade()


def all_zero(p: Party, bits: Sequence[Bits | None], made: AllZeroMade) -> NDArray[np.bool_] | None:
    """Of each group whether ``bits``, this party's shares (n,) of 0 or 1, add up to nothing but 0, at the
    client."""
    groups = len(bits)
    h = p.both(lambda: _hashed([known(each) for each in bits], known(made.seed)))
    masked = p.tell(CLIENT, BITS, (groups,), lambda: known(h) ^ known(made.x))
    z = p.tell(
        SERVER, BITS, (groups,), lambda: times(known(made.r), known(h) ^ known(masked)) ^ known(made.s)
    )
    return p.each(client=lambda: np.asarray(known(z) == known(made.rx)))


def times(a: Ring, b: Ring) -> Ring:
    """Products in GF(2^64), of a polynomial's coefficients from the lowest bit up."""
    product = np.zeros(np.broadcast_shapes(a.shape, b.shape), np.uint64)
    one, top = np.uint64(1), np.uint64(BITS - 1)
    for i in reversed(range(BITS)):
        product = (product << one) ^ (product >> top) * _X64 ^ (b >> np.uint64(i) & one) * a
    return product


def _hashed(bits: Sequence[Bits], seed: Bits) -> Ring:
    """Of each group the sum of random words, one for each bit that is 1."""
    prg = Prg(seed.tobytes())
    found = [np.bitwise_xor.reduce(prg.ring(BITS, each.shape)[each.astype(bool)], axis=0) for each in bits]
    return np.array(found, np.uint64)
