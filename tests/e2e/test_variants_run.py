"""Every variant of profile friendly in a model of one layer: emitted, priced, and run by two parties."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from small import TOKENS
from stepwise import both

import ppc
from models.tiny_bert import Shape, tiny_bert
from ppc.frontend.read import run
from ppc.passes.friendly import SUBSTITUTIONS
from ppc.runtime.party.party import together
from ppc.runtime.session.engines import standard
from ppc.runtime.session.inputs import ClientInput

SHAPE = Shape(layers=1, width=64)
EACH = [
    (each.op.__name__, each.name)
    for each in SUBSTITUTIONS
    if each.op.__name__ in ("Gelu", "Softmax", "LayerNorm")
]
SAMPLES = 8


def feeds(seed, there=TOKENS):
    ids = np.random.default_rng(seed).integers(0, SHAPE.vocabulary, (1, TOKENS))
    kept = (np.arange(TOKENS) < there).astype(np.int64)[None]
    return {"input_ids": ids, "attention_mask": kept, "token_type_ids": np.zeros_like(ids)}


CALIBRATION = [feeds(seed, 2 + seed % (TOKENS - 1)) for seed in range(SAMPLES)] + [feeds(99)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("variants") / "model.onnx"
    onnx.save(tiny_bert(SHAPE), path)
    return path


@pytest.fixture(scope="module")
def compiled(model, tmp_path_factory):
    """What the model compiles to with one substitution alone, each once, and the model emitted."""
    folder = tmp_path_factory.mktemp("compiled")
    made = {}

    def of(op, variant):
        if (op, variant) not in made:
            profile, emitted = folder / f"{op}-{variant}.toml", folder / f"{op}-{variant}.onnx"
            profile.write_text(f'[[replace]]\nop = "{op}"\nwith = "{variant}"\n')
            made[op, variant] = (
                emitted,
                ppc.compile(
                    model, seq_len=TOKENS, profile=str(profile), calibrate=CALIBRATION, emit_onnx=emitted
                ),
            )
        return made[op, variant]

    return of


def price(compiled):
    predicted = ppc.summary(compiled.plan)["predicted"]
    return sum(predicted[phase][role] for phase in ("offline", "online") for role in ("client", "server"))


@pytest.mark.parametrize(("op", "variant"), EACH)
def test_two_parties_the_simulator_and_the_emitted_model_agree(compiled, op, variant):
    emitted, done = compiled(op, variant)
    given = feeds(5, TOKENS - 3)
    plain = run.run(emitted, given)
    clear = ppc.simulate(done.plan, done.weights, given)
    encoded = ClientInput.of(done.plan, given).encoded
    _, private, ledger = together(lambda p: both(p, done.plan, done.weights, encoded), standard)
    for name, wanted in clear.items():
        spread = np.std(wanted)
        assert np.abs(wanted - plain[name]).max() < 0.05 * spread
        assert np.abs(private[name] - wanted).max() < 0.05 * spread
    for phase in ("offline", "online"):
        total, cost = ledger.total(phase), ppc.summary(done.plan)["predicted"][phase]
        assert (total.client, total.server, total.flights) == (
            cost["client"], cost["server"], cost["flights"],
        )  # fmt: skip


@pytest.mark.parametrize(("op", "variant"), EACH)
def test_exact_has_nothing_to_replace_in_the_emitted_model_and_the_same_price(compiled, op, variant):
    emitted, done = compiled(op, variant)
    again = ppc.compile(emitted, seq_len=TOKENS, calibrate=CALIBRATION)
    assert not again.applied
    assert price(again) == pytest.approx(price(done), rel=0.02)


@pytest.mark.parametrize(
    ("op", "less", "more"),
    [
        ("Gelu", "quadratic", "exact"),
        ("Softmax", "relu_mean", "relu_sum"),
        ("Softmax", "relu_running", "relu_mean"),
        ("Softmax", "relu_running", "relu2"),
        ("Softmax", "square", "exact"),
        ("Softmax", "square", "square_sum"),
        ("LayerNorm", "centred_scalar", "centred_affine"),
    ],
)
def test_a_variant_costs_less_than_what_it_improves_on(compiled, op, less, more):
    assert price(compiled(op, less)[1]) < price(compiled(op, more)[1])
