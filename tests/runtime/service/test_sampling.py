"""Which token follows, of numbers that the client has."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ppc.runtime.base.errors import BadInput
from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import InputSpec, Options, OutputSpec, Plan
from ppc.runtime.plan.local import Input
from ppc.runtime.service.decoding import decode
from ppc.runtime.service.sampling import Sampler

LOGITS = {"logits": np.log(np.array([[[0.1, 0.5, 0.05, 0.35]]]))}


def drawn(sampler: Sampler, count: int = 4000) -> dict[int, float]:
    found = Counter(sampler(LOGITS) for _ in range(count))
    return {token: hits / count for token, hits in found.items()}


def test_without_a_temperature_it_is_the_largest():
    assert Sampler()(LOGITS) == 1
    assert Sampler(top_k=3, top_p=0.2)(LOGITS) == 1


def test_numbers_are_drawn_by_their_exponentials():
    found = drawn(Sampler(1.0, seed=1))
    for token, chance in enumerate((0.1, 0.5, 0.05, 0.35)):
        assert abs(found[token] - chance) < 0.03


def test_a_low_temperature_prefers_the_largest():
    hot, cold = drawn(Sampler(2.0, seed=1)), drawn(Sampler(0.3, seed=1))
    assert cold[1] > 0.7 > 0.45 > hot[1]


def test_top_k_and_top_p_leave_the_rest_out():
    assert set(drawn(Sampler(1.0, top_k=2, seed=1))) == {1, 3}
    assert set(drawn(Sampler(1.0, top_p=0.8, seed=1))) == {1, 3}
    assert set(drawn(Sampler(1.0, top_p=0.4, seed=1))) == {1}
    assert set(drawn(Sampler(1.0, top_p=1.0, seed=1))) == {0, 1, 2, 3}


def test_a_seed_draws_the_same_again():
    one, other, third = ([Sampler(1.0, seed=seed)(LOGITS) for _ in range(1)] for seed in (5, 5, None))
    assert one == other
    assert third[0] in range(4)
    first, second = Sampler(1.0, seed=5), Sampler(1.0, seed=5)
    assert [first(LOGITS) for _ in range(50)] == [second(LOGITS) for _ in range(50)]


def told(argmax: bool) -> Plan:
    """A plan that reveals the place of the largest of four numbers, or the largest."""
    num = Fixed(20, 8)
    return Plan(
        model="told",
        profile="exact",
        options=Options(byte_price=1e-7),
        inputs=(InputSpec("x", (1, 4), "float"),),
        outputs=(OutputSpec("logits", 2, (1,)),),
        weights=(),
        local=(Input("x"),),
        steps=(
            steps.Encode(local=0, num=num, shape=(1, 4)),
            steps.Maximum(x=0, argmax=argmax),
            steps.Output(x=1),
        ),
    )


def test_a_place_alone_is_the_token():
    assert Sampler()({"logits": np.array([[7]])}) == 7


def test_of_a_place_alone_nothing_is_drawn_which_is_said_before_anything_is_computed():
    with pytest.raises(BadInput, match="reveals the likeliest token alone"):
        decode(told(argmax=True), [1], 1, lambda length, feeds: pytest.fail("ran"), Sampler(0.7))
    Sampler(0.7).check(told(argmax=False))
    Sampler().check(told(argmax=True))


@pytest.mark.parametrize("bad", [{"temperature": -1}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_what_cannot_be_drawn_from_is_refused(bad):
    with pytest.raises(BadInput, match="top-p"):
        Sampler(**bad)
