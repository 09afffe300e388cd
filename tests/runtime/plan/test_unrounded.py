"""A plan over the reals: the model with its splines, and nothing rounded on the way."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from tiny import tiny_feeds, tiny_plan, tiny_weights

import ppc
from models.tiny_bert import Shape, sample, tiny_bert
from ppc import passes
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.read.load import load
from ppc.runtime.plan.steps import Spline
from ppc.runtime.plan.unrounded import spline
from ppc.runtime.protocols.spline import spline_clear
from ppc.runtime.session.simulate import Simulator

TOKENS = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("unrounded") / "m.onnx"
    onnx.save(tiny_bert(Shape(layers=1, width=16)), path)
    return path


@pytest.fixture(scope="module")
def compiled(model):
    return ppc.compile(model, seq_len=TOKENS)


def test_a_spline_is_its_integer_meaning_but_for_rounding(compiled):
    """Two roundings at most: the quadratic's and the gates'."""
    seen = set()
    for step in compiled.plan.steps:
        if isinstance(step, Spline):
            knots, num = step.spec.thresholds.values, compiled.plan.forms[step.x].num
            around = np.array(knots) + np.arange(-3, 4)[:, None]
            x = np.concatenate([np.linspace(knots[0], knots[-1], 500).astype(np.int64), around.ravel()])
            off = spline(x.astype(np.float64), num, step.spec) - spline_clear(x, num, step.spec)
            assert np.abs(off).max() <= 1, step.name
            seen.add((step.function, bool(step.spec.gates)))
    assert len(seen) > 2


def test_nothing_is_rounded_between_the_model_with_its_splines_and_the_plan(model, compiled):
    """What is left are weights in the plan's bits, far less than all that the simulator rounds."""
    graph = passes.run(load(model, seq_len=TOKENS), passes.Options(), None, "calibrate_values").graph
    samples = [sample(TOKENS, seed=seed, used=TOKENS - seed % 3) for seed in range(8)]
    real = Simulator(compiled.plan, compiled.weights).run(samples, rounding=False)
    integer = Simulator(compiled.plan, compiled.weights).run(samples)
    for out in compiled.plan.outputs:
        wanted, whole, fixed = (
            np.stack([np.ravel(each[out.name]) for each in found])
            for found in (
                [evaluate(graph, feeds) for feeds in samples],
                [each.outputs for each in real],
                [each.outputs for each in integer],
            )
        )
        assert np.sqrt(np.mean((whole - wanted) ** 2)) < 0.6 * np.sqrt(np.mean((fixed - whole) ** 2))
        assert np.abs(whole - wanted).max() < 0.005 * wanted.std()


def test_samples_do_not_depend_on_each_other(compiled):
    samples = [sample(TOKENS, seed=seed) for seed in range(3)]
    simulator = Simulator(compiled.plan, compiled.weights)
    for each, feeds in zip(simulator.run(samples, rounding=False), samples, strict=True):
        (alone,) = simulator.run([feeds], rounding=False)
        assert each.reaches == () == each.left
        for name, value in alone.outputs.items():
            assert np.allclose(each.outputs[name], value, rtol=1e-9, atol=1e-9)


def test_places_are_places(model):
    told = ppc.compile(model, seq_len=TOKENS, outputs=["sentence_embedding"], reveal="argmax")
    feeds = sample(TOKENS, seed=1)
    (found,) = Simulator(told.plan, told.weights).run([feeds], rounding=False)
    numbers = ppc.compile(model, seq_len=TOKENS, outputs=["sentence_embedding"])
    (wanted,) = Simulator(numbers.plan, numbers.weights).run([feeds], rounding=False)
    assert found.outputs["sentence_embedding"] == wanted.outputs["sentence_embedding"].argmax(axis=-1)


def test_every_kind_of_step_has_a_meaning():
    """What the integers round, to some units of 2^-8 and 2^-6."""
    plan, weights, feeds = tiny_plan(), tiny_weights(), tiny_feeds()
    (real,) = Simulator(plan, weights).run([feeds], keep=True, rounding=False)
    (integer,) = Simulator(plan, weights).run([feeds], keep=True)
    for i, form in enumerate(plan.forms):
        assert real.values[i].shape == form.shape
        assert np.abs(real.values[i] - integer.values[i]).max() < 0.05, plan.label(i)
