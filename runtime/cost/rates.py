"""How fast a machine and a network are: what turns counts of work into seconds.

`ppc bench --calibrate` measures a machine and keeps the result for its user; without it the rates are those
of the reference machine, which come with the program.
"""

from __future__ import annotations

import os
from functools import cache, lru_cache
from pathlib import Path

import msgspec

from ..base.errors import BadInput
from ..base.files import whole
from ..he.product import Product
from ..net.network import LOOPBACK, Network
from ..party.role import Role

VERSION = 4
"""Of what is counted: one more whenever a count has another name or meaning."""

REFERENCE = Path(__file__).with_name("reference_rates.json")


class Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds that one unit of work takes on one core of a machine.

    Attributes:
        version: `VERSION`.
        machine, date, cores: where and when they were measured.
        shared: by unit, the same in every step: COTs made, keys, the `Product.work` of HE products.
        steps: by "phase kind role" and unit: COTs taken, bytes and elements said, heard and swapped,
            elements of the value, and 1 for the step itself.
        loopback: bytes a second and seconds there and back between two processes of that machine.
    """

    version: int = VERSION
    machine: str
    date: str
    cores: int
    shared: dict[str, float]
    steps: dict[str, dict[str, float]]
    loopback: tuple[float, float]

    def seconds(self, phase: str, kind: str, role: Role, unit: str) -> float:
        """What one ``unit`` takes; a kind of step that was never measured works like the average one."""
        if unit in self.shared:
            return self.shared[unit]
        known = self.steps.get(f"{phase} {kind} {role.value}")
        return self._average(phase, role, unit) if known is None else known.get(unit, 0.0)

    def _average(self, phase: str, role: Role, unit: str) -> float:
        found = [
            units[unit]
            for key, units in self.steps.items()
            if key.startswith(f"{phase} ") and key.endswith(f" {role.value}") and unit in units
        ]
        return sum(found) / len(found) if found else 0.0

    @property
    def where(self) -> str:
        """Whose seconds they predict, beside every number."""
        return "on the reference machine" if self == _reference() else "on this machine"

    def network(self, network: Network) -> Network:
        """``network``, but for the loopback, which is as this machine has it."""
        return Network(LOOPBACK.name, *self.loopback, one_machine=True) if network == LOOPBACK else network


def describe(rates: Rates) -> list[str]:
    """What people want to know of a machine, line by line."""
    shared, (bandwidth, rtt) = rates.shared, rates.loopback
    millions = {
        "COTs/s, IKNP": ("iknp_send", "iknp_receive"),
        "COTs/s, silent": ("silent_send", "silent_receive"),
        "coefficients/s, encrypted": ("encrypt",),
        "multiply-adds/s, under HE": ("he_mac",),
        "coefficients/s, decrypted": ("decrypt",),
    }
    lines = [
        f"{1e-6 / max(1e-15, *(shared[unit] for unit in units)):10,.1f} million {what}"
        for what, units in millions.items()
    ]
    return [*lines, f"{bandwidth / 1e9:10.2f} GB/s, {1e6 * rtt:.0f} us there and back, between two processes"]


def rates_path() -> Path:
    """Where a user's own rates are kept: ``ppc/rates.json`` below $XDG_CONFIG_HOME or ~/.config."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "ppc" / "rates.json"


def cache_path() -> Path:
    """Where what was measured in a second is kept: ``ppc/rates.json`` below $XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ppc" / "rates.json"


def wanted() -> bool:
    """Whether nothing is known of this machine yet; not where $PPC_RATES asks for the reference machine's."""
    return not (_reference_alone() or rates_path().is_file() or _known(cache_path()))


def _reference_alone() -> bool:
    return os.environ.get("PPC_RATES") == "reference"


def _known(path: Path) -> bool:
    """What the cache holds may be of another version, or damaged: then it is measured again."""
    try:
        return path.is_file() and bool(read_rates(path))
    except BadInput:
        return False


def save_rates(rates: Rates, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{path.parent}: cannot be made: {error.strerror}") from None
    with whole(path) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(rates), indent=1) + b"\n")


class _Head(msgspec.Struct):
    """What every version has; the first did not say so."""

    version: int = 1


def read_rates(path: Path) -> Rates:
    """Rates from a file; BadInput names what is wrong with it."""
    try:
        data = path.read_bytes()
        version = msgspec.json.decode(data, type=_Head).version
        if version != VERSION:
            raise BadInput(
                f"{path}: rates of version {version}, not {VERSION}; run ppc bench --calibrate again"
            )
        rates = msgspec.json.decode(data, type=Rates)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path}: no rates of this version ({error}); run ppc bench --calibrate again"
        ) from None
    seconds = [*rates.shared.values(), *(v for units in rates.steps.values() for v in units.values())]
    sound = all(0 <= v < float("inf") for v in [*seconds, *rates.loopback])
    if not sound or not rates.loopback[0] or rates.cores < 1:
        raise BadInput(f"{path}: holds a rate that is no time; run ppc bench --calibrate again")
    return rates


@lru_cache(maxsize=4)
def _cached(path: Path, changed: float) -> Rates:
    return read_rates(path)


def current_rates() -> Rates:
    """The user's own rates where `ppc bench --calibrate` has left some, else what was measured in a second,
    else the reference machine's."""
    chosen = REFERENCE
    if not _reference_alone():
        known = rates_path() if rates_path().is_file() else cache_path()
        chosen = known if known == rates_path() or _known(known) else REFERENCE
    return _cached(chosen, chosen.stat().st_mtime)


@cache
def _reference() -> Rates:
    return read_rates(REFERENCE)


def he_seconds(product: Product) -> float:
    """Work of both sides for a product, one after the other, each on one core of the reference machine.

    Tiles and parameters are chosen by it, never by a user's own rates: a model has one plan on all machines.
    """
    shared = _reference().shared
    return sum(n * shared[unit] for work in product.work.values() for unit, n in work.items())


def cot_seconds() -> float:
    """Work of both sides for a correlated OT of a silent extension, as `he_seconds`."""
    shared = _reference().shared
    return shared["silent_send"] + shared["silent_receive"]
