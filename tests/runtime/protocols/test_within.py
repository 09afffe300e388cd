"""The zero test and the limits of values, against plain integers."""

from __future__ import annotations

import numpy as np
import pytest

from ppc.runtime.base.prg import Prg
from ppc.runtime.base.ring import Fixed
from ppc.runtime.party.party import Party
from ppc.runtime.party.role import CLIENT, SERVER, Role
from ppc.runtime.protocols.all_zero import all_zero, all_zero_offline, times
from ppc.runtime.protocols.within import Limits, within, within_offline
from tests.runtime.protocols.test_protocols import Secret

rng = np.random.default_rng(11)
F = Fixed(24, 8)


def _words(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def inverse(a: np.ndarray) -> np.ndarray:
    """a^(2^64 - 2)"""
    found = _words(1)
    for _ in range(63):
        found = times(times(found, found), a)
    return times(found, found)


def test_products_are_those_of_a_field():
    a, b, c = (rng.integers(0, 2**64, 50, np.uint64) for _ in range(3))
    assert np.array_equal(times(a, b), times(b, a))
    assert np.array_equal(times(a, times(b, c)), times(times(a, b), c))
    assert np.array_equal(times(a, b ^ c), times(a, b) ^ times(a, c))
    assert np.array_equal(times(a, _words(1)), a)
    # X^63·X = X^64 = X^4 + X^3 + X + 1, and no product of what is not 0 is 0
    assert times(_words(1 << 63), _words(2)) == 0b11011
    assert times(a[a != 0], b[a != 0])[b[a != 0] != 0].all()
    assert np.array_equal(times(inverse(a), a), np.ones(50, np.uint64))


@pytest.mark.parametrize("size", [1, 7, 200])
def test_one_bit_of_many_is_noticed(two, size):
    mine = rng.integers(0, 2, (4, size)).astype(np.uint8)
    yours = mine.copy()
    yours[1, rng.integers(size)] ^= 1
    yours[3] ^= 1
    shares = {SERVER: list(mine), CLIENT: list(yours)}

    def program(p):
        made = all_zero_offline(p, 4)
        return all_zero(p, [None] * 4 if p.pricing else shares[p.role], made)

    found = two(program)
    assert found.client.tolist() == [True, False, True, False]
    assert found.server is None


@pytest.fixture
def said(monkeypatch) -> dict[Role, list[np.ndarray]]:
    """Words that the speaker told, as the other heard them."""
    found: dict[Role, list[np.ndarray]] = {CLIENT: [], SERVER: []}
    tell = Party.tell

    def overheard(p, speaker, *rest):
        words = tell(p, speaker, *rest)
        if p.role is not None and p.role is not speaker:
            found[speaker].append(words)
        return words

    monkeypatch.setattr(Party, "tell", overheard)
    return found


def _zero_test(two, groups: int):
    """Of three bits a group, all 1 at the server and 0 at the client."""

    def program(p):
        made = all_zero_offline(p, groups)
        bits = [None if p.pricing else np.full(3, p.role is SERVER, np.uint8)] * groups
        all_zero(p, bits, made)
        return made

    made = two(program)
    prg = Prg(made.client.seed.tobytes())
    sums = np.array([np.bitwise_xor.reduce(prg.ring(64, (3,))) for _ in range(groups)], np.uint64)
    return made, sums


def test_what_the_client_sees_of_another_sum_is_uniform(two, said):
    """It knows the words: the sum itself, or several with one factor, would tell which bits are set."""
    made, sums = _zero_test(two, 200)
    seen = made.client.rx ^ said[SERVER][-1]
    assert np.array_equal(seen, times(made.server.r, sums))
    factors = times(seen, inverse(sums))
    assert len(set(factors.tolist())) == 200
    for words in (seen, factors):
        assert abs(np.unpackbits(words.view(np.uint8)).mean() - 0.5) < 0.03


def test_what_the_server_hears_of_the_clients_sum_is_masked(two, said):
    _, _ = _zero_test(two, 200)
    masks = said[CLIENT][-1]  # the client's bits are 0, and so is their sum
    assert len(set(masks.tolist())) == 200
    assert abs(np.unpackbits(masks.view(np.uint8)).mean() - 0.5) < 0.03


LIMITS = [Limits(16, 4096), Limits(None, 4096, 6), Limits(64, 1 << 16, 3), Limits(-512, None)]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("wrong", [None, "below", "above", "far"])
def test_values_within_limits(two, limits, wrong):
    slack = (1 << limits.drop) if limits.drop else 0
    low = -(1 << 20) if limits.low is None else limits.low + slack
    high = 1 << 20 if limits.high is None else limits.high
    values = rng.integers(low, high, (5, 3))
    values.flat[:2] = low, high - 1
    if wrong == "below":
        values[3, 1] = (low if limits.low is None else limits.low) - (0 if limits.low is None else 1)
    if wrong == "above":
        values[3, 1] = high - 1 if limits.high is None else high + slack
    if wrong == "far" and None not in (limits.low, limits.high):
        # whatever is not a turn of the ring away is noticed, beyond its half too
        values[3, 1] = int(rng.integers(high + slack, (1 << F.bits) + limits.low - slack))
    x = Secret(F, values)
    fine = Secret(Fixed(19, 8), rng.integers(0, 100, (7,)))

    def program(p):
        asked = [(x.num, values.shape, limits), (fine.num, (7,), Limits(0, 100))]
        made = [within_offline(p, asked, groups) for groups in (1, 2)]
        shares = [(x.at(p), limits), (fine.at(p), Limits(0, 100))]
        return [within(p, shares, groups, each) for groups, each in zip((1, 2), made, strict=True)]

    left = bool(limits.left(values, F).any())
    assert left == (
        (wrong == "below" and limits.low is not None)
        or (wrong == "above" and limits.high is not None)
        or (wrong == "far" and None not in (limits.low, limits.high))
    )
    found = two(program)
    assert found.client[0].tolist() == [not left]
    assert found.client[1].tolist() == [not left, True]


@pytest.mark.parametrize(("low", "high", "drop"), [(None, None, 0), (3, 2, 0), (1, 8, 2)])
def test_limits_that_are_none(low, high, drop):
    with pytest.raises(ValueError, match=r"limits|ascend|multiples"):
        Limits(low, high, drop)


def test_limits_beyond_a_ring():
    with pytest.raises(ValueError, match="beyond"):
        Limits(0, 1 << 23).check(F)
