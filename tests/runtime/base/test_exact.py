"""Products mod 2^64 against Python's integers, in every bit and by every way that there is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ppc.runtime.base import exact
from ppc.runtime.base.exact import EXACT, FEW, LONG, Factor, matmul
from ppc.runtime.base.one_hot import OneHotRows

LEAST, MOST = -(2**63), 2**63 - 1
EXTREMES = [LEAST, LEAST + 1, -(2**53) - 1, -(2**31), -1, 0, 1, 2**31 - 1, 2**31, 2**53, 2**53 + 1, MOST]


def by_python(a, b):
    total = np.asarray(a.astype(object) @ b.astype(object), object)
    return ((total + 2**63) % 2**64 - 2**63).astype(np.int64)


def check(a, b, written=None):
    want = by_python(a if written is None else written, b)
    for right in (b, Factor(b)):
        got = matmul(a, right)
        assert got.dtype == np.int64
        assert_array_equal(got, want)


def drawn(rng, shape, bits):
    """Uniform signed integers of so many bits."""
    return rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, shape, np.int64, endpoint=True)


@pytest.fixture
def way(monkeypatch):
    """Which of the three ways each product went."""
    went = []

    def watched(name, of):
        whole = getattr(of, name)

        def call(*args):
            found = whole(*args)
            went.append(name) if found is not None else None
            return found

        monkeypatch.setattr(of, name, call)

    watched("_gathered", exact)
    watched("_words", exact)
    return went


@pytest.mark.long
@settings(deadline=None, max_examples=300)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.tuples(st.integers(0, 19), st.integers(0, 40), st.integers(0, 35)),
    bits=st.tuples(st.integers(1, 64), st.integers(1, 64)),
)
def test_any_size_and_magnitude(seed, sizes, bits):
    (m, k, n), rng = sizes, np.random.default_rng(seed)
    check(drawn(rng, (m, k), bits[0]), drawn(rng, (k, n), bits[1]))


@settings(deadline=None)
@given(st.data())
def test_extreme_integers_wrap(data):
    m, k, n = (data.draw(st.integers(1, 10)) for _ in range(3))
    a, b = (
        np.array(data.draw(st.lists(st.sampled_from(EXTREMES), min_size=size, max_size=size)), np.int64)
        for size in (m * k, k * n)
    )
    check(a.reshape(m, k), b.reshape(k, n))


@pytest.mark.parametrize("m", [1, 3, 4, 7, 8, 9, 17])
@pytest.mark.parametrize("n", [1, 7, 8, 15, 16, 17, 33])
def test_words_at_the_edges_of_the_kernels_blocks(m, n):
    rng = np.random.default_rng(m * n)
    for k in (1, 255, 256, 257):
        a, b = drawn(rng, (m, k), 64), drawn(rng, (k, n), 64)
        assert_array_equal(matmul(a, b), a @ b)
    check(a[:, :9], b[:9])


@pytest.mark.parametrize("bits", [16, 20, 21, 22, 30, 62])
def test_a_long_inner_axis(bits):
    rng = np.random.default_rng(bits)
    check(drawn(rng, (2, 4096), bits), drawn(rng, (4096, 3), bits))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3, 4, 5), (2, 3, 5, 6)),
        ((3, 4, 5), (2, 1, 5, 6)),
        ((2, 1, 4, 5), (1, 3, 5, 6)),
        ((1, 1, 4, 5), (3, 5, 6)),
        ((4, 5), (2, 3, 5, 6)),
        ((2, 3, 4, 5), (5, 6)),
        ((0, 4, 5), (5, 6)),
        ((0, 4, 5), (1, 5, 6)),
        ((3, 0, 5), (3, 5, 6)),
        ((2, 4, 0), (2, 0, 6)),
        ((2, 4, 0), (0, 6)),
        ((1, 1, 1), (1, 1)),
        ((5,), (5, 6)),
    ],
)
@pytest.mark.parametrize("bits", [20, 64])
def test_batches_repeat_as_numpys(a, b, bits):
    rng = np.random.default_rng(7)
    left, right = drawn(rng, a, bits), drawn(rng, b, bits)
    got = matmul(left, right)
    assert_array_equal(got, left @ right)
    assert got.shape == (left @ right).shape


@pytest.mark.parametrize("bits", [20, 64])
def test_operands_that_do_not_lie_in_order(bits):
    rng = np.random.default_rng(8)
    a, b = drawn(rng, (2, 5, 4), bits).swapaxes(1, 2), drawn(rng, (2, 12, 5), bits).swapaxes(1, 2)[..., ::2]
    check(a, b)
    check(a, np.asfortranarray(b[0]))
    check(np.broadcast_to(a[:1], a.shape), b)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("other", [np.int8, np.int16, np.int32, np.int64])
def test_narrow_integers_have_their_least(kind, other):
    low = np.iinfo(kind).min, np.iinfo(other).min
    check(np.full((2, LONG), low[0], kind), np.full((LONG, 3), low[1], other))
    a = np.zeros((2, LONG), kind)
    a[:, 5] = low[0]
    check(a, np.full((LONG, 3), low[1], other))


def test_sums_are_bounded_by_all_that_they_add(way):
    """Each fails if the bound were a bit more generous, or left a factor out."""
    one = np.ones((3, 1), np.int64)
    for a, b in (
        (np.array([[EXACT + 1]]), one[:1]),
        (-np.array([[EXACT + 1]]), one[:1]),
        (one[:1], np.array([[EXACT + 1]])),
        (np.array([[2**27 + 1]]), np.array([[2**27 + 1]])),
        (np.array([[LEAST, 3, 0]]), one),
        (np.array([[2**52, 2**52, 1]]), one),
        (np.array([[EXACT, 1, 1]]), one),
    ):
        way.clear()
        assert_array_equal(matmul(a, b), by_python(a, b))
        assert "_words" in way
        in_doubles = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
        assert (in_doubles != by_python(a, b)).any()


def test_doubles_are_taken_up_to_the_bound(way):
    check(np.array([[EXACT]]), np.array([[1]]))
    check(np.array([[-EXACT // 4, EXACT // 4]]), np.array([[2], [-2]]))
    assert not way


def looked_up(rng, m, k):
    a = np.zeros((m, k), np.int64)
    a[np.arange(m), rng.integers(0, k, m)] = 1
    return a


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int64])
def test_a_look_up_gathers(way, kind):
    rng = np.random.default_rng(9)
    b = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, (LONG, 7), kind, endpoint=True)
    a = looked_up(rng, 20, LONG)
    check(a, b)
    check(a.reshape(2, 2, 5, LONG), b)
    check(a.astype(np.int8), b)
    check(a << 62, b)
    check(-a, b)
    assert way == ["_gathered"] * 10


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int64])
@pytest.mark.parametrize("value", [1, -(2**40), LEAST])
def test_rows_that_are_not_written_out_choose(way, kind, value):
    rng = np.random.default_rng(14)
    b = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, (9, 7), kind, endpoint=True)
    for shape in ((), (5,), (2, 3, 5)):
        rows = OneHotRows(rng.integers(0, 9, shape), 9, value)
        check(rows, b, np.where(rows.ids[..., None] == np.arange(9), value, 0))
    assert not way


def test_rows_that_are_not_written_out_times_several_matrices():
    rng = np.random.default_rng(15)
    rows = OneHotRows(rng.integers(0, 9, (2, 5)), 9, 3)
    check(rows, drawn(rng, (2, 9, 4), 30), np.asarray(rows))
    with pytest.raises(ValueError, match="mismatch"):
        matmul(rows, np.ones((8, 4), np.int64))


def spoilt(rng, change):
    a = looked_up(rng, 20, LONG)
    change(a)
    return a


@pytest.mark.parametrize(
    ("change", "gathers"),
    [
        (lambda a: a.__setitem__(slice(None), 0), True),
        (lambda a: a.__setitem__(0, 0), True),
        (lambda a: a.__setitem__(-1, 0), True),
        (lambda a: a.__setitem__((3, slice(4, 9)), [1, -7, LEAST, MOST, 2**40]), True),
        (lambda a: a.__setitem__((-1, 0), 5), True),
        (lambda a: a.__setitem__((slice(None), -1), 1), True),
        (lambda a: a.__setitem__(3, 1), False),
        (lambda a: a.__setitem__(0, 1), False),
        (lambda a: a.__setitem__((slice(None), slice(FEW + 1)), 1), False),
        (lambda a: a.__setitem__(slice(None), 1), False),
    ],
)
def test_what_is_almost_a_look_up(way, change, gathers):
    rng = np.random.default_rng(10)
    a = spoilt(rng, change)
    for bits in (16, 64):
        b = drawn(rng, (LONG, 5), bits)
        way.clear()
        check(a, b)
        assert ("_gathered" in way) == gathers


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**32), m=st.integers(1, 9), share=st.floats(0, 0.02))
def test_rows_that_are_nearly_empty(seed, m, share):
    rng = np.random.default_rng(seed)
    a = np.where(rng.random((m, LONG + 3)) < share, drawn(rng, (m, LONG + 3), 64), 0)
    check(a, drawn(rng, (LONG + 3, 4), 64))


def test_a_factor_is_prepared_once():
    rng = np.random.default_rng(11)
    b = Factor(drawn(rng, (6, 5), 20))
    matmul(drawn(rng, (4, 6), 20), b)
    kept = b.doubles
    assert "words" not in vars(b)
    matmul(drawn(rng, (3, 6), 20), b)
    assert b.doubles is kept
    matmul(drawn(rng, (3, 6), 64), b)
    assert "words" in vars(b)


@pytest.mark.parametrize("shapes", [((2, 3), (4, 5)), ((2, LONG), (LONG + 1, 5)), ((2, 2, 3), (3, 3, 4))])
@pytest.mark.parametrize("bits", [8, 64])
def test_axes_that_differ_are_refused(shapes, bits):
    rng = np.random.default_rng(12)
    with pytest.raises(ValueError, match=r"mismatch|differ|broadcast"):
        matmul(*(drawn(rng, shape, bits) for shape in shapes))


def test_a_look_up_beyond_the_table_is_refused():
    with pytest.raises(ValueError, match="mismatch"):
        matmul(looked_up(np.random.default_rng(13), 4, LONG), np.ones((LONG + 1, 5), np.int64))
