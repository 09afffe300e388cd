"""How fast this machine is beside the reference machine, in about a second: three kinds of work, each timed.

What comes of it is the reference machine's rates, those of products under HE, of OTs and of all other steps
each times how much longer this machine takes. `calibration` measures them one by one, in a minute.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Mapping
from datetime import date

import msgspec

from ..base.errors import BadInput
from ..he.product import Product
from ..net.channel import Channel
from ..net.tcp import TcpTransport
from ..ot.extension import COLUMNS, Iknp
from ..party.ledger import Place
from ..party.party import Party
from ..party.role import SERVER, Role
from ..plan.file import Plan
from .calibration import STAGES, OwnTime, Times, loopback, machine, stage_work, stocked, timed_products, walk
from .meter import metered
from .rates import REFERENCE, Rates, cache_path, read_rates, save_rates, wanted
from .sample_plan import quick_plan, sample_plans

log = logging.getLogger(__name__)

COTS = 1 << 17
BULK = 1 << 24


def measured_once() -> None:
    """Measure this machine and keep the rates in the user's cache, where nothing better is known of it.

    A machine whose home cannot be written to is measured by nobody: predictions are of the reference machine.
    """
    if not wanted():
        return
    log.info("measuring this machine once, for predictions of seconds: %s", cache_path())
    try:
        save_rates(measure(), cache_path())
    except BadInput as error:
        log.warning("%s; seconds are predicted for the reference machine", error)


def measure() -> Rates:
    """The reference machine's rates, scaled to this one. Both parties are threads of this process, each timed
    by what it spends on a core."""
    ends = dict(zip(Role, socket.socketpair(), strict=True))
    times: dict[Role, Times] = {}
    links: list[tuple[float, float]] = []

    def run(role: Role) -> None:
        p = Party(role, Channel(TcpTransport(ends[role])), stocked)
        links.append(loopback(p, BULK))
        p.ledger = ledger = OwnTime()
        if role is SERVER:
            timed_products(p, _products())
        with ledger.at(Place("setup", "base OTs")):
            iknp = Iknp(SERVER)
            iknp.setup(p)
        with ledger.at(Place("setup", "iknp")):
            iknp.extend(p, COTS)
        walk(p, quick_plan())
        times[role] = ledger.own
        p.close()

    threads = [threading.Thread(target=run, args=(role,), name=f"ppc-measure-{role.value}") for role in Role]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _scaled(read_rates(REFERENCE), times, links[0])


def _products() -> list[Product]:
    """Of those that a machine is measured by in full, the middle one by size."""
    every = sorted(sample_plans()[0].products, key=lambda made: made.batch * made.m * made.k * made.n)
    return [every[len(every) // 2]]


def _scaled(known: Rates, times: Mapping[Role, Times], link: tuple[float, float]) -> Rates:
    he, ots, steps = _he(known, times[SERVER]), _ots(known, times), _steps(known, times, quick_plan())
    of_he = {unit for units in STAGES.values() for unit in units} | {"he_key_make", "he_key_read"}
    shared = {unit: rate * (he if unit in of_he else ots) for unit, rate in known.shared.items()}
    shared["walk"] = known.shared["walk"] * steps
    return msgspec.structs.replace(
        known,
        machine=f"{machine()}, measured in a second",
        date=date.today().isoformat(),
        cores=os.cpu_count() or 1,
        shared=shared,
        steps={key: {unit: rate * steps for unit, rate in row.items()} for key, row in known.steps.items()},
        loopback=link,
    )


def _he(known: Rates, took: Times) -> float:
    expected = sum(
        n * known.shared[unit]
        for made in _products()
        for stage in STAGES
        for unit, n in stage_work(made, stage).items()
    )
    return sum(s for place, s in took.items() if place.phase == "he" and "keys" not in place.what) / expected


def _ots(known: Rates, took: Mapping[Role, Times]) -> float:
    expected = COLUMNS * (known.shared["base_send"] + known.shared["base_receive"])
    expected += COTS * (known.shared["iknp_send"] + known.shared["iknp_receive"])
    return sum(took[role][Place("setup", what)] for role in Role for what in ("base OTs", "iknp")) / expected


def _steps(known: Rates, took: Mapping[Role, Times], plan: Plan) -> float:
    """Of all steps but products, whose offline part is HE's."""
    expected = measured = 0.0
    for (place, role), units in metered(plan, None).work.items():
        if place.number is None:
            continue
        expected += sum(
            n * known.seconds(place.phase, place.what, role, unit)
            for unit, n in units.items()
            if not unit.startswith(("iknp", "silent"))
        )
        measured += took[role][place]
    return measured / expected
