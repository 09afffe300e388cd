"""What is carried from token to token: shares that say nothing alone, and that nobody prints."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest
from decoder import PROMPT
from evenness import SURE, evenness
from sides import told

from ppc.runtime.party.role import CLIENT, SERVER
from ppc.runtime.service.decoding import decode
from ppc.runtime.service.sampling import Sampler
from ppc.runtime.service.session import Session
from ppc.runtime.session.cache import Cache
from ppc.runtime.session.inputs import ClientInput
from ppc.runtime.session.simulate import Simulator

pytestmark = pytest.mark.long

MOST = 3


class Kept(Cache):
    """A cache that remembers what it held when it was cleared."""

    def clear(self):
        if self.rows:
            self.last = dict(self._states)
        super().clear()


def caches(decoder):
    """Each side's shares of all states after `MOST` tokens."""
    plan, weights = decoder.compiled.plan, decoder.compiled.weights
    ends = socket.socketpair()
    found = {CLIENT: Kept(), SERVER: Kept()}

    def session(role, end):
        made = Session(role, end, plan, weights=weights if role is SERVER else None)
        made._connection._cache = found[role]
        return made

    def serve():
        with session(SERVER, ends[0]) as server:
            while server.answer() is not None:
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    with session(CLIENT, ends[1]) as client:

        def answer(length, feeds):
            return client.infer(ClientInput.at(length, feeds))

        tokens = [token for token, _ in decode(plan, PROMPT, MOST, answer, Sampler())]
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert tokens == decoder.greedy(PROMPT, MOST)
    return {role: cache.last for role, cache in found.items()}


@pytest.fixture(scope="module")
def runs(decoder):
    return [caches(decoder) for _ in range(6)]


def test_the_two_shares_are_what_the_simulator_keeps(decoder, runs):
    plan = decoder.compiled.plan
    cache, simulator = Cache(lead=1), Simulator(plan, decoder.compiled.weights)

    def answer(length, feeds):
        return simulator.further(length, feeds, cache)

    list(decode(plan, PROMPT, MOST, answer, Sampler()))
    padding = 8 - len(PROMPT)  # its rows, which no token reads, differ
    for name, (num, _, _) in plan.states.kinds.items():
        both = num.signed(num.wrap(runs[0][CLIENT][name] + runs[0][SERVER][name]))
        wanted = cache._states[name][0]
        off = np.abs(both - wanted)[:, :, padding:] * 2.0**-num.scale
        assert off.max() < 0.05 * np.abs(wanted * 2.0**-num.scale).max(), name


@pytest.mark.parametrize("role", [CLIENT, SERVER])
def test_either_share_alone_is_uniform_and_new_in_each_run(decoder, runs, role):
    for name, (num, _, _) in decoder.compiled.plan.states.kinds.items():
        seen = np.stack([run[role][name].ravel() for run in runs])
        failing = {test: p for test, p in evenness(seen, num.bits).items() if not p > SURE}
        assert not failing, name


def test_a_share_that_is_not_masked_would_be_seen(decoder, runs):
    name, (num, _, _) = next(iter(decoder.compiled.plan.states.kinds.items()))
    seen = np.stack([num.wrap(run[CLIENT][name] + run[SERVER][name]).ravel() for run in runs])
    assert min(evenness(seen, num.bits).values()) < SURE


def test_nothing_of_it_is_logged_or_printed(decoder):
    with told() as lines:
        found = caches(decoder)
    states = [state for side in found.values() for state in side.values()]
    numbers = {str(value) for state in states for value in state.ravel()[:50] if value > 10**6}
    assert numbers
    printed = "\n".join([*lines, repr(Cache()), repr(decoder.compiled)])
    assert not [each for each in numbers if each in printed]
