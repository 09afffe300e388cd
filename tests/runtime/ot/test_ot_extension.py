from __future__ import annotations

import numpy as np
import pytest

from ppc.runtime import _ot
from ppc.runtime.net.frame import HEADER
from ppc.runtime.ot.extension import Iknp, message_size
from ppc.runtime.party.ledger import Place
from ppc.runtime.party.party import CLIENT, SERVER, Party, Role, priced, together

BOTH = pytest.mark.parametrize("sender", [SERVER, CLIENT])
ONE = np.uint64(1)
SIZES = (1, 127, 128, 129, 4096, 4097, 9000)


def _program(sender: Role, sizes: tuple[int, ...]):
    def program(p: Party) -> tuple[Iknp, list]:
        iknp = Iknp(sender)
        with p.ledger.at(Place("setup", "ot")):
            iknp.setup(p)
        with p.ledger.at(Place("offline", "ot")):
            return iknp, [iknp.extend(p, n) for n in sizes]

    return program


def _run(sender: Role, sizes: tuple[int, ...] = (600,)) -> tuple[np.ndarray, list, list]:
    """Delta, the sender's blocks, the receiver's blocks."""
    server, client, _ = together(_program(sender, sizes))
    sent, got = (server, client) if sender is SERVER else (client, server)
    assert got[0].delta is None
    return sent[0].delta, sent[1], got[1]


@BOTH
def test_blocks_are_correlated(sender: Role) -> None:
    delta, sent, got = _run(sender, SIZES)
    assert delta[0, 0] & ONE
    for n, q, t in zip(SIZES, sent, got, strict=True):
        assert q.shape == t.shape == (n, 2)
        assert not (q[:, 0] & ONE).any()
        assert (t == q ^ (t[:, :1] & ONE) * delta).all()


def test_choice_bits_are_balanced_and_unrelated_to_the_blocks() -> None:
    _, (q,), (t,) = _run(SERVER, (20000,))
    bits = np.unpackbits(np.ascontiguousarray(q).view(np.uint8), axis=1, bitorder="little")
    choice = (t[:, 0] & ONE).astype(np.uint8)
    assert abs(choice.mean() - 0.5) < 0.022  # 6 sigma
    assert np.abs(bits[:, 1:].mean(axis=0) - 0.5).max() < 0.025
    assert np.abs((bits[:, 1:] ^ choice[:, None]).mean(axis=0) - 0.5).max() < 0.025


def test_two_sessions_share_nothing() -> None:
    a, b = _run(SERVER), _run(SERVER)
    assert (a[0] != b[0]).all()
    assert (a[1][0] != b[1][0]).all()


def test_no_column_stream_is_used_twice() -> None:
    """Were the counter not advanced, q of two calls would agree in every column where Delta is 0."""
    _, (first, second), _ = _run(SERVER, (256, 256))
    changed = np.bitwise_or.reduce(first ^ second, axis=0)
    assert changed[0] == ~ONE
    assert changed[1] == ~np.uint64(0)


def test_the_message_hides_the_choices() -> None:
    """Column by column, the message is no constant multiple of the choice bits."""
    rng = np.random.default_rng(3)
    seeds = [np.frombuffer(rng.bytes(16 * _ot.COLUMNS), np.uint8) for _ in range(2)]
    choices = np.full(256, 255, np.uint8)
    message, _ = _ot.iknp_receive(*seeds, 0, choices)
    ones = np.unpackbits(message.reshape(_ot.COLUMNS, -1), axis=1).mean(axis=1)
    assert np.abs(ones - 0.5).max() < 0.1


@BOTH
def test_the_price_is_exact(sender: Role) -> None:
    program = _program(sender, SIZES)
    measured, predicted = together(program)[2], priced(program)
    for phase in ("setup", "offline"):
        m, c = measured.total(phase), predicted.total(phase)
        assert (m.server, m.client, m.flights) == (c.server, c.client, c.flights)
    total = predicted.total("offline")
    assert total.bytes == sum(HEADER.size + message_size(n) for n in SIZES)
    assert message_size(128) == 127 * 16


def test_extending_before_setup_is_refused() -> None:
    with pytest.raises(RuntimeError, match="before its base OTs"):
        Iknp(SERVER).extend(Party(None), 1)


def test_kernels_refuse_wrong_sizes() -> None:
    seeds = np.zeros(16 * _ot.COLUMNS, np.uint8)
    delta = np.array([[1, 0]], np.uint64)
    with pytest.raises(ValueError, match="127 seeds"):
        _ot.iknp_receive(seeds[:-16], seeds, 0, seeds[:16])
    with pytest.raises(ValueError, match="128 bits"):
        _ot.iknp_receive(seeds, seeds, 0, seeds[:15])
    with pytest.raises(ValueError, match="127 columns"):
        _ot.iknp_send(seeds, delta, 0, seeds[:-1])
    with pytest.raises(ValueError, match="lowest bit"):
        _ot.iknp_send(seeds, delta - ONE, 0, seeds)


def test_printing_shows_counts_only() -> None:
    server, _, _ = together(_program(SERVER, (600,)))
    assert repr(server[0]) == "Iknp(sender=server, 640 made)"
