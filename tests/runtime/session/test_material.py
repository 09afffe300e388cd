"""Prepared material is claimed once, whoever dies when; what is damaged or another's is not used."""

from __future__ import annotations

import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from crashing import CHANGES, Deadly, killed_everywhere
from sides import told
from tiny import tiny_plan, tiny_weights

from ppc.runtime.base.errors import BadInput
from ppc.runtime.party.role import CLIENT, SERVER
from ppc.runtime.plan.file import weights_digest
from ppc.runtime.protocols.booleans import SelectMade
from ppc.runtime.protocols.multiply import SquareMade
from ppc.runtime.protocols.random_ot import RandomOt
from ppc.runtime.session import once
from ppc.runtime.session.held import Held
from ppc.runtime.session.material import HEAD, Binding, Store
from ppc.runtime.session.once import DIGEST

pytestmark = pytest.mark.long

BOUND = Binding.of(tiny_plan(), b"p" * DIGEST, None)


def some(seed: int = 1) -> list[Any]:
    rng = np.random.default_rng(seed)
    r = rng.integers(0, 2**26, (7, 30)).astype(np.uint64)
    choice = rng.integers(0, 2, 100).astype(np.uint64)
    return [
        None,
        SquareMade(r, r + 1),
        SelectMade(RandomOt(t0=r, t1=r ^ 5), RandomOt(choice=choice, t=choice)),
    ]


def same(found: Held | None, b: list[Any]) -> bool:
    a = list(found or ())
    return (
        a[0] is b[0] is None
        and np.array_equal(a[1].r, b[1].r)
        and np.array_equal(a[2].sent.t1, b[2].sent.t1)
        and np.array_equal(a[2].got.choice, b[2].got.choice)
    )


def put(store: Store, number: int = 1, made: list[Any] | None = None) -> bytes:
    id = bytes([number]) * 16
    store.draft(id, Held.of(made or some(number))).publish()
    return id


@pytest.fixture
def said() -> Iterator[list[str]]:
    with told() as lines:
        yield lines


@pytest.fixture
def store(tmp_path, said) -> Store:
    return Store(tmp_path / "plan.prepared", BOUND)


def names(store: Store) -> list[str]:
    return sorted(path.name for path in store.path.iterdir()) if store.path.exists() else []


def test_what_is_put_is_claimed_once(store):
    made = some()
    id = put(store, 1, made)
    assert store.ids(9) == [id]
    assert same(store.claim(id), made)
    assert store.claim(id) is None
    assert store.ids(9) == []
    assert names(store) == []


def test_a_draft_cannot_be_claimed(store):
    with store.draft(b"d" * 16, Held.of(some())) as draft:
        assert store.ids(9) == []
        assert store.claim(b"d" * 16) is None
        assert names(store) == [f"{(b'd' * 16).hex()}.client.part"]
        del draft
    assert names(store) == []


def test_newest_first_and_no_more_than_asked(store):
    ids = [put(store, i) for i in range(1, 6)]
    for i, id in enumerate(ids):
        os.utime(store.path / f"{id.hex()}.client", ns=(i, i))
    assert store.ids(3) == ids[:1:-1]


def test_a_store_that_is_not_there_is_empty(tmp_path):
    store = Store(tmp_path / "nothing", BOUND)
    assert store.ids(9) == []
    assert store.claim(b"x" * 16) is None
    assert not store.path.exists()


def test_both_roles_may_share_a_directory(store):
    other = Store(store.path, replace(BOUND, role=SERVER))
    id = put(store, 1)
    assert other.ids(9) == []
    put(other, 1, some(2))
    assert same(store.claim(id), some(1))
    assert same(other.claim(id), some(2))


# Who may read it


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_can_read(store, umask):
    before = os.umask(umask)
    try:
        draft = store.draft(b"m" * 16, Held.of(some()))
        modes = {stat.S_IMODE(path.stat().st_mode) for path in store.path.iterdir()}
        draft.publish()
    finally:
        os.umask(before)
    modes |= {stat.S_IMODE(path.stat().st_mode) for path in store.path.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o755])
def test_an_open_directory_is_refused(store, mode):
    put(store)
    store.path.chmod(mode)
    with pytest.raises(BadInput, match="chmod 700"):
        Store(store.path, BOUND)
    with pytest.raises(BadInput, match="chmod 700"):
        put(store, 2)


def test_an_open_file_is_passed_over(store, said):
    id = put(store)
    (store.path / f"{id.hex()}.client").chmod(0o640)
    assert store.ids(9) == []
    assert store.claim(id) is None
    assert len(said) == 1
    assert "other users can read it" in said[0]


def test_a_link_is_not_followed(store, tmp_path):
    id = put(store)
    path = store.path / f"{id.hex()}.client"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert store.ids(9) == []
    assert store.claim(id) is None
    assert (tmp_path / "elsewhere").exists()


def test_a_full_disk_is_one_clear_fault(store, monkeypatch):
    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(BadInput, match="written: No space left"):
        put(store)
    assert names(store) == []


# What does not belong


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"plan": b"q" * 32}, "of another plan"),
        ({"parameters": b"q" * 32}, "of other parameters, --check-ot among them"),
        ({"weights": b"q" * 32}, "of other weights"),
    ],
)
def test_material_of_another_is_passed_over_and_left(store, said, change, why):
    other = Store(store.path, replace(BOUND, **change))
    ids = [put(other, i) for i in (1, 2, 3)]
    for _ in range(2):
        assert store.ids(9) == []
    assert len(said) == 1
    assert said[0].endswith(f"and 2 more: passed over: {why}")
    assert all(store.claim(id) is None for id in ids)
    assert all(other.claim(id) is not None for id in ids)


def test_material_under_another_name_is_passed_over(store, said):
    id = put(store)
    for name, why in (
        (f"{bytes(16).hex()}.client", "of another id"),
        (f"{id.hex()}.server", "of the other role"),
    ):
        shutil.copy(store.path / f"{id.hex()}.client", store.path / name)
        there = Store(store.path, replace(BOUND, role=SERVER)) if "server" in name else store
        assert there.claim(bytes.fromhex(name[:32])) is None
        assert said.pop().endswith(why)


def test_weights_decide_what_is_the_servers():
    plan, weights = tiny_plan(), tiny_weights()
    other = weights | {"bias": weights["bias"] + 1}
    assert weights_digest(plan, weights) == weights_digest(plan, tiny_weights())
    assert weights_digest(plan, weights) != weights_digest(plan, other)
    assert Binding.of(plan, b"", weights).role is SERVER
    assert Binding.of(plan, b"", None) == Binding(CLIENT, bytes.fromhex(plan.hash), b"", bytes(DIGEST))


@pytest.mark.parametrize("at", [0, 8, HEAD.size + 3, -DIGEST - 1, -1])
def test_a_flipped_bit_is_found(store, said, at):
    id = put(store)
    path = store.path / f"{id.hex()}.client"
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)
    assert store.claim(id) is None
    assert len(said) == 1
    assert store.claim(put(store, 2)) is not None


@pytest.mark.parametrize("left", [0, 7, HEAD.size - 1, HEAD.size, HEAD.size + 20, -DIGEST, -1])
def test_half_a_file_is_not_used(store, said, left):
    id = put(store)
    path = store.path / f"{id.hex()}.client"
    path.write_bytes(path.read_bytes()[:left])
    assert store.ids(9) == []
    assert store.claim(id) is None
    assert len(said) == 1


def test_more_than_a_file_is_not_used(store, said):
    id = put(store)
    with open(store.path / f"{id.hex()}.client", "ab") as file:
        file.write(b"\0")
    assert store.ids(9) == []
    assert "damaged" in said[0]


def test_strange_names_are_not_looked_at(store, said):
    put(store)
    for name in ("readme", "x" * 32 + ".client", f"{'a' * 31}.client", f"{'A' * 32}.client"):
        (store.path / name).write_bytes(b"?")
    assert len(store.ids(9)) == 1
    assert not said


# Who dies when


def test_a_writer_that_dies_leaves_a_whole_file_or_none(tmp_path, said):
    path, id = tmp_path / "store", b"w" * 16

    def work() -> None:
        Store(path, BOUND).draft(id, Held.of(some())).publish()

    found: list[int] = []

    def check(when: str) -> None:
        store = Store(path, BOUND)
        assert not [name for name in names(store) if not name.endswith(".client")], "the sweep left something"
        found.append(len(store.ids(9)))
        made = store.claim(id)
        assert (made is not None) == bool(found[-1])
        assert made is None or same(made, some())
        assert not said
        assert store.claim(put(store, 7)) is not None

    killed = killed_everywhere(lambda: shutil.rmtree(path, ignore_errors=True), work, check)
    assert killed >= 2 * 6  # open, write, fsync, rename, open and fsync of the directory
    assert found == sorted(found), "published, then gone again"
    assert set(found) == {0, 1}


def test_a_claimer_that_dies_uses_nothing_that_another_uses(tmp_path, monkeypatch):
    """The child notes the id when the first of its arrays is read; then it is killed."""
    path, id = tmp_path / "store", b"c" * 16
    note = tmp_path / "note"
    load = Store._load

    def noted(self, file, id, memory):
        with open(note, "ab") as out:
            out.write(id)
        return load(self, file, id, memory)

    def prepare() -> None:
        shutil.rmtree(path, ignore_errors=True)
        note.unlink(missing_ok=True)
        put(Store(path, BOUND), id[0])

    def work() -> None:
        Store._load = noted
        assert Store(path, BOUND).claim(id) is not None

    used: Counter[tuple[bool, bool]] = Counter()

    def check(when: str) -> None:
        store = Store(path, BOUND)
        child, parent = note.exists(), store.claim(id) is not None
        used[child, parent] += 1
        assert names(store) == [], "what the dead left is swept"
        assert store.claim(put(store, 7)) is not None

    killed = killed_everywhere(prepare, work, check)
    assert killed >= 2 * 5  # open, rename, open and fsync of the directory, unlink
    assert used[True, True] == 0, "one id was used twice"
    assert min(used[True, False], used[False, True], used[False, False]) > 0


def test_a_claim_lasts_before_a_byte_is_read(store, monkeypatch):
    """What a power cut may undo is only what was not yet made to last."""
    id = put(store)
    deadly = Deadly()
    monkeypatch.setattr(once, "os", deadly)
    load = Store._load
    monkeypatch.setattr(Store, "_load", lambda *args: deadly.calls.append("load") or load(*args))
    store.claim(id)
    assert deadly.calls == ["open", "rename", "open", "fsync", "load", "unlink"]
    assert set(deadly.calls) - {"load"} <= set(CHANGES)


def test_a_file_lasts_before_it_has_its_name(store, monkeypatch):
    deadly = Deadly()
    monkeypatch.setattr(once, "os", deadly)
    put(store)
    assert deadly.calls == ["open", "write", "fsync", "rename", "open", "fsync"]


def test_a_claim_that_does_not_last_is_not_used(store, said, monkeypatch):
    id = put(store)

    def failing(fd):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        assert store.claim(id) is None
    assert store.claim(id) is None
    assert "Input/output error" in said[0]


def test_many_claimers_share_out_what_is_there(tmp_path):
    path, ids = tmp_path / "store", [bytes([i]) * 16 for i in range(24)]
    for i in range(24):
        put(Store(path, BOUND), i)
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            try:
                store = Store(path, BOUND)
                got = [id for id in ids if store.claim(id) is not None]
                (tmp_path / f"got{number}").write_bytes(b"".join(got))
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    got = b"".join((tmp_path / f"got{number}").read_bytes() for number in range(4))
    assert sorted(got[i : i + 16] for i in range(0, len(got), 16)) == ids


def test_the_sweep_leaves_what_the_living_hold(store):
    with store.draft(b"l" * 16, Held.of(some())) as draft:
        Store(store.path, BOUND)
        draft.publish()
    assert store.ids(9) == [b"l" * 16]
