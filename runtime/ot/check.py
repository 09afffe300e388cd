"""Checks of OT extension against a peer that deviates; on request (`--check-ot`).

Columns (IKNP). The sender of COTs checks that all columns of the receiver carry the same choice bits.

    receiver -> sender   h(column j of its blocks), j = 0 … 127        128·16 bytes, with the columns

h is the sum of chi_g·(group g of the column) in GF(2^128), a group being 128 bits. The chi_g are the key
stream of AES under a hash of the columns as they were sent, so that nobody asks for them and no flight is
added. The last group is 128 random OTs more, with the coefficient 1: it masks the others, and is thrown
away. Column 0 is the choice bits c; the sender's column j is q_j = t_j ^ Delta_j·c, and it checks h(q_j) =
h(t_j) ^ Delta_j·h(c).

This is the check of Keller, Orsini and Scholl (CRYPTO 2015, eprint 2015/546) as they have had it since 2022,
column by column. Their first one, x = sum chi_j·c_j and t = sum chi_j·t_j over whole rows, says 2 kB less,
but its proof rests on a lemma that Roy has shown false (SoftSpokenOT, CRYPTO 2022, eprint 2022/192; this is
the check proved there, with one bit a column). Where d columns carry other bits than the rest, the receiver
passes only if it has guessed Delta's bits at all d of them, with probability 2^-d, and then knows these and
nothing else of Delta; otherwise the sender ends the connection, and the next has another Delta. That two
columns that differ have equal hashes happens with 2^-115 for each message that a receiver tries beforehand,
in the random oracle model.

Leaves (silent). The receiver checks that the trees were grown with Delta and are as the sender has said.

    receiver -> sender   x' = x + sum of chi_i·u_i                     16 bytes
    sender -> receiver   H(Y + x'·Delta + sum of chi_i·v_i)            32 bytes

v are the sender's leaves and w = v + u·Delta the receiver's, u having one 1 a tree. The iteration spends 128
COTs more: x is their choice bits as one element, and Y at the sender, Y + x·Delta at the receiver the same
sum of their blocks. x masks what is said of the holes. The receiver compares with H(Y + x·Delta + sum of
chi_i·w_i). From Ferret (Yang, Weng, Lan, Zhang, Wang, CCS 2020, eprint 2020/924, the malicious protocol),
for the trees of Half-Tree (eprint 2022/1431). chi_i is the product of a coefficient of the tree and one of
the leaf's place; all come from a hash of the iteration's message.

What is left to a sender is to guess: sums that are wrong pass where they happen to fit the holes that the
receiver has. A guess that holds with probability p passes with p, and then tells -log2 p bits of the holes,
one bit on average over all that it may try; a wrong one ends the connection, and the next has other holes.
LPN is assumed to stand that, as in Ferret. A receiver that says another x' gets a hash of what it knows plus
a multiple of Delta, against which it can test guesses of Delta, at 2^127.

Neither is a check of base OTs, nor of what protocols do with the COTs.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest

import numpy as np

from .. import _ot
from ..base.errors import PeerDeviates
from ..base.prg import SEED_BYTES
from ..base.ring import Ring, known
from ..base.wire import Buffer
from ..party.party import Party
from ..party.role import Role

BLOCK = 16
GROUP = 128
"""OTs that a check spends: a group more of IKNP's, and so many of what a silent iteration takes."""

COLUMNS_SIZE = GROUP * BLOCK
MASKED_SIZE, VERDICT_SIZE = BLOCK, 32

_POWERS = np.packbits(np.eye(GROUP, dtype=np.uint8), axis=1, bitorder="little").view("<u8").astype(np.uint64)


def challenge(person: bytes, tag: bytes, number: int, said: Buffer | None) -> _ot.Bytes:
    """The public seed of a check's coefficients: 16 bytes of a hash of what was ``said``, and where."""
    state = blake2b(tag + number.to_bytes(8, "little"), digest_size=SEED_BYTES, person=person)
    state.update(_heard(said))
    return np.frombuffer(state.digest(), np.uint8)


def check_columns(
    p: Party, sender: Role, seed: _ot.Bytes | None, delta: Ring | None, rows: Ring | None
) -> None:
    """One message from the receiver. All but ``p`` and ``sender`` are None while pricing.

    Args:
        seed: the challenge, 16 bytes.
        delta: the sender's, uint64 (1, 2).
        rows: a party's blocks of an extension, uint64 (128·groups, 2); the last group is the mask.

    Raises:
        PeerDeviates: at the sender.
    """
    hashes = p.both(lambda: _ot.column_hashes(known(seed), known(rows)))
    said = p.tell_bytes(sender.other, COLUMNS_SIZE, lambda: known(hashes).data)
    if said is None or p.role is not sender:
        return
    theirs = _blocks(said)
    bits = np.unpackbits(known(delta).view(np.uint8), bitorder="little").astype(np.uint64)
    expected = theirs ^ bits.reshape(GROUP, 1) * theirs[:1]
    if not compare_digest(known(hashes).tobytes(), expected.tobytes()):
        raise PeerDeviates("the peer's OT extension fails its check: not all columns carry the same choices")


def check_leaves(
    p: Party,
    sender: Role,
    seed: _ot.Bytes | None,
    delta: Ring | None,
    leaves: Ring | None,
    depth: int,
    mask: Ring | None,
) -> None:
    """Two messages, first from the receiver; otherwise as `check_columns`.

    Args:
        leaves: of an iteration's trees, uint64 (trees·2^depth, 2).
        mask: 128 COTs that are used for nothing else, uint64 (128, 2).

    Raises:
        PeerDeviates: at the receiver.
    """
    sums = p.both(lambda: _ot.leaf_sums(known(seed), known(leaves), len(known(leaves)) >> depth, depth))
    packed = p.both(lambda: _ot.gf_dot(_POWERS, known(mask)))
    said = p.tell_bytes(sender.other, MASKED_SIZE, lambda: (known(sums)[1] ^ _choices(known(mask))).data)
    shift = p.alone(sender, lambda: _ot.gf_dot(_blocks(said), known(delta)))
    mine = p.both(lambda: _verdict(known(seed), known(sums)[0] ^ known(packed), shift))
    verdict = p.tell_bytes(sender, VERDICT_SIZE, lambda: known(mine))
    if mine is not None and verdict is not None and not compare_digest(mine, verdict):
        raise PeerDeviates("the peer's OT extension fails its check: its trees are not of one correlation")


def _heard(said: Buffer | None) -> Buffer:
    if said is None:
        raise AssertionError("a priced program hears nothing")
    return said


def _blocks(said: Buffer | None) -> Ring:
    return np.frombuffer(_heard(said), "<u8").astype(np.uint64).reshape(-1, 2)


def _choices(cots: Ring) -> Ring:
    """The choice bits of 128 COTs as one block."""
    return _blocks(np.packbits(_ot.choice_bits(cots), bitorder="little").tobytes())


def _verdict(seed: _ot.Bytes, total: Ring, shift: Ring | None) -> bytes:
    whole = total if shift is None else total ^ shift
    return blake2b(
        seed.tobytes() + whole.tobytes(), digest_size=VERDICT_SIZE, person=b"ppc GGM verdict"
    ).digest()
