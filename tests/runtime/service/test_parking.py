"""What is kept of a connection is given out once, to its client, whoever dies when; it has its bounds."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from crashing import Deadly, killed_everywhere
from frames import tcp_pair
from sides import told

from ppc.runtime.base.errors import BadInput
from ppc.runtime.net.channel import Channel
from ppc.runtime.net.tcp import TcpTransport
from ppc.runtime.party.party import Party
from ppc.runtime.party.role import SERVER
from ppc.runtime.service.parking import HEAD, InMemory, OnDisk, Parking
from ppc.runtime.session import once
from ppc.runtime.session.connection import Connection
from ppc.runtime.session.engines import standard
from ppc.runtime.session.handshake import NO_TICKET, Ticket
from ppc.runtime.session.kept import Kept


def connection(ended: int = 1) -> Connection:
    made = Connection(Party(SERVER, Channel(TcpTransport(tcp_pair()[0], 20)), standard))
    made.ticket = made.ticket._replace(ended=ended)
    return made


def kept(ended: int = 1) -> Kept:
    return Kept.of(connection(ended))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def same(found: Kept | None, of: Kept) -> bool:
    return found is not None and found.ticket == of.ticket


@pytest.fixture(params=["in memory", "on disk"])
def made(request, tmp_path) -> Callable[..., Parking]:
    """A parking of so many, for so long, by this clock."""
    if request.param == "in memory":
        return InMemory
    return lambda most, seconds, *clock: OnDisk(tmp_path / "kept", most, seconds, check_ot=False)


def test_a_ticket_is_good_once_and_for_its_client_alone(made):
    parking, of = made(9, 60), kept()
    for name, ticket in (
        ("bob", of.ticket),
        (None, of.ticket),
        ("alice", of.ticket._replace(ended=2)),
        ("alice", of.ticket),
    ):
        parking.put(of, "alice")
        assert len(parking) == 1
        assert parking.holds(of.ticket)
        assert parking.take(NO_TICKET, name) is None
        found = parking.take(ticket, name)
        assert same(found, of) == (name == "alice" and ticket == of.ticket)
        assert parking.take(of.ticket, "alice") is None, "it was shown before"
        assert not parking.holds(of.ticket)


def test_what_is_kept_is_bounded_in_number_and_time():
    clock = Clock()
    parking, every = InMemory(2, 60, clock), [kept() for _ in range(3)]
    for each in every:
        clock.now += 10
        parking.put(each, None)
    assert len(parking) == 2
    assert parking.take(every[0].ticket, None) is None
    clock.now += 50
    assert parking.take(every[1].ticket, None) is None, "too old"
    assert same(parking.take(every[2].ticket, None), every[2])


def test_so_it_is_in_files(tmp_path):
    clock = Clock()
    parking = OnDisk(tmp_path / "kept", 2, 60, check_ot=False, clock=clock)
    every = [kept() for _ in range(3)]
    before: set[Path] = set()
    for i, each in enumerate(every):
        parking.put(each, None)
        (new,) = set(parking._once.path.iterdir()) - before
        os.utime(new, (10.0 * i, 10.0 * i))
        before = set(parking._once.path.iterdir())
    clock.now = 69.0
    again = OnDisk(tmp_path / "kept", 2, 60, check_ot=False, clock=clock)
    assert len(again) == 2
    assert again.take(every[0].ticket, None) is None
    clock.now = 70.0
    assert again.take(every[1].ticket, None) is None, "too old"
    assert same(again.take(every[2].ticket, None), every[2])


def test_tickets_are_secret_and_new_for_each_channel(tmp_path):
    of = kept()
    parking = OnDisk(tmp_path / "kept", 9, 60, check_ot=False)
    parking.put(of, None)
    assert of.ticket.id.hex() not in "".join(each.name for each in parking._once.path.iterdir())
    next_ = connection(0)
    before = next_.ticket
    of.into(next_)
    assert next_.ticket == Ticket(before.id, 1)
    assert before.id != of.ticket.id
    for text in (repr(of), repr(of.ticket)):
        assert of.ticket.id.hex() not in text
        assert repr(of.ticket.id) not in text


def test_a_connection_whose_state_was_taken_is_over():
    over = connection()
    Kept.of(over)
    with pytest.raises(RuntimeError, match="no engines"):
        _ = over.party.cots


# ---- in files


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_only_the_owner_can_read(tmp_path, umask):
    before = os.umask(umask)
    try:
        OnDisk(tmp_path / "kept", 9, 60, check_ot=False).put(kept(), None)
    finally:
        os.umask(before)
    (file,) = (tmp_path / "kept").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
    (tmp_path / "kept").chmod(0o750)
    with pytest.raises(BadInput, match="chmod 700"):
        OnDisk(tmp_path / "kept", 9, 60, check_ot=False)


def test_where_nothing_can_be_written_is_said_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="connections cannot be written: File exists"):
        OnDisk(tmp_path / "file", 9, 60, check_ot=False)


@pytest.mark.parametrize("at", [0, HEAD.size - 1, HEAD.size + 3, -1])
def test_what_is_damaged_is_not_used(tmp_path, at):
    of, parking = kept(), OnDisk(tmp_path / "kept", 9, 60, check_ot=False)
    parking.put(of, None)
    (file,) = (tmp_path / "kept").iterdir()
    data = bytearray(file.read_bytes())
    data[at] ^= 4
    file.write_bytes(data)
    with told() as said:
        assert parking.take(of.ticket, None) is None
    assert "a kept connection is not used" in said[0]


def test_nor_what_is_of_other_options(tmp_path):
    of, parking = kept(), OnDisk(tmp_path / "kept", 9, 60, check_ot=False)
    parking.put(of, None)
    with told() as said:
        assert OnDisk(tmp_path / "kept", 9, 60, check_ot=True).take(of.ticket, None) is None
    assert "of another version, or of the other --check-ot" in said[0]
    assert same(parking.take(of.ticket, None), of), "it was left to whom it belongs"


def test_a_full_disk_keeps_nothing_and_harms_nobody(tmp_path, monkeypatch):
    def full(fd, data):
        raise OSError(28, "No space left on device")

    parking = OnDisk(tmp_path / "kept", 9, 60, check_ot=False)
    with monkeypatch.context() as patch, told() as said:
        patch.setattr(os, "write", full)
        parking.put(kept(), None)
    assert "begins anew" in said[0]
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.long
def test_who_dies_while_it_takes_one_leaves_nothing_to_be_taken_again(tmp_path):
    """The child notes when it has read one; it is killed before and after each change of the disk."""
    folder, note, of = tmp_path / "kept", tmp_path / "note", kept()

    def parking() -> OnDisk:
        return OnDisk(folder, 9, 60, check_ot=False)

    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        note.unlink(missing_ok=True)
        parking().put(of, None)

    def work() -> None:
        there = OnDisk(folder, 9, 60, check_ot=False)
        load = there._load
        there._load = lambda file: (note.touch(), load(file))[1]
        assert there.take(of.ticket, None) is not None

    used: set[tuple[bool, bool]] = set()

    def check(when: str) -> None:
        used.add((note.exists(), parking().take(of.ticket, None) is not None))
        assert list(folder.iterdir()) == [], "what the dead left is swept"

    assert killed_everywhere(prepare, work, check) >= 2 * 5
    assert used == {(True, False), (False, True), (False, False)}, "never both, and each of the others"


def test_the_name_is_gone_before_a_byte_is_read(tmp_path, monkeypatch):
    of, parking, deadly = kept(), OnDisk(tmp_path / "kept", 9, 60, check_ot=False), Deadly()
    parking.put(of, None)
    load = parking._load
    monkeypatch.setattr(once, "os", deadly)
    monkeypatch.setattr(parking, "_load", lambda file: deadly.calls.append("load") or load(file))
    assert parking.take(of.ticket, None) is not None
    assert deadly.calls == ["open", "rename", "open", "fsync", "load", "unlink"]
