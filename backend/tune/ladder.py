"""What a unit may be replaced by, from the cheapest up to what it was, and what each step up is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ppc.backend.tune.menu import Rung
from ppc.backend.tune.price import Price

Ladder = tuple["Worth", ...]
"""Of one unit, from the cheapest rung up; behind the last it is exact."""


@dataclass(frozen=True, repr=False)
class Worth:
    """Of one rung: the ``points`` of likeness that it takes alone, over so many ``rows``, and what it
    ``saves`` where all other units are replaced too, of which ``by`` counts."""

    rung: Rung
    points: float
    saves: Price
    rows: int
    by: Literal["bytes", "seconds"] = "bytes"

    def __str__(self) -> str:
        return f"{self.rung}: takes {self.points:.2f} points alone, saves {self.saves}"

    @property
    def saved(self) -> float:
        return self.saves.bytes if self.by == "bytes" else self.saves.seconds

    @property
    def counted(self) -> float:
        """The points, by which half a row cannot be told from none."""
        return max(self.points, 50 / self.rows)

    def document(self) -> dict[str, object]:
        return {
            "layer": self.rung.unit.layer,
            "operator": self.rung.unit.kind,
            "variant": self.rung.variant,
            "formula": self.rung.formula,
            "points_alone": self.points,
            "bytes_saved": self.saves.bytes,
            "seconds_saved": self.saves.seconds,
        }


@dataclass(frozen=True, repr=False)
class Step:
    """Of one unit, from what is ``below`` to the next rung ``above``, or to exact where there is none."""

    below: Worth
    above: Worth | None

    def __str__(self) -> str:
        return f"{self.below.rung.unit} to {self.above.rung.variant if self.above else 'exact'}"

    @property
    def points(self) -> float:
        """That are regained."""
        return self.below.points - (self.above.points if self.above else 0.0)

    @property
    def given_up(self) -> float:
        """Of what was saved."""
        return self.below.saved - (self.above.saved if self.above else 0.0)

    @property
    def a_point(self) -> float:
        """Given up for each point."""
        return self.given_up / (self.below.counted - (self.above.counted if self.above else 0.0))


def ladder(worths: Sequence[Worth]) -> Ladder:
    """Those of one unit's rungs that are worth standing on, by what they save.

    From each the next is the one that gives up least for each point that it regains, exact among them. So no
    step costs less a point than the one before it, and steps of all units may be taken in the order of what
    they cost a point. What is dearer than something nearer to the teacher is not among them.
    """
    found = [max(worths, key=lambda each: (each.saved, -each.counted))]
    while True:
        above = [None, *(each for each in worths if each.counted < found[-1].counted)]
        best = min((Step(found[-1], each) for each in above), key=lambda step: step.a_point)
        if best.above is None:
            return tuple(found)
        found.append(best.above)


def free(ladders: Sequence[Ladder]) -> list[Step]:
    """Steps that give up nothing, which are taken before anything is tuned: where a variant saves nothing its
    unit stays as it was."""
    return [step for rungs in ladders for step in climb(rungs) if step.given_up <= 0]


def climb(rungs: Ladder) -> list[Step]:
    """All steps of a ladder, the last to exact."""
    return [Step(*both) for both in zip(rungs, (*rungs[1:], None), strict=True)]
