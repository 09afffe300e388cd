"""A server in a thread of a process that does more: a notebook, or a program of one's own."""

from __future__ import annotations

import threading
from types import TracebackType

from ..net.address import shown
from .host import Host


class Background:
    """Listens from the beginning, and answers until it is stopped.

    Attributes:
        address: host and port where it listens; port 0 has become a free one.
    """

    def __init__(self, host: Host, address: tuple[str, int]) -> None:
        self._host = host
        listener = host.listen(address)
        self.address = listener.getsockname()
        self._thread = threading.Thread(target=host.answer, args=(listener,), name="ppc-serve", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"Background({shown(self.address)})"

    def __enter__(self) -> Background:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: object, trace: TracebackType | None) -> None:
        self.stop()

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()

    def stop(self) -> None:
        """Take no more clients, and wait for the end of what runs. A second time does nothing."""
        if self._thread.is_alive():
            self._host.stop()
            self._thread.join()
