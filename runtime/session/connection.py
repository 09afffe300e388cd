"""Two sides that talk, and the programs that they run: an inference, or the preparation of several.

A `Connection` lasts as long as the channel does: keys, base OTs and OT pools are set up by the first program
that needs them and serve all later ones. What a program does is written here once. Two parties run it; a
party without a role runs it for its price (`predict_cost`), one that counts work for its seconds
(`cost.meter`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

import numpy as np

from ..party.ledger import Ledger, Place
from ..party.party import Party
from ..plan.file import Plan, Weights
from ..plan.free import Encoded
from .cache import Cache
from .engines import NOTHING, Ready, checks_ot, resumed, standard
from .executor import Answer, Progress, offline, online, setup
from .facts import facts
from .handshake import InferenceTerms, PreparationTerms, Terms, shake
from .material import Store

log = logging.getLogger(__name__)

PREDICTED = 256
"""Predictions that are kept."""


@dataclass(frozen=True)
class Program:
    """One program as its price depends on it.

    Attributes:
        prepared: an inference that finds its material; there is no setup but the handshake, no offline phase.
        preparations: so many offline phases and no inference, where it is not 0.
        further: whether the connection has run a program before.
        ready: what is set up when it begins.
        check_ot: whether OT extension is checked.
    """

    prepared: bool = False
    preparations: int = 0
    further: bool = False
    ready: Ready = NOTHING
    check_ot: bool = False


HANDSHAKE = Place("setup", "handshake")
REQUEST = Place("offline", "request")
"""Where a connection's first opening is booked, which is part of the setup, and where every other."""

FRESH = Program()
"""A connection's first inference, with nothing prepared."""

PREPARED = Program(prepared=True)


@dataclass(frozen=True, repr=False)
class Done:
    """What a program leaves: the plan agreed on, the answer at the client, what it was and what it cost.

    ``material`` are the ids of what was used (one, or none), or prepared; ``seconds`` the whole program's.
    """

    plan: Plan
    program: Program
    ledger: Ledger
    seconds: float
    answer: Answer | None = None
    material: tuple[str, ...] = ()


class Connection:
    """Runs programs over ``party``, one after the other."""

    def __init__(self, party: Party, *, further: bool = False) -> None:
        self.party = party
        self._further = further
        self._cache = Cache()

    def __repr__(self) -> str:
        return f"Connection({self.party.role.value if self.party.role else 'priced'})"

    def infer(
        self,
        plan: Plan,
        terms: InferenceTerms,
        *,
        weights: Weights | None = None,
        encoded: Mapping[int, Encoded] | None = None,
        progress: Progress | None = None,
    ) -> Done:
        """One inference: ``weights`` are the server's, ``encoded`` the client's own values (`ClientInput`).

        Raises PeerMismatch, NetworkFault, RangeFault; the connection is of no use then.
        """
        begun, ledger = perf_counter(), self.party.begin()
        further, ready = self._further, Ready.of(self.party)
        plan = self._open(plan, terms)
        self._cache.open(plan)
        made, prepared = terms.made, terms.made is not None
        if terms.id is not None:
            log.info("using prepared material %s", terms.id.hex())
        if made is None:
            setup(self.party, facts(plan).cots, plan)
            made = offline(self.party, plan, weights, progress)
        answer = online(self.party, plan, made, weights, encoded, progress, cache=self._cache)
        self._cache.close(plan)
        self.party.flush()
        used = () if terms.id is None else (terms.id.hex(),)
        program = Program(prepared=prepared, further=further, ready=ready, check_ot=checks_ot(self.party))
        return Done(plan, program, ledger, perf_counter() - begun, answer, used)

    def prepare(
        self,
        plan: Plan,
        terms: PreparationTerms,
        *,
        store: Store | None = None,
        weights: Weights | None = None,
        progress: Progress | None = None,
    ) -> Done:
        """Offline phases for later, left in ``store``. A file can be claimed once both sides have theirs."""
        begun, ledger = perf_counter(), self.party.begin()
        further, ready = self._further, Ready.of(self.party)
        plan = self._open(plan, terms)
        setup(self.party, facts(plan).cots, plan, len(terms.ids))
        for id in terms.ids:
            made = offline(self.party, plan, weights, progress)
            if store is None:
                self._stored()
                continue
            with store.draft(id, made) as draft:
                self._stored()
                draft.publish()
        self.party.flush()
        count, checks = len(terms.ids), checks_ot(self.party)
        program = Program(preparations=count, further=further, ready=ready, check_ot=checks)
        made_ids = tuple(id.hex() for id in terms.ids)
        return Done(plan, program, ledger, perf_counter() - begun, material=made_ids)

    def close(self) -> None:
        """Nothing is carried on any more."""
        self._cache.clear()

    def _open(self, plan: Plan, terms: Terms) -> Plan:
        """Settle what comes."""
        with self.party.ledger.at(REQUEST if self._further else HANDSHAKE):
            agreed = shake(self.party, plan, terms)
        self._further = True
        return agreed

    def _stored(self) -> None:
        """both -> both    this side's file is safely written: a byte"""
        with self.party.ledger.at(Place("offline", "stored")):
            self.party.swap(8, (1,), lambda: np.zeros(1, np.uint64))


def rehearse(p: Party, plan: Plan, program: Program) -> Ledger:
    """The program as a party without a peer walks it; what it books."""
    connection = Connection(p, further=program.further)
    if program.preparations:
        return connection.prepare(plan, PreparationTerms(program.preparations, dry=True)).ledger
    made = facts(plan).dry_material() if program.prepared else None
    return connection.infer(plan, InferenceTerms(made=made)).ledger


def predict_cost(plan: Plan, program: Program = FRESH) -> Ledger:
    """Bytes and flights, the handshake included, as both sides will measure them.

    The ledger is kept for the next who asks, and not to be changed.
    """
    return _predicted(_ByHash(plan), program)


def predict_all(plans: Iterable[Plan]) -> list[Ledger]:
    """The same of inferences that follow one another on one connection."""
    connection = Connection(Party(None, engines=standard))
    return [connection.infer(each, InferenceTerms()).ledger for each in plans]


@dataclass(frozen=True, eq=False)
class _ByHash:
    plan: Plan

    def __hash__(self) -> int:
        return hash(self.plan.hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByHash) and self.plan.hash == other.plan.hash


@lru_cache(maxsize=PREDICTED)
def _predicted(by: _ByHash, program: Program) -> Ledger:
    engines = resumed(program.ready, check_ot=program.check_ot)
    return rehearse(Party(None, engines=engines), by.plan, program)
