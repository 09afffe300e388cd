"""plan.bin may be handed to anyone: no weight is in it, and models of one shape differ there in noise sizes,
formats and calibrated ranges alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small import SMALL, TOKENS

import ppc
from models.tiny_bert import tiny_bert
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import Plan

pytestmark = pytest.mark.long

RUN = 3
"""Neighbouring weights that make a leak; of single bytes twice as many, since three are often an accident."""
SHORTEST = 6
"""Bytes; less turns up by accident."""

REALS: dict[str, Callable[[np.ndarray], bytes]] = {
    **{
        kind: lambda run, kind=kind: run.astype(kind).tobytes()
        for kind in ("<f2", "<f4", "<f8", ">f4", ">f8")
    },
    "MessagePack doubles": lambda run: b"".join(msgspec.msgpack.encode(float(x)) for x in run),
    "MessagePack singles": lambda run: b"".join(b"\xca" + x.astype(">f4").tobytes() for x in run),
}
INTEGERS: dict[str, Callable[[np.ndarray], bytes]] = {
    **{
        kind: lambda run, kind=kind: run.astype(kind).tobytes()
        for kind in ("<i2", "<i4", "<i8", ">i4", ">i8")
    },
    "MessagePack integers": lambda run: b"".join(msgspec.msgpack.encode(int(x)) for x in run),
}


def neighbours(x: np.ndarray, length: int) -> np.ndarray:
    """Runs of ``length`` neighbours along any axis, (runs, length); integers only where two are large."""
    lines = [np.moveaxis(x, axis, -1).reshape(-1, n) for axis, n in enumerate(x.shape) if n >= length]
    if not lines:
        return np.zeros((0, length), x.dtype)
    cut = np.lib.stride_tricks.sliding_window_view
    runs = np.concatenate([cut(line, length, axis=1).reshape(-1, length) for line in lines])
    return runs if x.dtype.kind == "f" else runs[(np.abs(runs) > 2).sum(axis=1) >= 2]


def written(real: dict[str, np.ndarray], whole: dict[str, np.ndarray]) -> Iterator[tuple[bytes, str]]:
    """Every way to write a run of a weight's reals, one real, or a run of integers that stand for them."""
    for name, x in real.items():
        for how, write in REALS.items():
            yield from ((write(run), f"{name} as {how}") for run in neighbours(x, RUN))
        yield from ((msgspec.msgpack.encode(float(v)), f"one of {name} as a double") for v in x.ravel())
    for name, x in whole.items():
        for how, write in INTEGERS.items():
            yield from ((write(run), f"{name} as {how}") for run in neighbours(x, RUN))
        small = (run for run in neighbours(x, 2 * RUN) if np.abs(run).max() < 128)
        yield from ((run.astype(np.int8).tobytes(), f"{name} as bytes") for run in small)


class Finder:
    """Looks for weights in bytes."""

    def __init__(self, real: dict[str, np.ndarray], whole: dict[str, np.ndarray]) -> None:
        self.known: dict[int, dict[bytes, str]] = {}
        for data, how in written(real, whole):
            if len(data) >= SHORTEST:
                self.known.setdefault(len(data), {})[data] = how

    def __call__(self, body: bytes) -> set[str]:
        """What is in ``body``, and how it is written there."""
        return {
            known[body[at : at + length]]
            for length, known in self.known.items()
            for at in range(len(body) - length + 1)
            if body[at : at + length] in known
        }


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Initializers, and floats of more than one element in Constant nodes."""
    held = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = {
        n.output[0]: numpy_helper.to_array(n.attribute[0].t)
        for n in model.graph.node
        if n.op_type == "Constant"
    }
    return held | {name: x for name, x in nodes.items() if x.dtype == np.float32 and x.size > 1}


def compiled(model: onnx.ModelProto, folder: Any) -> ppc.backend.compile.Compiled:
    path = folder / "small.onnx"  # the name is in the plan
    onnx.save(model, path)
    return ppc.compile(path, seq_len=TOKENS)


@pytest.fixture(scope="module")
def weights(small) -> dict[str, np.ndarray]:
    return weights_of(onnx.load(small.model))


@pytest.fixture(scope="module")
def finder(small, weights) -> Finder:
    return Finder(weights, small.compiled.weights)


def test_no_weight_is_in_the_plan(small, weights, finder):
    assert sum(w.size for w in weights.values()) > 3000
    assert sum(map(len, finder.known.values())) > 30_000
    assert finder(small.compiled.plan.body) == set()


def test_no_weight_is_in_the_file_that_is_handed_out(small, finder, tmp_path):
    small.compiled.save(tmp_path / "plan.bin", tmp_path / "plan.weights")
    assert finder((tmp_path / "plan.bin").read_bytes()) == set()
    assert finder((tmp_path / "plan.weights").read_bytes()) != set()


def test_no_number_of_the_plan_is_a_weight(small, weights):
    """Decoded, whatever the width in which it is written."""
    reals = {float(np.float32(v)) for w in weights.values() for v in w.ravel()} - {0.0, 1.0}
    floats = [v for _, v in leaves(msgspec.msgpack.decode(small.compiled.plan.body)) if isinstance(v, float)]
    assert not reals & {float(np.float32(v)) for v in floats}


@pytest.mark.parametrize("how", [*REALS, *INTEGERS])
def test_a_weight_written_anywhere_is_found(small, weights, finder, how):
    body = small.compiled.plan.body
    run = (weights if how in REALS else small.compiled.weights)["words"][7, 4 : 4 + RUN]
    data = (REALS | INTEGERS)[how](run)
    assert finder(body[:333] + data + body[333:])


def test_a_weight_in_a_public_step_is_found(small, finder):
    plan = small.compiled.plan
    values = tuple(int(x) for x in small.compiled.weights["words"][0, :5])
    leaky = steps.Public(values=values, num=plan.forms[0].num, shape=(5,))
    assert any(
        "words" in how for how in finder(msgspec.structs.replace(plan, steps=(*plan.steps, leaky)).body)
    )


def test_weights_in_constant_nodes_are_weights_too(tmp_path):
    """Some exporters write every weight as a Constant node."""
    model = tiny_bert(SMALL, weights_as_nodes=True)
    made = compiled(model, tmp_path)
    assert Finder(weights_of(model), made.weights)(made.plan.body) == set()
    assert sum(w.size for w in made.weights.values()) > 3000


# ---- two models of one shape


def moved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function by other weights: inner channels in another order."""
    rng = np.random.default_rng(1)
    held = {t.name: t for t in model.graph.initializer}

    def turn(name: str, axis: int, order: np.ndarray) -> None:
        turned = np.take(numpy_helper.to_array(held[name]), order, axis=axis)
        held[name].CopyFrom(numpy_helper.from_array(turned, name))

    for near, far, order in (
        ("up", "down", rng.permutation(4 * SMALL.width)),
        ("attention/value", "attention/output", np.concatenate([rng.permutation(8), 8 + rng.permutation(8)])),
    ):
        turn(f"layer.0/{near}.weight", 1, order)
        turn(f"layer.0/{near}.bias", 0, order)
        turn(f"layer.0/{far}.weight", 0, order)
    return model


def test_other_weights_of_the_same_ranges_give_the_same_plan(small, tmp_path):
    other = compiled(moved(tiny_bert(SMALL)), tmp_path)
    changed = [n for n, w in other.weights.items() if not np.array_equal(w, small.compiled.weights[n])]
    assert len(changed) >= 5
    assert other.plan.body == small.compiled.plan.body


MAY_DIFFER = {
    "Encode": {"num"},
    "Guard": {"watched"},
    "Linear": {"scale", "product"},
    "MatMul": {"left", "right"},
    "Scaled": {"scale", "weight_bits"},
    "Maximum": {"sender"},
    "Spline": {"spec", "sender"},
    "Weight": {"num"},
}
"""What sizes of weights and activations decide: scales and rings; of products the ring, the bound on noise
and what follows (primes, tile); of functions fitted on a calibrated range, knots and pieces; of what is
watched, its limits; and as bits and knots decide how many flights a step takes, who begins the next."""

FORMAT_ONLY = (steps.Rescale, steps.TimesInteger, steps.Public)
"""Steps that come and go with formats."""

PLACES = {"x", "a", "b", "parts", "local"}
"""Indices of values, which shift where such a step comes or goes."""


def fields(plan: Plan) -> dict[tuple[str, str, int], dict[str, Any]]:
    """The steps that do not depend on formats, by kind, name and how often there was one before."""
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for step in plan.steps:
        if not isinstance(step, FORMAT_ONLY):
            key = type(step).__name__, step.name
            count = sum(k[:2] == key for k in found)
            found[(*key, count)] = {k: v for k, v in msgspec.structs.asdict(step).items() if k not in PLACES}
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_weights_change_noise_sizes_and_formats_only(small, tmp_path, seed):
    one, two = small.compiled.plan, compiled(tiny_bert(SMALL, seed=seed), tmp_path).plan
    mine, other = fields(one), fields(two)
    assert mine.keys() == other.keys()
    differ = {(key[0], f) for key in mine for f in mine[key] if mine[key][f] != other[key][f]}
    assert differ <= {(kind, f) for kind, several in MAY_DIFFER.items() for f in several}
    shapes = [[(p.batch, p.m, p.k, p.n) for p in plan.products] for plan in (one, two)]
    assert shapes[0] == shapes[1]
    assert [(w.name, w.shape) for w in one.weights] == [(w.name, w.shape) for w in two.weights]
    assert (one.inputs, one.options, one.profile) == (two.inputs, two.options, two.profile)
    own, others = (
        [each for each in said_alone(plan) if not isinstance(each[1], float)] for plan in (one, two)
    )
    assert own == others


def test_the_clients_own_part_holds_whole_numbers_only(small):
    """How deep the mask is cut is a calibrated range, rounded to a whole number."""
    floats = [value for _, value in said_alone(small.compiled.plan) if isinstance(value, float)]
    assert floats
    assert all(math.isinf(x) or x == round(x) for x in floats)


def said_alone(plan: Plan) -> list[tuple[str, Any]]:
    """Every number and string of the client's own part."""
    return list(leaves(msgspec.msgpack.decode(msgspec.msgpack.encode(plan.local))))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and string of a decoded plan, with where it stands."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, f"{path}.{key}")
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each, f"{path}[]")
    else:
        yield path, value
