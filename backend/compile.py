"""The way from a model file to a plan: load, fuse, pass after pass, lower."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppc import passes
from ppc.backend.anonymous import anonymous
from ppc.backend.check import Checked, check_model
from ppc.backend.choose import worth
from ppc.backend.lower import lower
from ppc.backend.merge_lengths import merge_lengths
from ppc.backend.reveal import VALUE, argmaxes
from ppc.backend.samples import TextSamples
from ppc.frontend.emit.model import save as save_onnx
from ppc.frontend.errors import UnsupportedModel
from ppc.frontend.ir.graph import FLOAT, Graph, Input, IRError
from ppc.frontend.read import rounding
from ppc.frontend.read.axes import OpenAxis
from ppc.frontend.read.load import Told, load, load_told
from ppc.frontend.read.opened import Opened
from ppc.passes.draw_inputs import looked_up, random_feeds
from ppc.passes.feasible import feasible
from ppc.passes.profile import SUFFIX
from ppc.runtime.base.errors import BadInput, Error
from ppc.runtime.net.network import USUAL, Network
from ppc.runtime.plan.file import Options, Plan, Weights, save, save_weights
from ppc.runtime.plan.local import by_onnx_runtime
from ppc.runtime.session.executor import Progress
from ppc.runtime.session.inputs import named

Feeds = Mapping[str, ArrayLike]
Samples = Sequence[Feeds] | TextSamples
Guard = Literal["one", "locate", "off"]
log = logging.getLogger(__name__)


class Unsupported(Error, ValueError):
    """A model that no pass or protocol can carry; the message names the operator."""

    exit_status = 3


@dataclass(frozen=True, repr=False)
class Compiled:
    """The public plan, the server's weights, what the profile replaced, the whole numbers of the model that
    are public because an operator needs them so, and what open axes became at the greatest length."""

    plan: Plan
    weights: Weights
    applied: tuple[passes.Applied, ...] = ()
    opened: tuple[Opened, ...] = ()
    axes: tuple[OpenAxis, ...] = ()

    def __repr__(self) -> str:
        return f"Compiled(plan {self.plan.hash[:12]}, {len(self.weights)} weights)"

    def save(self, plan: str | Path, weights: str | Path) -> None:
        save(self.plan, plan)
        save_weights(self.weights, self.plan, weights)


def compile_model(
    model: str | Path,
    *,
    seq_len: int | Sequence[int] | None = None,
    dims: Mapping[str, int] | None = None,
    outputs: str | Sequence[str] | None = None,
    reveal: str | Mapping[str, str] = VALUE,
    profile: str = "exact",
    calibrate: Samples | None = None,
    max_error: float | None = None,
    margin: float | None = None,
    guard: Guard = "one",
    network: Network = USUAL,
    nameless: bool = False,
    emit_onnx: str | Path | None = None,
    progress: Progress | None = None,
) -> Compiled:
    """Compile an ONNX transformer.

    Args:
        model: path of the ONNX file.
        seq_len: length of the sequence axes; ``dims`` gives other dynamic axes by name. Several lengths
            make one plan, of which a client takes the shortest that holds its input.
        outputs: name, or names, of the outputs to keep; by default all that depend on the weights.
        reveal: what the client learns of each output, or of one by name: its ``value``, or the ``argmax`` of
            its last axis alone. Precision is the numbers' either way.
        profile: what functions are replaced by: ``exact``, ``friendly``, ``menu``, or a TOML file; of several
            variants for one, the first.
        calibrate: sample inputs that show the ranges of activations, at the greatest length, or texts;
            seeded random ones by default.
        max_error: the precision that keeps every output within this part of its standard deviation, as
            measured on ``calibrate``; at the greatest length, and then the same for all. By default 0.0125
            where there are samples and some precision does it, and no less than the usual precision.
        margin: inner values may go so many times as far as in ``calibrate``; by default 2, and 3 without it.
        guard: whether values are watched while two parties compute, so that the client hears of an answer
            that is not to be trusted: ``one`` bit for all of them, ``locate`` for one each, or ``off``.
        network: what choices are made for.
        nameless: leave names of tensors, and the model's, out of the plan.
        emit_onnx: where to write the model as the profile makes it, at the greatest length, as ONNX.
        progress: called with what is going on, how many of its parts are done, and of how many.

    The same arguments give the same bytes. Raises errors with an ``exit_status`` that name the node.
    """
    passes.find_profile(profile)  # before the model is read, which may take long
    lengths: Sequence[int | None] = (
        [seq_len] if seq_len is None or isinstance(seq_len, int) else sorted(set(seq_len))
    )
    found = Lengths(
        model,
        asked(profile, calibrate, max_error, margin, guard),
        guard=guard,
        emit_onnx=emit_onnx,
    )
    part = Parts(progress, len(lengths))
    for length in reversed(lengths):
        log.info("reading %s%s", model, f" at length {length}" if len(lengths) > 1 else "")
        chosen = _names(outputs)
        again = partial(check_model, model, seq_len=length, dims=dict(dims or {}), outputs=chosen)
        with refusing(again):
            told = load_told(model, seq_len=length, dims=dict(dims or {}), outputs=chosen)
            feasible(told.graph)
        part.done(0)
        options = Options(
            seq_len=length,
            dims=dict(sorted((dims or {}).items())),
            byte_price=network.byte_price,
            flight=worth(network),
        )
        samples, chosen_alone = cut(told.graph, calibrate), argmaxes(told.graph, reveal)
        found.add(told, options, samples, again, argmaxes=chosen_alone, part=part)
    return found.merged(found.compiled[::-1], nameless=nameless)


def asked(
    profile: str, calibrate: Samples | None, max_error: float | None, margin: float | None, guard: Guard
) -> passes.Options:
    """What `passes.run` is asked for, by arguments as of `compile_model`."""
    return passes.Options(
        profile=profile,
        max_error=passes.USUAL_ERROR if max_error is None and calibrate is not None else max_error,
        insist=max_error is not None,
        margin=margin,
        guard=guard != "off",
    )


class Lengths:
    """A model compiled at several lengths, of which the first settles precision and constants for all.

    Arguments as of `compile_model`; ``wanted`` is what passes are asked for.
    """

    def __init__(
        self, model: str | Path, wanted: passes.Options, *, guard: Guard, emit_onnx: str | Path | None = None
    ) -> None:
        self.wanted = wanted
        self.compiled: list[tuple[Plan, Weights]] = []
        self._model, self._guard, self._emit_onnx = model, guard, emit_onnx
        self._applied: tuple[passes.Applied, ...] = ()
        self._opened: list[Opened] = []
        self._axes: tuple[OpenAxis, ...] = ()

    def add(
        self,
        told: Told,
        options: Options,
        samples: Sequence[Mapping[str, NDArray[Any]]] | None,
        again: Callable[[], Checked],
        *,
        argmaxes: Collection[str] = (),
        carried: Mapping[str, int] | None = None,
        part: Parts | None = None,
    ) -> None:
        """One more length, whose graph ``told`` has; ``carried`` as of `lower`, ``again`` as of `refusing`,
        ``part`` hears how far it is."""
        first, part = not self.compiled, part or Parts(None, 1)
        if first:
            self._axes = told.axes
            seen = samples or random_feeds(told.graph)
            for line in rounding.told(self._model, told.graph, seen, told.rounded):
                log.info(line)
        self._opened += told.opened
        log.info("choosing approximations, scales and rings")
        state = _passed(told.graph, self.wanted, samples, "", again, part.done)
        for each in state.inputs if first else ():
            log.info(each)
        for note in state.notes:
            log.info(note)
        self.wanted = replace(
            self.wanted, precision=state.options.precision, max_error=None, fitted=state.fitted
        )
        if first:
            self._applied = state.applied
            _emitted(state, self._emit_onnx)
        log.info("choosing packings and writing the plan")
        with refusing(again):
            self.compiled.append(
                lower(
                    state.graph,
                    model=told.graph.name,
                    profile=_kind(state.profile.name),
                    options=options,
                    inputs=state.inputs,
                    argmaxes=argmaxes,
                    carried=carried,
                    watched=state.watched,
                    locate=self._guard == "locate",
                )
            )
        part.length_done()

    def merged(self, compiled: Sequence[tuple[Plan, Weights]], *, nameless: bool = False) -> Compiled:
        """``compiled`` in the order of `merge_lengths`."""
        opened, made = tuple(dict.fromkeys(self._opened)), merge_lengths(compiled)
        if nodes := {each.operator for each in by_onnx_runtime(made[0].local)}:
            named = ", ".join(sorted(nodes))
            log.info("clients compute %s by ONNX Runtime, and need pip install 'ppc[compile]'", named)
        return Compiled(*(anonymous(*made) if nameless else made), self._applied, opened, self._axes)


def emit_model(
    model: str | Path,
    path: str | Path,
    *,
    seq_len: int | Sequence[int] | None = None,
    dims: Mapping[str, int] | None = None,
    outputs: Sequence[str] | None = None,
    profile: str = "friendly",
    calibrate: Samples | None = None,
) -> tuple[passes.Applied, ...]:
    """Write the model as ``profile`` makes it as ONNX, without compiling it; what was replaced.

    Arguments and errors as of `compile_model`; of several lengths it is the greatest.
    """
    passes.find_profile(profile)
    log.info("reading %s", model)
    length = seq_len if seq_len is None or isinstance(seq_len, int) else max(seq_len)
    chosen = tuple(outputs) if outputs else None
    again = partial(check_model, model, seq_len=length, dims=dict(dims or {}), outputs=chosen)
    with refusing(again):
        graph = load(model, seq_len=length, dims=dict(dims or {}), outputs=chosen)
    state = _passed(graph, passes.Options(profile=profile), cut(graph, calibrate), "apply_profile", again)
    _emitted(state, path)
    return state.applied


def _emitted(state: passes.State, path: str | Path | None) -> None:
    if path is not None:
        assert state.plain is not None
        log.info("writing %s", path)
        try:
            save_onnx(state.plain, Path(path))
        except IRError as error:
            raise Unsupported(f"the model cannot be written to {path}: {error}") from None


def cut(graph: Graph, samples: Samples | None) -> list[dict[str, NDArray[Any]]] | None:
    """Samples of a greater length, cut to the graph's. Raises BadInput where one does not fit."""
    if samples is None:
        return None
    if isinstance(samples, TextSamples):
        samples = samples.of(graph)
    rows, names = looked_up(graph), [each.name for each in graph.inputs]
    every = [named(sample, names, "calibration") for sample in samples]
    return [
        {each.name: _sample(each, sample, rows.get(each.name)) for each in graph.inputs} for sample in every
    ]


def _sample(wanted: Input, sample: Feeds, rows: int | None) -> NDArray[Any]:
    """One input of a sample, also without the axis of the batch, which is 1."""
    if wanted.name not in sample:
        raise BadInput(f"calibration: a sample without input {wanted.name!r}")
    value, shape = np.asarray(sample[wanted.name]), wanted.type.shape
    if shape[:1] == (1,) and value.ndim == len(shape) - 1:
        value = value[None]
    if value.ndim != len(shape) or any(n < d for n, d in zip(value.shape, shape, strict=True)):
        batches = [shape, shape[1:]] if shape[:1] == (1,) else [shape]
        files = " or ".join(f"(samples, {', '.join(map(str, each))})" for each in batches)
        raise BadInput(
            f"calibration: input {wanted.name!r} has shape {value.shape}, the model wants {shape} or longer; "
            f"samples are stacked on a first axis, so that a file holds {files}"
        )
    kinds = "fiub" if wanted.type.num == FLOAT else "iub"
    if value.dtype.kind not in kinds:
        raise BadInput(
            f"calibration: input {wanted.name!r} holds {value.dtype}, the model wants {wanted.type}"
        )
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise BadInput(f"calibration: input {wanted.name!r} holds a value that is not finite")
    value = value[tuple(map(slice, shape))]
    beyond = value[(value < 0) | (value >= rows)] if rows is not None else value[:0]
    if beyond.size:
        raise BadInput(
            f"calibration: input {wanted.name!r} holds {beyond.ravel()[0]}, and its table has the rows 0 to "
            f"{(rows or 0) - 1}"
        )
    return value


def _passed(
    graph: Graph,
    options: passes.Options,
    feeds: Sequence[Mapping[str, NDArray[Any]]] | None,
    stop_after: str,
    again: Callable[[], Checked],
    done: Callable[[int], None] = lambda stages: None,
) -> passes.State:
    with refusing(again):
        return passes.run(graph, options, feeds, stop_after, done)


def _names(outputs: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """One output goes by its name alone too."""
    return (outputs,) if isinstance(outputs, str) else tuple(outputs or ()) or None


def _kind(profile: str) -> str:
    """What a plan says of the profile: what a file of rules is called is no part of what it does."""
    return "of a TOML file" if profile.endswith(SUFFIX) else profile


class Parts:
    """How far compiling is: of every length reading it, the stages of the pipeline, and lowering."""

    def __init__(self, progress: Progress | None, lengths: int) -> None:
        self._progress = progress
        self._each = len(passes.PIPELINE) + 2
        self._total = lengths * self._each
        self._before = self._done = 0

    def done(self, stages: int) -> None:
        """It is read, and so many stages are done; one that is taken again goes no step back."""
        self._tell(self._before + 1 + stages)

    def length_done(self) -> None:
        self._before += self._each
        self._tell(self._before)

    def _tell(self, parts: int) -> None:
        self._done = max(self._done, parts)
        if self._progress:
            self._progress("compiling", self._done, self._total)


@contextmanager
def refusing(again: Callable[[], Checked]) -> Iterator[None]:
    """Refusals, which are of one op, as all that is in the way; where nothing is, as they are."""
    try:
        yield
    except (ValueError, OverflowError, UnsupportedModel) as error:
        if (found := again()).unsupported:
            raise found.refusal() from None
        if hasattr(error, "exit_status"):
            raise
        raise Unsupported(str(error)) from None
