"""A rule that holds for many things is one test, whose failure names every offender."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from small import ROOT

T = TypeVar("T")


def offenders(things: Iterable[T], rule: Callable[[T], Iterable[object]]) -> list[str]:
    """A line for each thing and finding of the rule, which finds nothing where all is well."""
    return [f"{called(thing)}: {found}" for thing in things for found in rule(thing)]


def called(thing: object) -> str:
    if isinstance(thing, Path) and thing.is_relative_to(ROOT):
        return str(thing.relative_to(ROOT))
    return str(getattr(thing, "__name__", thing))


def holds(things: Iterable[T], rule: Callable[[T], Iterable[object]]) -> None:
    """Fails with all offenders, a line each."""
    found = offenders(things, rule)
    assert not found, "\n".join(["", *found])
