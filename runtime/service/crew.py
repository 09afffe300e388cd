"""Servers spread over machines as Ray actors, each of which is what `ppc serve` is in one process.

Ray places them, apart where it can, starts another in the place of one that has died, on another machine
where its own is gone, and carries what the front and the register are asked. What clients and servers tell
each other does not go through Ray, nor do weights and keys of TLS: each actor loads its own, from the same
paths. What a client shows to be sent on does, its ticket among it; whoever runs Ray on several machines keeps
strangers out of that (`RAY_AUTH_MODE`, `RAY_USE_TLS`).
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from ..base.errors import NetworkFault
from ..base.extras import needs
from ..net.address import parsed
from ..net.address import shown as written
from ..net.frame import Notice, Told
from .background import Background
from .front import Shown, Standing
from .gate import TurnedAway
from .host import DRAIN_SECONDS
from .metrics import Rows, exposition, joined
from .register import Listed, Register
from .serving import Service

needs("ray", "serving on several machines", "ray")

import ray  # noqa: E402
from ray.exceptions import RayError, RayTaskError  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

ANSWER_SECONDS = 2.0
"""A server that has not answered a question by then is taken to be gone."""

BEGIN_SECONDS = 120.0
"""For all of them to load what they serve."""

AT_A_TIME = 16
"""Questions that an actor answers."""

Make = Callable[[Listed | None], Service]
"""A server's service, by the register where there is one; made where it is to run."""


class Post:
    """A server, in the process of its actor. While something keeps it from serving it tries again when asked.

    Args:
        port: where it listens on its machine; 0 takes any free one.
    """

    def __init__(self, make: Make, port: int, register: Listed | None) -> None:
        self._make = partial(make, register)
        self._port = port
        self._running: Background | None = None
        self._beginning = threading.Lock()

    def address(self) -> str:
        """HOST:PORT, where it listens from now on. Raises what keeps it from that."""
        with self._beginning:
            if self._running is None:
                self._service = self._make()
                self._running = self._service.start((ray.util.get_node_ip_address(), self._port))
        return written(self._running.address)

    def standing(self, shown: Shown) -> Standing | None:
        """None where it answers nobody just now."""
        address = self.address()
        return Standing(address, *self._service.standing(shown)) if self._service.ready else None

    def rows(self) -> Rows:
        self.address()
        return self._service.metrics.rows()

    def reload(self) -> None:
        self._service.reload()

    def stop(self) -> None:
        """As `Service.stop`."""
        self._service.stop()

    def settled(self) -> None:
        """Waits until it has stopped."""
        if self._running is not None:
            self._running.join()


class Desk:
    """The register of all of them, on the machine of the front, where its file is."""

    def __init__(self, path: Path) -> None:
        self._register = Register(path)

    def known(self, name: str | None) -> None:
        self._register.known(name)

    def count(self, name: str | None) -> None:
        self._register.count(name)


class RemoteRegister:
    """The register as servers elsewhere ask it. Where it does not answer, nobody is admitted."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def known(self, name: str | None) -> None:
        self._ask(self._desk.known.remote(name))

    def count(self, name: str | None) -> None:
        self._ask(self._desk.count.remote(name))

    def _ask(self, asked: Any) -> None:
        try:
            ray.get(asked, timeout=ANSWER_SECONDS)
        except RayTaskError as fault:
            raise fault.cause from None
        except RayError:
            raise TurnedAway("register: it does not answer", Notice(Told.BUSY, 1)) from None


class Crew:
    """The servers of a front. They end with it, whatever ends it.

    Args:
        address: of a Ray that runs: HOST:PORT, or ``auto`` for the one of this machine; ``local`` starts one.

    Raises NetworkFault where it does not.
    """

    def __init__(self, address: str) -> None:
        try:
            if ":" in address:  # Ray itself would try for minutes
                socket.create_connection(parsed(address), ANSWER_SECONDS).close()
            ray.init(address, log_to_driver=False, configure_logging=False)
        except (OSError, RuntimeError, ValueError) as error:
            why = str(error).splitlines()[0]
            raise NetworkFault(f"no Ray at {address}: {why}; ray start --head starts one") from None
        self._posts: list[Any] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: object, trace: TracebackType | None) -> None:
        ray.shutdown()

    def __repr__(self) -> str:
        return f"Crew({len(self._posts)} servers)"

    @property
    def machines(self) -> int:
        return sum(bool(each["Alive"]) for each in ray.nodes())

    def start(self, make: Make, count: int, port: int = 0, clients: Path | None = None) -> None:
        """Have ``count`` servers begin, on ports from ``port`` up if given, by the register ``clients``.

        Raises what keeps one from serving, and NetworkFault where Ray has no room for all.
        """
        register = None if clients is None else RemoteRegister(_beside_us().remote(clients))
        actor = ray.remote(
            num_cpus=1, scheduling_strategy="SPREAD", max_restarts=-1, max_concurrency=AT_A_TIME
        )(Post)
        self._posts = [actor.remote(make, port and port + i, register) for i in range(count)]
        begun = [each.address.remote() for each in self._posts]
        _, missing = ray.wait(begun, num_returns=count, timeout=BEGIN_SECONDS)
        if missing:
            raise NetworkFault(
                f"Ray has started {count - len(missing)} of {count} servers in {BEGIN_SECONDS:g} s; each "
                "takes a free processor of its machines (ray status)"
            )
        try:
            ray.get(begun)
        except RayTaskError as fault:
            raise fault.cause from None
        except RayError as fault:
            raise NetworkFault(f"a server does not start: {str(fault).splitlines()[0]}") from None

    def standings(self, shown: Shown) -> Sequence[Standing]:
        """Of those that answer just now (`Front`)."""
        found = self._asked(lambda post: post.standing.remote(shown))
        return [each for each in found.values() if each is not None]

    def rows(self) -> dict[str, Rows]:
        """The numbers of those that answer, by which they are."""
        return self._asked(lambda post: post.rows.remote())

    def reload(self) -> None:
        """As `Service.reload`, everywhere."""
        for each in self._posts:
            each.reload.remote()

    def stop(self) -> None:
        """As `Service.stop`, everywhere."""
        for each in self._posts:
            each.stop.remote()

    def settle(self) -> None:
        """Wait until all have stopped, which they were told to, or are gone."""
        until = time.monotonic() + DRAIN_SECONDS
        running = [each.settled.remote() for each in self._posts]
        while running and time.monotonic() < until:
            _, running = ray.wait(running, num_returns=len(running), timeout=0.5)

    def spread(self, front: Service) -> Spread:
        """Both as one."""
        return Spread(front, self)

    def _asked(self, question: Callable[[Any], Any]) -> dict[str, Any]:
        """By server, of those that answer."""
        asked = {question(post): str(i) for i, post in enumerate(self._posts)}
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
        found: dict[str, Any] = {}
        for each in answered:
            with suppress(RayError):  # it is gone, or just beginning anew
                found[asked[each]] = ray.get(each)
        return found


class Spread:
    """A front and its crew, as whoever operates them has them: a `Service`, on several machines.

    Args:
        front: answers nobody itself (`Service`).
    """

    def __init__(self, front: Service, crew: Crew) -> None:
        self._front = front
        self._crew = crew

    def __repr__(self) -> str:
        return f"Spread({self._crew!r})"

    @property
    def ready(self) -> bool:
        """Whether a client that comes now is heard, and there is a server for it."""
        return self._front.ready and bool(self._crew.rows())

    def numbers(self) -> str:
        """Of the front and of each server that answers, told apart by ``server``."""
        return exposition(joined("server", {"front": self._front.metrics.rows(), **self._crew.rows()}))

    def run(self, address: tuple[str, int]) -> None:
        self._front.run(address)
        self._crew.settle()

    def stop(self) -> None:
        self._front.stop()
        _beside(self._crew.stop)

    def reload_beside(self) -> None:
        self._front.reload_beside()
        _beside(self._crew.reload)


def _beside_us() -> Any:
    """The actor of a desk on this machine."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here, max_restarts=-1, max_concurrency=AT_A_TIME)(Desk)


def _beside(what: Callable[[], None]) -> None:
    """In a thread of its own: a signal may come while Ray is being asked something."""
    threading.Thread(target=what, name="ppc-crew", daemon=True).start()
