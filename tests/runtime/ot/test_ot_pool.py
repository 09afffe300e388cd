from __future__ import annotations

import random

import numpy as np
import pytest

from ppc.runtime.ot.keys import receiver_keys, sender_keys
from ppc.runtime.ot.pool import Pool, schedule
from ppc.runtime.ot.silent import B12, SETS
from ppc.runtime.party.ledger import Place
from ppc.runtime.party.party import CLIENT, SERVER, Party, Role, priced, together

pytestmark = pytest.mark.long

BOTH = pytest.mark.parametrize("sender", [SERVER, CLIENT])
ONE = np.uint64(1)
TWEAK = np.arange(16, dtype=np.uint8)
SMALL = (1, 0, 500, 128, 371)
SILENT = (1, 300_000, 0, 520_000, 179_999)


def _program(sender: Role, takes: tuple[int, ...], planned: int | None = None):
    def program(p: Party) -> tuple[Pool, list]:
        pool = Pool(p, sender)
        with p.ledger.at(Place("setup", "ot")):
            pool.plan(sum(takes) if planned is None else planned)
        with p.ledger.at(Place("offline", "ot")):
            return pool, [pool.take(n) for n in takes]

    return program


def _run(sender: Role, takes: tuple[int, ...]) -> tuple[np.ndarray, list, list]:
    server, client, _ = together(_program(sender, takes))
    sent, got = (server, client) if sender is SERVER else (client, server)
    assert got[0].delta is None
    return sent[0].delta, sent[1], got[1]


@BOTH
@pytest.mark.parametrize("takes", [SMALL, SILENT], ids=["iknp", "silent"])
def test_taken_cots_are_correlated_and_numbered_once(sender: Role, takes: tuple[int, ...]) -> None:
    delta, sent, got = _run(sender, takes)
    at = 0
    for n, (i, q), (j, t) in zip(takes, sent, got, strict=True):
        assert i == j == at
        at += n
        assert q.shape == t.shape == (n, 2)
        assert (t == q ^ (t[:, :1] & ONE) * delta).all()
        k0, k1 = sender_keys(q, delta, TWEAK, i, 2)
        assert (receiver_keys(t, TWEAK, j, 2) == np.where(t[:, :1] & ONE, k1, k0)).all()
    blocks = np.concatenate([q for _, q in sent]).view("V16")
    assert len(np.unique(blocks)) == sum(takes)
    choice = np.concatenate([t[:, 0] & ONE for _, t in got])
    assert abs(choice.mean() - 0.5) < 3 / len(choice) ** 0.5


@BOTH
@pytest.mark.parametrize("takes", [SMALL, SILENT], ids=["iknp", "silent"])
@pytest.mark.parametrize("resumed", [{SERVER}, {SERVER, CLIENT}], ids=["one side", "both"])
def test_a_pool_goes_on_where_another_stood(sender: Role, takes: tuple[int, ...], resumed: set[Role]) -> None:
    """As if it were the same: correlated with the other side's, and new in number and in kind."""

    def program(p: Party) -> tuple[Pool, list]:
        pool = Pool(p, sender)
        pool.plan(sum(takes))
        taken = [pool.take(n) for n in takes]
        pool.plan(0)
        if p.role in resumed:
            stood, pool = pool.state, Pool(p, sender)
            assert pool.state is None
            pool.resume(stood)
            with pytest.raises(RuntimeError, match="cannot go on from others"):
                pool.resume(stood)
        pool.plan(sum(takes))
        return pool, taken + [pool.take(n) for n in takes]

    server, client, _ = together(program)
    sent, got = (server, client) if sender is SERVER else (client, server)
    assert [i for i, _ in sent[1]] == [i for i, _ in got[1]] == [sum((takes * 2)[:k]) for k in range(10)]
    q, t = (np.concatenate([blocks for _, blocks in taken]) for _, taken in (sent, got))
    assert (t == q ^ (t[:, :1] & ONE) * sent[0].delta).all()
    assert len(np.unique(q.view("V16"))) == len(q)


def test_what_an_iteration_spends_is_never_handed_out() -> None:
    spent: dict[Role | None, list[np.ndarray]] = {SERVER: [], CLIENT: []}

    def program(p: Party) -> np.ndarray:
        pool = Pool(p, SERVER)
        pool.plan(1_200_000)
        extend = pool._silent.extend

        def spy(party, lpn, spend):
            spent[p.role].append(spend.copy())
            return extend(party, lpn, spend)

        pool._silent.extend = spy
        return np.concatenate([pool.take(n)[1] for n in (700_000, 500_000)])

    taken = dict(zip((SERVER, CLIENT), together(program)[:2], strict=True))
    assert dict(schedule(1_200_000))["b10"] == 2
    for role, blocks in taken.items():
        assert [len(s) for s in spent[role]] == [SETS["b10"].spent] * 2
        used = np.concatenate([*spent[role], blocks]).view("V16")
        assert len(np.unique(used)) == len(used)


@BOTH
@pytest.mark.parametrize("takes", [SMALL, SILENT], ids=["iknp", "silent"])
def test_the_price_is_exact(sender: Role, takes: tuple[int, ...]) -> None:
    program = _program(sender, takes)
    measured, predicted = together(program)[2], priced(program)
    for phase in ("setup", "offline"):
        m, c = measured.total(phase), predicted.total(phase)
        assert (m.server, m.client, m.flights) == (c.server, c.client, c.flights)
        assert m.flights > 0


def test_pricing_counts_indices_but_has_no_blocks() -> None:
    pool, taken = _program(CLIENT, (5, 7))(Party(None))
    assert taken == [(0, None), (5, None)]
    assert pool.taken == 12


def test_two_sessions_share_nothing() -> None:
    a, b = _run(CLIENT, (200,)), _run(CLIENT, (200,))
    assert (a[0] != b[0]).all()
    assert (a[1][0][1] != b[1][0][1]).all()


def test_two_pools_of_one_run_have_different_deltas() -> None:
    def program(p: Party) -> list:
        pools = [Pool(p, role) for role in (SERVER, CLIENT)]
        for pool in pools:
            pool.plan(10)
        return [pool.delta for pool in pools]

    (mine, none), (nothing, yours), _ = together(program)
    assert none is None
    assert nothing is None
    assert (mine != yours).all()


def test_taking_more_than_planned_is_refused_with_both_numbers() -> None:
    with pytest.raises(RuntimeError, match=r"^6 COTs .* 10 planned, 5 of them left$"):
        together(_program(SERVER, (5, 6), planned=10))
    with pytest.raises(RuntimeError, match="planned"):
        priced(_program(SERVER, (5, 6), planned=10))


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        Pool(Party(None), SERVER).plan(-1)
    with pytest.raises(RuntimeError, match="-1 COTs"):
        priced(_program(SERVER, (-1,), planned=10))


def test_taking_before_planning_is_refused() -> None:
    with pytest.raises(RuntimeError, match="0 planned"):
        Pool(Party(None), SERVER).take(1)


SEVERAL = ((700, 300), (300_000, 600_000), (5,), (1_200_000,))


@BOTH
def test_a_pool_serves_one_program_after_another(sender: Role) -> None:
    """Base OTs once; indices go on; no block turns up twice, and no program costs more than by itself."""

    def program(p: Party) -> tuple[Pool, list]:
        pool, found = Pool(p, sender), []
        for i, takes in enumerate(SEVERAL):
            with p.ledger.at(Place("setup", str(i))):
                pool.plan(sum(takes))
            with p.ledger.at(Place("offline", str(i))):
                found += [pool.take(n) for n in takes]
        return pool, found

    server, client, ledger = together(program)
    (pool, sent), (_, got) = (server, client) if sender is SERVER else (client, server)
    at = 0
    for (i, q), (j, t) in zip(sent, got, strict=True):
        assert i == j == at
        at += len(q)
        assert (t == q ^ (t[:, :1] & ONE) * pool.delta).all()
    assert len(np.unique(np.concatenate([q for _, q in sent]).view("V16"))) == at
    assert ledger.rows[Place("setup", "0")].bytes > 0
    for i, takes in enumerate(SEVERAL):
        assert i == 0 or ledger.rows[Place("setup", str(i))].bytes == 0
        alone = priced(_program(sender, takes)).total("offline").bytes
        assert ledger.rows[Place("offline", str(i))].bytes == alone
    assert {k: c.bytes for k, c in priced(program).rows.items()} == {
        k: c.bytes for k, c in ledger.rows.items()
    }


def test_a_later_program_is_priced_without_the_earlier_ones() -> None:
    def program(p: Party) -> None:
        pool = Pool(p, SERVER, ready=True)
        pool.plan(300_000)
        with p.ledger.at(Place("offline", "ot")):
            pool.take(300_000)

    assert (
        priced(program).total("offline").bytes == priced(_program(SERVER, (300_000,))).total("offline").bytes
    )
    with pytest.raises(ValueError, match="pricing only"):
        together(program)


def test_what_a_program_leaves_is_not_handed_to_the_next() -> None:
    def program(p: Party) -> list:
        pool = Pool(p, SERVER)
        pool.plan(1000)
        first = pool.take(1)
        pool.plan(10)
        return [first, pool.take(10)]

    server, client, _ = together(program)
    assert [i for i, _ in server] == [0, 1]
    blocks = np.concatenate([q for _, q in server]).view("V16")
    assert len(np.unique(blocks)) == 11
    assert [i for i, _ in client] == [0, 1]


def test_an_empty_pool_costs_nothing() -> None:
    program = _program(SERVER, (0,))
    ledger = together(program)[2]
    assert ledger.total("setup").bytes == ledger.total("offline").bytes == 0


def test_schedules_yield_what_they_promise() -> None:
    draw = random.Random(2)
    sizes = [10 ** draw.uniform(0, 8.5) for _ in range(200)] + [74_036, 74_037, 870_400, 870_401, 6_225_921]
    for n in map(int, sizes):
        stock = 0
        for kind, count in schedule(n):
            if kind == "iknp":
                stock += count
                continue
            for _ in range(count):
                assert stock >= SETS[kind].spent
                stock += SETS[kind].made - SETS[kind].spent
        assert stock >= n
        assert stock <= max(n, 80_000) + B12.made


def test_small_needs_take_iknp_alone_and_large_ones_silent_iterations() -> None:
    assert schedule(0) == ()
    assert schedule(1000) == (("iknp", 1000),)
    kinds = dict(schedule(50_000_000))
    assert kinds["iknp"] < 300_000
    assert kinds["b12"] >= 6


def test_bytes_a_cot_are_below_one_bit_in_bulk() -> None:
    cost = priced(_program(SERVER, (20_000_000,))).total("offline")
    assert cost.bytes * 8 / 20_000_000 < 1.1  # the seed by IKNP included


def test_the_whole_plan_can_be_taken_in_small_pieces_while_pricing() -> None:
    pool, taken = _program(SERVER, (100_003,) * 70)(Party(None))
    assert [first for first, _ in taken] == list(range(0, 70 * 100_003, 100_003))
    assert pool.taken == pool.planned


def test_printing_shows_counts_only() -> None:
    server, client, _ = together(_program(SERVER, (3, 4), planned=10))
    assert repr(server[0]) == repr(client[0]) == "Pool(sender=server, 7 of 10 taken)"
