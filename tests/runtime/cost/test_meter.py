"""The forecast: the same bytes and flights as the price, and seconds that follow from rates and network."""

from __future__ import annotations

import socket
from dataclasses import replace

import msgspec
import pytest
from tiny import tiny_plan

from ppc.runtime.cost.events import Work
from ppc.runtime.cost.forecast import predict_time, predict_time_here, predict_times
from ppc.runtime.cost.meter import WORKERS, metered
from ppc.runtime.cost.rates import REFERENCE, Rates, rates_path, read_rates
from ppc.runtime.net.network import LAN, LOOPBACK, WAN, Network
from ppc.runtime.net.tcp import link
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.party.role import CLIENT, SERVER, Role
from ppc.runtime.plan.file import OutputSpec
from ppc.runtime.plan.steps import Output
from ppc.runtime.session.connection import FRESH, PREPARED, Program, predict_cost
from ppc.runtime.session.engines import Ready

RATES = read_rates(REFERENCE)
IDLE = Rates(machine="", date="", cores=2, shared={}, steps={}, loopback=(1e9, 1e-4))
INFINITE = float("inf")
READY = Ready(frozenset(Role), frozenset(each.params for each in tiny_plan().products))


def costs(ledger):
    return {place: (cost.server, cost.client, cost.flights) for place, cost in ledger.rows.items()}


@pytest.mark.long
@pytest.mark.parametrize(
    "program",
    [
        FRESH,
        PREPARED,
        Program(preparations=2),
        Program(further=True),
        Program(further=True, ready=READY),
        Program(check_ot=True),
    ],
)
@pytest.mark.parametrize("which", ["tiny", "small"])
def test_the_forecast_has_the_bytes_and_flights_of_the_price(which, program, small):
    plan = tiny_plan() if which == "tiny" else small.compiled.plan
    ledger = predict_time(plan, RATES, LAN, program).ledger
    assert costs(ledger) == costs(predict_cost(plan, program))
    assert sum(row[2] for row in costs(ledger).values()) > 3


def test_every_unit_of_the_rates_is_counted_somewhere():
    counted = {unit for units in metered(tiny_plan(), None).work.values() for unit, n in units.items() if n}
    packing_and_much = {"key_switch", "silent_send", "silent_receive"}
    assert set(RATES.shared) - counted <= packing_and_much
    known = {unit for units in RATES.steps.values() for unit in units}
    assert known <= counted | set(RATES.shared)


def test_without_work_and_bandwidth_time_is_flights():
    """A ledger's clocks meet in every swap; in time a role may be ahead of one that it need not wait for."""
    plan, network = tiny_plan(), Network("slow", INFINITE, rtt=0.2)
    cast = predict_time(plan, IDLE, network)
    for phase in PHASES:
        total = cast.ledger.total(phase)
        assert 0.85 * 0.1 * total.flights <= total.seconds <= 0.1 * total.flights + 1e-9
        assert total.flights > 0


def test_without_work_and_delay_time_is_at_least_the_bytes_of_the_busier_direction():
    cast = predict_time(tiny_plan(), IDLE, Network("narrow", 1e5, rtt=0.0))
    whole = [cast.ledger.total(phase) for phase in PHASES]
    seconds = sum(cost.seconds for cost in whole)
    assert seconds >= max(sum(c.server for c in whole), sum(c.client for c in whole)) / 1e5
    assert seconds <= sum(c.bytes for c in whole) / 1e5


def test_steps_add_up_to_the_later_role_and_a_role_to_its_own_clock():
    cast = predict_time(tiny_plan(), RATES, WAN)
    last = {role: sum(row[role] for row in cast.seconds.values()) for role in Role}
    assert sum(cost.seconds for cost in cast.ledger.rows.values()) == pytest.approx(max(last.values()))
    assert last[CLIENT] == pytest.approx(sum(cast.total(phase, CLIENT) for phase in PHASES))


MAKING = Rates(
    machine="",
    date="",
    cores=2,
    shared={"iknp_send": 1e-4, "iknp_receive": 1e-4},
    steps={},
    loopback=(1e9, 0.0),
)
"""Nothing takes time but making OTs, all of which a step early in the plan begins."""


@pytest.mark.parametrize("rates", [RATES, MAKING], ids=["reference", "making OTs"])
def test_equal_steps_have_equal_work_and_all_work_is_some_places(rates):
    """Wherever a pool of OTs runs dry, and whoever waits for whom."""
    plan = tiny_plan()
    twice = (
        msgspec.structs.replace(plan.steps[24], name="/again/relu"),
        Output(name="again", x=len(plan.steps)),
    )
    plan = msgspec.structs.replace(
        plan,
        steps=(*plan.steps, *twice),
        outputs=(*plan.outputs, OutputSpec("again", len(plan.steps) + 1, (1, 10))),
    )
    cast, actors = predict_time(plan, rates, WAN), metered(plan, rates).events
    for phase in ("offline", "online"):
        first, second = (plan.place(phase, i) for i in (24, 36))
        assert cast.work[first] == pytest.approx(cast.work[second], rel=1e-9)
        assert cast.work[first] > 0 or (rates, phase) == (MAKING, "online")
    computed = [each.seconds for events in actors.values() for each in events if isinstance(each, Work)]
    assert sum(cast.work.values()) == pytest.approx(sum(computed))


def test_over_several_networks_is_the_same_as_over_each():
    several = predict_times(tiny_plan(), RATES, [LAN, WAN])
    assert [each.seconds for each in several] == [
        predict_time(tiny_plan(), RATES, network).seconds for network in (LAN, WAN)
    ]


def test_more_delay_less_bandwidth_and_slower_machines_take_longer():
    def seconds(rates, network):
        return sum(cost.seconds for cost in predict_time(tiny_plan(), rates, network).ledger.rows.values())

    slow = replace_rates(RATES, 2.0)
    base = seconds(RATES, LAN)
    assert seconds(RATES, replace(LAN, rtt=LAN.rtt + 0.01)) > base
    assert seconds(RATES, replace(LAN, bandwidth=LAN.bandwidth / 1000)) > base
    assert seconds(slow, LAN) > base


def replace_rates(rates, factor):
    return Rates(
        machine="",
        date="",
        cores=rates.cores,
        shared={unit: factor * s for unit, s in rates.shared.items()},
        steps={key: {unit: factor * s for unit, s in units.items()} for key, units in rates.steps.items()},
        loopback=rates.loopback,
    )


def test_answers_are_computed_beside_the_rest_where_there_is_a_core_for_it():
    shared = {"butterfly": 1e-6, "iknp_send": 1e-4, "iknp_receive": 0.0}

    def heavy(cores):
        return Rates(machine="", date="", cores=cores, shared=shared, steps={}, loopback=(1e12, 0.0))

    plan, far = tiny_plan(), Network("far", INFINITE, 0.0)
    actors = metered(plan, heavy(1)).events
    work = {name: sum(e.seconds for e in events if isinstance(e, Work)) for name, events in actors.items()}
    answers = sum(work[name] for name in WORKERS)
    assert answers > 0.1
    assert work[SERVER.value] > 0.1
    assert sum(work[name] > 0 for name in WORKERS) == 1
    spread = metered(plan, heavy(2)).events
    assert sum(any(isinstance(e, Work) for e in spread[name]) for name in WORKERS) == 2

    def seconds(cores, network):
        return predict_time(plan, heavy(cores), network).ledger.total("offline").seconds

    assert seconds(2, far) < answers + work[SERVER.value]
    assert seconds(1, far) == pytest.approx(sum(work.values()) - work[CLIENT.value], rel=0.2)
    assert seconds(1, LOOPBACK) >= sum(work.values()) * 0.99


def test_a_damaged_file_of_rates_does_not_spoil_a_report(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    rates_path().parent.mkdir()
    rates_path().write_text("{")
    assert predict_time_here(tiny_plan(), LAN).seconds == predict_time(tiny_plan(), RATES, LAN).seconds


def test_what_lies_below_a_socket():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        assert link(client, None) is LOOPBACK
        assert link(client, WAN) == replace(WAN, one_machine=True)
        client.close()
    assert link(object(), None) is LAN
    assert link(object(), WAN) == WAN
