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
from ppc.frontend.ir.constant import Const, with_values
from ppc.frontend.ir.graph import Graph

AGAIN = 3
"""Tuning after units have returned takes so many times fewer steps."""


@dataclass(frozen=True)
class Worth:
    """Of one unit: the ``points`` of likeness that it takes alone, and what it ``saves`` where all others are
    replaced too."""

    unit: Unit
    points: float
    saves: Price

    def a_point(self, least: float) -> float:
        """Bytes saved for each point; ``least`` is what can be told from 0."""
        return self.saves.bytes / max(self.points, least)

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
    """One tuning: what was ``replaced``, how that was judged ``before`` and ``after`` it, its price at the
    ranges from before, and the units that ``returned`` to exact because of it."""

    replaced: tuple[Unit, ...]
    steps: int
    before: Verdict
    after: Verdict
    price: Price
    returned: tuple[Unit, ...] = ()

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


@dataclass(frozen=True)
class Goal:
    """``budget`` in points of score; ``bytes`` and ``seconds`` that an inference may cost."""

    budget: float = 1.0
    bytes: float | None = None
    seconds: float | None = None

    @property
    def limit(self) -> str:
        """As ``--target`` has it."""
        if self.bytes is not None:
            return f"{self.bytes / 1e6:g}MB"
        return "none" if self.seconds is None else f"{self.seconds:g}s"

    def affords(self, price: Price) -> bool:
        return (self.bytes is None or price.bytes <= self.bytes) and (
            self.seconds is None or price.seconds <= self.seconds
        )


@dataclass(frozen=True, repr=False)
class Found:
    """The student, and how it came about; ``met``: within the budget."""

    student: Graph
    rounds: tuple[Round, ...]
    met: bool


def search(
    menu: Menu,
    worths: Sequence[Worth],
    judge: Judge,
    goal: Goal,
    steps: int,
    tune: Callable[[Graph, int, int], Graph],
    price: Callable[[Graph], Price],
    least: float,
    told: Callable[[Round], None],
) -> Found:
    """``tune(graph, steps, round)`` trains, ``price(graph)`` is what it costs. What returns stays exact.

    Units return only as long as the price stays within the goal. Points of likeness below ``least`` cannot be
    told from 0. Every round is ``told``.
    """
    teacher = judge.teacher.score
    left, state, rounds = (
        sorted(worths, key=lambda each: each.a_point(least)),
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
        rounds.append(Round(units, now, judge(begun), judge(tuned), price(begun)))
        missing = _points(teacher - rounds[-1].after.score)
        back = [] if missing <= goal.budget else _returning(left, missing, goal.budget)
        while back and not goal.affords(price(menu.graph([x.unit for x in left if x not in back]))):
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
