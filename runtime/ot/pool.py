"""A pool of correlated OTs for one direction, made as they are used and counted by the plan.

The plan says how many COTs a program takes; `schedule` says which extensions make them, so that both roles,
and the price, agree without a word. Each COT has a running index, which tweaks the hash and never repeats;
base OTs are made once, and later programs of the same connection extend them further.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..base.ring import Ring
from ..party.party import Party
from ..party.role import Role
from .extension import Iknp, IknpState, message_size
from .keys import Keys, hash_tweak
from .silent import B10, B11, B12, SETS, Lpn, Silent

Schedule = tuple[tuple[str, int], ...]

IKNP = "iknp"

# What the choice is made by, in nanoseconds: the work of both roles for a COT and a network of 100 Mbit/s.
# Not read from a table of rates: the parties never tell each other which extensions they run, so these belong
# to the protocol like the form of a message; and integers, so that two machines cannot choose differently.
NS_BYTE = 80
NS_MESSAGE = 1_000_000
NS_IKNP = 20
NS_SILENT = 20


@dataclass(frozen=True, eq=False, repr=False)
class PoolState:
    """Where a pool stands between two programs, with nothing left over: what it has made and given out."""

    iknp: IknpState
    iterations: int
    taken: int


class Pool:
    """COTs from ``sender`` to the other role, for as long as the party's connection lasts.

    Args:
        p: the party that takes them; `plan` and `take` speak through it.
        sender: who holds Delta and learns both keys of every OT.
        ready: only while pricing: the base OTs were made by an earlier program of the same connection.
        check: each extension is checked by the side that a deviation of the other would harm (`check`).
    """

    def __init__(self, p: Party, sender: Role, *, ready: bool = False, check: bool = False) -> None:
        if ready and not p.pricing:
            raise ValueError("base OTs can be taken as made while pricing only")
        self._p = p
        self._sender = sender
        self._planned = 0
        self._taken = 0
        self._check = check
        self._iknp = Iknp(sender, check=check)
        self._silent: Silent | None = None
        self._tweak: Keys | None = None
        if ready:
            self._iknp.assume_set_up()
            self._silent = Silent(sender, None, None, check=check)
        self._todo: list[tuple[str, int]] = []
        self._forget()

    def __repr__(self) -> str:
        return f"Pool(sender={self.sender.value}, {self._taken} of {self._planned} taken)"

    @property
    def sender(self) -> Role:
        return self._sender

    @property
    def delta(self) -> Ring | None:
        """The sender's correlation, uint64 (1, 2) with the lowest bit set; None at the receiver."""
        return self._iknp.delta

    @property
    def tweak(self) -> Keys | None:
        """What the hash of these COTs is under, uint8 (16,); None while pricing and before base OTs."""
        return self._tweak

    @property
    def ready(self) -> bool:
        return self._silent is not None

    @property
    def checked(self) -> bool:
        """Whether extensions are checked."""
        return self._check

    @property
    def taken(self) -> int:
        return self._taken

    @property
    def planned(self) -> int:
        """COTs that the programs up to now have planned, all together."""
        return self._planned

    def plan(self, count: int) -> None:
        """Just ``count`` will be taken from now on; 0 is allowed and costs nothing.

        The first time base OTs are exchanged: two messages, of 32 bytes from the receiver and 127·32 from the
        sender. What an earlier program left over is dropped, so that a program costs what it costs by itself.
        """
        if count < 0:
            raise ValueError(f"a pool cannot plan {count} COTs")
        self._forget()
        self._planned = self._taken + count
        self._todo = list(_steps(schedule(count, self._check)))
        if count and self._silent is None:
            self._iknp.setup(self._p)
            self._begin()

    def take(self, count: int) -> tuple[int, Ring | None]:
        """The next ``count`` COTs: the index of the first, and the blocks, uint64 (count, 2).

        While pricing there are no blocks.
        Blocks may be a view of an extension's output: hash them soon and let them go.

        Raises:
            RuntimeError: when more are taken than were planned.
            PeerDeviates: a check has failed; the connection is of no use then.
        """
        if count < 0 or self._taken + count > self._planned:
            left = self._planned - self._taken
            raise RuntimeError(
                f"{count} COTs were asked of a pool of {self._planned} planned, {left} of them left"
            )
        first = self._taken
        self._taken += count
        while count and not self._ready_count:
            self._extend()
        if count <= self._ready_count:
            return first, self._pop(count) if count else _nothing(self._p)
        # Copied piece by piece, so that no more than one extension's output is alive.
        blocks = None if self._p.pricing else np.empty((count, 2), np.uint64)
        at = 0
        while at < count:
            if not self._ready_count:
                self._extend()
            got = min(count - at, self._ready_count)
            part = self._pop(got)
            if blocks is not None and part is not None:
                blocks[at : at + got] = part
            del part
            at += got
        return first, blocks

    @property
    def state(self) -> PoolState | None:
        """From where another pool may go on, in this one's place; None before base OTs."""
        if self._silent is None:
            return None
        return PoolState(self._iknp.state, self._silent.iterations, self._taken)

    def resume(self, state: PoolState) -> None:
        """Go on from there instead of from base OTs of its own. Nobody else may."""
        if self._silent is not None:
            raise RuntimeError("a pool that has base OTs cannot go on from others")
        self._iknp.resume(state.iknp)
        self._taken = self._planned = state.taken
        self._begin(state.iterations)

    def _begin(self, iterations: int = 0) -> None:
        """The base OTs are there."""
        delta, tag = self._iknp.delta, self._iknp.tag
        self._silent = Silent(self._sender, delta, tag, check=self._check, iterations=iterations)
        self._tweak = None if tag is None else hash_tweak(tag)

    def _forget(self) -> None:
        """Let go of blocks that nobody will take."""
        self._reserve: Ring | None = None
        self._ready: Ring | None = None
        self._ready_count = 0

    def _pop(self, n: int) -> Ring | None:
        out = None
        if self._ready is not None:
            out, self._ready = self._ready[:n], self._ready[n:]
        self._ready_count -= n
        if not self._ready_count:
            self._ready = None
        return out

    def _extend(self) -> None:
        """Run the next scheduled extension and set aside what the one after it spends."""
        kind, count = self._todo.pop(0)
        lpn = SETS.get(kind)
        if lpn is None:
            made = self._iknp.extend(self._p, count)
        else:
            if self._silent is None:
                raise RuntimeError("a silent extension was scheduled before the base OTs")
            made, count = self._silent.extend(self._p, lpn, self._reserve), lpn.made
        spent = SETS[self._todo[0][0]].spends(self._check) if self._todo else 0
        self._ready_count = count - spent
        if made is not None:
            self._reserve = made[:spent].copy()
            self._ready = made[spent:]


def _nothing(p: Party) -> Ring | None:
    return None if p.pricing else np.empty((0, 2), np.uint64)


def schedule(n: int, check: bool = False) -> Schedule:
    """The extensions that make ``n`` COTs: ("iknp", COTs) first, then (LPN set, iterations).

    A pure function of ``n`` and of whether they are checked. It takes the cheapest by predicted time on the
    reference machine and network: IKNP alone, or IKNP as seed of silent iterations, each of which also feeds
    the next.
    """
    if n == 0:
        return ()
    best: Schedule = ((IKNP, n),)
    best_cost = _cost(best, check)
    for start in (B10, B11, B12):
        for small in range(4):
            for middle in range(4):
                steps = _silent_steps(n, start, {B10: small, B11: middle}, check)
                cost = _cost(steps, check)
                if cost < best_cost:
                    best, best_cost = steps, cost
    return best


def _silent_steps(n: int, start: Lpn, more: dict[Lpn, int], check: bool) -> Schedule:
    """One iteration of ``start``, ``more`` of the small sets, and of the largest what is still missing."""
    counts = {B10: 0, B11: 0, B12: 0} | more
    counts[start] += 1
    net = {lpn: lpn.made - lpn.spends(check) for lpn in counts}
    surplus = start.spends(check) + sum(count * net[lpn] for lpn, count in counts.items())
    counts[B12] += max(0, -(-(n - surplus) // net[B12]))
    order = [start, *(lpn for lpn in counts if lpn is not start)]
    return ((IKNP, start.spends(check)), *((lpn.name, counts[lpn]) for lpn in order if counts[lpn]))


def schedule_bytes(steps: Schedule, check: bool = False) -> int:
    """Bytes of all messages, headers left out."""
    sizes = ((SETS.get(kind), count) for kind, count in steps)
    return sum(count * lpn.says(check) if lpn else message_size(count, check) for lpn, count in sizes)


def _cost(steps: Schedule, check: bool) -> int:
    """Predicted nanoseconds."""
    total = 0
    for kind, count in steps:
        lpn = SETS.get(kind)
        if lpn is None:
            total += NS_MESSAGE + count * NS_IKNP + message_size(count, check) * NS_BYTE
        else:
            flights = 3 if check else 1
            total += count * (flights * NS_MESSAGE + lpn.made * NS_SILENT + lpn.says(check) * NS_BYTE)
    return total


def _steps(steps: Schedule) -> Schedule:
    """One entry an extension."""
    out: list[tuple[str, int]] = []
    for kind, count in steps:
        out += [(kind, count)] if kind == IKNP else [(kind, 1)] * count
    return tuple(out)
