"""What leaves its range: inputs at the client before it connects, inner values in the simulator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import called
from onnx import TensorProto, helper
from onnx_models import model, tensor

from ppc.frontend.read.run import run

TOKENS, WIDTH = 8, 16
R = np.random.default_rng(0)
W = R.normal(0, 0.3, (WIDTH, WIDTH)).astype(np.float32)
E = R.normal(size=(40, WIDTH)).astype(np.float32)
IDS = R.integers(1, 40, (1, TOKENS))
NOBODY = "127.0.0.1:1"


def node(kind: str, *names: str, out: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, names, [out], name=out, **attributes)


def normed() -> onnx.ModelProto:
    """Pixels, of which a norm is taken first."""
    return model(
        [
            node("LayerNormalization", "p", "g", out="n"),
            node("MatMul", "n", "W", out="out"),
        ],
        {"p": np.zeros((1, TOKENS, WIDTH), np.float32)},
        ["out"],
        [tensor("g", np.ones(WIDTH, np.float32)), tensor("W", W)],
    )


def projected() -> onnx.ModelProto:
    return model(
        [node("MatMul", "p", "W", out="h"), node("Tanh", "h", out="t"), node("MatMul", "t", "W", out="out")],
        {"p": np.zeros((1, TOKENS, WIDTH), np.float32)},
        ["out"],
        [tensor("W", W)],
    )


def placed() -> onnx.ModelProto:
    """Ids that look up a table, and places that are reckoned with as numbers."""
    return model(
        [
            node("Gather", "E", "input_ids", out="x"),
            node("Cast", "position_ids", out="c", to=TensorProto.FLOAT),
            node("Unsqueeze", "c", "two", out="u"),
            node("Mul", "u", "w", out="pw"),
            node("Add", "x", "pw", out="y"),
            node("MatMul", "y", "W", out="out"),
        ],
        {"input_ids": IDS, "position_ids": IDS},
        ["out"],
        [tensor("E", E), tensor("W", W), tensor("w", E[0]), tensor("two", np.array([2]))],
    )


def summed() -> onnx.ModelProto:
    """Σ over the tokens that count of what a table has for them: longer inputs go further."""
    return model(
        [
            node("Gather", "E", "input_ids", out="x"),
            node("MatMul", "x", "W", out="h"),
            node("Cast", "attention_mask", out="c", to=TensorProto.FLOAT),
            node("Unsqueeze", "c", "one", out="m"),
            node("MatMul", "m", "h", out="total"),
            node("MatMul", "total", "W", out="out"),
        ],
        {"input_ids": IDS, "attention_mask": IDS},
        ["out"],
        [tensor("E", np.abs(E)), tensor("W", np.abs(W)), tensor("one", np.array([1]))],
    )


@pytest.fixture
def made(tmp_path):
    """Compiles a model, on samples if given; what the compiler said."""

    def compiled(of: onnx.ModelProto, samples: Sequence[dict[str, np.ndarray]] = (), *more: object) -> str:
        onnx.save(of, tmp_path / "m.onnx")
        asked = ["compile", tmp_path / "m.onnx", "-o", tmp_path / "m.bin", "--seq-len", TOKENS, *more]
        if samples:
            stacked = {name: np.stack([each[name] for each in samples]) for name in samples[0]}
            np.savez(tmp_path / "samples.npz", **stacked)
            asked += ["--calibrate", tmp_path / "samples.npz"]
        done = called(*asked)
        assert done.status == 0, done.err
        return done.err

    return compiled


def asked(folder: Path, verb: str, feeds: dict[str, np.ndarray], *more: object):
    np.savez(folder / "in.npz", **feeds)
    return called(verb, folder / "m.bin", "--input", folder / "in.npz", *more)


def client(folder: Path, feeds: dict[str, np.ndarray]):
    """Of a server that is not there: exit status 5 tells that it was looked for."""
    return asked(folder, "run", feeds, "--role", "client", "--connect", NOBODY, "--timeout", 3)


def right(folder: Path, feeds: dict[str, np.ndarray]) -> bool:
    done = asked(folder, "simulate", feeds, "--json")
    assert done.status == 0, done.err
    wanted = run(folder / "m.onnx", feeds)["out"]
    return bool(np.abs(np.array(done.json["outputs"]["out"]) - wanted).max() < 0.05 * wanted.std())


def pixels(least: float, most: float) -> dict[str, np.ndarray]:
    return {"p": R.uniform(least, most, (1, TOKENS, WIDTH)).astype(np.float32)}


# ---- inputs


@pytest.mark.parametrize("of", [normed, projected])
@pytest.mark.parametrize("ends", [(0, 255), (-255, 0), (0, 40)])
def test_pixels_beyond_what_was_assumed_are_refused_before_anyone_is_called(made, tmp_path, of, ends):
    said = made(of())
    assert "input 'p': numbers, drawn standard normal" in said
    assert "give samples with --calibrate" in said
    assert "WARNING: calibrated on random inputs" in said
    words = (r"input 'p' holds -?\d+", r"outside \[-1\d, 1\d\]", "assumed", "--calibrate")
    client(tmp_path, pixels(*ends)).failed(6, *words)
    asked(tmp_path, "simulate", pixels(*ends)).failed(6, *words)


@pytest.mark.parametrize("of", [normed, projected])
def test_pixels_as_in_the_samples_are_right(made, tmp_path, of):
    said = made(of(), [pixels(0, 255) for _ in range(32)])
    assert "input 'p': numbers, as in the samples" in said
    assert "WARNING" not in said
    assert right(tmp_path, pixels(0, 255))
    client(tmp_path, pixels(600, 700)).failed(6, "outside", "calibrate on samples that go as far")


@pytest.mark.parametrize("of", [normed, projected])
def test_pixels_as_assumed_are_right(made, tmp_path, of):
    made(of())
    assert right(tmp_path, pixels(-2.6, 2.6))


def test_positions_are_assumed_to_count_up(made, tmp_path):
    said = made(placed())
    assert "input 'input_ids': ids, drawn any row of its table of 40; the client refuses" in said
    assert (
        f"input 'position_ids': positions, drawn 0 … n − 1; the client refuses what leaves [0, {TOKENS - 1}]"
        in said
    )
    assert right(tmp_path, {"input_ids": IDS, "position_ids": np.arange(TOKENS)[None]})
    beyond = {"input_ids": IDS, "position_ids": np.arange(TOKENS)[None] + 1}
    client(tmp_path, beyond).failed(6, rf"input 'position_ids' holds {TOKENS}", rf"\[0, {TOKENS - 1}\]")


def test_positions_as_in_the_samples_are_right(made, tmp_path):
    shifted = {"input_ids": IDS, "position_ids": np.arange(TOKENS)[None] + 100}
    made(placed(), [shifted] * 32)
    assert right(tmp_path, shifted)


def test_the_summary_tells_each_range_and_how_it_is_known(made, tmp_path):
    made(placed())
    given = {each["name"]: each for each in called("inspect", tmp_path / "m.bin", "--json").json["inputs"]}
    told = {name: (each["low"], each["high"], each["bound"]) for name, each in given.items()}
    assert told == {"input_ids": (0, 39, "table"), "position_ids": (0, TOKENS - 1, "assumed")}


def test_a_mask_of_other_numbers_is_refused(made, tmp_path):
    made(summed())
    client(tmp_path, {"input_ids": IDS, "attention_mask": 2 * np.ones_like(IDS)}).failed(6, "attention_mask")


def test_no_row_of_a_table_is_wrong_input(made, tmp_path):
    made(placed())
    client(tmp_path, {"input_ids": IDS + 100, "position_ids": IDS * 0}).failed(2, "'input_ids' holds")


# ---- inner values


def counted(tokens: int) -> dict[str, np.ndarray]:
    return {"input_ids": IDS, "attention_mask": (np.arange(TOKENS) < tokens).astype(np.int64)[None]}


def test_a_value_that_leaves_its_ring_is_named_with_how_far_it_went(made, tmp_path):
    said = made(summed(), [counted(1)] * 32)
    assert "fills 12% of the compiled length" in said
    assert asked(tmp_path, "simulate", counted(1)).status == 0
    done = asked(tmp_path, "simulate", counted(TOKENS))
    done.failed(6, r"reaches [\d.]+ (when it is truncated|as a result), [\d.]+ times the [\d.]+ held there")
    assert "bits left" in done.err
    asked(tmp_path, "simulate", counted(TOKENS), "--against", tmp_path / "m.onnx").failed(6, "reaches")
    both = {name: np.stack([counted(n)[name] for n in (1, TOKENS, 1, TOKENS)]) for name in counted(1)}
    asked(tmp_path, "simulate", both).failed(6, r"samples\[1\]: ", r"\(2 of 4 samples leave a ring\)")


def test_a_margin_makes_room(made, tmp_path):
    made(summed(), [counted(1)] * 32, "--margin", 16)
    assert right(tmp_path, counted(TOKENS))


def test_headroom_is_listed_the_nearest_place_first(made, tmp_path):
    made(summed(), [counted(TOKENS)] * 32)
    people = asked(tmp_path, "simulate", counted(TOKENS))
    lines = people.out.splitlines()
    assert lines[0].startswith("bits left")
    listed = [float(line[:9]) for line in lines[1:] if line[:9].replace(".", "").strip().isdigit()]
    assert len(listed) >= 2
    assert listed == sorted(listed)
    near = asked(tmp_path, "simulate", counted(TOKENS), "--json").json["headroom"]
    assert [each["headroom"] for each in near] == sorted(each["headroom"] for each in near)
    for each in near:
        assert each["headroom"] == pytest.approx(np.log2(each["limit"] / each["reached"]))
        assert each["headroom"] > 0
    assert {"out"} <= {each["name"] for each in near}
    assert json.dumps(near)
