"""The command of a service: serve."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

import ppc
from ppc.cli_options import ADDRESS, CheckOt, Listen, Timeout, size
from ppc.runtime.base.errors import BadInput
from ppc.runtime.net.address import parsed
from ppc.runtime.net.tls import ServerTls
from ppc.runtime.service.gate import Limits
from ppc.runtime.service.offer import Offer
from ppc.runtime.service.options import TIMEOUT
from ppc.runtime.service.register import Register
from ppc.runtime.service.serving import Goods, Service
from ppc.runtime.service.status import Status

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

    def load() -> Goods:
        own = ServerTls(tls_cert, tls_key, tls_ca).context() if tls_cert and tls_key else None
        return Goods([_offer(path, store, check_ot) for path in plans], own)

    most = 0.75 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if memory is None else size(memory)
    limits = Limits(
        connections=connections,
        share=share,
        at_once=at_once,
        waiting=waiting,
        memory=most,
        kept=keep,
    )
    options = ppc.SessionOptions(timeout=timeout, idle=idle, check_ot=check_ot, memory=most / at_once)
    with ExitStack() as stack:
        register = stack.enter_context(Register(clients)) if clients else None
        service = Service(load, options, limits, preparations=prepare, register=register)
        if status is not None:
            shown = stack.enter_context(Status(parsed(status), service.metrics, lambda: service.ready))
            logging.getLogger("ppc").info("status on http://%s:%d", *shown.address)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        signal.signal(signal.SIGHUP, lambda *_: service.reload_beside())
        service.run(parsed(listen))


def _offer(path: Path, store: Path | None, check_ot: bool) -> Offer:
    plan = ppc.load_plan(path)
    weights = ppc.load_weights(path.with_suffix(".weights"), plan)
    at = path.with_suffix(".prepared") if store is None else store / plan.hash[:12]
    return Offer(plan, weights, store=at, check_ot=check_ot)


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
