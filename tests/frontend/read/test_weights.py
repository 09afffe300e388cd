"""Weights in few bits are the floats that ONNX Runtime computes with, and the server's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from eight_bits import node
from onnx_models import DOMAIN, model, tensor

import ppc
from ppc.frontend.errors import UnsupportedModel
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import walk
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.read import weights
from ppc.frontend.read.load import load
from ppc.frontend.read.run import run

R = np.random.default_rng(11)
IDS = np.array([[3, 0, 8], [1, 8, 5]])
ROWS, WIDE = 9, 32
INT4, UINT4 = ml_dtypes.int4, ml_dtypes.uint4
NBITS = {"domain": DOMAIN, "K": WIDE, "N": ROWS}


def whole(kind: Any, *shape: int) -> np.ndarray:
    least, most = {np.int8: (-128, 128), np.uint8: (0, 256), INT4: (-8, 8), UINT4: (0, 16)}[kind]
    return R.integers(least, most, shape).astype(kind)


def scales(*shape: int) -> np.ndarray:
    return np.asarray(np.abs(R.normal(size=shape)) / 50 + 0.001, np.float32)


@dataclass(frozen=True)
class Packed:
    """Ids to e by ``nodes``; of the weight is what nodes hold."""

    nodes: list[onnx.NodeProto]
    held: dict[str, np.ndarray]
    opset: int = 21


LOOK = node("Gather", "q ids", "g")
X = node("Gather", "table ids", "x")
TABLE = R.normal(size=(ROWS, WIDE)).astype(np.float32)

TABLES: dict[str, Packed] = {
    "one scale": Packed(
        [LOOK, node("DequantizeLinear", "g s z", "e")],
        {"q": whole(np.uint8, ROWS, WIDE), "s": scales(), "z": np.uint8(117)},
    ),
    "opset 13, int8, no zero point": Packed(
        [LOOK, node("DequantizeLinear", "g s", "e")], {"q": whole(np.int8, ROWS, WIDE), "s": scales()}, 13
    ),
    "a scale a column": Packed(
        [LOOK, node("DequantizeLinear", "g s z", "e", axis=-1)],
        {"q": whole(np.int8, ROWS, WIDE), "s": scales(WIDE), "z": whole(np.int8, WIDE)},
    ),
    "a scale a row, before": Packed(
        [node("DequantizeLinear", "q s z", "w", axis=0), node("Gather", "w ids", "e")],
        {"q": whole(np.uint8, ROWS, WIDE), "s": scales(ROWS), "z": whole(np.uint8, ROWS)},
    ),
    "blocks, before": Packed(
        [node("DequantizeLinear", "q s z", "w", axis=1, block_size=16), node("Gather", "w ids", "e")],
        {"q": whole(UINT4, ROWS, WIDE), "s": scales(ROWS, 2), "z": whole(UINT4, ROWS, 2)},
    ),
    "blocks, behind, each looked up": Packed(
        [
            LOOK,
            node("Gather", "s ids", "sg"),
            node("Gather", "z ids", "zg"),
            node("DequantizeLinear", "g sg zg", "e", axis=2, block_size=16),
        ],
        {"q": whole(np.int8, ROWS, WIDE), "s": scales(ROWS, 2), "z": whole(np.int8, ROWS, 2)},
    ),
    "spelled out, a scale and a zero point a row": Packed(
        [
            LOOK,
            node("Gather", "s ids", "sg"),
            node("Gather", "z ids", "zg"),
            node("Cast", "g", "gf", to=1),
            node("Cast", "zg", "zf", to=1),
            node("Sub", "gf zf", "c"),
            node("Mul", "c sg", "e"),
        ],
        {"q": whole(np.uint8, ROWS, WIDE), "s": scales(ROWS, 1), "z": whole(np.uint8, ROWS, 1)},
        17,
    ),
    "two in a byte, spelled out by blocks": Packed(
        [
            LOOK,
            node("BitwiseAnd", "g low", "a"),
            node("BitShift", "g four", "b", direction="RIGHT"),
            node("Unsqueeze", "a last", "a1"),
            node("Unsqueeze", "b last", "b1"),
            node("Concat", "a1 b1", "both", axis=-1),
            node("Reshape", "both blocks", "r"),
            node("Cast", "r", "f", to=1),
            node("Gather", "s ids", "sg"),
            node("Unsqueeze", "sg last", "s1"),
            node("Mul", "f s1", "m"),
            node("Reshape", "m rows", "e"),
        ],
        {
            "q": whole(np.uint8, ROWS, WIDE // 2),
            "low": np.uint8(15),
            "four": np.uint8(4),
            "last": np.array([-1]),
            "blocks": np.array([2, 3, -1, 16]),
            "s": scales(ROWS, 2),
            "rows": np.array([0, 0, WIDE]),
        },
        18,
    ),
    "GatherBlockQuantized, uint4": Packed(
        [
            node(
                "GatherBlockQuantized",
                "q ids s z",
                "e",
                DOMAIN,
                block_size=16,
                gather_axis=0,
                quantize_axis=1,
            )
        ],
        {"q": whole(UINT4, ROWS, WIDE), "s": scales(ROWS, 2), "z": whole(UINT4, ROWS, 2)},
    ),
    "GatherBlockQuantized, int4": Packed(
        [node("GatherBlockQuantized", "q ids s", "e", DOMAIN, block_size=16, quantize_axis=1)],
        {"q": whole(INT4, ROWS, WIDE), "s": scales(ROWS, 2)},
    ),
}

PRODUCTS: dict[str, Packed] = {
    "MatMulNBits, 4 bits": Packed(
        [X, node("MatMulNBits", "x q s", "e", bits=4, block_size=16, **NBITS)],
        {"q": whole(np.uint8, ROWS, 2, 8), "s": scales(ROWS, 2), "table": TABLE},
    ),
    "MatMulNBits, 8 bits, activations that may be rounded": Packed(
        [X, node("MatMulNBits", "x q s z", "e", bits=8, block_size=16, accuracy_level=4, **NBITS)],
        {
            "q": whole(np.uint8, ROWS, 2, 16),
            "s": scales(ROWS, 2),
            "z": whole(np.uint8, ROWS, 2),
            "table": TABLE,
        },
    ),
    "MatMulNBits, zero points and groups": Packed(
        [X, node("MatMulNBits", "x q s z i", "e", bits=4, block_size=16, **NBITS)],
        {
            "q": whole(np.uint8, ROWS, 2, 8),
            "s": scales(ROWS, 2),
            "z": whole(np.uint8, ROWS, 1),
            "i": R.integers(0, 2, WIDE).astype(np.int32),
            "table": TABLE,
        },
    ),
    "DequantizeLinear, blocks, transposed": Packed(
        [
            X,
            node("DequantizeLinear", "q s", "w", axis=1, block_size=16),
            node("Transpose", "w", "t"),
            node("MatMul", "x t", "e"),
        ],
        {"q": whole(INT4, ROWS, WIDE), "s": scales(ROWS, 2), "table": TABLE},
    ),
    "DequantizeLinear before Gemm": Packed(
        [
            node("Gather", "table one", "x"),
            node("DequantizeLinear", "q s z", "w", axis=0),
            node("Gemm", "x w", "e", transB=1),
        ],
        {
            "q": whole(np.uint8, ROWS, WIDE),
            "s": scales(ROWS),
            "z": whole(np.uint8, ROWS),
            "table": TABLE,
        },
        17,
    ),
}


def proto_of(case: Packed) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    name = "one" if any("one" in each.input for each in case.nodes) else "ids"
    feeds = {name: IDS[0] if name == "one" else IDS}
    held = [tensor(key, value) for key, value in case.held.items()]
    return model(case.nodes, feeds, ["e"], held, opset=case.opset), feeds


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_looked_up_in_floats(name: str) -> None:
    proto, feeds = proto_of(TABLES[name])
    graph = load(proto)
    wanted = run(proto, feeds)["e"]
    np.testing.assert_array_equal(evaluate(graph, feeds)["e"], wanted.astype(np.float64))
    found = graph.outputs["e"]
    assert isinstance(found, ops.Gather)
    assert isinstance(found.x, ops.Const)
    assert found.x.secret
    assert not found.x.may_open


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_one_with_floats(name: str) -> None:
    proto, feeds = proto_of(PRODUCTS[name])
    graph = load(proto)
    wanted = run(proto, feeds)["e"]
    rounding = 0.03 if "rounded" in name else 1e-6
    assert np.abs(evaluate(graph, feeds)["e"] - wanted).max() < rounding * np.abs(wanted).max()
    (product,) = [op for op in walk(graph) if isinstance(op, ops.MatMul)]
    weight = product.b.x if isinstance(product.b, ops.Transpose) else product.b
    assert isinstance(weight, ops.Const)
    assert weight.secret
    assert not weight.may_open


def test_a_table_of_four_bits_that_onnx_runtime_does_not_look_up_in() -> None:
    held = {"q": whole(INT4, ROWS, WIDE), "s": scales()}
    proto, feeds = proto_of(Packed([LOOK, node("DequantizeLinear", "g s", "e")], held))
    wanted = held["q"].astype(np.float32)[IDS] * held["s"]
    np.testing.assert_array_equal(evaluate(load(proto), feeds)["e"], wanted)


def test_rows_of_the_unit_matrix_are_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    proto, feeds = proto_of(PRODUCTS["MatMulNBits, 4 bits"])
    at_once = evaluate(load(proto), feeds)["e"]
    monkeypatch.setattr(weights, "_AT_ONCE", 5 * WIDE * ROWS)
    np.testing.assert_array_equal(evaluate(load(proto), feeds)["e"], at_once)


@pytest.mark.parametrize(("inner", "columns"), [(2**40, 9), (32, 2**40), (-32, 9), (0, 9)])
@pytest.mark.usefixtures("a_weight_enters")
def test_sizes_that_the_bytes_do_not_hold_are_refused(inner: int, columns: int) -> None:
    """Before a matrix of them is made."""
    said = {"domain": DOMAIN, "K": inner, "N": columns}
    case = Packed(
        [X, node("MatMulNBits", "x q s", "e", bits=4, block_size=16, **said)],
        {"q": whole(np.uint8, ROWS, 2, 8), "s": scales(ROWS, 2), "table": TABLE},
    )
    with pytest.raises(UnsupportedModel, match="says that 144 bytes are"):
        load(proto_of(case)[0])


@pytest.mark.parametrize(
    ("axis", "shape"), [(1, (3,)), (0, (2,)), (2, (WIDE,))], ids=["a token's place", "a sample", "a column"]
)
def test_what_differs_by_place_stays_behind_the_look_up(axis: int, shape: tuple[int, ...]) -> None:
    """Only what is one for all places goes into the table."""
    one = node("DequantizeLinear", "g s", "e", axis=axis)
    proto = model(
        [LOOK, one],
        {"ids": IDS},
        ["e"],
        [tensor("q", whole(np.int8, ROWS, WIDE)), tensor("s", scales(*shape))],
    )
    got = evaluate(load(proto), {"ids": IDS})["e"]
    np.testing.assert_allclose(got, run(proto, {"ids": IDS})["e"], rtol=1e-6)
    assert isinstance(load(proto).outputs["e"], ops.Gather) == (axis == 2)


def test_a_reshape_that_joins_places_and_rows_stays_behind_the_look_up() -> None:
    nodes = [LOOK, node("Cast", "g", "f", to=1), node("Reshape", "f flat", "e")]
    held = [tensor("q", whole(np.int8, ROWS, WIDE)), tensor("flat", np.array([2, 3 * WIDE]))]
    proto = model(nodes, {"ids": IDS}, ["e"], held)
    assert isinstance(load(proto).outputs["e"], ops.Reshape)
    np.testing.assert_array_equal(evaluate(load(proto), {"ids": IDS})["e"], run(proto, {"ids": IDS})["e"])


def test_tables_at_other_places_stay_apart() -> None:
    other = node("Gather", "s more", "sg")
    nodes = [LOOK, other, node("Cast", "g", "gf", to=1), node("Mul", "gf sg", "e")]
    held = [tensor("q", whole(np.int8, ROWS, WIDE)), tensor("s", scales(ROWS, 1))]
    feeds = {"ids": IDS, "more": IDS[::-1].copy()}
    proto = model(nodes, feeds, ["e"], held)
    assert not isinstance(load(proto).outputs["e"], ops.Gather)
    np.testing.assert_allclose(evaluate(load(proto), feeds)["e"], run(proto, feeds)["e"], rtol=1e-6)


@pytest.mark.parametrize("name", ["a scale a column", "blocks, behind, each looked up"])
def test_simulated(name: str, tmp_path: Any) -> None:
    packed = TABLES[name]
    case = Packed(
        [*packed.nodes, node("MatMul", "e w", "y")],
        {**packed.held, "w": R.normal(size=(WIDE, 6)).astype(np.float32)},
    )
    proto, feeds = proto_of(case)
    proto.graph.output[0].name = "y"
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    made = ppc.compile(path)
    (got,) = ppc.simulate(made.plan, made.weights, feeds).values()
    wanted = run(proto, feeds)["y"]
    assert np.abs(got - wanted).max() < 0.01 * wanted.std()
