"""Look-ups and writes at places given one by one: as look-ups in a tensor laid flat."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.frontend.ir.ops import Const
from ppc.frontend.ops.node import Node, Unsupported, axis_of, check_open, like
from ppc.frontend.ops.structure import reshaped


def gather_nd(node: Node, x: Op, indices: Op) -> Op:
    """x[indices[…, 0], indices[…, 1], …], as a look-up in x with those axes laid flat."""
    batch, depth = node.get("batch_dims", 0), indices.type.shape[-1]
    if batch:
        indices = _with_batch(indices, batch)
        depth += batch
    sizes, rest = x.type.shape[:depth], x.type.shape[depth:]
    flat = reshaped(x, (math.prod(sizes), *rest))
    return ops.Gather(flat, _places(indices, sizes), 0)


def _with_batch(indices: Op, batch: int) -> Op:
    """The place on the batch axes before each index."""
    *outer, _ = indices.type.shape
    grid = np.moveaxis(np.indices(outer)[:batch], 0, -1).astype(np.int64)
    return ops.Concat((Const(grid), indices), len(outer))


def _places(indices: Op, sizes: tuple[int, ...]) -> Op:
    """[…, axes] to the places in a tensor of ``sizes`` laid flat; an index below 0 counts from the end."""
    if indices.type.shape[-1] != len(sizes):
        raise Unsupported(f"has indices {indices.type} into {len(sizes)} axes")
    strides = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    if isinstance(indices, Const):
        _check_places(indices.value, np.array(sizes))
        wrapped = np.mod(indices.value, sizes)
        return replace(indices, value=np.asarray(wrapped @ np.array(strides), np.int64))
    steps = ops.Mul(ops.Mod(indices, Const(np.array(sizes))), Const(np.array(strides)))
    return ops.ReduceSum(steps, (indices.type.rank - 1,), False)


def _check_places(places: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
    if (places < -sizes).any() or (places >= sizes).any():
        raise Unsupported("has places outside of its tensor")


def gather_elements(node: Node, x: Op, indices: Op) -> Op:
    """x[i, …, indices[i, …, k], …, k] along the axis, as a look-up in x laid flat."""
    axis = axis_of(x, node.get("axis", 0))
    return ops.Gather(reshaped(x, (x.type.size,)), _along(x, indices, axis), 0)


def _along(x: Op, indices: Op, axis: int) -> Op:
    """The places in x laid flat of the elements that ``indices`` names along ``axis``."""
    shape = x.type.shape
    if any(m > n for i, (m, n) in enumerate(zip(indices.type.shape, shape, strict=True)) if i != axis):
        raise Unsupported(f"has indices {indices.type} beyond {x.type}")
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    at = np.indices(indices.type.shape)
    at[axis] = 0
    others = np.tensordot(strides, at, 1)
    if isinstance(indices, Const):
        _check_places(indices.value, np.array(shape[axis]))
        places = np.mod(indices.value, shape[axis]) * strides[axis] + others
        return replace(indices, value=places)
    wrapped = ops.Mod(indices, Const(np.array(shape[axis])))
    return ops.Add(ops.Mul(wrapped, Const(np.array(strides[axis]))), Const(others))


def scatter_nd(node: Node, x: Op, indices: Op, updates: Op) -> Op:
    """x with rows replaced, as a look-up in x and the new rows one after the other."""
    depth = indices.type.shape[-1]
    sizes, rest = x.type.shape[:depth], x.type.shape[depth:]
    rows = _known(node, _places(indices, sizes))
    flat = reshaped(x, (math.prod(sizes), *rest))
    new = reshaped(updates, (rows.size, *rest))
    return reshaped(_written(node, flat, rows, new), x.type.shape)


def scatter_elements(node: Node, x: Op, indices: Op, updates: Op) -> Op:
    axis = axis_of(x, node.get("axis", 0))
    if updates.type.shape != indices.type.shape:
        raise Unsupported(f"has updates {updates.type} for indices {indices.type}")
    rows = _known(node, _along(x, indices, axis))
    flat, new = reshaped(x, (x.type.size,)), reshaped(updates, (rows.size,))
    return reshaped(_written(node, flat, rows, new), x.type.shape)


def _known(node: Node, places: Op) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    if not isinstance(places, Const):
        raise Unsupported("writes to places that depend on the input's values; rewrite it with Where")
    check_open(places, "the places it writes to")
    reduction = node.get("reduction", "none")
    if reduction not in ("none", "add"):
        raise Unsupported(f"writes by {reduction}; only none and add are compiled")
    return places.value.ravel()


def _written(node: Node, flat: Op, rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]], new: Op) -> Op:
    """Row i of ``new`` at ``rows[i]``; of two rows for one place the last counts, or both are added."""
    n = flat.type.shape[0]
    if node.get("reduction", "none") == "add":
        if len(set(rows.tolist())) < rows.size:
            raise Unsupported("adds twice at one place")
        nothing = ops.Broadcast(like(0, new.type.num), (1, *new.type.shape[1:]))
        with_zero = ops.Concat((new, nothing), 0)
        at = np.full(n, rows.size)
        at[rows] = np.arange(rows.size)
        return ops.Add(flat, ops.Gather(with_zero, Const(at), 0))
    at = np.arange(n)
    for i, row in enumerate(rows.tolist()):
        at[row] = n + i
    return ops.Gather(ops.Concat((flat, new), 0), Const(at), 0)
