"""The commands of the two sides: run and prepare."""

from __future__ import annotations

import sys
from math import inf
from pathlib import Path
from typing import Annotated

import typer

import ppc
from ppc import cli_inputs as inputs
from ppc.cli_files import Outputs, beside, check_outputs, check_places, write_document, write_outputs
from ppc.cli_generate import purpose
from ppc.cli_options import (
    ADDRESS,
    PATIENCE,
    CheckOt,
    Connect,
    Json,
    Labelled,
    Listen,
    Memory,
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
    size,
)
from ppc.cli_results import (
    Bar,
    document,
    finish,
    know_this_machine,
    labels,
    print_json,
    say,
    show,
    trusted,
)
from ppc.runtime.base.errors import BadInput
from ppc.runtime.net.address import parsed
from ppc.runtime.net.network import parse_network
from ppc.runtime.net.tls import ClientTls, ServerTls
from ppc.runtime.party.role import CLIENT, SERVER
from ppc.runtime.party.role import Role as Side
from ppc.runtime.service import report as reports
from ppc.runtime.service.options import TIMEOUT
from ppc.runtime.session.inputs import naming, prompts


def run(
    plan: PlanFile,
    role: Role,
    listen: Listen = ADDRESS,
    connect: Connect = ADDRESS,
    weights: Weights = None,
    once: Annotated[bool, typer.Option("--once", help="server: stop after one inference")] = False,
    input_: Annotated[
        Path | None,
        typer.Option(
            "--input", help="client: npz, npy or json, samples stacked or not; or jsonl or -, a line each"
        ),
    ] = None,
    text: Texts = None,
    text_pair: TextPairs = None,
    text_file: TextFile = None,
    tokenizer: TokenizerFile = None,
    output: Written = None,
    label_file: Labelled = None,
    store: StoreAt = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Leave prepared material alone.")] = False,
    ahead: Annotated[
        int,
        typer.Option(
            min=0, help="client: after the answers prepare, if the server has time, until so many lie ready."
        ),
    ] = 0,
    memory: Memory = None,
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
    check_places(as_json, out=output, report=report)
    check_outputs(output)
    at = None if fresh else store or beside(plan, ".prepared")
    tls = (tls_cert, tls_key, tls_ca)
    end = _end(plan, role, weights, at, memory, shape, check_ot, tls, timeout, ahead=ahead)
    if isinstance(end, ppc.Server):

        def done(result: reports.Report) -> None:
            write_document(report, result)
            finish(result)
            if as_json:
                print_json(result)

        know_this_machine()
        end.serve(parsed(listen), once=once, done=done)
        return
    named = labels(label_file, end.plan)
    asked = inputs.asked(end.plan, input_, text or [], text_pair or [], text_file, tokenizer)
    address, several = parsed(connect), asked.several
    know_this_machine()
    every: list[reports.Outcome] = []
    answers: list[Outputs] = []
    for outcome in end.run_all(asked.samples, address):
        finish(outcome.report)
        for answer in asked.apart(end.plan, len(every), trusted(outcome)):
            sample = len(answers) if several else None
            if outcome.left and several:
                say(f"sample {sample}: not to be trusted, {', '.join(outcome.left)} left its limits")
            elif not (outcome.left or as_json):  # each as soon as it is there
                show(answer, named, output, sample=sample)
            answers.append(answer)
        every.append(outcome)
    if several or not every[0].left:
        write_outputs(output, answers, several=several)
    write_document(report, {"inferences": [each.report for each in every]} if several else every[0].report)
    if as_json:
        told = [asked.answers(end.plan, i, trusted(each)) for i, each in enumerate(every)]
        documents = [
            {**({"outputs": None} if each.left else document(outputs, named)), "report": each.report}
            for each, outputs in zip(every, told, strict=True)
        ]
        print_json({"inferences": documents} if several else documents[0])
    sys.stdout.flush()  # the answers are there; what follows is for the next
    end.settle()
    for i, each in enumerate(every):
        with naming(i, len(every), prompts(end.plan)):
            _ = each.outputs  # exit status 6 where one is not to be trusted


def prepare(
    plan: PlanFile,
    role: Role,
    count: Annotated[
        int | None, typer.Option(min=1, help="Inferences, 1 by default; the lower of both sides' holds.")
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            "--tokens", min=1, help="Of a plan that generates: a prompt, and what so many tokens need."
        ),
    ] = None,
    prompt_len: Annotated[
        int | None,
        typer.Option(
            "--prompt-len",
            min=1,
            help="client: tokens in the prompt; default: all that it may have",
        ),
    ] = None,
    seq_len: Annotated[
        int | None,
        typer.Option(
            "--seq-len", min=1, help="client: for prompts that run at this length; default: the greatest"
        ),
    ] = None,
    listen: Listen = ADDRESS,
    connect: Connect = ADDRESS,
    weights: Weights = None,
    store: StoreAt = None,
    memory: Memory = None,
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
    check_places(as_json, report=report)
    at = store or beside(plan, ".prepared")
    end = _end(plan, role, weights, at, memory, shape, check_ot, (tls_cert, tls_key, tls_ca), timeout)
    address = parsed(listen if role is SERVER else connect)
    know_this_machine()
    if tokens is not None:
        longest = max((each.states.added for each in end.plan.lengths), default=0)
        outcomes = (
            end.prepare_tokens(tokens, address)
            if isinstance(end, ppc.Server)
            else end.prepare_tokens(tokens, address, prompt=prompt_len or longest)
        )
    elif isinstance(end, ppc.Server):
        outcomes = [end.prepare(count or 1, address)]
    else:
        outcomes = [end.prepare(count or 1, address, seq_len=seq_len)]
    for each in outcomes:
        _tell_what_for(each.done.plan, end.plan)
        finish(each.report)
    document = {"inferences": [each.report for each in outcomes]} if tokens else outcomes[0].report
    material = [id for each in outcomes for id in each.material]
    write_document(report, document)
    if as_json:
        print_json({"prepared": material, "store": str(at), "report": document})
    else:
        for id in material:
            print(at / f"{id}.{role.value}")


def _tell_what_for(prepared: ppc.Plan, whole: ppc.Plan) -> None:
    """Which of several lengths it is that something was prepared for."""
    if whole.states.added:
        say(f"for {purpose(prepared)}")
    elif (of := prepared.options.seq_len) is not None and whole.shorter:
        say(f"for prompts that run at {of} tokens; the plan has {_lengths(whole)}, each with --seq-len")


def _lengths(plan: ppc.Plan) -> str:
    return ", ".join(str(each.options.seq_len) for each in plan.lengths)


def _end(
    path: Path,
    role: Side,
    weights: Path | None,
    store: Path | None,
    memory: str | None,
    shape: str | None,
    check_ot: bool,
    tls: tuple[Path | None, Path | None, Path | None],
    timeout: float,
    *,
    ahead: int = 0,
) -> ppc.Server | ppc.Client:
    """This side of ``ppc run`` and ``ppc prepare``, from the flags that both take."""
    cert, key, authorities = tls
    network = parse_network(shape) if shape else None
    options = ppc.SessionOptions(
        timeout=timeout,
        shape=network,
        progress=Bar,
        check_ot=check_ot,
        memory=inf if memory is None else size(memory),
    )
    plan = ppc.load_plan(path)
    if role is CLIENT:
        if (cert or key) and not (cert and key and authorities):
            raise BadInput("a client shows who it is with --tls-cert, --tls-key and --tls-ca, all three")
        trusted = ClientTls(authorities, cert, key) if authorities else None
        patience = min(PATIENCE, timeout)
        return ppc.Client(plan, options, patience=patience, store=store, ahead=ahead, tls=trusted)
    if (cert is None) != (key is None):
        raise BadInput("TLS at the server needs both --tls-cert and --tls-key")
    own = ServerTls(cert, key) if cert and key else None
    held = ppc.load_weights(weights or beside(path, ".weights"), plan)
    return ppc.Server(plan, held, options, store=store, tls=own)
