"""Every variant that a profile may choose, in a model of one layer: emitted, priced, run by two parties."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from small import TOKENS
from stepwise import both

import ppc
from models.tiny_bert import Shape, tiny_bert
from ppc.frontend.emit.model import emit
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input
from ppc.frontend.read import run
from ppc.passes.friendly import SUBSTITUTIONS
from ppc.runtime.party.party import Party, together
from ppc.runtime.session.engines import counting, standard
from ppc.runtime.session.executor import offline, online
from ppc.runtime.session.inputs import ClientInput

SHAPE = Shape(layers=1, width=32)
EACH = [(each.op.__name__, each.name) for each in SUBSTITUTIONS]
GATED = ("Silu", "RMSNorm")
"""What BERT has not."""
WIDTH = 16
SAMPLES = 8


def gated():
    """A block as LLaMA has them: x + (silu(n·G) ∘ n·U)·D, n the normed x."""
    rng = np.random.default_rng(0)

    def weight(rows, columns):
        return ops.Const(rng.normal(size=(rows, columns)).astype(np.float32) / rows**0.5, True)

    given = Input((1, TOKENS, WIDTH), FLOAT, name="x")
    x = ops.MatMul(given, weight(WIDTH, WIDTH))
    n = ops.RMSNorm(x, ops.Const(rng.uniform(0.5, 1.5, WIDTH).astype(np.float32), True), eps=1e-5)
    gate, up = (ops.MatMul(n, weight(WIDTH, 2 * WIDTH)) for _ in range(2))
    return Graph(
        (given,), {"y": ops.Add(x, ops.MatMul(ops.Mul(ops.Silu(gate), up), weight(2 * WIDTH, WIDTH)))}
    )


def feeds(seed, there=TOKENS, op=""):
    if op in GATED:
        return {"x": np.random.default_rng(seed).normal(size=(1, TOKENS, WIDTH)).astype(np.float32)}
    ids = np.random.default_rng(seed).integers(0, SHAPE.vocabulary, (1, TOKENS))
    kept = (np.arange(TOKENS) < there).astype(np.int64)[None]
    return {"input_ids": ids, "attention_mask": kept, "token_type_ids": np.zeros_like(ids)}


def calibration(op):
    return [feeds(seed, 2 + seed % (TOKENS - 1), op) for seed in range(SAMPLES)] + [feeds(99, op=op)]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """What the model compiles to with one substitution alone, each once, and the model emitted."""
    folder = tmp_path_factory.mktemp("compiled")
    onnx.save(tiny_bert(SHAPE), folder / "bert.onnx")
    onnx.save(emit(gated()), folder / "gated.onnx")
    made = {}

    def of(op, variant):
        if (op, variant) not in made:
            profile, emitted = folder / f"{op}-{variant}.toml", folder / f"{op}-{variant}.onnx"
            profile.write_text(f'[[replace]]\nop = "{op}"\nwith = "{variant}"\n')
            model = folder / ("gated.onnx" if op in GATED else "bert.onnx")
            made[op, variant] = (
                emitted,
                ppc.compile(
                    model, seq_len=TOKENS, profile=str(profile), calibrate=calibration(op), emit_onnx=emitted
                ),
            )
        return made[op, variant]

    return of


def price(compiled):
    """Bytes, but for those that make OTs, whose numbers go up in steps."""
    party = Party(None, engines=counting)
    online(party, compiled.plan, offline(party, compiled.plan))
    return sum(cost.bytes for cost in party.ledger.rows.values())


@pytest.mark.parametrize(("op", "variant"), EACH)
def test_two_parties_the_simulator_and_the_emitted_model_agree(compiled, op, variant):
    emitted, done = compiled(op, variant)
    given = feeds(5, TOKENS - 3, op)
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
    again = ppc.compile(emitted, seq_len=TOKENS, calibrate=calibration(op))
    assert not again.applied
    assert price(again) == pytest.approx(price(done), rel=0.02)


@pytest.mark.parametrize(
    ("op", "less", "more"),
    [
        ("Gelu", "quadratic", "exact"),
        ("Softmax", "relu_running", "relu_mean"),
        ("Softmax", "relu_running", "relu2"),
        ("Softmax", "square", "exact"),
        ("Softmax", "square", "square_sum"),
        ("LayerNorm", "centred_scalar", "centred_affine"),
        ("Silu", "quadratic", "exact"),
        ("RMSNorm", "scalar", "exact"),
    ],
)
def test_a_variant_costs_less_than_what_it_improves_on(compiled, op, less, more):
    assert price(compiled(op, less)[1]) < price(compiled(op, more)[1])
