"""Whether every bit of b = b0 xor b1 is 0, told to the client and nothing else.

    h = H(b),  z = r·h in GF(2^64)        H linear and random, known to both; r uniform, the server's

z is 0 where all bits are. Else h is not 0 but for one time in 2^64, and then z is uniform: it tells the client that
one bit that it is meant to learn. r·h1 is a product of what each side knows, by correlated OT (Gilboa, CRYPTO 1999) of
a random x of the client's, made before there are bits.

    offline   server -> client   a seed of H, then k0 xor k1 xor r·X^i for each bit of x
    online    client -> server   h1 xor x                      8 bytes
              server -> client   r·(h0 xor h1 xor x) xor s     8 bytes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..base.prg import SEED_BYTES, Prg
from ..base.ring import Ring, known
from ..party.party import Party
from ..party.role import CLIENT, SERVER
from .booleans import Bits
from .random_ot import keyed_ot

BITS = 64
_REDUCED = 0b11011
"""X^64 = X^4 + X^3 + X + 1."""


@dataclass(frozen=True, repr=False)
class AllZeroMade:
    """``seed``, uint8 (16,), is H's. The server holds r and s, the client x and r·x xor s, uint64 (1,)."""

    TAG: ClassVar[str] = "all-zero"

    seed: Bits | None
    r: Ring | None = None
    s: Ring | None = None
    x: Ring | None = None
    rx: Ring | None = None


def all_zero_offline(p: Party) -> AllZeroMade:
    said = p.tell_bytes(SERVER, SEED_BYTES, lambda: p.prg.bytes(SEED_BYTES).data)
    ots = keyed_ot(p, SERVER, BITS, BITS // 8)
    if p.role is SERVER:
        (r,) = p.prg.ring(BITS, (1,))
        keys = [known(each).view("<u8")[:, 0] for each in (ots.k0, ots.k1)]
        turns = keys[0] ^ keys[1] ^ np.array([times(int(r), 1 << i) for i in range(BITS)], np.uint64)
        p.tell(SERVER, BITS, (BITS,), lambda: turns)
        s = np.bitwise_xor.reduce(keys[0], keepdims=True)
        return AllZeroMade(_seed(said), r=np.array([r], np.uint64), s=s)
    turned = p.tell(SERVER, BITS, (BITS,), lambda: known(None))
    if turned is None:
        return AllZeroMade(None)
    choice = known(ots.choice).astype(np.uint64)
    x = np.bitwise_or.reduce(choice << np.arange(BITS, dtype=np.uint64), keepdims=True)
    rx = np.bitwise_xor.reduce(known(ots.k).view("<u8")[:, 0] ^ choice * turned, keepdims=True)
    return AllZeroMade(_seed(said), x=x, rx=rx)


def all_zero(p: Party, bits: Bits | None, made: AllZeroMade) -> bool | None:
    """Whether ``bits``, this party's shares (n,) of 0 or 1, add up to nothing but 0; None at the server."""
    h = None if bits is None else _hashed(bits, known(made.seed))
    masked = p.tell(CLIENT, BITS, (1,), lambda: known(h) ^ known(made.x))

    def answer() -> Ring:
        product = times(int(known(made.r)[0]), int((known(h) ^ known(masked))[0]))
        return np.array([product], np.uint64) ^ known(made.s)

    z = p.tell(SERVER, BITS, (1,), answer)
    return p.each(client=lambda: bool((known(z) == known(made.rx))[0]))


def times(a: int, b: int) -> int:
    """The product in GF(2^64)."""
    product = 0
    for i in range(BITS):
        if b >> i & 1:
            product ^= a << i
    for i in range(2 * BITS - 2, BITS - 1, -1):
        if product >> i & 1:
            product ^= (1 << i) ^ (_REDUCED << (i - BITS))
    return product


def _seed(said: object) -> Bits:
    return np.frombuffer(memoryview(said), np.uint8).copy()  # type: ignore[arg-type]


def _hashed(bits: Bits, seed: Bits) -> Ring:
    """The sum of random words, one for each bit that is 1."""
    words = Prg(seed.tobytes()).ring(BITS, bits.shape)
    return np.bitwise_xor.reduce(words[bits.astype(bool)], keepdims=True)
