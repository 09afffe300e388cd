"""A decoder as one plan: prompts of several lengths, and a step of one token over caches of several sizes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from ppc.backend.check import check_model
from ppc.backend.choose import worth
from ppc.backend.compile import Compiled, Guard, Lengths, Samples, asked, cut, refusing
from ppc.backend.reveal import VALUE, argmaxes
from ppc.frontend.errors import UsageError
from ppc.frontend.ir.graph import Graph, Input, IRError
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.read.attended import load_last
from ppc.frontend.read.caches import cache_axes
from ppc.frontend.read.load import Told, load_told
from ppc.frontend.read.model import read_model
from ppc.frontend.read.past import PRESENT, Carried, carried, carrying, counting, known, short_axes
from ppc.frontend.read.run import Runner
from ppc.passes.calibrate import BLIND_MARGIN
from ppc.passes.draw_inputs import ENOUGH, random_feeds, warnings
from ppc.passes.feasible import feasible
from ppc.runtime.base.errors import BadInput
from ppc.runtime.net.network import USUAL, Network
from ppc.runtime.plan.file import InputSpec, Options
from ppc.runtime.service.decoding import Rows
from ppc.runtime.service.tokens import meaning

log = logging.getLogger(__name__)

Feeds = dict[str, NDArray[Any]]

SMALLEST = 32
"""Rows that a step of the smallest cache reads, its own among them."""

TOGETHER = 16
"""Tokens whose products under HE are made with the first of them: most of a ciphertext would be empty else.
Who stops early has paid for those that do not come."""

PLACES = 8
"""In a text at which a step is calibrated."""

MOVED = 1
"""Places by which a prompt is moved; that padding moves it further is checked with each length."""

CLOSE = 1e-3
"""Of a logit's standard deviation: how far floats may lie apart that are computed in another order."""


def compile_generation(
    model: str | Path,
    *,
    prompts: Sequence[int],
    most: int,
    dims: Mapping[str, int] | None = None,
    output: str | None = None,
    reveal: str = VALUE,
    profile: str = "exact",
    calibrate: Samples | None = None,
    max_error: float | None = None,
    margin: float | None = None,
    guard: Guard = "one",
    network: Network = USUAL,
    nameless: bool = False,
) -> Compiled:
    """Compile a decoder to generate up to ``most`` tokens after a prompt of ``prompts`` tokens.

    Args:
        prompts: lengths, of which a client takes the shortest that holds its prompt.
        output: the one that chooses the next token, where there are several beside the caches.
        calibrate: texts, or inputs of the model with an empty cache, as long as the longest prompt and
            ``most`` together.

    Others, and errors, as of `compile_model`.
    """
    reader = _Decoder(model, dict(dims or {}), output)
    lengths = sorted(set(prompts))
    total = lengths[-1] + most - 1
    traces = reader.traces(total, calibrate)
    reader.count_rows(traces[0], lengths[-1])
    wanted = replace(
        asked(profile, calibrate, max_error, margin or (BLIND_MARGIN if calibrate is None else None), guard),
        carried=dict.fromkeys(each.input for each in reader.caches),
    )
    found = Lengths(model, wanted, guard=guard)
    steps = [(1, size - 1) for size in _sizes(lengths[0] + 1, total)]
    together = dict(_together(steps, lengths[0]))
    for new, past in [*((each, 0) for each in reversed(lengths)), *reversed(steps)]:
        told = reader.told(new, past)
        reader.compare(told.graph, traces, new, past)
        places = [(trace, count) for i, trace in enumerate(traces) for count in _filled(i, new, past)]
        samples = _Samples(told.graph, new, past, places)
        options = Options(
            seq_len=new,
            dims=reader.sizes(new, past),
            byte_price=network.byte_price,
            flight=worth(network),
            places=reader.places,
            together=together.get(past, 1),
        )
        chosen_alone = argmaxes(told.graph, {reader.output: reveal})
        rows = {each.input: each.axis for each in reader.caches}
        found.add(told, options, samples, reader.again(new, past), argmaxes=chosen_alone, carried=rows)
        kept = {name: num for name, (num, _, _) in found.compiled[0][0].states.kinds.items()}
        found.wanted = replace(found.wanted, carried=kept)
    return found.merged(
        [*found.compiled[: len(lengths)][::-1], *found.compiled[len(lengths) :][::-1]], nameless=nameless
    )


def _filled(sample: int, new: int, past: int) -> list[int]:
    """How many tokens there are where a sample is taken: of a prompt every second time all that it holds,
    else fewer; of a step, which shows one token where a prompt shows many, at several places, but not at a
    text's first, which no step is for and some models make hundreds of times as large as the others."""
    whole = new + past
    if not past:
        return [whole if sample % 2 == 0 else 1 + sample * 7 % whole]
    return sorted({whole, *(2 + (sample + each * past // PLACES) % past for each in range(1, PLACES))})


def _counts(given: Input) -> bool:
    return meaning(given.name) == "places"


def _sizes(least: int, total: int) -> list[int]:
    """Rows of keys that steps read: powers of two, from what the shortest prompt needs, and ``total``."""
    size = SMALLEST
    while size < least:
        size *= 2
    found = []
    while size < total:
        found.append(size)
        size *= 2
    return [*found, total] if total >= least else []


def _together(steps: Sequence[tuple[int, int]], shortest: int) -> Iterator[tuple[int, int]]:
    """By a step's cache, for how many tokens products are made at once: no more than it ever serves."""
    least = shortest
    for _, past in steps:
        yield past, min(TOGETHER, past - least + 1)
        least = past + 1


@dataclass(frozen=True, repr=False)
class Trace:
    """A text as floats compute it: its tokens, the rows that they leave along ``axes``, and their logits."""

    ids: list[int]
    rows: Mapping[str, NDArray[Any]]
    axes: Mapping[str, int]
    logits: NDArray[Any]

    def feeds(self, graph: Graph, new: int, past: int, tokens: int) -> Feeds:
        """Inputs of ``graph``, which adds ``new`` rows to ``past``, where the text has come to ``tokens``
        tokens. What a cache has no row for is 0."""
        most = min(tokens, len(self.ids))
        before = max(0, min(past, most - 1))
        given = self.ids[before : before + min(new, most - before)]
        specs = [InputSpec(each.name, each.shape, "int") for each in graph.inputs if not each.carried]
        feeds = Rows([True] * before).feeds(specs, past, new, given)
        for each in graph.inputs:
            if each.carried:
                axis = self.axes[each.name]
                rows = np.take(self.rows[each.name], range(before), axis)
                feeds[each.name] = np.pad(
                    rows, [(0, past - before if i == axis else 0) for i in range(rows.ndim)]
                )
        return feeds


class _Samples(Sequence[Feeds]):
    """Inputs of ``graph`` at so many places of texts, made as they are asked for: each has a whole cache."""

    def __init__(self, graph: Graph, new: int, past: int, places: Sequence[tuple[Trace, int]]) -> None:
        self._graph, self._new, self._past, self._places = graph, new, past, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> Feeds: ...
    @overload
    def __getitem__(self, at: slice) -> _Samples: ...
    def __getitem__(self, at: int | slice) -> Feeds | _Samples:
        if isinstance(at, slice):
            return _Samples(self._graph, self._new, self._past, self._places[at])
        trace, tokens = self._places[at]
        return trace.feeds(self._graph, self._new, self._past, tokens)


class _Decoder:
    """The model's file, read once for each length."""

    def __init__(self, model: str | Path, dims: dict[str, int], output: str | None) -> None:
        proto = read_model(model)
        self._model, self._dims = model, dims
        self._takes_caches = bool(cache_axes(proto))
        self.caches: tuple[Carried, ...] = carried(proto) if self._takes_caches else ()
        others = [each.name for each in proto.graph.output if not each.name.startswith(PRESENT)]
        if output is None and len(others) != 1:
            raise UsageError(
                f"which output chooses the next token? Give --output, one of {', '.join(others)}"
            )
        self.output = output or others[0]
        self._masks = [each.name for each in proto.graph.input if meaning(each.name) == "mask"]
        if not self._takes_caches:
            self.caches = self._last(1, 1)[1]
        self._outputs = (self.output, *(each.output for each in self.caches))
        self.places: Literal["tokens", "rows"] = "tokens"
        self._short = short_axes(proto, self.caches, self._masks) if self._takes_caches else []

    def count_rows(self, trace: Trace, new: int) -> None:
        """Whether places may count rows: all of a prompt's moved by some, it says the same."""
        graph = self.told(new, 0).graph
        feeds = trace.feeds(graph, new, 0, new)
        moved = {name: x + MOVED if meaning(name) == "places" else x for name, x in feeds.items()}
        if not any(map(_counts, graph.inputs)):
            return
        try:
            here, there = (evaluate(graph, each)[self.output] for each in (feeds, moved))
        except IRError:  # of places beyond a table
            return
        if np.abs(here - there).max() <= CLOSE * (here.std() or 1.0):
            log.info("places count rows: the model knows distances alone, and places are public")
            self.places = "rows"

    def sizes(self, new: int, past: int) -> dict[str, int]:
        """Sizes of axes by name, with so many rows in the caches and so many tokens that are added."""
        found = dict(self._dims)
        if self._takes_caches and past:
            found |= {each.axis_name: past for each in self.caches} | dict.fromkeys(self._short, past + new)
        return dict(sorted(found.items()))

    def again(self, new: int, past: int) -> Callable[[], Any]:
        length, outputs = (new, self._outputs) if self._takes_caches else (new + past, (self.output,))
        return partial(check_model, self._model, seq_len=length, dims=self.sizes(new, past), outputs=outputs)

    def told(self, new: int, past: int) -> Told:
        """The graph of ``new`` tokens over ``past`` rows."""
        log.info("reading %s for %d tokens after %d", self._model, new, past)
        with refusing(self.again(new, past)):
            if self._takes_caches:
                told = load_told(self._model, seq_len=new, dims=self.sizes(new, past), outputs=self._outputs)
            else:
                told, _ = self._last(new, past)
            graph = carrying(told.graph, self.caches, new)
            if self.places == "rows" and not past:
                graph = known(graph, {each: np.arange(new) for each in graph.inputs if _counts(each)})
            elif self.places == "rows":
                graph = counting(graph, {each.name for each in graph.inputs if _counts(each)})
            feasible(graph)
        return replace(told, graph=graph)

    def _last(self, new: int, past: int) -> tuple[Told, tuple[Carried, ...]]:
        return load_last(self._model, new, past, self._dims, self.output, self._masks)

    def traces(self, total: int, calibrate: Samples | None) -> list[Trace]:
        """Texts of up to ``total`` tokens through the model at once; random ones where none are given."""
        graph = load_told(self._model, seq_len=total, dims=self._dims, outputs=[self.output]).graph
        samples = cut(graph, calibrate)
        if samples is None:
            for note in warnings(graph, None):
                log.info(note)
            samples = random_feeds(graph, ENOUGH)
        runner = Runner(self._model, self._outputs)
        return [self._trace(each, runner) for each in samples]

    def _trace(self, feeds: Mapping[str, NDArray[Any]], runner: Runner) -> Trace:
        known = {meaning(name): np.asarray(value).reshape(-1) for name, value in feeds.items()}
        if "ids" not in known:
            raise BadInput(
                f"no input among {', '.join(feeds)} has the ids of tokens; generating needs input_ids"
            )
        ids = known["ids"].astype(np.int64)
        count = int(np.count_nonzero(known["mask"])) if "mask" in known else ids.size
        ran = runner.run(feeds)
        rows = {each.input: np.take(ran[each.output], range(count), each.axis) for each in self.caches}
        logits = np.asarray(ran[self.output], np.float64)
        return Trace(
            [int(each) for each in ids[:count]],
            rows,
            {each.input: each.axis for each in self.caches},
            logits.reshape(-1, logits.shape[-1])[:count],
        )

    def compare(self, graph: Graph, traces: Sequence[Trace], new: int, past: int) -> None:
        """That tokens after a cache with room to spare, or behind padding, are those of the text at once.

        Raises UsageError where they are not: of a model that takes its cache's length for a token's place.
        """
        trace = max(traces, key=lambda each: len(each.ids))
        for count in sorted({min(len(trace.ids), past + new), max(1, (past + new) // 2)}):
            feeds = trace.feeds(graph, new, past, count)
            before = max(0, min(past, count - 1))
            at = before + min(new, count - before) - 1
            wanted = trace.logits[at]
            found = np.asarray(evaluate(graph, feeds)[self.output]).reshape(-1)
            off = float(np.abs(found - wanted).max() / (trace.logits.std() or 1.0))
            if not off <= CLOSE:
                raise UsageError(
                    f"the model's {self.output} after {at + 1} tokens differ by {off:.2g} of their spread "
                    f"where its cache has room for {past} rows, or padding stands in front: it tells places "
                    "by the length of its cache. Export it with attention_mask and position_ids as inputs"
                )
