"""A plan over a data set: how often it is right, and what makes the difference to the model in floats.

Every text goes through the simulator, which sees what two parties would compute; with the ONNX model beside
it, through ONNX Runtime and through the plan without rounding (`runtime/plan/unrounded.py`), which splits the
error in what was approximated and what fixed point adds. Some go through two real parties.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppc.backend.evaluation import (
    ALL,
    APPROXIMATION,
    FIXED_POINT,
    PROTOCOL,
    Error,
    Evaluation,
    Private,
)
from ppc.backend.scores import Moments, Rate, alike, right
from ppc.backend.similarity import similar
from ppc.backend.task import FLOAT, PRIVATE, SIMULATED, Said, Task
from ppc.backend.two_parties import cost, inferences
from ppc.frontend.errors import UsageError
from ppc.runtime.base.errors import BadInput, RangeFault
from ppc.runtime.plan.file import Outputs, Plan, Weights
from ppc.runtime.plan.reach import Reach
from ppc.runtime.service.dataset import DataSet
from ppc.runtime.service.tokens import Encoder, Feeds
from ppc.runtime.session.executor import Progress
from ppc.runtime.session.inputs import check_inputs, fit
from ppc.runtime.session.inputs import prompts as together
from ppc.runtime.session.simulate import Simulated, Simulator, nearest

if TYPE_CHECKING:
    from ppc.frontend.read.run import Runner

log = logging.getLogger(__name__)

AT_ONCE = 64
"""Prompts between two words of progress."""

Row = NDArray[Any]


def evaluate(
    plan: Plan,
    weights: Weights,
    data: DataSet,
    tokenizer: Path,
    *,
    model: Path | None = None,
    output: str | None = None,
    private: int = 0,
    truncate: bool = False,
    progress: Progress = lambda phase, done, total: None,
) -> Evaluation:
    """Accuracy and agreement over a data set, errors by their cause, and how near values came to their rings.

    Args:
        model: the ONNX file that was compiled, to be held against.
        output: which of the plan's, where there are several.
        private: of so many rows, evenly spread over the set, inferences by two parties.
        truncate: cut prompts that are too long, which are refused otherwise.

    Raises:
        BadInput: labels and output that do not fit one another; a text without tokens or with too many, by
            its line.
        UsageError: a model without that output, or with other inputs.
    """
    if (count := together(plan)) > 1:
        raise BadInput(f"the plan takes {count} prompts at a time; evaluate one that takes one")
    task = Task.of(plan, data, output)
    if data.labelled:
        data.check_classes(2 if task.kind == "embeddings" else task.choices)
    if private > len(data):
        raise BadInput(f"{data.path}: two parties are to run {private} rows, and there are {len(data)}")
    if not data.labelled and model is None:
        log.warning("%s has no labels: without --model there is nothing to hold answers against", data.path)
    runner = None if model is None else _runner(model, task)
    texts = data.apart() if task.kind == "embeddings" else data
    encoder = Encoder(tokenizer, [each.inputs for each in plan.lengths])
    encoded = texts.encoded(encoder, truncate=truncate)
    tokens = [len(each.ids) for each in encoded]
    prompts = _Prompts(len(data), texts, encoder.feeds(encoded, alike=False), tokens)
    out_of_range = prompts.out_of_range(plan)
    chosen = _spread([i for i in range(len(data)) if i not in out_of_range], private)
    log.info("simulating %d prompts of %s", len(prompts.feeds), data.path)
    walk = _Walk(plan, weights, task, runner)
    walk.all(prompts, out_of_range, chosen, progress)
    privately = _privately(plan, weights, prompts, chosen, walk, progress) if chosen else None
    if task.kind == "embeddings":
        similarity, said = similar(data, walk.within(len(data)))
    else:
        similarity, said = None, walk.said()
    return Evaluation(
        plan=plan,
        data=data,
        task=task,
        prompts=len(prompts.feeds),
        cut=sum(bool(each.overflowing) for each in encoded),
        seconds=walk.seconds,
        left=dict(sorted(walk.left.items())),
        accuracy=_accuracy(data.wanted(encoded[: len(data)]), said),
        agreement=_agreement(said),
        similarity=similarity,
        errors=walk.errors(),
        headroom=walk.headroom,
        private=privately,
    )


def _runner(model: Path, task: Task) -> Runner:
    """Imported here: a plan alone is evaluated without the packages that read a model."""
    from ppc.frontend.read.run import Runner

    return Runner(model, [task.output])


@dataclass(frozen=True, repr=False)
class _Prompts:
    """``rows`` of the set as prompts: of pairs of embeddings the first halves, and then the second."""

    rows: int
    texts: DataSet
    feeds: list[Feeds]
    tokens: list[int]

    def of(self, row: int) -> list[int]:
        return list(range(row, len(self.feeds), self.rows))

    def out_of_range(self, plan: Plan) -> dict[int, str]:
        """Rows that the client itself refuses. Raises BadInput, naming the line, for what no model takes."""
        found: dict[int, str] = {}
        for i, feeds in enumerate(self.feeds):
            with self.texts.naming(i):
                try:
                    check_inputs(*fit(plan, feeds))
                except RangeFault as fault:
                    found.setdefault(i % self.rows, str(fault))
        return found


class _Walk:
    """Prompts through the simulator and, with a model, through floats: answers by who gave them."""

    def __init__(self, plan: Plan, weights: Weights, task: Task, runner: Runner | None) -> None:
        self._task, self._runner = task, runner
        self._simulator = Simulator(plan, weights)
        self._moments = {what: Moments() for what in (APPROXIMATION, FIXED_POINT, ALL, PROTOCOL)}
        self._spread = Moments()
        self.answers: dict[str, dict[int, Row]] = {FLOAT: {}, SIMULATED: {}, PRIVATE: {}}
        self.left: dict[int, str] = {}
        self.headroom: list[Reach] = []
        self.seconds = 0.0

    def all(
        self, prompts: _Prompts, out_of_range: Mapping[int, str], chosen: Sequence[int], progress: Progress
    ) -> None:
        """Every prompt but those of rows ``out_of_range``; of rows ``chosen`` all numbers are kept."""
        self.left |= out_of_range
        whole = {i for row in chosen for i in prompts.of(row)}
        for first in range(0, len(prompts.feeds), AT_ONCE):
            some = range(first, min(first + AT_ONCE, len(prompts.feeds)))
            self._some([i for i in some if i % prompts.rows not in out_of_range], prompts, whole)
            progress("simulated", some.stop, len(prompts.feeds))

    def _some(self, places: Sequence[int], prompts: _Prompts, whole: set[int]) -> None:
        begun = perf_counter()
        fixed = self._simulator.run([prompts.feeds[i] for i in places], wrapping=True)
        self.seconds += perf_counter() - begun
        self.headroom = nearest([*self.headroom, *(reach for each in fixed for reach in each.reaches)])
        stayed = []
        for i, each in zip(places, fixed, strict=True):
            if why := _why(each):
                self.left.setdefault(i % prompts.rows, why)
                continue
            stayed.append(i)
            self.answers[SIMULATED][i] = self._row(each.outputs, prompts.tokens[i])
        if self._runner is not None:
            self._beside_floats(self._runner, stayed, prompts)
        for i in stayed:
            row = self.answers[SIMULATED][i]
            if self._runner is None:
                self._spread.add(row)
            self.answers[SIMULATED][i] = row if i in whole else self._kept(row)

    def _beside_floats(self, runner: Runner, places: Sequence[int], prompts: _Prompts) -> None:
        wanted = {i: self._row(runner.run(prompts.feeds[i]), prompts.tokens[i]) for i in places}
        self.answers[FLOAT] |= {i: self._kept(row) for i, row in wanted.items()}
        if self._task.places:
            return
        real = self._simulator.run([prompts.feeds[i] for i in places], rounding=False)
        for i, each in zip(places, real, strict=True):
            unrounded, row = self._row(each.outputs, prompts.tokens[i]), self.answers[SIMULATED][i]
            if wanted[i].size != row.size:
                raise UsageError(
                    f"the model's output {self._task.output!r} has rows of {wanted[i].size} numbers, and the "
                    f"plan's of {row.size}; it is not the model that was compiled"
                )
            self._spread.add(wanted[i])
            self._moments[APPROXIMATION].add(unrounded - wanted[i])
            self._moments[FIXED_POINT].add(row - unrounded)
            self._moments[ALL].add(row - wanted[i])

    def told(self, place: int, outputs: Outputs, tokens: int) -> None:
        """What two parties answered."""
        row = self._row(outputs, tokens)
        if place in self.answers[SIMULATED] and not self._task.places:
            self._moments[PROTOCOL].add(row - self.answers[SIMULATED][place])
        self.answers[PRIVATE][place] = row

    def within(self, rows: int) -> dict[str, dict[int, Row]]:
        """Answers to prompts of rows that did not leave."""
        return {
            who: {i: row for i, row in answers.items() if i % rows not in self.left}
            for who, answers in self.answers.items()
        }

    def said(self) -> Said:
        """The class or token of each, where an answer is one."""
        return {
            who: {i: self._task.said(row) for i, row in answers.items() if i not in self.left}
            for who, answers in self.answers.items()
        }

    def errors(self) -> dict[str, Error]:
        spread = self._spread.spread or 1.0
        found = {what: each for what, each in self._moments.items() if each.count}
        return {what: Error(each.most / spread, each.rms / spread) for what, each in found.items()}

    def _row(self, outputs: Outputs, tokens: int) -> Row:
        return self._task.answer(outputs[self._task.output], tokens)

    def _kept(self, row: Row) -> Row:
        """Embeddings as they are; of many logits the place is enough."""
        return row if self._task.kind == "embeddings" else np.array(self._task.said(row))[:, None]


def _why(simulated: Simulated) -> str:
    if simulated.wraps:
        return str(simulated.wraps[0])
    return f"{simulated.left[0]} goes so far that the guard alarms" if simulated.left else ""


def _spread(rows: Sequence[int], count: int) -> list[int]:
    """So many, evenly: the first and the last among them."""
    return [rows[round(at)] for at in np.linspace(0, len(rows) - 1, min(count, len(rows)))]


def _privately(
    plan: Plan, weights: Weights, prompts: _Prompts, chosen: Sequence[int], walk: _Walk, progress: Progress
) -> Private:
    """Two parties on all prompts of the rows ``chosen``."""
    log.info("two parties on %d rows", len(chosen))
    places = [i for row in chosen for i in prompts.of(row)]
    outcomes = inferences(plan, weights, [prompts.feeds[i] for i in places])
    reports, refused, unnoticed = [], 0, 0
    for i, outcome in zip(places, outcomes, strict=True):
        reports.append(outcome.report)
        progress(PRIVATE, len(reports), len(places))
        if outcome.left:
            refused += 1
        elif outcome.outputs is not None:
            walk.told(i, outcome.outputs, prompts.tokens[i])
            unnoticed += i not in walk.answers[SIMULATED]
    lines = tuple(prompts.texts.lines[row] for row in chosen)
    return Private(lines, len(places), refused, unnoticed, cost(reports))


def _accuracy(wanted: Sequence[NDArray[np.int64]] | None, said: Said) -> dict[str, Rate]:
    if wanted is None:
        return {}
    return {who: right(rows.values(), [wanted[i] for i in rows]) for who, rows in said.items() if rows}


def _agreement(said: Said) -> dict[str, Rate]:
    found = {}
    for one, other in ((SIMULATED, FLOAT), (PRIVATE, SIMULATED)):
        both = [i for i in said[one] if i in said[other]]
        if both:
            found[f"{one} as {other}"] = alike(*([said[who][i] for i in both] for who in (one, other)))
    return found
