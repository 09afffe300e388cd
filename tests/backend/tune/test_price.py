"""What a graph costs is what its plan's ledger says, without a connection's setup."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from tunable import classifier, friendly

from ppc.backend.cost import predict_seconds
from ppc.backend.tune.price import Price, planned, price
from ppc.runtime.net.network import LAN, WAN
from ppc.runtime.session.connection import predict_cost

pytestmark = pytest.mark.long


def test_bytes_are_the_ledgers() -> None:
    plan = planned(classifier(), None, LAN)
    ledger, seconds = predict_cost(plan), predict_seconds(plan, LAN)
    found = price(plan, LAN)
    assert found.bytes == ledger.total("offline").bytes + ledger.total("online").bytes
    assert found.seconds == pytest.approx(seconds.seconds - seconds.phases["setup"].seconds)
    assert price(plan, WAN).seconds > found.seconds
    assert price(plan, WAN).bytes == found.bytes


def test_what_is_replaced_is_cheaper() -> None:
    exact, cheap = (price(planned(graph, None, LAN), LAN) for graph in (classifier(), friendly(classifier())))
    saved = exact - cheap
    assert saved == Price(exact.bytes - cheap.bytes, exact.seconds - cheap.seconds)
    assert saved.bytes > 0
    assert str(Price(1_500_000, 2.0)) == "1.50 MB, 2.00 s"
