"""The recipe for classifiers, run as its reader would: what is trained is what is written."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import onnxruntime
import pytest
from real import TOKENIZER, needed
from small import ROOT
from tokenizers import Tokenizer

from ppc.runtime.service.dataset import inputs_of, read
from ppc.runtime.service.tokens import Encoder

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed"),
]

GOOD = ("a fine film", "funny and warm", "it works very well", "lovely")
BAD = ("a dull film", "slow and cold", "it never works", "awful")
TOKENS = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    needed(TOKENIZER)
    place = tmp_path_factory.mktemp("classifier")
    texts = [(text, label) for label, some in enumerate((BAD, GOOD)) for text in some] * 12
    (place / "rows.tsv").write_text(
        "sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in texts)
    )
    rows = ("--data", place / "rows.tsv", "--valid", place / "rows.tsv")
    output = place / "tiny.onnx"
    sizes = ("--seq-len", TOKENS, "--epochs", 20, "--batch", 8)
    done = subprocess.run(
        [sys.executable, ROOT / "models" / "classifier.py", "--tiny", *rows, *map(str, sizes), "-o", output],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place, done.stdout


def test_what_is_written_gives_the_labels(made):
    place, said = made
    session = onnxruntime.InferenceSession(str(place / "tiny.onnx"), providers=["CPUExecutionProvider"])
    encoder = Encoder(place / "tiny.json", inputs_of([each.name for each in session.get_inputs()], TOKENS))
    rows = read(place / "rows.tsv")
    found = [int(session.run(["logits"], each)[0].argmax()) for each in rows.feeds(encoder)]
    right = sum(x == y for x, y in zip(found, rows.labels, strict=True)) / len(rows)
    assert right > 0.8
    assert f"tiny.onnx: {100 * right:.1f} % of 96 rows" in said


def test_the_vocabulary_spells_every_word(made):
    place, _ = made
    mine, whole = Tokenizer.from_file(str(place / "tiny.json")), Tokenizer.from_file(str(needed(TOKENIZER)))
    whole.no_padding()
    assert mine.get_vocab_size() < whole.get_vocab_size()
    for text in (*GOOD, *BAD):
        assert mine.encode(text).tokens == whole.encode(text).tokens
    unknown = mine.encode("zyzzyva").tokens
    assert (unknown[0], unknown[-1]) == ("[CLS]", "[SEP]")
    assert "[UNK]" not in unknown
    assert len(unknown) > 4
