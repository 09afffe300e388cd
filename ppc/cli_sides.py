"""The commands of the two sides: run and prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ppc
from ppc import cli_inputs as inputs
from ppc.cli_options import (
    ADDRESS,
    PATIENCE,
    CheckOt,
    Connect,
    Json,
    Labelled,
    Listen,
    PlanFile,
    Report,
    Role,
    ShapeAs,
    StoreAt,
    TextFile,
    TextPairs,
    Texts,
    Timeout,
    TlsCa,
    TlsCert,
    TlsKey,
    TokenizerFile,
    Weights,
    Written,
)
from ppc.cli_results import (
    Bar,
    check_outputs,
    document,
    finish,
    labels,
    print_json,
    say,
    show,
    stacked,
    trusted,
    write,
    write_report,
)
from ppc.runtime.base.errors import BadInput
from ppc.runtime.net.network import parse_network
from ppc.runtime.net.tls import ClientTls, ServerTls
from ppc.runtime.service import report as reports
from ppc.runtime.service.options import TIMEOUT
from ppc.runtime.session.inputs import naming


def run(
    plan: PlanFile,
    role: Role,
    listen: Listen = ADDRESS,
    connect: Connect = ADDRESS,
    weights: Weights = None,
    once: Annotated[bool, typer.Option("--once", help="server: stop after one inference")] = False,
    input_: Annotated[
        Path | None,
        typer.Option("--input", help="client: npz or json; or samples stacked on a first axis"),
    ] = None,
    text: Texts = None,
    text_pair: TextPairs = None,
    text_file: TextFile = None,
    tokenizer: TokenizerFile = None,
    output: Written = None,
    label_file: Labelled = None,
    store: StoreAt = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Leave prepared material alone.")] = False,
    shape: ShapeAs = None,
    check_ot: CheckOt = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    report: Report = None,
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Run one side of the computation, with prepared material where both sides hold it."""
    inputs.check_folders(output, report)
    check_outputs(output)
    if fresh and store is not None:
        raise BadInput("--fresh leaves prepared material alone, --store says where it is; give one of them")
    if role == "server":
        for flag, value in (
            ("--input", input_),
            ("--text", text),
            ("--text-pair", text_pair),
            ("--text-file", text_file),
            ("--tokenizer", tokenizer),
            ("--labels", label_file),
            ("-o", output),
        ):
            if value:
                raise BadInput(f"{flag} belongs to the client")
    at = None if fresh else store or plan.with_suffix(".prepared")
    end = _end(plan, role, weights, at, shape, check_ot, (tls_cert, tls_key, tls_ca), timeout)
    if isinstance(end, ppc.Server):

        def done(result: reports.Report) -> None:
            write_report(report, result)
            finish(result)
            if as_json:
                print_json(result)

        end.serve(inputs.address(listen), once=once, done=done)
        return
    named = labels(label_file, end.plan)
    samples, several = inputs.asked(end.plan, input_, text or [], text_pair or [], text_file, tokenizer)
    every: list[reports.Outcome] = []
    for outcome in end.run_all(samples, inputs.address(connect)):
        finish(outcome.report)
        sample = len(every) if several else None
        if outcome.left and several:
            say(f"sample {sample}: not to be trusted, {', '.join(outcome.left)} left its limits")
        elif not (outcome.left or as_json):  # each as soon as it is there
            show(trusted(outcome), named, output, sample=sample)
        every.append(outcome)
    if several or not every[0].left:
        write(output, stacked([trusted(each) for each in every]) if several else trusted(every[0]))
    write_report(report, {"inferences": [each.report for each in every]} if several else every[0].report)
    if as_json:
        documents = [
            {**({"outputs": None} if each.left else document(trusted(each), named)), "report": each.report}
            for each in every
        ]
        print_json({"inferences": documents} if several else documents[0])
    for i, each in enumerate(every):
        with naming(i, len(every)):
            _ = each.outputs  # exit status 6 where one is not to be trusted


def prepare(
    plan: PlanFile,
    role: Role,
    count: Annotated[int, typer.Option(min=1, help="Inferences; the lower of both sides' holds.")] = 1,
    listen: Listen = ADDRESS,
    connect: Connect = ADDRESS,
    weights: Weights = None,
    store: StoreAt = None,
    shape: ShapeAs = None,
    check_ot: CheckOt = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    report: Report = None,
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Do what needs no input beforehand, with the other side, and store it: one file an inference."""
    inputs.check_folders(report)
    at = store or plan.with_suffix(".prepared")
    end = _end(plan, role, weights, at, shape, check_ot, (tls_cert, tls_key, tls_ca), timeout)
    address = inputs.address(listen if role == "server" else connect)
    outcome = end.prepare(count, address)
    write_report(report, outcome.report)
    finish(outcome.report)
    if as_json:
        print_json({"prepared": outcome.material, "store": str(at), "report": outcome.report})
    else:
        for id in outcome.material:
            print(at / f"{id}.{role}")


def _end(
    path: Path,
    role: str,
    weights: Path | None,
    store: Path | None,
    shape: str | None,
    check_ot: bool,
    tls: tuple[Path | None, Path | None, Path | None],
    timeout: float,
) -> ppc.Server | ppc.Client:
    """This side of ``ppc run`` and ``ppc prepare``, from the flags that both take."""
    if role not in ("server", "client"):
        raise BadInput(f"--role is server or client, not {role!r}")
    cert, key, authorities = tls
    network = parse_network(shape) if shape else None
    options = ppc.SessionOptions(timeout=timeout, shape=network, progress=Bar, check_ot=check_ot)
    plan = ppc.load_plan(path)
    if role == "client":
        if (cert or key) and not (cert and key and authorities):
            raise BadInput("a client shows who it is with --tls-cert, --tls-key and --tls-ca, all three")
        trusted = ClientTls(authorities, cert, key) if authorities else None
        patience = min(PATIENCE, timeout)
        return ppc.Client(plan, options, patience=patience, store=store, tls=trusted)
    if authorities:
        raise BadInput("--tls-ca belongs to the client; the server takes --tls-cert and --tls-key")
    if (cert is None) != (key is None):
        raise BadInput("TLS at the server needs both --tls-cert and --tls-key")
    own = ServerTls(cert, key) if cert and key else None
    held = ppc.load_weights(weights or path.with_suffix(".weights"), plan)
    return ppc.Server(plan, held, options, store=store, tls=own)
