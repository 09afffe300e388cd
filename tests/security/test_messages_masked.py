"""Each message hides what its sender knows, whatever the shares are: with the shares held fixed, so that
nothing but masks can vary, every message is uniform and new each time.

A message may look uniform and yet tell all, because shares are uniform themselves: who receives the other
share in the clear has the value. Here the shares are constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from evenness import uneven
from frames import Frame, watched

from ppc.runtime import _ring
from ppc.runtime.base.ring import BIT, Fixed
from ppc.runtime.base.share import Share
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.engine import HeEngine
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.party.ledger import Place
from ppc.runtime.party.party import Party, together
from ppc.runtime.party.ports import Engines
from ppc.runtime.party.role import SERVER, Role
from ppc.runtime.protocols import matmul
from ppc.runtime.protocols.all_zero import all_zero, all_zero_offline
from ppc.runtime.protocols.booleans import and_offline, and_rows, select, select_offline
from ppc.runtime.protocols.compare import Thresholds, compare, compare_offline
from ppc.runtime.protocols.gilboa import gilboa_chosen
from ppc.runtime.protocols.maximum import argmax, argmax_offline
from ppc.runtime.protocols.multiply import (
    Rows,
    multiply,
    multiply_begin,
    multiply_finish,
    multiply_offline,
    scaled,
    scaled_begin,
    scaled_finish,
    scaled_offline,
    square,
    square_offline,
    square_sum,
    square_sum_begin,
    square_sum_offline,
)
from ppc.runtime.protocols.one_of_n import one_of_n_choice, one_of_n_offline, one_of_n_tables
from ppc.runtime.protocols.row_products import numbers_at_client, numbers_at_server, rows_at_both
from ppc.runtime.protocols.truncate import truncate, truncate_offline
from ppc.runtime.protocols.within import Limits, within, within_offline
from ppc.runtime.session.engines import CountingSource, standard

pytestmark = pytest.mark.long

TIMES = 24
N = 24
NUM = Fixed(22, 8)

Program = Callable[[Party], Any]


def fixed(p: Party, num: Fixed, *shape: int) -> Share:
    """The same share on every call: small at the client, 3 less at the server."""
    size = int(np.prod(shape))
    data = np.arange(size, dtype=np.uint64).reshape(shape) + np.uint64(5 if p.role is SERVER else 2)
    return Share(num, shape, None if p.pricing else num.wrap(data))


def bits(p: Party) -> np.ndarray | None:
    return None if p.pricing else (np.arange(N) % 3 == 0).astype(np.uint8)


def ands(p: Party) -> None:
    made = [and_offline(p, N, 2)]
    and_rows(p, bits(p), bits(p), made)


def selection(p: Party) -> None:
    select(p, fixed(p, BIT, N), fixed(p, NUM, N), select_offline(p, NUM, (N,)))


def comparison(p: Party) -> None:
    thresholds = Thresholds((-8, 0, 64))
    compare(p, fixed(p, NUM, N), thresholds, compare_offline(p, NUM, (N,), thresholds))


def look_up(p: Party) -> None:
    made = one_of_n_offline(p, SERVER, N, 4, 6)
    (turn,) = p.tell_all([one_of_n_choice(made, lambda: (np.arange(N) % 16).astype(np.uint8))])
    shares = np.tile(np.arange(6, dtype=np.uint64), (N, 1))
    masks = np.zeros(N, np.uint64)

    def seal(pads: np.ndarray, turn: np.ndarray) -> np.ndarray:
        return _ring.comparison_seal(pads, turn, shares, masks, 15, 0, 0, 6, False)

    p.exchange([one_of_n_tables(made, turn, seal)])


def truncation(p: Party) -> None:
    new = Fixed(22, 4)
    truncate(p, fixed(p, NUM, N), new, truncate_offline(p, NUM, new, (N,)))


def squares(p: Party) -> None:
    square(p, fixed(p, NUM, N), square_offline(p, NUM, (N,)))


def products(p: Party) -> None:
    rows = Rows((6, 4), (6, 1))
    multiply(p, fixed(p, NUM, 6, 4), fixed(p, NUM, 6, 1), multiply_offline(p, NUM, rows))


def scalings(p: Party) -> None:
    rows, w = Rows((6, 4), (1, 4)), np.array([[3, -7, 1, 100]])
    made = scaled_offline(p, NUM, rows, 9, w)
    scaled(p, fixed(p, NUM, 6, 4), rows, 7, w, made)


def crossings(p: Party) -> None:
    """The sender's rows are fixed too: its answer must hide them by the OTs alone."""
    given = np.arange(N, dtype=np.uint64)
    gilboa_chosen(p, SERVER, 20, 6, N, 1, lambda: given, lambda: given)


LINEAR = plan_product(1, 4, 6, 5, 22, he_seconds, norm_bits=9)
BOTH = plan_product(1, 4, 6, 4, 22, he_seconds), plan_product(1, 4, 6, 4, 22, he_seconds)


def linear(p: Party) -> None:
    w = np.arange(30).reshape(6, 5)
    made = matmul.linear_offline(p, matmul.linear_begin(p, LINEAR, w))
    matmul.linear(p, fixed(p, NUM, 1, 4, 6), 5, 3, w, made)


def matrices(p: Party) -> None:
    made = matmul.matmul_offline(p, BOTH[0], matmul.matmul_begin(p, (1, 4, 6, 4), *BOTH))
    matmul.matmul(p, fixed(p, NUM, 1, 4, 6), fixed(p, NUM, 1, 6, 4), made)


ROWS = Rows((6, 4), (6, 1))
COLUMNS = Rows((6, 4), (1, 4))
SUMS = plan_product(*rows_at_both(6, 4, 4), 22, he_seconds)
NUMBERS = (
    plan_product(*numbers_at_server(6, 4, 4), 22, he_seconds),
    plan_product(*numbers_at_client(6, 4, 4), 22, he_seconds),
)
FACTORS = plan_product(*numbers_at_server(4, 6, 2), 22, he_seconds, norm_bits=8)


def sums(p: Party) -> None:
    made = square_sum_offline(p, NUM, 6, square_sum_begin(p, SUMS, 6))
    square_sum(p, fixed(p, NUM, 6, 4), made)


def row_products(p: Party) -> None:
    made = multiply_finish(p, NUM, ROWS, multiply_begin(p, ROWS, *NUMBERS))
    multiply(p, fixed(p, NUM, 6, 4), fixed(p, NUM, 6, 1), made)


def column_factors(p: Party) -> None:
    w = np.array([[3, -7, 1, 100]])
    scaled(p, fixed(p, NUM, 6, 4), COLUMNS, 7, w, scaled_finish(p, COLUMNS, scaled_begin(p, FACTORS, w)))


def labels(p: Party) -> None:
    argmax(p, fixed(p, NUM, 6, 5), argmax_offline(p, NUM, (6, 5)))


def zero(p: Party) -> None:
    all_zero(p, [bits(p)] * 3, all_zero_offline(p, 3))


def limits(p: Party) -> None:
    within_them = Limits(-4, 1 << 12)
    made = within_offline(p, [(NUM, (N,), within_them)], 1)
    within(p, [(fixed(p, NUM, N), within_them)], 1, made)


PROGRAMS: dict[str, Program] = {
    "and": ands,
    "select": selection,
    "compare": comparison,
    "argmax": labels,
    "look-up": look_up,
    "truncate": truncation,
    "square": squares,
    "multiply": products,
    "scaled": scalings,
    "cross": crossings,
    "linear": linear,
    "matmul": matrices,
    "square sum": sums,
    "row product": row_products,
    "column factor": column_factors,
    "all-zero": zero,
    "within": limits,
}


def frames_of(program: Program) -> list[list[Frame]]:
    """What is said in each of `TIMES` repetitions on the same shares; the frames of each in one order."""
    sources = {role: CountingSource(role) for role in Role}
    program(Party(None, engines=lambda p: Engines(sources, HeEngine(p))))

    def repeated(p: Party) -> None:
        for role, pool in p.cots.items():
            pool.plan(TIMES * sources[role].taken)
        p.linear.plan([LINEAR, *BOTH, SUMS, *NUMBERS, FACTORS])
        for i in range(TIMES):
            with p.ledger.at(Place("times", str(i))):
                program(p)

    with watched() as frames:
        together(repeated, standard)
    said = [f for f in frames if f.phase == "times" and f.kind not in ("extension.extend", "silent.extend")]
    times = [[f for role in Role for f in said if (f.step, f.role) == (str(i), role)] for i in range(TIMES)]
    assert len({len(each) for each in times}) == 1
    return times


@pytest.mark.parametrize("name", PROGRAMS)
def test_messages_hide_fixed_shares(name):
    times = frames_of(PROGRAMS[name])
    assert times[0]
    for same in zip(*times, strict=True):
        x = np.stack([frame.elements() for frame in same])[:, :20_000]
        assert not uneven(x, same[0].bits or 1), (name, same[0].kind, same[0].bits)


def test_a_share_in_the_clear_is_seen():
    def told(p: Party) -> None:
        x = fixed(p, NUM, N)
        p.swap(NUM.bits, x.shape, lambda: x.ring)

    x = np.stack([said[0].elements() for said in frames_of(told)])
    assert {"each place over the runs", "high bits"} <= uneven(x, NUM.bits).keys()


def test_one_mask_for_two_neighbours_is_seen():
    rng = np.random.default_rng(2)
    masks = rng.integers(0, 2**22, (TIMES, N)).astype(np.uint64).repeat(2, axis=1)
    x = (masks + np.arange(2 * N, dtype=np.uint64)) & np.uint64(2**22 - 1)
    assert {"differences over the runs", "neighbours over the runs"} <= uneven(x, 22).keys()
    assert "each place over the runs" not in uneven(x, 22)
