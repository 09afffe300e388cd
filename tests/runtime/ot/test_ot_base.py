from __future__ import annotations

import numpy as np
import pytest
from nacl import bindings as group

from ppc.runtime.base.errors import PeerMismatch
from ppc.runtime.ot.base import POINT, BaseOts, _tag, base_ots
from ppc.runtime.party.ledger import Place
from ppc.runtime.party.party import CLIENT, SERVER, Party, Role, priced, together

BOTH = pytest.mark.parametrize("sender", [SERVER, CLIENT])

# Points that must be refused: the neutral element, one of order two, one of order eight, a point of the
# right curve outside the prime-order subgroup (a valid one plus the one of order two), and no point at all.
NEUTRAL = (1).to_bytes(32, "little")
ORDER_TWO = (2**255 - 20).to_bytes(32, "little")
ORDER_EIGHT = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
GOOD = group.crypto_scalarmult_ed25519_base_noclamp((7).to_bytes(32, "little"))
MIXED = group.crypto_core_ed25519_add(GOOD, ORDER_TWO)
NO_POINT = (2).to_bytes(32, "little")
BAD = pytest.mark.parametrize(
    "bad",
    [NEUTRAL, ORDER_TWO, ORDER_EIGHT, MIXED, NO_POINT],
    ids=["neutral", "order 2", "order 8", "mixed order", "not on the curve"],
)


def _run(sender: Role, n: int = 24) -> tuple[BaseOts, BaseOts]:
    server, client, _ = together(lambda p: base_ots(p, sender, n))
    return (server, client) if sender is SERVER else (client, server)


@BOTH
def test_the_receiver_holds_the_chosen_seed_and_no_other(sender: Role) -> None:
    sent, got = _run(sender)
    assert sent.tag == got.tag
    chosen = np.where(got.choices[:, None] == 1, sent.seeds1, sent.seeds0)
    other = np.where(got.choices[:, None] == 1, sent.seeds0, sent.seeds1)
    assert (got.seeds == chosen).all()
    assert (got.seeds != other).any(axis=1).all()
    assert sent.choices is None
    assert got.seeds0 is None


def test_all_seeds_differ_within_a_run_and_between_runs() -> None:
    (a, _), (b, _) = _run(SERVER), _run(SERVER)
    seeds = np.concatenate([a.seeds0, a.seeds1, b.seeds0, b.seeds1])
    assert len(np.unique(seeds, axis=0)) == len(seeds)
    assert a.tag != b.tag


def test_choices_are_balanced() -> None:
    _, got = _run(CLIENT, 512)
    assert 180 < got.choices.sum() < 332  # 6 sigma


def test_the_tag_binds_direction_and_every_byte_of_the_transcript() -> None:
    answer = bytes(64)
    assert _tag(SERVER, GOOD, answer) != _tag(CLIENT, GOOD, answer)
    assert _tag(SERVER, GOOD, answer) != _tag(SERVER, MIXED, answer)
    assert _tag(SERVER, GOOD, answer) != _tag(SERVER, GOOD, answer[:-1] + b"\1")


@BAD
def test_a_receiver_refuses_an_invalid_base_point(bad: bytes) -> None:
    def program(p: Party) -> BaseOts | None:
        if p.role is CLIENT:
            return base_ots(p, SERVER, 4)
        p.tell_bytes(SERVER, POINT, lambda: bad)
        return None

    with pytest.raises(PeerMismatch, match="prime-order"):
        together(program)


@BAD
def test_a_sender_refuses_an_invalid_answer(bad: bytes) -> None:
    def program(p: Party) -> BaseOts | None:
        if p.role is SERVER:
            return base_ots(p, SERVER, 3)
        p.tell_bytes(SERVER, POINT, lambda: b"")
        p.tell_bytes(CLIENT, 3 * POINT, lambda: GOOD + bad + GOOD)
        return None

    with pytest.raises(PeerMismatch, match=r"point 1 .* prime-order"):
        together(program)


def test_a_sender_refuses_its_own_point_as_answer() -> None:
    def program(p: Party) -> BaseOts | None:
        if p.role is SERVER:
            return base_ots(p, SERVER, 1)
        mine = bytes(p.tell_bytes(SERVER, POINT, lambda: b""))
        p.tell_bytes(CLIENT, POINT, lambda: mine)
        return None

    with pytest.raises(PeerMismatch, match="equals its own"):
        together(program)


@BOTH
def test_the_price_is_exact(sender: Role) -> None:
    def program(p: Party) -> None:
        with p.ledger.at(Place("setup", "ot")):
            base_ots(p, sender, 24)

    measured = together(program)[2].total("setup")
    cost = priced(program).total("setup")
    assert (cost.server, cost.client, cost.flights) == (measured.server, measured.client, measured.flights)
    assert cost.flights == 2


def test_printing_shows_no_seed() -> None:
    sent, got = _run(SERVER, 2)
    assert repr(sent) == repr(got) == "BaseOts(<secret>)"
