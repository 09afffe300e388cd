"""Sizes for the axes that a model leaves open."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import onnx

from ppc.frontend.errors import BatchesDiffer, DynamicAxis, UnknownDim
from ppc.frontend.ir.graph import Input, Num
from ppc.frontend.ops.kinds import kind_of
from ppc.frontend.read.caches import is_cache
from ppc.frontend.read.sandbox import infer
from ppc.runtime.base.ring import MAX_RANK

BATCH = "batch"
"""What the axis of prompts is called to who gives its size, whatever its name."""

_MADE_UP = re.compile(r"|\?|s\d+|u\d+|unk__\d+|.*dynamic_axes_\d+|.*_?dim_\d+")
"""Names that exporters make up for axes that nobody named."""


@dataclass(frozen=True)
class OpenAxis:
    """An axis that the model leaves open: what became of it, and why."""

    input: str
    axis: int
    name: str
    size: int
    why: str


_NAMED = 4
"""Places of an axis that are told one by one."""


def axis_lines(axes: Sequence[OpenAxis]) -> list[str]:
    """For people: a line for all axes that became the same for the same reason."""
    alike: dict[tuple[str, int, str], list[str]] = {}
    for each in axes:
        place = f"{each.input}.{each.axis}"
        alike.setdefault((each.name or place, each.size, each.why), []).append(place)
    lines = []
    for (name, size, why), places in alike.items():
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        where = "" if places == [name] else f": {', '.join(places[:_NAMED])}{more}"
        lines.append(f"axis {name} = {size}, {why}{where}")
    return lines


def fixed_inputs(
    model: onnx.ModelProto, seq_len: int | None, dims: Mapping[str, int], read: Container[str] | None = None
) -> tuple[tuple[Input, ...], tuple[OpenAxis, ...]]:
    """The model's inputs of the names in ``read`` with every axis fixed, and what each open one became.

    In this order: ``dims`` by the axis's name or as ``input.axis``; ``seq_len`` for a name with "seq" or
    "length" in it; ``dims`` of `BATCH`, or 1, for a first axis called batch… or N; 0 for past…, a cache that
    nobody has filled; a sum of names for "past_length + seq_length". "past_length + 1" counts what is there
    after another token: with an empty cache a whole prompt comes at once, so it is ``seq_len`` where another
    axis is. Axes with names that an exporter made up: as many prompts for the first, and ``seq_len`` for the
    second of a matrix of integers, which token ids and masks are.

    Raises DynamicAxis for what is left, UnknownDim for a size that no axis takes, and BatchesDiffer where the
    inputs are not of one batch.
    """
    initialized = {each.name for each in model.graph.initializer}
    there = [each for each in model.graph.input if each.name not in initialized]
    values = [each for each in there if read is None or each.name in read]
    fixer = _Fixer(seq_len, dims, values)
    inputs = tuple(fixer.input(value) for value in values)
    fixer.check([each for each in there if each not in values])
    return inputs, tuple(fixer.found)


MOST = 2**24
"""Elements of an input: a client sends each of them in several bytes."""

_SHAPE_LIKE = 1024


def inferred_types(
    model: onnx.ModelProto, inputs: tuple[Input, ...]
) -> dict[str, tuple[tuple[int, ...], Num]]:
    """Shapes and kinds of the tensors that ONNX's shape inference can tell, with the inputs' axes fixed."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    shapes = {each.name: each.shape for each in inputs}
    for value in fixed.graph.input:
        for axis, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            axis.dim_value = size
    del fixed.graph.value_info[:]
    for tensor in fixed.graph.initializer:
        if len(tensor.raw_data) > _SHAPE_LIKE:
            tensor.raw_data = b""  # inference reads shapes from small ones alone
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    told = infer(fixed.SerializeToString())
    if told is None:  # it refuses what it does not know
        return {}
    fixed = onnx.ModelProto.FromString(told)
    found = {}
    for value in (*fixed.graph.value_info, *fixed.graph.output):
        tensor = value.type.tensor_type
        kind = kind_of(tensor.elem_type)
        dims = tensor.shape.dim
        if kind is not None and tensor.HasField("shape") and all(each.HasField("dim_value") for each in dims):
            found[value.name] = (tuple(int(each.dim_value) for each in dims), kind)
    return found


def _terms(name: str) -> list[str]:
    return [part.strip() for part in name.split("+")]


_IDS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL)
"""The types of token ids and masks; smaller integers are numbers."""


class _Fixer:
    def __init__(
        self, seq_len: int | None, dims: Mapping[str, int], values: Sequence[onnx.ValueInfoProto]
    ) -> None:
        self.seq_len, self.dims = seq_len, dims
        self.found: list[OpenAxis] = []
        self.taken: set[str] = set()
        self.sizes: set[int] = set()
        self.batches: dict[str, int] = {}
        self.open: list[tuple[str, int, str, bool]] = []
        self.seen: list[str] = []
        names = [axis.dim_param for value in values for axis in value.type.tensor_type.shape.dim]
        self.prompt = seq_len if any(map(_is_sequence, names)) else None
        """The length of a whole prompt, where an axis of its own says it."""
        for name, size in dims.items():
            if size < 1:
                raise UnknownDim(f"--dim {name}={size}: an axis has at least one element")
        if seq_len is not None and seq_len < 1:
            raise UnknownDim(f"--seq-len {seq_len}: a sequence has at least one element")

    def input(self, value: onnx.ValueInfoProto) -> Input:
        tensor = value.type.tensor_type
        kind = kind_of(tensor.elem_type) if value.type.HasField("tensor_type") else None
        if kind is None:
            raise UnknownDim(f"input {value.name} is no tensor of numbers")
        tokens = tensor.elem_type in _IDS and len(tensor.shape.dim) == 2
        shape = tuple(self.axis(value.name, i, axis, tokens) for i, axis in enumerate(tensor.shape.dim))
        if math.prod(shape) > MOST or len(shape) > MAX_RANK:
            raise UnknownDim(
                f"input {value.name} of shape {shape} has more than {MOST:,} elements or {MAX_RANK} axes"
            )
        return Input(shape, kind, name=value.name)

    def axis(self, tensor: str, index: int, axis: onnx.TensorShapeProto.Dimension, tokens: bool) -> int:
        place = f"{tensor}.{index}"
        if axis.HasField("dim_value") and axis.dim_value > 0:
            if self.dims.get(place, axis.dim_value) != axis.dim_value:
                raise UnknownDim(
                    f"--dim {place}={self.dims[place]}: the model fixes that axis at {axis.dim_value}"
                )
            self.taken |= {place} & set(self.dims)
            self.sizes.add(axis.dim_value)
            if index == 0 and tokens and axis.dim_value > 1:  # one row goes with any number of others
                self.batches[tensor] = axis.dim_value
            return int(axis.dim_value)
        name = axis.dim_param
        self.seen.append(name or place)
        size, why = self.size(name, place, index, tokens)
        if size is None:
            prompt = _is_sequence(name) or (tokens and index == 1 and bool(_MADE_UP.fullmatch(name)))
            self.open.append((tensor, index, name, prompt))
            return 1
        self.sizes.add(size)
        self.found.append(OpenAxis(tensor, index, name, size, why))
        if index == 0 and (_is_batch(name) or (tokens and _MADE_UP.fullmatch(name))):
            self.batches[tensor] = size
        return size

    def size(self, name: str, place: str, index: int, tokens: bool) -> tuple[int | None, str]:
        """What an axis becomes, None where nothing says it, and why."""
        for key in (place, name):
            if key in self.dims:
                self.taken.add(key)
                return self.dims[key], "--dim"
        if "+" in name:
            return self.sum(name, index, tokens)
        if is_cache(_plain(name)):
            return 0, "an empty cache"
        if _is_sequence(name) and self.seq_len is not None:
            return self.seq_len, "--seq-len"
        if _is_batch(name) or (index == 0 and _plain(name) in ("n", "b", "bs", "bsz")):
            return self.prompts("one prompt at a time")
        if _MADE_UP.fullmatch(name):
            if index == 0:
                return self.prompts("a first axis without a name")
            if index == 1 and tokens:
                return self.seq_len, "--seq-len, the second axis of tokens"
        return None, ""

    def prompts(self, why: str) -> tuple[int, str]:
        """Of the axis of prompts, whatever its name."""
        if BATCH not in self.dims:
            return 1, why
        self.taken.add(BATCH)
        return self.dims[BATCH], f"--dim {BATCH}: prompts at a time"

    def sum(self, name: str, index: int, tokens: bool) -> tuple[int | None, str]:
        terms = _terms(name)
        cache = next((each for each in terms if is_cache(_plain(each))), "")
        if self.prompt is not None and cache and cache not in self.dims and set(terms) == {cache, "1"}:
            return self.prompt, "--seq-len: the cache is empty, and the whole prompt comes at once"
        found = [int(each) if each.isdigit() else self.size(each, "", index, tokens)[0] for each in terms]
        sizes = [each for each in found if each is not None]
        return (sum(sizes), f"{' + '.join(map(str, sizes))}") if len(sizes) == len(found) else (None, "")

    def check(self, unread: Sequence[onnx.ValueInfoProto]) -> None:
        there = f"the model leaves open: {', '.join(dict.fromkeys(self.seen)) or 'none'}"
        if self.seq_len is None and (prompt := next(filter(_is_sequence, self.seen), None)):
            there += f"; {prompt} is the prompt's length: --seq-len"
        idle = {
            key
            for value in unread
            for i, axis in enumerate(value.type.tensor_type.shape.dim)
            for key in (f"{value.name}.{i}", axis.dim_param, *_terms(axis.dim_param))
        }
        if unknown := [f"{key}={self.dims[key]}" for key in self.dims if key not in self.taken | idle]:
            raise UnknownDim(f"--dim {' '.join(unknown)}: no input has such an axis; {there}")
        if self.open:
            raise DynamicAxis(self.open)
        if self.seq_len is not None and self.seq_len not in self.sizes:
            raise UnknownDim(f"--seq-len {self.seq_len}: no axis is a sequence's length; {there}")
        if len(set(self.batches.values())) > 1:
            raise BatchesDiffer(
                self.batches, {each.input: each.name for each in self.found if each.axis == 0}
            )


def _plain(name: str) -> str:
    """A name in lower case, "" for what is none."""
    return name.lower() if name.isidentifier() or name.replace(".", "_").isidentifier() else ""


def _is_sequence(name: str) -> bool:
    plain = _plain(name)
    return not is_cache(plain) and ("seq" in plain or "length" in plain)


def _is_batch(name: str) -> bool:
    return _plain(name).startswith("batch")
