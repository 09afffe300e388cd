"""A stand-in for the module `os` in `ppc.runtime.session.once` that kills the process at a chosen call.

Run as a program it is one side of a session that dies:  crashing.py prepare|run ROLE PORT STORE CALL WHEN
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from ppc.runtime.session import once

CHANGES = ("open", "write", "fsync", "rename", "unlink")
"""Calls that change the disk, or make a change last."""


class Deadly:
    """SIGKILL before or after the ``at``-th call of `CHANGES`; with ``at`` None all are only noted."""

    def __init__(self, at: int | None = None, when: str = "before", only: str | None = None) -> None:
        self.calls: list[str] = []
        self._at, self._when, self._only = at, when, only

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CHANGES or self._only not in (None, name):
            return real
        return lambda *args, **more: self._call(name, real, args, more)

    def _call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], more: dict[str, Any]) -> Any:
        self.calls.append(name)
        fatal = len(self.calls) == self._at
        if fatal and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        out = real(*args, **more)
        if fatal and self._when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return out


def dying(work: Callable[[], None]) -> int:
    """Run ``work`` in a process of its own: 0 where it came to the end, else the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), "the child failed"
    return status


def killed_everywhere(
    prepare: Callable[[], None], work: Callable[[], None], check: Callable[[str], None]
) -> int:
    """Kill ``work`` before and after each of its calls in turn; how many times it was killed."""
    killed = 0
    while True:
        for when in ("before", "after"):
            prepare()

            def armed(at: int = killed // 2 + 1, when: str = when) -> None:
                vars(once)["os"] = Deadly(at, when)
                work()

            if dying(armed) == 0:
                check("done")
                return killed
            killed += 1
            check(when)


def main() -> None:
    verb, role, port, store, call, when = sys.argv[1:]
    from pathlib import Path

    from sides import infer, prepare, serve_one
    from tiny import tiny_feeds, tiny_plan, tiny_weights

    from ppc.runtime.net.tcp import connect
    from ppc.runtime.service.shelf import open_store

    weights = tiny_weights() if role == "server" else None
    opened = open_store(Path(store), tiny_plan(), weights)
    name, _, nth = call.partition(":")
    vars(once)["os"] = Deadly(int(nth or 1), when, name)
    sock = connect(("127.0.0.1", int(port)), 10)
    if verb == "prepare":
        prepare(sock, tiny_plan(), opened, 1, weights, timeout=20)
    elif weights is not None:
        serve_one(sock, tiny_plan(), weights, store=opened, timeout=20)
    else:
        infer(sock, tiny_plan(), tiny_feeds(), store=opened, timeout=20)


if __name__ == "__main__":
    main()
