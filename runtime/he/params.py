"""Parameter sets of the homomorphic layer and the proved bound on its noise.

All bounds hold except with probability 2^-41 over *all* result coefficients of a product: every noise term
below is sub-Gaussian, and a sub-Gaussian variable of proxy variance v exceeds ``tail·√v`` with probability
at most 2·exp(-tail²/2) (Hoeffding). ``tail`` is chosen for the union over the coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, log, log2, prod, sqrt

import seal

STATISTICAL_BITS = 40
SECURITY = seal.sec_level_type.tc128

_ERROR_VARIANCE = 10.5
"""Of SEAL's centred binomial of 2·21 bits; as a sum of 42 centred bits its proxy is its variance."""
_ERROR_MAX = 21
_ROUNDING_PROXY = 0.25
"""A rounding error lies in an interval of length 1 (Hoeffding's lemma)."""
_SWITCH_ROUNDING = 0.5 + 2.0**-8
"""One rounding to the answer's modulus, with what the 64-bit fractions of the switch add."""


@dataclass(frozen=True)
class HeParams:
    """N and the sizes of the primes of q; ``special_bits`` is SEAL's key-switching prime, if any.

    Only the data primes appear in ciphertexts. The special prime is counted in the security check.
    With ``pack_levels`` the public key brings switching keys that pack answers whose tiles have an inner
    axis of up to 2^pack_levels. Packing comes after flooding; it keeps all data primes but the last, q',
    and uses that one to switch keys.
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

    @property
    def chain(self) -> list[int]:
        return [*self.data_bits, *([self.special_bits] if self.special_bits else [])]

    @property
    def primes(self) -> tuple[int, ...]:
        """The data primes. Raises ValueError if this set is not secure at 128 bits."""
        return _primes(self.degree, self.data_bits, self.special_bits)

    @property
    def kept(self) -> tuple[int, ...]:
        """The primes of q'."""
        return self.primes[:-1]

    @property
    def gadget(self) -> tuple[int, int]:
        """Digits a kept prime is cut into for key switching, and their bits."""
        return (2, 24) if len(self.data_bits) == 2 else (1, 48)

    @property
    def pack_keys(self) -> int:
        """Switching-key ciphertexts in the public key."""
        return self.pack_levels * self.gadget[0] * (len(self.data_bits) - 1)

    @property
    def log_q(self) -> float:
        return sum(log2(p) for p in self.primes)


PARAMETER_SETS = (
    HeParams(4096, (36, 36), 17),
    HeParams(4096, (40, 39), 17),
    HeParams(4096, (43, 43), 17),
    HeParams(4096, (47, 46), 16),
    HeParams(4096, (48, 48)),
    HeParams(4096, (37, 36, 36)),
    HeParams(8192, (39, 39, 39), 17),
    HeParams(8192, (42, 42, 42), 17),
    HeParams(8192, (46, 46, 46), 17),
    HeParams(8192, (38, 38, 38, 38), 17),
    HeParams(8192, (42, 42, 42, 42), 17),
)
"""What plans choose from, by rising bytes an element. All but two leave SEAL a special prime, so that its own
decryptor reads fresh ciphertexts; at N = 4096 those two use the bits it would take."""

PACKING_SETS = tuple(replace(params, pack_levels=7) for params in PARAMETER_SETS)
"""The same with switching keys, some 0.7 MB a set at N = 4096: for plans in which answers outweigh that."""


def context(params: HeParams, plain_bits: int = 20) -> seal.SEALContext:
    """A checked SEAL context. The secret and public keys do not depend on the plaintext modulus."""
    parms = seal.EncryptionParameters(seal.scheme_type.bfv)
    parms.set_poly_modulus_degree(params.degree)
    try:
        parms.set_coeff_modulus(seal.CoeffModulus.Create(params.degree, params.chain))
    except Exception as fault:
        raise ValueError(f"no primes for {params}: {fault}") from None
    parms.set_plain_modulus(1 << plain_bits)
    made = seal.SEALContext(parms, True, SECURITY)
    if not made.parameters_set():
        raise ValueError(f"{params} refused: {made.parameter_error_message()}")
    return made


@lru_cache(maxsize=64)
def _primes(degree: int, data_bits: tuple[int, ...], special_bits: int) -> tuple[int, ...]:
    if not 2 <= len(data_bits) <= 8 or max(data_bits) > 48 or min(data_bits) < 30:
        raise ValueError(f"q is a product of 2 to 8 primes of 30 to 48 bits, not {data_bits}")
    params = HeParams(degree, data_bits, special_bits)
    context(params)
    chain = seal.CoeffModulus.Create(degree, params.chain)
    return tuple(int(p.value()) for p in chain[: len(data_bits)])


def tail(coefficients: int) -> float:
    """Standard deviations that none of so many coefficients exceeds, except with probability 2^-41."""
    return sqrt(2 * log(2) * (STATISTICAL_BITS + 2 + log2(coefficients)))


def noise_bound(
    params: HeParams, ell: int, weight_norm: float, terms: int, coefficients: int, drop: int = 0
) -> float:
    """B with |noise of an unflooded answer| <= B at all result coefficients.

    Args:
        weight_norm: L2 norm of all the plaintext coefficients that meet one result coefficient.
        terms: how many they are.
        drop: low bits of c0 that were not uploaded.

    A plaintext u = h - k is uniform mod 2^ell, and its ciphertext holds round(q·h/2^ell) - round(q·k/2^ell)
    in q·u/2^ell's place, so each coefficient has error e + f + f', independent; and d more, uniform in an
    interval of length 2^drop, where bits are dropped. The product has Σ wᵢ·(eᵢ + fᵢ + f'ᵢ + dᵢ): proxy
    (10.5 + 2/4 + 4^drop/4)·|w|²; the means, 2^-ell and 1/2 at most, add √terms·|w| times as much. The fresh
    encryption of zero adds -e_pk·u + e1 + e2·s with u, s ternary (proxy 1 a coefficient) and |e_pk| <= 21:
    proxies 21²·N, 10.5 and 10.5·N. The mask's own rounding adds 1/2. Wrapping mod 2^ell adds multiples of q
    and nothing else.
    """
    dropped, halves = (4.0**drop, 0.5) if drop else (0.0, 0.0)
    proxy = (_ERROR_VARIANCE + _ROUNDING_PROXY * (2 + dropped)) * weight_norm**2
    proxy += (_ERROR_MAX**2 + _ERROR_VARIANCE) * params.degree + _ERROR_VARIANCE
    mean = sqrt(terms) * weight_norm * (2.0**-ell + halves)
    return tail(coefficients) * sqrt(proxy) + mean + 0.5


def bits_above(bound: float) -> int:
    return max(1, ceil(log2(bound)))


def packing_noise(params: HeParams, fill: int, coefficients: int) -> float:
    """Noise, in units of q', that packing ``fill`` answers into one adds to a flooded answer.

    Dividing by the last prime p rounds: r0 + r1·s. Each level then doubles what is there and adds that of a
    key switch: digits below 2^w times errors of proxy 10.5, divided by p, and a rounding again. Correctness
    only: the client learns nothing from it, since packing uses public keys on protected answers.
    """
    sigmas = tail(coefficients * 64)  # two terms a level, at most 32 levels
    rounding = 0.5 * (1 + sigmas * sqrt(params.degree))
    parts, bits = params.gadget
    width = min(bits, max(params.data_bits))
    digits = parts * len(params.kept)
    switching = sigmas * sqrt(_ERROR_VARIANCE * digits * params.degree) * 2.0**width / params.primes[-1]
    return fill * (2 * rounding + switching)


def answer_bits(
    params: HeParams, ell: int, noise_bits: int, flood_bits: int, coefficients: int, fill: int = 1
) -> tuple[int, int] | None:
    """The smallest b for which answers switched to the modulus 2^b decrypt, and the bits of c0; or None.

    It must hold that (B + 2^F)·2^b/q + r0 + r1·s < 2^b/2^(ell+1), r0 and r1 the roundings of c0 and c1,
    r1·s a sum of N terms bounded by one rounding each; with packing, plus `packing_noise`·2^b/q'. No key
    multiplies r0, so what is left below the bound pays for a coarser c0.
    """
    room = 2.0 ** -(ell + 1) - (2.0**noise_bits + 2.0**flood_bits) / prod(params.primes)
    if fill > 1:
        room -= packing_noise(params, fill, coefficients) / prod(params.kept)
    if room <= 0:
        return None
    first = _SWITCH_ROUNDING * tail(coefficients) * sqrt(params.degree)
    bits = max(ell + 1, ceil(log2((first + _SWITCH_ROUNDING) / room) + 1e-9))
    # c1·s over the integers must fit the first two primes (centred), and centred c1 a double
    limit = min(54, int(log2(params.primes[0]) + log2(params.primes[1]) - log2(params.degree) - 1))
    if bits > limit:
        return None
    coarser = int(log2((room * 2.0**bits - first) / _SWITCH_ROUNDING) - 1e-9)
    return bits, bits - coarser
