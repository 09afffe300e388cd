"""Networks as users write them, and rates as files keep them."""

from __future__ import annotations

import msgspec
import pytest

from ppc.runtime.base.errors import BadInput
from ppc.runtime.cost import rates as module
from ppc.runtime.cost.rates import REFERENCE, Rates, current_rates, rates_path, read_rates, save_rates
from ppc.runtime.net.network import LAN, LOOPBACK, WAN, parse_network
from ppc.runtime.party.role import CLIENT, SERVER

RATES = Rates(
    machine="m",
    date="2026-01-01",
    cores=2,
    shared={"silent_send": 1e-9},
    steps={"online Add client": {"step": 1e-6}, "online Sum client": {"step": 3e-6, "element": 1e-9}},
    loopback=(1e9, 5e-5),
)


@pytest.mark.parametrize(
    ("text", "bandwidth", "rtt"),
    [
        ("lan", LAN.bandwidth, LAN.rtt),
        ("wan", WAN.bandwidth, WAN.rtt),
        ("100Mbit,20ms", 12.5e6, 0.02),
        ("1.5Gbit/s, 300us", 187.5e6, 3e-4),
        ("25MB/s,0.5s", 25e6, 0.5),
        ("8000,1ms", 1000, 1e-3),
    ],
)
def test_a_network_is_read(text, bandwidth, rtt):
    network = parse_network(text)
    assert (network.bandwidth, network.rtt) == pytest.approx((bandwidth, rtt))
    assert network.byte_price == pytest.approx(1 / bandwidth)


@pytest.mark.parametrize(
    "text", ["", "fast", "100Mbit", "100Mbit,20", "0Mbit,1ms", "-1Mbit,1ms", "1Tbit,1ms", "١Mbit,1ms"]
)
def test_what_is_no_network_is_named(text):
    with pytest.raises(BadInput, match=r"lan, wan, loopback, or BANDWIDTH,RTT such as 200Mbit,15ms"):
        parse_network(text)


def test_only_the_loopback_is_one_machine_and_is_as_measured():
    assert [n.one_machine for n in (LAN, WAN, LOOPBACK)] == [False, False, True]
    assert RATES.network(LAN) is LAN
    assert RATES.network(LOOPBACK).bandwidth == 1e9
    assert RATES.network(LOOPBACK).one_machine


def test_a_unit_is_looked_up_shared_first_and_a_kind_never_measured_is_average():
    assert RATES.seconds("offline", "Spline", SERVER, "silent_send") == 1e-9
    assert RATES.seconds("online", "Sum", CLIENT, "step") == 3e-6
    assert RATES.seconds("online", "Add", CLIENT, "element") == 0
    assert RATES.seconds("online", "Novel", CLIENT, "step") == pytest.approx(2e-6)
    assert RATES.seconds("online", "Novel", SERVER, "step") == 0


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def test_the_users_own_rates_come_before_the_reference(home):
    assert rates_path() == home / "ppc" / "rates.json"
    assert current_rates() == read_rates(REFERENCE)
    save_rates(RATES, rates_path())
    assert current_rates() == RATES


def test_rates_below_the_home_folder_where_no_other_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(module.Path, "home", lambda: tmp_path)
    assert rates_path() == tmp_path / ".config" / "ppc" / "rates.json"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"cores": 0}, "no time"),
        ({"loopback": [0, 1]}, "no time"),
        ({"shared": {"x": -1}}, "no time"),
        ({"shared": {"x": "fast"}}, "no rates of this version"),
        ({"more": 1}, "no rates of this version"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, change, fault):
    path = tmp_path / "rates.json"
    path.write_bytes(msgspec.json.encode(msgspec.to_builtins(RATES) | change))
    with pytest.raises(BadInput, match=rf"rates.json.*{fault}.*--calibrate"):
        read_rates(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        read_rates(tmp_path / "none.json")
