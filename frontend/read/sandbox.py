"""Shape inference, conversion and ONNX Runtime in a process of their own.

A damaged model crashes native code, or keeps it busy for good, and that is no reason for ours to end.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from ppc.frontend.read import worker
from ppc.frontend.read.worker import Array, pack, receive, send, unpack

SECONDS = 60
"""For one question."""


class _Worker:
    """One process for all questions, started at the first and again after its death."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, function: str, *arguments: Any) -> Any:
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                self.end()  # it died between two questions
            process = self._process or self._start()
            answered = False
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                send(process.stdin, (function, arguments))
                answer = receive(process.stdout)
                answered = True
                return answer
            except (EOFError, OSError):
                return None
            finally:
                if not answered:  # it died, or its answer would be taken for the next question's
                    self.end()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(Path(worker.__file__)), str(SECONDS)]
        quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=quiet)
        return self._process

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def forget(self) -> None:
        """In a fork the pipes are the parent's."""
        self._process, self._lock = None, threading.Lock()


_WORKER = _Worker()
atexit.register(_WORKER.end)
os.register_at_fork(after_in_child=_WORKER.forget)


def infer(model: bytes) -> bytes | None:
    """The model with the types that shape inference can tell; None where it fails, in whatever way."""
    found: bytes | None = _WORKER.ask("infer", model)
    return found


def convert(model: bytes, opset: int) -> bytes | None:
    """The model in another opset; None where ONNX's converter cannot."""
    found: bytes | None = _WORKER.ask("convert", model, opset)
    return found


def evaluate(model: bytes, feeds: dict[str, Array], most: int) -> list[Array] | int | None:
    """The values of a model's outputs; their number of elements where an output has more than ``most``; None
    where they cannot be computed."""
    given = {name: pack(value) for name, value in feeds.items()}
    found = _WORKER.ask("evaluate", model, given, most)
    return [unpack(each) for each in found] if isinstance(found, list) else found
