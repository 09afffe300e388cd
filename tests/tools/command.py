"""The command line as a user runs it: processes of its own, in a group whose end is checked."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from small import ROOT

PPC = [sys.executable, "-m", "ppc.cli"]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)

    def failed(self, status: int, *words: str) -> None:
        """It ended with this status and one clear line, without a traceback, and wrote no result but, with
        --json, the fault."""
        assert self.status == status, f"{self.status}: {self.err}"
        assert "Traceback" not in self.err
        assert self.out == "" or set(self.json) == {"error"}
        told = [line for line in self.err.splitlines() if line.startswith("ppc: ")]
        assert len(told) == 1, self.err
        assert self.err.rstrip().splitlines()[-1].startswith(("ppc: ", "  "))  # a list below the line at most
        for word in words:
            assert re.search(word, self.err), f"{word!r} is not in {self.err!r}"


def _heeding_keys() -> None:
    """Ctrl-C counts, also where the tests were started in the background and are deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Running:
    """A command that has not ended yet."""

    def __init__(self, *args: object, env: dict[str, str] | None = None) -> None:
        self._begun = time.monotonic()
        self.process = subprocess.Popen(
            [*PPC, *map(str, args)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_heeding_keys,
            env={**os.environ, **(env or {})},
        )
        self._err: list[str] = []
        self._line = threading.Condition()
        self._out: list[str] = []
        self._readers = [threading.Thread(target=each, daemon=True) for each in (self._read, self._results)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._line:
                self._err.append(line)
                self._line.notify_all()

    def _results(self) -> None:
        """All of stdout as it comes: a document that fills the pipe would hold the command."""
        assert self.process.stdout is not None
        self._out.append(self.process.stdout.read())

    def said(self, pattern: str, timeout: float = 30) -> re.Match[str]:
        """The first line on stderr that matches."""
        until = time.monotonic() + timeout
        with self._line:
            while True:
                for line in self._err:
                    if found := re.search(pattern, line):
                        return found
                left = until - time.monotonic()
                assert left > 0, "".join(self._err)
                assert self.process.poll() is None, "".join(self._err)
                self._line.wait(min(left, 0.2))

    def end(self, timeout: float = 60) -> Done:
        """Wait; nothing of the command's process group may be left."""
        assert self.process.stdout is not None
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {timeout} s: {''.join(self._err)}") from None
        for reader in self._readers:
            reader.join(timeout=5)
        self.process.stdout.close()
        assert not self.alive(), "the command left processes behind"
        return Done(
            self.process.returncode, "".join(self._out), "".join(self._err), time.monotonic() - self._begun
        )

    def alive(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=10)


def ppc(*args: object, timeout: float = 60, env: dict[str, str] | None = None) -> Done:
    """Run ``ppc args`` to its end."""
    return Running(*args, env=env).end(timeout)


def called(*args: object) -> Done:
    """The same in this process, which spares the start of another: entry point, streams, status."""
    from ppc.cli import main

    out, err, status, begun = io.StringIO(), io.StringIO(), 0, time.monotonic()
    with (
        mock.patch.object(sys, "argv", ["ppc", *map(str, args)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        except Exception:  # what the interpreter would do with it
            status = 1
            traceback.print_exc()
    return Done(status, out.getvalue(), err.getvalue(), time.monotonic() - begun)


@contextmanager
def serving(plan: object, *args: object) -> Iterator[tuple[Running, str]]:
    """A server on a free port, and its address. It is stopped afterwards if it still runs."""
    server = Running("run", plan, "--role", "server", "--listen", "127.0.0.1:0", *args)
    try:
        yield server, server.said(r"on (127\.0\.0\.1:\d+)")[1]
    finally:
        server.kill()
        assert not server.alive()
