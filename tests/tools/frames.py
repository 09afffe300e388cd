"""Every frame that two parties put on the wire, with who sent it, in which step, and which code made it."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from unittest import mock

import numpy as np
from sides import infer, serve_one

from ppc.runtime.base.prg import SEED_BYTES
from ppc.runtime.net.channel import Channel
from ppc.runtime.party.ledger import Ledger
from ppc.runtime.party.party import Party
from ppc.runtime.party.role import Role
from ppc.runtime.plan.file import Plan, Weights
from ppc.runtime.service.report import Outcome


@dataclass(frozen=True)
class Frame:
    """``kind`` is module.function of the code that speaks, or "handshake"; ``bits`` a packed element's width.

    ``known`` are that function's own integers and public records: a product's shape, counts of rows.
    """

    role: Role
    phase: str
    step: str
    kind: str
    bits: int | None
    count: int | None
    payload: bytes
    known: Mapping[str, Any] = field(default_factory=dict)

    def elements(self) -> np.ndarray:
        """The payload's ``count`` ring elements, ``bits`` bits each; its bits where that is not known.

        What is uniform below another number than a power of two is spread over 16 bits first.
        """
        if self.kind == "engine.begin":
            return np.concatenate(
                [unpacked(self.payload[:SEED_BYTES], 1), *map(_bits_of, upload_words(self))]
            )
        if self.kind == "engine.plan" and self.role is Role.CLIENT:
            return np.concatenate([_bits_of(words) for words in key_words(self)])
        if self.bits is None:
            return unpacked(self.payload, 1)
        return unpacked(self.payload, self.bits, self.count)


SPREAD = 16

Words = tuple[np.ndarray, float, int]
"""Numbers, what they are below, and the low bits that were rounded off beforehand."""


def upload_words(frame: Frame) -> Iterator[Words]:
    """What an upload of one part says of its coefficients, those with plaintext first."""
    product, at = frame.known["product"], SEED_BYTES
    (inner,) = product.upload_steps()
    for masked, word, bits, size in product.part_words(inner):
        assert word == 0, "a test that spreads numbers takes them whole"
        below = product.params.q >> product.ell if masked else product.params.q
        yield unpacked(frame.payload[at : at + size], bits, 8 * size // bits), below, product.drop
        at += size
    assert at == len(frame.payload)


def key_words(frame: Frame) -> Iterator[Words]:
    """The polynomials of public keys, prime by prime, and the bits of their seeds."""
    at = 0
    for params in frame.known["new"]:
        parts = [(p, params.degree) for p in params.primes]
        if params.pack_keys:
            parts += [(0, 0), *((p, params.degree * params.pack_keys) for p in params.all_primes)]
        for p, count in parts:
            size = count * p.bit_length() // 8 if p else SEED_BYTES
            data = frame.payload[at : at + size]
            yield (unpacked(data, p.bit_length()), p, 0) if p else (unpacked(data, 16), 1 << 16, 0)
            at += size
    assert at == len(frame.payload)


def spread(words: Words) -> np.ndarray:
    """Numbers uniform below any bound as numbers uniform below 2^16, by a fresh uniform fraction each."""
    x, below, drop = words
    low = np.random.default_rng().random(len(x)) - (0.5 if drop else 0.0)
    share = (x.astype(float) + low) * 2.0**drop % below / below
    return np.asarray(share * 2**SPREAD, np.uint64)


def _bits_of(words: Words) -> np.ndarray:
    bits: np.ndarray = (spread(words)[:, None] >> np.arange(SPREAD, dtype=np.uint64)) & np.uint64(1)
    return bits.ravel()


def unpacked(data: bytes, bits: int, count: int | None = None) -> np.ndarray:
    """Little-endian elements of ``bits`` bits, by numpy alone: no code under test reads its own writing."""
    stream = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    count = len(stream) // bits if count is None else count
    rows = stream[: count * bits].reshape(count, bits).astype(np.uint64)
    return rows @ (np.uint64(1) << np.arange(bits, dtype=np.uint64))


@contextmanager
def watched() -> Iterator[list[Frame]]:
    """Collect what every channel sends while this is open."""
    frames: list[Frame] = []
    real = Channel.send

    def send(self: Channel, payload: Any) -> None:
        frames.append(_frame(bytes(payload), sys._getframe(1)))
        real(self, payload)

    with mock.patch.object(Channel, "send", send):
        yield frames


def _frame(payload: bytes, here: FrameType) -> Frame:
    """Look up the stack: through the party's own methods to whoever called them."""
    packing: dict[str, int] = {}
    at: FrameType | None = here
    while at is not None and (
        at.f_globals["__name__"] == "ppc.runtime.party.party" or at.f_code.co_name[0] == "<"
    ):
        packing = {k: v for k, v in at.f_locals.items() if k in ("bits", "count")} | packing
        here, at = at, at.f_back
    assert at is not None
    party = next(v for f in (here, at) for v in f.f_locals.values() if isinstance(v, Party))
    assert party.role is not None
    phase, step = _where(party.ledger)
    kind = f"{at.f_globals['__name__'].rsplit('.', 1)[-1]}.{at.f_code.co_name}"
    kind = "handshake" if kind.startswith("handshake.") else kind
    known = {k: v for k, v in at.f_locals.items() if isinstance(v, int) or k in ("product", "new")}
    return Frame(party.role, phase, step, kind, packing.get("bits"), packing.get("count"), payload, known)


def _where(ledger: Ledger) -> tuple[str, str]:
    here = (place for place, cost in ledger.rows.items() if cost is ledger._here)
    return next(((place.phase, place.label) for place in here), ("", ""))


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        return listener.accept()[0], client


def session(
    plan: Plan,
    weights: Weights,
    feeds: Mapping[str, Any],
    *,
    client_plan: Plan | None = None,
    timeout: float = 20,
) -> dict[Role, Outcome | Exception]:
    """One inference over TCP between two threads; an exception is a result. Never waits for ever."""
    ends = tcp_pair()
    results: dict[Role, Outcome | Exception] = {}

    def run(role: Role) -> None:
        try:
            if role is Role.SERVER:
                results[role] = serve_one(ends[0], plan, weights, timeout=timeout)
            else:
                results[role] = infer(ends[1], client_plan or plan, feeds, timeout=timeout)
        except Exception as fault:
            results[role] = fault

    threads = [threading.Thread(target=run, args=(role,), name=role.value) for role in Role]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=3 * timeout)
    assert not any(thread.is_alive() for thread in threads), "a side still waits"
    return results


def succeeded(results: Mapping[Role, Outcome | Exception]) -> dict[Role, Outcome]:
    for outcome in results.values():
        if isinstance(outcome, Exception):
            raise outcome
    return dict(results)  # type: ignore[arg-type]
