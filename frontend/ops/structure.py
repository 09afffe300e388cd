"""ONNX operators that move elements about, and those that add them up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.frontend.ir.ops import Const
from ppc.frontend.ops.node import Node, Unsupported, axes_of, axis_of, integer, integers, like


def reshaped(x: Op, shape: tuple[int, ...]) -> Op:
    return x if x.type.shape == shape else ops.Reshape(x, shape)


def reshape(node: Node, x: Op, shape: Op) -> Op:
    wanted = list(integers(shape, "the shape"))
    if not node.get("allowzero", 0):
        wanted = [x.type.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    if -1 in wanted:
        rest = math.prod(n for n in wanted if n != -1)
        wanted[wanted.index(-1)] = x.type.size // rest if rest else 0
    return reshaped(x, tuple(wanted))


def over_rows(node: Node, x: Op, f: Callable[[Op, int], Op]) -> Op:
    """f of x and an axis; before opset 13 over the node's axis and all that follow, laid flat."""
    axis = axis_of(x, node.get("axis", -1 if node.opset >= 13 else 1))
    if node.opset >= 13:
        return f(x, axis)
    rows = reshaped(x, (*x.type.shape[:axis], math.prod(x.type.shape[axis:])))
    return reshaped(f(rows, axis), x.type.shape)


def flatten(node: Node, x: Op) -> Op:
    axis = node.get("axis", 1)
    if not -x.type.rank <= axis <= x.type.rank:
        raise Unsupported(f"flattens from axis {axis} of {x.type}")
    axis = axis + x.type.rank if axis < 0 else axis
    return reshaped(x, (math.prod(x.type.shape[:axis]), math.prod(x.type.shape[axis:])))


def squeeze(node: Node, x: Op, axes: Op | None = None) -> Op:
    given = _axes(node, axes)
    gone = set(axes_of(x.type.rank, given)) if given else {i for i, n in enumerate(x.type.shape) if n == 1}
    if any(x.type.shape[i] != 1 for i in gone):
        raise Unsupported(f"squeezes axes {sorted(gone)} of {x.type}, which are not all 1")
    return reshaped(x, tuple(n for i, n in enumerate(x.type.shape) if i not in gone))


def unsqueeze(node: Node, x: Op, axes: Op | None = None) -> Op:
    given = _axes(node, axes)
    rank = x.type.rank + len(given)
    new = set(axes_of(rank, given))
    rest = iter(x.type.shape)
    return reshaped(x, tuple(1 if i in new else next(rest) for i in range(rank)))


def _axes(node: Node, axes: Op | None) -> tuple[int, ...]:
    """Axes were an attribute before they became an input (opset 13, or 18 for some reductions)."""
    return tuple(node.get("axes", ())) if axes is None else integers(axes, "the axes")


def transpose(node: Node, x: Op) -> Op:
    perm = tuple(node.get("perm", reversed(range(x.type.rank))))
    return x if perm == tuple(range(x.type.rank)) else ops.Transpose(x, perm)


def expand(node: Node, x: Op, shape: Op) -> Op:
    return broadcast_to(x, np.broadcast_shapes(x.type.shape, integers(shape, "the shape")))


def broadcast_to(x: Op, shape: tuple[int, ...]) -> Op:
    return x if x.type.shape == shape else ops.Broadcast(x, shape)


def tile(node: Node, x: Op, repeats: Op) -> Op:
    for axis, times in enumerate(integers(repeats, "the repeats")):
        if times != 1:
            before, after = x.type.shape[:axis], x.type.shape[axis:]
            copies = ops.Broadcast(reshaped(x, (*before, 1, *after)), (*before, times, *after))
            x = reshaped(copies, (*before, times * after[0], *after[1:]))
    return x


def slice_(
    node: Node,
    x: Op,
    starts: Op | None = None,
    ends: Op | None = None,
    axes: Op | None = None,
    steps: Op | None = None,
) -> Op:
    first = integers(starts, "the starts")
    last = integers(ends, "the ends")
    along = tuple(range(len(first))) if axes is None else integers(axes, "the axes")
    by = (1,) * len(first) if steps is None else integers(steps, "the steps")
    return sliced(x, first, last, axes_of(x.type.rank, along), by)


def sliced(
    x: Op, starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...], steps: tuple[int, ...]
) -> Op:
    """A Slice with its ends brought inside the tensor, axes that are left whole left out."""
    cuts = []
    for axis, places in enumerate(ops.Slice(x, starts, ends, axes, steps).places()):
        n, stop = x.type.shape[axis], places.stop
        if places != range(n):
            cuts.append((places.start, -n - 1 if stop < 0 else stop, axis, places.step))
    if not cuts:
        return x
    start_, stop_, axis_, step_ = (tuple(column) for column in zip(*cuts, strict=True))
    return ops.Slice(x, start_, stop_, axis_, step_)


def split(node: Node, x: Op, sizes: Op | None = None) -> tuple[Op, ...]:
    axis = axis_of(x, node.get("axis", 0))
    n = x.type.shape[axis]
    given: Sequence[int] = node.get("split", ())
    if sizes is not None or given:
        parts = tuple(given) or integers(sizes, "the sizes")
    else:
        count = len(node.outputs)
        said = node.get("num_outputs", count)
        if said != count:
            raise Unsupported(f"has {count} outputs, and says that they are {said}")
        each = -(-n // count)
        parts = tuple(min(each, n - i * each) for i in range(count))
    ends = np.cumsum(parts).tolist()
    return tuple(
        sliced(x, (end - size,), (end,), (axis,), (1,)) for end, size in zip(ends, parts, strict=True)
    )


def concat(node: Node, *xs: Op) -> Op:
    full = tuple(x for x in xs if x.type.size) or xs[:1]
    return full[0] if len(full) == 1 else ops.Concat(full, node.get("axis", 0))


def gather(node: Node, x: Op, indices: Op) -> Op:
    return ops.Gather(x, indices, axis_of(x, node.get("axis", 0)))


def one_hot(node: Node, ids: Op, depth: Op, values: Op) -> Op:
    if not isinstance(values, Const):
        raise Unsupported("its two values must be constants")
    off, on = values.value.ravel().tolist()
    rows: Op = ops.OneHot(ids, integer(depth, "the depth"))
    if (off, on) != (0, 1):
        step, first = (Const(np.asarray(each, np.float64), values.secret) for each in (on - off, off))
        rows = ops.Add(ops.Mul(rows, step), first)
    axis = axis_of(rows, node.get("axis", -1))
    perm = list(range(rows.type.rank - 1))
    perm.insert(axis, rows.type.rank - 1)
    return rows if axis == rows.type.rank - 1 else ops.Transpose(rows, tuple(perm))


def trilu(node: Node, x: Op, k: Op | None = None) -> Op:
    shift = 0 if k is None else integer(k, "k")
    rows, columns = x.type.shape[-2:]
    upper = bool(node.get("upper", 1))
    below = np.tri(rows, columns, shift - 1 if upper else shift, dtype=np.bool_)
    return ops.Where(Const(~below if upper else below), x, like(0, x.type.num))


def pad(node: Node, x: Op, pads: Op, value: Op | None = None, axes: Op | None = None) -> Op:
    mode = node.get("mode", "constant")
    if mode != "constant":
        raise Unsupported(f"pads by {mode}; only constants are padded")
    widths = integers(pads, "the pads")
    if min(widths) < 0:
        raise Unsupported("pads by less than nothing; use Slice")
    along = tuple(range(x.type.rank)) if axes is None else integers(axes, "the axes")
    filler = like(0, x.type.num) if value is None else value
    if len(widths) != 2 * len(along):
        raise Unsupported(f"has {len(widths)} widths for {len(along)} axes")
    for i, axis in enumerate(axes_of(x.type.rank, along)):
        x = padded(x, axis, widths[i], widths[i + len(along)], filler)
    return x


def padded(x: Op, axis: int, before: int, after: int, filler: Op) -> Op:
    """x between so many copies of a number."""
    first, last = (_filled(x, axis, width, filler) for width in (before, after))
    return ops.Concat((*first, x, *last), axis) if first or last else x


def _filled(x: Op, axis: int, width: int, value: Op) -> tuple[Op, ...]:
    shape = (*x.type.shape[:axis], width, *x.type.shape[axis + 1 :])
    return (ops.Broadcast(reshaped(value, ()), shape),) if width else ()


def cumsum(node: Node, x: Op, axis: Op) -> Op:
    at = axis_of(x, integer(axis, "the axis"))
    return ops.CumSum(x, at, bool(node.get("exclusive", 0)), bool(node.get("reverse", 0)))


Reduce = Callable[[Op, tuple[int, ...], bool], Op]


def reduction(make: Reduce) -> Callable[..., Op]:
    """A builder for an ONNX reduction, from the IR for given axes."""

    def build(node: Node, x: Op, axes: Op | None = None) -> Op:
        given = _axes(node, axes)
        if not given and node.get("noop_with_empty_axes", 0):
            return x
        over = tuple(sorted(axes_of(x.type.rank, given))) if given else tuple(range(x.type.rank))
        return make(x, over, bool(node.get("keepdims", 1))) if over else x

    return build


def sum_of_squares(x: Op, axes: tuple[int, ...], keepdims: bool) -> Op:
    return ops.ReduceSum(ops.Square(x), axes, keepdims)


def l2(x: Op, axes: tuple[int, ...], keepdims: bool) -> Op:
    return ops.Sqrt(sum_of_squares(x, axes, keepdims))


def l1(x: Op, axes: tuple[int, ...], keepdims: bool) -> Op:
    return ops.ReduceSum(ops.Abs(x), axes, keepdims)


def minimum(x: Op, axes: tuple[int, ...], keepdims: bool) -> Op:
    return ops.Neg(ops.ReduceMax(ops.Neg(x), axes, keepdims))


def lp_normalization(node: Node, x: Op) -> Op:
    p = node.get("p", 2)
    norm = l2 if p == 2 else l1
    return ops.Div(x, norm(x, (axis_of(x, node.get("axis", -1)),), True))
