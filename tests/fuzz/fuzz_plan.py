"""Fuzzes what reads a plan: `ppc inspect`, and `ppc simulate` and `ppc run` where the plan is small.

    python tests/fuzz/fuzz_plan.py --seconds 600 --seed 1

Seeds are plans of every kind of step; what is changed is the decoded MessagePack, or its bytes. The checksum
is made anew, since whoever makes a plan up can do that too.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import warnings
import zlib
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import stepwise

sys.path.append(str(Path(__file__).parents[1] / "tools"))
sys.path.append(str(Path(__file__).parents[2]))

from campaign import Target, main
from change_proto import REAL, WIDE, scrambled
from tiny import tiny_plan

from models.tiny_bert import Shape, tiny_bert
from ppc.backend.compile import compile_model
from ppc.backend.html import page
from ppc.backend.report import describe, summary
from ppc.cli import _line, _status
from ppc.runtime.cost.sample_plan import sample_plans
from ppc.runtime.party.party import together
from ppc.runtime.plan.file import Plan, decode
from ppc.runtime.plan.local import shape_of
from ppc.runtime.session.engines import standard
from ppc.runtime.session.facts import Facts
from ppc.runtime.session.inputs import ClientInput
from ppc.runtime.session.simulate import simulate

SMALL = 2**16
"""Elements of the largest value of a plan that is run too."""
TINY, RARELY = 2**11, 20
"""One in so many that are smaller still is run by two parties, which takes long."""


@cache
def seeds() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(tiny_bert(Shape(layers=1, width=4, vocabulary=7, positions=5)), f"{folder}/tiny.onnx")
        bert = compile_model(f"{folder}/tiny.onnx", seq_len=[2, 3]).plan
    return tuple(plan.body for plan in (*[tiny_plan()] * 6, bert, sample_plans()[0]))


def mutate(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.05:
        return scrambled(data, rng)
    try:
        tree = msgspec.msgpack.decode(data)
        for _ in range(1 + int(rng.expovariate(0.7))):
            _change(tree, rng)
        return msgspec.msgpack.encode(tree)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        return scrambled(data, rng)


def _change(tree: Any, rng: random.Random) -> None:
    """One change, in place, as deep as chance leads."""
    at = tree
    while True:
        if not isinstance(at, (dict, list)) or not at:
            return
        key = rng.choice(sorted(at, key=str)) if isinstance(at, dict) else rng.randrange(len(at))
        inner = at[key]
        if isinstance(inner, (dict, list)) and inner and rng.random() < 0.85:
            at = inner
        else:
            break
    match rng.randrange(12):
        case 0:
            del at[key]
        case 1 if isinstance(at, list):
            at.insert(rng.randrange(len(at) + 1), inner)
        case 2 | 3 if isinstance(at, list):
            other = rng.randrange(len(at))
            at[key], at[other] = at[other], inner
        case 4:
            at[key] = rng.choice((None, True, "", "é\0", b"", [], {}, *WIDE, *REAL))
        case 5:
            at[key] = rng.choice(list(at.values() if isinstance(at, dict) else at))
        case _:
            at[key] = _near(inner, rng)


def _near(value: Any, rng: random.Random) -> Any:
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return rng.choice((value + 1, value - 1, -value, 2 * value, *WIDE, 2**64 - 1))
        case float():
            return rng.choice(REAL)
        case str():
            return rng.choice(("", value + "x", *_texts()))
        case bytes():
            return scrambled(value, rng)
        case list() if value:
            return rng.choice((value[1:], value + value, value[::-1], []))
    return value


@cache
def _texts() -> tuple[str, ...]:
    """All short strings of the seeds: names of steps, functions, weights, inputs."""

    def walk(tree: Any) -> set[str]:
        if isinstance(tree, str):
            return {tree}
        inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
        return {text for each in inner for text in walk(each)}

    return tuple(sorted(set().union(*(walk(msgspec.msgpack.decode(data)) for data in seeds()))))


def run(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = decode(data)
        _ = Facts(plan).digest
        said = summary(plan)
        json.dumps(said)
        if zlib.crc32(data) % RARELY == 1:
            describe(plan)
            page(said)
        for each in plan.lengths:
            if (size := _largest(each)) <= SMALL:
                _execute(each, both=size <= TINY and zlib.crc32(data) % RARELY == 0)


def _largest(plan: Plan) -> int:
    """Elements of the largest tensor."""
    shapes = [each.shape for each in (*plan.forms, *plan.weights, *plan.inputs)]
    shapes += map(shape_of, plan.local)
    return max(map(prod, shapes), default=1)


def _execute(plan: Plan, both: bool) -> None:
    """In the clear, and now and then by two parties."""
    weights: Any = {each.name: np.ones(each.shape, np.int64) for each in plan.weights}
    kinds = {"int": np.int64, "float": np.float64, "bool": np.bool_}
    feeds: Any = {each.name: np.ones(each.shape, kinds[each.kind]) for each in plan.inputs}
    simulate(plan, weights, feeds)
    if both:
        given = ClientInput.of(plan, feeds)
        together(lambda p: stepwise.both(p, plan, weights, given.encoded), standard)


def expected(fault: Exception) -> bool:
    """Whether the command line would say it in one line; the line must be there."""
    return _status(fault) is not None and bool(_line(fault).strip())


TARGET = Target(seeds, mutate, run, expected)

if __name__ == "__main__":
    main(TARGET)
