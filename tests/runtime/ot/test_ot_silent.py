from __future__ import annotations

from math import log2

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ppc.runtime import _ot
from ppc.runtime.net.frame import HEADER
from ppc.runtime.ot.silent import B10, SETS, Lpn, Silent
from ppc.runtime.party.ledger import Place
from ppc.runtime.party.party import CLIENT, SERVER, Party, Role, priced, together

ONE = np.uint64(1)
LOW = np.array([1, 0], np.uint64)
TWEAK = np.arange(16, dtype=np.uint8)
TINY = Lpn("tiny", trees=3, log_secret=8, depth=4)
BOTH = pytest.mark.parametrize("sender", [SERVER, CLIENT])


def _cots(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Delta, q, t for tests: a dealer's COTs."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**64, (n + 1, 2), dtype=np.uint64)
    delta, q = words[:1] | LOW, words[1:] & ~LOW
    c = rng.integers(0, 2, n).astype(np.uint64)
    return delta, q, q ^ c[:, None] * delta


def _seed(value: int = 0) -> np.ndarray:
    return np.full(16, value, np.uint8)


def _program(sender: Role, lpn: Lpn, rounds: int = 1):
    """Iterations from dealt COTs; every iteration spends the head of the one before."""
    delta, q, t = _cots(lpn.spent)

    def program(p: Party) -> list:
        mine = None if p.pricing else q if p.role is sender else t
        silent = Silent(sender, delta if p.role is sender else None, None if p.pricing else b"t" * 16)
        out = []
        with p.ledger.at(Place("offline", "ot")):
            for _ in range(rounds):
                out.append(silent.extend(p, lpn, mine))
                mine = out[-1][: lpn.spent] if out[-1] is not None and len(out[-1]) >= lpn.spent else mine
        return out

    return delta, program


def _run(sender: Role, lpn: Lpn, rounds: int = 1) -> tuple[np.ndarray, list, list]:
    delta, program = _program(sender, lpn, rounds)
    server, client, _ = together(program)
    return (delta, server, client) if sender is SERVER else (delta, client, server)


@BOTH
def test_iterations_keep_the_correlation(sender: Role) -> None:
    delta, sent, got = _run(sender, B10, rounds=2)
    for q, t in zip(sent, got, strict=True):
        assert q.shape == (B10.made, 2)
        assert not (q[:, 0] & ONE).any()
        assert (t == q ^ (t[:, :1] & ONE) * delta).all()
    assert (sent[0] != sent[1]).any(axis=1).all()


def test_trees_hide_one_leaf_each_where_the_choice_bits_point() -> None:
    trees, depth = 40, 5
    delta, q, t = _cots(trees * depth)
    message, leaves = _ot.ggm_send(_seed(), TWEAK, delta, q, trees, depth)
    mine = _ot.ggm_receive(TWEAK, t, message, trees, depth)
    noise = (mine[:, 0] & ONE).reshape(trees, -1)
    assert (noise.sum(axis=1) == 1).all()
    path = 1 - (t[:, 0] & ONE).astype(int).reshape(trees, depth)
    assert (noise.argmax(axis=1) == path @ (1 << np.arange(depth)[::-1])).all()
    assert (mine == leaves ^ (mine[:, :1] & ONE) * delta).all()


def _grow(x: int, pi) -> tuple[int, int]:
    high, low = x >> 64, x & (2**64 - 1)
    s = (high ^ low) << 64 | high
    left = int.from_bytes(pi.update(s.to_bytes(16, "little")), "little") ^ s
    return left, x ^ left


def test_trees_and_sums_agree_with_their_definition() -> None:
    trees, depth = 2, 4
    delta, q, _ = _cots(trees * depth)
    message, leaves = _ot.ggm_send(_seed(9), TWEAK, delta, q, trees, depth)
    big_delta = int.from_bytes(delta.tobytes(), "little")
    roots = _ot.aes_ctr(_seed(9), 0, trees).reshape(trees, 16)
    keys = _ot.aes_ctr(TWEAK, 0, trees).reshape(trees, 16)
    for tree in range(trees):
        pi = Cipher(algorithms.AES(keys[tree].tobytes()), modes.ECB()).encryptor()
        root = int.from_bytes(roots[tree].tobytes(), "little")
        level = [root, root ^ big_delta]
        for depth_at in range(depth):
            if depth_at:
                level = [child for x in level for child in _grow(x, pi)]
            left = 0
            for x in level[::2]:
                left ^= x
            at = tree * depth + depth_at
            mask = int.from_bytes(q[at].tobytes(), "little")
            assert message[16 * at : 16 * at + 16].tobytes() == (left ^ mask).to_bytes(16, "little")
        ours = [int.from_bytes(x.tobytes(), "little") for x in leaves.reshape(trees, -1, 2)[tree]]
        assert ours == [x & ~1 for x in level]


def _fits(leaves: np.ndarray, key: bytes) -> bool:
    """Whether the last level of a tree is grown by the permutation of ``key``, lowest bits apart."""
    pi = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    left, right = (int.from_bytes(leaf.tobytes(), "little") for leaf in leaves[:2])
    return any(_grow(left ^ right ^ low, pi)[0] & ~1 == left for low in (0, 1))


def test_no_tree_answers_a_guess_made_for_another() -> None:
    """A node and its child are a test of a guess of Delta, for whoever knows the node but for Delta."""
    trees, depth = 12, 4
    delta, q, _ = _cots(trees * depth)
    _, leaves = _ot.ggm_send(_seed(5), TWEAK, delta, q, trees, depth)
    keys = _ot.aes_ctr(TWEAK, 0, trees).reshape(trees, 16)
    for tree, own in enumerate(leaves.reshape(trees, -1, 2)):
        assert [_fits(own, key.tobytes()) for key in keys] == [tree == other for other in range(trees)]


def test_iterations_and_sessions_grow_unrelated_trees_from_equal_roots_and_paths() -> None:
    delta, q, _ = _cots(TINY.spent)
    grown = []
    for tag in (b"a" * 16, b"b" * 16):
        silent, p = Silent(SERVER, delta, tag), Party(None)
        for _ in range(2):
            silent.extend(p, TINY, None)
            p.prg = Fixed()
            grown.append(silent._grow(p, TINY, q)[1])
    for i, one in enumerate(grown):
        for other in grown[:i]:
            assert (one != other).any(axis=1).all()


class Fixed:
    """Stands for a generator that has run out of luck."""

    def bytes(self, n: int) -> np.ndarray:
        return np.zeros(n, np.uint8)


def test_the_code_is_ten_local_and_agrees_with_its_definition() -> None:
    log_secret, n = 9, 1000
    _, secret, _ = _cots(1 << log_secret)
    x = np.zeros((n, 2), np.uint64)
    _ot.lpn_encode(_seed(4), secret, x)
    stream = _ot.aes_ctr(_seed(4), 0, -(-n // 32) * 80).view("<u4")[: 10 * n].reshape(n, 10)
    taps = stream & np.uint32((1 << log_secret) - 1)
    assert (x == np.bitwise_xor.reduce(secret[taps], axis=1)).all()


def test_encoding_adds_to_what_is_there() -> None:
    _, secret, _ = _cots(256)
    x, y = np.zeros((70, 2), np.uint64), np.full((70, 2), 5, np.uint64)
    _ot.lpn_encode(_seed(), secret, x)
    _ot.lpn_encode(_seed(), secret, y)
    assert (x ^ y == 5).all()


def test_output_choice_bits_look_uniform() -> None:
    """Without the code the choice bits would be the noise: 850 ones in 870400."""
    _, _, (t,) = _run(SERVER, B10)
    bits = (t[:, 0] & ONE).astype(np.int8)
    limit = 6 * 0.5 / bits.size**0.5
    assert abs(bits.mean() - 0.5) < limit
    for lag in (1, 2, 3, 10, 32, 1024, 65536):
        assert abs((bits[lag:] ^ bits[:-lag]).mean() - 0.5) < limit * 1.1
    runs = np.bincount(np.packbits(bits), minlength=256)
    expected = bits.size / 8 / 256
    chi = ((runs - expected) ** 2 / expected).sum()
    assert 120 < chi < 400  # 255 degrees of freedom: mean 255, deviation 22.6
    per_run = bits.reshape(-1, 1 << B10.depth).sum(axis=1)
    assert abs(per_run - 512).max() < 7 * 16


def test_outputs_do_not_repeat_and_sessions_differ() -> None:
    _, (q,), _ = _run(SERVER, B10)
    words = np.ascontiguousarray(q).view("V16").ravel()
    assert len(np.unique(words)) == len(words)
    _, (again,), _ = _run(SERVER, B10)
    assert (q != again).any(axis=1).all()  # fresh roots although the dealer's COTs are the same


def test_every_iteration_and_session_has_its_own_code_and_trees() -> None:
    seeds = []
    for tag in (b"a" * 16, b"b" * 16):
        silent = Silent(SERVER, None, tag)
        for _ in range(3):
            silent.extend(Party(None), TINY, None)
            for lpn in (TINY, B10):
                seeds += [silent._matrix(lpn).tobytes(), silent._tweak(lpn).tobytes()]
    assert len(set(seeds)) == len(seeds) == 24


@BOTH
@pytest.mark.parametrize("lpn", [TINY, B10])
def test_the_price_is_exact(sender: Role, lpn: Lpn) -> None:
    _, program = _program(sender, lpn, rounds=2)
    measured, cost = together(program)[2].total("offline"), priced(program).total("offline")
    assert (cost.server, cost.client, cost.flights) == (measured.server, measured.client, measured.flights)
    assert cost.bytes == 2 * (HEADER.size + lpn.message_size)
    assert cost.server == (cost.bytes if sender is SERVER else 0)


def _gauss_bits(lpn: Lpn) -> float:
    """Pooled Gauss on regular noise (eprint 2022/712, section 5): guess noise-free positions, invert.

    Each run's parity is known, which takes T unknowns from the secret.
    """
    unknown = lpn.secret - lpn.trees
    return -lpn.trees * log2(1 - unknown / lpn.made) + 2.8 * log2(unknown)


@pytest.mark.parametrize("lpn", SETS.values(), ids=SETS)
def test_parameters_keep_their_margin(lpn: Lpn) -> None:
    """The sets are for 128 bits against the hybrid attack, which leaves some ten bits to this simpler one."""
    assert _gauss_bits(lpn) > 136
    assert lpn.made > max(other.spent for other in SETS.values())


def test_the_parameters_are_the_published_ones() -> None:
    got = {s.name: (s.trees, s.log_secret, s.depth, s.made, s.spent) for s in SETS.values()}
    assert got == {
        "b10": (850, 16, 10, 870_400, 74_036),
        "b11": (1170, 17, 11, 2_396_160, 143_942),
        "b12": (1520, 18, 12, 6_225_920, 280_384),
    }


def test_wrong_sizes_are_refused() -> None:
    delta, q, t = _cots(20)
    with pytest.raises(ValueError, match="spends 268 COTs"):
        Silent(SERVER, delta, bytes(16)).extend(Party(None), TINY, q)
    with pytest.raises(ValueError, match="one COT a level"):
        _ot.ggm_send(_seed(), TWEAK, delta, q, 3, 5)
    with pytest.raises(ValueError, match="1 to 24"):
        _ot.ggm_send(_seed(), TWEAK, delta, q, 1, 0)
    with pytest.raises(ValueError, match="one block a level"):
        _ot.ggm_receive(TWEAK, t, np.zeros(16 * 19, np.uint8), 4, 5)
    with pytest.raises(ValueError, match="power of two"):
        _ot.lpn_encode(_seed(), q, t)


def test_both_aes_paths_make_the_same_trees_and_code() -> None:
    if not _ot.has_wide_aes():
        pytest.skip("this processor has no VAES")
    delta, q, _ = _cots(4 * 8)
    results = []
    for wide in (True, False):
        before = _ot.set_wide_aes(wide)
        message, leaves = _ot.ggm_send(_seed(2), TWEAK, delta, q, 4, 8)
        _ot.lpn_encode(_seed(3), q, leaves)
        _ot.set_wide_aes(before)
        results.append((message.tobytes(), leaves.tobytes()))
    assert results[0] == results[1]


def test_printing_shows_counts_only() -> None:
    delta, _, _ = _cots(1)
    assert repr(Silent(CLIENT, delta, bytes(16))) == "Silent(sender=client, 0 iterations)"
