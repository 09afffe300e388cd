"""The simulator and the two-party run agree step by step, to what truncation and dropped bits leave open."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from real import feeds_of, minilm
from stepwise import disagreements, near_a_knot, trace
from tiny import tiny_feeds, tiny_plan, tiny_weights

from models.tiny_bert import sample
from ppc.runtime.plan import steps
from ppc.runtime.protocols import maximum, spline, truncate
from ppc.runtime.session.simulate import simulate


def test_every_step_of_the_tiny_plan():
    seen = trace(tiny_plan(), tiny_weights(), tiny_feeds())
    assert disagreements(seen) == {}
    kinds = {type(step).__name__ for step in seen.plan.steps}
    assert len(kinds) >= 19


def test_every_step_of_a_small_compiled_model(small):
    near = False
    for seed in range(3, 13):
        seen = trace(small.compiled.plan, small.compiled.weights, sample(8, used=6, seed=seed))
        assert disagreements(seen) == {}
        near = near or any(
            near_a_knot(seen.made[s.x], s.spec).any() for s in seen.plan.steps if isinstance(s, steps.Spline)
        )
    assert near


@pytest.mark.parametrize("tokens", [8, 16])
def test_every_step_of_minilm(tokens):
    compiled = minilm(tokens)
    seen = trace(compiled.plan, compiled.weights, feeds_of(compiled.plan, "private sentences", tokens))
    assert disagreements(seen) == {}
    assert len(seen.plan.steps) > 200


def test_what_steps_add_up_to_is_near_the_simulation(small):
    """Units of truncation do not grow: the output is near the one of the plan's integer meaning."""
    plan, weights, feeds = small.compiled.plan, small.compiled.weights, sample(8, used=6, seed=3)
    seen, clear = trace(plan, weights, feeds), simulate(plan, weights, feeds)
    for out in plan.outputs:
        private = seen.made[out.value] * 2.0 ** -plan.forms[out.value].num.scale
        assert np.abs(private - clear[out.value]).max() < 0.05 * clear[out.value].std()


# ---- each comparison fails where its protocol is wrong


def sabotaged(p, asked, units=4):
    """Further off than roundings that happen to go the other way make up for."""
    found = REAL(p, asked)
    if p.pricing or p.role.value == "client":
        return found
    return [
        real if x.num.scale == new.scale else real.like(new.wrap(real.ring + np.uint64(units)))
        for real, (x, new, _) in zip(found, asked, strict=True)
    ]


REAL = truncate.truncate_all


def test_a_truncation_that_is_off_is_seen(monkeypatch):
    monkeypatch.setattr(steps, "truncate", lambda p, *asked: sabotaged(p, [asked])[0])
    found = disagreements(trace(tiny_plan(), tiny_weights(), tiny_feeds()))
    assert any("Rescale" in label for label in found)
    assert not any("Spline" in label for label in found)


def test_a_spline_that_is_off_is_seen(monkeypatch):
    monkeypatch.setattr(spline, "truncate_all", sabotaged)
    found = disagreements(trace(tiny_plan(), tiny_weights(), tiny_feeds()))
    assert any("Spline" in label for label in found)
    assert not any("Rescale" in label for label in found)


def test_a_tournament_that_loses_its_winner_is_seen(monkeypatch):
    real = maximum.select
    monkeypatch.setattr(
        maximum,
        "select",
        lambda p, bit, x, made: real(p, bit.like(p.both(lambda: bit.ring * np.uint64(0))), x, made),
    )
    found = disagreements(trace(tiny_plan(), tiny_weights(), tiny_feeds()))
    assert any("Maximum" in label for label in found)


def test_another_plan_than_the_one_that_runs_is_seen():
    """Meaning taken from a step with another factor."""
    plan = tiny_plan()
    program = list(plan.steps)
    at = next(i for i, s in enumerate(program) if isinstance(s, steps.TimesInteger))
    seen = trace(plan, tiny_weights(), tiny_feeds())
    seen.meant[at] = seen.meant[at] * 2
    assert list(disagreements(seen)) == [plan.label(at)]
    assert msgspec.structs.replace(program[at], factor=-2) != program[at]
