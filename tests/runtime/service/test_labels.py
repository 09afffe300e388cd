"""Logits by their labels: what files say them, which outputs they belong to, what probability each has."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from tiny import tiny_plan

from ppc.runtime.base.errors import BadInput
from ppc.runtime.plan.file import OutputSpec
from ppc.runtime.service.labels import Labels

CONFIG = {"id2label": {"0": "no", "1": "yes"}, "hidden_size": 4}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", json.dumps(CONFIG)),
        ("list.json", '["no", "yes"]'),
        ("numbered.json", '{"1": "yes", "0": "no"}'),
        ("labels.txt", "no\n\n yes \n"),
        ("labels", "no\r\nyes"),
    ],
)
def test_files_that_hold_labels(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert Labels.read(tmp_path / name) == Labels(("no", "yes"))


def test_a_config_says_whether_each_label_is_for_itself(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(CONFIG | {"problem_type": "multi_label_classification"}))
    assert Labels.read(tmp_path / "c.json").each


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("none.json", None),
        ("empty.json", b""),
        ("empty.txt", b""),
        ("cut.json", b'{"id2label": {"0": "n'),
        ("other.json", b'{"hidden_size": 4}'),
        ("number.json", b"7"),
        ("numbers.json", b"[1, 2]"),
        ("gap.json", b'{"id2label": {"0": "no", "2": "yes"}}'),
        ("listed.json", b'{"id2label": ["no"]}'),
        ("binary", b"\xff\xfe\x00\x81"),
    ],
)
def test_files_that_hold_none_are_named(tmp_path, name, data):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=name):
        Labels.read(tmp_path / name)


@pytest.mark.parametrize("logits", [[1.5, -0.5], [0.0, 0.0], [-3.0, 800.0]])
def test_probabilities_of_which_one_is_true_are_a_softmax(logits):
    (row,) = Labels(("no", "yes")).of({"logits": np.array([logits])})["logits"]
    chances = {each["label"]: each["probability"] for each in row["labels"]}
    assert row["at"] == (0,)
    assert sum(chances.values()) == pytest.approx(1)
    assert chances["yes"] == pytest.approx(1 / (1 + np.exp(min(logits[0] - logits[1], 700))))
    assert row["labels"][0]["probability"] >= row["labels"][1]["probability"]


def test_probabilities_of_labels_for_themselves_and_of_one_alone_are_sigmoids():
    (row,) = Labels(("a", "b"), each=True).of({"logits": np.array([0.0, 900.0])})["logits"]
    assert [(each["label"], each["probability"]) for each in row["labels"]] == [("b", 1.0), ("a", 0.5)]
    (row,) = Labels(("a",)).of({"logits": np.array([-900.0])})["logits"]
    assert row["labels"] == [{"label": "a", "probability": 0.0}]


def test_each_row_of_what_has_a_number_a_label_and_nothing_else():
    outputs = {"tokens": np.zeros((1, 3, 2)), "pooled": np.zeros((1, 4)), "one": np.zeros(())}
    assert {name: [row["at"] for row in rows] for name, rows in Labels(("a", "b")).of(outputs).items()} == {
        "tokens": [(0, 0), (0, 1), (0, 2)]
    }


def test_labels_that_no_output_has_are_refused_beforehand():
    plan = msgspec.structs.replace(tiny_plan(), outputs=(OutputSpec("logits", 0, (1, 3)),))
    Labels(("a", "b", "c")).fitted(plan)
    with pytest.raises(BadInput, match=r"2 labels, .* logits \(1, 3\)"):
        Labels(("a", "b")).fitted(plan)


def test_a_place_alone_is_a_label_without_a_probability():
    named = Labels(tuple("abcdefghij")).fitted(tiny_plan())
    assert named.of({"label": np.array([9])}) == {"label": [{"at": (0,), "labels": [{"label": "j"}]}]}
    assert named.of({"y": np.arange(10.0)[None], "label": np.array([9])}).keys() == {"y", "label"}
    untrusted = {"label": np.full(1, np.nan)}
    assert named.of(untrusted) == {}


def test_places_of_another_number_of_labels_are_none_of_these():
    only = msgspec.structs.replace(tiny_plan(), outputs=tiny_plan().outputs[1:])
    with pytest.raises(BadInput, match=r"2 labels, .* label of 10 labels"):
        Labels(("a", "b")).fitted(only)
