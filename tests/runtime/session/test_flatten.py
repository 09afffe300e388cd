"""Material survives the way to disk and back, bit by bit; nothing but known records goes either way."""

from __future__ import annotations

import ast
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tiny import tiny_plan, tiny_weights

from ppc.runtime.party.party import together
from ppc.runtime.party.role import CLIENT, SERVER, Role
from ppc.runtime.protocols.multiply import SquareMade
from ppc.runtime.protocols.one_of_n import OneOfNMade
from ppc.runtime.session import flatten as subject
from ppc.runtime.session.engines import standard
from ppc.runtime.session.executor import offline, setup
from ppc.runtime.session.facts import facts
from ppc.runtime.session.flatten import (
    KNOWN,
    SURE,
    Many,
    Packed,
    Record,
    decode,
    encode,
    flatten,
    packed,
    payload_size,
    rebuild,
)


@pytest.fixture(scope="module")
def material() -> dict[Role, list]:
    def program(p):
        setup(p, facts(tiny_plan()).cots, tiny_plan())
        return offline(p, tiny_plan(), tiny_weights() if p.role is SERVER else None)

    server, client, _ = together(program, standard)
    return {SERVER: list(server), CLIENT: list(client)}


def there_and_back(made):
    skeleton, found = flatten(made)
    data = b"".join(bytes(piece) for x in found for piece in packed(x))
    assert len(data) == payload_size(skeleton)
    rest = memoryview(data)

    def read(view):
        nonlocal rest
        assert len(view) <= len(rest)
        view[:], rest = rest[: len(view)], rest[len(view) :]

    again = rebuild(decode(encode(skeleton)), read)
    assert not rest
    return again


def same(a, b) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("role", list(Role))
def test_a_whole_plan_comes_back(material, role):
    again = there_and_back(material[role])
    assert len(again) == len(tiny_plan().steps)
    assert same(again, reached(material[role]))


def reached(made):
    """Material without the bits of pads that no entry reaches."""
    if isinstance(made, (list, tuple)):
        return type(made)(map(reached, made))
    if isinstance(made, OneOfNMade):
        low = np.uint8((1 << min(8, made.width)) - 1)
        return replace(made, **{k: x & low for k in ("pads", "pad") if (x := getattr(made, k)) is not None})
    if is_dataclass(made):
        return replace(made, **{f.name: reached(getattr(made, f.name)) for f in fields(made)})
    return made


@pytest.mark.parametrize("role", list(Role))
def test_it_takes_the_bits_that_it_has(material, role):
    skeleton, found = flatten(material[role])
    assert payload_size(skeleton) < 0.98 * sum(x.nbytes for x in found)


@given(
    arrays.arrays(np.uint64, arrays.array_shapes(max_dims=3, max_side=12)),
    st.integers(1, 64),
    st.sampled_from([np.uint8, np.uint64]),
)
def test_any_array_comes_back(x, bits, kind):
    whole = min(bits, 8 * np.dtype(kind).itemsize)
    x = (x & np.uint64((1 << whole) - 1)).astype(kind)
    assert same(there_and_back([x]), [x])


@pytest.mark.parametrize("bits", [1, 3, 26, 64])
def test_arrays_longer_than_a_chunk_come_back(monkeypatch, bits):
    monkeypatch.setattr(subject, "CHUNK", 64)
    x = np.arange(1000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - bits)
    for shape in ((1000,), (10, 100)):
        turned = x.reshape(shape).T
        assert same(there_and_back([turned]), [turned])


def test_the_size_of_a_file_tells_nothing_of_small_arrays():
    sizes = {payload_size(flatten([np.full(SURE - 1, value, np.uint64)])[0]) for value in (0, 1, 2**63)}
    assert len(sizes) == 1


def test_pads_keep_what_entries_reach():
    pads = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    again = there_and_back(OneOfNMade(SERVER, 16, 4, 2, pads=pads))
    assert np.array_equal(again.pads, pads & 3)
    wide = OneOfNMade(SERVER, 16, 4, 8, pads=pads)
    assert same(there_and_back(wide), wide)


def test_every_record_of_the_protocols_is_known():
    """What an offline half leaves is called …Made; a new one must be added to the list."""
    folder = Path(subject.__file__).parents[1] / "protocols"
    named = {
        node.name
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Made")
    }
    assert len(named) > 10
    assert named <= {kind.__name__ for kind in KNOWN.values()}
    assert all(tag == kind.TAG for tag, kind in KNOWN.items())


def test_unknown_things_are_not_written():
    @dataclass(frozen=True)
    class SquareMade:  # known by name and tag, but another one
        TAG = "square"
        r: None

    for stranger in (SquareMade(None), {"a": 1}, b"bytes", 1.5, np.zeros(3), np.zeros(3, np.int64)):
        with pytest.raises(TypeError):
            flatten([stranger])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"a": 1}),
        msgspec.msgpack.encode(["text"]),
        msgspec.msgpack.encode([0, "u8", 65, [3]]),
        msgspec.msgpack.encode([0, "u1", 9, [3]]),
        msgspec.msgpack.encode([0, "u8", 0, [3]]),
        msgspec.msgpack.encode([0, "f8", 8, [3]]),
        msgspec.msgpack.encode([0, "u8", 8, [-3]]),
        msgspec.msgpack.encode([3, "dealer"]),
        b"\x92\x01" * 5000,
    ],
)
def test_malformed_skeletons_are_refused(data):
    with pytest.raises(ValueError, match="skeleton"):
        decode(data)


def test_unknown_records_are_not_made():
    for name, count in (("Popen", 1), ("square", 3), ("square", 0)):
        with pytest.raises(ValueError, match=name):
            rebuild(Many(False, (Record(name, (None,) * count),)), lambda view: None)
    assert rebuild(Record("square", (None, None)), lambda view: None) == SquareMade(None, None)


def test_a_packed_array_says_its_size():
    assert Packed("u8", 26, (3, 5)).size == (15 * 26 + 7) // 8
