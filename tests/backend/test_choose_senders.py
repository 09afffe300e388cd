"""Who sends the tables of a comparison."""

from __future__ import annotations

from ppc.backend.choose_senders import choose_senders
from ppc.runtime.base.ring import Fixed
from ppc.runtime.party.role import CLIENT, SERVER
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import InputSpec, Options, OutputSpec, Plan
from ppc.runtime.plan.local import Input
from ppc.runtime.protocols.compare import Thresholds
from ppc.runtime.protocols.spline import SplineSpec
from ppc.runtime.session.connection import predict_cost

NUM = Fixed(16, 8)
RELU = SplineSpec(Thresholds((0,)), 16, NUM, ((0, 0, 0), (0, 0, 0)), ((0, 1),), NUM)


def chain(length: int) -> Plan:
    """So many functions of one another."""
    program: list[steps.AnyStep] = [steps.Encode(local=0, num=NUM, shape=(4,))]
    program += [steps.Spline(x=i, spec=RELU) for i in range(length)]
    program.append(steps.Output(x=length))
    return Plan(
        model="chain",
        profile="exact",
        options=Options(byte_price=1e-7),
        inputs=(InputSpec("x", (4,), "float"),),
        outputs=(OutputSpec("y", length + 1, (4,)),),
        weights=(),
        local=(Input("x"),),
        steps=tuple(program),
    )


def test_the_side_that_comes_later_sends():
    plan = choose_senders(chain(1))
    assert plan.steps[1].sender is SERVER, "both come at once"
    assert {step.sender for step in choose_senders(chain(6)).steps if isinstance(step, steps.Spline)} == {
        SERVER,
        CLIENT,
    }


def test_it_saves_flights_and_costs_no_byte():
    plan = chain(6)
    before, after = (predict_cost(each).total("online") for each in (plan, choose_senders(plan)))
    assert after.flights <= before.flights - 3
    assert after.bytes == before.bytes
