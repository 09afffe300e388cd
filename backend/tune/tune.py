"""Replace what is dear in a model, tune what is left, and write it as ONNX that compiles as it is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from ppc import passes
from ppc.backend.check import check_model
from ppc.backend.compile import refusing
from ppc.backend.task import Task
from ppc.backend.tune import lengths
from ppc.backend.tune.division import Division, others
from ppc.backend.tune.foretell import Foretold
from ppc.backend.tune.journal import Journal
from ppc.backend.tune.judge import Judge, Texts, Verdict
from ppc.backend.tune.ladder import Worth, ladder
from ppc.backend.tune.lengths import Sample
from ppc.backend.tune.menu import Menu, Rung
from ppc.backend.tune.price import Price, planned, price
from ppc.backend.tune.search import Decision, Found, decisions, search
from ppc.backend.tune.settings import Settings
from ppc.frontend.emit.model import save
from ppc.frontend.ir.graph import Graph
from ppc.frontend.read.load import load
from ppc.frontend.read.run import Runner
from ppc.passes.train.answers import answers
from ppc.passes.train.distil import Distillation, distil
from ppc.passes.train.fit import fit
from ppc.passes.train.optimise import Options, Tell, silent
from ppc.runtime.base.errors import BadInput, Error
from ppc.runtime.service.dataset import DataSet

log = logging.getLogger(__name__)

_SENSED = 512
"""Rows on which units are judged alone, at most."""

_CHECKED, _OFF = 16, 1e-3
"""Rows that ONNX Runtime answers as well, and how far off it may be, in parts of the answers' spread."""


class NotTheStudent(Error):
    """What was written is not what was tuned."""

    exit_status = 6


@dataclass(frozen=True, repr=False)
class Tuned:
    """All that was found out.

    Attributes:
        decided: the teacher, on the rows that decisions were made by.
        final: on texts that nothing was chosen by, the teacher, the student before and after tuning, and as
            control the teacher trained on labels for as many steps.
        prices: of the model as it was, and of the file that was written.
        eliminated: which tokens the profile left out, and where.
        rows: how many there were for what.
    """

    model: Path
    output: Path
    task: Task
    tokens: int
    settings: Settings
    rows: dict[str, int]
    decisions: tuple[Decision, ...]
    found: Found
    decided: Verdict
    final: dict[str, Verdict]
    prices: dict[str, Price]
    eliminated: tuple[passes.Applied, ...] = ()

    @property
    def met(self) -> bool:
        """Whether the budget was kept, and the target, which is foretold while units return."""
        return self.found.met and self.settings.goal.affords(self.prices["tuned"])


def tune_model(
    model: Path,
    *,
    data: DataSet,
    valid: DataSet,
    tokenizer: Path,
    output: Path,
    seq_len: int,
    kept: str | None = None,
    truncate: bool = False,
    decide: DataSet | None = None,
    settings: Settings | None = None,
    work: Path | None = None,
    tell: Tell = silent,
) -> Tuned:
    """Tune a model at one length and write it to ``output``.

    Args:
        data: texts to tune on and to decide by, with labels or without; ``valid``: others, for the final
            numbers alone; ``decide``: those to decide by, otherwise a part of ``data``. Rows that are in
            several of them count for the last of ``data``, ``decide``, ``valid`` alone.
        kept: the output that is wanted, where the model has several.
        truncate: cut texts that are too long, which are refused otherwise.
        work: a folder for the journal, and from which an interrupted run goes on.

    Raises BadInput and UsageError, before anything is trained, where model, data and tokenizer do not fit one
    another; Unsupported for a model that does not compile; NotTheStudent where ONNX Runtime finds other
    answers in the file than training had.
    """
    settings = settings or Settings()
    data = others(data, valid)
    if decide is not None:
        decide = others(decide, valid, of="--decide")
        data = others(data, decide, "--decide")
    chosen = (kept,) if kept else None
    with refusing(partial(check_model, model, seq_len=seq_len, dims={}, outputs=chosen)):
        graph = load(model, seq_len=seq_len, outputs=chosen)
        plan = planned(graph, None, settings.network)
    task = Task.of(plan, data, kept)
    if settings.labels and not (task.labelled and data.labelled):
        raise BadInput(
            f"--label-weight {settings.labels:g}: {data.path} tells no classes that the model answers"
        )
    parts = Division.of(
        data, valid, plan, graph, task, tokenizer, truncate, settings.seed, decide, settings.mix
    )
    if 0 < settings.goal.budget < 100 / len(parts.decide):
        log.warning(
            "WARNING: a budget of %g points is less than one of the %d rows that decide; give more --data",
            settings.goal.budget,
            len(parts.decide),
        )

    def at(tokens: int) -> Graph:
        return load(model, seq_len=tokens, outputs=chosen, quiet=True)

    run = _Run(graph, task, parts, settings, Journal(work), work, tell, seq_len, at)
    found, decided = run.found()
    write(found.student, output, parts.final, task)
    files = {"teacher": graph, "tuned": load(output)}
    return Tuned(
        model=model,
        output=output,
        task=task,
        tokens=seq_len,
        settings=settings,
        rows=parts.counts,
        decisions=decided,
        found=found,
        decided=run.judge.teacher,
        final=run.final(found),
        prices={name: run.price(each) for name, each in files.items()},
        eliminated=run.eliminated,
    )


def menu_of(graph: Graph, profile: str, samples: Sequence[Sample]) -> tuple[Menu, tuple[passes.Applied, ...]]:
    """What ``profile`` replaces, and the tokens that it leaves out."""
    teacher, base = (
        passes.run(graph, passes.Options(each), samples, stop_after="fold_scale")
        for each in ("exact", profile)
    )
    chosen = passes.find_profile(profile)
    fewer = base.graph if chosen.eliminations else teacher.graph
    return Menu.of(teacher.graph, chosen, teacher.feeds, fewer), base.applied


class _Run:
    """What all stages of one tuning know."""

    def __init__(
        self,
        graph: Graph,
        task: Task,
        parts: Division,
        settings: Settings,
        journal: Journal,
        work: Path | None,
        tell: Tell,
        tokens: int,
        at: Callable[[int], Graph],
    ) -> None:
        """``graph`` is of so many ``tokens``, and ``at`` gives it at another length."""
        self._parts, self._settings, self._work, self._tell, self._task = parts, settings, work, tell, task
        self._journal = journal
        self._tokens, self._at = tokens, at
        self.menu, self.eliminated = menu_of(graph, settings.profile, parts.samples)
        self.judge = Judge(self.menu.teacher, task, parts.decide)

    def price(self, graph: Graph) -> Price:
        """In the bits that `ppc compile` takes by default."""
        network = self._settings.network
        return price(planned(graph, self._parts.samples, network, passes.USUAL_ERROR), network)

    def _usual(self, graph: Graph) -> Price:
        network = self._settings.network
        return price(planned(graph, self._parts.samples, network), network)

    def found(self) -> tuple[Found, tuple[Decision, ...]]:
        """The student, and how each unit was decided."""
        menu, goal, journal = self.menu, self._settings.goal, self._journal
        foretold = Foretold(menu, self._usual, self._tell)
        saved = foretold.saved
        most = [max(unit.rungs, key=lambda rung: getattr(saved[rung], goal.by)) for unit in menu.units]
        cheapest = foretold([rung for rung in most if getattr(saved[rung], goal.by) > 0])
        if not goal.affords(cheapest):
            raise BadInput(
                f"--target {goal.limit}: with all {len(menu.units)} units replaced it is {cheapest}"
            )
        worths = self._worths(saved)
        ladders = [ladder([each for each in worths if each.rung.unit is unit]) for unit in menu.units]
        journal.worths(worths, [each for rungs in ladders for each in rungs])
        prices = self.price, foretold
        found = search(menu, ladders, self.judge, goal, self._steps(), self._tune, *prices, journal.round)
        decided = decisions(ladders, self.judge.teacher, found.rounds)
        journal.decisions(decided)
        return found, decided

    def final(self, found: Found) -> dict[str, Verdict]:
        judge = Judge(self.menu.teacher, self._task, self._parts.final)
        verdicts = {
            "teacher": judge.teacher,
            "untuned": judge(self.menu.graph(found.rounds[-1].replaced)),
            "tuned": judge(found.student),
        }
        steps = sum(each.steps for each in found.rounds)
        if steps and self._parts.train.examples.labels is not None:
            verdicts["control"] = judge(self._control(steps))
        return verdicts

    def _steps(self) -> int:
        settings = self._settings
        if settings.epochs is None:
            return settings.steps
        return max(1, round(settings.epochs * len(self._parts.train) / settings.batch))

    def _worths(self, saved: Mapping[Rung, Price]) -> list[Worth]:
        """What each rung takes alone, and saves."""
        menu, decide = self.menu, self._parts.decide
        rows = min(_SENSED, len(decide))
        judge = Judge(menu.teacher, self._task, decide.at(np.arange(rows)))
        none = judge(menu.base).likeness
        found = []
        for i, rung in enumerate(saved):
            points = 100 * (none - judge(menu.alone(rung)).likeness)
            found.append(Worth(rung, points, saved[rung], rows, self._settings.goal.by))
            self._tell("units", i + 1, len(saved))
        return found

    def _tune(self, student: Graph, rungs: Sequence[Rung], steps: int, number: int) -> Graph:
        settings, parts = self._settings, self._parts
        options = Distillation(
            steps=steps,
            batch=settings.batch,
            rate=settings.rate,
            seed=settings.seed + number,
            target="vectors" if self._task.kind == "embeddings" else "logits",
            labels=settings.labels,
            half=settings.half,
        )
        train, held = parts.train.examples, parts.held.examples
        what = f"tuning {number + 1}"
        shorter = {n: lengths.at(self.menu, each, rungs) for n, each in self._shorter.items()}
        return distil(
            self.menu.teacher,
            student,
            train,
            held,
            options,
            what=what,
            tell=self._tell,
            work=self._work,
            shorter=shorter,
        )

    @cached_property
    def _shorter(self) -> dict[int, Menu]:
        """The menu at lesser lengths."""
        tokens, samples = self._parts.train.examples.tokens, self._parts.samples
        assert tokens is not None

        def made(graph: Graph, some: Sequence[Sample]) -> Menu:
            return menu_of(graph, self._settings.profile, some)[0]

        return lengths.menus(lengths.lesser(tokens, self._tokens), self._at, made, samples)

    def _control(self, steps: int) -> Graph:
        settings, parts = self._settings, self._parts
        options = Options(
            steps=steps, batch=settings.batch, rate=settings.rate, seed=settings.seed, half=settings.half
        )
        train, held = parts.train.examples.labelled, parts.held.examples
        shorter = {n: each.teacher for n, each in self._shorter.items()}
        return fit(
            self.menu.teacher,
            train,
            held,
            options,
            what="control",
            tell=self._tell,
            work=self._work,
            shorter=shorter,
        )


def write(student: Graph, path: Path, texts: Texts, task: Task) -> None:
    """The student as ONNX, which ONNX Runtime must answer some of ``texts`` like. Raises NotTheStudent."""
    save(student, path)
    some = texts.at(np.arange(min(_CHECKED, len(texts)))).examples
    wanted, runner = answers(student, some)[task.output], Runner(path, [task.output])
    found = np.stack(
        [runner.run({name: x[i] for name, x in some.feeds.items()})[task.output] for i in range(len(some))]
    )
    off, spread = float(np.abs(found - wanted).max()), float(wanted.std())
    if not off <= _OFF * spread:
        path.unlink()
        raise NotTheStudent(
            f"{path}: not written: ONNX Runtime is {off:g} off what was tuned, of answers that spread by "
            f"{spread:g}"
        )
