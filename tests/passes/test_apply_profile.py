import numpy as np
import pytest
import tiny_bert
from numpy.testing import assert_allclose
from rewriting import graph, inp, text

from ppc import passes
from ppc.frontend.ir import fixed, ops
from ppc.frontend.ir.graph import walk
from ppc.frontend.ir.reference import evaluate, evaluate_all
from ppc.frontend.ir.text import show
from ppc.passes.apply_profile import apply_profile
from ppc.passes.friendly import SUBSTITUTIONS, variants
from ppc.passes.profile import PROFILES, Profile, ProfileError, Rule, read
from ppc.passes.substitution import Samples

pytestmark = pytest.mark.long

FRIENDLY = PROFILES["friendly"]
RNG = np.random.default_rng(0)
W = ops.Const(RNG.normal(size=(4, 4)).astype(np.float32), True, name="layer.0.weight")
V = ops.Const(RNG.normal(size=(4, 4)).astype(np.float32), True, name="layer.1.weight")
FEEDS = [{"x": RNG.normal(size=(8, 4))} for _ in range(4)]
BERT = tiny_bert.tiny_bert()
BERT_FEEDS = [tiny_bert.feeds(n % 5 + 2, n) for n in range(12)]


def two_layers():
    first = ops.Gelu(ops.MatMul(inp(8, 4), W, name="layer.0.dense"), name="layer.0.act")
    return graph(ops.Gelu(ops.MatMul(first, V, name="layer.1.dense"), name="layer.1.act"))


def profile(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_text(content)
    return read(path)


def test_one_layer_of_two(tmp_path):
    mine = profile(tmp_path, '[[replace]]\nop="Gelu"\nwith="relu"\nlayers="layer.0.*"\ncalibrate=false')
    done = apply_profile(two_layers(), mine, FEEDS)
    assert text(done.graph) == (
        "%0 = Input(x)\n%1 = Const(secret)\n%2 = MatMul(%0, %1)\n%3 = Relu(%2)\n"
        "%4 = Const(secret)\n%5 = MatMul(%3, %4)\n%6 = Gelu(%5, approx=none)"
    )
    (applied,) = done.applied
    assert (applied.op, applied.variant, applied.layers) == ("Gelu", "relu", ("layer.0.act",))
    assert str(applied) == (
        "1 Gelu -> relu: max(x, 0) + m, changes the function, by 0.171 at most (layer.0.act)"
    )


def test_names_stay_with_the_values():
    done = apply_profile(two_layers(), FRIENDLY, FEEDS)
    assert done.graph.outputs["y"].name == "layer.1.act"
    assert done.applied[0].layers == ("layer.0.act", "layer.1.act")


def test_a_long_list_of_layers_is_cut():
    shown = str(apply_profile(two_layers(), FRIENDLY, FEEDS).applied[0].__class__(
        "Gelu", "relu", "", "f", "d", ("a", "b", "c", "d")
    ))  # fmt: skip
    assert shown == "4 Gelu -> relu: f, d (a, b, c, …)"


def test_exact_leaves_the_graph_alone():
    g = two_layers()
    done = apply_profile(g, PROFILES["exact"], FEEDS)
    assert done.graph is g
    assert done.applied == done.fitted == ()


def test_what_the_client_knows_alone_stays():
    g = graph(ops.Gelu(inp(8, 4)))
    assert apply_profile(g, FRIENDLY, FEEDS).graph is g


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('[[replace]]\nop="Gelu"\nwith="relu"\nlayers="layer.7.*"',
         ("line 1", 'layers = "layer.7.*" fits no Gelu', "layer.0.act, layer.1.act")),
        ('\n[[replace]]\nop="Silu"\nwith="relu"',
         ("line 2", 'op = "Silu" fits nothing', "the model has 2 Gelu")),
        ('[[replace]]\nop="Gelu"\nwith="exact"\nlayers=["a", "b"]', ('layers = "a", "b" fits no Gelu',)),
    ],
)  # fmt: skip
def test_rules_of_a_file_must_fit_something(tmp_path, content, parts):
    with pytest.raises(ProfileError) as caught:
        apply_profile(two_layers(), profile(tmp_path, content), FEEDS)
    for part in parts:
        assert part in str(caught.value)


def test_a_model_without_anything_to_replace(tmp_path):
    mine = profile(tmp_path, '[[replace]]\nop="Gelu"\nwith="relu"')
    with pytest.raises(ProfileError, match="nothing to replace"):
        apply_profile(graph(ops.MatMul(inp(8, 4), W)), mine, FEEDS)
    # a profile that is not the user's own file need not fit
    assert apply_profile(graph(ops.MatMul(inp(8, 4), W)), FRIENDLY, FEEDS).applied == ()


def test_constants_are_fitted_to_what_those_before_have_made():
    """The second layer's m makes up for what max(x, 0) lacks on the values of the substituted model."""
    done = apply_profile(two_layers(), FRIENDLY, FEEDS)
    (second,) = (op for op in done.graph.outputs["y"].operands if isinstance(op, ops.Const))
    lacks = []
    for feeds in FEEDS:
        first = np.maximum(feeds["x"] @ W.value, 0) + done.fitted[0]["m"]
        g = graph(ops.Gelu(inp(8, 4)))
        lacks.append(evaluate(g, {"x": first @ V.value})["y"] - np.maximum(first @ V.value, 0))
    assert_allclose(second.value, np.concatenate(lacks).mean(axis=0), rtol=1e-4)


def test_a_fitted_profile_is_the_same_function_at_every_length():
    done = apply_profile(two_layers(), FRIENDLY, FEEDS)
    first = ops.Gelu(ops.MatMul(inp(3, 4), W), name="layer.0.act")
    short = graph(ops.Gelu(ops.MatMul(first, V), name="layer.1.act"))
    other = apply_profile(short, FRIENDLY, [{"x": RNG.normal(size=(3, 4))}], done.fitted)
    x = FEEDS[0]["x"]
    assert_allclose(evaluate(other.graph, {"x": x[:3]})["y"], evaluate(done.graph, {"x": x})["y"][:3])
    assert other.fitted == done.fitted
    with pytest.raises(ValueError, match="zip"):
        apply_profile(graph(first), FRIENDLY, [{"x": x[:3]}], done.fitted)


def test_a_whole_model():
    state = passes.run(BERT, passes.Options(profile="friendly"), BERT_FEEDS, stop_after="apply_profile")
    shown = show(state.graph)
    for gone in ("Softmax(", "LayerNorm(", "Gelu("):
        assert gone not in shown
    assert state.plain is state.graph
    assert [(each.op, len(each.layers)) for each in state.applied] == [
        ("LayerNorm", 3), ("Softmax", 1), ("Gelu", 1),
    ]  # fmt: skip
    cosines = []
    for each in (tiny_bert.feeds(6, 90), tiny_bert.feeds(3, 91)):
        exact, near = evaluate(BERT, each)["pooled"], evaluate(state.graph, each)["pooled"]
        cosines.append(tiny_bert.cosine(exact, near))
    assert min(cosines) > 0.9


IN_BERT = [
    (each.op.__name__, each.name)
    for each in SUBSTITUTIONS
    if each.op in (ops.Gelu, ops.Softmax, ops.LayerNorm)
]


@pytest.mark.parametrize(("op", "variant"), IN_BERT)
def test_integers_agree_with_the_substituted_model(tmp_path, op, variant):
    path = tmp_path / "mine.toml"
    path.write_text(f'base="friendly"\n[[replace]]\nop="{op}"\nwith="{variant}"')
    done = passes.run(BERT, passes.Options(profile=str(path)), BERT_FEEDS)
    assert done.profile.name == "mine.toml"
    for seed in range(6):
        each = tiny_bert.feeds(seed % 5 + 2, seed + 50)
        exact = evaluate(done.plain, each)["pooled"]
        assert tiny_bert.cosine(fixed.evaluate(done.graph, each)["pooled"], exact) > 0.999


@pytest.mark.parametrize("variant", list(variants(ops.Softmax)))
def test_what_lies_behind_a_masked_softmax_is_fitted_to_what_it_makes(tmp_path, variant):
    """Which reads the mask, and of the squares the scores below it."""
    mine = profile(tmp_path, f'base="friendly"\n[[replace]]\nop="Softmax"\nwith="{variant}"')
    plain = passes.run(BERT, feeds=BERT_FEEDS, stop_after="fold_scale").graph
    done = apply_profile(plain, mine, BERT_FEEDS)
    last = next(op for op in walk(plain) if isinstance(op, ops.LayerNorm) and op.name == "encoded")
    made = next(op for op in walk(done.graph) if op.name == "encoded")
    x = [evaluate_all(done.graph, each)[made.operands[0].operands[0].operands[0]] for each in BERT_FEEDS]
    y = [evaluate_all(plain, each)[last] for each in BERT_FEEDS]
    again = variants(ops.LayerNorm)["centred_affine"].fit(last, Samples(x, y), {})
    for name, constant in done.fitted[-1].items():
        assert_allclose(constant, again[name], rtol=1e-6)


def test_padding_makes_no_difference_under_a_mask():
    """A masked score weighs exactly nothing, so what stands in the padding cannot be seen."""
    done = passes.run(BERT, passes.Options(profile="friendly"), BERT_FEEDS, stop_after="approximate")
    one = tiny_bert.feeds(3, 7)
    other = {**one, "input_ids": one["input_ids"].copy()}
    other["input_ids"][:, 3:] = 5
    assert_allclose(evaluate(done.graph, one)["pooled"], evaluate(done.graph, other)["pooled"], atol=1e-12)


def test_rules_without_a_file_need_no_match():
    rule = Rule(ops.Silu, None)
    assert apply_profile(two_layers(), Profile("mine", (rule,)), FEEDS).applied == ()


def test_division_comes_behind_the_product_with_v():
    state = passes.run(BERT, passes.Options(profile="friendly"), BERT_FEEDS, stop_after="delay_division")
    scores = f"[1,2,{tiny_bert.SEQ},{tiny_bert.SEQ}]"
    assert not [line for line in show(state.graph).splitlines() if " Mul(" in line and scores in line]
