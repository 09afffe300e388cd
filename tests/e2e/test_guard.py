"""The guard: inputs that drive each kind of watched place beyond its limits, and the client that hears of
it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from command import called
from onnx import helper
from onnx_models import model, tensor
from sides import serving_here

import ppc
from ppc.frontend.read.run import run
from ppc.passes.watched import ROOM, SCORES
from ppc.runtime.base.errors import RangeFault
from ppc.runtime.plan.file import ANYWHERE
from ppc.runtime.plan.reach import OFF
from ppc.runtime.session.connection import predict_cost

TOKENS, WIDTH = 4, 16
R = np.random.default_rng(0)
W = R.normal(0, 0.3, (WIDTH, WIDTH)).astype(np.float32)
W[0] = 0.0
"""The first feature does nothing, so that inputs may be large where nothing else is."""
V = R.normal(0, 0.3, (WIDTH, WIDTH)).astype(np.float32)
X = R.normal(size=(1, TOKENS, WIDTH)).astype(np.float32)

Nodes = list[onnx.NodeProto]


def node(kind: str, *names: str, out: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, names, [out], name=out, **attributes)


def layer_norm() -> Nodes:
    return [node("LayerNormalization", "h", "one", "zero", out="n", epsilon=1e-6)]


def rms_norm() -> Nodes:
    return [
        node("Mul", "h", "h", out="hh"),
        node("ReduceMean", "hh", out="ms", axes=[-1]),
        node("Add", "ms", "tiny", out="me"),
        node("Sqrt", "me", out="r"),
        node("Div", "h", "r", out="n"),
    ]


def unit_length() -> Nodes:
    return [node("ReduceL2", "h", out="l", axes=[-1]), node("Div", "h", "l", out="n")]


def softmax() -> Nodes:
    return [node("Softmax", "h", out="n", axis=-1)]


@dataclass(frozen=True)
class Kind:
    """``power`` of the amplitude that the watched value goes with, over samples of these amplitudes; up to
    ``sure`` times its limit in amplitude it is noticed for certain."""

    nodes: Callable[[], Nodes]
    power: int
    amplitudes: tuple[float, ...] = (1.0, 0.7, 0.4)
    sure: float = 1.95


KINDS = {
    "LayerNorm": Kind(layer_norm, 2),
    "RMSNorm": Kind(rms_norm, 2),
    "norm over octaves": Kind(layer_norm, 2, (1.0, 0.15)),
    "unit length": Kind(unit_length, 2),
    "softmax": Kind(softmax, 1, sure=0.95 * ROOM / SCORES),
}


def sample(amplitude: float, far: float = 0.0) -> dict[str, np.ndarray]:
    x = amplitude * X
    x[..., 0] = far
    return {"x": x}


FAR = 3.5
"""An amplitude that is beyond the limits of a norm that was calibrated at 1, and not twice as far."""


@dataclass(frozen=True)
class Made:
    model: Path
    compiled: ppc.backend.compile.Compiled


def made(kind: Kind, folder: Path, guard: str = "one") -> Made:
    path = folder / "m.onnx"
    held = {
        "W": W, "V": V, "one": np.ones(WIDTH, np.float32), "zero": np.zeros(WIDTH, np.float32),
        "last": np.array([-1]), "tiny": np.array(1e-6, np.float32),
    }  # fmt: skip
    nodes = [node("MatMul", "x", "W", out="h"), *kind.nodes(), node("MatMul", "n", "V", out="y")]
    read = {name for each in nodes for name in each.input}
    held_here = [tensor(name, value) for name, value in held.items() if name in read]
    onnx.save(model(nodes, sample(1.0), ["y"], held_here), path)
    samples = [sample(a, far) for a in kind.amplitudes for far in (40.0, -40.0)]
    return Made(path, ppc.compile(path, calibrate=samples, guard=guard))


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory) -> tuple[Kind, Made]:
    return KINDS[request.param], made(KINDS[request.param], tmp_path_factory.mktemp("guard"))


def limits(about: Kind, it: Made) -> tuple[float, float, float]:
    """The amplitudes between which nothing is beyond a limit; and below which something is for certain."""
    plan, simulator = it.compiled.plan, ppc.Simulator(it.compiled.plan, it.compiled.weights)
    assert plan.guard is not None
    (watched,) = plan.steps[plan.guard].watched
    unit = 2.0 ** -plan.forms[watched.value].num.scale
    base = simulator.run([sample(1.0)], keep=True)[0].values[watched.value]
    high = (watched.high * unit / base.max()) ** (1 / about.power)
    assert 1.2 < high < 12, "room for the test's inputs"
    low, sure = ((max(0, (watched.low or 0) - d) * unit / base.min()) ** (1 / about.power) for d in (0, 1))
    return low, high, sure


def test_all_that_leaves_its_limits_is_noticed_and_nothing_else(kind):
    """Up to the amplitude that rings have room for, and down to nothing."""
    about, it = kind
    low, high, sure = limits(about, it)
    amplitudes = np.geomspace(max(low / 20, 1e-3), about.sure * high, 200)
    amplitudes = amplitudes[(amplitudes > 1.2 * low) | (amplitudes < 0.8 * sure)]
    amplitudes = amplitudes[abs(amplitudes / high - 1) > 0.05]
    simulator = ppc.Simulator(it.compiled.plan, it.compiled.weights)
    found = simulator.run([sample(float(a)) for a in amplitudes], wrapping=True)
    for amplitude, each in zip(amplitudes, found, strict=True):
        outside = amplitude > high or amplitude < low
        assert bool(each.left) == outside, (amplitude, low, high)
        if not outside:
            wanted = run(onnx.load(it.model), sample(float(amplitude)))["y"]
            assert not each.wraps, amplitude
            assert np.abs(each.outputs["y"] - wanted).max() < OFF * np.abs(wanted).max(), amplitude


@pytest.mark.parametrize("amplitude", [1.0, 1.25, 1.5, 1.75])
def test_scores_however_far_apart_are_noticed(tmp_path, amplitude):
    """A maximum is found by differences, in whatever order: one that wraps would lose the larger value."""
    halves = np.repeat([1.0, -1.0], WIDTH // 2)
    turns = np.tile([1.0, -1.0], WIDTH // 2)
    x = np.stack([halves, -halves, turns, -turns]).astype(np.float32)[None]
    path = tmp_path / "m.onnx"
    nodes = [node("MatMul", "x", "I", out="h"), *softmax(), node("MatMul", "n", "V", out="y")]
    held = [tensor("I", np.eye(WIDTH, dtype=np.float32)), tensor("V", V)]
    onnx.save(model(nodes, {"x": x}, ["y"], held), path)
    compiled = ppc.compile(path, calibrate=[{"x": amplitude * x}], margin=1.0)
    free = [msgspec.structs.replace(each, low=None, high=None) for each in compiled.plan.inputs]
    plan = msgspec.structs.replace(compiled.plan, inputs=tuple(free))
    simulator = ppc.Simulator(plan, compiled.weights)
    for row in range(TOKENS):
        alone = np.zeros_like(x)
        alone[0, row] = x[0, row]
        found = simulator.run([{"x": amplitude * f * alone} for f in (0.98, 1.1, 1.5, 1.95)], wrapping=True)
        assert [bool(each.left) for each in found] == [False, False, True, True]
        assert not any(each.wraps for each in found)


def test_two_parties_hear_what_the_simulator_says(kind):
    about, it = kind
    plan = it.compiled.plan
    simulator = ppc.Simulator(plan, it.compiled.weights)
    _, high, _ = limits(about, it)
    several = [sample(a) for a in (1.0, 1.2 * high, 0.97 * about.sure * high, 0.8 * high)]
    said = [bool(each.left) for each in simulator.run(several, wrapping=True)]
    assert said == [False, True, True, False]
    with serving_here(ppc.Server(plan, it.compiled.weights), once=False) as (address, _):
        outcomes = list(ppc.Client(plan).run_all(several, address))
    assert [bool(each.left) for each in outcomes] == said
    for feeds, outcome in zip(several, outcomes, strict=True):
        report = outcome.report
        assert report["left"] == list(outcome.left)
        for phase in ("setup", "offline", "online"):
            for key in ("sent", "received", "flights"):
                assert report[phase][key] == report["predicted"][phase][key]
        if outcome.left:
            assert outcome.left == (ANYWHERE,)
            with pytest.raises(RangeFault, match="left what the plan was calibrated for: the answer is not"):
                _ = outcome.outputs
        else:
            wanted = run(onnx.load(it.model), feeds)["y"]
            assert np.abs(outcome.outputs["y"] - wanted).max() < OFF * np.abs(wanted).max()


@pytest.fixture(scope="module")
def located(tmp_path_factory) -> Made:
    return made(KINDS["LayerNorm"], tmp_path_factory.mktemp("located"), "locate")


def test_a_guard_that_locates_names_the_tensor(located):
    plan = located.compiled.plan
    with serving_here(ppc.Server(plan, located.compiled.weights)) as (address, _):
        (outcome,) = ppc.Client(plan).run_all([sample(FAR)], address)
    assert outcome.left == ("y",)


def test_without_a_guard_nothing_is_watched_and_less_is_said(kind, tmp_path):
    about, it = kind
    none = made(about, tmp_path, "off").compiled.plan
    assert none.guard is None
    without, with_it = predict_cost(none), predict_cost(it.compiled.plan)
    assert with_it.total("online").bytes > without.total("online").bytes


def test_the_command_line_refuses_an_answer_that_cannot_be_trusted(located, tmp_path):
    """Of several, the others are there: status 6, and no number where none is to be trusted."""
    plan = tmp_path / "plan.bin"
    located.compiled.save(plan, tmp_path / "plan.weights")
    both = np.concatenate([sample(1.0)["x"], sample(FAR)["x"]])
    np.savez(tmp_path / "two.npz", x=both[:, None])
    np.savez(tmp_path / "one.npz", **sample(FAR))
    server = ppc.Server(located.compiled.plan, located.compiled.weights)
    out = tmp_path / "out.json"
    with serving_here(server, once=False) as ((host, port), _):
        client = ("run", plan, "--role", "client", "--connect", f"{host}:{port}")
        alone = called(*client, "--input", tmp_path / "one.npz", "-o", out, "--json")
        assert alone.status == 6
        assert "y left what the plan was calibrated for" in alone.err
        assert not out.exists()
        document = json.loads(alone.out)
        assert document["outputs"] is None
        assert document["report"]["left"] == ["y"]
        several = called(*client, "--input", tmp_path / "two.npz", "-o", out)
        assert several.status == 6
        assert "samples[1]: y left what the plan was calibrated for" in several.err
        assert "sample 0:" in several.out
    written = np.array(json.loads(out.read_text())["y"], object)
    assert all(v is None for v in written[1].ravel())
    assert all(isinstance(v, float) for v in written[0].ravel())


def test_the_simulator_refuses_what_the_guard_would(located, tmp_path):
    plan = tmp_path / "plan.bin"
    located.compiled.save(plan, tmp_path / "plan.weights")
    np.savez(tmp_path / "one.npz", **sample(FAR))
    done = called("simulate", plan, "--input", tmp_path / "one.npz")
    assert done.status == 6


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--guard", "two"), "--guard is one or locate, not 'two'; --no-guard leaves it out"),
        (("--guard", "locate", "--no-guard"), "--no-guard leaves out what --guard asks for"),
    ],
)
def test_flags_that_say_nothing(located, tmp_path, flags, says):
    done = called("compile", located.model, "-o", tmp_path / "p.bin", *flags)
    assert done.status == 2
    assert says in done.err
