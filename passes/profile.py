"""Which operators are replaced by what, in which layers: ``exact``, ``friendly``, ``menu``, or a TOML file.

What a file may say stands in docs/profiles.md, with an example. Of several entries for one operator the last
that fits counts.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn

from ppc.frontend.errors import UsageError
from ppc.frontend.ir.graph import Op
from ppc.frontend.ir.ops import Const
from ppc.passes.friendly import MENU, REPLACEABLE, variants
from ppc.passes.substitution import Settings, Substitution
from ppc.runtime.base.extras import needs

SUFFIX = ".toml"
KEEP = "exact"
"""The variant that keeps an operator as it is."""

_OPS = {op.__name__: op for op in REPLACEABLE}
_FIXED_KEYS = ("op", "with", "layers")
_TABLES = ("replace", "eliminate")
_ELIMINATION_KEYS = ("layers", "every")


class ProfileError(UsageError, ValueError):
    """A profile that cannot be read, or does not fit the model: file, line and key are in the message."""


@dataclass(frozen=True)
class Rule:
    """``substitution`` (None: none) for every ``op`` that one of ``layers`` names; tuning may take one of
    ``next`` instead."""

    op: type[Op]
    substitution: Substitution | None
    layers: tuple[str, ...] = ("*",)
    settings: Settings = field(default_factory=dict)
    where: str = ""
    """File and line, for messages; "" for rules that need not fit any operator."""
    next: tuple[Substitution, ...] = ()

    @property
    def variants(self) -> tuple[Substitution, ...]:
        """All that may stand for the op, as the profile has them in order."""
        return () if self.substitution is None else (self.substitution, *self.next)

    def fits(self, op: Op) -> bool:
        return type(op) is self.op and _named(op, self.layers)


@dataclass(frozen=True)
class Elimination:
    """From ``layers`` on, one token in ``every`` goes on of those that reach them."""

    layers: tuple[str, ...]
    every: int
    where: str = ""

    def fits(self, op: Op) -> bool:
        return _named(op, self.layers)


def _named(op: Op, layers: tuple[str, ...]) -> bool:
    return any(matches(glob, name) for glob in layers for name in names(op) or [""])


@dataclass(frozen=True)
class Profile:
    name: str
    rules: tuple[Rule, ...] = ()
    eliminations: tuple[Elimination, ...] = ()

    def rule(self, op: Op) -> Rule | None:
        """The rule for this op: the last that fits."""
        return next((rule for rule in reversed(self.rules) if rule.fits(op)), None)

    @property
    def depth(self) -> int:
        """How many variants there are for an op, at most."""
        return max((len(rule.variants) for rule in self.rules), default=0)

    def at(self, place: int) -> Profile:
        """Every rule with its variant at ``place``, or its last."""
        taken = (each.variants[: place + 1] for each in self.rules)
        both = zip(self.rules, taken, strict=True)
        return replace(
            self, rules=tuple(replace(r, substitution=v[-1], next=()) if v else r for r, v in both)
        )


def _rule(
    op: type[Op], taken: Sequence[Substitution], layers: tuple[str, ...] = ("*",), where: str = ""
) -> Rule:
    settings = {key: value for each in taken for key, value in each.settings.items()}
    return Rule(op, taken[0] if taken else None, layers, settings, where, tuple(taken[1:]))


def _first(op: type[Op]) -> Rule:
    return _rule(op, list(variants(op).values())[:1])


def _menu(op: type[Op]) -> Rule:
    return _rule(op, [variants(op)[name] for name in MENU[op]])


PROFILES: dict[str, Profile] = {
    "exact": Profile("exact"),
    "friendly": Profile("friendly", tuple(map(_first, REPLACEABLE))),
    "menu": Profile("menu", tuple(map(_menu, REPLACEABLE))),
}


def find(name: str) -> Profile:
    """The profile called ``name``, or that of the file where it ends in .toml; ProfileError otherwise."""
    if name in PROFILES:
        return PROFILES[name]
    if name.endswith(SUFFIX):
        return read(Path(name))
    raise ProfileError(
        f"no profile {name!r}; there are {', '.join(PROFILES)}, and files that end in {SUFFIX}"
    )


def read(path: Path) -> Profile:
    """The profile a TOML file describes; ProfileError for the first thing in it that cannot be."""
    try:
        text = path.read_text(encoding="utf-8")
        document = _parsed(text)
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # of the encoding, or of TOML
        raise ProfileError(f"{path}: no TOML: {error}") from None
    return _Reader(path, _lines(text)).profile(document)


def _parsed(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        needs("compile", "a profile in TOML", "tomli")
        import tomli as tomllib
    return tomllib.loads(text)


Place = tuple[str, int]
"""The name of a table, and which of its entries."""
_TOP: Place = ("", 0)
"""The top of the file."""


@dataclass(frozen=True)
class _Reader:
    path: Path
    lines: Mapping[tuple[Place, str], int]
    """Line of a key in an entry; key "" is an entry's header."""

    def profile(self, document: dict[str, Any]) -> Profile:
        for key in document:
            if key not in ("base", *_TABLES):
                self.fail(
                    _TOP, key, f"unknown key {key!r}; a profile has base, [[replace]] and [[eliminate]]"
                )
        base = document.get("base", "exact")
        if not isinstance(base, str) or base not in PROFILES:
            self.fail(_TOP, "base", f"base = {base!r}; it is one of {_list(PROFILES)}")
        rules, eliminations = (self.entries(document, table) for table in _TABLES)
        return Profile(
            self.path.name,
            (*PROFILES[base].rules, *(self.rule(at, entry) for at, entry in rules)),
            tuple(self.elimination(at, entry) for at, entry in eliminations),
        )

    def entries(self, document: dict[str, Any], table: str) -> list[tuple[Place, dict[str, Any]]]:
        found = document.get(table, [])
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            self.fail(_TOP, table, f"{table} is written as [[{table}]], once for each entry")
        return [((table, i), each) for i, each in enumerate(found)]

    def elimination(self, i: Place, entry: dict[str, Any]) -> Elimination:
        for key in entry:
            if key not in _ELIMINATION_KEYS:
                self.fail(i, key, f"unknown key {key!r}; [[eliminate]] has {_list(_ELIMINATION_KEYS)}")
        if "layers" not in entry:
            self.fail(i, "", "an entry of [[eliminate]] without 'layers'")
        every = entry.get("every", 2)
        if isinstance(every, bool) or not isinstance(every, int) or every < 2:
            self.fail(i, "every", f"every = {every!r}; it is a whole number, 2 or more")
        return Elimination(self.layers(i, entry["layers"]), every, self.where(i, ""))

    def rule(self, i: Place, entry: dict[str, Any]) -> Rule:
        for key in ("op", "with"):
            if key not in entry:
                self.fail(i, "", f"an entry of [[replace]] without {key!r}")
        op = _OPS.get(entry["op"]) if isinstance(entry["op"], str) else None
        if op is None:
            self.fail(i, "op", f"op = {entry['op']!r}; it is one of {_list(_OPS)}")
        chosen = entry["with"]
        layers = self.layers(i, entry.get("layers", "*"))
        made = _rule(op, self.variants(i, op, chosen), layers, self.where(i, ""))
        for key in entry:
            if key not in _FIXED_KEYS and key not in made.settings:
                allowed = _list([*_FIXED_KEYS, *made.settings])
                self.fail(i, key, f"unknown key {key!r}; {op.__name__} with {chosen!r} has {allowed}")
        settings = {key: self.setting(i, key, entry.get(key, x), x) for key, x in made.settings.items()}
        return replace(made, settings=settings)

    def variants(self, i: Place, op: type[Op], given: Any) -> list[Substitution]:
        known = variants(op)
        if given == KEEP:
            return []
        names = [given] if isinstance(given, str) else given
        if (
            not isinstance(names, list)
            or not names
            or not all(isinstance(n, str) and n in known for n in names)
        ):
            several = f", or several of {_list(known)}" if len(known) > 1 else ""
            kinds = _list([*known, KEEP])
            self.fail(i, "with", f"with = {given!r}; for {op.__name__} it is one of {kinds}{several}")
        if len(set(names)) < len(names):
            self.fail(i, "with", f"with = {given!r} names a variant twice")
        return [known[name] for name in names]

    def layers(self, i: Place, given: Any) -> tuple[str, ...]:
        globs = [given] if isinstance(given, str) else given
        if not isinstance(globs, list) or not globs or not all(isinstance(g, str) and g for g in globs):
            self.fail(i, "layers", f"layers = {given!r}; it is a glob or a list of globs, as text")
        return tuple(globs)

    def setting(self, i: Place, key: str, value: Any, default: float | bool) -> float | bool:
        if isinstance(default, bool):
            if not isinstance(value, bool):
                self.fail(i, key, f"{key} = {value!r}; it is true or false")
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            self.fail(i, key, f"{key} = {value!r}; it is a number above 0")
        return float(value)

    def where(self, i: Place, key: str) -> str:
        line = self.lines.get((i, key), self.lines.get((i, "")))
        return f"{self.path}" if line is None else f"{self.path}, line {line}"

    def fail(self, i: Place, key: str, message: str) -> NoReturn:
        raise ProfileError(f"{self.where(i, key)}: {message}")


def _lines(text: str) -> dict[tuple[Place, str], int]:
    """Where the keys of each entry stand, as far as a look at the lines tells."""
    found: dict[tuple[Place, str], int] = {}
    entry, counts = _TOP, Counter[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[\s*(\w+)\s*\]\]", line):
            entry = header[1], counts[header[1]]
            counts[header[1]] += 1
            found[entry, ""] = number
        elif key := re.match(r"\s*\[?[\"']?([\w-]+)[\"']?\s*[\]=.]", line):
            found.setdefault((entry, key[1]), number)
    return found


def _list(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in names)


# ---- names of layers


def plain(name: str) -> str:
    """A name as parts joined by dots."""
    return name.replace("/", ".").strip(".")


def matches(glob: str, name: str) -> bool:
    """Whether ``glob`` fits ``name`` or what follows one of its dots."""
    pattern, rest = plain(glob), plain(name)
    while True:
        if fnmatchcase(rest, pattern):
            return True
        _, dot, rest = rest.partition(".")
        if not dot:
            return False


def names(op: Op) -> list[str]:
    """What the op goes by: its result, its weights, and if these tell no layer, the weights before it."""
    own = [op.name, *(each.name for each in op.operands if isinstance(each, Const))]
    found = [name for name in own if name]
    return found if any(_scoped(name) for name in found) else [*found, *_before(op)]


def label(op: Op) -> str:
    """The one name that tells most."""
    known = names(op)
    return next((name for name in known if _scoped(name)), known[0] if known else "(unnamed)")


def _scoped(name: str) -> bool:
    return "." in plain(name)


def _before(op: Op) -> list[str]:
    """Names of the nearest weights that the op's operands are made of."""
    level = list(op.operands)
    seen = set(level)
    while level:
        found = [each.name for op in level for each in op.operands if isinstance(each, Const)]
        if scoped := [name for name in found if _scoped(name)]:
            return scoped
        level = [x for x in dict.fromkeys(y for op in level for y in op.operands) if x not in seen]
        seen.update(level)
    return []
