"""What may be replaced, unit by unit: the operators of one kind in one layer, all of them or none.

Every graph that comes of it has the same constants where it has the same parts, so that weights which were
tuned in one are at hand in another (`state_of`).
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
from ppc.passes.substitution import Constants, Samples
from ppc.passes.train.answers import values
from ppc.passes.train.examples import Examples

Array = NDArray[Any]


class NothingToReplace(UsageError):
    pass


@dataclass(frozen=True)
class Unit:
    """``ops`` of the teacher, of one ``kind``, in one ``layer``, for which ``variant`` may stand."""

    kind: str
    layer: str
    variant: str
    formula: str
    ops: tuple[Op, ...]

    def __str__(self) -> str:
        return f"{self.kind} of {self.layer}"

    @property
    def sort(self) -> tuple[object, ...]:
        """Units of one sort cost the same but for the bits that their ranges take."""
        return self.kind, self.variant, *(op.type for op in self.ops)


@dataclass(frozen=True)
class Menu:
    """``teacher``, and what each op became where all ``units`` are replaced."""

    teacher: Graph
    units: tuple[Unit, ...]
    made: Mapping[Op, Op]
    profile: Profile
    samples: Examples

    @staticmethod
    def of(graph: Graph, profile: Profile, feeds: Sequence[Mapping[str, Array]]) -> Menu:
        """All that ``profile`` replaces, fitted to ``feeds``. Raises ProfileError, and NothingToReplace."""
        done = apply_profile(graph, profile, feeds)
        if not done.chosen:
            raise NothingToReplace(
                f"profile {profile.name!r} replaces nothing in this model, so there is nothing to tune"
            )
        groups: dict[tuple[str, str, str], list[Op]] = {}
        formulas: dict[str, str] = {}
        for op, taken in done.chosen.items():
            groups.setdefault((type(op).__name__, layer_of(label(op)), taken.name), []).append(op)
            formulas[taken.name] = taken.formula
        units = (Unit(*key, formulas[key[2]], tuple(found)) for key, found in groups.items())
        return Menu(graph, tuple(units), done.made, profile, Examples.of(feeds))

    def alone(self, unit: Unit) -> Graph:
        """The teacher with one unit replaced, and fitted to ``samples``, as if there were no other."""
        constants: list[Constants] = []
        done = Substituted(self.teacher, made={op: op for op in walk(self.teacher)})
        for i, op in enumerate(unit.ops):
            (x,) = values(done.graph, self.samples, [done.made[op.operands[0]]])
            (y,) = values(self.teacher, self.samples, [op])
            rule = self.profile.rule(op)
            if rule is not None and rule.substitution is not None:
                samples = Samples(list(x.astype(np.float64)), list(y.astype(np.float64)))
                constants.append(rule.substitution.fit(op, samples, rule.settings))
            done = apply_profile(self.teacher, self.profile, (), constants, only=unit.ops[: i + 1])
        return done.graph

    def graph(self, replaced: Collection[Unit]) -> Graph:
        """The teacher with these units replaced, as they were fitted where all are."""
        chosen = {op for unit in replaced for op in unit.ops}
        now: dict[Op, Op] = {}
        at: dict[Op, Op] = {}
        for op in walk(self.teacher):
            made = self.made[op]
            now[op] = _transplanted(made, at) if op in chosen else op.replace(now[x] for x in op.operands)
            at[made] = now[op]
        return self.teacher.mapped(now)


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
