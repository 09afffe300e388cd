"""Checks of OT extension: honest sides pass, who deviates is found out, and without a check is not."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from ppc.runtime import _ot
from ppc.runtime.base.errors import PeerDeviates, RuntimeFault
from ppc.runtime.net.frame import HEADER
from ppc.runtime.ot import check as check_module
from ppc.runtime.ot import extension, silent
from ppc.runtime.ot.check import GROUP
from ppc.runtime.ot.extension import COLUMNS, Iknp, message_size
from ppc.runtime.ot.keys import choice_bits, hash_tweak, receiver_keys, sender_keys
from ppc.runtime.ot.pool import Pool, schedule, schedule_bytes
from ppc.runtime.ot.silent import B10, SETS, Lpn, Silent
from ppc.runtime.party.ledger import Place
from ppc.runtime.party.party import CLIENT, SERVER, Party, Role, priced, together

ONE = np.uint64(1)
LOW = np.array([1, 0], np.uint64)
TINY = Lpn("tiny", trees=3, log_secret=8, depth=4)
BOTH = pytest.mark.parametrize("sender", [SERVER, CLIENT])
SIZES = (1, 128, 129, 5000)


# ---- columns


def _iknp(sender: Role, sizes: tuple[int, ...], check: bool = True):
    def program(p: Party) -> tuple[Iknp, list]:
        iknp = Iknp(sender, check=check)
        with p.ledger.at(Place("setup", "ot")):
            iknp.setup(p)
        with p.ledger.at(Place("offline", "ot")):
            return iknp, [iknp.extend(p, n) for n in sizes]

    return program


@BOTH
def test_honest_columns_pass_and_are_priced(sender: Role) -> None:
    program = _iknp(sender, SIZES)
    server, client, measured = together(program)
    sent, got = (server, client) if sender is SERVER else (client, server)
    for n, q, t in zip(SIZES, sent[1], got[1], strict=True):
        assert q.shape == t.shape == (n, 2)
        assert (t == q ^ (t[:, :1] & ONE) * sent[0].delta).all()
    seen, foretold = measured.total("offline"), priced(program).total("offline")
    assert (seen.server, seen.client, seen.flights) == (foretold.server, foretold.client, foretold.flights)
    unchecked = priced(_iknp(sender, SIZES, check=False)).total("offline")
    assert seen.flights == unchecked.flights == 1
    assert seen.bytes - unchecked.bytes == len(SIZES) * (COLUMNS * 16 + 128 * 16 + HEADER.size)
    assert seen.bytes == sum(2 * HEADER.size + message_size(n, True) for n in SIZES)


def _flip(message: np.ndarray, bits: list[tuple[int, int]]) -> np.ndarray:
    """The columns of at most 4096 rows with these (row, column) changed; column 0 is not sent."""
    columns = message.copy().reshape(COLUMNS, -1)
    for row, column in bits:
        columns[column - 1, row // 8] ^= 1 << (row % 8)
    return columns.reshape(-1)


def _deviate(patch: pytest.MonkeyPatch, bits: list[tuple[int, int]]) -> None:
    real = _ot.iknp_receive

    def receive(*args):
        message, rows = real(*args)
        return _flip(message, bits), rows

    patch.setattr(_ot, "iknp_receive", receive)


FEW_ROWS = [(row, column) for row in (3, 77, 500) for column in range(1, 128)]


def test_a_receiver_with_inconsistent_columns_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """It passes with 2^-127."""
    _deviate(monkeypatch, FEW_ROWS)
    with pytest.raises(PeerDeviates, match="not all columns") as caught:
        together(_iknp(SERVER, (600,)))
    assert caught.value.exit_status == 4


def test_without_the_check_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    _deviate(monkeypatch, FEW_ROWS)
    (iknp, (q,)), (_, (t,)), _ = together(_iknp(SERVER, (600,), check=False))
    wrong = (t != q ^ (t[:, :1] & ONE) * iknp.delta).any(axis=1)
    assert set(np.flatnonzero(wrong)) == {3, 77, 500}


def test_without_the_check_127_rows_tell_all_of_delta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a receiver can tell which key fits, each row whose column it has changed is a bit of Delta."""
    _deviate(monkeypatch, [(row, row + 1) for row in range(COLUMNS)])
    (iknp, (q,)), (_, (t,)), _ = together(_iknp(SERVER, (600,), check=False))
    found, tweak = 1, hash_tweak(iknp.tag)
    for row in range(COLUMNS):
        zero, one = sender_keys(q[row : row + 1], iknp.delta, tweak, row, 16)
        used = one if t[row, 0] & ONE else zero  # the key of a message that the receiver knows
        changed = t[row : row + 1].copy()
        changed[0, (row + 1) // 64] ^= ONE << np.uint64((row + 1) % 64)
        as_it_was, other = (receiver_keys(x, tweak, row, 16).tobytes() for x in (t[row : row + 1], changed))
        assert used.tobytes() in (as_it_was, other)
        found |= (used.tobytes() == other) << (row + 1)
    assert found == int.from_bytes(iknp.delta.tobytes(), "little")


@pytest.mark.long
@pytest.mark.parametrize("column", [1, 64, 127])
def test_a_receiver_that_deviates_in_one_column_passes_where_deltas_bit_is_0(
    monkeypatch: pytest.MonkeyPatch, column: int
) -> None:
    """A guess of d bits of Delta: right with 2^-d, and otherwise the end."""
    _deviate(monkeypatch, [(9, column)])
    outcomes, held = set(), []

    def program(p: Party) -> None:
        iknp = Iknp(SERVER, check=True)
        iknp.setup(p)
        if p.role is SERVER:
            held.append(iknp.delta)
        iknp.extend(p, 600)

    for _ in range(12):
        caught = _raises(program)
        bit = int.from_bytes(held[-1].tobytes(), "little") >> column & 1
        assert isinstance(caught, PeerDeviates) == bool(bit)
        outcomes.add(bit)
    assert outcomes == {0, 1}


def _raises(program: Callable[[Party], object]) -> RuntimeFault | None:
    try:
        together(program)
    except RuntimeFault as fault:
        return fault
    return None


def test_what_the_receiver_says_of_its_choices_is_masked() -> None:
    """By a group that nobody gets: with all other choices 0 the hash of the choices is the mask's own."""
    mask, said = np.random.default_rng(4).bytes(16), []

    def program(p: Party) -> np.ndarray:
        iknp, tell = Iknp(SERVER, check=True), p.tell_bytes
        iknp.setup(p)

        def listen(speaker, size, make):
            out = tell(speaker, size, make)
            if p.role is SERVER and size == check_module.COLUMNS_SIZE:
                said.append(bytes(out)[:16])
            return out

        p.tell_bytes = listen
        p.prg.bytes = lambda n: np.frombuffer(bytes(n - 16) + mask, np.uint8)
        return iknp.extend(p, 256)

    _, t, _ = together(program)
    assert said == [mask]
    assert not choice_bits(t).any()


def test_the_challenge_depends_on_all_that_was_said() -> None:
    said, tag = bytes(100), b"t" * 16
    seen = {check_module.challenge(b"a", tag, 1, said).tobytes()}
    for person, number, own, words in (
        (b"b", 1, tag, said),
        (b"a", 2, tag, said),
        (b"a", 1, b"u" * 16, said),
        (b"a", 1, tag, said[:-1] + b"\1"),
    ):
        seen.add(check_module.challenge(person, own, number, words).tobytes())
    assert len(seen) == 5


# ---- leaves


def _cots(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Delta, q, t: a dealer's COTs."""
    words = np.random.default_rng(7).integers(0, 2**64, (n + 1, 2), dtype=np.uint64)
    delta, q = words[:1] | LOW, words[1:] & ~LOW
    c = np.random.default_rng(8).integers(0, 2, (n, 1)).astype(np.uint64)
    return delta, q, q ^ c * delta


def _silent(sender: Role, lpn: Lpn, check: bool = True):
    delta, q, t = _cots(lpn.spends(check))

    def program(p: Party) -> np.ndarray | None:
        own = delta if p.role is sender else None
        extension = Silent(sender, own, None if p.pricing else b"t" * 16, check=check)
        with p.ledger.at(Place("offline", "ot")):
            return extension.extend(p, lpn, None if p.pricing else q if p.role is sender else t)

    return delta, program


@BOTH
@pytest.mark.parametrize("lpn", [TINY, B10], ids=["tiny", "b10"])
def test_honest_trees_pass_and_are_priced(sender: Role, lpn: Lpn) -> None:
    delta, program = _silent(sender, lpn)
    server, client, measured = together(program)
    q, t = (server, client) if sender is SERVER else (client, server)
    assert (t == q ^ (t[:, :1] & ONE) * delta).all()
    seen, foretold = measured.total("offline"), priced(program).total("offline")
    assert (seen.server, seen.client, seen.flights) == (foretold.server, foretold.client, foretold.flights)
    assert seen.flights == 3
    assert seen.bytes == lpn.says(True) + 3 * HEADER.size == lpn.message_size + 16 + 32 + 3 * HEADER.size


def _grow(patch: pytest.MonkeyPatch, change: Callable[[np.ndarray, np.ndarray], None]) -> None:
    """A sender whose sums and leaves are changed in place."""
    real = _ot.ggm_send

    def send(*args):
        message, leaves = real(*args)
        change(message, leaves)
        return message, leaves

    patch.setattr(_ot, "ggm_send", send)


@pytest.mark.parametrize("level", range(TINY.depth))
def test_a_sender_with_one_wrong_sum_is_caught(monkeypatch: pytest.MonkeyPatch, level: int) -> None:
    def change(message: np.ndarray, leaves: np.ndarray) -> None:
        message[16 * (TINY.depth + level) + 5] ^= 2

    _grow(monkeypatch, change)
    with pytest.raises(PeerDeviates, match="its trees"):
        together(_silent(SERVER, TINY)[1])
    delta, unchecked = _silent(SERVER, TINY, check=False)
    q, t, _ = together(unchecked)
    assert (t != q ^ (t[:, :1] & ONE) * delta).any()


def test_a_sender_whose_trees_have_another_delta_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = _ot.ggm_send
    other = np.array([[4, 0]], np.uint64)
    monkeypatch.setattr(
        _ot, "ggm_send", lambda seed, tweak, delta, *rest: real(seed, tweak, delta ^ other, *rest)
    )
    with pytest.raises(PeerDeviates):
        together(_silent(CLIENT, TINY)[1])
    together(_silent(CLIENT, TINY, check=False)[1])


def test_a_sender_that_guesses_a_hole_passes_where_it_guesses_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the last sum is one of two leaves, at the hole: the sender allows for it there."""
    _, _, t = _cots(TINY.spends(True))
    path = 1 - (t[TINY.secret : TINY.secret + TINY.depth, 0] & ONE).astype(int)
    pair = int(path[:-1] @ (1 << np.arange(TINY.depth - 1)[::-1]))
    for guess in range(1 << TINY.depth - 1):

        def change(message: np.ndarray, leaves: np.ndarray, guess: int = guess) -> None:
            message[16 * (TINY.depth - 1)] ^= 2
            leaves[2 * guess : 2 * guess + 2, 0] ^= np.uint64(2)

        with monkeypatch.context() as patch:
            _grow(patch, change)
            assert isinstance(_raises(_silent(SERVER, TINY)[1]), PeerDeviates) == (guess != pair)


def test_what_the_receiver_says_of_its_holes_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the 128 COTs' choice bits changed, and nothing else, it says something else by just these bits."""
    said = []
    delta, q, t = _cots(TINY.spends(True))
    for flipped in (0, 1):
        own = t.copy()
        own[TINY.spent :] ^= np.uint64(flipped) * delta
        heard: list[bytes] = []

        def program(p: Party, own: np.ndarray = own, heard: list[bytes] = heard) -> None:
            tell = p.tell_bytes

            def listen(speaker, size, make):
                out = tell(speaker, size, make)
                if p.role is SERVER and size == check_module.MASKED_SIZE:
                    heard.append(bytes(out))
                return out

            p.tell_bytes = listen
            p.prg.bytes = lambda n: np.zeros(n, np.uint8)  # equal roots, so equal challenges
            mine = delta if p.role is SERVER else None
            Silent(SERVER, mine, b"t" * 16, check=True).extend(p, TINY, q if p.role is SERVER else own)

        together(program)
        said.append(int.from_bytes(heard[0], "little"))
    assert said[0] ^ said[1] == (1 << 128) - 1


# ---- both, in a pool


def _pool(sender: Role, count: int, check: bool = True):
    def program(p: Party) -> tuple[Pool, np.ndarray | None]:
        pool = Pool(p, sender, check=check)
        with p.ledger.at(Place("setup", "ot")):
            pool.plan(count)
        with p.ledger.at(Place("offline", "ot")):
            return pool, pool.take(count)[1]

    return program


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("count", [700, 1_200_000])
def test_a_checked_pool_gives_right_cots_at_its_price(sender: Role, count: int) -> None:
    program = _pool(sender, count)
    server, client, measured = together(program)
    (pool, q), (_, t) = (server, client) if sender is SERVER else (client, server)
    assert (t == q ^ (t[:, :1] & ONE) * pool.delta).all()
    assert abs(choice_bits(t).mean() - 0.5) < 3 / count**0.5
    seen, foretold = measured.total("offline"), priced(program).total("offline")
    assert (seen.server, seen.client, seen.flights) == (foretold.server, foretold.client, foretold.flights)
    steps = schedule(count, True)
    assert [kind for kind, _ in steps] == [kind for kind, _ in schedule(count)]
    messages = sum(2 if kind == "iknp" else 3 * times for kind, times in steps)
    assert seen.bytes == schedule_bytes(steps, True) + messages * HEADER.size


def test_a_check_is_planned_for_in_every_iteration() -> None:
    for count in (300_000, 870_400, 5_000_000, 50_000_000):
        stock = 0
        for kind, times in schedule(count, True):
            if kind == "iknp":
                stock += times
                continue
            for _ in range(times):
                assert stock >= SETS[kind].spent + GROUP
                stock += SETS[kind].made - SETS[kind].spent - GROUP
        assert stock >= count


@pytest.mark.long
def test_a_wrong_sum_among_a_million_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(message: np.ndarray, leaves: np.ndarray) -> None:
        message[16 * 100 * B10.depth] ^= 2

    _grow(monkeypatch, change)
    with pytest.raises(PeerDeviates):
        together(_pool(SERVER, 700_000))
    together(_pool(SERVER, 700_000, check=False))


def _left_out(module: object, name: str, role: Role, patch: pytest.MonkeyPatch) -> None:
    """``role`` does not take part in a check; what it says next goes into the other's."""
    real = getattr(module, name)
    patch.setattr(module, name, lambda p, *rest: None if p.role is role else real(p, *rest))


@pytest.mark.parametrize(("module", "name"), [(extension, "check_columns"), (silent, "check_leaves")])
def test_a_check_cannot_be_left_out(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
    """Whatever the peer says instead, or nothing: the side that checks does not go on."""
    checks = SERVER  # the sender checks columns, the receiver leaves
    sender = SERVER if name == "check_columns" else CLIENT
    _left_out(module, name, checks.other, monkeypatch)
    went_on = threading.Event()

    def program(p: Party) -> None:
        if name == "check_columns":
            iknp = Iknp(sender, check=True)
            iknp.setup(p)
            iknp.extend(p, 600)
        else:
            _silent(sender, TINY)[1](p)
        if p.role is checks:
            went_on.set()
        p.tell_bytes(checks.other, check_module.VERDICT_SIZE, lambda: bytes(check_module.VERDICT_SIZE))

    assert _raises(program) is not None
    assert not went_on.is_set()
