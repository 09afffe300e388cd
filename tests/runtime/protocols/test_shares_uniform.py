"""A party's messages and shares of results say nothing of what the other holds.

The input is constant and lies at one party whole, at the other as zeros: whatever is random in a message or a
share was put there by the protocol. A message that only looks random because it carries a random share shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from frames import unpacked

from ppc.runtime.base.ring import BIT, Fixed
from ppc.runtime.base.share import Share
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.product import uniform_norm_bits
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.party.party import Message, Part, Party, together
from ppc.runtime.party.role import Role
from ppc.runtime.protocols import matmul as products
from ppc.runtime.protocols.booleans import select, select_offline
from ppc.runtime.protocols.compare import Thresholds, compare, compare_offline
from ppc.runtime.protocols.maximum import argmax, argmax_offline, maximum, maximum_offline
from ppc.runtime.protocols.multiply import (
    Rows,
    multiply,
    multiply_offline,
    scaled,
    scaled_offline,
    square,
    square_offline,
)
from ppc.runtime.protocols.truncate import truncate, truncate_offline
from ppc.runtime.session.engines import standard

pytestmark = pytest.mark.long

COUNT = 2048
NUM = Fixed(16, 4)
KNOTS = Thresholds((-32, 0, 32))
DIGIT, SIGN = Fixed(4), Thresholds((0,))
ROWS = Rows((COUNT,), (COUNT,))
WEIGHT = np.full((COUNT,), 3, np.int64)


def whole_at(
    holder: Role, p: Party, value: int, num: Fixed = NUM, shape: tuple[int, ...] = (COUNT,)
) -> Share:
    mine = value if p.role is holder else 0
    return Share(num, shape, None if p.pricing else np.full(shape, mine, np.uint64))


def uneven_bits(x: np.ndarray, bits: int) -> list[int]:
    """Bits that are 1 too often or too rarely, by six standard deviations."""
    flat = x.ravel()
    shares = [((flat >> np.uint64(i)) & np.uint64(1)).mean() for i in range(bits)]
    return [i for i, share in enumerate(shares) if abs(share - 0.5) > 3 / np.sqrt(flat.size)]


PROTOCOLS: dict[str, Callable[[Party, Role], Share]] = {
    "compare": lambda p, at: compare(
        p, whole_at(at, p, 5), KNOTS, compare_offline(p, Fixed(16), (COUNT,), KNOTS)
    ),
    "compare in one digit": lambda p, at: compare(
        p, whole_at(at, p, 5, DIGIT), SIGN, compare_offline(p, DIGIT, (COUNT,), SIGN)
    ),
    "argmax": lambda p, at: argmax(
        p, whole_at(at, p, 5, NUM, (COUNT, 3)), argmax_offline(p, NUM, (COUNT, 3))
    ),
    "maximum": lambda p, at: maximum(
        p, whole_at(at, p, 5, NUM, (COUNT, 4)), 0, maximum_offline(p, NUM, (COUNT, 4), 0)
    ),
    "select": lambda p, at: select(
        p, whole_at(at, p, 1, BIT), whole_at(at, p, 5), select_offline(p, NUM, (COUNT,))
    ),
    "square": lambda p, at: square(p, whole_at(at, p, 5), square_offline(p, NUM, (COUNT,))),
    "multiply": lambda p, at: multiply(
        p, whole_at(at, p, 5), whole_at(at, p, 7), multiply_offline(p, NUM, ROWS)
    ),
    "scaled": lambda p, at: scaled(
        p, whole_at(at, p, 5), ROWS, 2, WEIGHT, scaled_offline(p, NUM, ROWS, 4, WEIGHT)
    ),
}


@dataclass
class Said:
    """Ring elements that either party says; ``bits`` an element."""

    messages: list[tuple[str, int, np.ndarray]] = field(default_factory=list)

    def telling(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """`Party.tell_all`."""

        def tell_all(p: Party, parts: Sequence[tuple[Role, Part]]) -> Any:
            who = f"{p.role} tells"
            noted = [
                (role, (bits, shape, self.noted(who, bits, make))) for role, (bits, shape, make) in parts
            ]
            return real(p, noted)

        return tell_all

    def swapping(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """`Party.swap_all`."""

        def swap_all(p: Party, parts: Sequence[Part]) -> Any:
            who = f"{p.role} swaps"
            return real(p, [(bits, shape, self.noted(who, bits, make)) for bits, shape, make in parts])

        return swap_all

    def exchanging(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """`Party.exchange`, of what is packed in more than a bit each."""

        def exchange(p: Party, messages: Sequence[Message]) -> Any:
            def packed(bits: int, count: int, make: Callable[[], Any]) -> Any:
                data = make()
                self.messages.append((f"{p.role} exchanges", bits, unpacked(bytes(data), bits, count)))
                return data

            return real(
                p,
                [
                    (role, bits, count, make if bits == 1 else partial(packed, bits, count, make))
                    for role, bits, count, make in messages
                ],
            )

        return exchange

    def noted(self, who: str, bits: int, make: Callable[[], Any]) -> Callable[[], Any]:
        def noted() -> np.ndarray:
            value = make()
            self.messages.append((who, bits, value))
            return value

        return noted

    def check(self) -> None:
        assert {who.split()[0] for who, _, _ in self.messages} & {str(role) for role in Role}
        for who, bits, value in self.messages:
            assert not uneven_bits(value, bits), who


@pytest.fixture
def said(monkeypatch) -> Said:
    record = Said()
    monkeypatch.setattr(Party, "tell_all", record.telling(Party.tell_all))
    monkeypatch.setattr(Party, "swap_all", record.swapping(Party.swap_all))
    monkeypatch.setattr(Party, "exchange", record.exchanging(Party.exchange))
    return record


@pytest.mark.parametrize("holder", list(Role))
@pytest.mark.parametrize("name", PROTOCOLS)
def test_shares_and_messages_are_uniform(two, said, name, holder):
    done = two(lambda p: PROTOCOLS[name](p, holder))
    said.check()
    for share in (done.server, done.client):
        assert not uneven_bits(share.ring, share.num.bits)


@pytest.mark.parametrize("holder", list(Role))
def test_messages_of_a_truncation_are_uniform(two, said, holder):
    new = Fixed(15, 2)  # the share of its result is the given one, shifted
    two(lambda p: truncate(p, whole_at(holder, p, 5), new, truncate_offline(p, NUM, new, (COUNT,))))
    said.check()


@pytest.mark.parametrize("holder", list(Role))
def test_shares_and_messages_of_a_linear_layer_are_uniform(said, holder):
    m, k, n, num = 32, 64, 64, Fixed(20, 8)
    w = np.ones((k, n), np.int64)
    product = plan_product(1, m, k, n, num.bits, he_seconds, norm_bits=uniform_norm_bits(3, k))

    def program(p: Party) -> Share:
        p.linear.plan([product])
        made = products.linear_offline(p, products.linear_begin(p, product, w))
        return products.linear(p, whole_at(holder, p, 5, num, (1, m, k)), n, 0, w, made)

    done = together(program, standard)[:2]
    said.check()
    for share in done:
        assert not uneven_bits(share.ring, num.bits)
        assert (
            len(np.unique(share.ring)) > share.size // 2
        )  # the columns of W are equal: without a mask, so are they


@pytest.mark.parametrize("holder", list(Role))
@pytest.mark.parametrize("count", [1, 2])
def test_shares_and_messages_of_a_product_of_shares_are_uniform(said, holder, count):
    m, k, n, num = 32, 32, 64, Fixed(20, 8)
    axes = count, m, k, n
    both = (
        plan_product(*products.at_once(axes, count), num.bits, he_seconds),
        plan_product(*products.at_once((count, n, k, m), count), num.bits, he_seconds),
    )

    def program(p: Party) -> tuple[Share, products.MatmulMade]:
        p.linear.plan(both)
        made = products.matmul_offline(p, both[0], products.matmul_begin(p, axes, *both))
        a, b = (whole_at(holder, p, 5, num, shape) for shape in ((count, m, k), (count, k, n)))
        return products.matmul(p, a, b, made), made

    done = together(program, standard)[:2]
    said.check()
    for share, made in done:
        assert not uneven_bits(share.ring, num.bits)
        assert not uneven_bits(made.cross, num.bits)


def test_what_is_not_uniform_is_seen():
    assert uneven_bits(np.zeros(COUNT, np.uint64), 3) == [0, 1, 2]
    assert uneven_bits(np.arange(COUNT, dtype=np.uint64) * np.uint64(2), 2) == [0]
