"""What a client prepares ahead, in a thread, while nothing is asked of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from math import inf

from ..base.errors import PeerRefuses, RuntimeFault
from ..plan.file import Plan
from ..session.handshake import Purpose
from ..session.material import Store
from .session import Session

log = logging.getLogger(__name__)


class Filling:
    """Prepares one inference after the other, until ``level`` lie in ``store`` or the server has no room.

    While the server has no time it is asked again. A fault ends it with a line in the log: whoever asks for
    an inference then meets it too, or does not.

    Args:
        opened: the session to prepare over; it is closed at the end.
        plan: the length to prepare for.
    """

    def __init__(
        self, opened: Callable[[], AbstractContextManager[Session]], store: Store, plan: Plan, level: int
    ) -> None:
        self._opened, self._store, self._plan, self._level = opened, store, plan, level
        self._wanted = self._hurried = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ppc-ahead", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"Filling({self._store}, up to {self._level})"

    def stop(self) -> None:
        """No more than what is under way, which whoever waits for this would else have to make himself."""
        self._wanted = True
        self._end()

    def settle(self) -> None:
        """Wait for its end, which comes now also where the server has no time."""
        self._hurried = True
        self._end()

    def _end(self) -> None:
        self._woken.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            if self._short and not self._wanted:
                with self._opened() as session:
                    self._fill(session)
        except RuntimeFault as fault:
            log.warning("nothing more is prepared ahead: %s", fault)

    def _fill(self, session: Session) -> None:
        while True:
            try:
                session.prepare(1, self._plan, purpose=Purpose.AHEAD)
            except PeerRefuses as refusal:
                if refusal.again == inf or self._hurried:
                    log.info("nothing more is prepared ahead: %s", refusal)
                    return
                self._woken.wait(refusal.again)
            if self._wanted or not self._short:
                return

    @property
    def _short(self) -> bool:
        return len(self._store.ids(self._level)) < self._level
