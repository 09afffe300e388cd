"""Keys from correlated OTs: random OT of strings, by a tweakable correlation-robust hash.

The sender of COT number i gets k_0 = H(q_i, i) and k_1 = H(q_i ^ Delta, i), the receiver k_c = H(t_i, i).
H(x, i) = π(π(x) ^ i) ^ π(x): TMMO of Guo, Katz, Wang, Yu, "Efficient and secure multiparty computation from
fixed-key block ciphers" (S&P 2020, eprint 2019/074). Keys longer than 16 bytes continue with the tweaks
(i, 1), (i, 2), …: block j is π_j(π(x) ^ (i, j)) ^ π(x).

Each batch of 1024 COTs, those of one i >> 10, has a permutation π of its own, AES under a public key: block
number i >> 10 of AES in counter mode under blake2b(tag; person "ppc OT keys"), the tag being unique to
session and direction. Block j of its long keys has another, π_j, by block number j·2^64 + (i >> 10).

A receiver can test a guess of Delta wherever it knows the key K that it did not choose, as it does where it
knows or guesses what K masks: v = π(x) ^ i has π(v) ^ v = K ^ i, and gives Delta = π^-1(v ^ i) ^ t_i. Were
all keys made by one permutation, its value at v would be such a test for every i and j at once: 2^24 known
blocks, as of a large inference, would divide the work of 2^127 among them. With keys of their own, in the
ideal cipher model, a value under one key says nothing of other batches, nor of other blocks: it can only
meet x, or π(x) ^ (i, j), of 2^10 COTs. So the search above costs 2^127 / 2^10, and q evaluations, forth or
back, find Delta with probability at most q · 2^11 / 2^127, however many OTs, blocks, sessions and
connections there are. What remains is inside one batch: 10 bits of 127. Keys of one tag are distinct, being
blocks of one stream; those of two tags meet with 2^-128 a pair, and such a pair counts as one, of 2^11.

Nothing else is exposed in this way: the trees of `silent` have keys of their own likewise; other public
keys of AES (of the code in `silent`, of coefficients in `check`) meet counters only, and the rest of AES
has secret keys.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from .. import _ot
from ..base.prg import SEED_BYTES
from ..base.ring import Ring

Keys = NDArray[np.uint8]


def hash_tweak(tag: bytes) -> Keys:
    """The public key whose stream is the keys of all batches, uint8 (16,).

    Args:
        tag: what both know and no other session and direction has.
    """
    return np.frombuffer(blake2b(tag, digest_size=SEED_BYTES, person=b"ppc OT keys").digest(), np.uint8)


def sender_keys(blocks: Ring, delta: Ring, tweak: Keys, first: int, nbytes: int) -> tuple[Keys, Keys]:
    """Both keys of each COT, uint8 (n, nbytes).

    Args:
        blocks: the sender's blocks, uint64 (n, 2).
        delta: its correlation, uint64 (1, 2).
        tweak: what `hash_tweak` makes of the tag of their pool.
        first: the running index of the first of these COTs in its pool.
        nbytes: bytes a key, 1 to 2^26.
    """
    return _ot.sender_keys(blocks, delta, tweak, first, nbytes)


def receiver_keys(blocks: Ring, tweak: Keys, first: int, nbytes: int) -> Keys:
    """The chosen key of each COT, uint8 (n, nbytes); arguments as in `sender_keys`."""
    return _ot.receiver_keys(blocks, tweak, first, nbytes)


def choice_bits(blocks: Ring) -> Keys:
    """The receiver's random choices, uint8 (n,)."""
    return _ot.choice_bits(blocks)
