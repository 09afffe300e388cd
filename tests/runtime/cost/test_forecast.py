"""Forecasts at this machine's rates: made once for what is asked again, and anew where something differs."""

from __future__ import annotations

import msgspec
from tiny import tiny_plan

from ppc.runtime.cost import forecast
from ppc.runtime.cost.forecast import predict_time_here
from ppc.runtime.cost.rates import REFERENCE, read_rates
from ppc.runtime.net.network import LAN, LOOPBACK
from ppc.runtime.session.connection import FRESH, PREPARED


def test_what_is_asked_again_is_known():
    assert predict_time_here(tiny_plan(), LOOPBACK) is predict_time_here(tiny_plan(), LOOPBACK)


def test_another_plan_network_or_program_is_not_the_same():
    known = predict_time_here(tiny_plan(), LOOPBACK, FRESH)
    for other in ((tiny_plan("other"), LOOPBACK), (tiny_plan(), LAN), (tiny_plan(), LOOPBACK, PREPARED)):
        assert predict_time_here(*other) is not known


def test_other_rates_make_it_anew(monkeypatch):
    known = predict_time_here(tiny_plan(), LOOPBACK)
    rates = msgspec.structs.replace(read_rates(REFERENCE), machine="another")
    monkeypatch.setattr(forecast, "current_rates", lambda: rates)
    assert predict_time_here(tiny_plan(), LOOPBACK) is not known
    assert len(forecast._foretold) <= forecast.KEPT
