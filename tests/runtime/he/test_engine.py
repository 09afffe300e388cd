"""The server's HE thread: malformed input is the peer's fault, and nothing outlives its session."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from spoil import spoil_uploads

from ppc.runtime.base.errors import NetworkFault, PeerMismatch, RangeFault
from ppc.runtime.base.prg import SEED_BYTES
from ppc.runtime.base.ring import Fixed, Ring
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he import engine
from ppc.runtime.he.bfv import HeServer
from ppc.runtime.he.engine import workers
from ppc.runtime.he.params import PACKING_SETS
from ppc.runtime.he.product import answer_bytes, public_key_bytes, upload_parts
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.net.frame import HEADER
from ppc.runtime.party.ledger import Place
from ppc.runtime.party.party import Party, priced, together
from ppc.runtime.party.role import CLIENT, SERVER
from ppc.runtime.session.engines import NOTHING, resumed, standard

Halves = tuple[Ring | None, Ring | None]

PRODUCT = plan_product(1, 4, 8, 4, 20, he_seconds, norm_bits=8)


def threads() -> int:
    return sum(thread.name.startswith("ppc-he") for thread in threading.enumerate())


def product(p: Party, *, weight: int = 3, leave: bool = False) -> Halves:
    """V of ``weight``: the party's U, if it knows one, and its share of U @ V."""
    p.linear.plan([PRODUCT])
    pending = p.linear.begin(PRODUCT, lambda: np.full((1, 8, 4), weight))
    if leave and p.role is CLIENT:
        raise NetworkFault("the client goes")
    return pending.mask, pending.finish()


def right(server: Halves, client: Halves, weight: int) -> bool:
    num = Fixed(PRODUCT.ell)
    want = np.repeat(np.uint64(weight) * client[0].sum(axis=2, keepdims=True), 4, axis=2)
    error = num.signed(num.wrap(server[1] + client[1] - want))
    return server[0] is None and np.abs(error).max() <= 2**PRODUCT.spare


def test_a_product_and_its_end():
    server, client, _ = together(product, standard)
    assert right(server, client, 3)
    assert threads() == 0


def test_a_server_s_engine_goes_on_where_another_stood():
    """The keys are not sent again."""

    def program(p: Party) -> Halves:
        product(p)
        if p.role is SERVER:
            stood = p.linear.state
            p.renew()
            p.linear.resume(stood)
            with pytest.raises(RuntimeError, match="cannot go on from others"):
                p.linear.resume(stood)
        with p.ledger.at(Place("offline", "again")):
            return product(p, weight=5)

    server, client, ledger = together(program, standard)
    assert right(server, client, 5)
    assert ledger.total("offline").client < public_key_bytes(PRODUCT.params)


def test_keys_are_sent_once_for_each_parameter_set():
    other = plan_product(1, 4, 8, 4, 20, he_seconds, norm_bits=8, params=(PACKING_SETS[1],))

    def program(p: Party) -> list[Halves]:
        shares = []
        for i, products in enumerate(([PRODUCT], [PRODUCT], [other, PRODUCT], [other])):
            with p.ledger.at(Place("setup", str(i))):
                p.linear.plan(products)
            pending = p.linear.begin(products[0], lambda: np.full((1, 8, 4), 5))
            shares.append((pending.mask, pending.finish()))
        return shares

    server, client, ledger = together(program, standard)
    assert all(right(s, c, 5) for s, c in zip(server, client, strict=True))
    said = [ledger.rows[Place("setup", str(i))].bytes for i in range(4)]
    one, two = (HEADER.size + public_key_bytes(each.params) for each in (PRODUCT, other))
    assert said == [HEADER.size + SEED_BYTES + one, 0, two, 0]
    assert {k: c.bytes for k, c in priced(program, standard).rows.items()} == {
        k: c.bytes for k, c in ledger.rows.items()
    }


def test_every_answer_has_a_mask_of_its_own():
    """The server's shares of equal products are unrelated, within a connection and between two."""

    def program(p: Party) -> list[Ring | None]:
        p.linear.plan([PRODUCT])
        return [p.linear.begin(PRODUCT, lambda: np.ones((1, 8, 4), np.int64)).finish() for _ in range(40)]

    shares = [share for _ in range(2) for share in together(program, standard)[0]]
    words = np.stack(shares).reshape(len(shares), -1)
    assert len(np.unique(words[:, 0])) == len(shares)
    bits = np.unpackbits((words & np.uint64(2**16 - 1)).astype(np.uint16).view(np.uint8), axis=1)
    assert abs(bits.mean() - 0.5) < 0.02
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.3


@pytest.mark.parametrize(
    ("change", "fault", "message"),
    [
        ({"leave": True}, NetworkFault, "goes|closed"),
        ({"weight": 2000}, RangeFault, "norm above"),
    ],
)
def test_a_fault_ends_the_thread_too(change, fault, message):
    with pytest.raises(fault, match=message):
        together(lambda p: product(p, **change), standard)
    assert threads() == 0


def test_a_malformed_upload_ends_the_thread_too(monkeypatch):
    spoil_uploads(monkeypatch)
    with pytest.raises(PeerMismatch, match="encryptions are malformed"):
        together(product, standard)
    assert threads() == 0


def test_malformed_public_keys_are_the_peers_fault(monkeypatch):
    real = Party.tell_bytes

    def spoilt(self, speaker, size, make):
        return real(self, speaker, size, lambda: b"\xff" * size if speaker is CLIENT else make())

    monkeypatch.setattr(Party, "tell_bytes", spoilt)
    with pytest.raises(PeerMismatch, match="public keys are malformed"):
        together(lambda p: p.linear.plan([PRODUCT]), standard)


@pytest.mark.parametrize("cores", [1, 2, 3, 64])
def test_answers_of_several_products_at_once(cores, monkeypatch):
    """Each answer belongs to its own upload, whichever is ready first."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert workers(cores) == {1: 1, 2: 2, 3: 3, 64: 4}[cores]

    def program(p: Party) -> list[Halves]:
        p.linear.plan([PRODUCT])
        begun = [
            p.linear.begin(PRODUCT, lambda weight=weight: np.full((1, 8, 4), weight)) for weight in range(6)
        ]
        return [(pending.mask, pending.finish()) for pending in begun]

    server, client, _ = together(program, standard)
    assert all(right(s, c, weight) for weight, (s, c) in enumerate(zip(server, client, strict=True)))
    assert threads() == 0


@pytest.mark.parametrize("order", [range(6), reversed(range(6))], ids=["in order", "in another"])
def test_answers_that_nobody_takes_yet_are_bounded(order, monkeypatch):
    """One at least is made ahead, and no more than there is room for; what is asked for need not wait."""
    monkeypatch.setattr(engine, "AHEAD_BYTES", 2 * answer_bytes(PRODUCT))
    order = list(order)
    given: list[int] = []

    def program(p: Party) -> list[Halves]:
        p.linear.plan([PRODUCT])
        begun = [
            p.linear.begin(PRODUCT, lambda weight=weight: np.full((1, 8, 4), weight)) for weight in range(6)
        ]
        if p.role is SERVER:
            given.append(6 - len(p.linear._waiting))
        made = {i: (begun[i].mask, begun[i].finish()) for i in order}
        return [made[i] for i in range(6)]

    server, client, _ = together(program, standard)
    assert all(right(s, c, weight) for weight, (s, c) in enumerate(zip(server, client, strict=True)))
    assert given == [2]
    assert threads() == 0


def test_uploads_may_wait_on_disk(monkeypatch):
    monkeypatch.setattr(engine, "AHEAD_BYTES", 1)
    waiting = []

    def program(p: Party) -> list[Halves]:
        p.linear.plan([PRODUCT])
        p.linear.hold(0)
        begun = [p.linear.begin(PRODUCT, lambda w=w: np.full((1, 8, 4), w)) for w in range(4)]
        if p.role is SERVER:
            waiting.append(os.fstat(p.linear._spool._file.fileno()).st_size)
        return [(pending.mask, pending.finish()) for pending in begun]

    server, client, _ = together(program, standard)
    assert all(right(s, c, weight) for weight, (s, c) in enumerate(zip(server, client, strict=True)))
    assert waiting == [4 * sum(upload_parts(PRODUCT))]


def test_another_workshop_computes_what_this_one_would():
    """It may take any number at a time, and its faults are those of an answer."""

    class Elsewhere:
        at_once = 3

        def __init__(self) -> None:
            self.asked: list[int] = []

        def answer(self, server, product, upload, right, mask):
            self.asked.append(int(right[0, 0, 0]))
            state = server.state
            return list(HeServer.resumed(state).answer(product, list(upload), right, mask.ring))

    workshop = Elsewhere()

    def program(p: Party, *weights: int) -> list[Halves]:
        p.linear.plan([PRODUCT])
        begun = [p.linear.begin(PRODUCT, lambda w=w: np.full((1, 8, 4), w)) for w in weights]
        return [(pending.mask, pending.finish()) for pending in begun]

    engines = resumed(NOTHING, workshop=workshop)
    server, client, _ = together(lambda p: program(p, *range(6)), engines)
    assert all(right(s, c, weight) for weight, (s, c) in enumerate(zip(server, client, strict=True)))
    assert sorted(workshop.asked) == list(range(6))
    with pytest.raises(RangeFault, match="norm above"):
        together(lambda p: program(p, 2000), engines)
    assert threads() == 0


def test_what_waits_is_dropped_when_the_session_ends(monkeypatch):
    monkeypatch.setattr(engine, "workers", lambda cores: 1)
    begun = threading.Event()

    def program(p: Party) -> None:
        if p.role is SERVER:
            p.linear._workers.submit(begun.wait, 0.2)
            for _ in range(100):
                p.linear._workers.submit(begun.wait, 60)

    together(program, standard)
    assert threads() == 0
    assert not begun.is_set()
