"""What an evaluation of a plan over a data set found, as records and as one document."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TypedDict

from ppc.backend.scores import Rate, Rated
from ppc.backend.similarity import Similarity
from ppc.backend.task import Task
from ppc.backend.two_parties import Cost
from ppc.runtime.base.errors import RangeFault
from ppc.runtime.plan.file import Plan
from ppc.runtime.plan.reach import Reach
from ppc.runtime.service.dataset import DataSet

APPROXIMATION, FIXED_POINT, PROTOCOL, ALL = "approximation", "fixed point", "protocol", "all but protocol"
"""What an error comes of."""


@dataclass(frozen=True)
class Error:
    """Of an output's numbers, as a part of their standard deviation over the set."""

    worst: float
    rms: float


@dataclass(frozen=True)
class Private:
    """Of inferences by two parties: the lines of the file, how many the guard refused, how many it let pass
    though the simulator saw them leave a ring, what one costs."""

    lines: tuple[int, ...]
    inferences: int
    refused: int
    unnoticed: int
    cost: Cost


class Left(TypedDict):
    """A row that has no answer: its line in the file, and the first place that it left."""

    line: int
    why: str


class Document(TypedDict):
    """The JSON document of ``ppc evaluate``: fields as of `Evaluation`."""

    plan: str
    model: str
    profile: str
    data: str
    rows: int
    classes: list[str]
    task: str
    output: str
    prompts: int
    cut: int
    prompts_per_second: float
    accuracy: dict[str, Rated]
    agreement: dict[str, Rated]
    similarity: dict[str, object] | None
    errors: dict[str, dict[str, float]]
    two_parties: dict[str, object] | None
    left: list[Left]
    headroom: list[dict[str, object]]


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        cut: how many prompts lost tokens to ``truncate``.
        seconds: the simulator's, for all prompts.
        left: rows that left a ring, or what the guard or an input's range allows, and why; they count in no
            number below.
        accuracy: by who answered.
        agreement: by who is held against whom.
        errors: by what they come of.
        headroom: the places, the nearest to its ring first.
    """

    plan: Plan
    data: DataSet
    task: Task
    prompts: int
    cut: int
    seconds: float
    left: dict[int, str]
    accuracy: dict[str, Rate]
    agreement: dict[str, Rate]
    similarity: Similarity | None
    errors: dict[str, Error]
    headroom: list[Reach]
    private: Private | None

    def __repr__(self) -> str:
        return f"Evaluation(plan {self.plan.hash[:12]}, {len(self.data)} rows)"

    def document(self) -> Document:
        """For JSON."""
        near = [asdict(each) | {"headroom": each.headroom} for each in self.headroom if each.reached > 0]
        return {
            "plan": self.plan.hash,
            "model": self.plan.model,
            "profile": self.plan.profile,
            "data": str(self.data.path),
            "rows": len(self.data),
            "classes": list(self.data.names),
            "task": self.task.kind,
            "output": self.task.output,
            "prompts": self.prompts,
            "cut": self.cut,
            "prompts_per_second": self.prompts / self.seconds,
            "accuracy": {who: rate.document() for who, rate in self.accuracy.items()},
            "agreement": {who: rate.document() for who, rate in self.agreement.items()},
            "similarity": None if self.similarity is None else asdict(self.similarity),
            "errors": {what: asdict(error) for what, error in self.errors.items()},
            "two_parties": None if self.private is None else asdict(self.private),
            "left": [{"line": self.data.lines[row], "why": why} for row, why in self.left.items()],
            "headroom": near,
        }

    def refuse(self) -> None:
        """Raises RangeFault, with the lines, where rows left their rings."""
        if self.left:
            rows = list(self.left)
            raise RangeFault(
                f"{self.data.path}: {len(rows)} of {len(self.data)} rows leave a ring, on "
                f"{self.data.where(rows)}; the first: {self.left[rows[0]]}; calibrate on samples that go as "
                "far, or compile with a larger --margin"
            )
