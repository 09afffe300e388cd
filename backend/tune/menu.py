"""What may be replaced, unit by unit: the operators of one kind in one layer, all by one variant or none.

A unit stands on a *rung*, which is the variant in its place. Every graph that comes of it has the same
constants where it has the same parts, so that weights which were tuned in one are at hand in another
(`state_of`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppc.frontend.errors import UsageError
from ppc.frontend.ir.constant import Const
from ppc.frontend.ir.graph import Graph, Op, walk
from ppc.passes.apply_profile import Substituted, apply_profile
from ppc.passes.profile import Profile, label, plain
from ppc.passes.substitution import Constants, Samples, Substitution
from ppc.passes.train.answers import values
from ppc.passes.train.examples import Examples

Array = NDArray[Any]


class NothingToReplace(UsageError):
    pass


@dataclass(frozen=True, repr=False)
class Unit:
    """``ops`` of the base, of one ``kind``, in one ``layer``, for which one of ``variants`` may stand."""

    kind: str
    layer: str
    variants: tuple[Substitution, ...]
    ops: tuple[Op, ...]

    def __str__(self) -> str:
        return f"{self.kind} of {self.layer}"

    @property
    def sort(self) -> tuple[object, ...]:
        """Units of one sort cost the same but for the bits that their ranges take."""
        return self.kind, self.variants, *(op.type for op in self.ops)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        return tuple(Rung(self, place) for place in range(len(self.variants)))


@dataclass(frozen=True, repr=False)
class Rung:
    """A unit replaced by its variant at ``place``."""

    unit: Unit
    place: int

    def __str__(self) -> str:
        return f"{self.unit} by {self.variant}"

    @property
    def variant(self) -> str:
        return self.unit.variants[self.place].name

    @property
    def formula(self) -> str:
        return self.unit.variants[self.place].formula


@dataclass(frozen=True, repr=False)
class Menu:
    """``teacher``, ``base``, which is the same but for the tokens that the profile leaves out, and what each
    op of that became where all ``units`` are replaced: by their first variants, by their second or last ones,
    and so on."""

    teacher: Graph
    base: Graph
    units: tuple[Unit, ...]
    made: tuple[Mapping[Op, Op], ...]
    profile: Profile
    samples: Examples

    @staticmethod
    def of(
        graph: Graph, profile: Profile, feeds: Sequence[Mapping[str, Array]], base: Graph | None = None
    ) -> Menu:
        """All that ``profile`` replaces, fitted to ``feeds``. Raises ProfileError, and NothingToReplace."""
        base = base or graph
        places = range(max(1, profile.depth))
        done = [apply_profile(base, profile.at(place), feeds) for place in places]
        groups: dict[tuple[str, str, tuple[Substitution, ...]], list[Op]] = {}
        for op in done[0].chosen:
            rule = profile.rule(op)
            assert rule is not None
            groups.setdefault((type(op).__name__, layer_of(label(op)), rule.variants), []).append(op)
        if not groups:
            raise NothingToReplace(
                f"profile {profile.name!r} replaces nothing in this model, so there is nothing to tune"
            )
        units = (Unit(*key, tuple(found)) for key, found in groups.items())
        return Menu(graph, base, tuple(units), tuple(each.made for each in done), profile, Examples.of(feeds))

    @property
    def first(self) -> tuple[Rung, ...]:
        """Every unit on the rung that the profile names first."""
        return tuple(unit.rungs[0] for unit in self.units)

    def alone(self, rung: Rung) -> Graph:
        """The base with one unit replaced, and fitted to ``samples``, as if there were no other."""
        unit, profile = rung.unit, self.profile.at(rung.place)
        constants: list[Constants] = []
        done = Substituted(self.base, made={op: op for op in walk(self.base)})
        for i, op in enumerate(unit.ops):
            (x,) = values(done.graph, self.samples, [done.made[op.operands[0]]])
            (y,) = values(self.base, self.samples, [op])
            rule = profile.rule(op)
            if rule is not None and rule.substitution is not None:
                samples = Samples(list(x.astype(np.float64)), list(y.astype(np.float64)))
                constants.append(rule.substitution.fit(op, samples, rule.settings))
            done = apply_profile(self.base, profile, (), constants, only=unit.ops[: i + 1])
        return done.graph

    def graph(self, replaced: Collection[Rung]) -> Graph:
        """The base with units on these rungs, as they were fitted where all are replaced."""
        places = {op: rung.place for rung in replaced for op in rung.unit.ops}
        now: dict[Op, Op] = {}
        at: list[dict[Op, Op]] = [{} for _ in self.made]
        for op in walk(self.base):
            place = places.get(op)
            if place is None:
                now[op] = op.replace(now[x] for x in op.operands)
            else:
                now[op] = _transplanted(self.made[place][op], at[place])
            for made, known in zip(self.made, at, strict=True):
                known[made[op]] = now[op]
        return self.base.mapped(now)


def layer_of(name: str) -> str:
    """The part of a tensor's name that says which layer it belongs to: up to its last number, or to the first
    part that ends in one."""
    # PyTorch calls what is computed in model.0 model/model.0, and its weights model.0
    parts = re.sub(r"\b(\w+)\.(?=\1\.\d)", "", plain(name)).split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdecimal()]
    ending = [i for i, part in enumerate(parts) if part[-1:].isdecimal()]
    last = numbers[-1] if numbers else ending[0] if ending else 0
    return ".".join(parts[: last + 1])


def state_of(graph: Graph, tuned: Graph) -> dict[Const, Array]:
    """The numbers that ``tuned``, which is ``graph`` but for them, has elsewhere."""
    both = zip(walk(graph), walk(tuned), strict=True)
    return {
        a: b.value
        for a, b in both
        if isinstance(a, Const) and isinstance(b, Const) and not np.array_equal(a.value, b.value)
    }


def _transplanted(root: Op, at: dict[Op, Op]) -> Op:
    """``root`` on other operands: ``at`` has what stands for whatever it is made of, and remembers the rest.

    A substitution may read beneath its operand, a score without its mask for one."""
    if root not in at:
        at[root] = root.replace(_transplanted(each, at) for each in root.operands)
    return at[root]
