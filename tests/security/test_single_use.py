"""Correlated randomness is used once: no mask, key or OT turns up twice, in a run or in two."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tiny import tiny_plan, tiny_weights

from ppc.runtime.ot import keys
from ppc.runtime.ot.keys import hash_tweak
from ppc.runtime.ot.pool import Pool
from ppc.runtime.party.party import Party, together
from ppc.runtime.party.role import CLIENT, SERVER, Role
from ppc.runtime.session.engines import standard
from ppc.runtime.session.executor import offline, setup
from ppc.runtime.session.facts import facts

pytestmark = pytest.mark.long

WINDOWS = ((12, 8), (7, 14), (2, 48), (1, 96))
"""(bits at least, neighbours): so many elements of so many bits hold 96 bits: not equal by accident."""


PROGRAMS = 2


class Recorded:
    """What one run took and made, by role."""

    def __init__(self) -> None:
        self.material: dict[Role, list[Any]] = {}
        self.party: dict[Role, Party] = {}
        self.takes: dict[tuple[Role, Role], list[tuple[int, int]]] = defaultdict(list)
        self.blocks: dict[tuple[Role, Role], list[np.ndarray]] = defaultdict(list)
        self.hashed: list[tuple[str, bytes, int, int]] = []


def record(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Setup and offline phase of the tiny plan at both roles, twice over on one connection."""
    seen, lock = Recorded(), threading.Lock()
    take, sender_keys, receiver_keys = Pool.take, keys.sender_keys, keys.receiver_keys

    def watched_take(self, n):
        p = self._p
        first, blocks = take(self, n)
        if not p.pricing:
            seen.takes[p.role, self.sender].append((first, n))
            seen.blocks[p.role, self.sender].append(blocks.copy())
        return first, blocks

    def watched_keys(name, real):
        def hashed(blocks, *rest):
            with lock:
                tweak, first, _ = rest[-3:]
                seen.hashed.append((name, tweak.tobytes(), first, len(blocks)))
            return real(blocks, *rest)

        return hashed

    def program(p: Party) -> list[Any]:
        plan = tiny_plan()
        seen.party[p.role] = p
        made = []
        for _ in range(PROGRAMS):
            setup(p, facts(plan).cots, plan)
            made += offline(p, plan, tiny_weights() if p.role is SERVER else None)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(Pool, "take", watched_take)
        patch.setattr(keys, "sender_keys", watched_keys("sender", sender_keys))
        patch.setattr(keys, "receiver_keys", watched_keys("receiver", receiver_keys))
        seen.material[SERVER], seen.material[CLIENT], _ = together(program, standard)
    return seen


@pytest.fixture(scope="module")
def runs() -> list[Recorded]:
    with pytest.MonkeyPatch.context() as patch:
        return [record(patch) for _ in range(2)]


def arrays(made: Any) -> Iterator[np.ndarray]:
    if isinstance(made, np.ndarray):
        yield made
    elif isinstance(made, (list, tuple)):
        for each in made:
            yield from arrays(each)
    elif hasattr(made, "__dataclass_fields__"):
        for name in made.__dataclass_fields__:
            yield from arrays(getattr(made, name))


def windows(x: np.ndarray) -> Iterator[bytes]:
    """Runs of neighbouring elements that hold 96 bits between them; none of a shorter array."""
    flat = x.astype(np.uint64).ravel()
    bits = int(flat.max(initial=1)).bit_length()
    length = next(n for least, n in WINDOWS if bits >= least)
    for at in range(flat.size - length + 1):
        yield flat[at : at + length].tobytes()


def repeated(found: list[np.ndarray]) -> int:
    counts = Counter(window for x in found for window in windows(x))
    assert len(counts) > 400
    return sum(n > 1 for n in counts.values())


@pytest.mark.parametrize("role", list(Role))
def test_no_mask_turns_up_twice(runs, role):
    """Neither in two steps of a run nor in two runs of the same plan, at any offset."""
    assert repeated([x for run in runs for x in arrays(run.material[role])]) == 0


def test_a_mask_that_turns_up_twice_is_seen(runs):
    found = list(arrays(runs[0].material[CLIENT]))
    mask = next(x for x in found if x.max() > 2**20)
    assert repeated([*found, mask.ravel()[3:20]]) > 0


@pytest.mark.parametrize("role", list(Role))
def test_short_material_is_new_in_every_run_too(runs, role):
    """Bits and short masks, place by place."""
    first, second = (list(arrays(run.material[role])) for run in runs)
    long = [(a, b) for a, b in zip(first, second, strict=True) if a.size * int(a.max()).bit_length() >= 24]
    assert len(long) > 30 * PROGRAMS
    assert not any(np.array_equal(a, b) for a, b in long)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("sender", list(Role))
def test_every_ot_is_taken_once(runs, role, sender):
    """The indices that a pool hands out are 0, 1, 2, …, as many as the plan says, alike at both roles."""
    for run in runs:
        takes = run.takes[role, sender]
        at = 0
        for first, n in takes:
            assert first == at
            at += n
        assert at == PROGRAMS * facts(tiny_plan()).cots[sender] == run.party[role].cots[sender].planned
        assert takes == run.takes[role.other, sender]


def test_every_hash_is_tweaked_by_the_index_of_its_ot(runs):
    """What is hashed is what was taken, under its direction's tweak and running indices, in no other way."""
    for run in runs:
        for name, side in (("sender", lambda sender: sender), ("receiver", lambda sender: sender.other)):
            hashed = Counter((tweak, first, n) for kind, tweak, first, n in run.hashed if kind == name)
            taken = Counter()
            for sender in Role:
                own = hash_tweak(run.party[sender].cots[sender]._iknp.tag).tobytes()
                taken.update((own, *take) for take in run.takes[side(sender), sender])
            assert hashed == taken


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("sender", list(Role))
def test_no_cot_block_is_handed_out_twice(runs, role, sender):
    blocks = np.concatenate([block for run in runs for block in run.blocks[role, sender]])
    assert len(np.unique(blocks, axis=0)) == len(blocks) > 1000


def test_correlations_and_tags_are_new_in_every_run_and_direction(runs):
    pools = [run.party[sender].cots[sender] for run in runs for sender in Role]
    assert len({pool.delta.tobytes() for pool in pools}) == len(pools) == 4
    assert len({pool._iknp.tag for pool in pools}) == len({pool.tweak.tobytes() for pool in pools}) == 4
    for run in runs:
        assert all(run.party[sender.other].cots[sender].delta is None for sender in Role)


def test_he_keys_are_new_in_every_run(runs):
    sets = [run.party[CLIENT].linear.client._keys for run in runs]
    secrets = [key.ntt.tobytes() for keys_of_run in sets for key in keys_of_run.values()]
    assert len(set(secrets)) == len(secrets) >= 2


def test_two_generators_say_different_things():
    parties = [Party(None) for _ in range(4)]
    assert len({party.prg.bytes(32).tobytes() for party in parties}) == 4
