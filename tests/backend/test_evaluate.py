"""A plan over a data set: rates counted by hand, errors by their causes, and rows that leave."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import pytest
from text_model import LOUD, TOKENS, text_model, word_tokenizer

import ppc
from ppc.backend import two_parties
from ppc.backend.compile import Compiled
from ppc.backend.evaluation import ALL, APPROXIMATION, FIXED_POINT, PROTOCOL
from ppc.backend.scores import Rate
from ppc.backend.task import FLOAT, PRIVATE, SIMULATED
from ppc.frontend.errors import UnknownOutput, UsageError
from ppc.frontend.read import run
from ppc.runtime.base.errors import BadInput, RangeFault
from ppc.runtime.service.dataset import DataSet

pytestmark = pytest.mark.long

OUTPUTS = ("logits", "mean", "next")
QUIET = [f"w{a} w{b} w{c}" for a, b, c in np.random.default_rng(1).integers(1, 8, (24, 3))]


@dataclass(frozen=True)
class Place:
    folder: Path
    plans: dict[str, Compiled]

    @property
    def model(self) -> Path:
        return self.folder / "m.onnx"

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"

    def evaluate(self, data: DataSet, which: str = "logits", **asked):
        made = self.plans[which]
        return ppc.evaluate(made.plan, made.weights, data, self.tokenizer, **asked)

    def floats(self, plan, text: str, output: str, pair: str | None = None) -> np.ndarray:
        return run.run(self.model, ppc.tokenize(plan, text, self.tokenizer, pair), [output])[output]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    made = tmp_path_factory.mktemp("evaluate")
    text_model(made / "m.onnx", *OUTPUTS)
    word_tokenizer(made / "tokenizer.json")
    plans = {name: ppc.compile(made / "m.onnx", seq_len=TOKENS, outputs=[name]) for name in OUTPUTS}
    plans["label"] = ppc.compile(made / "m.onnx", seq_len=[3, TOKENS], outputs=["logits"], reveal="argmax")
    quiet = [ppc.tokenize(plans["logits"].plan, text, made / "tokenizer.json") for text in QUIET]
    for name, guard in (("tight", "one"), ("unguarded", "off")):
        plans[name] = ppc.compile(
            made / "m.onnx", seq_len=TOKENS, outputs=["logits"], calibrate=quiet, margin=1.0, guard=guard
        )
    return Place(made, plans)


def labelled(texts: list[str], labels: list[int], pairs: list[str] | None = None) -> DataSet:
    lines = tuple(range(2, len(texts) + 2))
    return DataSet(
        Path("dev.tsv"), lines, tuple(texts), tuple(pairs) if pairs else None, tuple(labels), ("0", "1")
    )


def plain(texts: list[str], pairs: list[str] | None = None) -> DataSet:
    return DataSet(
        Path("texts"), tuple(range(1, len(texts) + 1)), tuple(texts), tuple(pairs) if pairs else None
    )


@pytest.mark.parametrize("which", ["logits", "label"])
def test_classes(place, which):
    plan = place.plans["logits"].plan
    classes = [int(place.floats(plan, text, "logits").argmax()) for text in QUIET]
    labels = [classes[0], *(1 - c for c in classes[1:5]), *classes[5:]]  # of which float misses four
    found = place.evaluate(labelled(QUIET, labels), which, model=place.model, private=3)
    assert found.task.kind == "classes"
    assert found.accuracy == {
        FLOAT: Rate(len(QUIET) - 4, len(QUIET)),
        SIMULATED: Rate(len(QUIET) - 4, len(QUIET)),
        PRIVATE: Rate(3, 3),
    }
    assert found.agreement == {
        f"{SIMULATED} as {FLOAT}": Rate(len(QUIET), len(QUIET)),
        f"{PRIVATE} as {SIMULATED}": Rate(3, 3),
    }
    assert found.private is not None
    assert found.private.lines == (2, 2 + round(23 / 2), 25)
    assert found.private.refused == 0
    assert found.private.cost["as_predicted"]
    assert found.private.cost["setup"] > 0 < found.private.cost["online"]
    assert not found.left
    found.refuse()
    assert bool(found.errors) == (which == "logits")
    assert found.headroom[0].headroom <= found.headroom[-1].headroom
    json.dumps(found.document(), allow_nan=False)


def test_classes_of_tokens(place):
    """Texts of one, two and three words; a sixth of the labels is wrong."""
    plan, texts = (
        place.plans["next"].plan,
        [" ".join(text.split()[: 1 + i % 3]) for i, text in enumerate(QUIET)],
    )
    told = [place.floats(plan, text, "next")[0, : 1 + i % 3].argmax(axis=1) for i, text in enumerate(texts)]
    words = tuple(
        tuple(int(each) for each in (row if i % 6 else (row + 1) % 9)) for i, row in enumerate(told)
    )
    data = DataSet(Path("d"), tuple(range(24)), tuple(texts), names=tuple("abcdefghi"), words=words)
    found = place.evaluate(data, "next", model=place.model, private=2)
    assert found.task.kind == "token classes"
    assert found.accuracy == {FLOAT: Rate(44, 48), SIMULATED: Rate(44, 48), PRIVATE: Rate(3, 4)}
    assert found.agreement == {
        f"{SIMULATED} as {FLOAT}": Rate(48, 48),
        f"{PRIVATE} as {SIMULATED}": Rate(4, 4),
    }
    assert 0 < found.errors[PROTOCOL].worst < 0.1


def test_errors_have_their_causes(place):
    """Two causes and what they add up to, against floats and integers that are worked out here."""
    made = place.plans["logits"]
    found = place.evaluate(halves(), model=place.model, private=12).errors
    assert set(found) == {APPROXIMATION, FIXED_POINT, ALL, PROTOCOL}
    wanted = np.stack([place.floats(made.plan, text, "logits") for text in QUIET]).astype(np.float64)
    feeds = ppc.tokenize_all(made.plan, QUIET, place.tokenizer)
    got = np.stack([each["logits"] for each in ppc.simulate_many(made.plan, made.weights, feeds)])
    assert found[ALL].worst == pytest.approx(np.abs(got - wanted).max() / wanted.std())
    assert found[ALL].rms == pytest.approx(np.sqrt(np.mean((got - wanted) ** 2)) / wanted.std())
    real = ppc.Simulator(made.plan, made.weights).run(feeds, rounding=False)
    between = np.stack([each.outputs["logits"] for each in real])
    assert found[FIXED_POINT].worst == pytest.approx(np.abs(got - between).max() / wanted.std())
    assert found[APPROXIMATION].worst == pytest.approx(np.abs(between - wanted).max() / wanted.std())
    assert 0 < found[PROTOCOL].worst < 0.1


def halves() -> DataSet:
    """Labels that mean nothing."""
    return labelled(QUIET, [i % 2 for i in range(len(QUIET))])


def test_without_the_model_there_is_no_float(place):
    found = place.evaluate(halves())
    assert set(found.accuracy) == {SIMULATED}
    assert found.agreement == {}
    assert found.errors == {}


def test_pairs_of_embeddings_by_float_s_own_threshold(place):
    plan, pairs = place.plans["mean"].plan, [*QUIET[1:], QUIET[0]]
    firsts, seconds = (
        np.concatenate([place.floats(plan, each, "mean") for each in some]) for some in (QUIET, pairs)
    )
    cosine = (firsts * seconds).sum(axis=1)
    cosine /= np.linalg.norm(firsts, axis=1) * np.linalg.norm(seconds, axis=1)
    middle = float(np.median(cosine))
    labels = (cosine > middle).astype(int).tolist()
    found = place.evaluate(labelled(QUIET, labels, pairs), "mean", model=place.model, private=1)
    assert found.task.kind == "embeddings"
    assert found.accuracy[FLOAT] == found.accuracy[SIMULATED] == Rate(24, 24)
    assert found.agreement[f"{PRIVATE} as {SIMULATED}"] == Rate(1, 1)
    assert found.private is not None
    assert (found.private.inferences, found.private.lines) == (2, (2,))
    like = found.similarity
    assert like is not None
    assert like.judge == FLOAT
    assert like.threshold == pytest.approx(
        (cosine[cosine > middle].min() + cosine[cosine <= middle].max()) / 2
    )
    assert like.cosine is not None
    assert 0.999 < like.cosine[1] <= like.cosine[0] <= 1
    assert like.correlation is not None
    assert like.correlation > 0.99
    alone = place.evaluate(labelled(QUIET, labels, pairs), "mean")
    assert alone.similarity is not None
    assert alone.similarity.judge == SIMULATED
    assert alone.similarity.cosine is None


def test_what_nothing_is_held_against_is_warned_of(place, caplog):
    with caplog.at_level(logging.WARNING, "ppc"):
        place.evaluate(plain(QUIET[:1]), "mean", model=place.model)
        place.evaluate(halves())
        assert not caplog.messages
        place.evaluate(plain(QUIET[:1]), "mean")
    assert "without --model there is nothing to hold answers against" in caplog.text


def test_embeddings_need_no_labels(place):
    found = place.evaluate(plain(QUIET), "mean", model=place.model)
    assert found.accuracy == {} == found.agreement
    assert found.similarity is not None
    assert found.similarity.cosine is not None
    assert found.similarity.correlation is found.similarity.threshold is None
    assert found.prompts == len(QUIET)


def test_the_next_token_is_the_one_behind_the_last(place):
    made, texts = place.plans["next"], [text.rsplit(" ", i % 3)[0] for i, text in enumerate(QUIET)]
    found = place.evaluate(plain(texts), "next", model=place.model, private=2)
    assert found.task.kind == "next token"
    feeds = ppc.tokenize_all(made.plan, texts, place.tokenizer)
    same = 0
    for text, each, simulated in zip(
        texts, feeds, ppc.simulate_many(made.plan, made.weights, feeds), strict=True
    ):
        at = len(text.split()) - 1
        wanted = run.run(place.model, each, ["next"])["next"][0, at].argmax()
        same += int(simulated["next"][0, at].argmax() == wanted)
    assert found.agreement[f"{SIMULATED} as {FLOAT}"] == Rate(same, len(texts))
    assert found.agreement[f"{PRIVATE} as {SIMULATED}"] == Rate(2, 2)


def test_rows_that_leave_are_no_answers(place):
    """In the simulator, and by the guard's word at two parties."""
    texts = [*QUIET[:5], f"{LOUD} w1", *QUIET[5:9], LOUD]
    found = place.evaluate(labelled(texts, [0, 1] * 5 + [0]), "tight", model=place.model, private=3)
    assert list(found.left) == [5, 10]
    assert found.accuracy[SIMULATED].of == found.accuracy[FLOAT].of == 9
    assert found.private is not None
    assert found.private.lines == (2, 7, 12)
    assert (found.private.refused, found.private.unnoticed) == (2, 0)
    assert found.accuracy[PRIVATE].of == 1
    with pytest.raises(RangeFault, match=r"2 of 11 rows leave a ring, on lines 7, 12; the first: "):
        found.refuse()
    assert [each["line"] for each in found.document()["left"]] == [7, 12]


def test_what_the_guard_lets_pass_is_told(place):
    found = place.evaluate(labelled([LOUD, "w1"], [0, 1]), "unguarded", private=2)
    assert list(found.left) == [0]
    assert found.private is not None
    assert (found.private.refused, found.private.unnoticed) == (0, 1)
    assert found.accuracy[PRIVATE].of == 1


def test_bytes_that_were_not_predicted_are_told(place):
    predicted = two_parties._as_predicted
    with mock.patch.object(two_parties, "_as_predicted", lambda report: not predicted(report)):
        found = place.evaluate(halves(), private=1)
    assert found.private is not None
    assert not found.private.cost["as_predicted"]


@pytest.mark.parametrize(
    ("which", "data", "asked", "message"),
    [
        ("logits", plain(QUIET), {"output": "mean"}, "no output 'mean'; it has logits"),
        (
            "next",
            labelled(QUIET[:2], [0, 1]),
            {},
            "a row for each token, and a text has one label",
        ),
        ("mean", labelled(QUIET[:2], [0, 1]), {}, "has labels of 2 classes; --labels FILE"),
        ("logits", labelled(QUIET[:2], [1, 1]), {}, "each of 2 rows has the label '1'"),
        ("logits", labelled(QUIET[:2], [1, 0]), {"private": 3}, "to run 3 rows, and there are 2"),
        ("logits", labelled(["w1", "w1 " * 7], [0, 1]), {}, "1 of 2 prompts have more than 6 tokens"),
    ],
)
def test_what_does_not_fit(place, which, data, asked, message):
    with pytest.raises(BadInput, match=message):
        place.evaluate(data, which, **asked)


def test_another_model_is_refused(place, tmp_path):
    """One without the output, and one whose output is of other numbers."""
    text_model(tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    proto.graph.node[-2].output[:] = ["other"]
    proto.graph.output[0].name = "other"
    onnx.save(proto, tmp_path / "renamed.onnx")
    with pytest.raises(UnknownOutput, match="logits"):
        place.evaluate(halves(), model=tmp_path / "renamed.onnx")
    proto.graph.node[-2].output[:], proto.graph.output[0].name = ["logits"], "logits"
    proto.graph.node[-2].input[:] = ["mean", "U"]
    onnx.save(proto, tmp_path / "wider.onnx")
    with pytest.raises(UsageError, match="rows of 8 numbers, and the plan's of 2"):
        place.evaluate(halves(), model=tmp_path / "wider.onnx")


def test_texts_that_are_too_long_are_cut_where_that_is_asked_for(place):
    data = labelled(["w1 " * 9, "w2"], [0, 1])
    found = place.evaluate(data, truncate=True)
    assert found.accuracy[SIMULATED].of == 2
    assert found.document()["cut"] == 1
