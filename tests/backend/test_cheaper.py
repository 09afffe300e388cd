"""What would make a plan cheaper: each number is the difference of two prices, and there is none without."""

from __future__ import annotations

import msgspec
import pytest
from tiny import tiny_plan

from ppc.backend.cheaper import cheaper
from ppc.backend.cost import predict_over, predict_seconds
from ppc.backend.report import describe, summary
from ppc.runtime.cost.rates import REFERENCE, read_rates
from ppc.runtime.net.network import LAN, LOOPBACK, WAN
from ppc.runtime.plan.file import Options
from ppc.runtime.session.connection import PREPARED, predict_all, predict_cost

RATES = read_rates(REFERENCE)


def asked(plan, network=WAN):
    whole, *others = predict_over(plan, [network, LOOPBACK, LAN, WAN], RATES)
    return whole, {row["what"]: row for row in cheaper(plan, whole, others)}


def size(ledger):
    return sum(row.bytes for row in ledger.rows.values())


def test_prepared_leaves_what_a_prepared_inference_costs():
    whole, found = asked(tiny_plan())
    row = found["prepare beforehand"]
    assert whole.bytes == size(predict_cost(tiny_plan()))
    assert whole.bytes - row["bytes"] == size(predict_cost(tiny_plan(), PREPARED))
    seconds = predict_seconds(tiny_plan(), WAN, RATES, PREPARED).seconds
    assert whole.seconds - row["seconds"] == pytest.approx(seconds)
    assert 0 < seconds < whole.seconds


def test_a_connection_that_is_kept_leaves_what_its_second_inference_costs():
    whole, found = asked(tiny_plan())
    _, second = predict_all([tiny_plan(), tiny_plan()])
    assert whole.bytes - found["keep the connection"]["bytes"] == size(second)


@pytest.mark.long
def test_who_generates_keeps_it_anyway(decoder):
    _, found = asked(decoder.compiled.plan)
    assert "prepare beforehand" in found
    assert not {"keep the connection", "shorter lengths"} & set(found)


def test_another_network_saves_seconds_alone_and_is_told_where_it_does():
    whole, found = asked(tiny_plan(), WAN)
    row = found["run over a lan"]
    assert row["bytes"] == 0
    lan = predict_seconds(tiny_plan(), LAN, RATES)
    assert whole.seconds - row["seconds"] == pytest.approx(lan.seconds)
    assert not any(what.startswith("run over") for what in asked(tiny_plan(), LAN)[1])


def test_a_length_that_the_plan_has_and_none_that_it_has_not():
    _, found = asked(tiny_plan())
    assert found["shorter lengths"]["bytes"] is None
    assert found["shorter lengths"]["seconds"] is None
    assert "this plan has 4 alone" in found["shorter lengths"]["how"]
    less = msgspec.structs.replace(
        tiny_plan(),
        steps=tiny_plan().steps[:-1],
        outputs=tiny_plan().outputs[:-1],
        options=Options(seq_len=3, byte_price=1e-7),
    )
    plan = msgspec.structs.replace(tiny_plan(), shorter=(less,))
    whole, found = asked(plan)
    assert "shorter lengths" not in found
    row = found["a prompt of up to 3 tokens"]
    assert whole.bytes - row["bytes"] == size(predict_cost(less))
    assert row["bytes"] > 0


def test_an_output_costs_the_steps_that_it_alone_needs():
    plan = tiny_plan()
    whole, found = asked(plan)
    own = {"y": [26], "label": [27, 28], "z": [29, 30, 31, 32, 33, 34, 35]}
    for name, steps in own.items():
        row = found[f"leave out the output {name}"]
        places = [plan.place(phase, i) for phase in ("offline", "online") for i in steps]
        assert row["bytes"] == sum(whole.rows[place].bytes for place in places)
        assert row["seconds"] == pytest.approx(sum(whole.rows[place].seconds for place in places))
        assert row["bytes"] > 0
    alone = msgspec.structs.replace(plan, outputs=plan.outputs[:1])
    assert not any(what.startswith("leave out") for what in asked(alone)[1])


def test_cheaper_functions_have_no_number_but_what_is_said_for_those_there_are():
    plan = tiny_plan()
    whole, found = asked(plan)
    row = found["cheaper functions"]
    assert row["bytes"] is None
    of = [i for i, step in enumerate(plan.steps) if type(step).__name__ in ("Spline", "Maximum")]
    said = sum(whole.rows[plan.place(phase, i)].bytes for phase in ("offline", "online") for i in of)
    assert f"{said / 1e6:.2f} of {whole.bytes / 1e6:.2f} MB" in row["how"]


def test_networks_stand_side_by_side_with_their_sums():
    document = summary(tiny_plan(), WAN)
    assert [each["name"] for each in document["networks"]] == ["loopback", "lan", "wan"]
    for each in document["networks"]:
        assert each["seconds"] == pytest.approx(sum(each["phases"].values()))
    wan = document["networks"][2]
    predicted = {phase: cost["seconds"] for phase, cost in document["predicted"].items()}
    assert wan["phases"] == pytest.approx(predicted)


def test_the_text_has_both():
    text = describe(tiny_plan(), WAN)
    assert "loopback" in text
    assert "prepare beforehand (ppc prepare" in text
