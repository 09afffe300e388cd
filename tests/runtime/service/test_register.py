"""Who may ask and how often: names, days, and that nobody gets more by asking at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from command import called

from ppc.runtime.base.errors import BadInput
from ppc.runtime.net.frame import Notice, Told
from ppc.runtime.service.gate import TurnedAway
from ppc.runtime.service.register import Client, Register


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, 22, 30, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def register(tmp_path, clock):
    with Register(tmp_path / "clients.db", create=True, now=clock) as made:
        yield made


def test_a_client_has_so_many_a_day(register, clock):
    register.allow("alice", 2)
    for _ in range(2):
        register.count("alice")
    with pytest.raises(TurnedAway, match="quota: alice has had its 2 of 2026-03-01") as fault:
        register.count("alice")
    assert fault.value.notice == Notice(Told.QUOTA, 90 * 60 + 1)
    assert register.clients() == [Client("alice", 2, 2)]
    clock.at += timedelta(hours=2)
    register.count("alice")
    assert register.clients() == [Client("alice", 2, 1)]


def test_who_is_not_on_the_list_is_not_answered(register):
    register.allow("alice", None)
    for ask in (register.count, register.known):
        for name in ("bob", None):
            with pytest.raises(TurnedAway, match="unknown: ") as fault:
                ask(name)
            assert fault.value.notice.told is Told.UNKNOWN
    assert register.known("alice") is None
    register.remove("alice")
    with pytest.raises(TurnedAway):
        register.count("alice")
    with pytest.raises(BadInput, match="holds no client 'alice'"):
        register.remove("alice")


def test_a_client_that_is_allowed_anew_keeps_what_it_has_used(register):
    register.allow("alice", 1)
    register.count("alice")
    register.allow("alice", 3)
    assert register.clients() == [Client("alice", 3, 1)]


def test_nobody_gets_more_by_asking_at_the_same_time(tmp_path, clock):
    """Two processes' worth of connections to one file."""
    with (
        Register(tmp_path / "r.db", create=True, now=clock) as one,
        Register(tmp_path / "r.db", now=clock) as two,
    ):
        one.allow("alice", 10)

        def ask(i: int) -> bool:
            try:
                (one, two)[i % 2].count("alice")
            except TurnedAway:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(ask, range(40))) == 10


def test_it_lasts(tmp_path, clock):
    with Register(tmp_path / "r.db", create=True, now=clock) as register:
        register.allow("alice", 1)
        register.count("alice")
    with Register(tmp_path / "r.db", now=clock) as register, pytest.raises(TurnedAway):
        register.count("alice")


def test_what_is_no_register_is_one_line(tmp_path):
    with pytest.raises(BadInput, match=r"no such register; make it with ppc clients .* --allow NAME"):
        Register(tmp_path / "none.db")
    (tmp_path / "junk.db").write_bytes(b"junk" * 1000)
    with pytest.raises(BadInput, match="cannot be used: file is not a database"):
        Register(tmp_path / "junk.db")


def test_the_command(tmp_path):
    path = tmp_path / "clients.db"
    called("clients", path).failed(2, "no such register")
    done = called("clients", path, "--allow", "alice", "--allow", "bob", "--per-day", 5)
    assert done.out == "alice: 0 today of 5\nbob: 0 today of 5\n"
    assert called("clients", path, "--allow", "carol").out.endswith("carol: 0 today of any number\n")
    assert called("clients", path, "--remove", "bob", "--json").json == {
        "clients": [
            {"name": "alice", "per_day": 5, "today": 0},
            {"name": "carol", "per_day": None, "today": 0},
        ]
    }
    called("clients", path, "--per-day", 5).failed(2, "give --allow NAME")
