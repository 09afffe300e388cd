"""Every non-linear protocol against plain integers, and its cost against its price."""

from __future__ import annotations

import numpy as np
import pytest

from ppc.runtime import _ring
from ppc.runtime.base.prg import Prg
from ppc.runtime.base.ring import BIT, Fixed
from ppc.runtime.base.share import Share
from ppc.runtime.net.frame import HEADER
from ppc.runtime.party.ledger import Cost, Place
from ppc.runtime.party.party import Party, priced, reveal
from ppc.runtime.party.role import CLIENT, SERVER, Role
from ppc.runtime.protocols.booleans import and_offline, and_rows, select, select_offline
from ppc.runtime.protocols.compare import Layout, Thresholds, compare, compare_offline
from ppc.runtime.protocols.gilboa import gilboa_chosen, gilboa_random
from ppc.runtime.protocols.halves import FLIGHT
from ppc.runtime.protocols.maximum import argmax, argmax_num, argmax_offline, maximum, maximum_offline
from ppc.runtime.protocols.multiply import (
    Rows,
    multiply,
    multiply_offline,
    scaled,
    scaled_offline,
    square,
    square_offline,
)
from ppc.runtime.protocols.one_of_n import one_of_n_choice, one_of_n_entry, one_of_n_offline, one_of_n_tables
from ppc.runtime.protocols.spline import SplineSpec, spline, spline_clear, spline_offline
from ppc.runtime.protocols.truncate import truncate, truncate_offline
from ppc.runtime.session.engines import counting

rng = np.random.default_rng(7)


class Secret:
    """A value split into two shares before a test's program starts."""

    def __init__(self, num: Fixed, value: np.ndarray) -> None:
        self.num, self.value = num, np.asarray(value, np.int64)
        client = Prg().ring(num.bits, self.value.shape)
        self._shares = {CLIENT: client, SERVER: num.wrap(self.value.view(np.uint64) - client)}

    def at(self, p: Party) -> Share:
        data = None if p.pricing else self._shares[p.role]
        return Share(self.num, self.value.shape, data)


def opened(result, num: Fixed) -> np.ndarray:
    return num.signed(reveal(num.mask, result.server.ring, result.client.ring))


def integers(bits: int, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape)


@pytest.mark.parametrize(("bits", "groups", "length"), [(5, 7, 1), (22, 30, 1), (30, 3, 17), (64, 2, 3)])
def test_cross_random(two, bits, groups, length):
    d = Prg().ring(bits, (groups, length))
    for chooser in (SERVER, CLIENT):
        r = two(lambda p, c=chooser: gilboa_random(p, bits, length, [(c, groups, lambda: d)])[0])
        c = (r.server if chooser is SERVER else r.client)[0]
        assert (r.server if chooser is CLIENT else r.client)[0] is None
        num = Fixed(bits)
        assert np.array_equal(num.wrap(r.server[1] + r.client[1]), num.wrap(c[:, None] * d))


def test_cross_given(two):
    d, c = Prg().ring(27, (9, 5)), Prg().ring(11, (9,))
    r = two(lambda p: gilboa_chosen(p, SERVER, 27, 11, 9, 5, lambda: c, lambda: d))
    assert np.array_equal(Fixed(27).wrap(r.server + r.client), Fixed(27).wrap(c[:, None] * d))


@pytest.mark.parametrize(
    ("bits", "rows", "equal"), [(1, 1, False), (3, 9, False), (4, 1, True), (8, 20, True)]
)
def test_one_of_n_opens_one_entry(two, bits, rows, equal):
    """Of a comparison's tables: whether the index exceeds each bound, and whether it is one."""
    n, at = 50, 3
    index = rng.integers(0, 1 << bits, n).astype(np.uint8)
    bounds, width = rng.integers(0, 1 << bits, (n, rows)), rows * (1 + equal)
    shares, masks = (~(bounds << at)).astype(np.uint64), Prg().ring(width, (n,))

    def seal(pads: np.ndarray, turn: np.ndarray) -> np.ndarray:
        return _ring.comparison_seal(pads, turn, shares, masks, (1 << (at + bits)) - 1, at, 0, rows, equal)

    def program(p: Party):
        made = one_of_n_offline(p, SERVER, n, bits, width)
        (turn,) = p.tell_all([one_of_n_choice(made, lambda: index)])
        (said,) = p.exchange([one_of_n_tables(made, turn, seal)])
        return one_of_n_entry(made, turn, said) if p.role is CLIENT else None

    r = two(program)
    assert r.server is None
    opened = (r.client ^ masks)[:, None] >> np.arange(width, dtype=np.uint64) & np.uint64(1)
    wanted = [index[:, None] > bounds, index[:, None] == bounds][: 1 + equal]
    assert np.array_equal(opened, np.hstack(wanted))


@pytest.mark.parametrize("width", [1, 2, 8])
def test_and(two, width):
    n = 200
    x, y = ([Prg().ring(b, (n,)).astype(np.uint8) for _ in range(2)] for b in (1, width))

    def program(p: Party):
        made = [and_offline(p, n // 2, width), and_offline(p, n - n // 2, width)]
        i = 0 if p.role is SERVER else 1
        return and_rows(p, x[i], y[i], made)

    r = two(program)
    z = np.concatenate(r.server) ^ np.concatenate(r.client)
    assert np.array_equal(z, (x[0] ^ x[1]) * (y[0] ^ y[1]))


@pytest.mark.parametrize("bits", [2, 13, 30, 64])
def test_select(two, bits):
    num = Fixed(bits, 1)
    b, x = Secret(BIT, rng.integers(0, 2, (6, 5))), Secret(num, integers(bits, (6, 5)))
    r = two(lambda p: select(p, b.at(p), x.at(p), select_offline(p, num, (6, 5))))
    assert np.array_equal(opened(r, num), b.value * x.value)


def test_a_selection_is_one_flight():
    online = Place("online", "select")

    def program(p: Party) -> None:
        made = select_offline(p, Fixed(20), (100,))
        with p.ledger.at(online):
            select(p, Share(BIT, (100,), None), Share(Fixed(20), (100,), None), made)

    cost = priced(program, counting).rows[online]
    assert cost.flights == 1
    assert cost.server == cost.client == HEADER.size + (100 * 21 + 7) // 8


@pytest.mark.parametrize("bits", [3, 5, 6, 12, 16, 17, 40])
@pytest.mark.parametrize("values", [(0,), (-4, -2, 0, 2), (-1, 1)])
@pytest.mark.parametrize("sender", Role)
def test_compare(two, bits, values, sender):
    thresholds = Thresholds(values) if bits > 4 else Thresholds((0,))
    reach = 2 ** (bits - 1) - 5 if bits > 4 else 2 ** (bits - 1) - 1
    near = np.arange(-8, 9).clip(-reach - 1, reach)
    x = Secret(Fixed(bits), np.concatenate([near, rng.integers(-reach, reach + 1, 40)]))
    made = lambda p: compare_offline(p, Fixed(bits), x.value.shape, thresholds, sender)  # noqa: E731
    r = two(lambda p: compare(p, x.at(p), thresholds, made(p)))
    expected = x.value[:, None] >= np.array(thresholds.values)
    assert np.array_equal(opened(r, BIT) & 1, expected)


def test_compare_with_dropped_bits_errs_only_below_a_threshold(two):
    thresholds, num = Thresholds((-64, 0, 128), drop=4), Fixed(14)
    x = Secret(num, rng.integers(-1000, 1000, 3000))
    r = two(lambda p: compare(p, x.at(p), thresholds, compare_offline(p, num, (3000,), thresholds)))
    wrong = (opened(r, BIT) & 1) != (x.value[:, None] >= np.array(thresholds.values))
    distance = x.value[:, None] - np.array(thresholds.values)
    assert np.all(np.abs(distance[wrong]) <= 16)


@pytest.mark.long
@pytest.mark.parametrize("count", [32, 33, 70])
@pytest.mark.parametrize("step", [1, 32])
def test_more_thresholds_than_a_table_serves(two, count, step):
    thresholds, num = Thresholds(tuple(step * (i - count // 2) for i in range(count))), Fixed(14)
    x = Secret(num, rng.integers(-step * count, step * count, 200))
    r = two(lambda p: compare(p, x.at(p), thresholds, compare_offline(p, num, (200,), thresholds)))
    assert np.array_equal(opened(r, BIT) & 1, x.value[:, None] >= np.array(thresholds.values))


def test_thresholds_that_do_not_ascend_are_refused():
    with pytest.raises(ValueError, match="ascend"):
        Thresholds((1, 0))
    with pytest.raises(ValueError, match="257 thresholds, more than the 256"):
        Thresholds(tuple(range(257)))
    with pytest.raises(ValueError, match=r"multiples of 2\^2"):
        Thresholds((0, 2), drop=2)


MANY = 10**6


@pytest.mark.parametrize(
    ("bits", "few", "wanted"), [(9, 40, [8]), (16, 40, [8, 7]), (16, 4000, [4, 4, 4, 3])]
)
def test_digits_of_few_elements_save_a_level(two, bits, few, wanted):
    """A look-up of up to 8 bits in place of ANDs, where its table is less than what a flight is worth."""
    num, thresholds = Fixed(bits), Thresholds((-100, 0, 3))
    assert [k for _, k, _ in Layout.of(bits, thresholds, few).digits] == wanted
    values = rng.integers(-(2 ** (bits - 2)), 2 ** (bits - 2), few)
    values[:4] = (-101, -100, 2, 3)
    x = Secret(num, values)
    r = two(lambda p: compare(p, x.at(p), thresholds, compare_offline(p, num, (few,), thresholds)))
    assert np.array_equal(opened(r, BIT) & 1, x.value[:, None] >= np.array(thresholds.values))


def test_digits_below_the_grid_are_compared_once():
    layout = Layout.of(14, Thresholds((-64, 0, 128)), MANY)
    assert [common for _, _, common in layout.digits] == [at < 6 for at, _, _ in layout.digits]
    assert sum(k for at, k, _ in layout.digits if at < 6) == 6
    assert sum(k for _, k, _ in layout.digits) == 13


@pytest.mark.parametrize(
    ("old", "new"),
    [((30, 20), (18, 8)), ((30, 20), (30, 8)), ((20, 8), (34, 8)), ((24, 9), (12, 9)), ((40, 30), (11, 3))],
)
def test_truncate_is_within_one_unit(two, old, new):
    old, new = Fixed(*old), Fixed(*new)
    reach = min(2 ** (old.bits - 2), 2 ** (new.bits - 2 + old.scale - new.scale))
    x = Secret(old, np.concatenate([rng.integers(-reach, reach, 2000), [0, 1, -1, reach - 1, -reach]]))
    r = two(lambda p: truncate(p, x.at(p), new, truncate_offline(p, old, new, x.value.shape)))
    error = opened(r, new) - x.value / 2.0 ** (old.scale - new.scale)
    assert np.abs(error).max() < 1 if old.scale != new.scale else not error.any()
    assert abs(error.mean()) < 0.05


def test_truncate_sends_nothing_where_the_ring_shrinks_enough(two):
    old, new = Fixed(30, 20), Fixed(18, 8)
    x = Secret(old, rng.integers(-1000, 1000, 10))
    r = two(lambda p: truncate(p, x.at(p), new, truncate_offline(p, old, new, (10,))))
    assert (r.cost.bytes, r.cost.flights) == (0, 0)


def test_truncate_refuses_to_add_fraction_bits():
    with pytest.raises(ValueError, match="only falls"):
        truncate_offline(Party(None), Fixed(20, 4), Fixed(20, 5), (1,))


@pytest.mark.parametrize("bits", [3, 22, 45, 64])
def test_square(two, bits):
    num = Fixed(bits, 1)
    x = Secret(num, integers(bits, (4, 9)))
    r = two(lambda p: square(p, x.at(p), square_offline(p, num, (4, 9))))
    assert np.array_equal(
        opened(r, Fixed(bits, 2)), Fixed(bits).signed(Fixed(bits).wrap(x.value.view(np.uint64) ** 2))
    )
    assert r.server.num == Fixed(bits, 2)


@pytest.mark.parametrize("shape", [(3, 1, 5), (1, 4, 1), (3, 4, 5), (1, 1, 1)])
def test_multiply(two, shape):
    num, full = Fixed(29, 3), (3, 4, 5)
    a, b = Secret(num, integers(29, full)), Secret(num, integers(29, shape))
    r = two(lambda p: multiply(p, a.at(p), b.at(p), multiply_offline(p, num, Rows(full, shape))))
    out = Fixed(29, 6)
    assert np.array_equal(opened(r, out), out.signed(out.wrap((a.value * b.value).view(np.uint64))))


def test_multiply_refuses_a_shape_that_does_not_repeat():
    with pytest.raises(ValueError, match="does not repeat"):
        Rows((3, 1), (3, 2))


@pytest.mark.parametrize("shape", [(1, 1, 9), (1, 1, 1), (4, 1, 9), (4, 6, 9)])
def test_scaled(two, shape):
    num, rows = Fixed(30, 8), Rows((4, 6, 9), shape)
    x, w = Secret(num, integers(16, (4, 6, 9))), rng.integers(-500, 500, shape)

    def program(p: Party):
        made = scaled_offline(p, num, rows, 10, w)
        return scaled(p, x.at(p), rows, 7, w, made)

    r = two(program)
    assert np.array_equal(opened(r, Fixed(30, 15)), x.value * w)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 32])
@pytest.mark.parametrize("few", [4000, 2], ids=["apart", "ties"])
@pytest.mark.parametrize("sender", Role)
def test_maximum(two, n, few, sender):
    num = Fixed(14, 4)
    x = Secret(num, rng.integers(-few, few, (7, n)))
    r = two(lambda p: maximum(p, x.at(p), 0, maximum_offline(p, num, (7, n), 0, sender)))
    assert np.array_equal(opened(r, num)[:, 0], x.value.max(axis=-1))


@pytest.mark.parametrize("rows", [40, 3000], ids=["all at once", "by rounds"])
def test_maximum_with_dropped_bits_is_near(two, rows):
    num = Fixed(14, 4)
    x = Secret(num, rng.integers(-2000, 2000, (rows, 16)))
    r = two(lambda p: maximum(p, x.at(p), 3, maximum_offline(p, num, (rows, 16), 3)))
    off = opened(r, num)[:, 0] - x.value.max(axis=-1)
    assert np.abs(off).max() < 8
    assert not (opened(r, num) % 8).any()


@pytest.mark.parametrize("flight", [0, 1000, FLIGHT])
def test_what_a_flight_is_worth_changes_no_maximum(two, flight):
    num, shape = Fixed(18, 8), (9, 48)
    x = Secret(num, rng.integers(-(2**15), 2**15, shape))
    r = two(lambda p: maximum(p, x.at(p), 0, maximum_offline(p, num, shape, 0, flight=flight)))
    assert np.array_equal(opened(r, num)[:, 0], x.value.max(axis=-1))
    r = two(lambda p: argmax(p, x.at(p), argmax_offline(p, num, shape, flight=flight)))
    assert np.array_equal(opened(r, argmax_num(48))[:, 0], x.value.argmax(axis=-1))


def test_the_less_a_flight_is_worth_the_fewer_bytes_and_the_more_flights():
    num, spec = Fixed(16, 4), bump()

    def cost(flight: int) -> list[Cost]:
        def program(p: Party) -> None:
            made = maximum_offline(p, num, (9, 48), 0, flight=flight)
            wave = spline_offline(p, num, (400,), spec, flight=flight)
            with p.ledger.at(Place("online", "maximum")):
                maximum(p, Share(num, (9, 48), None), 0, made)
            with p.ledger.at(Place("online", "spline")):
                spline(p, Share(num, (400,), None), spec, wave)

        return [priced(program, counting).rows[Place("online", kind)] for kind in ("maximum", "spline")]

    for near, usual, far in zip(cost(0), cost(4096), cost(FLIGHT), strict=True):
        assert near.bytes <= usual.bytes < far.bytes
        assert near.flights >= usual.flights > far.flights


def test_a_few_rows_play_all_against_all():
    """In fewer flights, for no more bytes than these are worth; many rows by rounds, but for the last."""

    def flights(rows: int, n: int) -> int:
        def program(p: Party) -> None:
            made = maximum_offline(p, Fixed(14, 4), (rows, n), 3)
            with p.ledger.at(Place("online", "maximum")):
                maximum(p, Share(Fixed(14, 4), (rows, n), None), 3, made)

        return priced(program, counting).rows[Place("online", "maximum")].flights

    assert flights(9, 32) < 12
    assert 20 < flights(1536, 128) < 35


@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 8, 9, 16, 21])
@pytest.mark.parametrize("few", [4000, 2], ids=["apart", "ties"])
def test_the_place_of_a_maximum(two, n, few):
    num = Fixed(14, 4)
    x = Secret(num, rng.integers(-few, few, (90, n)))
    r = two(lambda p: argmax(p, x.at(p), argmax_offline(p, num, (90, n))))
    assert np.array_equal(opened(r, argmax_num(n))[:, 0], x.value.argmax(axis=-1))


@pytest.mark.parametrize("bits", [3, 12, 58])
def test_the_place_of_a_maximum_at_the_ends_of_a_ring(two, bits):
    """Differences as far apart as a comparison bears."""
    num, far = Fixed(bits), 2 ** (bits - 2)
    rows = [[-far, far - 1], [far - 1, -far], [-far, -far], [far - 1, far - 1], [far - 2, far - 1]]
    x = Secret(num, np.array([[*row, *row[::-1], -far] for row in rows]))
    r = two(lambda p: argmax(p, x.at(p), argmax_offline(p, num, x.value.shape)))
    assert np.array_equal(opened(r, argmax_num(5))[:, 0], x.value.argmax(axis=-1))


def test_the_argmax_of_a_vocabulary_costs_less_than_two_megabytes():
    """docs/performance.md has these numbers."""
    num, shape = Fixed(24, 8), (1, 49_152)
    online = Place("online", "argmax")

    def program(p: Party) -> None:
        made = argmax_offline(p, num, shape)
        with p.ledger.at(online):
            argmax(p, Share(num, shape, None), made)

    cost = priced(program, counting).rows[online]
    assert (cost.client, cost.server, cost.flights) == (876_446, 895_656, 81)


def bump() -> SplineSpec:
    """x^2 on [-2, 2), 0 outside, and a relu on top; x in units of 1/16, out in units of 1/16."""
    return SplineSpec(
        thresholds=Thresholds((-32, 0, 32)),
        compare_bits=12,
        quad=Fixed(14, 8),
        pieces=((0, 0, 0), (0, 0, 1), (0, 0, 1), (0, 0, 0)),
        gates=((1, 1),),
        out=Fixed(12, 4),
    )


def test_spline(two):
    num, spec = Fixed(16, 4), bump()
    x = Secret(num, rng.integers(-900, 900, (50, 10)))
    r = two(lambda p: spline(p, x.at(p), spec, spline_offline(p, num, (50, 10), spec)))
    clear = spline_clear(x.value, num, spec)
    assert np.abs(opened(r, spec.out) - clear).max() <= spec.units
    real = x.value / 16
    assert (
        np.abs(clear / 16 - (np.where(np.abs(real) < 2, real**2, 0) + np.maximum(real, 0))).max()
        <= 0.04 + 4 * (np.abs(real) == 2).max()
    )


def test_relu_is_exact_and_squares_nothing(two):
    num = Fixed(16, 4)
    spec = SplineSpec(Thresholds((0,)), 16, num, ((0, 0, 0),) * 2, ((0, 1),), num)
    x = Secret(num, rng.integers(-8000, 8000, 500))
    r = two(lambda p: spline(p, x.at(p), spec, spline_offline(p, num, (500,), spec)))
    assert np.array_equal(opened(r, num), np.maximum(x.value, 0))


def test_both_sides_send_for_half_of_many_elements(two):
    num, many = Fixed(24, 4), 40_000
    x, thresholds = Secret(num, integers(11, (many,))), Thresholds((-32, 0, 32))

    def squared(p: Party) -> Share:
        return square(p, x.at(p), square_offline(p, num, (many,)))

    def compared(p: Party) -> Share:
        return compare(p, x.at(p), thresholds, compare_offline(p, num, (many,), thresholds))

    found = two(squared)
    assert np.array_equal(opened(found, num), x.value**2)
    bits = two(compared)
    assert np.array_equal(
        bits.server.ring ^ bits.client.ring, x.value[:, None] >= np.array(thresholds.values)
    )
    for r in (found, bits):
        assert abs(r.cost.server - r.cost.client) < 0.05 * r.cost.bytes


def test_parts_of_many_elements_take_turns(two):
    num, spec, many = Fixed(16, 4), bump(), 450_000
    x = Secret(num, rng.integers(-900, 900, many))
    made = lambda p: spline_offline(p, num, (many,), spec)  # noqa: E731
    whole = two(lambda p: spline(p, x.at(p), spec, made(p)))
    assert np.abs(opened(whole, spec.out) - spline_clear(x.value, num, spec)).max() <= spec.units


def test_a_spline_needs_its_ring():
    with pytest.raises(ValueError, match="needs its argument in that ring"):
        spline_offline(Party(None), Fixed(13, 4), (1,), bump())


def test_printing_a_share_shows_no_secret():
    share = Share(Fixed(8), (2,), np.array([41, 42], np.uint64))
    assert "41" not in repr(share)
    assert "<secret>" in repr(share)


@pytest.mark.parametrize(
    ("bits", "grid", "wanted"), [(16, 7, [4, 3, 3, 3, 2]), (14, 7, [4, 3, 2, 2, 2]), (10, 0, [3, 3, 3])]
)
def test_digits_are_as_few_and_as_alike_as_can_be(bits, grid, wanted):
    thresholds = Thresholds((0, 1 << grid))
    assert [k for _, k, _ in Layout.of(bits, thresholds, MANY).digits] == wanted
