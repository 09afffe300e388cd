"""The longest chain of flights through a plan's steps."""

from __future__ import annotations

from ppc.backend.critical_path import critical_path
from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import InputSpec, Options, OutputSpec, Plan
from ppc.runtime.plan.local import Input
from ppc.runtime.session.connection import predict_cost

NUM = Fixed(20, 8)


def two_branches() -> Plan:
    """Two truncations side by side, then a sum and the output."""
    program: tuple[steps.AnyStep, ...] = (
        steps.Encode(local=0, num=NUM, shape=(4,)),
        steps.Rescale(x=0, num=Fixed(20, 4)),
        steps.Rescale(x=0, num=Fixed(20, 4)),
        steps.Add(a=1, b=2),
        steps.Output(x=3),
    )
    return Plan(
        model="branches",
        profile="exact",
        options=Options(byte_price=1e-7),
        inputs=(InputSpec("x", (4,), "float"),),
        outputs=(OutputSpec("y", 4, (4,)),),
        weights=(),
        local=(Input("x"),),
        steps=program,
    )


def test_branches_that_do_not_read_each_other_count_once():
    plan = two_branches()
    rows = predict_cost(plan).rows
    cost = {i: rows[plan.place("online", i)].flights for i in range(len(plan.steps))}
    flights, path = critical_path(plan, rows)
    assert len({1, 2} & set(path)) == 1
    assert cost[1] + cost[2] == 1, "one flight for both"
    assert flights == sum(cost.values()) == 2, "theirs and the output's"
