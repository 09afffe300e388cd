"""What no source of this project may do, read from the sources themselves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from rules import holds, offenders
from small import ROOT

ROOMS = ("frontend", "passes", "backend", "runtime", "ppc", "models", "benchmarks")
SOURCES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
RUNTIME = [path for path in SOURCES if path.is_relative_to(ROOT / "runtime")]
NATIVE = sorted(
    path for end in ("cpp", "h", "inc") for path in (ROOT / "runtime" / "native").glob(f"*.{end}")
)

WEAK = re.compile(
    r"(numpy|np)\.random|(^|\.)random\.(Random|random|randint|getrandbits|seed|choice)$|default_rng"
)
DRAWS = re.compile(
    r"\bs?rand(om|48)?\s*\(|mt19937|minstd_rand|random_device|random_engine|getrandom|/dev/u?random"
    r"|\btime\s*\(\s*(NULL|nullptr|0)\s*\)|rdtsc"
)
LOOKS_AWAY = re.compile(r"sec_level_type\s*\.\s*none|sec_level_type::none|enforce_hes\s*=\s*False")
RUNS_CODE = {"eval", "exec", "compile", "__import__", "execfile"}
READS_CODE = ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
CODE_CALLS = ("torch.load", "yaml.load", "yaml.unsafe_load", "os.system", "os.popen")


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(), str(path))))


def imported(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{'.' * node.level}{node.module or ''}"


def names(path: Path) -> Iterator[str]:
    """Every dotted name that is read: ``np.random.default_rng``, ``os.urandom``."""
    yield from (name for node in nodes(path) if (name := dotted(node)) is not None)


def dotted(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)) is not None:
        return f"{before}.{node.attr}"
    return None


def calls(path: Path) -> Iterator[ast.Call]:
    yield from (node for node in nodes(path) if isinstance(node, ast.Call))


def weak_randomness(path: Path) -> list[str]:
    found = [name for name in names(path) if WEAK.search(name)]
    return found + [module for module in imported(path) if module in ("random", "numpy.random")]


def runs_code(path: Path) -> list[str]:
    found = [dotted(c.func) for c in calls(path) if isinstance(c.func, ast.Name) and c.func.id in RUNS_CODE]
    found += [m for m in imported(path) if m.split(".")[0] in READS_CODE]
    found += [n for n in names(path) if n in CODE_CALLS]
    for call in calls(path):
        for keyword in call.keywords:
            if (
                keyword.arg in ("allow_pickle", "shell")
                and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
            ):  # fmt: skip
                found.append(f"{keyword.arg}={ast.unparse(keyword.value)}")
    return found


def draws(path: Path) -> list[str]:
    return [found[0] for found in DRAWS.finditer(path.read_text())]


def looks_away(path: Path) -> list[str]:
    """What turns SEAL's check of security off."""
    found = LOOKS_AWAY.findall(path.read_text())
    if path.suffix == ".py":
        contexts = [call for call in calls(path) if (dotted(call.func) or "").endswith("SEALContext")]
        found += [ast.unparse(call) for call in contexts if len(call.args) + len(call.keywords) != 3]
    return found


def test_the_sources_are_found():
    assert len(SOURCES) > 60
    assert len(RUNTIME) > 25
    assert len(NATIVE) > 5


@pytest.mark.long
def test_the_runtime_draws_from_no_weak_generator():
    holds(RUNTIME, weak_randomness)


def test_that_generator_is_seeded_by_the_operating_system():
    assert "os.urandom" in set(names(ROOT / "runtime" / "base" / "prg.py"))


def test_native_code_expands_and_never_draws():
    """Seeds come in from Python; C and C++ generators are for nothing secret."""
    holds(NATIVE, draws)


@pytest.mark.long
def test_no_source_runs_or_unpickles_what_it_reads():
    holds(SOURCES, runs_code)


def test_no_source_asks_seal_to_look_away():
    holds(SOURCES + NATIVE, looks_away)


def test_seal_checks_at_128_bits():
    from ppc.runtime.he import params as he_params

    assert he_params.SECURITY is he_params.seal.sec_level_type.tc128


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("import numpy as np\nnp.random.default_rng()", weak_randomness),
        ("from random import randint", weak_randomness),
        ("import random\nrandom.getrandbits(8)", weak_randomness),
        ("from numpy.random import default_rng", weak_randomness),
        ("eval('1')", runs_code),
        ("import pickle", runs_code),
        ("from marshal import loads", runs_code),
        ("np.load(p, allow_pickle=True)", runs_code),
        ("np.load(p, allow_pickle=choice)", runs_code),
        ("subprocess.run(c, shell=True)", runs_code),
        ("torch.load(p)", runs_code),
        ("int r = rand();", draws),
        ("std::mt19937 g(7);", draws),
        ("srand(time(NULL));", draws),
        ("seal.SEALContext(parms, True, seal.sec_level_type.none)", looks_away),
        ("seal.SEALContext(parms, True)", looks_away),
        ("SEALContext(parms, False, seal.SECURITY, enforce_hes=False)", looks_away),
    ],
)
def test_each_rule_sees_what_it_forbids(tmp_path, source, rule):
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text("x = 1\n")
    bad.write_text(source)
    assert offenders([good], rule) == []
    with pytest.raises(AssertionError, match=r"bad\.py: "):
        holds([good, bad], rule)


def test_what_is_allowed_is_not_seen(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("np.load(p, allow_pickle=False)\nfrom .random import Prg\nprg.ring(3)\nre.compile('a')\n")
    assert not runs_code(path)
    assert not weak_randomness(path)
