"""Networks as users write them, and rates as files keep them."""

from __future__ import annotations

import msgspec
import pytest

from ppc.runtime.base.errors import BadInput
from ppc.runtime.cost import rates as module
from ppc.runtime.cost.rates import (
    REFERENCE,
    Rates,
    current_rates,
    he_seconds,
    rates_path,
    read_rates,
    save_rates,
)
from ppc.runtime.he.packing import Tile
from ppc.runtime.he.params import PARAMETER_SETS
from ppc.runtime.he.product import Product
from ppc.runtime.net.network import LAN, LOOPBACK, WAN, parse_network
from ppc.runtime.ot.pool import NS_IKNP, NS_SILENT
from ppc.runtime.party.role import CLIENT, SERVER

PRODUCT = Product(1, 8, 16, 8, 24, 13, 8, Tile(8, 16, 8), PARAMETER_SETS[4])
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
    assert network.flight == round(bandwidth * rtt / 2)


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
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PPC_RATES", raising=False)
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
        ({"version": 1}, f"rates of version 1, not {module.VERSION}"),
        ({"version": 2}, f"rates of version 2, not {module.VERSION}"),
        ({"shared": {"x": "fast"}}, "no rates of this version"),
        ({"more": 1}, "no rates of this version"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, change, fault):
    path = tmp_path / "rates.json"
    path.write_bytes(msgspec.json.encode(msgspec.to_builtins(RATES) | change))
    with pytest.raises(BadInput, match=rf"rates.json.*{fault}.*--calibrate"):
        read_rates(path)


def test_rates_of_before_there_were_versions_are_named(tmp_path):
    path = tmp_path / "rates.json"
    old = msgspec.to_builtins(RATES)
    del old["version"]
    path.write_bytes(msgspec.json.encode(old))
    told = f"rates of version 1, not {module.VERSION}; run ppc bench --calibrate again"
    with pytest.raises(BadInput, match=rf"^\S*rates.json: {told}$"):
        read_rates(path)


def test_every_rate_of_a_product_that_comes_with_the_program_is_positive_and_plausible():
    """Nanoseconds on one core: what a vector does for one of its eight lanes, and what a scalar does."""
    shared = read_rates(REFERENCE).shared
    work = {unit for counts in PRODUCT.work.values() for unit in counts}
    lanes = {"butterfly", "he_mac"}
    assert work <= set(shared)
    assert all(0.05 < 1e9 * shared[unit] < 1 for unit in lanes)
    assert all(0.5 < 1e9 * shared[unit] < 60 for unit in work - lanes)


def test_pools_are_filled_by_numbers_that_agree_with_the_table():
    shared = read_rates(REFERENCE).shared
    for kind, chosen in (("iknp", NS_IKNP), ("silent", NS_SILENT)):
        measured = 1e9 * (shared[f"{kind}_send"] + shared[f"{kind}_receive"])
        assert chosen / 2 < measured < chosen * 2


def test_the_seconds_that_choose_products_are_not_those_of_the_users_machine(home):
    before = he_seconds(PRODUCT)
    save_rates(RATES, rates_path())
    assert current_rates() == RATES
    assert he_seconds(PRODUCT) == before > 0


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        read_rates(tmp_path / "none.json")
