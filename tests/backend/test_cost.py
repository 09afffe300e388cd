"""Predicted seconds: parts that add up, networks that matter, and the summary that shows them."""

from __future__ import annotations

import json

import pytest
from tiny import tiny_plan

from ppc.backend.cost import predict_over, predict_seconds
from ppc.backend.report import describe, summary
from ppc.runtime.cost.forecast import predict_time
from ppc.runtime.cost.rates import REFERENCE, Rates, read_rates
from ppc.runtime.net.network import LAN, LOOPBACK, WAN, Network
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.session.connection import predict_cost

RATES = read_rates(REFERENCE)
IDLE = Rates(machine="idle", date="", cores=2, shared={}, steps={}, loopback=(1e9, 1e-4))


def test_bytes_and_flights_are_those_that_a_run_measures():
    rows = predict_seconds(tiny_plan(), WAN, RATES).rows
    assert {k: (c.server, c.client, c.flights) for k, c in rows.items()} == {
        k: (c.server, c.client, c.flights) for k, c in predict_cost(tiny_plan()).rows.items()
    }


@pytest.mark.parametrize("network", [LAN, WAN, LOOPBACK, Network("thin", 1e5, 1e-3)])
def test_parts_add_up_to_their_phase_and_phases_to_the_whole(network):
    cost = predict_seconds(tiny_plan(), network, RATES)
    for phase in PHASES:
        parts = cost.phases[phase]
        assert parts.work + parts.bytes + parts.trips == pytest.approx(parts.seconds, rel=1e-6)
        rows = [row.seconds for at, row in cost.rows.items() if at.phase == phase]
        assert sum(rows) == pytest.approx(parts.seconds)
    assert cost.seconds == pytest.approx(sum(parts.seconds for parts in cost.phases.values()))


@pytest.mark.parametrize("network", [LAN, WAN, LOOPBACK])
def test_steps_share_out_the_work_and_the_link_apart(network):
    """Each by what it computes, and by what it says; a plan's work is the same over any network but one's
    own."""
    cost, computed = (
        predict_seconds(tiny_plan(), network, RATES),
        predict_time(tiny_plan(), RATES, network).work,
    )
    for phase in PHASES:
        rows = {at: row for at, row in cost.rows.items() if at.phase == phase}
        part = cost.phases[phase].work / sum(computed[at] for at in rows)
        assert {at: cost.work[at] for at in rows} == pytest.approx({at: part * computed[at] for at in rows})
        assert all(0 <= cost.work[at] <= row.seconds + 1e-12 for at, row in rows.items())
        silent = [row.seconds - cost.work[at] for at, row in rows.items() if not row.bytes]
        assert silent == pytest.approx([0.0] * len(silent))
    near = predict_seconds(tiny_plan(), LAN, RATES)
    if network is not LOOPBACK:
        assert cost.work == pytest.approx(near.work)


def test_several_networks_at_once_are_each_as_alone():
    several = predict_over(tiny_plan(), [LOOPBACK, LAN, WAN], RATES)
    assert several == [predict_seconds(tiny_plan(), each, RATES) for each in (LOOPBACK, LAN, WAN)]


def test_what_dominates_is_named():
    def largest(network, rates):
        online = predict_seconds(tiny_plan(), network, rates).phases["online"]
        parts = {"work": online.work, "bytes": online.bytes, "trips": online.trips}
        return max(parts, key=parts.__getitem__)

    assert largest(Network("far", 1e12, 1.0), RATES) == "trips"
    assert largest(Network("thin", 1e3, 0.0), RATES) == "bytes"
    assert largest(Network("near", 1e12, 0.0), RATES) == "work"
    assert predict_seconds(tiny_plan(), LAN, IDLE).phases["online"].work == 0


def test_the_loopback_is_that_of_the_rates():
    assert predict_seconds(tiny_plan(), LOOPBACK, RATES).network.bandwidth == RATES.loopback[0]


@pytest.fixture
def reference(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_the_summary_has_seconds_by_phase_and_step(reference):
    near, far = summary(tiny_plan()), summary(tiny_plan(), WAN)
    assert json.loads(json.dumps(far))["network"] == {"name": "wan", "bandwidth": 12.5e6, "rtt": 0.04}
    assert far["rates"]["machine"] == RATES.machine
    for phase in ("offline", "online"):
        rows = sum(row[phase]["seconds"] for row in far["steps"])
        assert rows == pytest.approx(far["predicted"][phase]["seconds"])
        assert far["predicted"][phase]["seconds"] > near["predicted"][phase]["seconds"] > 0
        assert far["predicted"][phase]["client"] == near["predicted"][phase]["client"]
        assert set(far["predicted"][phase]["parts"]) == {"work", "bytes", "round trips"}


def test_prompts_a_minute(reference):
    found = summary(tiny_plan(), WAN)
    seconds = {phase: found["predicted"][phase]["seconds"] for phase in ("offline", "online")}
    rate = found["prompts_a_minute"]
    assert rate["together"] == 1
    assert rate["fresh"] == pytest.approx(60 / sum(seconds.values()))
    assert rate["prepared"] == pytest.approx(60 / seconds["online"])
    assert f"a minute: {rate['fresh']:.3g} prompts; prepared {rate['prepared']:.3g}" in describe(
        tiny_plan(), WAN
    )


def test_products_are_told_with_their_error(reference):
    found = [told for row in summary(tiny_plan())["steps"] for told in row.get("products", ())]
    assert len(found) == len(tiny_plan().products)
    for told, product in zip(found, tiny_plan().products, strict=True):
        assert 0 < told["error"] <= told["spare"] == product.spare


def test_the_text_names_network_machine_and_parts(reference):
    text = describe(tiny_plan(), WAN)
    assert f"predicted for {WAN}, on the reference machine ({RATES.machine}, {RATES.date})" in text
    assert "round trips" in text
    assert "100 Mbit/s, round trip 40 ms" in text
