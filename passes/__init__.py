"""From a graph over the reals to one in fixed point that two parties can run.

``PIPELINE`` is the whole story in order; ``run`` tells it, up to a stage of your choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from ppc.frontend.ir.graph import Graph, Op
from ppc.passes.accurate import USUAL_ERROR, AccuracyError, accurate
from ppc.passes.apply_profile import Applied, apply_profile
from ppc.passes.assign_scale import FixedGraph, assign_scale
from ppc.passes.calibrate import BLIND_MARGIN, MARGIN, Feeds, Range, Ranges, calibrate
from ppc.passes.canonicalize import canonicalize
from ppc.passes.carry_factor import carry_factor
from ppc.passes.check_mask import check_mask
from ppc.passes.check_range import check_range
from ppc.passes.clamp_mask import clamp_mask, cuts
from ppc.passes.delay_division import delay_division
from ppc.passes.draw_inputs import Assumed, assumed, random_feeds, warnings
from ppc.passes.eliminate import eliminate
from ppc.passes.errors import RangeError
from ppc.passes.fold_affine import fold_affine
from ppc.passes.fold_scale import fold_scale
from ppc.passes.formats import Precision
from ppc.passes.fuse_gelu import fuse_gelu
from ppc.passes.fuse_layernorm import fuse_layernorm
from ppc.passes.fuse_silu import fuse_silu
from ppc.passes.fuse_softmax import fuse_softmax
from ppc.passes.group_queries import group_queries
from ppc.passes.hoist_mask import hoist_mask
from ppc.passes.legal import check_legal
from ppc.passes.legalise import legalise
from ppc.passes.merge_equal import merge_equal
from ppc.passes.pad_feeds import pad_feeds
from ppc.passes.pool import pool
from ppc.passes.profile import Profile, ProfileError
from ppc.passes.profile import find as find_profile
from ppc.passes.publish_scale import publish_scale
from ppc.passes.refine import refine
from ppc.passes.slice_early import slice_early
from ppc.passes.substitute import approximate, decompose
from ppc.passes.substitution import Constants
from ppc.runtime.base.ring import Fixed


@dataclass(frozen=True)
class Options:
    """``profile``: the name of one, or a TOML file; ``precision`` in bits, and ``margin`` on calibrated
    ranges (by default more where no data is given). With ``max_error`` the precision is raised until
    every output is within that part of its standard deviation, or lowered as long as it is; without
    ``insist`` it is never lowered, and only a note is left where no precision does that. ``guard``: rings
    have room for one. ``carried``: outputs that one run hands to the next, in the formats that another
    graph has settled, or None where this one does; nobody sees them, so that precision is not measured on
    them."""

    profile: str = "exact"
    precision: Precision = field(default_factory=Precision)
    margin: float | None = None
    fitted: tuple[Constants, ...] = ()
    max_error: float | None = None
    insist: bool = True
    guard: bool = True
    carried: Mapping[str, Fixed | None] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What one stage hands to the next. ``ranges`` are of ``graph``, or left over from an earlier one.

    ``notes`` are for the user to read. ``plain`` is the model as the profile wants it, still in operators
    that any runtime knows, ``applied`` what the profile changed to make it so, and ``fitted`` the constants
    it found. ``inputs`` is what was assumed of each, ``watched`` what a guard can watch.
    """

    graph: Graph
    options: Options
    feeds: Sequence[Feeds]
    profile: Profile
    ranges: Ranges = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    plain: Graph | None = None
    applied: tuple[Applied, ...] = ()
    fitted: tuple[Constants, ...] = ()
    inputs: tuple[Assumed, ...] = ()
    watched: Mapping[Op, float] = field(default_factory=dict)
    done: Callable[[int], None] = lambda stages: None
    """Called with how many stages of the pipeline are done; of one that is taken again more than once."""

    @property
    def fixed(self) -> FixedGraph:
        return FixedGraph(self.graph, self.ranges, self.watched)


@dataclass(frozen=True)
class Stage:
    """``data``: whether it needs to know the values that are computed with; guessed ranges do for the rest.

    What may be in the graph after it is in `LEGAL` of `passes/legal.py`.
    """

    name: str
    reason: str
    run: Callable[[State], State]
    data: bool = False


def _canonical(graph: Graph) -> Graph:
    return merge_equal(canonicalize(graph).graph).graph


def _fused(graph: Graph) -> Graph:
    for fuse in (fuse_gelu, fuse_silu, fuse_layernorm, fuse_softmax):
        graph = fuse(graph).graph
    return graph


def _eliminated(s: State) -> State:
    done = eliminate(s.graph, s.profile)
    return replace(s, graph=merge_equal(done.graph).graph, applied=done.applied) if done.layers else s


def _hoisted(s: State) -> State:
    graph = hoist_mask(s.graph).graph
    return replace(s, graph=graph, feeds=pad_feeds(graph, s.feeds))


def _profiled(s: State) -> State:
    done = apply_profile(s.graph, s.profile, s.feeds, s.options.fitted)
    return replace(
        s, graph=done.graph, plain=done.graph, applied=(*s.applied, *done.applied), fitted=done.fitted
    )


class _Later(dict[Op, Range]):
    """Ranges that are found when the first is asked for: those of masks, which not every model has."""

    def __init__(self, find: Callable[[], Ranges]) -> None:
        self._find = cache(find)

    def __missing__(self, op: Op) -> Range:
        return self._find()[op]


def _calibrate_masks(s: State) -> State:
    return replace(s, ranges=_Later(lambda: _calibrate(s).ranges))


def _calibrate(s: State) -> State:
    return replace(s, ranges=calibrate(s.graph, s.feeds, s.options.margin or MARGIN))


def _clamped(s: State) -> State:
    fit = s.options.precision.fit
    notes = tuple(dict.fromkeys([*s.notes, *(str(each) for each in cuts(s.graph, s.ranges, fit))]))
    return replace(s, graph=clamp_mask(s.graph, s.ranges, fit), notes=notes)


def _grouped(s: State) -> State:
    new = group_queries(s.graph)
    watched = {new[op]: held for op, held in s.watched.items()}
    return replace(s, graph=s.graph.mapped(new), watched=watched)


def _assign(s: State) -> State:
    options = s.options
    fixed = assign_scale(s.graph, s.ranges, options.precision, guard=options.guard, carried=options.carried)
    return replace(s, graph=fixed.graph, ranges=fixed.ranges, watched=fixed.watched)


PIPELINE: tuple[Stage, ...] = (
    Stage("canonicalize", "one spelling for each formula", lambda s: replace(s, graph=_canonical(s.graph))),
    Stage(
        "fuse",
        "a norm, a softmax or a GELU is worth knowing as a whole",
        lambda s: replace(s, graph=_fused(s.graph)),
    ),
    Stage(
        "eliminate",
        "a text has one answer, for which its last layers do not need every word",
        _eliminated,
    ),
    Stage(
        "slice_early",
        "rows that nobody reads are not computed",
        lambda s: replace(s, graph=slice_early(s.graph).graph),
    ),
    Stage(
        "pool",
        "a masked mean is one product with weights that the client works out alone",
        lambda s: replace(s, graph=pool(s.graph).graph),
    ),
    Stage(
        "hoist_mask",
        "only the last term under a softmax, a ReLU or a maximum can be cut",
        _hoisted,
    ),
    Stage(
        "fold_scale",
        "1/√d costs nothing inside a weight, and is no secret outside",
        lambda s: replace(s, graph=publish_scale(fold_scale(s.graph).graph).graph),
    ),
    Stage(
        "apply_profile",
        "what a model can do without, or be tuned to do without, costs least",
        _profiled,
        data=True,
    ),
    Stage("calibrate", "a mask is as deep as the scores are wide", _calibrate_masks, data=True),
    Stage(
        "check_mask",
        "an error that a mask multiplies is seen",
        lambda s: replace(s, graph=check_mask(s.graph, s.ranges)),
        data=True,
    ),
    Stage(
        "clamp_mask",
        "minus infinity has no fixed-point format",
        _clamped,
    ),
    Stage(
        "legalise",
        "a choice is a product, and the larger of two a ReLU",
        lambda s: replace(s, graph=legalise(s.graph).graph),
    ),
    Stage(
        "decompose",
        "two parties know sums, products and functions of one value",
        lambda s: replace(s, graph=decompose(s.graph)),
    ),
    Stage(
        "carry_factor",
        "a factor costs nothing once it has come to a weight",
        lambda s: replace(s, graph=carry_factor(s.graph).graph),
    ),
    Stage(
        "fold_affine",
        "a norm's γ and β cost nothing inside the weights that read it",
        lambda s: replace(s, graph=fold_affine(s.graph)),
    ),
    Stage(
        "delay_division",
        "softmax divides its few outputs, not its many scores",
        lambda s: replace(s, graph=delay_division(s.graph).graph),
    ),
    Stage("calibrate_functions", "1/x and 1/√x are fitted where their arguments lie", _calibrate, data=True),
    Stage(
        "approximate",
        "a function of one value is a piecewise quadratic",
        lambda s: replace(s, graph=refine(approximate(s.graph, s.ranges), s.options.precision.fit)),
        data=True,
    ),
    Stage("calibrate_values", "a ring is as large as what it must hold", _calibrate, data=True),
    Stage("assign_scale", "every value gets its scale, every step the smallest ring", _assign, data=True),
    Stage(
        "check_range",
        "and nothing wraps where it would show",
        lambda s: replace(s, graph=check_range(s.fixed)),
        data=True,
    ),
    Stage("group_queries", "heads that share a key are rows of one product", _grouped, data=True),
)


def run(
    graph: Graph,
    options: Options | None = None,
    feeds: Sequence[Feeds] | None = None,
    stop_after: str = "",
    done: Callable[[int], None] = lambda stages: None,
) -> State:
    """``graph`` through the pipeline, up to and with the stage called ``stop_after`` or to the end.

    ``feeds`` is the calibration data; seeded random inputs without it. ``done`` is called with how many
    stages are done. The state after the last stage has a
    graph in fixed point: outputs Fixed, the client's own values encoded by ``Cast``, weights ``Const`` with a
    Fixed ``num``.
    Raises IRError for what cannot be computed on shares, ValueError for ranges outside an approximation's
    domain, RangeError for values that would wrap, AccuracyError where ``max_error`` is out of reach;
    ProfileError for a profile that does not exist or fit, ValueError for a stage that does not exist.
    """
    options = options or Options()
    profile = find_profile(options.profile)
    if stop_after and stop_after not in {stage.name for stage in PIPELINE}:
        raise ValueError(f"no stage {stop_after!r}; there are {', '.join(stage.name for stage in PIPELINE)}")
    if options.margin is None:
        options = replace(options, margin=BLIND_MARGIN if feeds is None else MARGIN)
    given = random_feeds(graph) if feeds is None else feeds
    inputs = assumed(graph, feeds, options.margin or MARGIN)
    state = State(graph, options, given, profile, inputs=inputs, notes=warnings(graph, feeds), done=done)
    state = _staged(state, "", stop_after if stop_after in _BEFORE_PRECISION else _BEFORE_PRECISION[-1])
    if stop_after in _BEFORE_PRECISION:
        return state
    reals = _Reals(state)
    precision, notes = _accurate(reals, options)
    if stop_after in _REAL:
        return _staged(_with(state, precision), _BEFORE_PRECISION[-1], stop_after)
    made = _staged(_with(reals.ranged(precision.fit), precision), _REAL[-1], stop_after)
    return replace(made, notes=(*made.notes, *notes))


_NAMES = [stage.name for stage in PIPELINE]
_BEFORE_PRECISION = _NAMES[: _NAMES.index("calibrate") + 1]
"""What comes before precision makes a difference."""

_REAL = _NAMES[len(_BEFORE_PRECISION) : _NAMES.index("assign_scale")]
"""What depends on no more of it than how well splines fit."""


def _staged(state: State, after: str, last: str = "") -> State:
    """The stages that follow ``after``, up to and with ``last``; all the rest without one."""
    first = _NAMES.index(after) + 1 if after else 0
    for i, stage in enumerate(PIPELINE[first : _NAMES.index(last) + 1 if last else None], first + 1):
        state = stage.run(state)
        check_legal(state.graph, stage.name)
        state.done(i)
    return state


_DEEP = 24
"""Halvings of exp's error below which a clamped mask is as good as −∞ in floating point."""


def _with(state: State, precision: Precision) -> State:
    return replace(state, options=replace(state.options, precision=precision))


class _Reals:
    """What a state becomes over the reals, each found once: it depends on how well splines fit alone."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.splined, self.ranged = cache(self._splined), cache(self._ranged)

    def _splined(self, fit: int) -> State:
        fitted = _with(self.state, replace(self.state.options.precision, fit=fit))
        return _staged(fitted, _BEFORE_PRECISION[-1], "approximate")

    def _ranged(self, fit: int) -> State:
        return _staged(self.splined(fit), "approximate", _REAL[-1])


def _accurate(reals: _Reals, options: Options) -> tuple[Precision, tuple[str, ...]]:
    """The least precision that keeps the outputs within the error allowed, and what there is to say of it."""
    if options.max_error is None:
        return options.precision, ()
    state = reals.state
    graph = clamp_mask(state.graph, state.ranges, _DEEP)
    seen = {name: op for name, op in graph.outputs.items() if name not in options.carried}
    try:
        found = accurate(
            replace(graph, outputs=seen),
            state.feeds,
            options.max_error,
            options.precision,
            lambda precision: reals.splined(precision.fit).graph,
            lambda precision: _staged(_with(reals.ranged(precision.fit), precision), _REAL[-1]).graph,
            spare=options.insist,
        )
    except AccuracyError as fault:
        if options.insist:
            raise
        return fault.best or options.precision, (str(fault),)
    spared = options.precision.fit - found.fit
    if spared <= 0:
        return found, ()
    return found, (f"an error of {options.max_error:g} allows splines {2**spared} times as coarse as usual",)


__all__ = [
    "PIPELINE",
    "USUAL_ERROR",
    "AccuracyError",
    "Applied",
    "FixedGraph",
    "Options",
    "Precision",
    "Profile",
    "ProfileError",
    "RangeError",
    "Stage",
    "State",
    "find_profile",
    "run",
]
