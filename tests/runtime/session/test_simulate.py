"""The integer meaning of a plan, in every bit: together as one by one, and as numpy's integers have it."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import pytest
from tiny import VOCABULARY, tiny_plan, tiny_weights

import ppc
from models.tiny_bert import Shape, sample, tiny_bert
from ppc.runtime.base.errors import BadInput, RangeFault
from ppc.runtime.base.exact import Factor
from ppc.runtime.base.function import OneHot, Plain
from ppc.runtime.base.one_hot import OneHotRows
from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import InputSpec, OutputSpec, decode
from ppc.runtime.plan.local import Apply, Input, run_local
from ppc.runtime.session.inputs import check_inputs, fit
from ppc.runtime.session.simulate import AT_ONCE, Simulator, simulate


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A model compiled at three lengths, in rings that doubles hold and in ones that they do not."""
    path = tmp_path_factory.mktemp("several") / "m.onnx"
    onnx.save(tiny_bert(Shape(layers=1, width=16)), path)
    return ppc.compile(path, seq_len=[4, 6, 8])


def prompt(seed: int) -> dict[str, np.ndarray]:
    tokens = 1 + seed % 8
    return sample(tokens, seed=seed, used=max(1, tokens - seed % 3))


# ---- the walk, written down a second time


def walked(plan, weights, feeds) -> list[np.ndarray]:
    """Every value of one sample, by numpy's integers alone, one-hot rows written out."""
    local = [np.asarray(each) for each in run_local(plan.local, check_inputs(plan, feeds))]
    values: list[np.ndarray] = []
    for step, form in zip(plan.steps, plan.forms, strict=True):
        value = meaning(step, plan.forms, values, weights, local)
        values.append(form.num.signed(form.num.wrap(value)).reshape(form.shape))
    return values


def meaning(step, forms, values, weights, local) -> np.ndarray:
    x, *more = [values[i] for i in step.reads()] or [None]
    w = [weights[name].astype(np.int64) for name in step.weights()]
    match step:
        case steps.Encode():
            return np.rint(np.broadcast_to(local[step.local], step.shape) * 2.0**step.num.scale).astype(int)
        case steps.Weight():
            return w[0]
        case steps.Public():
            return np.array(step.values)
        case steps.Linear():
            return x @ w[0]
        case steps.MatMul():
            return x @ more[0]
        case steps.Square():
            return x * x
        case steps.SquareSum():
            return (x * x).sum(axis=-1)
        case steps.Multiply():
            return x * more[0]
        case steps.Scaled():
            return x * w[0]
        case steps.Rescale():
            return nearest(x, forms[step.x].num.scale - step.num.scale)
        case steps.Spline():
            return by_pieces(x, forms[step.x].num, step.spec)
        case steps.Maximum(argmax=True):
            return np.expand_dims(x.argmax(axis=-1), -1)
        case steps.Maximum():
            return x.max(axis=-1, keepdims=True)
        case steps.Add():
            return x + more[0]
        case steps.TimesInteger():
            return x * step.factor
        case steps.Sum():
            return x.sum(axis=step.axes, keepdims=True)
        case steps.Reshape():
            return x.reshape(step.shape)
        case steps.Transpose():
            return x.transpose(step.order)
        case steps.Broadcast():
            return np.broadcast_to(x, step.shape)
        case steps.Slice():
            return x[tuple(slice(*cut) for cut in step.cuts)]
        case steps.Take():
            return x.take(step.places, axis=step.axis)
        case steps.Concat():
            return np.concatenate([x, *more], axis=step.axis)
        case steps.Output():
            return x
        case steps.Guard():
            values = (x, *more)
            left = [
                np.any((v < (w.low if w.low is not None else -np.inf)) | (v >= w.high))
                for v, w in zip(values, step.watched, strict=True)
            ]
            return np.array([any(left)], np.int64)
    raise AssertionError(step)


def nearest(x: np.ndarray, drop: int) -> np.ndarray:
    return (x + (1 << drop >> 1)) >> drop


def by_pieces(x, num, spec) -> np.ndarray:
    knots = np.array(spec.thresholds.values)
    c0, c1, c2 = np.array(spec.pieces, np.int64)[np.searchsorted(knots, x, side="right")].transpose(
        -1, *range(x.ndim)
    )
    quad = spec.quad.signed(spec.quad.wrap(c0 + x * (c1 + x * c2)))
    y = nearest(quad, spec.quad.scale - spec.out.scale)
    for knot, slope in spec.gates:
        y = y + nearest(np.where(x >= knots[knot], slope * x, 0), num.scale - spec.out.scale)
    return y


def same(plan, weights, feeds, found) -> None:
    for i, (want, form) in enumerate(zip(walked(plan, weights, feeds), plan.forms, strict=True)):
        assert found[i].shape == form.shape
        assert np.array_equal(found[i], want * 2.0**-form.num.scale), plan.label(i)


def test_every_value_of_every_kind_of_step_is_as_numpy_has_it():
    plan, rng = tiny_plan(), np.random.default_rng(1)
    samples = [{"ids": rng.integers(0, VOCABULARY, (1, 4))} for _ in range(5)]
    found = Simulator(plan, tiny_weights()).run(samples, keep=True)
    for feeds, each in zip(samples, found, strict=True):
        same(plan, tiny_weights(), feeds, each.values)


@pytest.mark.long
def test_every_value_of_a_compiled_model_is_as_numpy_has_it(several):
    samples = [prompt(seed) for seed in range(16)]
    found = Simulator(several.plan, several.weights).run(samples, keep=True)
    assert {each.length.options.seq_len for each in found} == {4, 6, 8}
    for feeds, each in zip(samples, found, strict=True):
        length, fitted = fit(several.plan, feeds)
        assert each.length is length
        same(length, several.weights, fitted, each.values)


def test_products_that_no_double_holds_wrap():
    """Of samples with one that is the same for all."""
    num = Fixed(64, 20)
    step = next(step for step in tiny_plan().steps if isinstance(step, steps.MatMul))
    a = np.random.default_rng(2).integers(-(2**62), 2**62, (3, 1, 4, 6))
    b = np.random.default_rng(3).integers(-(2**62), 2**62, (1, 1, 6, 4))
    got = step.clear(steps.Plain(num, a), steps.Plain(num, b))
    assert np.array_equal(got, a @ b)


# ---- several samples


@pytest.mark.long
def test_together_as_one_by_one(several):
    samples = [prompt(seed) for seed in range(2 * AT_ONCE + 7)]
    together = ppc.simulate_many(several.plan, several.weights, samples)
    assert len(together) == len(samples)
    for feeds, outputs in zip(samples, together, strict=True):
        alone = ppc.simulate(several.plan, several.weights, feeds)
        assert outputs.keys() == alone.keys()
        assert all(np.array_equal(outputs[name], alone[name]) for name in alone)


@pytest.mark.long
def test_no_samples(several):
    assert ppc.simulate_many(several.plan, several.weights, []) == []


@pytest.mark.long
def test_a_simulator_is_the_same_the_next_time_and_leaves_weights_alone(several):
    before = {name: w.copy() for name, w in several.weights.items()}
    simulator = Simulator(several.plan, several.weights)
    first, _, again = (simulator.run([prompt(seed)])[0].outputs for seed in (3, 4, 3))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert all(np.array_equal(before[name], w) for name, w in several.weights.items())


@pytest.mark.long
def test_values_do_not_depend_on_who_keeps_them(several):
    (kept,) = Simulator(several.plan, several.weights).run([prompt(5)], keep=True)
    plain = ppc.simulate(several.plan, several.weights, prompt(5))
    assert all(np.array_equal(kept.outputs[name], plain[name]) for name in plain)


# ---- a sample that does not fit


@pytest.mark.long
def test_the_sample_whose_input_does_not_fit_is_named(several):
    samples = [prompt(seed) for seed in range(40)]
    samples[33] = sample(9)
    with pytest.raises(BadInput, match=r"^samples\[33\]: no length of this plan holds"):
        ppc.simulate_many(several.plan, several.weights, samples)
    with pytest.raises(BadInput, match=r"^no length of this plan holds"):
        ppc.simulate(several.plan, several.weights, samples[33])
    samples[33] = sample(8) | {"input_ids": np.full((1, 8), 50)}
    with pytest.raises(BadInput, match=r"^samples\[33\]: input 'input_ids' holds 50, outside"):
        ppc.simulate_many(several.plan, several.weights, samples)
    with pytest.raises(BadInput, match=r"^input 'input_ids' holds 50, outside"):
        ppc.simulate_many(several.plan, several.weights, samples[33:34])


X = InputSpec("x", (1, 2), "float")


def narrowing() -> ppc.Plan:
    """x in 16 bits, then in 24: beyond a quarter of the first ring that would go wrong."""
    return of_x(
        steps.Rescale(name="/wide", x=0, num=Fixed(24, 2)),
        steps.Output(name="y", x=1),
    )


def of_x(*program: steps.AnyStep) -> ppc.Plan:
    """Steps on a value x of the format i16f4."""
    program = (steps.Encode(name="x", local=0, num=Fixed(16, 4), shape=(1, 2)), *program)
    plan = msgspec.structs.replace(
        tiny_plan(),
        inputs=(X,),
        outputs=(OutputSpec("y", len(program) - 1, (1, 2)),),
        weights=(),
        local=(Input("x"),),
        steps=program,
        guard=None,
    )
    return decode(plan.body)


def test_a_ring_that_is_left_is_entered_at_its_other_end():
    plan = of_x(
        steps.TimesInteger(x=0, factor=-3),
        steps.Add(a=1, b=0),
        steps.Square(x=0),
        steps.Slice(x=3, cuts=((0, 1, 1), (0, 2, 1))),
        steps.Output(name="y", x=2),
    )
    feeds = {"x": np.array([[1500.0, -1023.5]])}
    (found,) = Simulator(plan, {}).run([feeds], keep=True, wrapping=True)
    assert found.values[1][0].tolist() == [-4500 + 4096, 3070.5 - 4096]
    same(plan, {}, feeds, found.values)
    (left,) = found.wraps
    assert (left.name, left.reached, left.limit) == ("y", 3000, 2048)
    with pytest.raises(RangeFault, match=r"^y reaches 3000 as a result, 1.46 times the 2048 held there; "):
        simulate(plan, {}, feeds)


@pytest.mark.parametrize("worst", [1024.0, -1024.0])
def test_a_value_beyond_its_ring_in_one_sample_is_named(worst):
    samples = [{"x": np.full((1, 2), 1023.9375)} for _ in range(AT_ONCE + 9)]
    assert len(ppc.simulate_many(narrowing(), {}, samples)) == len(samples)
    samples[AT_ONCE + 4]["x"][0, 1] = worst
    fault = rf"samples\[{AT_ONCE + 4}\]: x reaches 1024 when it is truncated, 1 times the 1024 held there"
    with pytest.raises(RangeFault, match=rf"^{fault} \(1 of {len(samples)} samples leave a ring\)"):
        ppc.simulate_many(narrowing(), {}, samples)
    with pytest.raises(RangeFault, match=r"^x reaches 1024"):
        ppc.simulate(narrowing(), {}, samples[AT_ONCE + 4])


def test_a_value_that_does_not_enter_in_one_sample_is_named():
    samples = [{"x": np.full((1, 2), float(v))} for v in (1, 2, 5000, 3)]
    with pytest.raises(RangeFault, match=r"^samples\[2\]: the client's value 'x': 5000 does not fit i16f4"):
        ppc.simulate_many(narrowing(), {}, samples)


# ---- look-ups


def looking_up() -> ppc.Plan:
    """The tiny plan without the bounds of its input: the one-hot rows are what checks ids."""
    plan = tiny_plan()
    bare = InputSpec("ids", plan.inputs[0].shape, "int")
    return msgspec.structs.replace(plan, inputs=(bare,))


def test_ids_may_count_from_the_end():
    samples = [{"ids": np.array([ids])} for ids in ([-1, -11, 3, 0], [10, 0, 3, 0])]
    back, front = Simulator(looking_up(), tiny_weights()).run(samples, keep=True)
    assert all(np.array_equal(back.values[i], front.values[i]) for i in front.values)
    rows = run_local(looking_up().local, samples[0])[1]
    assert isinstance(rows, OneHotRows)
    assert rows.ids.tolist() == [[10, 0, 3, 0]]


@pytest.mark.parametrize("beyond", [VOCABULARY, -VOCABULARY - 1, 2**40])
def test_ids_beyond_the_table_are_refused(beyond):
    good, bad = {"ids": np.array([[1, 2, 3, 4]])}, {"ids": np.array([[1, beyond, 3, 4]])}
    says = rf"must lie in \[0, {VOCABULARY - 1}\], not {beyond}$"
    with pytest.raises(BadInput, match=says):
        simulate(looking_up(), tiny_weights(), bad)
    with pytest.raises(BadInput, match=r"^samples\[1\]: .*" + says):
        Simulator(looking_up(), tiny_weights()).run([good, bad, good])


def test_rows_of_a_look_up_are_not_written_out(monkeypatch):
    feeds = {"ids": np.array([[1, 2, 3, 4]])}
    want = simulate(looking_up(), tiny_weights(), feeds)
    monkeypatch.setattr(OneHotRows, "__array__", None)
    got = simulate(looking_up(), tiny_weights(), feeds)
    assert all(np.array_equal(want[i], got[i]) for i in want)


def test_a_scale_of_the_rows_is_kept():
    """One is 2^scale there, also where that wraps in the product."""
    for bits, scale in ((26, 5), (26, 20)):
        num = Fixed(bits, scale)
        step = msgspec.structs.replace(tiny_plan().steps[0], num=num)
        rows = OneHotRows(np.array([[[1, 0, 10, 3]]]), VOCABULARY)
        plain = steps.Plain(num, step.clear(rows))
        written = steps.Plain(num, step.clear(np.asarray(rows, np.float64)))
        table = Factor(tiny_weights()["table"])
        linear = tiny_plan().steps[1]
        assert isinstance(plain.held, OneHotRows)
        assert np.array_equal(plain.data, written.data)
        assert np.array_equal(linear.clear(plain, table), written.data @ table.ints)


def test_rows_that_one_does_not_fit_are_refused():
    step = msgspec.structs.replace(tiny_plan().steps[0], num=Fixed(26, 25))
    with pytest.raises(RangeFault, match=r"'/in/ids': 1 does not fit i26f25"):
        step.clear(OneHotRows(np.zeros((1, 1, 4), np.int64), VOCABULARY))


def test_rows_that_repeat_or_are_reckoned_with_are_written_out():
    ops = (
        Input("ids"),
        Apply(OneHot(3), (0,)),
        Apply(Plain("Add"), (1, 1)),
    )
    _, rows, twice = run_local(ops, {"ids": np.array([[2, 0]])})
    assert isinstance(rows, OneHotRows)
    assert np.array_equal(twice, [[[0, 0, 2], [2, 0, 0]]])
    step = steps.Encode(name="r", local=0, num=Fixed(8, 1), shape=(3, 2, 3))
    got = step.clear(OneHotRows(np.array([[[2, 0]], [[1, 1]]]), 3))
    assert got.shape == (2, 3, 2, 3)
    assert np.array_equal(got[1, 2], [[0, 2, 0], [0, 2, 0]])


def test_what_is_printed_shows_no_secret():
    rows = OneHotRows(np.array([[777]]), 1000)
    assert "777" not in f"{rows} {rows!r} {steps.Plain(Fixed(8), rows)}"
    (found,) = Simulator(tiny_plan(), tiny_weights()).run([{"ids": np.array([[3, 0, 10, 7]])}])
    assert "array" not in repr(found)
