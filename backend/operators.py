"""How each ONNX operator runs: the table behind docs/operators.md and what `ppc check` says of a value."""

from __future__ import annotations

from collections.abc import Sequence

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op, Owner
from ppc.frontend.ops.table import REMEDIES, TABLE
from ppc.frontend.read.reader import OPSETS
from ppc.passes.owners import Owners

FREE = "on each share alone"
FREELY = "each share alone"
ALONE = "only where one party knows its operands"
PRODUCT = "a product under HE"

ON_SHARES: dict[str, str] = {
    **dict.fromkeys(("Add", "Sub", "Neg", "Sum", "ReduceSum", "Identity", "Dropout", "CastLike"), FREE),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile"), FREE),
    **dict.fromkeys(("Slice", "Split", "Concat", "Pad"), FREE),
    "Cast": f"{FREE}, between floats",
    "Mul": "a product by OT, or under HE where numbers meet rows; on each share alone with a public number",
    "Div": "reciprocal and product; on each share alone by a public number",
    "Mean": f"{FREE}, and a truncation",
    "Pow": "squares and products for whole exponents to 4; √x, 1/x and 1/√x",
    "Abs": "a comparison",
    "Max": "a ReLU",
    "Min": "a ReLU",
    "Clip": "a ReLU, two with both ends",
    "Sqrt": "a spline on the calibrated range",
    "Exp": "a spline up to ½, as in a softmax",
    "Erf": "a spline",
    "Tanh": "a spline",
    "Sigmoid": "a spline",
    "Reciprocal": "a spline on the calibrated range",
    "Relu": "a comparison and a choice",
    "LeakyRelu": "two ReLUs",
    "PRelu": "two ReLUs and a product",
    "HardSigmoid": "a clip",
    "HardSwish": "a clip and a product",
    "Swish": "a spline",
    "Gelu": "a spline",
    "Softmax": "maximum, a spline for exp, reciprocal and product",
    "LayerNormalization": "squares, a spline for 1/√x, products",
    "RMSNormalization": "squares, a spline for 1/√x, products",
    "LpNormalization": "squares or absolute values, splines, products",
    "BatchNormalization": "a product with each channel's factor",
    "Where": "a product with the condition, which one party must know; nothing where it masks",
    "MatMul": PRODUCT,
    "Gemm": PRODUCT,
    "Einsum": "a product under HE, or by OT where no label is summed",
    "Conv": "a product of patches under HE",
    "Attention": "as MatMul and Softmax",
    "RotaryEmbedding": "products by OT",
    "ReduceMean": f"{FREE}, and a truncation",
    "ReduceMax": "a tournament of comparisons",
    "ReduceMin": "a tournament of comparisons",
    "ReduceL1": "comparisons",
    "ReduceL2": "squares and a spline",
    "ReduceSumSquare": "squares",
    "GlobalAveragePool": f"{FREE}, and a truncation",
    "CumSum": "a product under HE with a triangle of ones",
    "com.microsoft.GatherBlockQuantized": "as Gather in the table's floats",
    "Gather": "on each share alone at known places; a product under HE with one-hot rows at the client's",
    "GatherND": "as Gather",
    "GatherElements": "as Gather",
    "ScatterND": f"{FREE}, at known places",
    "ScatterElements": f"{FREE}, at known places",
    "Trilu": "a product with a mask; nothing where that is a softmax's",
    "com.microsoft.Gelu": "a spline",
    "com.microsoft.BiasGelu": "a spline",
    "com.microsoft.FastGelu": "a spline",
    "com.microsoft.QuickGelu": "a spline",
    "com.microsoft.FusedMatMul": PRODUCT,
    "com.microsoft.FusedGemm": "a product under HE, and the function",
    "com.microsoft.FusedConv": "a product of patches under HE, and the function",
    **dict.fromkeys(
        (
            "SimplifiedLayerNormalization",
            "com.microsoft.SkipLayerNormalization",
            "com.microsoft.SkipSimplifiedLayerNormalization",
        ),
        "squares, a spline for 1/√x, products",
    ),
    "com.microsoft.EmbedLayerNormalization": "as Gather and LayerNormalization",
    "com.microsoft.Attention": "as MatMul and Softmax",
    "com.microsoft.MultiHeadAttention": "as MatMul and Softmax",
    "com.microsoft.GroupQueryAttention": "as MatMul, RotaryEmbedding and Softmax",
    "com.microsoft.RotaryEmbedding": "products by OT",
    "com.microsoft.MatMulNBits": f"{PRODUCT}, with the weight's floats",
    "com.microsoft.MatMulBnb4": f"{PRODUCT}, with the weight's floats",
    "DynamicQuantizeLinear": f"{FREE}: activations stay as they are",
    "MatMulInteger": f"{PRODUCT}, of the floats",
    "ConvInteger": "a product of patches under HE, of the floats",
    "QLinearMatMul": f"{PRODUCT}, of the floats",
    "com.microsoft.DynamicQuantizeMatMul": f"{PRODUCT}, of the floats",
    "com.microsoft.MatMulIntegerToFloat": f"{PRODUCT}, of the floats",
    "com.microsoft.QAttention": "as MatMul and Softmax, of the floats",
    **dict.fromkeys(
        ("QuantizeLinear", "com.microsoft.QuantizeLinear"),
        "a clip; a product by the scale where no DequantizeLinear follows",
    ),
    **dict.fromkeys(
        ("DequantizeLinear", "com.microsoft.DequantizeLinear"),
        "a product by the scale; nothing behind a QuantizeLinear",
    ),
}
"""Operators that two parties compute on what neither knows; the rest of the loader's table is ``ALONE``."""

PROTOCOLS: dict[type[Op], str] = {
    ops.Mul: "product by OT or HE",
    ops.Square: "square by OT, their sum under HE",
    ops.Div: "reciprocal (spline), product by OT",
    ops.Pow: "squares and products by OT",
    ops.Abs: "comparison",
    ops.Max: "ReLU",
    ops.Min: "ReLU",
    ops.Clip: "comparisons and choices",
    ops.Relu: "comparison and choice",
    ops.Gelu: "spline",
    ops.Silu: "spline",
    ops.Sigmoid: "spline",
    ops.Tanh: "spline",
    ops.Erf: "spline",
    ops.Exp: "spline",
    ops.Sqrt: "spline",
    ops.Reciprocal: "spline",
    ops.Softmax: "maximum, exp and 1/x (splines), product by OT or HE",
    ops.LayerNorm: "squares, 1/√x (spline), products by OT or HE",
    ops.RMSNorm: "squares, 1/√x (spline), products by OT or HE",
    ops.ReduceMean: "each share alone, truncation",
    ops.ReduceMax: "comparisons",
    ops.CumSum: "product under HE, a triangle of ones",
    ops.Where: "product with the condition",
}
"""Of a value that neither party knows; what is not here each party computes on its share alone."""


LAYOUT = (ops.Reshape, ops.Transpose, ops.Slice, ops.Concat, ops.Broadcast, ops.Cast)


def protocol(op: Op) -> str:
    """How a shared ``op`` runs, in a few words."""
    match op:
        case ops.MatMul():
            owners = Owners()
            weight = any(owners[each] in (Owner.SERVER, Owner.PUBLIC) for each in op.operands)
            return "product under HE, a weight" if weight else "product under HE, both shared"
        case ops.Mul(b=b) | ops.Mul(a=b) if ops.scalar(b) is not None and not b.attributes.get("secret"):
            return FREELY
        case ops.Gather(indices=indices) if not isinstance(indices, ops.Const):
            return "product under HE, one-hot rows"
    return PROTOCOLS.get(type(op), FREELY)


def protocols(inner: Sequence[Op]) -> str:
    """The same for the ops that one operator was written out in: what costs something."""
    told = dict.fromkeys(protocol(op) for op in inner)
    costly = [each for each in told if each != FREELY]
    return ", ".join(costly) or FREELY


def markdown() -> str:
    """docs/operators.md."""
    lines = [
        "# Operators",
        "",
        f"Made by `backend/operators.py`, for ONNX opsets {OPSETS[0]} to {OPSETS[-1]}; regenerate with",
        "`PPC_UPDATE=1 pytest tests/backend/test_operators.py`. `ppc check MODEL` tells how each node of a",
        "model runs.",
        "",
        "What depends on weights and shapes alone is computed when compiling, with any operator that ONNX",
        "Runtime has. What the client alone knows (mask, positions, pixels before the first weight) it",
        "computes in the clear, with all of these; and with any other operator of plain attributes that ONNX",
        "Runtime runs, by ONNX Runtime, which that client then needs. What neither knows runs on shares:",
        "",
        "| operator | on shares |",
        "| --- | --- |",
        *(f"| {name} | {ON_SHARES.get(name, '– ' + ALONE)} |" for name in sorted(TABLE, key=_by_name)),
        "",
        "`If` is compiled where its condition is known when compiling; other control flow is not.",
        "",
        "Not compiled, and what to do:",
        "",
        *(
            f"- {name}: {remedy}"
            for name, remedy in sorted(REMEDIES.items(), key=lambda each: _by_name(each[0]))
        ),
        "- any other: rewrite it with operators of the table",
    ]
    return "\n".join(lines) + "\n"


def _by_name(name: str) -> tuple[bool, str]:
    """ONNX's own first."""
    return "." in name, name
