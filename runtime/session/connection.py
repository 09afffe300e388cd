"""Two sides that talk, and the programs that they run: an inference, or the preparation of several.

In a `Connection` keys, base OTs and OT pools are set up by the first program that needs them and serve all
later ones, also over another channel when the first has ended (`handshake`). What a program does is written
here once. Two parties run it; a party without a role runs it for its price (`predict_cost`), one that counts
work for its seconds (`cost.meter`).
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

import numpy as np

from ..net.channel import Channel
from ..party.ledger import Ledger, Place
from ..party.party import Party
from ..party.role import SERVER
from ..plan.file import Plan, Weights
from ..plan.free import Encoded
from .cache import Cache
from .engines import NOTHING, Ready, checks_ot, resumed, standard
from .executor import Answer, Progress, offline, online, setup
from .facts import facts
from .handshake import NO_TICKET, InferenceTerms, PreparationTerms, Request, Terms, Ticket, shake
from .held import Held
from .material import Store
from .once import ID

log = logging.getLogger(__name__)

PREDICTED = 256
"""Predictions that are kept."""


@dataclass(frozen=True)
class Program:
    """One program as its price depends on it.

    Attributes:
        prepared: an inference that finds its material; there is no setup but the handshake, no offline phase.
        at: which it is of those whose material lies together.
        preparations: the material of so many files and no inference, where it is not 0.
        further: whether the connection has run a program before over the same channel.
        ready: what is set up when it begins.
        check_ot: whether OT extension is checked.
    """

    prepared: bool = False
    at: int = 0
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
    """Runs programs over ``party``, one after the other.

    Attributes:
        ticket: by what it goes on over another channel: the server's own, or what the client was given.
    """

    def __init__(self, party: Party, *, further: bool = False) -> None:
        self.party = party
        self.ticket = NO_TICKET if party.role is not SERVER else Ticket(os.urandom(ID))
        self._further = further
        self._cache = Cache()
        self._rest: dict[str, deque[Held]] = {}
        """Of a file of prepared material the inferences to come, by plan."""

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
        heard: Request | None = None,
    ) -> Done:
        """One inference: ``weights`` are the server's, ``encoded`` the client's own values (`ClientInput`).

        ``heard`` is what the server has heard of the handshake already. Raises PeerMismatch, NetworkFault,
        RangeFault; the connection is of no use then.
        """
        begun, ledger, further = perf_counter(), self.party.begin(), self._further
        if plan.hash in self._rest and self.party.role is not SERVER:
            terms.offer_nothing()
        plan = self._open(plan, terms, heard)
        self._cache.open(plan)
        if plan.states.added and not plan.states.held:  # masks of rows go with them
            self._forget()
        ready = Ready.of(self.party)
        made, at = self._prepared(plan, terms)
        prepared = made is not None
        if made is None:
            setup(self.party, facts(plan).cots, plan)
            made = offline(self.party, plan, weights, progress, memory=terms.memory)
        answer = online(self.party, plan, made, weights, encoded, progress, cache=self._cache)
        self._cache.close(plan)
        self.party.flush()
        used = () if terms.id is None else (terms.id.hex(),)
        checks = checks_ot(self.party)
        program = Program(prepared=prepared, at=at, further=further, ready=ready, check_ot=checks)
        self._ended()
        return Done(plan, program, ledger, perf_counter() - begun, answer, used)

    def _prepared(self, plan: Plan, terms: InferenceTerms) -> tuple[Held | None, int]:
        """Material that is there, if any, and which it is of those that lie together: what both have claimed,
        or what is left of an earlier claim."""
        together = plan.options.together
        if terms.id is not None and terms.made is not None:
            log.info("using prepared material %s", terms.id.hex())
            self._forget()  # its masks of rows are others
            self._rest[plan.hash] = deque(terms.made.apart(together))
        elif terms.made is not None:
            return terms.made, 0
        rest = self._rest.get(plan.hash)
        if not rest:
            return None, 0
        made, at = rest.popleft(), together - len(rest) - 1
        if not rest:
            del self._rest[plan.hash]
        return made, at

    def _forget(self) -> None:
        """What is made for a text that has ended."""
        self.party.ahead.clear()
        self._rest.clear()

    def prepare(
        self,
        plan: Plan,
        terms: PreparationTerms,
        *,
        store: Store | None = None,
        weights: Weights | None = None,
        progress: Progress | None = None,
        heard: Request | None = None,
    ) -> Done:
        """Offline phases for later, left in ``store``. A file can be claimed once both sides have theirs; it
        is for all inferences whose material is made together."""
        begun, ledger, further = perf_counter(), self.party.begin(), self._further
        plan = self._open(plan, terms, heard)
        self._forget()
        ready = Ready.of(self.party)
        together = plan.options.together
        setup(self.party, facts(plan).cots, plan, together * len(terms.ids))
        for i, id in enumerate(terms.ids):
            made = Held(terms.memory)
            for j in range(together):
                told = _of_several(progress, i * together + j, together * len(terms.ids))
                offline(self.party, plan, weights, told, memory=terms.memory, made=made)
            if store is None:
                self._stored()
                continue
            with store.of(plan).draft(id, made) as draft:
                self._stored()
                draft.publish()
        self.party.flush()
        count, checks = len(terms.ids), checks_ot(self.party)
        program = Program(preparations=count, further=further, ready=ready, check_ot=checks)
        made_ids = tuple(id.hex() for id in terms.ids)
        self._ended()
        return Done(plan, program, ledger, perf_counter() - begun, material=made_ids)

    def rest(self) -> None:
        """Between two channels: let go of what was carried, of what no later program takes, of threads."""
        self._cache.clear()
        self._forget()
        for source in self.party.cots.values():
            source.plan(0)
        self.party.close()

    def end(self) -> None:
        """Nothing is kept; it is of no further use."""
        self.party.end()

    def go_on(self, channel: Channel) -> None:
        """At the client: over another channel from now on, if the server goes on too (`handshake`)."""
        self.party.channel, self._further = channel, False

    def _open(self, plan: Plan, terms: Terms, heard: Request | None) -> Plan:
        """Settle what comes, and from where both go on."""
        with self.party.ledger.at(REQUEST if self._further else HANDSHAKE):
            agreed = shake(self.party, plan, terms, self.ticket, heard)
        if agreed.ticket.ended != self.ticket.ended:
            self.party.renew()
        self._further, self.ticket = True, agreed.ticket
        return agreed.plan

    def _ended(self) -> None:
        """A program has, at this side."""
        self.ticket = self.ticket._replace(ended=self.ticket.ended + 1)

    def _stored(self) -> None:
        """both -> both    this side's file is safely written: a byte"""
        with self.party.ledger.at(Place("offline", "stored")):
            self.party.swap(8, (1,), lambda: np.zeros(1, np.uint64))


def _of_several(progress: Progress | None, at: int, of: int) -> Progress | None:
    """One of several phases that are alike, as a part of them all."""
    if progress is None:
        return None
    return lambda phase, done, total: progress(phase, at * total + done, of * total)


def rehearse(p: Party, plan: Plan, program: Program) -> Ledger:
    """The program as a party without a peer walks it; what it books."""
    connection = Connection(p, further=program.further)
    if program.preparations:
        return connection.prepare(plan, PreparationTerms(program.preparations, dry=True)).ledger
    made = facts(plan).dry_material(program.at) if program.prepared else None
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
