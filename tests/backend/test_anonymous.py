"""A plan without the model's names does the same under numbers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import ppc
from models.tiny_bert import OUTPUTS, Shape, sample, tiny_bert
from ppc.backend.anonymous import MODEL
from ppc.backend.public import names
from ppc.runtime.plan.file import decode

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("anonymous") / "m.onnx"
    onnx.save(tiny_bert(Shape(layers=1, width=16)), path)
    return path


def test_no_name_of_the_model_is_in_it(file):
    named, nameless = (ppc.compile(file, seq_len=[4, 8], anonymous=given) for given in (False, True))
    ends = {each.name for each in (*named.plan.inputs, *named.plan.outputs)}
    for name in names(named.plan) - ends:
        assert name.encode() not in nameless.plan.body
    assert names(nameless.plan) > ends
    assert nameless.plan.model == MODEL
    assert decode(nameless.plan.body) == nameless.plan
    feeds = sample(8, used=6)
    outputs = [ppc.simulate(each.plan, each.weights, feeds) for each in (named, nameless)]
    assert all(np.array_equal(outputs[0][name], outputs[1][name]) for name in OUTPUTS)


def test_names_are_listed(file):
    plan = ppc.compile(file, seq_len=8).plan
    document = ppc.summary(plan)
    assert document["names"] == sorted(names(plan))
    assert any(f"names of {len(names(plan))} tensors" in row["value"] for row in document["who_sees_what"])


def test_the_files_name_is_not_in_it(file, tmp_path):
    other = tmp_path / "another name.onnx"
    other.write_bytes(file.read_bytes())
    assert ppc.compile(file, seq_len=8).plan.hash == ppc.compile(other, seq_len=8).plan.hash
