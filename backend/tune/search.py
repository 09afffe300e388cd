"""By what each unit is replaced: by the cheapest, all tuned together, and by more where that takes too much.

After each tuning the student is judged on texts that it was not tuned on. While it is worse than the budget
allows, units step up their ladders (`backend/tune/ladder.py`): those first whose step gives up the fewest
bytes for each point of likeness to the teacher that it regains, or seconds where these are the target.
Tuning goes on from the weights of the moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from heapq import merge

from ppc.backend.tune.judge import Judge, Verdict
from ppc.backend.tune.ladder import Ladder, Step, Worth, climb, free
from ppc.backend.tune.menu import Array, Menu, Rung, Unit, state_of
from ppc.backend.tune.price import Price
from ppc.backend.tune.settings import Goal
from ppc.frontend.ir.constant import Const, with_values
from ppc.frontend.ir.graph import Graph

AGAIN = 3
"""Tuning after units have stepped up takes so many times fewer steps."""


@dataclass(frozen=True, repr=False)
class Round:
    """One tuning: what was ``replaced``, how that was judged ``before`` and ``after`` it, its price after it,
    and the steps that were ``taken`` because of it."""

    replaced: tuple[Rung, ...]
    steps: int
    before: Verdict
    after: Verdict
    price: Price
    taken: tuple[Step, ...] = ()

    @property
    def variants(self) -> str:
        """How many units each variant stands for."""
        counts = Counter(each.variant for each in self.replaced)
        return ", ".join(f"{counts[name]} {name}" for name in sorted(counts))

    def __str__(self) -> str:
        back = f"; next: {', '.join(map(str, self.taken))}" if self.taken else ""
        before, after = (f"{100 * each.score:.2f} %" for each in (self.before, self.after))
        told = f"{before} before and {after} after {self.steps} steps"
        by = f" ({self.variants})" if self.replaced else ""
        return f"{len(self.replaced)} units replaced{by}: {told}, {self.price}{back}"

    def document(self) -> dict[str, object]:
        return {
            "replaced": len(self.replaced),
            "rungs": {str(each.unit): each.variant for each in self.replaced},
            "steps": self.steps,
            "before": self.before.document(),
            "after": self.after.document(),
            "bytes": self.price.bytes,
            "seconds": self.price.seconds,
            "taken": [str(each) for each in self.taken],
        }


@dataclass(frozen=True, repr=False)
class Found:
    """The student, and how it came about; ``met``: within the budget."""

    student: Graph
    rounds: tuple[Round, ...]
    met: bool


@dataclass(frozen=True, repr=False)
class Decision:
    """Where one unit ended: ``worth`` is of its rung, or if not ``replaced``, of the last that it was on;
    ``left`` are the variants that it was on before, and ``before`` and ``after`` the scores on the deciding
    rows around that decision."""

    worth: Worth
    replaced: bool
    left: tuple[str, ...]
    before: float
    after: float

    @property
    def rung(self) -> str:
        return self.worth.rung.variant if self.replaced else "exact"

    @property
    def way(self) -> tuple[str, ...]:
        return *self.left, self.rung

    def document(self) -> dict[str, object]:
        said = {"decision": "replaced" if self.replaced else "exact", "left": list(self.left)}
        return {**self.worth.document(), **said, "score_before": self.before, "score_after": self.after}


def decisions(ladders: Sequence[Ladder], teacher: Verdict, rounds: Sequence[Round]) -> tuple[Decision, ...]:
    """Units that stepped up were judged by the round that made them and the one after it; those that did not,
    or for nothing, by the teacher and the last."""
    scores = [each.after.score for each in rounds]
    taken: dict[Worth, int | None] = {step.below: None for step in free(ladders)}
    taken |= {step.below: i for i, each in enumerate(rounds) for step in each.taken}
    found = []
    for ladder in ladders:
        left = [each for each in ladder if each in taken]
        replaced = len(left) < len(ladder)
        worth = ladder[len(left)] if replaced else ladder[-1]
        at = taken[left[-1]] if left else None
        before, after = (teacher.score, scores[-1]) if at is None else (scores[at], scores[at + 1])
        found.append(Decision(worth, replaced, tuple(x.rung.variant for x in left), before, after))
    return tuple(found)


def search(
    menu: Menu,
    ladders: Sequence[Ladder],
    judge: Judge,
    goal: Goal,
    steps: int,
    tune: Callable[[Graph, Sequence[Rung], int, int], Graph],
    price: Callable[[Graph], Price],
    foretold: Callable[[Sequence[Rung]], Price],
    told: Callable[[Round], None],
) -> Found:
    """``tune(graph, rungs, steps, round)`` trains, ``price(graph)`` is what a tuned graph costs, and
    ``foretold(rungs)`` what one that is not tuned yet is to. No unit steps down again.

    Steps are taken only as long as the price stays within the goal, and those that give up nothing at once.
    Every round is ``told``.
    """
    teacher = judge.teacher.score
    left = _without(list(merge(*map(climb, ladders), key=lambda step: step.a_point)), free(ladders))
    state, rounds = dict[Const, Array](), list[Round]()
    while True:
        rungs = _rungs(left)
        graph = menu.graph(rungs)
        begun = with_values(graph, state) if _differs(menu, rungs) else menu.teacher
        now = 0 if begun is menu.teacher else steps if not rounds else max(1, steps // AGAIN)
        tuned = tune(begun, rungs, now, len(rounds)) if now else begun
        state |= state_of(graph, tuned) if now else {}
        rounds.append(Round(rungs, now, judge(begun), judge(tuned), price(tuned)))
        missing = _points(teacher - rounds[-1].after.score)
        taken = [] if missing <= goal.budget else _enough(left, missing, goal.budget)
        while taken and not goal.affords(foretold(_rungs(_without(left, taken)))):
            taken.pop()
        rounds[-1] = replace(rounds[-1], taken=tuple(taken))
        told(rounds[-1])
        if not taken:
            return Found(tuned, tuple(rounds), missing <= goal.budget)
        left = _without(left, taken)


def _differs(menu: Menu, rungs: Sequence[Rung]) -> bool:
    """Whether anything of the teacher is replaced or left out."""
    return bool(rungs) or menu.base is not menu.teacher


def _rungs(left: Sequence[Step]) -> tuple[Rung, ...]:
    """Where each unit stands that has these steps before it."""
    below: dict[Unit, Rung] = {}
    for step in left:
        below.setdefault(step.below.rung.unit, step.below.rung)
    return tuple(below.values())


def _points(part: float) -> float:
    """Per cent, without what a float adds to a budget that is met exactly."""
    return round(100 * part, 9)


def _without(left: Sequence[Step], taken: Sequence[Step]) -> list[Step]:
    return [each for each in left if each not in taken]


def _enough(left: Sequence[Step], missing: float, budget: float) -> list[Step]:
    """The first steps, as many as are to bring it within the budget, if each makes up for its own part of
    what is missing; one at least, where there is one. Of a unit's steps the first alone: tuning may make the
    next needless."""
    whole = sum(each.points for each in left)
    taken, made_up = dict[Unit, Step](), 0.0
    for each in left:
        if taken and round(missing - made_up, 9) <= budget:
            break
        taken.setdefault(each.below.rung.unit, each)
        made_up += missing * (each.points / whole if whole else 1 / len(left))
    return list(taken.values())
