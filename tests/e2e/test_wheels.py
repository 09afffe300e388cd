"""Wheels for other systems: which Pythons they are for, what they ask of a system, and that they run."""

from __future__ import annotations

import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from small import ROOT

OLDEST_GLIBC = (2, 17)
"""Of the tag manylinux2014."""

PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def shell(command: str, **environment: str) -> str:
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By the version of the Python that each is for; of those that are here."""
    made = tmp_path_factory.mktemp("dist")
    told = shell(f".ci/make_wheels {' '.join(PYTHONS)}", DIST=str(made))
    said = dict(re.findall(r"^(3\.\d+): (.*)$", told, re.MULTILINE))
    assert list(said) == list(PYTHONS)
    return {version: made / name for version, name in said.items() if name.endswith(".whl")}


@pytest.mark.slow
def test_they_ask_for_no_newer_glibc(wheels: dict[str, Path], tmp_path: Path) -> None:
    assert wheels
    for wheel in set(wheels.values()):
        assert f"manylinux_{OLDEST_GLIBC[0]}_{OLDEST_GLIBC[1]}_x86_64" in wheel.name
        with zipfile.ZipFile(wheel) as files:
            modules = [each for each in files.namelist() if each.endswith(".so")]
            files.extractall(tmp_path / wheel.name, modules)
        assert len(modules) == 3
        for module in modules:
            asked = shell(f"objdump -T '{tmp_path / wheel.name / module}'")
            versions = [tuple(map(int, each)) for each in re.findall(r"GLIBC_(\d+)\.(\d+)", asked)]
            assert max(versions) <= OLDEST_GLIBC
            assert "GLIBCXX" not in asked


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_each_runs_plans_without_extras_and_the_demonstration_with(
    version: str, wheels: dict[str, Path]
) -> None:
    if version not in wheels:
        pytest.skip(f"no Python {version} here")
    python = shell(f". .ci/pythons; find_python {version}").strip()
    told = shell(f".ci/use_wheel --demo {wheels[version]} {python}")
    assert "two parties without the compiler's packages" in told
    assert told.splitlines()[-1] == "ok"


def test_a_python_that_is_not_here_is_told() -> None:
    assert shell(".ci/make_wheels 3.99") == (
        "3.99: not here with headers and venv, so no wheel is made for it\n"
    )
