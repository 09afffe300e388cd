"""Jobs that take turns: what they share, in what order, and what becomes of a fault."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest

from ppc.runtime.base.ring import known
from ppc.runtime.party.party import Party, priced, together

N = 5


def chain(p: Party, length: int, start: int) -> Callable[[], int | None]:
    """Adds what both say, so often."""

    def run() -> int | None:
        held = start
        for _ in range(length):
            ours, theirs = p.swap(20, (N,), partial(np.full, N, held, np.uint64))
            held = 0 if ours is None else int(ours[0] + known(theirs)[0])
        return p.both(lambda: held)

    return run


def walked(p: Party, needs: list[list[int]], lengths: list[int]) -> tuple[list[int], dict[int, int | None]]:
    """In which order jobs end, and their results."""
    ended: list[int] = []
    found: dict[int, int | None] = {}

    def work(i: int) -> None:
        found[i] = chain(p, lengths[i], i + 1)()
        ended.append(i)

    p.turns.walk(needs, work, lambda i: nullcontext())
    return ended, found


def flights(program: Callable[[Party], object]) -> int:
    ledger = priced(lambda p: program(p))
    return ledger._depth


@pytest.mark.parametrize(
    ("needs", "lengths", "expected"),
    [
        ([[], []], [3, 3], 3),
        ([[], [0]], [3, 3], 6),
        ([[], [], [0, 1]], [1, 4, 2], 6),
        ([[], [0], [0], [1, 2]], [1, 2, 3, 1], 5),
    ],
)
def test_what_does_not_need_the_other_shares_its_flights(needs, lengths, expected):
    assert flights(lambda p: walked(p, needs, lengths)) == expected
    server, client, ledger = together(lambda p: walked(p, needs, lengths))
    assert server == client
    assert ledger._depth == expected
    assert server[1] == {i: (i + 1) << length for i, length in enumerate(lengths)}


def test_one_that_says_nothing_is_done_before_others_hear():
    ended, _ = together(lambda p: walked(p, [[], [], [1]], [2, 0, 0]))[0]
    assert ended == [1, 2, 0]


@pytest.mark.parametrize("lengths", [[2, 2, 2], [0, 3, 1], [0, 0]])
def test_parts_of_a_job_take_turns(lengths):
    def program(p: Party) -> list[int | None]:
        found: list[int | None] = []

        def work(i: int) -> None:
            found.extend(p.turns.beside([chain(p, length, 1) for length in lengths]))
            found.append(chain(p, 1, 1)())

        p.turns.walk([[]], work, lambda i: nullcontext())
        return found

    server, client, ledger = together(program)
    assert server == client == [*(1 << length for length in lengths), 2]
    assert ledger._depth == max(lengths) + 1


def test_parts_have_parts():
    def program(p: Party) -> list[int | None]:
        found: list[int | None] = []

        def inner(length: int) -> int | None:
            each = p.turns.beside([chain(p, length, 1), chain(p, length + 1, 1)])
            chain(p, 1, 1)()
            return p.both(lambda: sum(known(x) for x in each))

        def work(i: int) -> None:
            found.extend(p.turns.beside([partial(inner, 1), partial(inner, 2), chain(p, 1, i)]))

        p.turns.walk([[], []], work, lambda i: nullcontext())
        return found

    server, client, ledger = together(program)
    assert server == client == [6, 12, 0, 6, 12, 2]
    assert ledger._depth == 4


def test_a_fault_in_a_part_of_a_job_is_raised():
    def program(p: Party) -> None:
        def faulty() -> int | None:
            chain(p, 1, 1)()
            raise ValueError("part")

        def work(i: int) -> None:
            p.turns.beside([chain(p, 3, 1), faulty])

        with pytest.raises(ValueError, match="part"):
            p.turns.walk([[], []], work, lambda i: nullcontext())
        assert p.turns.beside([lambda: 1, lambda: 2]) == [1, 2], "nobody is left"

    together(program)


def test_outside_of_a_job_parts_follow_one_another():
    assert flights(lambda p: p.turns.beside([chain(p, 2, 1), chain(p, 3, 1)])) == 5


def test_a_fault_is_raised_and_the_others_let_go():
    let_go: list[str] = []

    def program(p: Party) -> None:
        def work(i: int) -> None:
            try:
                chain(p, 3, 1)()
            finally:
                let_go.append(f"{p.role}")
            raise ValueError("job")

        def faulty(i: int) -> None:
            if i == 1:
                chain(p, 1, 1)()
                raise ValueError("job 1")
            work(i)

        with pytest.raises(ValueError, match="job 1"):
            p.turns.walk([[], []], faulty, lambda i: nullcontext())

    together(program)
    assert len(let_go) == 2
