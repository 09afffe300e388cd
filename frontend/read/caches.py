"""Inputs that hold what earlier tokens have left, and what they are where nobody gives them.

A *merged* decoder, as optimum writes it, is one `If`: a branch that reads caches, and one for the first
tokens, which has none to read. Which of them it is says an input, `BRANCH`; here it follows from the caches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

BRANCH = "use_cache_branch"


def is_cache(name: str) -> bool:
    """Whether an axis of this name counts tokens that were seen before: there are none."""
    return name.lower().startswith("past") and "+" not in name


def cache_axes(model: onnx.ModelProto) -> dict[str, tuple[int, str]]:
    """The inputs that are caches of earlier tokens: the axis of their rows, and its name."""
    found = {}
    for each in model.graph.input:
        names = [axis.dim_param for axis in each.type.tensor_type.shape.dim]
        axes = [(i, name) for i, name in enumerate(names) if is_cache(name)]
        if axes:
            found[each.name] = axes[0]
    return found


def reads_caches(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> bool | None:
    """What `BRANCH` is where inputs have these shapes; None where it is no input of a model with caches."""
    axes = cache_axes(model)
    if not axes or BRANCH not in {each.name for each in model.graph.input}:
        return None
    return any(shapes[name][axis] for name, (axis, _) in axes.items() if name in shapes)


def empty_caches(model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays without elements for the inputs that ``feeds`` lacks and that are caches of earlier tokens, and
    `BRANCH` where it lacks that."""
    tensors = {each.name: each.type.tensor_type for each in model.graph.input}
    sizes = {
        axis.dim_param: size
        for name, value in feeds.items()
        if name in tensors
        for axis, size in zip(tensors[name].shape.dim, value.shape, strict=False)
    }
    found = {
        name: np.zeros(
            [
                0 if is_cache(d.dim_param) else d.dim_value or sizes.get(d.dim_param, 1)
                for d in tensors[name].shape.dim
            ],
            onnx.helper.tensor_dtype_to_np_dtype(tensors[name].elem_type),
        )
        for name in cache_axes(model)
        if name not in feeds
    }
    read = reads_caches(model, {name: value.shape for name, value in feeds.items()})
    if read is not None and BRANCH not in feeds:
        found[BRANCH] = np.array([read])
    return found
