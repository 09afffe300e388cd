"""Profile friendly from the command line to two parties: the oracle is the model it emits."""

import json
import re

import numpy as np
import onnx
import pytest
from small import ROOT, TOKENS
from stepwise import both
from typer.testing import CliRunner

import ppc
from models.tiny_bert import Shape, tiny_bert
from ppc import cli
from ppc.frontend.read import run
from ppc.runtime.party.party import together
from ppc.runtime.session.engines import standard
from ppc.runtime.session.inputs import ClientInput


def invoke(*arguments):
    done = CliRunner().invoke(cli.app, ["compile", *map(str, arguments), "--seq-len", str(TOKENS)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


@pytest.fixture(scope="module")
def friendly(small, tmp_path_factory):
    """Plan, weights and emitted model of the small model under profile friendly, and what was printed."""
    folder = tmp_path_factory.mktemp("friendly")
    plan, emitted = folder / "plan.bin", folder / "friendly.onnx"
    told = json.loads(
        invoke(small.model, "-o", plan, "--profile", "friendly", "--emit-onnx", emitted, "--json")
        .splitlines()[-1]
    )  # fmt: skip
    loaded = ppc.load_plan(plan)
    return loaded, ppc.load_weights(plan.with_suffix(".weights"), loaded), emitted, told


def test_the_file_of_the_page_about_profiles_compiles_and_does_what_it_says(tmp_path):
    page = (ROOT / "docs" / "profiles.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "mine.toml").write_text(text)
    onnx.save(tiny_bert(Shape(layers=3, width=16)), tmp_path / "model.onnx")
    compiled = ppc.compile(
        tmp_path / "model.onnx",
        seq_len=TOKENS,
        profile=str(tmp_path / "mine.toml"),
        outputs="sentence_embedding",
    )
    places = {(each.op, each.variant): [name.strip("/") for name in each.layers] for each in compiled.applied}
    norms = [f"layer.{i}/norm{j}/LayerNormalization" for i in range(3) for j in (1, 2)]
    assert places == {
        ("Gelu", "relu"): [f"layer.{i}/gelu/Mul_1" for i in range(3)],
        ("Softmax", "relu_sum"): [f"layer.{i}/attention/Softmax" for i in range(2)],
        ("LayerNorm", "affine"): norms,  # and not the embeddings'
        ("Softmax", "fewer queries"): ["layer.2/attention/Softmax"],
    }


def inputs(plan, seed=0):
    rng = np.random.default_rng(seed)
    feeds = {}
    for each in plan.inputs:
        ids = rng.integers(0, each.high or 2, each.shape)
        feeds[each.name] = ids if "mask" not in each.name else np.arange(each.shape[-1])[None] < TOKENS - 2
    return {name: np.asarray(value, np.int64) for name, value in feeds.items()}


def cosine(a, b):
    a, b = np.ravel(a), np.ravel(b)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_two_parties_compute_the_emitted_model_at_the_price_foretold(friendly):
    plan, weights, emitted, told = friendly
    feeds = inputs(plan)
    plain = run.run(emitted, feeds)
    clear = ppc.simulate(plan, weights, feeds)

    given = ClientInput.of(plan, feeds)
    _, private, ledger = together(lambda p: both(p, plan, weights, given.encoded), standard)
    for name in clear:
        assert cosine(clear[name], plain[name]) > 0.9999
        assert cosine(private[name], clear[name]) > 0.9999
    for phase in ("offline", "online"):
        total, cost = ledger.total(phase), told["predicted"][phase]
        assert (total.client, total.server, total.flights) == (
            cost["client"], cost["server"], cost["flights"],
        )  # fmt: skip


def test_what_was_replaced_is_told(friendly):
    replaced = {(each["op"], each["variant"]): len(each["layers"]) for each in friendly[3]["replaced"]}
    assert replaced[("Softmax", "relu_sum")] == 1
    assert replaced[("Gelu", "relu")] == 1
    assert friendly[0].profile == "friendly"


def test_exact_takes_the_emitted_model_at_the_same_price(friendly, tmp_path):
    _, _, emitted, told = friendly
    again = json.loads(invoke(emitted, "-o", tmp_path / "again.bin", "--json").splitlines()[-1])
    assert again["replaced"] == []
    for phase, cost in told["predicted"].items():
        for role in ("client", "server"):
            assert abs(again["predicted"][phase][role] - cost[role]) <= 0.01 * cost[role] + 1000


def test_friendly_is_cheaper_than_exact(friendly, small):
    exact = ppc.summary(small.compiled.plan)["predicted"]["online"]
    mine = friendly[3]["predicted"]["online"]
    assert mine["client"] + mine["server"] < 0.6 * (exact["client"] + exact["server"])
    assert mine["flights"] < exact["flights"]


def test_the_model_alone_and_a_profile_of_ones_own(friendly, small, tmp_path):
    profile, alone = tmp_path / "mine.toml", tmp_path / "alone.onnx"
    profile.write_text('base = "exact"\n[[replace]]\nop = "Gelu"\nwith = "relu"\n')
    told = invoke(small.model, "--profile", profile, "--emit-onnx", alone)
    assert "1 Gelu -> relu" in told
    assert alone.exists()
    with pytest.raises(Exception, match="nothing to write"):
        invoke(small.model)
