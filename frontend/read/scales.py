"""Activations in 8 bits whose scale ONNX Runtime finds as it runs are never told apart from that scale.

A plan has neither: `ops/quantised.py` lets the float stand for the integers, 1 for the scale and 0 for the
zero point. That means the same wherever each such value is rid of its zero point and meets its scale as often
as it was divided by it. So every tensor has a power of each scale, −1 of the integers and +1 of the scale
itself; products add powers, sums need equal ones, and what has none left is a plain float again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import onnx

from ppc.frontend.ops.node import Unsupported
from ppc.frontend.read.known import operator

_FACTORS: dict[str, tuple[tuple[int, int | None], ...]] = {
    "Mul": ((0, None), (1, None)),
    "MatMul": ((0, None), (1, None)),
    "MatMulInteger": ((0, 2), (1, 3)),
    "ConvInteger": ((0, 2), (1, 3)),
    "DequantizeLinear": ((0, 2), (1, None)),
    "com.microsoft.DequantizeLinear": ((0, 2), (1, None)),
    "com.microsoft.MatMulIntegerToFloat": ((0, 4), (1, 5), (2, None), (3, None)),
    "com.microsoft.QAttention": ((0, 6), (1, 7), (3, None), (4, None)),
}
"""The operands that a product multiplies, and where the zero point of each stands."""

_MOVED = (
    "Cast",
    "Identity",
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Slice",
    "Gather",
    "Split",
)
_INTEGERS = ("QuantizeLinear", "com.microsoft.QuantizeLinear", "QLinearMatMul")
"""What these give is rounded, in a plan it is not."""

_LINEAR_NOT = ("com.microsoft.QAttention",)
"""What these multiply must be plain floats at once."""

Powers = Counter[tuple[str, bool]]
"""By scale; apart from it, whether the zero point is still in."""


class Scales:
    """The powers of every tensor that has any, by name."""

    def __init__(self, outputs: Collection[str]) -> None:
        self.powers: dict[str, Powers] = {}
        self.outputs = outputs
        self.products: set[str] = set()
        """Of integers, and by scales so far: tensors that are W's integers away from a plain product."""

    def follow(self, node: onnx.NodeProto) -> None:
        """Raises Unsupported where a value would be taken for what it is not."""
        key = operator(node)
        if key == "MatMulInteger" or (key in ("Cast", "Mul") and self.products & set(node.input)):
            self.products.update(node.output)
        if key == "DynamicQuantizeLinear":
            y, scale, zero = node.output
            self.powers[scale] = Counter({(scale, False): 1})
            self.powers[y] = self.powers[zero] = Counter({(scale, True): 1})
            if {y, scale, zero} & set(self.outputs):
                raise Unsupported("gives an output of the model in 8 bits; quantize weights alone")
            return
        if key in _INTEGERS and set(node.output) & set(self.outputs):
            raise Unsupported("gives an output of the model in 8 bits; quantize weights alone")
        given = [self.powers.get(name, Counter()) for name in node.input]
        if not any(given) or key in ("Shape", "Size"):
            return
        powers = _powers(key, given)
        if powers is None or (powers and (key in _LINEAR_NOT or set(node.output) & set(self.outputs))):
            name = next(name for name in node.input if name in self.powers)
            raise Unsupported(
                f"{name} is read apart from the scale that is found at run time; quantize weights alone"
            )
        if powers:
            self.powers.update({name: powers for name in node.output if name})


def _powers(key: str, given: Sequence[Powers]) -> Powers | None:
    """Of a node's outputs; None where they would have no meaning."""
    if key in _FACTORS:
        read = {i for pair in _FACTORS[key] for i in pair}
        total: Powers = Counter()
        for at, zero in _FACTORS[key]:
            factor = _centred(_at(given, at), _at(given, zero))
            if factor is None:
                return None
            total.update(factor)
        if any(each for i, each in enumerate(given) if i not in read):
            return None
        return Counter({scale: power for scale, power in total.items() if power})
    if key == "Sub" and _raw(given[0]) and given[0] == given[1]:
        return _centred(*given)
    if key in _MOVED and not any(given[1:]):
        return given[0]
    if key in ("Add", "Sub", "Concat") and all(each == given[0] and not _raw(each) for each in given):
        return given[0]
    return None


def _at(given: Sequence[Powers], place: int | None) -> Powers:
    return Counter() if place is None or place >= len(given) else given[place]


def _raw(powers: Powers) -> bool:
    return any(zero_is_in for _, zero_is_in in powers)


def _centred(value: Powers, zero: Powers) -> Powers | None:
    """Of a value without its zero point, which must be its own."""
    if value != zero if _raw(value) else bool(zero):
        return None
    return Counter({(scale, False): -power if raw else power for (scale, raw), power in value.items()})
