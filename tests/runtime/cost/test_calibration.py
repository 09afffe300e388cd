"""Measuring a machine: the sample plans hold every kind of step, and the rates explain the times."""

from __future__ import annotations

import socket
import threading
from typing import get_args

import numpy as np
import pytest
import scipy
from sides import told

from ppc.runtime.cost import calibration as measure
from ppc.runtime.cost import sample_plan
from ppc.runtime.cost.meter import metered
from ppc.runtime.cost.rates import REFERENCE, read_rates
from ppc.runtime.cost.sample_plan import sample_plans
from ppc.runtime.he.packing import Tile
from ppc.runtime.he.product import Product
from ppc.runtime.party.ledger import Place
from ppc.runtime.party.role import CLIENT, SERVER, Role
from ppc.runtime.plan.file import decode
from ppc.runtime.plan.steps import AnyStep

pytestmark = pytest.mark.long


@pytest.fixture
def little(monkeypatch):
    """Sample plans so small that measuring takes no time and means nothing."""
    monkeypatch.setattr(sample_plan, "SHAPES", ((1, 1), (2, 8)))
    monkeypatch.setattr(sample_plan, "WIDE", (4, 8))
    masks = Product(2, 8, 8, 8, 28, 30, 12, Tile(8, 8, 8), sample_plan.TWO)
    alone = Product(1, 8, 16, 8, 29, 13, 12, Tile(8, 16, 8), sample_plan.ONE)
    packed = Product(1, 8, 16, 64, 29, 13, 12, Tile(8, 16, 8), sample_plan.ONE.packing(4), 8)
    monkeypatch.setattr(sample_plan, "LINEAR", (alone, packed))
    monkeypatch.setattr(sample_plan, "MATMUL", ((masks, masks),))
    monkeypatch.setattr(measure, "STOCK", 1 << 12)
    monkeypatch.setattr(measure, "BULK", 1 << 16)
    sample_plans.cache_clear()
    yield
    sample_plans.cache_clear()


def test_the_sample_plans_hold_every_kind_of_step():
    kinds = {type(step) for plan in sample_plans() for step in plan.steps}
    assert kinds == set(get_args(AnyStep))


def test_no_label_stands_for_two_steps():
    labels = [plan.label(i) for plan in sample_plans() for i in range(len(plan.steps))]
    assert len(set(labels)) == len(labels)


def test_the_sample_plans_are_plans():
    for plan in sample_plans():
        assert decode(plan.body) == plan


def sides():
    """Both roles' measurements, in threads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ends = listener.accept()[0], client
    found = {}

    def run(role, sock):
        found[role] = measure._side(role, sock)

    threads = [threading.Thread(target=run, args=each) for each in zip(Role, ends, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return {role: times for role, (times, _) in found.items()}, found[SERVER][1]


def test_a_machine_is_measured_in_every_unit(little, monkeypatch):
    monkeypatch.setattr(measure, "_run", sides)
    with told() as said:
        rates = measure.calibrate(2)
    assert len(said) == 2
    reference = read_rates(REFERENCE)
    assert set(rates.shared) == set(reference.shared)
    # kinds that came later than the reference was measured
    later = ("Guard", "Keep", "Recall", "SquareSum", "TimesPublic", "TimesRow")
    since = {
        f"{phase} {step} {role.value}" for step in later for phase in ("offline", "online") for role in Role
    }
    assert set(rates.steps) == set(reference.steps) | since
    assert min(rates.shared[unit] for unit in ("iknp_send", "silent_receive", "base_send", "walk")) > 0
    assert rates.loopback[0] > 0
    assert rates.loopback[1] > 0


def test_all_work_of_products_is_timed_in_one_stage():
    timed = [unit for units in measure.STAGES.values() for unit in units]
    assert sorted(timed) == sorted(
        unit for work in sample_plans()[0].products[0].work.values() for unit in work
    )


def staged(stage, rates):
    """The work of the sample products in one stage, and the seconds that it takes at ``rates``."""
    found = [measure.stage_work(product, stage) for product in sample_plans()[0].products]
    return [(work, sum(n * rates[unit] for unit, n in work.items())) for work in found]


@pytest.mark.parametrize("stage", measure.STAGES)
def test_the_sample_products_tell_one_kind_of_work_from_the_other(stage):
    """At a condition number of 10 an error in the times may be tenfold in a rate; one of 1 is perfect."""
    _, counts, _ = measure.design(staged(stage, read_rates(REFERENCE).shared))
    assert np.linalg.cond(counts / np.linalg.norm(counts, axis=0)) < 6


def test_rates_of_products_explain_the_times_that_they_make():
    truth = {unit: 1e-9 * (1 + i) for i, unit in enumerate(u for us in measure.STAGES.values() for u in us)}
    times = {Place("he", "keys made"): 0.1, Place("he", "keys read"): 0.1}
    for stage in measure.STAGES:
        times |= {Place("he", f"{stage} {i}"): seconds for i, (_, seconds) in enumerate(staged(stage, truth))}
    rates = measure._he_rates(times)
    assert {unit: rates[unit] for unit in truth} == pytest.approx(truth)


def test_rates_explain_the_times_that_they_make(little):
    """Times made up from known rates are met again, place by place."""
    truth = {"step": 3e-4, "element": 2e-6, "said": 5e-6, "key": 7e-7, "swapped": 1e-6}
    times = {role: {} for role in Role}
    for plan in sample_plans():
        for (place, role), units in metered(plan, None).work.items():
            times[role][place] = sum(truth.get(unit, 0.0) * n for unit, n in units.items())
    rates = measure._step_rates(times)
    for plan in sample_plans():
        for (place, role), units in metered(plan, None).work.items():
            key = f"{place.phase} {place.what} {role.value}"
            if key in rates:
                got = sum(rates[key].get(unit, 0.0) * n for unit, n in units.items())
                assert got == pytest.approx(times[role][place], rel=0.05, abs=2e-5)


def test_the_median_of_the_runs_counts():
    runs = [{("online", "x"): seconds} for seconds in (3.0, 1.0, 50.0)]
    assert measure._median(runs) == {("online", "x"): 3.0}


@pytest.mark.parametrize("seed", range(5))
def test_non_negative_least_squares(seed):
    rng = np.random.default_rng(seed)
    a, y = rng.random((12, 5)) ** 3, rng.normal(size=12)
    a[:, 3] = 0
    expected, _ = scipy.optimize.nnls(a, y)
    got = measure.nonnegative(a, y)
    assert got.min() >= 0
    assert np.linalg.norm(a @ got - y) == pytest.approx(np.linalg.norm(a @ expected - y), abs=1e-6)


def test_the_least_squares_of_one_role_are_not_the_others(little):
    work = metered(sample_plans()[0], None).work
    linear = next(place for place, role in work if place[0] == "online" and "Linear" in place[1])
    assert "mac" in work[linear, SERVER]
    assert "mac" not in work[linear, CLIENT]
