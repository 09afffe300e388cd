"""Jobs that take turns on one channel.

Each goes on until it has said something and waits for what the peer says; then another does. So what they say
travels in the same flights, and while one waits another computes. Who goes on depends on nothing but the jobs
and the order in which they began to wait, so that both sides, and the price, walk alike: all say and hear
everything in one order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from functools import partial
from heapq import heappop, heappush
from typing import TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

T = TypeVar("T")


class Turns:
    """Those of one party."""

    def __init__(self) -> None:
        self._waiting: deque[_Job] = deque()
        self._alive: set[_Job] = set()
        self._job: _Job | None = None
        """Who goes on now."""

    def wait(self) -> None:
        """Said by a job between what it says and what it hears; the others go on meanwhile."""
        if self._job is not None:
            self._waiting.append(self._job)
            self._job.park()

    def walk(
        self,
        needs: Sequence[Collection[int]],
        work: Callable[[int], None],
        within: Callable[[int], AbstractContextManager[object]],
    ) -> None:
        """Do ``work(i)`` for every i, once all that it ``needs`` is done, of several the least first.

        Each time that one goes on it does so in ``within(i)``.
        """
        left = [len(set(each)) for each in needs]
        readers: list[list[int]] = [[] for _ in needs]
        for i, each in enumerate(needs):
            for j in set(each):
                readers[j].append(i)
        ready = [i for i, count in enumerate(left) if not count]

        def ended(number: int) -> None:
            for i in readers[number]:
                left[i] -= 1
                if not left[i]:
                    heappush(ready, i)

        try:
            while ready or self._waiting:
                if ready:
                    number = heappop(ready)
                    job = self._new(number, partial(work, number), partial(ended, number))
                else:
                    job = self._waiting.popleft()
                with within(job.number):
                    self._go_on(job)
        finally:
            self._job = None
            self._waiting.clear()
            while self._alive:
                self._alive.pop().drop()

    def beside(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """The results of several parts of the present job, which take turns too; outside of one they follow
        one another."""
        job = self._job
        if job is None or len(works) < 2:
            return [work() for work in works]
        results: dict[int, T] = {}

        def part(i: int) -> None:
            results[i] = works[i]()

        def ended() -> None:
            if len(results) == len(works) and job.parked:
                self._waiting.appendleft(job)

        for i in range(len(works)):
            self._go_on(self._new(job.number, partial(part, i), ended))
        self._job = job
        if len(results) < len(works):
            job.park()
        return [results[i] for i in range(len(works))]

    def _new(self, number: int, work: Callable[[], None], ended: Callable[[], None]) -> _Job:
        job = _Job(number, work, ended)
        self._alive.add(job)
        return job

    def _go_on(self, job: _Job) -> None:
        self._job = job
        job.go_on()
        self._job = None
        if job.done:
            self._alive.remove(job)
            job.ended()


class _Job:
    """One that goes on and waits by turns.

    Attributes:
        ended: what to do when it has ended.
        parked: whether it waits.
    """

    def __init__(self, number: int, work: Callable[[], None], ended: Callable[[], None]) -> None:
        self.number, self.ended = number, ended
        self.parked = False
        self._greenlet = greenlet(work)

    def go_on(self) -> None:
        """Until it waits or is done; raises what it raises."""
        self.parked = False
        self._greenlet.parent = getcurrent()  # where it leads back to
        self._greenlet.switch()

    def park(self) -> None:
        self.parked = True
        self._greenlet.parent.switch()

    def drop(self) -> None:
        """It does not go on, and lets go of what it holds."""
        if not self.done:
            self._greenlet.parent = getcurrent()
            self._greenlet.throw(GreenletExit)

    @property
    def done(self) -> bool:
        return bool(self._greenlet.dead)
