"""Precision by the error allowed: what is asked for is kept, and costs no more than it must."""

import sys

import numpy as np
import pytest
import tiny_bert

from ppc import passes
from ppc.frontend.ir import fixed, reference
from ppc.frontend.ir.reference import evaluate
from ppc.passes.accurate import ALL, COARSEST, AccuracyError, accurate, coarser, finer, worst
from ppc.passes.errors import RangeError

pytestmark = pytest.mark.long

GRAPH = tiny_bert.tiny_bert()
FEEDS = [tiny_bert.feeds(2 + seed % 5, seed) for seed in range(12)]
OTHERS = [tiny_bert.feeds(2 + seed % 5, 100 + seed) for seed in range(6)]


def error(max_error: float | None) -> float:
    done = passes.run(GRAPH, passes.Options(max_error=max_error), FEEDS).graph
    return worst([evaluate(GRAPH, each) for each in OTHERS], [fixed.evaluate(done, each) for each in OTHERS])


def test_what_is_allowed_is_kept_on_other_inputs():
    coarse = error(None)
    assert coarse > 0.005
    assert error(0.005) < 0.005
    assert error(0.003) < 0.003


def test_where_the_usual_precision_does_better_less_is_spent():
    usual = passes.run(GRAPH, feeds=FEEDS).options.precision
    allowed = 0.03
    assert error(None) < ALL * allowed
    coarse = passes.run(GRAPH, passes.Options(max_error=allowed), FEEDS).options.precision
    assert coarse in [coarser(usual, times) for times in range(1, COARSEST + 1)]
    assert error(None) < error(allowed) < allowed
    done = passes.run(GRAPH, passes.Options(max_error=1.0), FEEDS)
    assert done.options.precision == coarser(usual, COARSEST)
    assert "an error of 1 allows splines 8 times as coarse as usual" in done.notes


def test_nobody_who_does_not_ask_for_an_error_is_given_less():
    asked = passes.Options(max_error=1.0, insist=False)
    assert passes.run(GRAPH, asked, FEEDS).options.precision == passes.Precision()


def test_splines_and_bits_are_raised_apart():
    asked: list[tuple[str, int, int]] = []
    exact = evaluate(GRAPH, FEEDS[0])["pooled"]

    def off(by: float) -> object:
        return lambda graph, feeds: {"pooled": exact + by * exact.std()}

    class Made:
        def __init__(self, by: float) -> None:
            self.by = by

    def run(kind: str, by: float, precision: passes.Precision) -> Made:
        asked.append((kind, precision.fit, precision.value))
        return Made(by)

    with pytest.MonkeyPatch.context() as patch:
        for module in ("reference", "fixed"):
            real = {"reference": reference, "fixed": fixed}[module].evaluate_each
            patch.setattr(
                f"ppc.frontend.ir.{module}.evaluate_each",
                lambda graph, feeds, real=real: (
                    [off(graph.by)(graph, each) for each in feeds]
                    if isinstance(graph, Made)
                    else real(graph, feeds)
                ),
            )
        found = accurate(
            GRAPH, FEEDS[:1], 0.01, passes.Precision(value=9),
            lambda p: run("fit", 0.018 * 2.0**-p.fit, p),
            lambda p: run("bits", 0.018 * 2.0**-p.fit + 0.018 * 2.0 ** (9 - p.value), p),
        )  # fmt: skip
    assert (found.fit, found.value, found.weight) == (2, 14, 16)
    assert asked == [
        *(("bits", 0, 9), ("fit", 0, 9), ("fit", 2, 9)),
        *(("bits", 2, 9), ("bits", 2, 11), ("bits", 2, 12), ("bits", 2, 13), ("bits", 2, 14)),
    ]


def test_what_nobody_asks_for_is_left_where_it_is_out_of_reach():
    asked = passes.Options(max_error=1e-7, insist=False)
    done = passes.run(GRAPH, asked, FEEDS)
    assert done.options.precision == passes.Precision()
    assert any("an error of 1e-07 of an output's standard deviation is out of reach" in n for n in done.notes)


def test_out_of_reach():
    with pytest.raises(AccuracyError, match="out of reach: with 8 more bits") as caught:
        passes.run(GRAPH, passes.Options(max_error=1e-7), FEEDS)
    assert caught.value.exit_status == 6


def test_rings_that_do_not_hold_the_precision_are_told_as_such(monkeypatch):
    usual = passes.assign_scale

    def too_wide(graph, ranges, precision, **given):
        if precision.value > narrow:
            raise RangeError("exp of scores needs a ring of 65 bits")
        return usual(graph, ranges, precision, **given)

    narrow = passes.Precision().value

    monkeypatch.setattr(passes, "assign_scale", too_wide)
    with pytest.raises(
        AccuracyError, match=r"0.003.*halvings better.*exp of scores.*allow more with --max-e"
    ):
        passes.run(GRAPH, passes.Options(max_error=0.003), FEEDS)
    narrow = 0
    with pytest.raises(RangeError, match=r"^exp of scores"):
        passes.run(GRAPH, passes.Options(max_error=1.0), FEEDS)


def test_where_rings_are_in_the_way_the_finest_that_they_hold_is_taken(monkeypatch):
    usual = passes.assign_scale
    narrow = passes.Precision().value + 1

    def too_wide(graph, ranges, precision, **given):
        if precision.value > narrow:
            raise RangeError("exp of scores needs a ring of 65 bits")
        return usual(graph, ranges, precision, **given)

    monkeypatch.setattr(passes, "assign_scale", too_wide)
    monkeypatch.setattr(sys.modules["ppc.passes.accurate"], "_steps", lambda found, wanted: 1)
    done = passes.run(GRAPH, passes.Options(max_error=1e-4, insist=False), FEEDS)
    assert done.options.precision.value == narrow
    assert any("exp of scores needs a ring" in note for note in done.notes)


def test_data_are_seen_once_for_a_fit(monkeypatch):
    fits, calibrated = [], []
    real_refine, real_calibrate = passes.refine, passes.calibrate
    monkeypatch.setattr(passes, "refine", lambda g, fit: fits.append(fit) or real_refine(g, fit))
    monkeypatch.setattr(passes, "calibrate", lambda *a: calibrated.append(a) or real_calibrate(*a))
    found = passes.run(GRAPH, passes.Options(max_error=0.004), FEEDS).options.precision
    assert found.value > passes.Precision().value
    assert len(fits) == len(set(fits))
    assert len(calibrated) == 1 + len(fits) + 1  # for masks, for each fit, for the rings of the last


def test_errors_are_in_units_of_the_spread():
    exact = [
        {"a": np.array([0.0, 2.0]), "b": np.array([5.0])},
        {"a": np.array([0.0, 2.0]), "b": np.array([5.0])},
    ]
    found = [
        {"a": np.array([0.0, 2.5]), "b": np.array([5.0])},
        {"a": np.array([0.0, 2.0]), "b": np.array([5.0])},
    ]
    assert worst(exact, found) == 0.5
    assert worst(exact, exact) == 0


def test_finer_touches_bits_alone():
    assert finer(passes.Precision(), 0) == passes.Precision()
    assert finer(passes.Precision(), 1) == passes.Precision(11, 11, 12, 11, 12, 12, 9, 0)
    assert finer(passes.Precision(), 2) == passes.Precision(12, 12, 13, 12, 13, 13, 10, 0)


def test_coarser_touches_what_meets_number_by_number():
    assert coarser(passes.Precision(), 1) == passes.Precision(gated=8, spline=8, fit=-1)
    assert coarser(passes.Precision(), 3) == passes.Precision(gated=6, spline=7, fit=-3)
