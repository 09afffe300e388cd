"""A graph in PyTorch against the oracle, its slopes against differences, and what of it is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tunable import TOKENS, WIDTH, classifier, decoder, examples, friendly, secret  # noqa: E402

from ppc.frontend.ir import ops, text  # noqa: E402
from ppc.frontend.ir.constant import with_values  # noqa: E402
from ppc.frontend.ir.graph import FLOAT, INT, Graph, Input, walk  # noqa: E402
from ppc.frontend.ir.reference import evaluate, evaluate_all  # noqa: E402
from ppc.passes.train.examples import Examples  # noqa: E402
from ppc.passes.train.losses import counted  # noqa: E402
from ppc.passes.train.trainable import Trainable, trained_weights, usable  # noqa: E402

MODELS = {"encoder": classifier, "friendly": lambda: friendly(classifier()), "decoder": decoder}


@pytest.mark.parametrize("model", MODELS)
def test_every_value_is_the_oracles(model: str) -> None:
    graph = MODELS[model]()
    data = examples(graph, 5)
    shared = [op for op in walk(graph) if op.type.num == FLOAT]
    trainable = Trainable(graph, real=torch.float64)
    found = trainable(data.on(trainable.device).feeds, shared)
    for i in range(len(data)):
        wanted = evaluate_all(graph, {name: value[i] for name, value in data.feeds.items()})
        for op, values in zip(shared, found, strict=True):
            np.testing.assert_allclose(values[i].detach().numpy(), wanted[op], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_slopes_are_those_of_differences(model: str) -> None:
    graph = MODELS[model]()
    data = examples(graph, 3)
    trainable = Trainable(graph, real=torch.float64)
    feeds, (output,) = data.on(trainable.device).feeds, graph.outputs.values()

    def loss() -> torch.Tensor:
        return (trainable(feeds, [output])[0] ** 2).sum()

    loss().backward()
    rng = np.random.default_rng(0)
    for op, weight in trainable.weights.items():
        at = tuple(int(rng.integers(n)) for n in weight.shape)
        with torch.no_grad():
            step = 1e-6
            weight[at] += step
            above = float(loss())
            weight[at] -= 2 * step
            below = float(loss())
            weight[at] += step
        assert float(weight.grad[at]) == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-6), op


def test_what_is_trained() -> None:
    """Not tables, not what has a row for each token, not a causal mask."""
    trained = trained_weights(decoder())
    assert {"head"} == {op.name for op in trained} - {""}
    assert len(trained) == 3 + 3 + 2 + 1
    names = {op.name for op in trained_weights(classifier())}
    assert "words" not in names
    assert {"head.bias", "layer.0/attention/query.weight", "layer.0/norm2.gamma"} <= names


def test_tables_are_trained_where_they_are_asked_for() -> None:
    """Looked up by a gathering or by a product."""
    for graph, table in ((classifier(), "words"), (decoder(), "table")):
        moved = {op.name for op in trained_weights(graph, tables=True)}
        assert moved - {op.name for op in trained_weights(graph)} >= {table}
        assert not moved & {"rotary", "causal"}


def test_what_a_product_looks_up_is_a_table() -> None:
    ids = Input((1, TOKENS), INT, name="ids")
    table = secret(np.random.default_rng(0), 4, 3)
    assert trained_weights(Graph((ids,), {"y": ops.MatMul(ops.OneHot(ids, 4), table)})) == []
    assert trained_weights(Graph((ids,), {"y": ops.MatMul(ops.Cast(ops.OneHot(ids, 4), FLOAT), table)})) == [
        table
    ]


def test_public_numbers_are_not_trained() -> None:
    x = Input((1, 3), FLOAT, name="x")
    gamma = secret(np.random.default_rng(0), 3)
    endless = replace(gamma, value=np.array([0, -np.inf, 0], np.float32))
    known = replace(gamma, secret=False)
    graph = Graph((x,), {"y": ops.Mul(ops.Add(ops.Mul(x, gamma), endless), known)})
    assert trained_weights(graph) == [gamma]


def test_weights_come_back() -> None:
    graph = classifier()
    trainable = Trainable(graph)
    assert text.show(trainable.as_graph()) == text.show(graph)
    with torch.no_grad():
        for weight in trainable.weights.values():
            weight.mul_(1.5)
    feeds = {name: value[0] for name, value in examples(graph, 1).feeds.items()}
    values = {op: np.float32(1.5) * op.value for op in trained_weights(graph)}
    found, wanted = evaluate(trainable.as_graph(), feeds), evaluate(with_values(graph, values), feeds)
    np.testing.assert_array_equal(found["logits"], wanted["logits"])
    assert not np.allclose(found["logits"], evaluate(graph, feeds)["logits"])


def test_a_mask_beyond_single_precision() -> None:
    """It is multiplied by 0 where nothing is masked, and 0·∞ is no number."""
    x = Input((1, 3), FLOAT, name="x")
    low = ops.Const(np.full(3, -1e39), True)
    graph = Graph((x,), {"y": ops.Mul(x, low)})
    trainable = Trainable(graph)
    (found,) = trainable({"x": torch.zeros(2, 1, 3)}, list(graph.outputs.values()))
    assert torch.equal(found, torch.zeros(2, 1, 3))


SHORT = 3


def short(count: int = 12) -> Examples:
    """Texts of at most `SHORT` tokens."""
    data = examples(classifier(), 8 * count)
    few = data.mask.sum(axis=(1, 2)) <= SHORT
    data = data.at(np.flatnonzero(few)[:count])
    return replace(data, tokens=data.mask.sum(axis=(1, 2)))


def test_short_texts_are_computed_without_their_padding() -> None:
    """The same values at the tokens there are, and the same slopes of the same weights."""
    graph, data = classifier(), short()
    wanted = [op for op in walk(graph) if isinstance(op, ops.LayerNorm)] + list(graph.outputs.values())
    found = []
    for shorter in ({}, {SHORT: classifier(tokens=SHORT)}):
        model = Trainable(graph, real=torch.float64, shorter=shorter)
        cut = model.cut(data)
        batch = cut.on(model.device)
        values = [counted(x, batch.mask) for x in model(batch.feeds, wanted)]
        torch.stack([(x**2).sum() for x in values]).sum().backward()
        found.append((cut.feeds["input_ids"].shape[-1], values, [x.grad for x in model.weights.values()]))
    (whole, values, slopes), (less, others, others_slopes) = found
    assert (whole, less) == (TOKENS, SHORT)
    for a, b in zip(values + slopes, others + others_slopes, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_a_text_that_does_not_fit_is_not_cut() -> None:
    model = Trainable(classifier(), shorter={SHORT: classifier(tokens=SHORT)})
    data = short(3)
    longer = replace(data, tokens=np.array([2, SHORT + 1, 3]))
    assert model.cut(longer) is longer
    unknown = replace(data, tokens=None)
    assert model.cut(unknown) is unknown


def test_labels_of_tokens_are_cut_with_them() -> None:
    model, data = Trainable(classifier(), shorter={SHORT: classifier(tokens=SHORT)}), short(3)
    labels = np.arange(3 * TOKENS).reshape(3, TOKENS)
    assert np.array_equal(model.cut(replace(data, labels=labels)).labels, labels[:, :SHORT])


def mixing(tokens: int) -> Graph:
    """The mean over all places, padding among them."""
    whole = classifier(tokens=tokens)
    (norm, *_) = (op for op in walk(whole) if isinstance(op, ops.LayerNorm))
    head = secret(np.random.default_rng(0), WIDTH, 2)
    mean = ops.ReduceMean(norm, axes=(1,), keepdims=False)
    return Graph(whole.inputs, {"logits": ops.MatMul(mean, head)})


def test_where_padding_counts_no_text_is_cut() -> None:
    data = short()
    assert usable(classifier(), {SHORT: classifier(tokens=SHORT)}, data, "cpu") == [SHORT]
    assert usable(mixing(TOKENS), {SHORT: mixing(SHORT)}, data, "cpu") == []
    assert usable(classifier(), {SHORT: mixing(SHORT)}, data, "cpu") == []
    assert usable(classifier(), {SHORT: classifier(tokens=SHORT)}, replace(data, tokens=None), "cpu") == []


def test_another_model_is_no_lesser_length() -> None:
    with pytest.raises(ValueError, match="other operators at a lesser length"):
        Trainable(classifier(), shorter={SHORT: friendly(classifier(tokens=SHORT))})
