"""Convolution as a product of patches with the kernel, and what else vision models do to their pixels."""

from __future__ import annotations

import math
from itertools import product

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.frontend.ops.node import Node, Unsupported, number
from ppc.frontend.ops.structure import padded, reshaped, sliced

MOST_GROUPS = 64
MOST_PLACES = 64 * 64
"""In a kernel that is not its stride: each of them is a slice."""


def conv(node: Node, x: Op, w: Op, bias: Op | None = None) -> Op:
    """[n, c, *space] with [m, c/groups, *kernel]: patches [n, *places, c·kernel] @ Wᵀ, channels brought back.

    Where kernel and stride agree (patch embeddings) the patches are a reshape; else one slice for each place
    in the kernel.
    """
    groups, space = node.get("group", 1), x.type.rank - 2
    if space < 1:
        raise Unsupported(f"convolves {x.type}, which has no axes beside batch and channels")
    if groups > MOST_GROUPS:
        raise Unsupported(f"has {groups} groups; up to {MOST_GROUPS} are compiled")
    kernel = w.type.shape[2:]
    if tuple(node.get("kernel_shape", kernel)) != kernel or w.type.shape[1] * groups != x.type.shape[1]:
        raise Unsupported(f"does not fit {x.type} with a kernel {w.type}")
    dilations = tuple(node.get("dilations", (1,) * space))
    strides = tuple(node.get("strides", (1,) * space))
    x = _padded(node, x, kernel, strides, dilations)
    m = w.type.shape[0] // groups
    parts = []
    for g in range(groups):
        channels = _part(x, 1, g, x.type.shape[1] // groups, groups)
        weights = _part(w, 0, g, m, groups)
        patches = _patches(channels, kernel, strides, dilations)
        flat = reshaped(weights, (m, math.prod(w.type.shape[1:])))
        parts.append(ops.MatMul(patches, ops.Transpose(flat, (1, 0))))
    out: Op = parts[0] if groups == 1 else ops.Concat(tuple(parts), space + 1)
    out = out if bias is None else ops.Add(out, bias)
    return ops.Transpose(out, (0, space + 1, *range(1, space + 1)))


def _part(x: Op, axis: int, index: int, size: int, groups: int) -> Op:
    return x if groups == 1 else sliced(x, (index * size,), ((index + 1) * size,), (axis,), (1,))


def _padded(
    node: Node, x: Op, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> Op:
    space = len(kernel)
    pads = list(node.get("pads", (0,) * (2 * space)))
    auto = node.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for i in range(space):
            n = x.type.shape[2 + i]
            reach = (kernel[i] - 1) * dilations[i] + 1
            total = max(0, (-(-n // strides[i]) - 1) * strides[i] + reach - n)
            small, large = total // 2, total - total // 2
            pads[i], pads[space + i] = (small, large) if auto == "SAME_UPPER" else (large, small)
    elif auto not in ("NOTSET", "VALID"):
        raise Unsupported(f"pads by {auto}")
    if min(pads) < 0:
        raise Unsupported("pads by less than nothing; use Slice")
    for i in range(space):
        x = padded(x, 2 + i, pads[i], pads[space + i], number(0.0))
    return x


def _patches(x: Op, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]) -> Op:
    """[n, c, *space] to [n, *places, c·kernel], a patch in the order of the kernel's weights."""
    n, c, *space = x.type.shape
    axes = range(2, x.type.rank)
    counts = [
        (size - (k - 1) * d - 1) // s + 1
        for size, k, s, d in zip(space, kernel, strides, dilations, strict=True)
    ]
    if min(counts) < 1:
        raise Unsupported(f"has a kernel {kernel} larger than what it covers, {tuple(space)}")
    places, dims = len(kernel), (n, *counts, c * math.prod(kernel))
    if kernel == strides and set(dilations) == {1}:
        ends = tuple(count * k for count, k in zip(counts, kernel, strict=True))
        x = sliced(x, (0,) * places, ends, tuple(axes), (1,) * places)
        apart = [size for count, k in zip(counts, kernel, strict=True) for size in (count, k)]
        perm = (0, *range(2, 2 + 2 * places, 2), 1, *range(3, 3 + 2 * places, 2))
        return reshaped(ops.Transpose(reshaped(x, (n, c, *apart)), perm), dims)
    if math.prod(kernel) > MOST_PLACES:
        raise Unsupported(f"has a kernel {kernel} of more than {MOST_PLACES} places")
    cuts = []
    for at in product(*map(range, kernel)):
        starts = tuple(i * d for i, d in zip(at, dilations, strict=True))
        ends = tuple(a + (m - 1) * s + 1 for a, m, s in zip(starts, counts, strides, strict=True))
        cuts.append(reshaped(sliced(x, starts, ends, tuple(axes), strides), (n, c, 1, *counts)))
    joined: Op = cuts[0] if len(cuts) == 1 else ops.Concat(tuple(cuts), 2)
    perm = (0, *range(3, 3 + places), 1, 2)
    return reshaped(ops.Transpose(joined, perm), dims)


def global_average(node: Node, x: Op) -> Op:
    return ops.ReduceMean(x, tuple(range(2, x.type.rank)), True)


def batch_norm(node: Node, x: Op, scale: Op, bias: Op, mean: Op, variance: Op) -> Op:
    """As trained: an affine map of each channel, which folds into constants."""
    if node.get("training_mode", 0):
        raise Unsupported("is exported for training; export for inference (model.eval())")
    row = (x.type.shape[1],) + (1,) * (x.type.rank - 2)
    root = ops.Sqrt(ops.Add(variance, number(node.get("epsilon", 1e-5))))
    factor = ops.Div(scale, root)
    shift = ops.Sub(bias, ops.Mul(mean, factor))
    return ops.Add(ops.Mul(x, reshaped(factor, row)), reshaped(shift, row))
