"""Both ends of a product under HE, and how far their shares are off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppc.runtime.base.prg import SEED_BYTES, Prg
from ppc.runtime.base.ring import Fixed, Ring
from ppc.runtime.he.bfv import HeClient, HeServer, share_of
from ppc.runtime.he.cipher import basis
from ppc.runtime.he.packing import cut_results
from ppc.runtime.he.params import HeParams
from ppc.runtime.he.product import Product

SEED = bytes(range(SEED_BYTES))
"""The server's, for public keys."""

Ends = tuple[HeClient, HeServer]


def ends_of(*sets: HeParams) -> Ends:
    """A client and a server that has its keys."""
    client, server = HeClient(), HeServer(SEED)
    server.add(sets, client.add(sets, SEED))
    return client, server


def draw(product: Product, value_bits: int | None = None) -> tuple[NDArray[Any], Ring]:
    """V, uniform or of value_bits bits, and the mask."""
    prg = Prg()
    v: NDArray[Any] = prg.ring(value_bits or product.ell, (product.batch, product.k, product.n))
    if value_bits is not None:
        v = v.astype(np.int64) - (1 << (value_bits - 1))
    return v, prg.ring(64, (product.batch, product.m, product.n))


def uploaded(client: HeClient, product: Product) -> tuple[Ring, list[bytes]]:
    """U and the whole upload."""
    u, parts = client.upload(product)
    return u, list(parts)


def protected(server: HeServer, product: Product, up: list[bytes], v: NDArray[Any]) -> NDArray[np.float64]:
    """The answer of the first unit of the first entry as it is before an encryption of zero is added."""
    upload = server._read(product, iter(up))
    return server._packed(product, 0, server._sum(product, 0, upload, v[0, :, product.unit_cols(0)]))


def off(
    product: Product, u: Ring, v: NDArray[Any], mask: Ring, client: HeClient, down: Iterable[bytes]
) -> NDArray[np.int64]:
    """The error of the two shares, in units: (batch, m, n)."""
    shares = client.finish(product, iter(list(down))) + share_of(mask, product.ell)
    num = Fixed(product.ell)
    return num.signed(num.wrap(shares - u @ v.astype(np.int64).view(np.uint64)))


def centred(values: NDArray[Any], q: int) -> NDArray[Any]:
    """Integers modulo q as those nearest to 0."""
    return np.where(values > q // 2, values - q, values)


def composed(rows: NDArray[Any], primes: tuple[int, ...]) -> NDArray[Any]:
    """Integers modulo q of their residues (..., primes, N), as Python's own."""
    q = int(np.prod(np.array(primes, object)))
    parts = [rows[..., i, :].astype(object) * (pow(q // p, -1, p) * (q // p)) for i, p in enumerate(primes)]
    return sum(parts[1:], parts[0]) % q


def noise_of(
    product: Product, client: HeClient, answers: NDArray[np.float64], u: Ring, v: NDArray[Any]
) -> NDArray[np.float64]:
    """The noise of answers before they are switched, in units of 1 modulo q: (answers, slots)."""
    params, at = product.params, basis(product.params)
    primes = np.array(params.primes, object)[:, None]
    rows = (answers.astype(np.int64).astype(object) % primes).astype(np.uint64)
    secret = client._keys[params].ntt.astype(np.int64).astype(object)
    part = at.transform(np.ascontiguousarray(rows[:, 1])).astype(object) * secret % primes
    phase = rows[:, 0].astype(object) + at.transform(part.astype(np.uint64), inverse=True).astype(object)
    whole = composed(phase % primes, params.primes)[:, product.positions()]
    want = Fixed(product.ell).wrap(u[0] @ v[0].astype(np.int64).view(np.uint64))
    cut = cut_results(want, product.tile, product.unit_packs(0) * product.fill).reshape(len(answers), -1)
    turn = params.q << product.ell
    error = centred(((whole << product.ell) - cut.astype(object) * params.q) % turn, turn)
    return (error / float(1 << product.ell)).astype(np.float64)
