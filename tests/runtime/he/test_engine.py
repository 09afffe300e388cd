"""The server's HE thread: malformed input is the peer's fault, and nothing outlives its session."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from ppc.runtime.base.errors import NetworkFault, PeerMismatch, RangeFault
from ppc.runtime.base.ring import Ring
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he import engine as he_session
from ppc.runtime.he.engine import HeSession, workers
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.party.party import Party, together
from ppc.runtime.party.role import CLIENT, SERVER

PRODUCT = plan_product(1, 4, 8, 4, 20, he_seconds, norm_bits=8)


def threads() -> int:
    return sum(thread.name.startswith("ppc-he") for thread in threading.enumerate())


def product(p: Party, *, weight: int = 3, spoil: str = "") -> tuple[Ring, Ring] | None:
    """V of ``weight`` and S = 0: the client's U, and U @ V."""
    p.he = HeSession(p, [PRODUCT])
    u, up = p.he.upload(p, PRODUCT)
    if spoil == "upload":
        up = p.each(server=lambda: [part[1:] for part in up or ()])
    if spoil == "leave" and p.role is CLIENT:
        raise NetworkFault("the client goes")
    v, s = np.full((1, 8, 4), weight), np.zeros((1, 4, 4), np.uint64)
    answer = p.each(server=lambda: p.he.start(PRODUCT, up or [], lambda: v, s))
    made = p.he.finish(p, PRODUCT, answer)
    return None if made is None or u is None else (u, made)


def test_a_product_and_its_end():
    server, client, _ = together(product)
    assert server is None
    u, made = client
    mask = np.uint64(2**PRODUCT.ell - 1)
    assert np.array_equal(made, np.repeat(3 * u.sum(axis=2, keepdims=True), 4, axis=2) & mask)
    assert threads() == 0


@pytest.mark.parametrize(
    ("change", "fault", "message"),
    [
        ({"spoil": "upload"}, PeerMismatch, "encryptions are malformed"),
        ({"spoil": "leave"}, NetworkFault, "goes|closed"),
        ({"weight": 2000}, RangeFault, "norm above"),
    ],
)
def test_a_fault_ends_the_thread_too(change, fault, message):
    with pytest.raises(fault, match=message):
        together(lambda p: product(p, **change))
    assert threads() == 0


def test_malformed_public_keys_are_the_peers_fault(monkeypatch):
    real = Party.tell_bytes

    def spoilt(self, speaker, size, make):
        return real(self, speaker, size, lambda: b"\xff" * size)

    monkeypatch.setattr(Party, "tell_bytes", spoilt)
    with pytest.raises(PeerMismatch, match="public keys are malformed"):
        together(lambda p: HeSession(p, [PRODUCT]))


@pytest.mark.parametrize("cores", [1, 2, 3, 64])
def test_answers_of_several_products_at_once(cores, monkeypatch):
    """Each answer belongs to its own upload, whichever is ready first."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert workers(cores) == {1: 1, 2: 2, 3: 3, 64: 4}[cores]
    v = [np.full((1, 8, 4), weight) for weight in range(6)]

    def program(p: Party) -> list[tuple[Ring, Ring]]:
        p.he = HeSession(p, [PRODUCT])
        begun = [p.he.upload(p, PRODUCT) for _ in v]
        zero = np.zeros((1, 4, 4), np.uint64)
        answers = [
            p.each(server=lambda up=up, w=w: p.he.start(PRODUCT, up or [], lambda: w, zero))
            for (_, up), w in zip(begun, v, strict=True)
        ]
        return [(u, p.he.finish(p, PRODUCT, a)) for (u, _), a in zip(begun, answers, strict=True)]

    _, client, _ = together(program)
    for weight, (u, made) in enumerate(client):
        want = np.repeat(weight * u.sum(axis=2, keepdims=True), 4, axis=2) & np.uint64(2**PRODUCT.ell - 1)
        assert np.array_equal(made, want)
    assert threads() == 0


def test_what_waits_is_dropped_when_the_session_ends(monkeypatch):
    monkeypatch.setattr(he_session, "workers", lambda cores: 1)
    begun = threading.Event()
    kept: dict[str, HeSession] = {}

    def program(p: Party) -> None:
        p.he = HeSession(p, [PRODUCT])
        if p.role is SERVER:
            kept["server"] = p.he
            p.he._worker.submit(begun.wait, 0.2)
            for _ in range(100):
                p.he._worker.submit(begun.wait, 60)

    together(program)
    assert threads() == 0
    assert not begun.is_set()
