"""Every verb as a user types it, in processes of their own: results, reports, and each way to go wrong."""

from __future__ import annotations

import json
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import Running, called, ppc, serving
from onnx import TensorProto, helper
from relay import relay
from small import SMALL, TOKENS

from models.tiny_bert import OUTPUTS, sample, tiny_bert
from ppc.frontend.read import run

PHASES = ("setup", "offline", "online")


@dataclass(frozen=True)
class Place:
    """A folder with a model, its plan and weights, and an input."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def plan(self) -> Path:
        return self.folder / "plan.bin"

    @property
    def feeds(self) -> dict[str, np.ndarray]:
        return sample(TOKENS, used=6)


@pytest.fixture(scope="module")
def place(small, tmp_path_factory) -> Place:
    made = Place(tmp_path_factory.mktemp("place"))
    shutil.copy(small.model, made / "small.onnx")
    small.compiled.save(made.plan, made / "plan.weights")
    np.savez(made / "in.npz", **made.feeds)
    (made / "in.json").write_text(json.dumps({name: x.tolist() for name, x in made.feeds.items()}))
    return made


# ---- compile, inspect, simulate


def test_compiling_gives_the_same_bytes_in_every_process(place, tmp_path):
    """Here, and in one of another hash seed."""
    out = tmp_path / "again.bin"
    compiled = ("compile", place / "small.onnx", "-o", out, "--seq-len", TOKENS)
    done = ppc(*compiled, env={"PYTHONHASHSEED": "12345"})
    assert done.status == 0, done.err
    assert out.read_bytes() == place.plan.read_bytes()
    assert out.with_suffix(".weights").read_bytes() == (place / "plan.weights").read_bytes()


def test_compile_tells_what_it_made(place, tmp_path):
    done = called(
        "compile", place / "small.onnx", "-o", tmp_path / "p.bin", "--dim", f"sequence={TOKENS}",
        "--output", OUTPUTS[1], "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert [o["name"] for o in done.json["outputs"]] == [OUTPUTS[1]]
    assert Path(done.json["file"]).is_file()
    assert Path(done.json["weights_file"]).is_file()
    assert all(done.json["predicted"][phase]["client"] > 0 for phase in PHASES)
    assert done.json["opened"] == []
    assert {row["why"].split()[0] for row in done.json["public"]} >= {"added", "that"}
    assert "public: " in done.err


def test_inspect_for_people_and_machines(place):
    text, document = called("inspect", place.plan), called("inspect", place.plan, "--json").json
    assert text.status == 0
    assert document["plan"][:12] in text.out
    assert len(document["steps"]) > 100
    seen = {row["value"]: row["seen_by"] for row in document["who_sees_what"]}
    assert [who for what, who in seen.items() if "weights in" in what] == ["server"]
    assert {who for what, who in seen.items() if what.startswith("input ")} == {"client"}
    assert sum("revealed" in what for what in seen) == 2 + 1
    (guard,) = (what for what in seen if "watched" in what)
    assert seen[guard] == "client"
    told = [what for what, who in seen.items() if what.startswith("of the model: ") and who == "both"]
    assert len(told) == len({row["why"] for row in document["public"]}) >= 4
    assert all(what in text.out for what in told)


def test_simulate_beside_onnx_runtime(place):
    done = ppc(
        "simulate", place.plan, "--input", place / "in.npz", "--against", place / "small.onnx", "--json"
    )
    assert done.status == 0, done.err
    expected = run.run(place / "small.onnx", place.feeds)
    for name in OUTPUTS:
        got = np.array(done.json["outputs"][name])
        assert np.abs(got - expected[name]).max() < 0.05 * expected[name].std()
    rows = {row["name"]: row for row in done.json["errors"]}
    assert len(rows) > 20
    assert max(row["relative"] for row in rows.values()) < 0.1
    assert {"/layer.0/attention/query/Add", "/layer.0/norm2/LayerNormalization"} <= set(rows)


def test_simulate_for_people(place, tmp_path):
    done = called("simulate", place.plan, "--input", place / "in.json", "-o", tmp_path / "out.npz")
    assert done.status == 0, done.err
    assert "written to" in done.out
    assert np.load(tmp_path / "out.npz")[OUTPUTS[1]].shape == (1, SMALL.width)


@pytest.fixture(scope="module")
def stacked(place) -> Path:
    """Three prompts in one file."""
    samples = [sample(TOKENS, used=used, seed=used) for used in (3, 6, 8)]
    np.savez(place / "three.npz", **{name: np.stack([s[name] for s in samples]) for name in samples[0]})
    return place / "three.npz"


def test_simulate_of_stacked_samples(place, stacked, tmp_path):
    three = called("simulate", place.plan, "--input", stacked, "-o", tmp_path / "three.out.npz")
    assert three.status == 0, three.err
    together, given = np.load(tmp_path / "three.out.npz"), np.load(stacked)
    for i in range(3):
        np.savez(tmp_path / "one.npz", **{name: given[name][i] for name in given})
        called("simulate", place.plan, "--input", tmp_path / "one.npz", "-o", tmp_path / "one.out.npz")
        alone = np.load(tmp_path / "one.out.npz")
        assert all(np.array_equal(together[name][i], alone[name]) for name in OUTPUTS)


def test_simulate_of_stacked_samples_beside_onnx_runtime(place, stacked):
    args = ("simulate", place.plan, "--against", place / "small.onnx", "--json", "--input")
    one, three = (called(*args, file).json for file in (place / "in.npz", stacked))
    assert np.shape(three["outputs"][OUTPUTS[1]]) == (3, 1, SMALL.width)
    assert [row["name"] for row in three["errors"]] == [row["name"] for row in one["errors"]]
    assert max(row["relative"] for row in three["errors"]) < 0.1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x | {"attention_mask": x["attention_mask"][0]}, ("'attention_mask' has 2", "every input")),
        (lambda x: x | {"input_ids": x["input_ids"][:2]}, ("as many samples",)),
        (lambda x: {name: each[:0] for name, each in x.items()}, ("as many samples",)),
        (
            lambda x: x | {"input_ids": x["input_ids"] + np.array([0, 99, 0])[:, None, None]},
            (r"samples\[1\]",),
        ),
        (lambda x: {name: each[None] for name, each in x.items()}, (r"shape \(1, 3, 1, 8\)",)),
    ],
)
def test_simulate_of_samples_that_do_not_go_together(place, stacked, tmp_path, change, words):
    given = np.load(stacked)
    np.savez(tmp_path / "bad.npz", **change({name: given[name] for name in given}))
    called("simulate", place.plan, "--input", tmp_path / "bad.npz").failed(2, *words)


# ---- run


@dataclass(frozen=True)
class Ran:
    server: dict
    client: dict
    outputs: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def ran(place) -> Ran:
    """One inference between two processes, both of which print JSON and write reports."""
    with serving(place.plan, "--once", "--json", "--report", place / "server.json") as (server, address):
        client = ppc(
            "run", place.plan, "--role", "client", "--connect", address, "--input", place / "in.npz",
            "-o", place / "out.npz", "--report", place / "client.json", "--json",
        )  # fmt: skip
        assert client.status == 0, client.err
        done = server.end(20)
        assert done.status == 0, done.err
    assert done.json == json.loads((place / "server.json").read_text())
    assert client.json["report"] == json.loads((place / "client.json").read_text())
    outputs = dict(np.load(place / "out.npz"))
    assert {name: x.tolist() for name, x in outputs.items()} == client.json["outputs"]
    return Ran(done.json, client.json["report"], outputs)


def test_the_private_result_is_the_models(place, ran):
    expected = run.run(place / "small.onnx", place.feeds)
    for name in OUTPUTS:
        assert np.abs(ran.outputs[name] - expected[name]).max() < 0.06 * expected[name].std()


def test_reports_say_what_was_foretold(place, ran):
    for role, report in (("server", ran.server), ("client", ran.client)):
        assert report["role"] == role
        for row in [*(report[p] | {"predicted": report["predicted"][p]} for p in PHASES), *report["steps"]]:
            for what in ("sent", "received", "flights"):
                assert row[what] == row["predicted"][what]
    inspected = called("inspect", place.plan, "--json").json
    assert ran.client["plan"] == ran.server["plan"] == inspected["plan"]
    for phase in PHASES:
        assert (
            ran.client[phase]["sent"]
            == ran.server[phase]["received"]
            == inspected["predicted"][phase]["client"]
        )
        assert ran.client[phase]["received"] == ran.server[phase]["sent"]


def test_the_client_works_in_a_folder_without_weights(place, tmp_path):
    """With the plan alone, and what it opens is written down."""
    shutil.copy(place.plan, tmp_path / "plan.bin")
    shutil.copy(place / "plan.weights", tmp_path / "plan.weights")
    log = tmp_path / "opened"
    spy = (
        "import sys\n"
        f"log = open({str(log)!r}, 'a', buffering=1)\n"
        "sys.addaudithook(lambda event, args: log.write(f'{args[0]}\\n') if event == 'open' else None)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(spy)
    with serving(place.plan, "--once") as (server, address):
        client = ppc(
            "run", tmp_path / "plan.bin", "--role", "client", "--connect", address,
            "--input", place / "in.npz",
            env={"PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        assert client.status == 0, client.err
        assert server.end(20).status == 0
    opened = log.read_text()
    assert str(tmp_path / "plan.bin") in opened
    assert "plan.weights" not in opened
    assert "safetensors" not in opened


@pytest.fixture(scope="module")
def tokenizer(place) -> Path:
    """One token a word; the words are w1, w2, …"""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[PAD]": 0, **{f"w{i}": i for i in range(1, SMALL.vocabulary)}}
    made = Tokenizer(models.WordLevel(words, unk_token="[PAD]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(place / "tokenizer.json"))
    return place / "tokenizer.json"


def test_text_goes_in_as_its_tokens(place, tokenizer, ran):
    ids = place.feeds["input_ids"][0][:6]
    with serving(place.plan, "--once") as (_, address):
        done = ppc(
            "run", place.plan, "--role", "client", "--connect", address, "--json",
            "--text", " ".join(f"w{i}" for i in ids), "--tokenizer", tokenizer,
        )  # fmt: skip
    assert done.status == 0, done.err
    assert np.abs(np.array(done.json["outputs"][OUTPUTS[1]]) - ran.outputs[OUTPUTS[1]]).max() < 0.05


def test_a_server_goes_on_after_a_client_that_failed(place, tmp_path):
    other = tmp_path / "other.bin"
    with serving(place.plan) as (server, address):
        _connected(address).close()
        server.said("failed: the peer closed|failed: the connection")
        _compile_other(other)
        ppc("run", other, "--role", "client", "--connect", address, "--input", place / "in.npz").failed(
            4, "plans differ"
        )
        server.said("failed: plans differ")
        done = ppc("run", place.plan, "--role", "client", "--connect", address, "--input", place / "in.npz")
        assert done.status == 0, done.err


def _connected(address: str) -> socket.socket:
    host, port = address.split(":")
    return socket.create_connection((host, int(port)))


def _compile_other(path: Path) -> None:
    """A plan of the same model for another length."""
    import ppc as api

    model = path.with_suffix(".onnx")
    onnx.save(tiny_bert(SMALL), model)
    api.compile(model, seq_len=TOKENS, outputs=(OUTPUTS[1],)).save(path, path.with_suffix(".weights"))


# ---- what goes wrong, before anything is sent


def _unsupported(path: Path) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])
    w = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1.0, 2.0, 3.0, 4.0])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Det", ["z"], ["d"], name="bad")]
    nodes.append(helper.make_node("Mul", ["z", "d"], ["y"]))
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [w]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, path)
    return path


def test_commands_that_are_not_complete(place):
    called("run", place.plan).failed(2, "--role")
    called("bogus").failed(2, "bogus")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("none.onnx", "--seq-len", 8), ["none.onnx", "No such file"]),
        (("in.npz", "--seq-len", 8), ["not an ONNX model"]),
        (("small.onnx",), ["--dim sequence=VALUE"]),
        (("small.onnx", "--seq-len", 8, "--dim", "foo"), ["NAME=VALUE", "foo"]),
        (("small.onnx", "--seq-len", 8, "--dim", "sequence=-1"), ["positive", "sequence=-1"]),
        (("small.onnx", "--seq-len", 8, "--dim", "foo=3"), ["foo", "sequence"]),
        (("small.onnx", "--seq-len", 8, "--output", "nope"), ["nope", OUTPUTS[0], OUTPUTS[1]]),
        (("small.onnx", "--seq-len", 8, "--profile", "nope"), ["nope", "exact"]),
        (("small.onnx", "--seq-len", 8, "--calibrate", "none.npz"), ["none.npz"]),
        (
            ("small.onnx", "--seq-len", 9, "--calibrate", "in.json"),
            [r"shape \(1, 8\)", r"wants \(1, 9\) or longer", r"holds \(samples, 1, 9\) or \(samples, 9\)"],
        ),
    ],
)
def test_compile_names_the_mistake(place, tmp_path, args, words):
    model, *rest = (place / str(a) if str(a).endswith((".onnx", ".npz", ".json")) else a for a in args)
    done = called("compile", model, "-o", tmp_path / "x.bin", *rest)
    done.failed(2, *words)
    assert done.seconds < 20
    assert not list(tmp_path.iterdir())


def test_a_result_without_a_place_is_refused_first(place, tmp_path):
    called("compile", place / "small.onnx", "-o", tmp_path / "no" / "x.bin", "--seq-len", 8).failed(
        2, "no folder"
    )


def test_an_unsupported_operator_is_named(tmp_path):
    done = ppc("compile", _unsupported(tmp_path / "bad.onnx"), "-o", tmp_path / "x.bin")
    done.failed(3, "Det", "bad", "opset 17")


def test_a_lack_of_memory_is_one_line(place, monkeypatch):
    def large(*args, **options):
        raise MemoryError("Unable to allocate 9. TiB")

    monkeypatch.setattr("ppc.backend.check.check_model", large)
    called("check", place / "small.onnx").failed(2, "more memory is asked for than there is: .* 9. TiB")


@pytest.mark.parametrize("verb", ["inspect", "simulate", "run"])
def test_a_plan_that_is_missing_or_damaged(place, tmp_path, verb):
    rest = {
        "inspect": [],
        "simulate": ["--input", place / "in.npz"],
        "run": ["--role", "client", "--input", place / "in.npz"],
    }[verb]
    called(verb, tmp_path / "none.bin", *rest).failed(2, "none.bin", "No such file")
    data = bytearray(place.plan.read_bytes())
    data[len(data) // 2] ^= 4
    (tmp_path / "damaged.bin").write_bytes(data)
    called(verb, tmp_path / "damaged.bin", *rest).failed(4, "damaged")


def test_weights_that_are_missing_or_anothers(place, tmp_path):
    run = ("run", place.plan, "--role", "server", "--listen", "127.0.0.1:0", "--weights")
    called(*run, tmp_path / "none").failed(2, "no such file")
    _compile_other(tmp_path / "other.bin")
    called(*run, tmp_path / "other.weights").failed(4, "weights of plan")
    (tmp_path / "junk").write_bytes(b"\x08" + bytes(40))
    called(*run, tmp_path / "junk").failed(4, "not a readable weights file")
    data = bytearray((place / "plan.weights").read_bytes())
    data[-2000:-1000] = bytes(1000)
    (tmp_path / "zeroed").write_bytes(data)
    called(*run, tmp_path / "zeroed").failed(4, "zeroed: damaged, its checksum does not match")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input_ids": np.zeros((1, TOKENS + 1), np.int64)}, [r"shape \(1, 9\)", r"\(1, 8\)"]),
        ({"input_ids": np.zeros((1, TOKENS))}, ["float64", "int"]),
        ({"input_ids": np.full((1, TOKENS), 50)}, [r"holds 50, outside \[0, 49\]"]),
        ({"input_ids": np.full((1, TOKENS), -1)}, [r"holds -1, outside \[0, 49\]"]),
        ({"other": np.zeros(1)}, ["other"]),
        ({"input_ids": None}, ["input_ids", "missing"]),
    ],
)
def test_a_wrong_input_never_leaves_the_client(place, tmp_path, change, words):
    """Nobody listens where it would be sent to."""
    feeds = {name: x for name, x in (place.feeds | change).items() if x is not None}
    np.savez(tmp_path / "bad.npz", **feeds)
    done = called(
        "run", place.plan, "--role", "client", "--connect", "127.0.0.1:9", "--input", tmp_path / "bad.npz"
    )
    done.failed(2, *words)
    assert done.seconds < 20


def test_files_that_hold_no_inputs(place, tmp_path):
    (tmp_path / "cut.npz").write_bytes((place / "in.npz").read_bytes()[:150])
    (tmp_path / "bad.json").write_text("[1, 2")
    np.save(tmp_path / "one.npy", np.zeros(3))
    for name in ("cut.npz", "bad.json", "one.npy"):
        called("simulate", place.plan, "--input", tmp_path / name).failed(2, name)


def test_text_that_is_too_long_or_without_tokenizer(place, tokenizer):
    client = ("run", place.plan, "--role", "client", "--connect", "127.0.0.1:9", "--text")
    called(*client, "w1 " * (TOKENS + 1), "--tokenizer", tokenizer).failed(
        2, "9 tokens", "holds 8", "--seq-len"
    )
    called(*client, "w1").failed(2, "--tokenizer")
    called(*client, "w1", "--tokenizer", place / "in.json").failed(2, "tokenizer")


# ---- what goes wrong between the two


def test_nobody_there(place):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = ppc(
        "run", place.plan, "--role", "client", "--connect", f"127.0.0.1:{port}", "--input", place / "in.npz",
        "--timeout", 3,
    )  # fmt: skip
    done.failed(5, "cannot reach a server")
    assert done.seconds < 20


@pytest.mark.parametrize(
    ("args", "status", "word"),
    [
        (("inspect", "none.bin"), 2, "No such file"),
        (("inspect", "damaged.bin"), 4, "damaged"),
        (("run", "plan.bin", "--role", "client", "--input", "wrong.json"), 2, "shape"),
        (("run", "plan.bin", "--role", "server", "--weights", "damaged.bin"), 4, "weights"),
    ],
)
def test_each_status_is_the_processs_own(place, args, status, word):
    """The cases above run the entry point in this process; so much holds from outside too."""
    (place / "damaged.bin").write_bytes(place.plan.read_bytes()[:-1])
    (place / "wrong.json").write_text(json.dumps({name: [1] for name in place.feeds}))
    paths = [place / a if str(a).endswith((".bin", ".json")) else a for a in args]
    ppc(*paths).failed(status, word)


def test_a_port_that_is_taken(place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        called("run", place.plan, "--role", "server", "--listen", f"127.0.0.1:{port}").failed(
            5, "cannot listen"
        )


def test_another_plan_is_told_to_both(place, tmp_path):
    _compile_other(tmp_path / "other.bin")
    with serving(place.plan, "--once") as (server, address):
        client = ppc(
            "run",
            tmp_path / "other.bin",
            "--role",
            "client",
            "--connect",
            address,
            "--input",
            place / "in.npz",
        )
        client.failed(4, "plans differ")
        done = server.end(20)
        assert done.status == 4
        assert "plans differ" in done.err


@pytest.mark.parametrize(("victim", "limit"), [("server", 60_000), ("client", 60_000), ("client", 400_000)])
def test_a_side_that_is_killed_mid_run_ends_the_other(place, victim, limit):
    """After so many of the client's bytes: in the setup, in the offline phase."""
    with serving(place.plan, "--once") as (server, address), relay(address, limit) as wire:
        client = Running(
            "run", place.plan, "--role", "client", "--connect", wire.address, "--input", place / "in.npz"
        )
        assert wire.reached.wait(30)
        one, other = (server, client) if victim == "server" else (client, server)
        one.kill()
        other.end(20).failed(5, "closed the connection|broke")


def test_a_stranger_that_says_nothing_is_given_up_and_costs_a_client_nothing(place):
    with serving(place.plan, "--once", "--timeout", 3) as (server, address), _connected(address):
        server.said(r"failed: the peer has been silent for 3 seconds")
        done = ppc("run", place.plan, "--role", "client", "--connect", address, "--input", place / "in.npz")
        assert done.status == 0, done.err
        assert server.end(20).status == 0
