"""A model of texts with classes, embeddings and next tokens, and the tokenizer of its few words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

TOKENS, WORDS, WIDTH = 6, 9, 8
INPUTS = ("input_ids:0", "attention_mask:0", "token_type_ids:0", "position_ids")
LABELS = ("bad", "good")
LOUD = f"w{WORDS - 1}"
"""A word whose row is larger than what was calibrated without it holds, by so much as a guard notices."""


def text_model(path: Path, *outputs: str) -> None:
    """Words, types and places through a norm and a Tanh; ``mean`` (1, width) of those that are not masked,
    ``logits`` (1, 2) of that, and ``next`` (1, tokens, words). Inputs are named as of a TensorFlow model."""
    rng = np.random.default_rng(2)
    tables = {
        "words": rng.normal(size=(WORDS, WIDTH)),
        "types": rng.normal(size=(2, WIDTH)),
        "places": rng.normal(size=(TOKENS, WIDTH)),
        "gamma": np.ones(WIDTH),
        "U": rng.normal(size=(WIDTH, WIDTH)) / 3,
        "W": rng.normal(size=(WIDTH, 2)),
        "V": rng.normal(size=(WIDTH, WORDS)),
    }
    tables["words"][-1] *= 2.5
    nodes = [
        helper.make_node("Gather", ["words", "input_ids:0"], ["w"]),
        helper.make_node("Gather", ["types", "token_type_ids:0"], ["t"]),
        helper.make_node("Gather", ["places", "position_ids"], ["p"]),
        helper.make_node("Add", ["w", "t"], ["wt"]),
        helper.make_node("Add", ["wt", "p"], ["x"]),
        helper.make_node("LayerNormalization", ["x", "gamma"], ["n"]),
        helper.make_node("MatMul", ["n", "U"], ["u"]),
        helper.make_node("Tanh", ["u"], ["h"]),
        helper.make_node("Cast", ["attention_mask:0"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "last"], ["mu"]),
        helper.make_node("Mul", ["h", "mu"], ["hm"]),
        helper.make_node("ReduceSum", ["hm", "middle"], ["s"], keepdims=0),
        helper.make_node("ReduceSum", ["m", "middle"], ["count"], keepdims=1),
        helper.make_node("Div", ["s", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "W"], ["logits"]),
        helper.make_node("MatMul", ["h", "V"], ["next"]),
    ]
    axes = ["batch", "sequence"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(each, TensorProto.INT64, axes) for each in INPUTS],
        [onnx.ValueInfoProto(name=name) for name in outputs or ("logits",)],
        [
            *(numpy_helper.from_array(table.astype(np.float32), name) for name, table in tables.items()),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array([1]), "middle"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def word_tokenizer(path: Path, words: int = WORDS) -> None:
    """w1, w2, … are 1, 2, …; a word that it does not know is a fault."""
    made = Tokenizer(models.WordLevel({"[PAD]": 0, **{f"w{i}": i for i in range(1, words)}}))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    made.save(str(path))
