"""Single operators beside what other systems publish for them: seconds and bytes, offline and online.

    python benchmarks/operators.py [--only relu] [--repeat 3] [--no-keep]

The product is both sides in one process and thread, one after the other (`he_product`); the others run
between two processes, on a client's input plus a bias of the server's, so that the operator's argument is
shared. Their numbers leave out setup and the reveal of the output.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import he_product
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from results import load, mega, publish, seconds
from two_parties import Feeds, Run, compile_model, typical

from ppc.runtime.he.params import PARAMETER_SETS
from ppc.runtime.he.product import answer_bytes, upload_bytes

QUOTED = [
    ["published, on two such cores", "s", "MB"],
    ["product: OpenCheetah, one thread", "13.6", "25.5"],
    ["product: BOLT, weights preprocessed", "8", "4.7"],
    ["ReLU of 37 bits: Cheetah, silent OT", "7 – 11", "23"],
    ["ReLU of 37 bits: Cheetah, IKNP", "5", "231"],
    ["GELU: BOLT", "12 – 20", "1,466"],
    ["softmax: BOLT", "10 – 17", "1,323"],
]


@dataclass(frozen=True)
class Operator:
    """``build()`` gives the nodes from ``s`` to ``y``; ``spread`` is the argument's standard deviation."""

    shape: tuple[int, int]
    spread: float
    build: Callable[[], list[onnx.NodeProto]]


def _node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


OPERATORS = {
    "ReLU": Operator((128, 3072), 1.0, lambda: [_node("Relu", "s", "y")]),
    "GELU": Operator((128, 3072), 1.0, lambda: [_node("Gelu", "s", "y")]),
    "softmax": Operator((1536, 128), 2.0, lambda: [_node("Softmax", "s", "y", axis=-1)]),
}


def model_of(operator: Operator) -> onnx.ModelProto:
    bias = np.random.default_rng(0).normal(0, operator.spread / 4, operator.shape[-1:]).astype(np.float32)
    graph = helper.make_graph(
        [_node("Add", "x b", "s"), *operator.build()],
        "operator",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, operator.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, operator.shape)],
        [numpy_helper.from_array(bias, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def draw(operator: Operator, seed: int) -> Feeds:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(0, operator.spread, operator.shape).astype(np.float32)}


def measure(operator: Operator, repeat: int) -> Run:
    """Compile and run one operator; the median of ``repeat`` runs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "operator.onnx"
        onnx.save(model_of(operator), path)
        compiled = compile_model(path, "exact", [draw(operator, seed) for seed in range(4)])
        return typical(compiled, draw(operator, 100), repeat)


def row(name: str, operator: Operator, run: Run) -> list[str]:
    """Seconds and bytes of the steps, but for the output's."""
    cells = []
    for phase in ("offline", "online"):
        steps = [
            each for each in run.report["steps"] if each["phase"] == phase and "Output" not in each["step"]
        ]
        moved = sum(each["sent"] + each["received"] for each in steps)
        cells += [seconds(sum(each["seconds"] for each in steps)), mega(moved)]
    each = 1e6 * float(cells[3]) / prod(operator.shape)
    return [f"{name}, {' x '.join(map(str, operator.shape))}", *cells, f"{each:.1f}", f"{run.error:.1e}"]


def product(repeat: int) -> list[str]:
    """128 x 768 by 768 x 768, as OpenCheetah's."""
    name = "base 128x768x768"
    made, bits = he_product.shapes(8e-8, PARAMETER_SETS)[name]
    best = he_product.row(name, made, bits, repeat)["seconds"]
    spent = best["encrypt"] + best["answer"] + best["decrypt"]
    moved = upload_bytes(made) + answer_bytes(made)
    return ["product, 128x768 by 768x768", seconds(spent), mega(moved), "", "", "", "0"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="operators whose name contains this")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy = load()
    head = [
        "operator",
        "offline s",
        "offline MB",
        "online s",
        "online MB",
        "online B an element",
        "max error",
    ]
    table = [head]
    if args.only.lower() in "product":
        table.append(product(args.repeat))
    for name, operator in OPERATORS.items():
        if args.only.lower() in name.lower():
            table.append(row(name, operator, measure(operator, args.repeat)))
    notes = ["The second table is quoted, not measured in this run."]
    publish("Operators", [table, QUOTED], notes, busy, not args.no_keep)


if __name__ == "__main__":
    main()
