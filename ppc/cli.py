"""The command line: five verbs over the public API; results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import ppc
from ppc import cli_inputs as inputs
from ppc.runtime.base.errors import BadInput
from ppc.runtime.net.network import parse_network
from ppc.runtime.net.tls import ClientTls, ServerTls
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.service import report as reports

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
log = Console(stderr=True, highlight=False, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Role = Annotated[str, typer.Option(help="server or client")]
Listen = Annotated[str, typer.Option(help="server: where to listen")]
Connect = Annotated[str, typer.Option(help="client: where the server is")]
Weights = Annotated[Path | None, typer.Option(help="server: default PLAN with suffix .weights")]
Report = Annotated[Path | None, typer.Option(help="Write what it cost, as JSON.")]
Timeout = Annotated[
    float, typer.Option(min=1, help="Give up when the peer is silent this long, or a message this late.")
]
StoreAt = Annotated[Path | None, typer.Option("--store", help="Prepared material; default PLAN.prepared")]
ShapeAs = Annotated[
    str | None, typer.Option("--shape", help="Send as slowly as lan, wan or BANDWIDTH,RTT; give it to both.")
]
CheckOt = Annotated[
    bool,
    typer.Option(
        "--check-ot", help="End the run if the peer extends OTs otherwise than it should; give it to both."
    ),
]
TlsCert = Annotated[Path | None, typer.Option(help="server: certificate chain, PEM; turns TLS on")]
TlsKey = Annotated[Path | None, typer.Option(help="server: its private key, PEM")]
TlsCa = Annotated[Path | None, typer.Option(help="client: whom to trust, PEM; turns TLS on")]
ADDRESS = "127.0.0.1:7766"
PATIENCE = 30.0
"""Seconds for which a client waits for a server that does not listen yet; never longer than --timeout."""
PlanFile = Annotated[Path, typer.Argument(help="The plan that `ppc compile` wrote.", metavar="PLAN")]


@app.command()
def check(
    model: Annotated[Path, typer.Argument(help="An ONNX transformer.", metavar="MODEL.onnx")],
    seq_len: Annotated[int | None, typer.Option("--seq-len", min=1, help="Tokens in a prompt.")] = None,
    dim: Annotated[list[str] | None, typer.Option("--dim", help="NAME=VALUE for a dynamic axis.")] = None,
    outputs: Annotated[list[str] | None, typer.Option("--output", help="Outputs to keep.")] = None,
    as_json: Json = False,
) -> None:
    """List every operator: who owns it, how it will run, and all that is not supported."""
    from ppc.backend.check import as_text, check_model

    found = check_model(
        model, seq_len=seq_len, dims=inputs.dims(dim or []), outputs=tuple(outputs) if outputs else None
    )
    if as_json:
        _print_json({"model": str(model), **found.document()})
    else:
        print(as_text(found))
    if not found.supported:
        raise typer.Exit(3)


@app.command("compile")
def compile_(
    model: Annotated[Path, typer.Argument(help="An ONNX transformer.", metavar="MODEL.onnx")],
    output: Annotated[
        Path | None, typer.Option("-o", help="Where to write the plan; the weights go beside it.")
    ] = None,
    seq_len: Annotated[
        str | None, typer.Option("--seq-len", help="Tokens in a prompt; several, as 16,32,64, make one plan.")
    ] = None,
    dim: Annotated[list[str] | None, typer.Option("--dim", help="NAME=VALUE for a dynamic axis.")] = None,
    profile: Annotated[
        str, typer.Option(help="What functions are replaced by: exact, friendly, or FILE.toml.")
    ] = "exact",
    outputs: Annotated[list[str] | None, typer.Option("--output", help="Outputs to keep.")] = None,
    calibrate: Annotated[
        Path | None, typer.Option(help="npz: sample inputs, stacked on a first axis.")
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            min=1e-4,
            max=1.0,
            help="Spend bits until every output is within this part of its standard deviation; 0.01 for 1 %.",
        ),
    ] = None,
    network: Annotated[
        str, typer.Option(help="What to choose for: lan, wan or BANDWIDTH,RTT such as 200Mbit,15ms.")
    ] = "50Mbit,40ms",
    emit_onnx: Annotated[
        Path | None, typer.Option("--emit-onnx", help="Write the model as the profile makes it, as ONNX.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compile a model into plan.bin (public) and plan.weights (the server's)."""
    from ppc.backend.public import groups

    inputs.check_folders(output, emit_onnx)
    begun = time.perf_counter()
    asked: dict[str, Any] = {
        "seq_len": inputs.lengths(seq_len),
        "dims": inputs.dims(dim or []),
        "outputs": tuple(outputs) if outputs else None,
        "profile": profile,
        "calibrate": inputs.samples(calibrate) if calibrate else None,
    }
    if output is None:
        _emit(model, emit_onnx, asked, as_json)
        return
    compiled = ppc.compile(
        model,
        **asked,
        max_error=max_error,
        network=network,
        emit_onnx=emit_onnx,
    )
    weights = output.with_suffix(".weights")
    compiled.save(output, weights)
    summary = ppc.summary(compiled.plan)
    for group in groups(summary["public"]):
        _say(f"public: {group}")
    seconds = round(time.perf_counter() - begun, 3)
    if as_json:
        files = {"file": str(output), "weights_file": str(weights), "seconds": seconds}
        replaced, opened, axes = map(_listed, (compiled.applied, compiled.opened, compiled.axes))
        _print_json({**summary, **files, "axes": axes, "replaced": replaced, "opened": opened})
        return
    _show_replaced(compiled.applied)
    print(f"{output}  {output.stat().st_size:,} bytes  plan {compiled.plan.hash[:12]}  public")
    print(f"{weights}  {weights.stat().st_size:,} bytes  keep it on the server")
    for phase, cost in summary["predicted"].items():
        print(f"{phase:>8}: {_mega(cost['client'] + cost['server'])}, {cost['flights']} flights")


def _emit(model: Path, emit_onnx: Path | None, asked: dict[str, Any], as_json: bool) -> None:
    """``compile`` without a plan to write."""
    from ppc.backend.compile import emit_model

    if emit_onnx is None:
        raise BadInput("nothing to write: give -o PLAN, --emit-onnx MODEL or both")
    applied = emit_model(model, emit_onnx, **asked)
    if as_json:
        _print_json({"file": str(emit_onnx), "replaced": [asdict(each) for each in applied]})
        return
    print(f"{emit_onnx}  {emit_onnx.stat().st_size:,} bytes")
    _show_replaced(applied)


def _listed(records: Sequence[Any]) -> list[dict[str, Any]]:
    return [asdict(each) for each in records]


def _show_replaced(applied: Sequence[Any]) -> None:
    for each in applied:
        print(each)


@app.command()
def inspect(
    plan: PlanFile,
    network: Annotated[
        str, typer.Option(help="Predict seconds for lan, wan, loopback or BANDWIDTH,RTT as 200Mbit,15ms.")
    ] = "lan",
    html: Annotated[Path | None, typer.Option(help="Write all of it as one page for a browser.")] = None,
    simulation: Annotated[
        Path | None, typer.Option(help="With --html: what `ppc simulate --against --json` printed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Cost by step, why it is so, formats, and who sees what."""
    from ppc.backend.report import describe, summary

    inputs.check_folders(html)
    if simulation is not None and html is None:
        raise BadInput("--simulation is shown on the page that --html writes")
    loaded, link = ppc.load_plan(plan), parse_network(network)
    if html is not None:
        from ppc.backend.html import page

        html.write_text(page(summary(loaded, link), inputs.simulated(simulation)), encoding="utf-8")
    if as_json:
        _print_json(summary(loaded, link))
    elif html is None:
        print(describe(loaded, link))
    else:
        print(f"{html}  {html.stat().st_size:,} bytes")


@app.command()
def bench(
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure this machine's rates and keep them for predictions.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure this machine: what predicted seconds are reckoned from."""
    from ppc.runtime.cost import calibration, rates

    if not calibrate:
        raise BadInput("nothing to measure: give --calibrate (the benchmarks of the repository: make bench)")
    found = calibration.calibrate()
    rates.save_rates(found, rates.rates_path())
    document = {"file": str(rates.rates_path()), **msgspec.to_builtins(found)}
    if as_json:
        _print_json(document)
        return
    print(f"{rates.rates_path()}  rates of {found.machine}")
    for line in rates.describe(found):
        print(line)


@app.command()
def simulate(
    plan: PlanFile,
    input_: Annotated[
        Path,
        typer.Option("--input", help="The client's inputs: npz or json; or samples stacked on a first axis."),
    ],
    weights: Annotated[Path | None, typer.Option(help="Default: PLAN with suffix .weights")] = None,
    output: Annotated[Path | None, typer.Option("-o", help="Write the outputs as npz.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="The ONNX model: print the error by layer, of samples the worst.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the plan's fixed-point meaning in the clear."""
    inputs.check_folders(output)
    loaded = ppc.load_plan(plan)
    samples, stacked = inputs.one_or_more(loaded, input_)
    held = ppc.load_weights(weights or plan.with_suffix(".weights"), loaded)
    if against is not None:
        from ppc.backend.compare import error_by_layer

        found, rows = error_by_layer(loaded, held, samples, against)
    else:
        found, rows = ppc.simulate_many(loaded, held, samples), []
    outputs = {name: np.stack([each[name] for each in found]) for name in found[0]} if stacked else found[0]
    _write(output, outputs)
    if as_json:
        _print_json({"outputs": _plain(outputs), "errors": rows})
        return
    for row in rows:
        print(f"{row['max_error']:11.3e} max  {row['relative']:9.2e} of its spread  {row['name']}")
    _show(outputs, output)


@app.command()
def run(
    plan: PlanFile,
    role: Role,
    listen: Listen = ADDRESS,
    connect: Connect = ADDRESS,
    weights: Weights = None,
    once: Annotated[bool, typer.Option("--once", help="server: stop after one inference")] = False,
    input_: Annotated[Path | None, typer.Option("--input", help="client: npz or json")] = None,
    text: Annotated[str | None, typer.Option(help="client: a prompt, with --tokenizer")] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="client: tokenizer.json")] = None,
    output: Annotated[Path | None, typer.Option("-o", help="client: write the outputs as npz")] = None,
    store: StoreAt = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Leave prepared material alone.")] = False,
    shape: ShapeAs = None,
    check_ot: CheckOt = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_ca: TlsCa = None,
    report: Report = None,
    timeout: Timeout = 600.0,
    as_json: Json = False,
) -> None:
    """Run one side of the computation, with prepared material where both sides hold it."""
    inputs.check_folders(output, report)
    if fresh and store is not None:
        raise BadInput("--fresh leaves prepared material alone, --store says where it is; give one of them")
    if role == "server":
        for flag, value in (("--input", input_), ("--text", text), ("-o", output)):
            if value is not None:
                raise BadInput(f"{flag} belongs to the client")
    at = None if fresh else store or plan.with_suffix(".prepared")
    end = _end(plan, role, weights, at, shape, check_ot, (tls_cert, tls_key, tls_ca), timeout)
    if isinstance(end, ppc.Server):

        def done(result: reports.Report) -> None:
            _finish(report, result)
            if as_json:
                _print_json(result)

        end.serve(inputs.address(listen), once=once, done=done)
        return
    feeds = inputs.feeds(end.plan, input_, text, tokenizer)
    outcome = end.run(feeds, inputs.address(connect))
    assert outcome.outputs is not None
    _write(output, outcome.outputs)
    _finish(report, outcome.report)
    if as_json:
        _print_json({"outputs": _plain(outcome.outputs), "report": outcome.report})
    else:
        _show(outcome.outputs, output)


@app.command()
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
    timeout: Timeout = 600.0,
    as_json: Json = False,
) -> None:
    """Do what needs no input beforehand, with the other side, and store it: one file an inference."""
    inputs.check_folders(report)
    at = store or plan.with_suffix(".prepared")
    end = _end(plan, role, weights, at, shape, check_ot, (tls_cert, tls_key, tls_ca), timeout)
    address = inputs.address(listen if role == "server" else connect)
    outcome = end.prepare(count, address)
    _finish(report, outcome.report)
    if as_json:
        _print_json({"prepared": outcome.material, "store": str(at), "report": outcome.report})
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
    options = ppc.SessionOptions(timeout=timeout, shape=network, progress=_bar, check_ot=check_ot)
    plan = ppc.load_plan(path)
    if role == "client":
        if cert or key:
            raise BadInput("--tls-cert and --tls-key belong to the server; the client takes --tls-ca")
        trusted = ClientTls(authorities) if authorities else None
        patience = min(PATIENCE, timeout)
        return ppc.Client(plan, options, patience=patience, store=store, tls=trusted)
    if authorities:
        raise BadInput("--tls-ca belongs to the client; the server takes --tls-cert and --tls-key")
    if (cert is None) != (key is None):
        raise BadInput("TLS at the server needs both --tls-cert and --tls-key")
    own = ServerTls(cert, key) if cert and key else None
    held = ppc.load_weights(weights or path.with_suffix(".weights"), plan)
    return ppc.Server(plan, held, options, store=store, tls=own)


class _Lines(logging.Handler):
    """What the program says while it works, line by line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(record.getMessage())


def main() -> NoReturn:
    """Entry point: every fault is one line and an exit status."""
    logger = logging.getLogger("ppc")
    logger.handlers, logger.propagate = [_Lines()], False
    logger.setLevel(logging.INFO)
    try:
        status = app(standalone_mode=False)  # what typer.Exit carried, None from a command that ended
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as fault:  # the last gate: what is not ours keeps its traceback
        status = _status(fault)
        if status is None:
            raise
        if line := _line(fault):  # nothing where help was shown for want of a command
            log.print(f"ppc: {line}", style="red", markup=False)
        sys.exit(status)
    sys.exit(status if isinstance(status, int) else 0)


def _status(fault: Exception) -> int | None:
    if hasattr(fault, "format_message") and hasattr(fault, "exit_code"):  # click's, or typer's copy of it
        return 2
    if isinstance(fault, OSError) and fault.filename is not None:  # a file to be written
        return 2
    if isinstance(fault, MemoryError):
        return 2
    own = getattr(fault, "exit_status", None)
    return own if isinstance(own, int) else None


def _line(fault: Exception) -> str:
    if isinstance(fault, OSError):
        return f"{fault.filename}: {fault.strerror}"
    if isinstance(fault, MemoryError):
        return f"more memory is asked for than there is: {fault}".rstrip(": ")
    show: Callable[[], str] | None = getattr(fault, "format_message", None)
    return show() if show else str(fault)


class _bar:
    """A progress bar on a terminal; silence elsewhere. Called with (phase, done, total)."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=log, transient=True, disable=not log.is_terminal)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(phase, total=total)
        self._progress.update(self._tasks[phase], completed=done)


def _say(line: str) -> None:
    log.print(line, markup=False)


def _write(path: Path | None, outputs: dict[str, np.ndarray[Any, Any]]) -> None:
    if path is not None:
        np.savez(path, **outputs)  # type: ignore[arg-type]


def _finish(path: Path | None, report: reports.Report) -> None:
    if path is not None:
        path.write_text(json.dumps(report, indent=1) + "\n")
    for phase in PHASES:
        got, said = report[phase], report["predicted"][phase]
        _say(
            f"{phase:>8}: {got['seconds']:7.3f} s (predicted {said['seconds']:.3f})  "
            f"sent {_mega(got['sent'])} (predicted {_mega(said['sent'])})  "
            f"received {_mega(got['received'])} (predicted {_mega(said['received'])})  "
            f"flights {got['flights']} (predicted {said['flights']})"
        )


def _plain(outputs: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    return {name: value.tolist() for name, value in outputs.items()}


def _show(outputs: dict[str, np.ndarray[Any, Any]], path: Path | None) -> None:
    for name, value in outputs.items():
        with np.printoptions(precision=5, threshold=16):
            print(f"{name} {value.shape}: {value if path is None else f'written to {path}'}")


def _print_json(document: Mapping[str, object]) -> None:
    print(json.dumps(document))


def _mega(count: int) -> str:
    return f"{count / 1e6:.2f} MB"


if __name__ == "__main__":
    main()
