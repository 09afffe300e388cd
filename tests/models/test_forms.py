"""What exporters write for one thing, form by form: compiled, and the plan simulated against ONNX Runtime.

Batches of two; what is shared comes out of a product of the client's x with the server's w.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import DOMAIN, model, tensor
from whole import simulated_errors

import ppc

ALLOWED = 0.01
"""Of the output's standard deviation."""

BATCH, TOKENS, WIDTH = 2, 6, 8
LOW = float(np.finfo(np.float32).min)


@dataclass
class Net:
    """A model that grows node by node; every call names its result."""

    opset: int = 17
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def op(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        names = [each if isinstance(each, str) else self.const(each) for each in inputs]
        made = [f"{kind}{len(self.nodes)}{i or ''}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, name=made[0], **attributes))
        return made[0] if outputs == 1 else made

    def const(self, value: Any) -> str:
        array = np.asarray(value)
        name = f"c{len(self.weights)}"
        self.weights.append(tensor(name, array.astype(np.float32) if array.dtype == np.float64 else array))
        return name

    def linear(self, x: str = "x", width: int = WIDTH) -> str:
        return self.op("MatMul", x, self.rng.normal(size=(WIDTH, width)) / np.sqrt(WIDTH))

    def scores(self) -> str:
        """[batch, 1, tokens, tokens]"""
        q, k = (self.op("Unsqueeze", self.linear(), np.array([1])) for _ in range(2))
        return self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2]))

    def attended(self, probabilities: str) -> str:
        values = self.op("Unsqueeze", self.linear(), np.array([1]))
        return self.op("MatMul", probabilities, values)

    def kept(self) -> str:
        """mask as floats, [batch, 1, 1, tokens]"""
        return self.op("Unsqueeze", self.op("Cast", "mask", to=1), np.array([1, 2]))

    def kept_bits(self) -> str:
        return self.op("Unsqueeze", self.op("Cast", "mask", to=9), np.array([1, 2]))


Form = Callable[[Net], str]
FORMS: dict[str, Form | tuple[Form, int]] = {}


def form(build: Form) -> Form:
    """Called by what it is named after."""
    FORMS[build.__name__.replace("_", " ")] = build
    return build


# ---- masks


def _causal(value: float) -> np.ndarray:
    return np.where(np.tri(TOKENS, dtype=bool), 0.0, value)


@form
def mask_of_minus_a_lot_times_what_is_not_kept(n: Net) -> str:
    mask = n.op("Mul", n.op("Sub", 1.0, n.kept()), LOW)
    return n.attended(n.op("Softmax", n.op("Add", n.scores(), mask)))


@form
def mask_of_minus_infinity_added(n: Net) -> str:
    mask = n.op("Where", n.kept_bits(), 0.0, -np.inf)
    return n.attended(n.op("Softmax", n.op("Add", n.scores(), mask)))


@form
def mask_chosen_by_where(n: Net) -> str:
    return n.attended(n.op("Softmax", n.op("Where", n.kept_bits(), n.scores(), LOW)))


@form
def mask_chosen_where_it_is_not_kept(n: Net) -> str:
    return n.attended(n.op("Softmax", n.op("Where", n.op("Not", n.kept_bits()), -1e9, n.scores())))


@form
def mask_of_bits_joined_with_a_causal_one(n: Net) -> str:
    both = n.op("And", n.kept_bits(), np.tri(TOKENS, dtype=bool))
    return n.attended(n.op("Softmax", n.op("Where", both, n.scores(), -np.inf)))


@form
def mask_expanded_to_every_row_first(n: Net) -> str:
    wide = n.op("Expand", n.kept(), np.array([BATCH, 1, TOKENS, TOKENS]))
    left = n.op("Sub", 1.0, wide)
    mask = n.op("Where", n.op("Cast", left, to=9), LOW, left)
    return n.attended(n.op("Softmax", n.op("Add", n.scores(), mask)))


@form
def mask_swallowed_by_a_bias(n: Net) -> str:
    bias = n.const(n.rng.normal(size=(1, 1, TOKENS, TOKENS)))
    return n.attended(n.op("Softmax", n.op("Add", n.scores(), n.op("Where", n.kept_bits(), bias, LOW))))


@form
def masks_causal_and_of_padding_added_one_after_the_other(n: Net) -> str:
    causal = n.op("Add", n.scores(), _causal(-1e4))
    return n.attended(n.op("Softmax", n.op("Add", causal, n.op("Mul", n.op("Sub", 1.0, n.kept()), -1e4))))


@form
def mask_causal_made_by_trilu(n: Net) -> str:
    upper = n.op("Trilu", np.full((TOKENS, TOKENS), LOW), np.array(1), upper=1)
    return n.attended(n.op("Softmax", n.op("Add", n.scores(), upper)))


@form
def nan_guard_after_the_softmax(n: Net) -> str:
    p = n.op("Softmax", n.op("Add", n.scores(), n.op("Where", n.kept_bits(), 0.0, -np.inf)))
    return n.attended(n.op("Where", n.op("IsNaN", p), 0.0, p))


@form
def softmax_in_pieces(n: Net) -> str:
    x = n.scores()
    e = n.op("Exp", n.op("Sub", x, n.op("ReduceMax", x, axes=[-1], keepdims=1)))
    return n.attended(n.op("Div", e, n.op("ReduceSum", e, np.array([-1]), keepdims=1)))


@form
def softmax_in_pieces_over_another_axis(n: Net) -> str:
    e = n.op("Exp", n.op("Transpose", n.scores(), perm=[0, 1, 3, 2]))
    made = n.op("Div", e, n.op("ReduceSum", e, np.array([2]), keepdims=1))
    return n.attended(n.op("Transpose", made, perm=[0, 1, 3, 2]))


@form
def softmax_over_another_axis(n: Net) -> str:
    turned = n.op("Transpose", n.scores(), perm=[0, 1, 3, 2])
    return n.attended(n.op("Transpose", n.op("Softmax", turned, axis=2), perm=[0, 1, 3, 2]))


# ---- activations


@form
def gelu_by_erf(n: Net) -> str:
    x = n.linear()
    return n.op("Mul", n.op("Mul", x, n.op("Add", n.op("Erf", n.op("Div", x, 2**0.5)), 1.0)), 0.5)


@form
def gelu_by_tanh_of_a_power(n: Net) -> str:
    x = n.linear()
    cubic = n.op("Add", x, n.op("Mul", n.op("Pow", x, 3.0), 0.044715))
    t = n.op("Tanh", n.op("Mul", cubic, (2 / np.pi) ** 0.5))
    return n.op("Mul", n.op("Mul", x, 0.5), n.op("Add", t, 1.0))


@form
def gelu_quick(n: Net) -> str:
    x = n.linear()
    return n.op("Mul", x, n.op("Sigmoid", n.op("Mul", x, 1.702)))


@form
def silu_that_gates(n: Net) -> str:
    x = n.linear()
    return n.op("Mul", n.op("Mul", x, n.op("Sigmoid", x)), n.linear())


@form
def relu_tanh_and_sigmoid(n: Net) -> str:
    return n.op(
        "Add", n.op("Relu", n.linear()), n.op("Mul", n.op("Tanh", n.linear()), n.op("Sigmoid", n.linear()))
    )


# ---- norms


def _centred(n: Net, x: str) -> str:
    return n.op("Sub", x, n.op("ReduceMean", x, axes=[-1], keepdims=1))


@form
def layer_norm_in_pieces(n: Net) -> str:
    c = _centred(n, n.linear())
    deviation = n.op("Sqrt", n.op("Add", n.op("ReduceMean", n.op("Pow", c, 2.0), axes=[-1]), 1e-5))
    return n.op(
        "Add", n.op("Mul", n.op("Div", c, deviation), n.rng.normal(size=WIDTH)), n.rng.normal(size=WIDTH)
    )


@form
def layer_norm_by_reciprocal(n: Net) -> str:
    c = _centred(n, n.linear())
    deviation = n.op("Sqrt", n.op("Add", n.op("ReduceMean", n.op("Mul", c, c), axes=[-1]), 1e-5))
    return n.op("Mul", c, n.op("Reciprocal", deviation))


@form
def layer_norm_whole(n: Net) -> str:
    return n.op("LayerNormalization", n.linear(), n.rng.normal(size=WIDTH), n.rng.normal(size=WIDTH), axis=-1)


@form
def rms_norm_in_pieces(n: Net) -> str:
    x = n.linear()
    mean = n.op("Add", n.op("ReduceMean", n.op("Pow", x, 2.0), axes=[-1]), 1e-5)
    return n.op("Mul", n.op("Mul", x, n.op("Pow", mean, -0.5)), n.rng.normal(size=WIDTH))


@form
def pooled_mean_and_l2_normalised(n: Net) -> str:
    mask = n.op("Cast", n.op("Unsqueeze", "mask", np.array([-1])), to=1)
    wide = n.op("Expand", mask, np.array([BATCH, TOKENS, WIDTH]))
    total = n.op("ReduceSum", n.op("Mul", n.linear(), wide), np.array([1]), keepdims=0)
    count = n.op("Clip", n.op("ReduceSum", wide, np.array([1]), keepdims=0), 1e-9)
    mean = n.op("Div", total, count)
    norm = n.op("Clip", n.op("ReduceL2", mean, axes=[-1], keepdims=1), 1e-12)
    return n.op("Div", mean, n.op("Expand", norm, np.array([BATCH, WIDTH])))


# ---- products and layout


@form
def gemm_over_flattened_tokens(n: Net) -> str:
    flat = n.op("Reshape", "x", np.array([-1, WIDTH]))
    return n.op("Gemm", flat, n.rng.normal(size=(4, WIDTH)), n.rng.normal(size=4), transB=1)


@form
def einsum_by_heads(n: Net) -> str:
    q, k, v = (n.op("Reshape", n.linear(), np.array([BATCH, TOKENS, 2, 4])) for _ in range(3))
    p = n.op("Softmax", n.op("Einsum", q, k, equation="bihd,bjhd->bhij"))
    out = n.op("Einsum", p, v, equation="bhij,bjhd->bihd")
    return n.op("Einsum", out, n.rng.normal(size=(2, 4, WIDTH)), equation="bihd,hde->bie")


@form
def split_of_one_product(n: Net) -> str:
    a, b, c = n.op("Split", n.linear(width=3 * WIDTH), np.array([WIDTH] * 3), axis=-1, outputs=3)
    return n.op("Mul", n.op("Add", a, b), c)


@form
def keys_expanded_to_groups(n: Net) -> str:
    k = n.op("Unsqueeze", n.op("Reshape", n.linear(), np.array([BATCH, TOKENS, 2, 4])), np.array([3]))
    wide = n.op("Expand", k, np.array([BATCH, TOKENS, 2, 3, 4]))
    return n.op("Mul", n.op("Reshape", wide, np.array([BATCH, TOKENS, 24])), n.linear(width=24))


@form
def halves_turned(n: Net) -> str:
    """Rotary embedding as LLaMA exports it."""
    x, half = n.linear(), WIDTH // 2
    first = n.op("Slice", x, np.array([0]), np.array([half]), np.array([-1]))
    second = n.op("Slice", x, np.array([half]), np.array([2**63 - 1]), np.array([-1]))
    turned = n.op("Concat", n.op("Neg", second), first, axis=-1)
    angle = np.arange(TOKENS)[:, None] / 10.0 ** np.tile(np.arange(half), 2)
    return n.op("Add", n.op("Mul", x, np.cos(angle)), n.op("Mul", turned, np.sin(angle)))


@form
def scattered_and_gathered_at_constant_places(n: Net) -> str:
    at = np.array([[0, 1], [1, 4]])
    x = n.op("ScatterND", n.linear(), at, n.rng.normal(size=(2, WIDTH)))
    return n.op("GatherND", x, np.array([[[1, 4], [0, 0]], [[0, 1], [1, 2]]]))


@form
def trilu_of_a_product(n: Net) -> str:
    return n.op("Trilu", n.scores(), upper=0)


@form
def powers_and_roots(n: Net) -> str:
    x = n.linear()
    square = n.op("Add", n.op("Pow", x, np.float32(2)), 0.5)
    return n.op("Add", n.op("Sqrt", square), n.op("Mul", n.op("Reciprocal", square), n.op("Pow", x, 3.0)))


@form
def positions_counted_in_the_mask(n: Net) -> str:
    """RoBERTa's: cumsum(mask)·mask + 1 look up a table."""
    ones = n.op("Cast", "mask", to=6)
    counted = n.op("Mul", n.op("CumSum", ones, np.array(1)), ones)
    at = n.op("Add", n.op("Cast", counted, to=7), np.array(1))
    return n.op("Add", n.op("Gather", n.rng.normal(size=(TOKENS + 2, WIDTH)), at), n.linear())


@form
def the_last_token_that_is_kept(n: Net) -> str:
    last = n.op("Sub", n.op("ReduceSum", "mask", np.array([1]), keepdims=0), np.array(1))
    at = n.op(
        "Concat",
        n.op("Unsqueeze", np.arange(BATCH), np.array([-1])),
        n.op("Unsqueeze", last, np.array([-1])),
        axis=1,
    )
    return n.op("GatherND", n.linear(), at)


@form
def nothing_but_identity_dropout_and_casts(n: Net) -> str:
    x = n.op("Dropout", n.op("Identity", n.linear()), 0.1, np.asarray(False))
    return n.op("Identity", n.op("Cast", n.op("Cast", x, to=11), to=1))


# ---- single operators of later opsets


def gelu_whole(n: Net) -> str:
    return n.op("Gelu", n.linear())


def gelu_whole_by_tanh(n: Net) -> str:
    return n.op("Gelu", n.linear(), approximate="tanh")


def rms_norm_whole(n: Net) -> str:
    return n.op("RMSNormalization", n.linear(), n.rng.normal(size=WIDTH), axis=-1)


def attention_whole(n: Net) -> str:
    q, k, v = (n.linear() for _ in range(3))
    kept = n.op("Expand", n.kept_bits(), np.array([BATCH, 1, TOKENS, TOKENS]))
    return n.op("Attention", q, k, v, kept, q_num_heads=2, kv_num_heads=2, is_causal=1)


def reductions_with_axes_as_inputs(n: Net) -> str:
    x, axes = n.linear(), np.array([-1])
    return n.op("Mul", n.op("ReduceMean", x, axes), n.op("ReduceL2", n.op("Add", x, 1.0), axes))


FORMS |= {
    "gelu whole": (gelu_whole, 20),
    "gelu whole by tanh": (gelu_whole_by_tanh, 20),
    "rms norm whole": (rms_norm_whole, 23),
    "attention whole": (attention_whole, 23),
    "reductions with axes as inputs": (reductions_with_axes_as_inputs, 18),
}


def feeds(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    kept = np.arange(TOKENS) < np.array([[TOKENS], [2 + seed % 4]])
    return {"x": rng.normal(size=(BATCH, TOKENS, WIDTH)).astype(np.float32), "mask": kept.astype(np.int64)}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_computes_what_onnx_runtime_does(tmp_path: Path, name: str) -> None:
    given = FORMS[name]
    build, opset = given if isinstance(given, tuple) else (given, 17)
    net = Net(opset)
    y = build(net)
    read = {each for node in net.nodes for each in node.input}
    samples = [{k: v for k, v in feeds(seed).items() if k in read} for seed in range(40)]
    proto = model(net.nodes, samples[0], [y], net.weights, opset=opset)
    del proto.opset_import[1:]
    assert DOMAIN not in {each.domain for each in proto.opset_import}
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    made = ppc.compile(path, calibrate=samples[8:], max_error=ALLOWED)
    (error,) = simulated_errors(path, made, samples[:8]).values()
    assert error.worst < ALLOWED
