"""Tokens that are left out: the values are those of a model that was written without them."""

from __future__ import annotations

import numpy as np
import pytest
from rewriting import graph, inp, same_value

from ppc import passes
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, INT, Graph, Input, Op
from ppc.frontend.ir.reference import evaluate
from ppc.passes.eliminate import eliminate, stride, thins
from ppc.passes.profile import Elimination, Profile, ProfileError

TOKENS, WIDTH, HEADS = 6, 8, 2
IDS, MASK = (Input((1, TOKENS), INT, name=name) for name in ("input_ids", "attention_mask"))


def weights(seed=0):
    rng = np.random.default_rng(seed)

    def weight(*shape, name=""):
        return ops.Const(rng.normal(0, 0.4, shape).astype(np.float32), True, name=name)

    return weight


def every(x, step, axis=1):
    return ops.Slice(x, (0,), (x.type.shape[axis],), (axis,), (step,)) if step > 1 else x


def encoder(steps=(1, 1, 1), pooled="mean", seed=0):
    """Attention over and over, of which each layer asks with one in ``steps`` of the tokens that reach it."""
    weight = weights(seed)
    x: Op = ops.Add(ops.Gather(weight(20, WIDTH), IDS), weight(1, TOKENS, WIDTH))
    kept: Op = ops.Cast(MASK, FLOAT)
    for i, step in enumerate(steps):
        less = every(x, step)
        q, k, v = (
            ops.Transpose(
                ops.Reshape(ops.MatMul(y, weight(WIDTH, WIDTH)), (1, y.type.shape[1], HEADS, WIDTH // HEADS)),
                (0, 2, 1, 3),
            )
            for y in (less, x, x)
        )
        scores = ops.MatMul(q, ops.Transpose(k, (0, 1, 3, 2)))
        away = ops.Mul(ops.Sub(ops.Const(np.float32(1)), kept), ops.Const(np.float32(-1e9)))
        n, m = x.type.shape[1], less.type.shape[1]
        masked = ops.Add(scores, ops.Broadcast(ops.Reshape(away, (1, 1, 1, n)), (1, 1, m, n)))
        found = ops.MatMul(ops.Softmax(masked, -1, name=f"layer.{i}.softmax"), v)
        joined = ops.Reshape(ops.Transpose(found, (0, 2, 1, 3)), (1, m, WIDTH))
        ones = ops.Const(np.ones(WIDTH, np.float32), True)
        x = ops.LayerNorm(ops.Add(less, joined), ones, weight(WIDTH), 1e-5, name=f"layer.{i}.norm")
        kept = every(kept, step)
    if pooled == "first":
        return Graph((IDS, MASK), {"y": ops.Gather(x, ops.Const(np.asarray(0), False), axis=1)})
    if pooled == "cut":
        return Graph((IDS, MASK), {"y": ops.Slice(x, (0,), (1,), (1,), (1,))})
    if pooled == "none":
        return Graph((IDS, MASK), {"y": x})
    if pooled == "last":
        return Graph((IDS, MASK), {"y": ops.Slice(x, (5,), (6,), (1,), (1,))})
    wide = ops.Reshape(kept, (1, x.type.shape[1], 1))
    total = ops.ReduceSum(ops.Mul(x, wide), axes=(1,), keepdims=False)
    return Graph((IDS, MASK), {"y": ops.Div(total, ops.ReduceSum(wide, axes=(1,), keepdims=False))})


def profile(*layers, every=2):
    return Profile("p", (), tuple(Elimination((f"{layer}.*",), every, "p.toml, line 3") for layer in layers))


FEEDS = {"input_ids": np.arange(3, 9).reshape(1, 6), "attention_mask": np.array([[1, 1, 1, 1, 1, 0]])}


@pytest.mark.parametrize("pooled", ["mean", "first", "cut"])
@pytest.mark.parametrize(
    ("layers", "steps"),
    [
        (["layer.1"], (1, 2, 1)),
        (["layer.0", "layer.2"], (2, 1, 2)),
        (["layer.2"], (1, 1, 2)),
    ],
)
def test_it_is_the_model_written_so(layers, steps, pooled):
    done = eliminate(encoder(pooled=pooled), profile(*layers))
    wanted = encoder(steps, pooled)
    np.testing.assert_allclose(evaluate(done.graph, FEEDS)["y"], evaluate(wanted, FEEDS)["y"], rtol=1e-5)
    same_value(done.graph, wanted)
    whole = evaluate(encoder(pooled=pooled), FEEDS)["y"]
    if pooled != "mean" and steps[:2] == (1, 1):
        return  # the first token's answer is what it was
    assert not np.allclose(evaluate(done.graph, FEEDS)["y"], whole, rtol=1e-3)


def test_one_in_three_and_what_is_told():
    done = eliminate(encoder(), profile("layer.1", every=3))
    same_value(done.graph, encoder((1, 3, 1)))
    assert (done.layers, done.tokens) == (("layer.1.softmax",), (6, 2))
    (told,) = eliminate(encoder(), profile("layer.0", "layer.1")).applied
    assert str(told).startswith("2 Softmax -> fewer queries: 3 and then 2 of 6 tokens go on")


def test_nothing_is_left_out_where_nothing_is_asked():
    before = encoder()
    assert eliminate(before, passes.find_profile("friendly")).graph is before


def test_the_first_token_stays_however_few_there_are():
    done = eliminate(encoder(), profile("layer.0", every=100))
    assert done.tokens == (6, 1)
    same_value(done.graph, encoder((100, 1, 1)))


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (
            encoder(pooled="none"),
            r"p\.toml, line 3: output 'y' has a value of each token; .* once for a whole",
        ),
        (encoder(pooled="last"), "takes tokens by their places, and some were left out"),
    ],
    ids=["an output of each token", "the last of them"],
)
def test_where_every_token_is_wanted(made, wanted):
    with pytest.raises(ProfileError, match=wanted):
        eliminate(made, profile("layer.1"))


def test_layers_that_are_not_there():
    with pytest.raises(
        ProfileError, match=r"p\.toml, line 3: layers fits no Softmax; there are layer\.0\.so"
    ):
        eliminate(encoder(), profile("layer.7"))


X = inp(1, HEADS, 4, 4)
S = ops.Softmax(X, -1, name="layer.0.s")
FLAT = ops.Reshape(S, (1, HEADS * 16))


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (FLAT, "tokens become one axis with others"),
        (ops.CumSum(S, 2), "tokens cannot be left out before it"),
        (ops.Concat((S, S), 2), "puts tokens behind others"),
        (
            ops.LayerNorm(ops.Transpose(S, (0, 1, 3, 2)), *(ops.Const(np.ones(4, np.float32)),) * 2, 1e-5),
            "a norm over",
        ),
        (ops.Gather(S, ops.Const(np.array([1]), False), axis=2), "takes tokens by their places"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Op) else "",
)
def test_what_mixes_tokens_is_refused_by_its_name(made, wanted):
    with pytest.raises(ProfileError, match=wanted):
        eliminate(
            graph(ops.ReduceSum(made, axes=tuple(range(made.type.rank)), keepdims=False)), profile("layer.0")
        )


def test_a_softmax_of_which_no_axis_has_queries():
    with pytest.raises(ProfileError, match="has no queries on the axis before its last"):
        eliminate(graph(ops.Softmax(X, 1, name="layer.0.s")), profile("layer.0"))


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (ops.Gather(S, ops.Const(np.array([0, 2]), False), axis=2), lambda s: s),
        (ops.Slice(S, (0,), (4,), (2,), (1,)), lambda s: s),
        (
            ops.Concat((S, X), 3),
            lambda s: np.concatenate([s, evaluate(graph(X), {"x": VALUE})["y"][:, :, ::2]], 3),
        ),
        (ops.Where(ops.Const(np.eye(4, dtype=bool), False), S, X), None),
        (ops.MatMul(ops.Transpose(X, (0, 1, 3, 2)), S), None),
    ],
    ids=[
        "places that are left",
        "all of them",
        "another axis",
        "a table of tokens",
        "both sides of a product",
    ],
)
def test_other_operands_lose_the_same_tokens(made, wanted):
    total = ops.ReduceSum(made, axes=(2,), keepdims=False)
    after = eliminate(graph(total), profile("layer.0")).graph
    s = softmax(VALUE)[:, :, ::2]
    if wanted is not None:
        expected = wanted(s)
    elif isinstance(made, ops.Where):
        expected = np.where(np.eye(4, dtype=bool)[::2], s, VALUE[:, :, ::2])
    else:
        expected = VALUE.transpose(0, 1, 3, 2)[..., ::2] @ s
    np.testing.assert_allclose(evaluate(after, {"x": VALUE})["y"], expected.sum(axis=2), rtol=1e-5)


VALUE = np.random.default_rng(1).normal(size=(1, HEADS, 4, 4))


def softmax(x):
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)


def test_strides():
    assert [stride(48, m) for m in (48, 24, 12, 1)] == [1, 2, 4, 48]
    assert all(-(-n // stride(n, -(-n // s))) == -(-n // s) for n in range(1, 60) for s in range(1, 9))
    whole = ops.Relu(inp(1, 48, 8)).type
    assert thins(whole, ops.Relu(inp(1, 12, 8)).type)
    assert not thins(whole, ops.Relu(inp(48, 8)).type)
    assert not thins(whole, ops.Relu(inp(1, 49, 8)).type)
