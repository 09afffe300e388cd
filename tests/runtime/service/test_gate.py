"""Turns: as many at once as may be, fair by client, within memory; who waits knows its place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sides import eventually

from ppc.runtime.base.errors import PeerLeft
from ppc.runtime.net.frame import Notice, Told
from ppc.runtime.service import gate as gate_module
from ppc.runtime.service.gate import Gate, Limits, TurnedAway


class Asker(threading.Thread):
    """Waits for a turn and keeps it until it is let go."""

    def __init__(self, gate: Gate, client: str, memory: int = 0, there: Callable[[], bool] = lambda: True):
        super().__init__(daemon=True)
        self._gate, self._client, self._memory, self._there = gate, client, memory, there
        self.told: list[Notice] = []
        self.fault: Exception | None = None
        self.in_turn = threading.Event()
        self.end = threading.Event()

    def run(self) -> None:
        try:
            with self._gate.turn(self._client, self._memory, tell=self.told.append, there=self._there):
                self.in_turn.set()
                self.end.wait(20)
        except Exception as fault:
            self.fault = fault

    def let_go(self) -> None:
        self.end.set()
        self.join(timeout=20)
        assert not self.is_alive()


def asking(gate: Gate, client: str, memory: int = 0, **more: Callable[[], bool]) -> Asker:
    """One who has a turn now, or waits for one."""
    asker, before = Asker(gate, client, memory, **more), (gate.running, gate.waiting)
    asker.start()
    eventually(
        lambda: asker.in_turn.is_set() or (gate.running, gate.waiting) != before or not asker.is_alive()
    )
    return asker


@contextmanager
def askers(gate: Gate, *clients: str) -> Iterator[list[Asker]]:
    made = [asking(gate, client) for client in clients]
    yield made
    for each in made:
        each.end.set()
    for each in made:
        each.let_go()


def test_so_many_at_once_and_the_others_as_they_came():
    gate = Gate(Limits(at_once=2, waiting=9))
    with askers(gate, "a", "b", "c", "d") as (a, b, c, d):
        assert a.in_turn.is_set()
        assert b.in_turn.is_set()
        assert (gate.running, gate.waiting) == (2, 2)
        eventually(lambda: bool(c.told) and bool(d.told))
        assert (c.told, d.told) == ([Notice(Told.PLACE, 1)], [Notice(Told.PLACE, 2)])
        b.let_go()
        assert c.in_turn.wait(10)
        eventually(lambda: d.told[-1] == Notice(Told.PLACE, 1))
        assert not d.in_turn.is_set()
        a.let_go()
        assert d.in_turn.wait(10)


def test_one_who_asks_much_does_not_keep_another_waiting():
    gate = Gate(Limits(at_once=2, waiting=9))
    with askers(gate, "many", "many", "many", "many", "one") as (first, _, third, _, one):
        first.let_go()
        assert one.in_turn.wait(10)
        assert not third.in_turn.is_set()


def test_memory_counts_and_the_first_is_not_overtaken_for_ever():
    gate = Gate(Limits(at_once=9, waiting=9, memory=100))
    small, large, later = asking(gate, "a", 60), asking(gate, "b", 50), asking(gate, "c", 10)
    assert small.in_turn.is_set()
    assert not large.in_turn.is_set()
    assert not later.in_turn.is_set()
    assert gate.memory == 60
    small.let_go()
    assert large.in_turn.wait(10)
    assert later.in_turn.wait(10)
    large.let_go()
    later.let_go()
    assert gate.memory == 0


def test_who_need_not_wait_is_told_to_come_again():
    gate = Gate(Limits(at_once=1, waiting=1))
    with askers(gate, "a", "b"):
        late = asking(gate, "c")
        late.let_go()
    assert isinstance(late.fault, TurnedAway)
    assert late.fault.notice.told is Told.BUSY
    assert late.fault.notice.value >= 1
    assert late.told == []


def test_with_nobody_waiting_a_free_turn_is_given(monkeypatch):
    with askers(Gate(Limits(at_once=1, waiting=0)), "a") as (a,):
        assert a.in_turn.is_set()


def test_who_leaves_while_it_waits_gives_up_its_place(monkeypatch):
    monkeypatch.setattr(gate_module, "LOOK_SECONDS", 0.01)
    gate, left = Gate(Limits(at_once=1, waiting=9)), threading.Event()
    with askers(gate, "a"):
        gone = asking(gate, "b", there=lambda: not left.is_set())
        left.set()
        gone.let_go()
        assert isinstance(gone.fault, PeerLeft)
        assert gate.waiting == 0


def test_a_fault_in_a_turn_gives_it_back():
    gate = Gate(Limits(at_once=1))
    with pytest.raises(KeyError), gate.turn("a", 5):
        raise KeyError
    assert (gate.running, gate.memory) == (0, 0)


def test_when_it_closes_who_waits_is_told_and_who_runs_goes_on():
    gate = Gate(Limits(at_once=1, waiting=9))
    with askers(gate, "a", "b") as (a, b):
        gate.close()
        b.let_go()
        assert isinstance(b.fault, TurnedAway)
        assert b.fault.notice.told is Told.STOPPING
        assert not a.end.is_set()
    assert a.fault is None


def test_who_comes_for_idle_time_alone_leaves_a_place_and_never_waits():
    gate = Gate(Limits(at_once=3, waiting=9))

    def turned_away() -> bool:
        try:
            with gate.turn("idler", 0, idle=True):
                return False
        except TurnedAway as fault:
            return fault.notice.told is Told.BUSY

    assert not turned_away()
    with askers(gate, "a"):
        assert not turned_away()
        with askers(gate, "b"):
            assert turned_away(), "the last place is for an inference"
    alone = Gate(Limits(at_once=1))
    with alone.turn("idler", 0, idle=True):
        pass
    busy = Gate(Limits(at_once=3, memory=10))
    with busy.turn("a", 6), askers(busy):
        waits = asking(busy, "b", memory=5)
        with pytest.raises(TurnedAway), busy.turn("idler", 1, idle=True):
            raise AssertionError("somebody waits")
    waits.let_go()
