"""The list of what a plan makes public: every number of the model in it, and why it is there."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from tiny import tiny_plan

from ppc.backend import public
from ppc.backend.public import groups, names, public_numbers
from ppc.backend.report import summary, who_sees_what
from ppc.runtime.base.function import Clip, Plain
from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import local, steps
from ppc.runtime.plan.file import Plan


def plan(*program: Any, own: tuple[Any, ...] = (), shorter: tuple[Plan, ...] = ()) -> Plan:
    tiny = tiny_plan()
    return msgspec.structs.replace(
        tiny,
        steps=(*tiny.steps[:4], *program),
        outputs=(),
        guard=None,
        local=(*tiny.local, *own),
        shorter=shorter,
    )


def why(made: Plan) -> dict[str, str]:
    return {row["where"]: row["why"] for row in public_numbers(made)}


def test_every_constant_of_a_plan_is_told() -> None:
    rows = {row["where"]: row for row in public_numbers(tiny_plan())}
    assert {key: (row["numbers"], row["why"]) for key, row in rows.items()} == {
        "0004 Spline /act/bump": (3 + 12 + 1, public.KNOTS),
        "0018 Public": (1, public.ADDED),
        "0022 Take": (5, public.PLACES),
        "0024 Spline /act/relu": (1 + 6 + 1, public.KNOTS),
        "0025 Guard": (3, public.LIMITS),
    }
    assert rows["0018 Public"]["values"] == [3 * 2.0**-12]
    assert rows["0022 Take"]["values"] == [4, 0, 0, 1, 3]


def test_a_step_without_a_name_has_that_of_the_first_that_reads_it() -> None:
    rows = {row["where"]: row["name"] for row in public_numbers(tiny_plan())}
    assert rows["0018 Public"] == rows["0022 Take"] == "/act/relu"


@pytest.mark.parametrize(
    ("factor", "scale", "told"),
    [(3, 1, [1.5]), (-4, 2, [-1.0]), (1, 9, None), (-1, 0, None), (512, 9, None)],
    ids=str,
)
def test_a_factor_is_told_but_for_signs_and_changes_of_scale(
    factor: int, scale: int, told: list[float] | None
) -> None:
    rows = public_numbers(plan(steps.TimesInteger(name="n", x=3, factor=factor, scale=scale)))
    assert [row["values"] for row in rows] == ([] if told is None else [told])


def test_an_epsilon_is_what_a_root_alone_reads() -> None:
    num, spec = Fixed(26, 8), next(s.spec for s in tiny_plan().steps if isinstance(s, steps.Spline))
    added = (steps.Public(values=(5,), num=num, shape=()), steps.Add(a=3, b=4))
    root = (*added, steps.Rescale(x=5, num=num), steps.Spline(x=6, spec=spec, function="rsqrt"))
    assert why(plan(*root))["0004 Public"] == public.EPSILON
    assert why(plan(*root, steps.Add(a=5, b=3)))["0004 Public"] == public.ADDED
    assert why(plan(*root[:3], steps.Spline(x=6, spec=spec, function="exp")))["0004 Public"] == public.ADDED
    assert why(plan(*added))["0004 Public"] == public.ADDED
    taken = (added[0], steps.Reshape(x=4, shape=(1,)), steps.Spline(x=5, spec=spec, function="rsqrt"))
    assert why(plan(*taken))["0004 Public"] == public.ADDED


def test_the_clients_own_constants_and_attributes_are_told() -> None:
    own = (
        local.Const((2,), (-math.inf, 0.25)),
        local.packed(np.arange(3)),
        local.packed(np.arange(65)),
        local.Apply(Clip(-9.0, None), (0,)),
        local.Apply(Plain("Mul"), (2, 5)),
    )
    entering = steps.Encode(name="/mask", local=6, num=Fixed(26, 0), shape=(2,))
    rows = public_numbers(plan(entering, own=own))[-4:]
    assert [row["values"] for row in rows] == [["-inf", 0.25], [0, 1, 2], [], [-9.0]]
    assert [row["numbers"] for row in rows] == [2, 3, 65, 1]
    assert [row["name"] for row in rows] == ["/mask", "", "", "/mask"]
    assert [row["why"] for row in rows] == [public.CLIENTS] * 3 + [public.ATTRIBUTES]
    assert "Infinity" not in json.dumps(rows)


def test_all_lengths_count() -> None:
    short = plan(steps.TimesInteger(x=3, factor=3))
    rows = public_numbers(plan(steps.TimesInteger(x=3, factor=5), shorter=(short,)))
    assert [row["values"] for row in rows] == [[3.0], [5.0]]


def test_for_people_there_is_a_line_for_each_reason() -> None:
    program = [steps.TimesInteger(x=3, factor=3 + i) for i in range(9)]
    (group,) = groups(public_numbers(plan(*program)))
    assert str(group) == f"9 numbers {public.FACTOR}: 3, 4, 5, 6, 7, 8, …"
    said = {row["value"]: row["seen_by"] for row in who_sees_what(plan(*program))}
    assert said[f"of the model: {group}"] == "both"


def test_names_are_public_too() -> None:
    assert names(tiny_plan()) >= {"/act/bump", "/mul", "table", "ids", "y"}
    told = f"names of {len(names(tiny_plan()))} tensors, all in --json: /act/bump, /act/relu, /att/max, …; "
    assert any(row["value"].startswith(told) for row in who_sees_what(tiny_plan()))
    assert summary(tiny_plan())["names"] == sorted(names(tiny_plan()))


def test_the_summary_holds_the_list() -> None:
    assert summary(tiny_plan())["public"] == public_numbers(tiny_plan())
