"""What travels looks like noise: every message of every kind, bit by bit, over many runs with equal inputs.

With equal inputs a message that is not masked, or masked twice with one mask, repeats itself; so besides the
distribution of the elements of each message, each place of each message is held against itself over the runs.
Shares are uniform too, so this alone does not show that a message hides one: see test_messages_masked.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import scipy
from evenness import SURE, evenness, uneven
from frames import SPREAD, Frame, session, spread, succeeded, unpacked, upload_words, watched
from nacl import bindings as group
from tiny import tiny_feeds, tiny_plan, tiny_weights

from ppc.runtime.ot.pool import Pool
from ppc.runtime.party.party import together
from ppc.runtime.party.role import SERVER
from ppc.runtime.session.handshake import GO_ON, PICK

pytestmark = pytest.mark.long

RUNS = 12

HANDSHAKE = "handshake"

MESSAGES = {
    "base.base_ots": "points of a prime-order group",
    "extension.extend": "masked columns",
    "engine.plan": "the server's seed; public keys: c0 by primes, and a seed",
    "engine.begin": "a seed and c0 by primes",
    "engine.finish": "c1 and c0 modulo a power of two",
    "gilboa.gilboa_chosen": "corrected choices; taus of all widths",
    "gilboa.gilboa_random": "taus of all widths",
    "matmul.linear": "x - r",
    "matmul.matmul": "A - a and B - b",
    "multiply.square": "x - r",
    "multiply.square_sum": "x - r",
    "multiply.multiply": "a - u and b - v",
    "multiply.scaled": "x - r",
    "booleans.and_rows": "x xor u and y xor v",
    "booleans.select_all": "b xor a random bit and y - a random element",
    "truncate.truncate_offline": "tau",
    "truncate.truncate_all": "msb xor a random bit",
    "compare.compare_all": "digits xor random digits; tables xor pads; x - r of a square beside them",
    "all_zero.all_zero_offline": "the server's seed; k0 xor k1 xor r·X^i",
    "all_zero.all_zero": "h1 xor x; r·(h xor x) xor s",
    "steps.online": "the server's share of the output",
}
"""Every message but the handshake, by the function that says it. Packed ring elements are taken apart
at their width, the rest as strings of bits."""


@pytest.fixture(scope="module")
def runs() -> list[list[Frame]]:
    """The frames of each of `RUNS` inferences on the same input, in an order that both roles agree on."""
    found = []
    for _ in range(RUNS):
        with watched() as frames:
            succeeded(session(tiny_plan(), tiny_weights(), tiny_feeds()))
        found.append(sorted(frames, key=lambda f: f.role))
    return found


def test_every_kind_of_message_is_known(runs, small):
    """A new message must be put into the table above before it may travel."""
    from models.tiny_bert import sample

    with watched() as frames:
        succeeded(session(small.compiled.plan, small.compiled.weights, sample()))
    kinds = {frame.kind for run in [*runs, frames] for frame in run}
    assert kinds == {HANDSHAKE, *MESSAGES}


def test_runs_agree_on_the_sizes(runs):
    shapes = [[(f.role, f.step, f.kind, f.bits, len(f.payload)) for f in run] for run in runs]
    assert all(shape == shapes[0] for shape in shapes)


@pytest.fixture(scope="module")
def classes(runs) -> dict[tuple[str, int], np.ndarray]:
    """For each kind and width the elements of all runs: (runs, places)."""
    found: dict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
    for same in zip(*runs, strict=True):
        kind, bits = same[0].kind, same[0].bits
        found[kind, bits or 1].append(np.stack([frame.elements() for frame in same]))
    return {key: np.concatenate(parts, axis=1) for key, parts in found.items()}


@pytest.mark.parametrize("kind", MESSAGES)
def test_messages_are_uniform(classes, kind):
    found = {key: x for key, x in classes.items() if key[0] == kind}
    assert found
    for (_, bits), x in found.items():
        assert not uneven(x, bits), f"{kind} at {bits} bits, {x.shape[1]} places"


def test_the_measure_sees_what_is_wrong():
    """Values without a mask, one mask for all runs, and a mask that misses the top bit."""
    rng = np.random.default_rng(3)
    good = rng.integers(0, 2**26, (RUNS, 60)).astype(np.uint64)
    assert min(evenness(good, 26).values()) > SURE
    activations = rng.integers(-2000, 2000, (1, 60)).astype(np.uint64) & np.uint64(2**26 - 1)
    plain = np.repeat(activations, RUNS, axis=0)
    assert min(evenness(plain, 26).values()) < SURE
    assert evenness(np.repeat(good[:1], RUNS, axis=0), 26)["each place over the runs"] < SURE
    assert evenness(good >> np.uint64(1), 26)["each bit"] < SURE


def test_words_of_uploads_fill_their_range(runs):
    uploads = [frame for run in runs for frame in run if frame.kind == "engine.begin"]
    assert uploads
    for frame in uploads:
        for words in upload_words(frame):
            counts = np.histogram(spread(words) / 2**SPREAD, bins=8, range=(0, 1))[0]
            assert scipy.stats.chisquare(counts).pvalue > SURE


def test_base_ots_say_points_of_the_group(runs):
    points = [
        frame.payload[at : at + 32]
        for run in runs
        for frame in run
        if frame.kind == "base.base_ots"
        for at in range(0, len(frame.payload), 32)
    ]
    assert len(points) == RUNS * 2 * (1 + 127)
    assert len(set(points)) == len(points)
    assert all(group.crypto_core_ed25519_is_valid_point(point) for point in points)


def test_equal_inputs_give_different_frames_everywhere_but_in_the_handshake(runs):
    for same in zip(*runs, strict=True):
        payloads = {frame.payload for frame in same}
        if same[0].kind == HANDSHAKE and len(same[0].payload) == PICK.size + GO_ON.size:
            assert len({payload[: PICK.size] for payload in payloads}) == 1
            assert len(payloads) == RUNS, "each channel has a ticket of its own"
        elif same[0].kind == HANDSHAKE:
            assert len(payloads) == 1
        elif len(same[0].payload) >= 8:
            assert len(payloads) == RUNS, same[0].kind
        elif len(same[0].payload) >= 4:
            assert len(payloads) > 1, same[0].kind


def test_checks_of_ot_extension_say_noise():
    """What is on request is in no plan's messages."""

    def program(p):
        pool = Pool(p, SERVER, check=True)
        pool.plan(400_000)
        pool.take(400_000)

    said = defaultdict(list)
    for _ in range(RUNS):
        with watched() as frames:
            together(program)
        for kind in ("check.check_columns", "check.check_leaves"):
            said[kind].append(b"".join(f.payload for f in frames if f.kind == kind))
    assert [len(runs[0]) for runs in said.values()] == [128 * 16, 16 + 32]
    for runs in said.values():
        assert not uneven(np.stack([unpacked(each, 1) for each in runs]), 1)


def test_the_silent_extension_says_noise():
    """The tiny plan is too small to need it."""

    def program(p):
        pool = Pool(p, SERVER)
        pool.plan(400_000)
        pool.take(400_000)

    said = []
    for _ in range(2):
        with watched() as frames:
            together(program)
        said.append(b"".join(f.payload for f in frames if f.kind == "silent.extend"))
    assert min(map(len, said)) > 100_000
    x = np.stack([unpacked(each, 1) for each in said])
    assert not uneven(x, 1)
