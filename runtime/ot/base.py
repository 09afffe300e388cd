"""Base oblivious transfers, with random choices, in the prime-order group of edwards25519.

    sender   -> receiver   A = a·G
    receiver -> sender     B_i = b_i·G + c_i·A             for each i
    keys     k_i0 = H(i, a·B_i), k_i1 = H(i, a·(B_i - A));  the receiver's is H(i, b_i·A)

After Chou and Orlandi, "The simplest protocol for oblivious transfer" (LATINCRYPT 2015, eprint 2015/267),
secure here against semi-honest parties under CDH in the random oracle model. The hash is BLAKE2b bound to
the whole transcript and to the direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from nacl import bindings as group
from nacl.exceptions import RuntimeError as GroupFault
from numpy.typing import NDArray

from ..base.errors import PeerMismatch
from ..base.prg import SEED_BYTES, Prg
from ..base.wire import Buffer
from ..party.party import Party
from ..party.role import Role

POINT = 32
DOMAIN = b"ppc base OT"


@dataclass(frozen=True, eq=False, repr=False)
class BaseOts:
    """What one role holds afterwards; the other role's fields are None, and all are while pricing.

    Attributes:
        tag: 16 bytes that both roles know and no other session has: a hash of the transcript.
        seeds0, seeds1: the sender's keys, uint8 (n, 16).
        seeds: the receiver's chosen keys, uint8 (n, 16).
        choices: the receiver's random bits, uint8 (n,).
    """

    tag: bytes | None = None
    seeds0: NDArray[np.uint8] | None = None
    seeds1: NDArray[np.uint8] | None = None
    seeds: NDArray[np.uint8] | None = None
    choices: NDArray[np.uint8] | None = None

    def __repr__(self) -> str:
        return "BaseOts(<secret>)"


def base_ots(p: Party, sender: Role, n: int = 128) -> BaseOts:
    """``n`` OTs of 16-byte seeds with random choices, in two messages of 32 and 32·n bytes.

    Raises:
        PeerMismatch: a point from the peer is not in the prime-order subgroup.
    """
    a = _scalar(p.prg) if p.role is sender else b""
    said = p.tell_bytes(sender, POINT, lambda: group.crypto_scalarmult_ed25519_base_noclamp(a))
    if said is None:
        p.tell_bytes(sender.other, POINT * n, lambda: b"")
        return BaseOts()
    big_a = bytes(said)
    if p.role is sender:
        answer = _expect(p.tell_bytes(sender.other, POINT * n, lambda: b""))
        return _sender_seeds(sender, a, big_a, _points(answer))
    _points(big_a)
    choices = p.prg.ring(1, (n,)).astype(np.uint8)
    scalars = [_scalar(p.prg) for _ in range(n)]
    answer = _expect(p.tell_bytes(sender.other, POINT * n, lambda: _answer(big_a, scalars, choices)))
    tag = _tag(sender, big_a, answer)
    keys = [_seed(tag, i, _times(b, big_a)) for i, b in enumerate(scalars)]
    return BaseOts(tag, seeds=_rows(keys), choices=choices)


def _answer(big_a: bytes, scalars: list[bytes], choices: NDArray[np.uint8]) -> bytes:
    points = []
    for b, c in zip(scalars, choices, strict=True):
        pair = (
            plain := group.crypto_scalarmult_ed25519_base_noclamp(b),
            group.crypto_core_ed25519_add(plain, big_a),
        )
        points.append(pair[int(c)])
    return b"".join(points)


def _sender_seeds(sender: Role, a: bytes, big_a: bytes, points: list[bytes]) -> BaseOts:
    tag = _tag(sender, big_a, b"".join(points))
    zero = [_seed(tag, i, _times(a, point)) for i, point in enumerate(points)]
    shifted = [group.crypto_core_ed25519_sub(point, big_a) for point in points]
    one = [_seed(tag, i, _times(a, point)) for i, point in enumerate(shifted)]
    return BaseOts(tag, seeds0=_rows(zero), seeds1=_rows(one))


def _expect(data: Buffer | None) -> bytes:
    if data is None:
        raise RuntimeError("a priced program has no data")
    return bytes(data)


def _points(data: bytes) -> list[bytes]:
    points = [data[at : at + POINT] for at in range(0, len(data), POINT)]
    for i, point in enumerate(points):
        if not group.crypto_core_ed25519_is_valid_point(point):
            raise PeerMismatch(f"base OT: point {i} from the peer is not in the prime-order group")
    return points


def _scalar(prg: Prg) -> bytes:
    """Uniform in [1, L), up to 2^-250."""
    while True:
        wide = prg.bytes(group.crypto_core_ed25519_NONREDUCEDSCALARBYTES).tobytes()
        scalar: bytes = group.crypto_core_ed25519_scalar_reduce(wide)
        if any(scalar):
            return scalar


def _times(scalar: bytes, point: bytes) -> bytes:
    try:
        product: bytes = group.crypto_scalarmult_ed25519_noclamp(scalar, point)
    except GroupFault:
        raise PeerMismatch("base OT: the peer's point equals its own base point") from None
    return product


def _tag(sender: Role, big_a: bytes, answer: bytes) -> bytes:
    direction = sender.value.encode().ljust(8, b"\0")
    return blake2b(direction + big_a + answer, digest_size=SEED_BYTES, person=DOMAIN).digest()


def _seed(tag: bytes, index: int, point: bytes) -> bytes:
    return blake2b(tag + index.to_bytes(8, "little") + point, digest_size=SEED_BYTES, person=DOMAIN).digest()


def _rows(seeds: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(seeds), np.uint8).reshape(len(seeds), SEED_BYTES)
