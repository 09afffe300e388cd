"""A protobuf message changed at one place: a field set, dropped, doubled, swapped or taken from another."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

WHOLE = (0, 1, -1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 23, 64, 127, -128, 1000, 2**20, 2**31 - 1, -(2**31))
WIDE = (*WHOLE, 2**31, 2**33, 2**40, 2**62, 2**63 - 1, -(2**63))
REAL = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, 3.4e38, float("inf"), float("-inf"), float("nan"))


TENSOR_NAMES = ("NodeProto.input", "NodeProto.output", "ValueInfoProto.name", "TensorProto.name")


@dataclass
class Words:
    """What messages are made of: strings by what they name, and messages by type."""

    texts: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(lambda: [""]))
    messages: dict[str, list[Message]] = field(default_factory=lambda: defaultdict(list))

    def learn(self, message: Message) -> None:
        for owner in _messages(message):
            self.messages[owner.DESCRIPTOR.full_name].append(owner)
            for key, value in owner.ListFields():
                if key.cpp_type == Field.CPPTYPE_STRING:
                    self.texts[_naming(key)] += value if _repeats(key) else [value]


def change(message: Message, words: Words, rng: random.Random) -> None:
    """One change, in place. Every type of message is as likely, however many of it there are."""
    kinds: dict[str, list[Message]] = defaultdict(list)
    for each in _messages(message):
        kinds[each.DESCRIPTOR.full_name].append(each)
    owner = rng.choice(kinds[rng.choice(sorted(kinds))])
    if rng.random() < 0.5:  # what is said elsewhere in it is more likely to be understood
        words = Words()
        words.learn(message)
    there = [key for key, _ in owner.ListFields()]
    keys = there if there and rng.random() < 0.8 else list(owner.DESCRIPTOR.fields)
    key = rng.choice(keys)
    (_change_list if _repeats(key) else _change_one)(owner, key, words, rng)


def _change_one(owner: Message, key: Field, words: Words, rng: random.Random) -> None:
    if rng.random() < 0.2:
        owner.ClearField(key.name)
    elif key.cpp_type == Field.CPPTYPE_MESSAGE:
        others = words.messages[key.message_type.full_name]
        if others:
            getattr(owner, key.name).CopyFrom(_copied(rng.choice(others)))
    else:
        setattr(owner, key.name, _value(key, getattr(owner, key.name), words, rng))


def _change_list(owner: Message, key: Field, words: Words, rng: random.Random) -> None:
    values = getattr(owner, key.name)
    at = rng.randrange(len(values)) if values else -1
    what = rng.choice(("add", "drop", "double", "swap", "set", "set"))
    if what == "drop" and values:
        del values[at]
    elif what == "swap" and len(values) > 1:
        kept = list(values)
        other = rng.randrange(len(kept))
        kept[at], kept[other] = kept[other], kept[at]
        kept = [_copied(each) for each in kept]
        del values[:]
        values.extend(kept)
    elif key.cpp_type == Field.CPPTYPE_MESSAGE:
        others = [values[at]] if what == "double" and values else words.messages[key.message_type.full_name]
        if others:
            values.add().CopyFrom(_copied(rng.choice(others)))
    elif what == "set" and values:
        values[at] = _value(key, values[at], words, rng)
    else:
        values.append(values[at] if what == "double" and values else _value(key, None, words, rng))


def _value(key: Field, old: Any, words: Words, rng: random.Random) -> Any:
    match key.cpp_type:
        case Field.CPPTYPE_STRING if key.type == Field.TYPE_BYTES:
            return scrambled(old or b"", rng)
        case Field.CPPTYPE_STRING:
            return rng.choice(words.texts[_naming(key)]) if rng.random() < 0.9 else f"{old}\x00é"
        case Field.CPPTYPE_FLOAT | Field.CPPTYPE_DOUBLE:
            return rng.choice(REAL)
        case Field.CPPTYPE_ENUM:
            return rng.choice(key.enum_type.values).number
        case Field.CPPTYPE_INT64:
            return rng.choice(WIDE) if rng.random() < 0.7 else max(-(2**62), min(2**62, (old or 0))) + 1
        case Field.CPPTYPE_UINT64:
            return abs(rng.choice(WIDE))
    return rng.choice(WHOLE)


def scrambled(data: bytes, rng: random.Random) -> bytes:
    """Bytes with some changed, cut off or repeated."""
    if not data:
        return rng.randbytes(rng.choice((1, 4, 8, 16)))
    at, changed = rng.randrange(len(data)), bytearray(data)
    match rng.randrange(4):
        case 0:
            del changed[at:]
        case 1:
            changed[at:at] = changed[: rng.randrange(1, 9)]
        case _:
            for _ in range(rng.randrange(1, 5)):
                changed[rng.randrange(len(changed))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(changed)


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for key, value in message.ListFields():
        if key.cpp_type == Field.CPPTYPE_MESSAGE:
            for each in value if _repeats(key) else (value,):
                yield from _messages(each)


def _naming(key: Field) -> str:
    """Names of tensors are alike, whichever field holds them."""
    return "tensor" if str(key.full_name).endswith(TENSOR_NAMES) else str(key.full_name)


def _repeats(key: Field) -> bool:
    return bool(key.is_repeated if hasattr(key, "is_repeated") else key.label == Field.LABEL_REPEATED)


def _copied(value: Any) -> Any:
    if not isinstance(value, Message):
        return value
    copy = type(value)()
    copy.CopyFrom(value)
    return copy
