"""Which units are replaced: all, tuned together, and back to exact what saves least for what it takes.

After each tuning the student is judged on texts that it was not tuned on. While it is worse than the budget
allows, units return: those first that save the fewest bytes for each point of likeness that they take from
the teacher, alone, fitted and not tuned. Tuning goes on from the weights of the moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ppc.backend.tune.judge import Judge, Verdict
from ppc.backend.tune.menu import Array, Menu, Unit, state_of
from ppc.backend.tune.price import Price
from ppc.backend.tune.settings import Goal
from ppc.frontend.ir.constant import Const, with_values
from ppc.frontend.ir.graph import Graph

AGAIN = 3
"""Tuning after units have returned takes so many times fewer steps."""


@dataclass(frozen=True)
class Worth:
    """Of one unit: the ``points`` of likeness that it takes alone, over so many ``rows``, and what it
    ``saves`` where all others are replaced too."""

    unit: Unit
    points: float
    saves: Price
    rows: int

    def __str__(self) -> str:
        return f"{self.unit} by {self.unit.variant}: takes {self.points:.2f} points alone, saves {self.saves}"

    @property
    def a_point(self) -> float:
        """Bytes saved for each point. Half a row cannot be told from none."""
        return self.saves.bytes / max(self.points, 50 / self.rows)

    def document(self) -> dict[str, object]:
        return {
            "layer": self.unit.layer,
            "operator": self.unit.kind,
            "variant": self.unit.variant,
            "formula": self.unit.formula,
            "points_alone": self.points,
            "bytes_saved": self.saves.bytes,
            "seconds_saved": self.saves.seconds,
        }


@dataclass(frozen=True)
class Round:
    """One tuning: what was ``replaced``, how that was judged ``before`` and ``after`` it, its price after it,
    and the units that ``returned`` to exact because of it."""

    replaced: tuple[Unit, ...]
    steps: int
    before: Verdict
    after: Verdict
    price: Price
    returned: tuple[Unit, ...] = ()

    def __str__(self) -> str:
        back = f"; back to exact: {', '.join(map(str, self.returned))}" if self.returned else ""
        before, after = (f"{100 * each.score:.2f} %" for each in (self.before, self.after))
        told = f"{before} before and {after} after {self.steps} steps"
        return f"{len(self.replaced)} units replaced: {told}, {self.price}{back}"

    def document(self) -> dict[str, object]:
        return {
            "replaced": len(self.replaced),
            "steps": self.steps,
            "before": self.before.document(),
            "after": self.after.document(),
            "bytes": self.price.bytes,
            "seconds": self.price.seconds,
            "returned": [str(each) for each in self.returned],
        }


@dataclass(frozen=True, repr=False)
class Found:
    """The student, and how it came about; ``met``: within the budget."""

    student: Graph
    rounds: tuple[Round, ...]
    met: bool


@dataclass(frozen=True)
class Decision:
    """Whether one unit stays ``replaced``, the score on the deciding rows ``before`` and ``after`` that was
    decided, and what the unit is worth."""

    worth: Worth
    replaced: bool
    before: float
    after: float

    def document(self) -> dict[str, object]:
        said = {"decision": "replaced" if self.replaced else "exact", "score_before": self.before}
        return {**self.worth.document(), **said, "score_after": self.after}


def decisions(worths: Sequence[Worth], teacher: Verdict, rounds: Sequence[Round]) -> tuple[Decision, ...]:
    """Units that returned were judged by the round that sent them back and the one after it; those that stay,
    by the teacher and the last."""
    scores = [each.after.score for each in rounds]
    back = {unit: i for i, each in enumerate(rounds) for unit in each.returned}
    found = []
    for worth in worths:
        at = back.get(worth.unit)
        before, after = (teacher.score, scores[-1]) if at is None else (scores[at], scores[at + 1])
        found.append(Decision(worth, at is None, before, after))
    return tuple(found)


def search(
    menu: Menu,
    worths: Sequence[Worth],
    judge: Judge,
    goal: Goal,
    steps: int,
    tune: Callable[[Graph, int, int], Graph],
    price: Callable[[Graph], Price],
    foretold: Callable[[Graph], Price],
    told: Callable[[Round], None],
) -> Found:
    """``tune(graph, steps, round)`` trains, ``price(graph)`` is what a tuned graph costs, and
    ``foretold`` what one that is not tuned yet is to. What returns stays exact.

    Units return only as long as the price stays within the goal. Every round is ``told``.
    """
    teacher = judge.teacher.score
    left, state, rounds = (
        sorted(worths, key=lambda each: each.a_point),
        dict[Const, Array](),
        list[Round](),
    )
    while True:
        units = tuple(each.unit for each in left)
        graph = menu.graph(units)
        begun = with_values(graph, state) if units else menu.teacher
        now = 0 if not units else steps if not rounds else max(1, steps // AGAIN)
        tuned = tune(begun, now, len(rounds)) if now else begun
        state |= state_of(graph, tuned) if now else {}
        rounds.append(Round(units, now, judge(begun), judge(tuned), price(tuned)))
        missing = _points(teacher - rounds[-1].after.score)
        back = [] if missing <= goal.budget else _returning(left, missing, goal.budget)
        while back and not goal.affords(foretold(menu.graph([x.unit for x in left if x not in back]))):
            back.pop()
        rounds[-1] = replace(rounds[-1], returned=tuple(each.unit for each in back))
        told(rounds[-1])
        if not back:
            return Found(tuned, tuple(rounds), missing <= goal.budget)
        left = [each for each in left if each not in back]


def _points(part: float) -> float:
    """Per cent, without what a float adds to a budget that is met exactly."""
    return round(100 * part, 9)


def _returning(left: Sequence[Worth], missing: float, budget: float) -> list[Worth]:
    """The first units, as many as are to bring it within the budget, if each makes up for its own part of
    what is missing; one at least."""
    whole = sum(each.points for each in left)
    back, made_up = list[Worth](), 0.0
    for each in left:
        if back and round(missing - made_up, 9) <= budget:
            break
        back.append(each)
        made_up += missing * (each.points / whole if whole else 1 / len(left))
    return back
