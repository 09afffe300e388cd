"""Parameter sets of the homomorphic layer: degrees and primes, and what makes them secure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

import seal

SECURITY = seal.sec_level_type.tc128

MOST_BITS = {2048: 53, 4096: 106, 8192: 214}
"""Bits of all primes together at which ternary secrets with errors of deviation 3.19 still cost 2^128 by the
lattice estimator, classical attacks: the table of "Security Guidelines for Implementing Homomorphic
Encryption" (eprint 2024/463). SEAL's own check, HomomorphicEncryption.org's of 2018, is 1 to 4 bits wider."""

PRIME_BITS = range(24, 49)
"""What the native kernels carry, and more than a few primes have."""


@dataclass(frozen=True)
class HeParams:
    """N and the sizes of the primes of q; ``special_bits`` is that of a prime that only key switching uses.

    With ``pack_levels`` the public key brings switching keys, modulo q times the special prime, which pack
    answers whose tiles have an inner axis of up to 2^pack_levels.
    """

    degree: int
    data_bits: tuple[int, ...]
    special_bits: int = 0
    pack_levels: int = 0

    def __str__(self) -> str:
        packing = ", packing" if self.pack_levels else ""
        return f"N={self.degree}, q of {sum(self.data_bits)} bits{packing}"

    def __post_init__(self) -> None:
        if not 0 <= self.pack_levels < self.degree.bit_length():
            raise ValueError(f"keys for {self.pack_levels} levels of packing at N = {self.degree}")
        if bool(self.pack_levels) != bool(self.special_bits):
            raise ValueError("there is a special prime just where there are switching keys")

    def packing(self, levels: int) -> HeParams:
        """The same q, with switching keys for so many levels, or none."""
        return replace(self, pack_levels=levels, special_bits=max(self.data_bits) if levels else 0)

    @property
    def chain(self) -> tuple[int, ...]:
        return (*self.data_bits, *([self.special_bits] if self.special_bits else []))

    @property
    def all_primes(self) -> tuple[int, ...]:
        """The primes of q, and the special one if any. Raises ValueError if they are not secure."""
        return _primes(self.degree, self.chain, bool(self.special_bits))

    @property
    def primes(self) -> tuple[int, ...]:
        """The primes of q."""
        return self.all_primes[: len(self.data_bits)]

    @property
    def q(self) -> int:
        return _modulus(self)

    @property
    def margin(self) -> int:
        """Bits that the chain stays below `MOST_BITS`."""
        return MOST_BITS[self.degree] - sum(self.chain)

    @property
    def pack_keys(self) -> int:
        """Switching-key ciphertexts in the public key: one a level and prime of q."""
        return self.pack_levels * len(self.data_bits)

    @property
    def key_residues(self) -> int:
        """Coefficients modulo one prime in the public key, c1 not counted."""
        return self.degree * (len(self.data_bits) + self.pack_keys * len(self.chain))


PARAMETER_SETS = (
    HeParams(2048, (38,)),
    HeParams(2048, (43,)),
    HeParams(2048, (48,)),
    HeParams(2048, (26, 25)),
    HeParams(4096, (38,)),
    HeParams(4096, (41,)),
    HeParams(4096, (43,)),
    HeParams(4096, (48,)),
    HeParams(4096, (28, 27)),
    HeParams(4096, (32, 31)),
    HeParams(4096, (35, 34)),
    HeParams(4096, (41, 38)),
    HeParams(4096, (48, 47)),
    HeParams(8192, (46, 46)),
    HeParams(8192, (44, 43, 41)),
)
"""What plans choose from."""

MOST_LEVELS = 7
"""Of packing where there are many rows, whose columns fill a tile with shorter inner axes."""

DEEPEST = 11
"""Where there are few: 2^11 numbers of one row take one upload of N = 4096, not sixteen, and the answers, of
two columns each, travel in one or two."""


def _packing(levels: int) -> tuple[HeParams, ...]:
    """The sets that have room for a special prime, with switching keys."""
    return tuple(
        params.packing(levels)
        for params in PARAMETER_SETS
        if sum(params.data_bits) + max(params.data_bits) <= MOST_BITS[params.degree]
    )


PACKING_SETS = _packing(MOST_LEVELS)
"""The same with switching keys, up to 0.8 MB a set at N = 4096: for plans in which answers outweigh that."""

DEEP_SETS = _packing(DEEPEST)
"""And with keys up to 1.2 MB, for those of few rows, in which uploads do."""


def context(params: HeParams, plain_bits: int = 20) -> seal.SEALContext:
    """A checked SEAL context. The secret and public keys do not depend on the plaintext modulus."""
    return _context(params.degree, params.all_primes, plain_bits)


def _context(degree: int, primes: tuple[int, ...], plain_bits: int) -> seal.SEALContext:
    parms = seal.EncryptionParameters(seal.scheme_type.bfv)
    parms.set_poly_modulus_degree(degree)
    parms.set_coeff_modulus([seal.Modulus(p) for p in primes])
    parms.set_plain_modulus(1 << plain_bits)
    made = seal.SEALContext(parms, True, SECURITY)
    if not made.parameters_set():
        raise ValueError(f"N = {degree} with primes {primes} refused: {made.parameter_error_message()}")
    return made


@lru_cache(maxsize=64)
def _modulus(params: HeParams) -> int:
    return prod(params.primes)


@lru_cache(maxsize=64)
def _primes(degree: int, chain: tuple[int, ...], special: bool) -> tuple[int, ...]:
    if not 1 <= len(chain) - special <= 4 or not all(bits in PRIME_BITS for bits in chain):
        raise ValueError(
            f"q is a product of 1 to 4 primes of {PRIME_BITS[0]} to {PRIME_BITS[-1]} bits, not {chain}"
        )
    if sum(chain) > MOST_BITS.get(degree, 0):
        raise ValueError(
            f"a chain of {sum(chain)} bits at N = {degree} has no security of 128 bits: "
            f"the most are {MOST_BITS.get(degree, 0)}"
        )
    taken: list[int] = []
    for bits in chain:
        taken.append(next(p for p in _ranked(bits, degree) if p not in taken))
    _context(degree, tuple(taken), 20)
    return tuple(taken)


def _ranked(bits: int, degree: int) -> Iterator[int]:
    """Primes p of so many bits, those first whose p - 1 has the most factors 2.

    Where q = 1 mod 2^ell an upload's plaintexts are uniform at the least cost (`_he.upload`).
    """
    for twos in range(bits - 1, degree.bit_length() - 1, -1):
        for odd in range((1 << bits - twos) - 1, 1 << bits - twos - 1, -2):
            p = (odd << twos) + 1
            if seal.Modulus(p).is_prime():
                yield p


@lru_cache(maxsize=16)
def reading_primes(degree: int, bits: int) -> tuple[int, ...]:
    """Primes whose product holds c1·s over the integers, |c1| <= 2^(bits-1) and s ternary: one or two."""
    found = _ranked(PRIME_BITS[-1], degree)
    first = next(found)
    return (first,) if first > degree << bits else (first, next(found))
