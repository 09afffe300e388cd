"""This machine's rates, measured once and kept; whose the seconds are that are foretold."""

from __future__ import annotations

import pytest
from command import called

from ppc.runtime.cost import quick, rates
from ppc.runtime.cost.rates import REFERENCE, cache_path, current_rates, rates_path, read_rates, save_rates

pytestmark = pytest.mark.long


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's, of whom nothing is known."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("PPC_RATES", raising=False)
    return tmp_path


def test_a_machine_is_measured_beside_the_reference(home):
    found, known = quick.measure(), read_rates(REFERENCE)
    assert found.machine.endswith("measured in a second")
    for rows in (
        (found.shared, known.shared),
        *((found.steps[key], known.steps[key]) for key in known.steps),
    ):
        here, there = rows
        assert here.keys() == there.keys()
        assert all(there[unit] / 50 <= rate <= 50 * there[unit] for unit, rate in here.items())
    assert found.loopback[0] > 1e6


def test_a_machine_that_is_slower_at_one_thing_has_those_rates(monkeypatch):
    """Of products under HE three times, of all else as before."""
    known = read_rates(REFERENCE)
    monkeypatch.setattr(quick, "_he", lambda known, took: 3.0)
    monkeypatch.setattr(quick, "_ots", lambda known, took: 1.0)
    monkeypatch.setattr(quick, "_steps", lambda known, took, plan: 1.0)
    found = quick.measure()
    for unit, rate in known.shared.items():
        slower = 3.0 if unit.startswith(("he_", "encrypt", "decrypt", "butterfly", "weight")) else None
        if slower or unit.startswith(("iknp", "silent", "base", "walk")):
            assert found.shared[unit] == pytest.approx(rate * (slower or 1.0)), unit
    assert found.steps == known.steps


def test_it_is_measured_once_and_kept(home, monkeypatch):
    counted = []
    known = rates.msgspec.structs.replace(read_rates(REFERENCE), machine="here")
    monkeypatch.setattr(quick, "measure", lambda: counted.append(1) or known)
    assert current_rates().where == "on the reference machine"
    for _ in range(2):
        quick.measured_once()
        assert current_rates() == known
    assert counted == [1]
    assert current_rates().where == "on this machine"
    cache_path().write_text("{")  # damaged, or of a version that is gone: again
    assert current_rates().where == "on the reference machine"
    quick.measured_once()
    assert counted == [1, 1]


def test_what_was_measured_in_full_goes_first(home, monkeypatch):
    monkeypatch.setattr(quick, "measure", None)
    full = rates.msgspec.structs.replace(read_rates(REFERENCE), machine="in full")
    save_rates(full, rates_path())
    quick.measured_once()
    assert current_rates() == full


def test_the_reference_machine_on_request(home, monkeypatch):
    monkeypatch.setattr(quick, "measure", None)
    monkeypatch.setenv("PPC_RATES", "reference")
    quick.measured_once()
    assert not cache_path().exists()
    assert current_rates() == read_rates(REFERENCE)


def test_a_home_that_takes_no_file_is_no_obstacle(home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    monkeypatch.setattr(quick, "measure", lambda: read_rates(REFERENCE))
    quick.measured_once()
    assert current_rates() == read_rates(REFERENCE)


def test_a_command_that_is_refused_measures_nothing(home, monkeypatch):
    monkeypatch.setattr(quick, "measure", None)
    called("run", "none.bin", "--role", "client", "--text", "x").failed(2, "none.bin")
    called("inspect", "none.bin").failed(2, "none.bin")
