"""What exporters write for one thing, form by form: compiled, and the plan simulated against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nets import ALLOWED, BATCH, TOKENS, WIDTH, Net, worst_error

Form = Callable[[Net], str]
FORMS: dict[str, Form | tuple[Form, int]] = {}


def form(build: Form) -> Form:
    """Called by what it is named after."""
    FORMS[build.__name__.replace("_", " ")] = build
    return build


# ---- softmax


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
    a, b, c = n.several(3, "Split", n.linear(width=3 * WIDTH), np.array([WIDTH] * 3), axis=-1)
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


@pytest.mark.parametrize("name", FORMS)
def test_a_form_computes_what_onnx_runtime_does(tmp_path: Path, name: str) -> None:
    given = FORMS[name]
    build, opset = given if isinstance(given, tuple) else (given, 17)
    assert worst_error(tmp_path, build, opset) < ALLOWED
