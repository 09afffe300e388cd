"""What a tuning came to: as a document, for a terminal, and as a page with a picture of the front."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ppc.backend.scores import Rate
from ppc.backend.templates import template
from ppc.backend.tune.judge import Verdict
from ppc.backend.tune.tune import Tuned

Document = dict[str, object]

WHO = {
    "teacher": "the model as it was",
    "untuned": "replaced, not tuned",
    "tuned": "replaced and tuned",
    "control": "the model as it was, trained on labels for as long",
}


@dataclass(frozen=True)
class Point:
    """A model that was met on the way, and by what how many units are replaced in it. ``front``: none that is
    cheaper is as good."""

    name: str
    variants: str
    bytes: int
    seconds: float
    score: float
    front: bool


def points(tuned: Tuned) -> list[Point]:
    """The teacher and the student of each round, by bytes."""
    teacher = tuned.prices["teacher"]
    met = [("exact", "", teacher, tuned.decided.score)]
    met += [(f"{len(r.replaced)} replaced", r.variants, r.price, r.after.score) for r in tuned.found.rounds]
    met.sort(key=lambda each: (each[2].bytes, -each[3]))
    best, found = -1.0, []
    for name, variants, price, score in met:
        found.append(Point(name, variants, price.bytes, price.seconds, score, score > best))
        best = max(best, score)
    return found


def document(tuned: Tuned) -> Document:
    settings = tuned.settings
    return {
        "model": str(tuned.model),
        "file": str(tuned.output),
        "task": tuned.task.kind,
        "output": tuned.task.output,
        "tokens": tuned.tokens,
        "eliminated": [str(each) for each in tuned.eliminated],
        "profile": settings.profile,
        "seed": settings.seed,
        "mix": settings.mix,
        "network": settings.network.name,
        "rows": tuned.rows,
        "budget": settings.goal.budget,
        "target": settings.goal.limit,
        "met": tuned.met,
        "steps": [each.steps for each in tuned.found.rounds],
        "prices": {who: {"bytes": p.bytes, "seconds": p.seconds} for who, p in tuned.prices.items()},
        "final": {who: verdict.document() for who, verdict in tuned.final.items()},
        "decisions": [each.document() for each in tuned.decisions],
        "rounds": [each.document() for each in tuned.found.rounds],
        "front": [
            {
                "name": p.name,
                "variants": p.variants,
                "bytes": p.bytes,
                "seconds": p.seconds,
                "score": p.score,
            }
            for p in points(tuned)
            if p.front
        ],
    }


def lines(tuned: Tuned) -> Iterator[str]:
    """For a terminal."""
    yield f"{'':<10}{'accuracy':>26}{'agreement':>26}"
    for who, verdict in tuned.final.items():
        yield f"{who:<10}{said(verdict, 'accuracy'):>26}{said(verdict, 'agreement'):>26}"
    yield ""
    yield from map(str, tuned.eliminated)
    for each in tuned.decisions:
        worth = each.worth
        what = " -> ".join(each.way)
        yield (
            f"{worth.rung.unit!s:<44} {what:<34} alone {worth.points:6.2f} points  "
            f"saves {worth.saves.bytes / 1e6:7.2f} MB {worth.saves.seconds:6.2f} s"
        )
    yield ""
    for point in points(tuned):
        mark = "*" if point.front else " "
        cost = f"{point.bytes / 1e6:9.2f} MB {point.seconds:8.2f} s"
        by = f": {point.variants}" if point.variants else ""
        yield f"{mark} {cost} {100 * point.score:7.2f} %  {point.name}{by}"
    yield ""
    teacher, student = tuned.prices["teacher"], tuned.prices["tuned"]
    fewer = teacher.bytes / student.bytes
    yield f"{tuned.output}  {student}, was {teacher}: {fewer:.2f} times fewer bytes"
    if not any(each.replaced for each in tuned.decisions):
        yield "nothing stays replaced within the budget: the file is the model as it was"
    if not tuned.met:
        goal = tuned.settings.goal
        yield f"a budget of {goal.budget:g} points and a target of {goal.limit} were not both kept"


def said(verdict: Verdict, what: str) -> str:
    """A rate with its interval, in per cent; of embeddings the cosine, and the correlation of ranks."""
    if verdict.cosine is not None:
        ranks = "" if verdict.ranks is None else f", ranks {verdict.ranks:.4f}"
        return f"cosine {verdict.cosine:.4f}{ranks}" if what == "agreement" else ""
    rate: Rate | None = getattr(verdict, what)
    if rate is None:
        return ""
    low, high = rate.interval
    return f"{100 * rate.value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def written(tuned: Tuned, suffix: str) -> str:
    """A report as the ending of a file's name asks for it."""
    if suffix == ".json":
        return json.dumps(document(tuned), indent=1) + "\n"
    file = Path(__file__).with_name(f"tuned{suffix}.jinja")
    return template(file, {}, {"said": said, "WIDE": WIDE, "HIGH": HIGH})(
        tuned=tuned,
        who=WHO,
        decisions=tuned.decisions,
        points=points(tuned),
        picture=Picture.of(points(tuned)),
    )


@dataclass(frozen=True)
class Picture:
    """Points on a plane of `WIDE` by `HIGH`: bytes to the right, score upwards."""

    places: tuple[tuple[float, float, Point], ...]
    bytes: tuple[tuple[float, float], ...]
    scores: tuple[tuple[float, float], ...]

    @staticmethod
    def of(points: list[Point]) -> Picture:
        most = max(p.bytes for p in points)
        low, high = min(p.score for p in points), max(p.score for p in points)
        room = max(high - low, 0.01)
        low, high = low - room / 4, high + room / 4

        def x(count: float) -> float:
            return WIDE * count / (1.1 * most)

        def y(score: float) -> float:
            return HIGH * (high - score) / (high - low)

        quarters = [i / 4 for i in range(5)]
        return Picture(
            tuple((x(p.bytes), y(p.score), p) for p in points),
            tuple((x(part * most), part * most) for part in quarters),
            tuple((y(low + part * (high - low)), low + part * (high - low)) for part in quarters),
        )

    @property
    def line(self) -> str:
        """The front, as the points of a polyline."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y, point in self.places if point.front)


WIDE, HIGH = 640, 300
