"""Every file that a command reads, wrong in every way: one line and a status, never a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import called
from onnx import TensorProto, helper, numpy_helper

import ppc

NOWHERE = ("--connect", "127.0.0.1:9", "--timeout", 3)
CLIENT = ("--role", "client", *NOWHERE)


def linear(path: Path, made: str = "out", name: str = "input_ids", kind: int = TensorProto.INT64) -> None:
    """A table looked up and a product, with its names to choose."""
    rng = np.random.default_rng(1)
    weights = {"E": rng.normal(size=(9, 4)), "W": rng.normal(size=(4, 4)) / 4}
    nodes = [
        helper.make_node("Cast", [name], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["E", "ids"], [f"{made}_x"]),
        helper.make_node("MatMul", [f"{made}_x", "W"], [made]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, [1, 3])],
        [onnx.ValueInfoProto(name=made)],
        [numpy_helper.from_array(x.astype(np.float32), key) for key, x in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Good files, and wrong ones."""
    made = tmp_path_factory.mktemp("wrong")
    linear(made / "m.onnx")
    linear(made / "other.onnx", made="else")
    linear(made / "renamed.onnx", name="tokens")
    compiled = ppc.compile(made / "m.onnx")
    compiled.save(made / "m.bin", made / "m.weights")
    np.savez(made / "in.npz", input_ids=np.array([[1, 2, 3]]))
    for name in ("m.onnx", "m.bin", "m.weights", "in.npz"):
        data = (made / name).read_bytes()
        (made / f"cut.{name}").write_bytes(data[: len(data) // 2])
    (made / "empty").write_bytes(b"")
    (made / "empty.json").write_bytes(b"")
    (made / "noise").write_bytes(bytes(range(256)) * 3)
    (made / "noise.json").write_bytes(b"\xff\xfe\x00{")
    (made / "deep.json").write_text("[" * 100_000)
    (made / "list.json").write_text("[1, 2]")
    (made / "null.json").write_text('{"input_ids": null}')
    (made / "ragged.json").write_text('{"input_ids": [[1, 2], [3]]}')
    (made / "nested.json").write_text('{"input_ids": {"a": 1}}')
    (made / "words.json").write_text('{"input_ids": [["a", "b", "c"]]}')
    (made / "large.json").write_text('{"input_ids": [[1, 2, 1' + "0" * 40 + "]]}")
    (made / "errors.json").write_text('{"errors": [7]}')
    (made / "a folder").mkdir()
    np.savez_compressed(made / "flipped.npz", input_ids=np.arange(3000).reshape(1, 3000))
    data = bytearray((made / "flipped.npz").read_bytes())
    data[len(data) // 2] ^= 255
    (made / "flipped.npz").write_bytes(data)
    shutil.copy(made / "m.bin", made / "plan.npz")
    return made


WRONG = (
    "none", "a folder", "empty", "empty.json", "noise", "noise.json", "deep.json", "list.json", "null.json",
    "ragged.json", "nested.json", "words.json", "large.json", "errors.json", "plan.npz", "flipped.npz",
    "cut.m.onnx", "cut.m.bin", "cut.m.weights", "cut.in.npz", "m.onnx", "m.bin", "m.weights", "in.npz",
    "other.onnx", "renamed.onnx",
)  # fmt: skip

Uses = Callable[[Path, Path], tuple[object, ...]]

COMMANDS: dict[str, tuple[Uses, tuple[str, ...]]] = {
    "check": (lambda d, f: ("check", f), (".onnx",)),
    "compile": (lambda d, f: ("compile", f, "-o", d / "o.bin"), (".onnx",)),
    "emit": (lambda d, f: ("compile", f, "--emit-onnx", d / "o.onnx"), (".onnx",)),
    "calibrate": (lambda d, f: ("compile", d / "m.onnx", "-o", d / "o.bin", "--calibrate", f), ("in.npz",)),
    "profile": (lambda d, f: ("compile", d / "m.onnx", "-o", d / "o.bin", "--profile", f), ()),
    "inspect": (lambda d, f: ("inspect", f), (".bin", "plan.npz")),
    "page": (lambda d, f: ("inspect", d / "m.bin", "--html", d / "p.html", "--simulation", f), ()),
    "simulate": (lambda d, f: ("simulate", f, "--input", d / "in.npz"), (".bin",)),
    "input": (lambda d, f: ("simulate", d / "m.bin", "--input", f), ("in.npz",)),
    "weights": (
        lambda d, f: ("simulate", d / "m.bin", "--input", d / "in.npz", "--weights", f),
        (".weights",),
    ),
    "against": (
        lambda d, f: ("simulate", d / "m.bin", "--input", d / "in.npz", "--against", f),
        ("m.onnx",),
    ),
    "labels": (
        lambda d, f: ("simulate", d / "m.bin", "--input", d / "in.npz", "--labels", f),
        (),
    ),
    "client": (lambda d, f: ("run", f, "--input", d / "in.npz", *CLIENT), ()),
    "client's input": (lambda d, f: ("run", d / "m.bin", "--input", f, *CLIENT), ()),
    "tokenizer": (lambda d, f: ("run", d / "m.bin", "--text", "a", "--tokenizer", f, *CLIENT), ()),
    "store": (lambda d, f: ("run", d / "m.bin", "--input", d / "in.npz", "--store", f, *CLIENT), ()),
    "authorities": (lambda d, f: ("run", d / "m.bin", "--input", d / "in.npz", "--tls-ca", f, *CLIENT), ()),
    "prepare": (lambda d, f: ("prepare", f, *CLIENT), ()),
    "prepare's store": (lambda d, f: ("prepare", d / "m.bin", "--store", f, *CLIENT), ()),
    "certificate": (
        lambda d, f: ("run", d / "m.bin", "--role", "server", "--tls-cert", f, "--tls-key", f,
                      "--listen", "192.0.2.1:9"),
        (),
    ),
    "server's weights": (
        lambda d, f: ("run", d / "m.bin", "--role", "server", "--weights", f, "--listen", "192.0.2.1:9"),
        (),
    ),
}  # fmt: skip
"""What is called with a wrong file, and the ends of the names of those that are right for it. Nobody can be
reached, nor listened at, where a file does no harm: that is a refusal too."""


@pytest.mark.parametrize("use", COMMANDS)
def test_a_wrong_file_is_one_line(folder, use):
    words, right = COMMANDS[use]
    for name in WRONG[:4] if "store" in use else WRONG:  # each waits a second for nobody
        done = called(*words(folder, folder / name))
        if any(name.endswith(end) and not name.startswith("cut") for end in right):
            assert done.status in (0, 2), (name, done.err)
            continue
        assert done.status in (2, 3, 4, 5), (name, done.status, done.err)
        assert "Traceback" not in done.err, (name, done.err)
        assert done.out == "", name
        told = [line for line in done.err.splitlines() if line.startswith("ppc: ")]
        assert len(told) == 1, (name, done.err)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([[1, 2, 3.5]]), "float64"),
        (np.array([["a", "b", "c"]]), "<U1"),
        (np.array([[1, 2, 3j]]), "complex128"),
        (np.array([1, 2, 3]), "shape"),
        (np.array(1), "shape"),
        (np.zeros((1, 0), np.int64), "shape"),
        (np.zeros((0, 1, 3), np.int64), "as many samples"),
        (np.array([[1, 2, 9]]), "outside"),
        (np.array([[1, 2, 2**63]], np.uint64), "outside"),
        (np.array([[1, 2, 3]], "M8[s]"), "datetime"),
    ],
)
def test_an_input_of_another_kind_or_rank(folder, tmp_path, value, words):
    np.savez(tmp_path / "in.npz", input_ids=value)
    called("simulate", folder / "m.bin", "--input", tmp_path / "in.npz").failed(2, words)
    called("run", folder / "m.bin", "--input", tmp_path / "in.npz", *CLIENT).failed(2, words)


@pytest.mark.parametrize("name", ["tokens", "input_ids:1", ""])
def test_an_input_of_another_name(folder, tmp_path, name):
    (tmp_path / "in.json").write_text(json.dumps({name: [[1, 2, 3]]}))
    for command in (("simulate",), ("run", *CLIENT)):
        called(command[0], folder / "m.bin", *command[1:], "--input", tmp_path / "in.json").failed(
            2, "is not one of the plan's: input_ids"
        )


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("other.onnx", "makes nothing that the plan does"),
        ("renamed.onnx", "no input input_ids; it has tokens"),
    ],
)
def test_a_plan_is_not_held_against_another_model(folder, model, words):
    called("simulate", folder / "m.bin", "--input", folder / "in.npz", "--against", folder / model).failed(
        2, words
    )
