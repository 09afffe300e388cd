"""Compiles a model and runs it between two processes of this machine, as a user would."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import ppc
from ppc.runtime.party.ledger import PHASES

PPC = [sys.executable, "-m", "ppc.cli"]

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Run:
    """One inference: the client's report, and what only the server knows.

    Attributes:
        report: of the client, as ``ppc run --report`` writes it.
        server_peak: bytes of the server's peak memory.
        error: the largest difference to ONNX Runtime, on the model as the profile makes it.
        spread: the standard deviation of what ONNX Runtime gives.
    """

    report: dict[str, Any]
    server_peak: int
    error: float
    spread: float

    @property
    def seconds(self) -> float:
        return float(self.report["seconds"])

    def phase(self, phase: str, what: str) -> float:
        return float(self.report[phase][what])

    @property
    def foretold(self) -> float:
        return sum(float(self.report["predicted"][phase]["seconds"]) for phase in PHASES)

    def bytes(self, *phases: str) -> int:
        """Of both parties, in all phases or in those given."""
        return sum(self.report[p]["sent"] + self.report[p]["received"] for p in phases or PHASES)

    def flights(self, phase: str) -> int:
        return int(self.report[phase]["flights"])


@dataclass(frozen=True)
class Compiled:
    """A plan on disk, the model that it computes, and how long that took."""

    plan: Path
    model: Path
    seconds: float


def compile_model(
    model: Path, profile: str, samples: Sequence[Feeds], network: str | None = None, **options: Any
) -> Compiled:
    """Compile ``model`` beside itself.

    Args:
        samples: inputs that show the ranges.
        network: what to choose for; the compiler's default if None.
    """
    emitted = model.with_name(f"{model.stem}.{profile}.onnx")
    begun = time.perf_counter()
    if network is not None:
        options["network"] = network
    made = ppc.compile(model, profile=profile, calibrate=samples, emit_onnx=emitted, **options)
    plan = model.with_name(f"{model.stem}.{profile}.bin")
    made.save(plan, plan.with_suffix(".weights"))
    return Compiled(plan, emitted, time.perf_counter() - begun)


def run(compiled: Compiled, feeds: Feeds, shape: str | None = None, timeout: float = 3600) -> Run:
    """One inference between two new processes, with nothing prepared."""
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        np.savez(at / "in.npz", **feeds)  # type: ignore[arg-type]
        common = ["--fresh", "--timeout", str(timeout), *(["--shape", shape] if shape else [])]
        server = subprocess.Popen(
            [*PPC, "run", str(compiled.plan), "--role", "server", "--listen", "127.0.0.1:0", "--once",
             "--report", str(at / "server.json"), *common],
            stderr=subprocess.PIPE, text=True, env=_environment(),
        )  # fmt: skip
        try:
            assert server.stderr is not None
            said = []
            for line in server.stderr:
                said.append(line)
                if "serving plan" in line:
                    break
            else:
                raise SystemExit(f"the server did not start: {''.join(said)}")
            client = subprocess.run(
                [*PPC, "run", str(compiled.plan), "--role", "client", "--connect", line.split()[-1],
                 "--input", str(at / "in.npz"), "-o", str(at / "out.npz"), "--report",
                 str(at / "client.json"), *common],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=_environment(), check=False,
            )  # fmt: skip
            if client.returncode:
                server.terminate()
                raise SystemExit(f"client: {client.stderr}\nserver: {server.stderr.read()}")
            server.stderr.read()
            server.wait(timeout=60)
        finally:
            server.kill()
        report = json.loads((at / "client.json").read_text())
        peak = json.loads((at / "server.json").read_text())["peak_memory"]
        outputs = dict(np.load(at / "out.npz"))
    error, spread = _against_onnxruntime(compiled.model, feeds, outputs)
    return Run(report, peak, error, spread)


def typical(compiled: Compiled, feeds: Feeds, repeat: int, **options: Any) -> Run:
    """The run of median seconds out of ``repeat``."""
    runs = [run(compiled, feeds, **options) for _ in range(repeat)]
    middle = statistics.median_low(each.seconds for each in runs)
    return next(each for each in runs if each.seconds == middle)


def _environment() -> dict[str, str]:
    """A child sees the same packages as this process, wherever it was started."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}


def _against_onnxruntime(model: Path, feeds: Feeds, outputs: dict[str, NDArray[Any]]) -> tuple[float, float]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    wanted = session.run(list(outputs), dict(feeds))
    error = max(float(np.abs(got - want).max()) for got, want in zip(outputs.values(), wanted, strict=True))
    return error, float(np.std(wanted[0]))
