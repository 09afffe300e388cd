"""Does a test fail when a protection is taken out? Each mutation is tried in a copy of the checkout.

    .venv/bin/python tests/mutations/run.py             all of them, some minutes
    .venv/bin/python tests/mutations/run.py NAME …      these
    .venv/bin/python tests/mutations/run.py --list      what there is

A mutation (`mutation.py`) is a text of a source and what it becomes, with the tests that must then fail. All
those tests run with nothing changed first, and must pass; then, for each mutation, its own. It is noticed
when one of them fails by what it asserts: a source that no longer imports or builds proves nothing, and is
said to be broken. A text that does not stand in its file just once is said too, so that the list cannot rot.

To add one: an entry in the file of its subject here (`ot.py`, `material.py`, `protocols.py`, …); a new file
goes into `SUBJECTS`. Choose the smallest change that takes the protection out and leaves results right, where
that can be; name the tests that stand for it in docs/threat-model.md. Kernels are built again in the copy, by
CMake.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import guard
import he
import material
import net
import ot
import plans
import printing
import protocols
import randomness
import state
from mutation import ROOT, Mutation, Stale

SUBJECTS = (he, ot, protocols, guard, randomness, printing, material, plans, state, net)
MUTATIONS: tuple[Mutation, ...] = tuple(each for subject in SUBJECTS for each in subject.MUTATIONS)

TEST_SECONDS = 60
"""What hangs without its protection fails after this."""

BROKEN = re.compile(r"(Syntax|Indentation|Import|ModuleNotFound|Name|Unbound\w*|Attribute|Type)Error\b")
"""How a mutated source fails that is none: not by what a test asserts."""


@dataclass
class Ran:
    """How a run of pytest ended: its status, what failed with which message, and the last lines."""

    status: int
    failed: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    tail: str = ""

    @property
    def passed(self) -> bool:
        return self.status == 0


class Workshop:
    """A copy of the checkout, as it is on disk, in which files can be changed."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self._edits = 0
        self._configured = False
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
        kernels = [str(path.relative_to(ROOT)) for path in (ROOT / "runtime").glob("*.so")]
        for name in [*os.fsdecode(names).split("\0"), *kernels]:
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        where = "import ppc.runtime._ot as m; print(m.__file__)"
        found = self._run([sys.executable, "-c", where]).stdout.strip()
        if not found.startswith(f"{folder}/"):
            raise RuntimeError(f"the copy imports {found}")

    def tests(self, ids: Sequence[str], *, first: bool) -> Ran:
        """pytest on ``ids``; up to the ``first`` failure."""
        report = self.root / "build" / "mutations.xml"
        report.unlink(missing_ok=True)
        done = self._run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"),
                *(f"--timeout={TEST_SECONDS}", *(["-x"] if first else []), *ids),
            ]
        )
        ran = Ran(done.returncode, tail=" / ".join((done.stdout + done.stderr).strip().splitlines()[-2:]))
        for case in ElementTree.parse(report).iter("testcase") if report.exists() else ():
            name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name', '')}"
            for kind, into in (("failure", ran.failed), ("error", ran.errors)):
                if (found := case.find(kind)) is not None:
                    into[name] = found.get("message", "")
        return ran

    @contextmanager
    def changed(self, mutation: Mutation) -> Iterator[None]:
        """The file without its protection, its module built again; as it was afterwards."""
        path = self.root / mutation.file
        text, kept = mutation.applied(self.root), path.read_text()
        self._write(path, text)
        try:
            if mutation.module:
                self._build(mutation.module)
            yield
        finally:
            self._write(path, kept)
            for kernel in (ROOT / "runtime").glob(f"{mutation.module}.*.so"):
                shutil.copy2(kernel, self.root / "runtime" / kernel.name)

    def _write(self, path: Path, text: str) -> None:
        """Under a later second than any before, by which Python and CMake know what they have compiled."""
        path.write_text(text)
        self._edits += 1
        os.utime(path, (int(time.time()) + self._edits,) * 2)

    def _build(self, module: str) -> None:
        """Raises Stale where the mutated kernel does not build."""
        build, bin = self.root / "build" / "native", Path(sys.executable).parent
        if not self._configured:
            ninja = f"-DCMAKE_MAKE_PROGRAM={bin / 'ninja'}"
            python = f"-DPython_EXECUTABLE={sys.executable}"
            where = ["-S", str(self.root), "-B", str(build), "-G", "Ninja", "-DSKBUILD_STATE=editable"]
            self._must([str(bin / "cmake"), *where, ninja, python])
            self._configured = True
        self._must([str(bin / "cmake"), "--build", str(build), "--target", module])

    def _must(self, command: Sequence[str]) -> None:
        done = self._run(command)
        if done.returncode:
            raise Stale(f"does not build: {(done.stdout + done.stderr).strip().splitlines()[-1]}")

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"PYTHONPATH": str(self.root)}
        env.pop("PYTEST_ADDOPTS", None)
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False)


@contextmanager
def workshop() -> Iterator[Workshop]:
    with tempfile.TemporaryDirectory(prefix="ppc-mutations-") as folder:
        yield Workshop(Path(folder).resolve())


def unmutated(shop: Workshop, chosen: Sequence[Mutation]) -> str | None:
    """What is wrong before anything is changed; None where all is well."""
    ids = list(dict.fromkeys(id for each in chosen for id in each.noticed_by))
    ran = shop.tests(ids, first=False)
    return None if ran.passed else f"fails with nothing changed: {', '.join(ran.failed) or ran.tail}"


def tried(shop: Workshop, mutation: Mutation) -> tuple[bool, str]:
    """Whether the mutation is noticed, and by what; otherwise why not."""
    try:
        with shop.changed(mutation):
            ran = shop.tests(mutation.noticed_by, first=True)
    except Stale as stale:
        return False, str(stale)
    if ran.passed:
        return False, f"NOT NOTICED: without it ({mutation.takes_out}) all its tests pass"
    for name, message in ran.failed.items():
        if not BROKEN.match(message):
            return True, name
        return False, f"broken, {name} ends with {message.splitlines()[0][:100]}"
    if ran.errors:
        name, message = next(iter(ran.errors.items()))
        return False, f"{name} fails before its test: {message.splitlines()[0][:100]}"
    return False, f"pytest ends with status {ran.status}: {ran.tail}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Take protections out, one at a time; tests must fail.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="what there is, and nothing run")
    asked = parser.parse_args()
    if unknown := set(asked.names) - {each.name for each in MUTATIONS}:
        parser.error(f"no mutation is called {', '.join(sorted(unknown))}; --list says what there is")
    chosen = [each for each in MUTATIONS if not asked.names or each.name in asked.names]
    if asked.list:
        for each in chosen:
            print(f"{each.name:28} {each.file:36} {each.takes_out}")
        return 0
    with workshop() as shop:
        if wrong := unmutated(shop, chosen):
            print(wrong)
            return 1
        missed = 0
        for each in chosen:
            begun = time.monotonic()
            noticed, how = tried(shop, each)
            missed += not noticed
            took = time.monotonic() - begun
            print(f"{each.name:28} {'noticed' if noticed else '-------'} {took:5.1f} s  {how}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
