"""The recipe for classifiers: its vocabulary, and that what is trained is what is written."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from small import ROOT
from tokenizers import Tokenizer

pytest.importorskip("torch")
sys.path.append(str(ROOT / "models"))

from packaged import MINILM_L6, TOKENIZER, packaged
from tiny_bert import Shape

from ppc.passes.train.optimise import Options
from ppc.runtime.service.dataset import inputs_of, read
from ppc.runtime.service.tokens import Encoder

try:
    packaged(MINILM_L6)
except FileNotFoundError as missing:
    pytest.skip(str(missing), allow_module_level=True)

import classifier

GOOD = ("a fine film", "funny and warm", "it works very well", "lovely")
BAD = ("a dull film", "slow and cold", "it never works", "awful")
TOKENS = 12


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.tsv"
    texts = [(text, label) for label, some in enumerate((BAD, GOOD)) for text in some] * 8
    path.write_text("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in texts))
    return read(path)


def values(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    held = {each.output[0]: each.attribute[0].t for each in model.graph.node if each.op_type == "Constant"}
    held |= {each.name: each for each in model.graph.initializer}
    return {name: numpy_helper.to_array(each) for name, each in held.items()}


def test_a_vocabulary_spells_every_word(rows):
    made, pieces = classifier.vocabulary(rows.texts, 300)
    whole = Tokenizer.from_file(str(packaged(TOKENIZER)))
    whole.no_padding()
    assert made.get_vocab_size() == len(pieces) <= 300
    for text in rows.texts:
        assert made.encode(text).tokens == whole.encode(text).tokens
    unknown = made.encode("zyzzyva").tokens
    assert (unknown[0], unknown[-1]) == ("[CLS]", "[SEP]")
    assert "[UNK]" not in unknown
    assert len(unknown) > 4
    table = classifier.vectors(pieces, 8)
    assert table.shape == (len(pieces), 8)
    assert np.abs(table.mean(axis=0)).max() < 1e-6


def test_what_is_trained_is_written(rows, tmp_path):
    made, pieces = classifier.vocabulary(rows.texts, 300)
    made.save(str(tmp_path / "t.json"))
    shape = Shape(layers=1, width=16, heads=2, vocabulary=len(pieces), positions=TOKENS)
    words = classifier.vectors(pieces, 16)
    model = classifier.classifier(classifier.Fresh(shape, np.random.default_rng(0), words=words), "tiny", 2)
    before = values(model)
    done, rate = classifier.train(
        model, rows, rows, tmp_path / "t.json", tokens=TOKENS, epochs=8,
        options=Options(batch=8, rate=5e-3, tables=True), held=8,
    )  # fmt: skip
    assert rate.value == 1
    moved = {name for name, value in values(done).items() if not np.array_equal(value, before[name])}
    assert {"words", "head.weight", "layer.0/up.weight", "layer.0/norm1.gamma"} <= moved
    assert "layer.0/attention.root" in moved  # a number in a node
    onnx.save(done, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    encoder = Encoder(tmp_path / "t.json", inputs_of([each.name for each in session.get_inputs()], TOKENS))
    said = [int(session.run(None, each)[0].argmax()) for each in rows.feeds(encoder)]
    assert said == list(rows.labels)
