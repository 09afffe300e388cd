"""Keys from correlated OTs: random OT of strings, by a tweakable correlation-robust hash.

The sender of COT number i gets k_0 = H(q_i, i) and k_1 = H(q_i ^ Delta, i), the receiver k_c = H(t_i, i).
H(x, i) = π(π(x) ^ i) ^ π(x), with π AES under a fixed public key: TMMO of Guo, Katz, Wang, Yu, "Efficient
and secure multiparty computation from fixed-key block ciphers" (S&P 2020, eprint 2019/074). Keys longer than
16 bytes continue with the tweaks (i, 1), (i, 2), ….
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _ot
from ..base.ring import Ring

Keys = NDArray[np.uint8]


def sender_keys(blocks: Ring, delta: Ring, first: int, nbytes: int) -> tuple[Keys, Keys]:
    """Both keys of each COT, uint8 (n, nbytes).

    Args:
        blocks: the sender's blocks, uint64 (n, 2).
        delta: its correlation, uint64 (1, 2).
        first: the running index of the first of these COTs in its pool.
        nbytes: bytes a key, 1 to 2^26.
    """
    return _ot.sender_keys(blocks, delta, first, nbytes)


def receiver_keys(blocks: Ring, first: int, nbytes: int) -> Keys:
    """The chosen key of each COT, uint8 (n, nbytes); arguments as in `sender_keys`."""
    return _ot.receiver_keys(blocks, first, nbytes)


def choice_bits(blocks: Ring) -> Keys:
    """The receiver's random choices, uint8 (n,)."""
    return _ot.choice_bits(blocks)
