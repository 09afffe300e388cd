"""A pool of correlated OTs for one direction, made as they are used and counted by the plan.

The plan says how many COTs a run takes; `schedule` says which extensions make them, so that both roles, and
the price, agree without a word. Each COT has a running index, which tweaks the hash and never repeats.
"""

from __future__ import annotations

import numpy as np

from ..base.ring import Ring
from ..party.party import Party
from ..party.role import Role
from .extension import Iknp, message_size
from .silent import B10, B11, B12, SETS, Lpn, Silent

Schedule = tuple[tuple[str, int], ...]

IKNP = "iknp"

# What the choice is made by, in nanoseconds: the work of both roles for a COT and a network of 100 Mbit/s.
# Not read from a table of rates: the parties never tell each other which extensions they run, so these belong
# to the protocol like the form of a message; and integers, so that two machines cannot choose differently.
NS_BYTE = 80
NS_MESSAGE = 1_000_000
NS_IKNP = 20
NS_SILENT = 15


class Pool:
    """COTs from ``sender`` to the other role.

    Args:
        sender: who holds Delta and learns both keys of every OT.
        planned: exactly how many COTs will be taken; 0 is allowed and costs nothing.

    Call `setup` once (the caller books it to the phase ``setup``), then `take` as often as needed.
    """

    def __init__(self, sender: Role, planned: int) -> None:
        if planned < 0:
            raise ValueError(f"a pool cannot plan {planned} COTs")
        self.sender = sender
        self.planned = planned
        self._taken = 0
        self._iknp = Iknp(sender)
        self._silent: Silent | None = None
        self._todo = list(_steps(schedule(planned)))
        self._reserve: Ring | None = None
        self._ready: Ring | None = None
        self._ready_count = 0
        self._is_set_up = planned == 0

    def __repr__(self) -> str:
        return f"Pool(sender={self.sender.value}, {self._taken} of {self.planned} taken)"

    @property
    def taken(self) -> int:
        return self._taken

    @property
    def delta(self) -> Ring | None:
        """The sender's correlation, uint64 (1, 2) with the lowest bit set; None at the receiver."""
        return self._iknp.delta

    def setup(self, p: Party) -> None:
        """Base OTs: two messages, of 32 bytes from the receiver and 127·32 from the sender."""
        if self._is_set_up:
            return
        self._iknp.setup(p)
        self._silent = Silent(self.sender, self._iknp.delta, self._iknp.tag)
        self._is_set_up = True

    def take(self, p: Party, n: int) -> tuple[int, Ring | None]:
        """The next ``n`` COTs: the index of the first, and the blocks, uint64 (n, 2); None while pricing.

        Blocks may be a view of an extension's output: hash them soon and let them go.

        Raises:
            RuntimeError: before `setup`, or when more are taken than were planned.
        """
        if not self._is_set_up:
            raise RuntimeError("COTs were taken from a pool before its base OTs were made")
        if n < 0 or self._taken + n > self.planned:
            have = self.planned - self._taken
            raise RuntimeError(
                f"{n} COTs were asked of a pool of {self.planned} planned, {have} of them left"
            )
        first = self._taken
        self._taken += n
        while n and not self._ready_count:
            self._extend(p)
        if n <= self._ready_count:
            return first, self._pop(n) if n else _nothing(p)
        # Copied piece by piece, so that no more than one extension's output is alive.
        blocks = None if p.pricing else np.empty((n, 2), np.uint64)
        at = 0
        while at < n:
            if not self._ready_count:
                self._extend(p)
            got = min(n - at, self._ready_count)
            part = self._pop(got)
            if blocks is not None and part is not None:
                blocks[at : at + got] = part
            del part
            at += got
        return first, blocks

    def _pop(self, n: int) -> Ring | None:
        out = None
        if self._ready is not None:
            out, self._ready = self._ready[:n], self._ready[n:]
        self._ready_count -= n
        if not self._ready_count:
            self._ready = None
        return out

    def _extend(self, p: Party) -> None:
        """Run the next scheduled extension and set aside what the one after it spends."""
        kind, count = self._todo.pop(0)
        lpn = SETS.get(kind)
        if lpn is None:
            made = self._iknp.extend(p, count)
        else:
            if self._silent is None:
                raise RuntimeError("a silent extension was scheduled before the base OTs")
            made, count = self._silent.extend(p, lpn, self._reserve), lpn.made
        spent = SETS[self._todo[0][0]].spent if self._todo else 0
        self._ready_count = count - spent
        if made is not None:
            self._reserve = made[:spent].copy()
            self._ready = made[spent:]


def _nothing(p: Party) -> Ring | None:
    return None if p.pricing else np.empty((0, 2), np.uint64)


def schedule(n: int) -> Schedule:
    """The extensions that make ``n`` COTs: ("iknp", COTs) first, then (LPN set, iterations).

    A pure function of ``n``. It takes the cheapest by predicted time on the reference machine and network:
    IKNP alone, or IKNP as seed of silent iterations, each of which also feeds the next.
    """
    if n == 0:
        return ()
    best: Schedule = ((IKNP, n),)
    best_cost = _cost(best)
    for start in (B10, B11, B12):
        for small in range(4):
            for middle in range(4):
                steps = _silent_steps(n, start, {B10: small, B11: middle})
                cost = _cost(steps)
                if cost < best_cost:
                    best, best_cost = steps, cost
    return best


def _silent_steps(n: int, start: Lpn, more: dict[Lpn, int]) -> Schedule:
    """One iteration of ``start``, ``more`` of the small sets, and of the largest what is still missing."""
    counts = {B10: 0, B11: 0, B12: 0} | more
    counts[start] += 1
    surplus = start.spent + sum(count * (lpn.made - lpn.spent) for lpn, count in counts.items())
    counts[B12] += max(0, -(-(n - surplus) // (B12.made - B12.spent)))
    order = [start, *(lpn for lpn in counts if lpn is not start)]
    return ((IKNP, start.spent), *((lpn.name, counts[lpn]) for lpn in order if counts[lpn]))


def schedule_bytes(steps: Schedule) -> int:
    """Bytes of all messages, headers left out."""
    sizes = ((SETS.get(kind), count) for kind, count in steps)
    return sum(count * lpn.message_size if lpn else message_size(count) for lpn, count in sizes)


def _cost(steps: Schedule) -> int:
    """Predicted nanoseconds."""
    total = 0
    for kind, count in steps:
        lpn = SETS.get(kind)
        if lpn is None:
            total += NS_MESSAGE + count * NS_IKNP + message_size(count) * NS_BYTE
        else:
            total += count * (NS_MESSAGE + lpn.made * NS_SILENT + lpn.message_size * NS_BYTE)
    return total


def _steps(steps: Schedule) -> Schedule:
    """One entry an extension."""
    out: list[tuple[str, int]] = []
    for kind, count in steps:
        out += [(kind, count)] if kind == IKNP else [(kind, 1)] * count
    return tuple(out)
