"""A fuzz campaign: a child changes inputs and runs them, its parent keeps what killed it and starts another.

What a run may do is end, or raise what `ppc` tells its user in one line. Anything else is a finding, kept
under FOLDER/findings with the input and the traceback; each place in the code is kept once. With atheris the
inputs are grown by coverage, without it at random from the seeds.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import hashlib
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, FunctionType

try:
    import atheris
except ImportError:
    atheris = None

ROOT = Path(__file__).parent.parent.parent
SLOW = 20
"""Seconds of a processor that one input may take; the parent waits for five times as many of the clock."""
RESIDENT = 1 << 30
ADDRESSES = 6 << 30
"""Bytes of memory: more resident is a finding, and more than these addresses are not given."""


@dataclass(frozen=True)
class Target:
    """What is fuzzed: ``run`` takes one input, ``mutate`` makes another of one, ``seeds`` are the first."""

    seeds: Callable[[], Sequence[bytes]]
    mutate: Callable[[bytes, random.Random], bytes]
    run: Callable[[bytes], None]
    expected: Callable[[Exception], bool]


class Slow(BaseException):
    """The time of one input is over; no handler of Exception may swallow it."""


def attempt(target: Target, data: bytes) -> str | None:
    """None where the input ends as it may, else the traceback."""
    try:
        with _within(SLOW):
            target.run(data)
    except Exception as fault:
        if isinstance(fault, MemoryError) or not target.expected(fault):
            return traceback.format_exc()
    except Slow:
        return traceback.format_exc()
    return None


def smoke(target: Target, executions: int, seed: int) -> list[str]:
    """A campaign of a few seconds in this process: the tracebacks of all findings."""
    inputs = _random_inputs(target, random.Random(seed))
    return [said for _ in range(executions) if (said := attempt(target, next(inputs)))]


def main(target: Target) -> None:
    args = _arguments()
    if args.child:
        _child(target, args)
    elif args.inputs:
        for path in args.inputs:
            print(f"{path}: {attempt(target, path.read_bytes()) or 'as it may'}")
    else:
        _parent(args)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("fuzz-out") / Path(sys.argv[0]).stem)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("inputs", type=Path, nargs="*", help="run these and say what becomes of them")
    return parser.parse_args()


# ---- the parent


def _parent(args: argparse.Namespace) -> None:
    """Children one after the other until the time is over."""
    end, seed = time.monotonic() + args.seconds, args.seed
    (args.folder / "corpus").mkdir(parents=True, exist_ok=True)
    count = args.folder / "count"
    count.unlink(missing_ok=True)
    while (left := end - time.monotonic()) > 1:
        died = _one_child(args.folder, left, seed)
        if died:
            log = (args.folder / "child.log").read_bytes()[-4000:].decode(errors="replace")
            _keep(args.folder, (args.folder / "last").read_bytes(), f"the process {died}\n{log}")
        seed += 1
    done = count.read_text() if count.exists() else "0"
    found = sorted(each.name for each in (args.folder / "findings").glob("*"))
    print(f"{done} executions, {len(found)} findings in {args.folder}", *found, sep="\n  ")


def _one_child(folder: Path, seconds: float, seed: int) -> str | None:
    """How the child died, None where it ended or had kept what it ended for."""
    command = [sys.executable, sys.argv[0], "--child", f"--seconds={seconds:.0f}", f"--seed={seed}"]
    alone = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    last = folder / "last"
    last.write_bytes(b"")
    with (folder / "child.log").open("wb") as log:
        child = subprocess.Popen([*command, f"--folder={folder}"], stdout=log, stderr=log, env=alone)
        while child.poll() is None:
            time.sleep(0.5)
            if time.time() - last.stat().st_mtime > 5 * SLOW:
                child.send_signal(signal.SIGABRT)  # faulthandler then says where it is
                child.wait()
                return f"hung for more than {5 * SLOW} s"
    return None if child.returncode in (0, KEPT) else f"died with status {child.returncode}"


def _keep(folder: Path, data: bytes, said: str) -> None:
    place = folder / "findings" / _place(said)
    if not place.exists():
        place.mkdir(parents=True)
        (place / "input").write_bytes(data)
        (place / "trace.txt").write_text(said)


def _place(said: str) -> str:
    """A name for what happened where: the error, and the last line that is not a library's."""
    frames = re.findall(rf'File "{ROOT}/(?!\.venv|tests/)(.*?)\.py", line \d+,? in (\S+)', said)
    if "most recent call first" in said:  # as faulthandler tells it
        frames = frames[:1]
    where = "-".join(frames[-1]) if frames else hashlib.blake2b(said.encode(), digest_size=4).hexdigest()
    error = "died" if said.startswith("the process") else said.splitlines()[-1].split(":")[0].split(".")[-1]
    return re.sub(r"[^\w.-]+", "_", f"{error[:40]}-{where}")


# ---- the child

KEPT = 3
"""The exit status of a child that has grown too large and said so."""


def _child(target: Target, args: argparse.Namespace) -> None:
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    count = args.folder / "count"
    done = int(count.read_text() or 0) if count.exists() else 0

    def once(data: bytes) -> None:
        nonlocal done
        (args.folder / "last").write_bytes(data)
        said = attempt(target, data)
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10 > RESIDENT:
            _keep(args.folder, data, said or "grew too large")
            os._exit(KEPT)
        if said:
            _keep(args.folder, data, said)
        done += 1
        count.write_text(str(done))

    if atheris is None:
        end, inputs = time.monotonic() + args.seconds, _random_inputs(target, random.Random(args.seed))
        while time.monotonic() < end:
            once(next(inputs))
        return
    _watch()
    for data in target.seeds():
        (args.folder / "corpus" / hashlib.blake2b(data, digest_size=8).hexdigest()).write_bytes(data)
    flags = [f"max_total_time={args.seconds:.0f}", f"seed={args.seed + 1}", "max_len=65536", "len_control=0"]
    flags += ["timeout=1200", "rss_limit_mb=0", "detect_leaks=0"]  # which the parent sees to
    flags += [f"handle_{each}=0" for each in ("segv", "abrt", "bus", "fpe")]  # as faulthandler does

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        changed = target.mutate(bytes(data), random.Random(seed))
        return changed if len(changed) <= most else bytes(data)

    given = [sys.argv[0], *(f"-{each}" for each in flags), str(args.folder / "corpus")]
    atheris.Setup(given, once, custom_mutator=mutate)
    atheris.Fuzz()


def _watch() -> None:
    """Count the branches of our own Python code; native code and libraries are not seen."""
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and str(each.__module__).startswith("ppc."):
            atheris.instrument_func(each)


def _random_inputs(target: Target, rng: random.Random) -> Iterator[bytes]:
    seeds = target.seeds()
    while True:
        data = rng.choice(seeds)
        for _ in range(1 + int(rng.expovariate(0.5))):
            data = target.mutate(data, rng)
        yield data


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Slow(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
