"""What a model with activations in 8 bits is compiled to, and how far its own rounding lies from that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import ArrayLike

from ppc.frontend.ir.graph import Graph
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.ops.quantised import ROUNDING
from ppc.frontend.read.known import attributes, operator
from ppc.frontend.read.model import read_model
from ppc.frontend.read.run import run

Feeds = Mapping[str, ArrayLike]

SAMPLES = 2
"""That are computed in floats and by ONNX Runtime."""


def told(
    model: str | Path | onnx.ModelProto,
    graph: Graph,
    samples: Sequence[Feeds],
    rounded: Mapping[str, int],
) -> Iterator[str]:
    """Lines for people; none of a model that rounds no activation, as `rounded` counts them."""
    if not rounded:
        return
    places = ", ".join(f"{count} × {name}" for name, count in sorted(rounded.items()))
    yield f"quantised: activations are not rounded to 8 bits at {places}; products are those of the floats"
    for name, (worst, typical) in _errors(read_model(model), graph, samples[:SAMPLES]).items():
        yield (
            f"quantised: {name} of ONNX Runtime, which rounds, is up to {worst:.2g} of its standard "
            f"deviation from that, typically {typical:.2g}"
        )


def rounded(nodes: Iterable[onnx.NodeProto]) -> Counter[str]:
    """The operators that ONNX Runtime computes with activations in 8 bits, and how often."""
    return Counter(operator(each) for each in nodes if _rounds(each))


def _rounds(node: onnx.NodeProto) -> bool:
    key = operator(node)
    if key == "com.microsoft.MatMulNBits":
        return attributes(node).get("accuracy_level") == _EIGHT_BITS
    return key in ROUNDING


_EIGHT_BITS = 4


def _errors(proto: onnx.ModelProto, graph: Graph, samples: Sequence[Feeds]) -> dict[str, tuple[float, float]]:
    """Of every output, in parts of its standard deviation: the worst, and the root of the mean square."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for feeds in samples:
        try:
            theirs, ours = run(proto, feeds, list(graph.outputs)), evaluate(graph, feeds)
        except Exception:  # of a model that does not run here nothing can be said
            return {}
        for name, value in ours.items():
            found.setdefault(name, []).append((value.ravel(), np.asarray(theirs[name]).ravel()))
    errors = {}
    for name, pairs in found.items():
        got, wanted = (np.concatenate(each).astype(np.float64) for each in zip(*pairs, strict=True))
        off = np.abs(got - wanted) / (wanted.std() or 1.0)
        errors[name] = float(off.max()), float(np.sqrt((off**2).mean()))
    return errors
