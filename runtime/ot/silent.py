"""Silent extension: millions of correlated OTs from a short message, by LPN over punctured GGM trees.

    sender -> receiver   for each tree and level: q ^ (XOR of the level's left children)

An iteration consumes K + T·depth COTs and makes N = T·2^depth. K of them are an LPN secret u (the sender has
v with t_u = v ^ u·Delta); T trees give N COTs whose choice vector e has one 1 in each run of 2^depth (regular
noise); the output is (A·v ^ q_e, A·u ^ e) for a public 10-local A. Ferret: Yang, Weng, Lan, Zhang, Wang (CCS
2020, eprint 2020/924), semi-honest. The trees are the correlated ones of Half-Tree (Guo and others, EUROCRYPT
2023, eprint 2022/1431), which halve its message; and since the choice bits are random anyway, they *are* the
paths to the noisy leaves, so the receiver corrects nothing and says nothing.

Each tree has a permutation of its own, AES under a public key: block number ``tree`` of AES in counter mode
under blake2b(tag, iteration, set; person "ppc GGM trees"). A receiver can test a guess of Delta wherever it
knows a node but for Delta, and a child of it: at the depth - 1 inner levels of each tree. Were all trees
grown by one permutation pi, its value at s would be, for each such node, of which k is known, a test of the
guess Delta = k ^ sigma^-1(s): the 2^20 nodes of a large inference would divide the work of 2^127 among them.
With a key a tree, in the ideal cipher model, a value under one tree's key says nothing of other trees: q
evaluations find Delta with probability at most q * (depth - 1) / 2^127, however many trees, iterations and
sessions there are. What remains is inside one tree: at most 11 levels, 3.5 bits of 127. Keys of one
iteration are distinct, being blocks of one stream; those of two iterations meet with 2^-128 a pair, and such
a pair counts as one tree.

Parameters: those of emp-ot (github.com/emp-toolkit/emp-ot, emp-ot/tuning.h, commit 558388f), chosen there
for 128 bits against the published attacks on regular noise (Gauss, SD and ISD, BJMM, hybrid, Esser, AGB 2.0;
the hybrid binds), by the estimator of Liu, Wang, Yang, Yu, "The hardness of LPN over any integer ring and
field for PCG applications" (eprint 2022/712). Ferret's own table, e.g. N = 10485760, T = 1280, K = 452000,
is older than the algebraic attacks (Briaud and Øygarden, eprint 2023/176; AGB 2.0, eprint 2025/1476) and is
not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from .. import _ot
from ..base.prg import SEED_BYTES
from ..base.ring import Ring, known
from ..base.wire import Buffer
from ..party.party import Party
from ..party.role import Role
from .check import BLOCK, GROUP, MASKED_SIZE, VERDICT_SIZE, challenge, check_leaves


@dataclass(frozen=True)
class Lpn:
    """One LPN parameter set: ``trees`` noisy positions, a secret of 2^log_secret, runs of 2^depth."""

    name: str
    trees: int
    log_secret: int
    depth: int

    @property
    def secret(self) -> int:
        """K."""
        return 1 << self.log_secret

    @property
    def made(self) -> int:
        """N: COTs that an iteration makes."""
        return self.trees << self.depth

    @property
    def spent(self) -> int:
        """COTs that an iteration consumes."""
        return self.secret + self.trees * self.depth

    @property
    def message_size(self) -> int:
        """Bytes that the COT sender says in an iteration."""
        return BLOCK * self.trees * self.depth

    def spends(self, check: bool) -> int:
        """COTs that an iteration consumes, its check included."""
        return self.spent + GROUP * check

    def says(self, check: bool) -> int:
        """Bytes of an iteration's message, or of its three with a check."""
        return self.message_size + (MASKED_SIZE + VERDICT_SIZE) * check


B10 = Lpn("b10", trees=850, log_secret=16, depth=10)
B11 = Lpn("b11", trees=1170, log_secret=17, depth=11)
B12 = Lpn("b12", trees=1520, log_secret=18, depth=12)
SETS = {lpn.name: lpn for lpn in (B10, B11, B12)}


class Silent:
    """Iterations for one direction; they share the sender's Delta with the extension that starts them.

    Args:
        sender: who holds Delta.
        delta: Delta at the sender, uint64 (1, 2); None at the receiver and while pricing.
        tag: 16 bytes both know, unique to the session; it names what is public. None while pricing.
        check: the receiver checks each iteration.
        iterations: that were made under this tag already.
    """

    def __init__(
        self,
        sender: Role,
        delta: Ring | None,
        tag: bytes | None,
        *,
        check: bool = False,
        iterations: int = 0,
    ) -> None:
        self.sender = sender
        self._check = check
        self._delta = delta
        self._tag = tag
        self._iteration = iterations

    def __repr__(self) -> str:
        return f"Silent(sender={self.sender.value}, {self._iteration} iterations)"

    @property
    def iterations(self) -> int:
        """That were made."""
        return self._iteration

    def extend(self, p: Party, lpn: Lpn, spend: Ring | None) -> Ring | None:
        """Turn ``spend``, uint64 (lpn.spends(check), 2), into uint64 (lpn.made, 2); None while pricing.

        The blocks spent must never be used for anything else.

        Raises PeerDeviates at the receiver where it checks; nothing made here may be used then.
        """
        wanted = lpn.spends(self._check)
        if spend is not None and len(spend) != wanted:
            raise ValueError(f"{lpn.name} spends {wanted} COTs an iteration, not {len(spend)}")
        self._iteration += 1
        sent = p.alone(self.sender, lambda: self._grow(p, lpn, known(spend)))
        said = p.tell_bytes(self.sender, lpn.message_size, lambda: known(sent)[0].data)
        leaves = sent[1] if sent is not None else self._heard(lpn, spend, said)
        if self._check:
            seed = p.both(lambda: challenge(b"ppc GGM check", known(self._tag), self._iteration, said))
            mask = None if spend is None else spend[lpn.spent :]
            check_leaves(p, self.sender, seed, self._delta, leaves, lpn.depth, mask)
        if leaves is not None:
            _ot.lpn_encode(self._matrix(lpn), known(spend)[: lpn.secret], leaves)
        return leaves

    def _grow(self, p: Party, lpn: Lpn, spend: Ring) -> tuple[_ot.Bytes, Ring]:
        """The sender's trees: the sums that it says, and its leaves."""
        path, seed = spend[lpn.secret : lpn.spent], p.prg.bytes(SEED_BYTES)
        return _ot.ggm_send(seed, self._tweak(lpn), known(self._delta), path, lpn.trees, lpn.depth)

    def _heard(self, lpn: Lpn, spend: Ring | None, said: Buffer | None) -> Ring | None:
        """The receiver's leaves."""
        if spend is None or said is None:
            return None
        path, sums = spend[lpn.secret : lpn.spent], np.frombuffer(said, np.uint8)
        return _ot.ggm_receive(self._tweak(lpn), path, sums, lpn.trees, lpn.depth)

    def _matrix(self, lpn: Lpn) -> _ot.Bytes:
        """The public seed of this iteration's code."""
        return self._public(b"ppc LPN code", lpn)

    def _tweak(self, lpn: Lpn) -> _ot.Bytes:
        """The public key whose stream is the keys of this iteration's trees."""
        return self._public(b"ppc GGM trees", lpn)

    def _public(self, person: bytes, lpn: Lpn) -> _ot.Bytes:
        """16 bytes that both know and no other iteration or session has."""
        name = (self._tag or b"") + self._iteration.to_bytes(8, "little") + lpn.name.encode()
        return np.frombuffer(blake2b(name, digest_size=SEED_BYTES, person=person).digest(), np.uint8)
