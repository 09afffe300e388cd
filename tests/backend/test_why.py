"""What `ppc inspect` says of a plan's choices."""

from __future__ import annotations

import json

import msgspec
from tiny import tiny_plan

from ppc.backend.why import reasons, text
from ppc.runtime.he.product import answer_bytes, upload_bytes
from ppc.runtime.net.frame import HEADER
from ppc.runtime.ot.pool import IKNP, Pool, schedule, schedule_bytes
from ppc.runtime.party.ledger import Place
from ppc.runtime.party.party import CLIENT, SERVER, Party, Role
from ppc.runtime.plan.file import Options


def test_what_was_chosen_is_what_the_plan_holds():
    plan = tiny_plan()
    why = json.loads(json.dumps(reasons(plan)))
    assert len(why["products"]) == len(set(plan.products))
    for row, product in zip(why["products"], dict.fromkeys(plan.products), strict=True):
        assert row["chosen"]["bytes"] == upload_bytes(product) + answer_bytes(product)
        assert row["chosen"]["tile"] == str(product.tile)
        assert all(label in {plan.label(i) for i in range(len(plan.steps))} for label in row["steps"])


def test_alternatives_are_better_at_what_they_are_named_for():
    for row in reasons(tiny_plan())["products"]:
        chosen, instead = row["chosen"], row["instead"]
        if "fewest bytes" in instead:
            assert instead["fewest bytes"]["bytes"] <= chosen["bytes"]
        if "least work" in instead:
            assert instead["least work"]["work"] <= chosen["work"]
        if "unpacked" in instead:
            assert instead["unpacked"]["packed"] == 1


def test_totals_are_at_the_price_that_the_plan_was_compiled_for():
    plan = msgspec.structs.replace(tiny_plan(), options=Options(byte_price=1e-6))
    why = reasons(plan)
    assert why["byte_price"] == 1e-6
    for row in why["products"]:
        assert row["chosen"]["total"] == row["chosen"]["work"] + 1e-6 * row["chosen"]["bytes"]
    assert "1 us a byte (8 Mbit/s)" in text(why)[0]


def extended(sender: Role, count: int) -> int:
    """Bytes that a pool says for so many COTs, without its base OTs and the headers of messages."""
    p = Party(None)
    pool = Pool(p, sender)
    with p.ledger.at(Place("setup", "base")):
        pool.plan(count)
    with p.ledger.at(Place("offline", "take")) as cost:
        pool.take(count)
    messages = sum(1 if kind == IKNP else n for kind, n in schedule(count))
    return cost.bytes - HEADER.size * messages


def test_bytes_of_a_schedule_are_those_that_its_pool_says():
    for count in (1, 5000, 400_000, 3_000_000):
        assert schedule_bytes(schedule(count)) == extended(SERVER, count) == extended(CLIENT, count)


def test_ots_are_those_that_the_plan_takes():
    plan = tiny_plan()
    senders = [row["sender"] for row in reasons(plan)["ots"]]
    assert senders == ["server", "client"]
    for row in reasons(plan)["ots"]:
        assert row["bytes"] <= row["instead"]["iknp alone"]
        assert f"{row['count']:,} correlated OTs, the {row['sender']} sending" in "\n".join(
            text(reasons(plan))
        )
