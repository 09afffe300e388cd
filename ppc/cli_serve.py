"""The command of a service: serve."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import ppc
from ppc.cli_options import ADDRESS, CheckOt, Listen, Timeout, size
from ppc.runtime.base.errors import BadInput
from ppc.runtime.net.address import parsed
from ppc.runtime.net.tls import ServerTls
from ppc.runtime.service.front import Front
from ppc.runtime.service.gate import Limits
from ppc.runtime.service.offer import Offer
from ppc.runtime.service.options import TIMEOUT
from ppc.runtime.service.register import Listed, Register
from ppc.runtime.service.serving import Goods, Service
from ppc.runtime.service.status import Status

if TYPE_CHECKING:
    from ppc.runtime.he.engine import Workshop
    from ppc.runtime.service.crew import Crew, Spread

DEFAULTS = Limits()


def serve(
    plans: Annotated[
        list[Path], typer.Argument(help="Plans, each with its .weights beside it.", metavar="PLAN...")
    ],
    listen: Listen = ADDRESS,
    at_once: Annotated[
        int, typer.Option(min=1, help="Inferences that run at the same time; default two a core.")
    ] = DEFAULTS.at_once,
    waiting: Annotated[
        int, typer.Option(min=0, help="Inferences that wait; who comes then is told to come again.")
    ] = DEFAULTS.waiting,
    connections: Annotated[int, typer.Option(min=1, help="Open connections.")] = DEFAULTS.connections,
    share: Annotated[int, typer.Option(min=1, help="Of these, one client's.")] = DEFAULTS.share,
    memory: Annotated[
        str | None,
        typer.Option(
            help="What those that run may hold, as 4GB, beyond an even share of it in an encrypted temporary "
            "file; default three quarters of the machine's."
        ),
    ] = None,
    prepare: Annotated[
        int, typer.Option(min=0, help="Inferences that a client may have prepared; 0: none.")
    ] = 0,
    store: Annotated[
        Path | None, typer.Option(help="Prepared material, a folder a plan; default PLAN.prepared.")
    ] = None,
    keep: Annotated[
        int,
        typer.Option(min=0, help="Clients that left whose keys are kept for an hour, if they come again."),
    ] = DEFAULTS.kept,
    keep_in: Annotated[
        Path | None, typer.Option(help="Where; they outlast this service then. Else in memory.")
    ] = None,
    check_ot: CheckOt = False,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM; turns TLS on")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM")] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(help="Whom to trust to name clients, PEM: each must then show who it is")
    ] = None,
    clients: Annotated[
        Path | None, typer.Option(help="The list of `ppc clients`: who may ask, and how often a day")
    ] = None,
    status: Annotated[
        str | None, typer.Option(help="HOST:PORT for /healthz, /readyz and /metrics, for operators alone.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Send clients on to servers on the machines of the Ray at HOST:PORT; auto: of the one here.",
            metavar="ADDRESS",
        ),
    ] = None,
    servers: Annotated[
        int | None, typer.Option(min=1, help="How many, bounds being each one's; default one a machine.")
    ] = None,
    server_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the first, counted up; 0 takes free ones.")
    ] = 0,
    spread_products: Annotated[
        bool,
        typer.Option(
            "--spread-products",
            help="Have the products under HE of each inference computed on all machines of the Ray.",
        ),
    ] = False,
    log: Annotated[str, typer.Option(help="text, or json: a document a line.")] = "text",
    idle: Annotated[float, typer.Option(min=1, help="Let a client go that asks nothing so long.")] = 600.0,
    timeout: Timeout = TIMEOUT,
) -> None:
    """Answer many clients, for any of the plans.

    SIGTERM lets what runs end and takes nothing more; SIGHUP loads plans and certificates anew.
    """
    if log not in ("text", "json"):
        raise BadInput(f"--log is text or json, not {log!r}")
    if (tls_cert is None) != (tls_key is None):
        raise BadInput("TLS needs both --tls-cert and --tls-key")
    if tls_ca is not None and tls_cert is None:
        raise BadInput("--tls-ca names clients over TLS: give --tls-cert and --tls-key too")
    if clients is not None and tls_ca is None:
        raise BadInput("--clients is a list of names, which nobody has without --tls-ca")
    if log == "json":
        logging.getLogger("ppc").handlers = [documents()]
    tls = ServerTls(tls_cert, tls_key, tls_ca) if tls_cert and tls_key else None
    goods = partial(_goods, [path.absolute() for path in plans], store and store.absolute(), tls, check_ot)
    with ExitStack() as stack:
        register = stack.enter_context(Register(clients)) if clients else None
        crew = stack.enter_context(_crew(ray)) if ray is not None else None
        machines = crew.machines if crew else 1
        count = servers or machines
        most = 0.75 * _machine() / ceil(count / machines) if memory is None else size(memory)
        limits = Limits(
            connections=connections,
            share=share,
            at_once=at_once,
            waiting=waiting,
            memory=most,
            kept=keep,
        )
        options = ppc.SessionOptions(timeout=timeout, idle=idle, check_ot=check_ot, memory=most / at_once)
        if spread_products:
            options = replace(options, workshop=_over_ray())
        make = partial(Service, goods, options, limits, preparations=prepare)
        keeping = partial(make, keep_in=keep_in and keep_in.absolute())
        if crew is None:
            service: Service | Spread = keeping(register=register)
        else:
            crew.start(partial(_server, keeping, log), count, server_port, clients and clients.absolute())
            service = crew.spread(make(register=register, front=Front(crew.standings)))
        if status is not None:
            shown = stack.enter_context(Status(parsed(status), service.numbers, lambda: service.ready))
            logging.getLogger("ppc").info("status on http://%s:%d", *shown.address)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        signal.signal(signal.SIGHUP, lambda *_: service.reload_beside())
        service.run(parsed(listen))


def _crew(address: str) -> Crew:
    from ppc.runtime.service.crew import Crew  # Ray is a second to import, and an extra

    return Crew(address)


def _over_ray() -> Workshop:
    from ppc.runtime.service.workshop import OverRay

    return OverRay()


def _machine() -> int:
    """Bytes of memory that it has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _server(make: Callable[..., Service], log: str, register: Listed | None) -> Service:
    """The service of one of several servers, in its own process."""
    logger = logging.getLogger("ppc")
    handler = documents() if log == "json" else logging.StreamHandler()
    if log == "text":
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    return make(register=register)


def _goods(plans: Sequence[Path], store: Path | None, tls: ServerTls | None, check_ot: bool) -> Goods:
    """What is served; servers on one machine share what is prepared, which each claims for itself."""
    offers = []
    for path in plans:
        plan = ppc.load_plan(path)
        weights = ppc.load_weights(path.with_suffix(".weights"), plan)
        at = path.with_suffix(".prepared") if store is None else store / plan.hash[:12]
        offers.append(Offer(plan, weights, store=at, check_ot=check_ot))
    return Goods(offers, tls.context() if tls else None)


class _Document(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        document: dict[str, object] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            document["trace"] = self.formatException(record.exc_info)
        return json.dumps(document)


def documents() -> logging.Handler:
    """The log as one JSON document a line, on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Document())
    return handler
