"""The commands at the model: check, compile, inspect, bench and simulate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

import ppc
from ppc import cli_inputs as inputs
from ppc.cli_files import (
    STDOUT,
    beside,
    check_files,
    check_outputs,
    check_own,
    check_places,
    stacked,
    write_outputs,
    write_text,
)
from ppc.cli_generate import Generate, MaxTokens, PromptLen, for_generation, show_prices
from ppc.cli_options import (
    Json,
    Labelled,
    PlanFile,
    SeqLen,
    TextFile,
    TextPairs,
    Texts,
    TokenizerFile,
    Written,
)
from ppc.cli_results import (
    Bar,
    document,
    know_this_machine,
    labels,
    mega,
    print_json,
    say,
    show,
    show_headroom,
    teller,
)
from ppc.runtime.base.errors import BadInput
from ppc.runtime.base.files import check_place
from ppc.runtime.net.network import parse_network
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.session.connection import predict_cost
from ppc.runtime.session.inputs import prompts
from ppc.runtime.session.simulate import refuse_wraps


def check(
    model: Annotated[Path, typer.Argument(help="An ONNX transformer.", metavar="MODEL.onnx")],
    seq_len: SeqLen = None,
    dim: Annotated[list[str] | None, typer.Option("--dim", help="NAME=VALUE for a dynamic axis.")] = None,
    outputs: Annotated[list[str] | None, typer.Option("--output", help="Outputs to keep.")] = None,
    as_json: Json = False,
) -> None:
    """List every operator: who owns it, how it will run, and all that is not supported; and the outputs."""
    from ppc.backend.check import as_text, check_model, outputs_as_text

    lengths: list[int | None] = [*sorted(set(inputs.lengths(seq_len) or ()), reverse=True)] or [None]
    dims, kept = inputs.dims(dim or []), tuple(outputs) if outputs else None
    every = [check_model(model, seq_len=n, dims=dims, outputs=kept) for n in lengths]
    first, several = every[0], len(every) > 1
    if as_json:
        parts = [{"seq_len": n, **found.document()} for n, found in zip(lengths, every, strict=True)]
        print_json({"model": str(model), **({"lengths": parts} if several else first.document())})
    for n, found in zip(lengths, every, strict=True) if not as_json else ():
        if several:
            print(f"at {n} tokens:")
        alike = found is not first and found.rows == first.rows  # the same operators, of other shapes
        print("\n".join(outputs_as_text(found)) if alike else as_text(found))
    if not all(found.supported for found in every):
        raise typer.Exit(3)


def compile_(
    model: Annotated[Path, typer.Argument(help="An ONNX transformer.", metavar="MODEL.onnx")],
    output: Annotated[
        Path | None, typer.Option("-o", "--out", help="Where to write the plan; the weights go beside it.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Where to write the weights; default: beside the plan, as .weights.")
    ] = None,
    seq_len: SeqLen = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch", min=1, help="Prompts in one inference: fewer bytes and flights for each. Default: one."
        ),
    ] = None,
    dim: Annotated[list[str] | None, typer.Option("--dim", help="NAME=VALUE for a dynamic axis.")] = None,
    profile: Annotated[
        str, typer.Option(help="What functions are replaced by: exact, friendly, menu, or FILE.toml.")
    ] = "exact",
    outputs: Annotated[list[str] | None, typer.Option("--output", help="Outputs to keep.")] = None,
    reveal: Annotated[
        list[str] | None,
        typer.Option(
            help="What the client learns: value, or argmax for the label alone; of one output NAME=argmax."
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="32 inputs like those to come, or more, of which ranges come: npz, stacked on a first axis, "
            "or texts (a table, or a line each) with --tokenizer."
        ),
    ] = None,
    tokenizer: TokenizerFile = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            min=1e-4,
            max=1.0,
            help="Spend as many bits as keep every output within this part of its standard deviation, and no "
            "more; default 0.0125 with --calibrate, where it can be had, and no fewer than usual.",
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            help="Inner values may go so many times as far as in the samples; default 2, and 3 without any.",
        ),
    ] = None,
    network: Annotated[
        str, typer.Option(help="What to choose for: lan, wan or BANDWIDTH,RTT such as 200Mbit,15ms.")
    ] = ppc.DEFAULT_NETWORK,
    guard: Annotated[
        str,
        typer.Option(
            help="one: a bit tells the client of an answer that is not to be trusted; locate: and where."
        ),
    ] = "one",
    no_guard: Annotated[bool, typer.Option("--no-guard", help="Leave that out.")] = False,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Leave the model's names of its tensors out of the plan.")
    ] = False,
    emit_onnx: Annotated[
        Path | None, typer.Option("--emit-onnx", help="Write the model as the profile makes it, as ONNX.")
    ] = None,
    generate: Generate = False,
    max_tokens: MaxTokens = None,
    prompt_len: PromptLen = None,
    as_json: Json = False,
) -> None:
    """Compile a model into plan.bin (public) and plan.weights (the server's)."""
    from ppc.backend.public import groups, public_numbers

    check_places(as_json, out=output, weights=weights, emit_onnx=emit_onnx)
    check_files(out=output, weights=weights, emit_onnx=emit_onnx)
    if output is not None:
        weights = weights or beside(output, ".weights")
        check_place(weights)
        check_own(output, weights)
    begun = time.perf_counter()
    asked: dict[str, Any] = {
        "seq_len": inputs.lengths(seq_len),
        "dims": inputs.dims(dim or []) | ({"batch": batch} if batch else {}),
        "outputs": tuple(outputs) if outputs else None,
        "profile": profile,
        "calibrate": _samples(calibrate, tokenizer),
    }
    if output is None or weights is None:
        _emit(model, emit_onnx, asked, as_json)
        return
    asked |= {
        "reveal": inputs.reveal(reveal or []),
        "max_error": max_error,
        "margin": margin,
        "network": network,
        "guard": _guard(guard, no_guard),
        "anonymous": anonymous,
    }
    if generate or max_tokens or prompt_len:
        generation: dict[str, Any] = {**for_generation(asked, emit_onnx, generate, max_tokens, prompt_len)}
        compiled = ppc.compile_generation(model, **generation)
    else:
        with Bar() as bar:
            compiled = ppc.compile(model, **asked, emit_onnx=emit_onnx, progress=bar)
    compiled.save(output, weights)
    seconds = round(time.perf_counter() - begun, 3)
    for group in groups(public_numbers(compiled.plan)):
        say(f"public: {group}")
    if as_json:
        files = {"file": str(output), "weights_file": str(weights), "seconds": seconds}
        replaced, opened, axes = map(_listed, (compiled.applied, compiled.opened, compiled.axes))
        said = {"axes": axes, "replaced": replaced, "opened": opened}
        print_json({**ppc.summary(compiled.plan), **files, **said})
        return
    _show_replaced(compiled.applied)
    print(f"{output}  {output.stat().st_size:,} bytes  plan {compiled.plan.hash[:12]}  public")
    print(f"{weights}  {weights.stat().st_size:,} bytes  keep it on the server")
    if compiled.plan.states.added:
        show_prices(compiled.plan)
        return
    cost = predict_cost(compiled.plan)
    for phase in PHASES:
        whole = cost.total(phase)
        print(f"{phase:>8}: {mega(whole.bytes)}, {whole.flights} flights")


def _samples(calibrate: Path | None, tokenizer: Path | None) -> Any:
    if calibrate is None and tokenizer is not None:
        raise BadInput("--tokenizer goes with --calibrate TEXTS")
    return inputs.samples(calibrate, tokenizer) if calibrate else None


def _guard(kind: str, none: bool) -> Literal["one", "locate", "off"]:
    if none:
        return "off"
    if kind == "one":
        return "one"
    if kind == "locate":
        return "locate"
    raise BadInput(f"--guard is one or locate, not {kind!r}; --no-guard leaves it out")


def _emit(model: Path, emit_onnx: Path | None, asked: dict[str, Any], as_json: bool) -> None:
    """``compile`` without a plan to write."""
    from ppc.backend.compile import emit_model

    if emit_onnx is None:
        raise BadInput("nothing to write: give -o PLAN, --emit-onnx MODEL or both")
    applied = emit_model(model, emit_onnx, **asked)
    if as_json:
        print_json({"file": str(emit_onnx), "replaced": [asdict(each) for each in applied]})
        return
    print(f"{emit_onnx}  {emit_onnx.stat().st_size:,} bytes")
    _show_replaced(applied)


def _listed(records: Sequence[Any]) -> list[dict[str, Any]]:
    return [asdict(each) for each in records]


def _show_replaced(applied: Sequence[Any]) -> None:
    for each in applied:
        print(each)


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

    check_places(as_json, html=html)
    loaded, link = ppc.load_plan(plan), parse_network(network)
    know_this_machine()
    if html is not None:
        from ppc.backend.html import page

        write_text(html, page(summary(loaded, link), inputs.simulated(simulation)))
    if as_json:
        print_json(summary(loaded, link))
    elif html is None:
        print(describe(loaded, link))
    elif html != STDOUT:
        print(f"{html}  {html.stat().st_size:,} bytes")


def bench(
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Measure this machine's rates in full, and keep them for predictions.",
        ),
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
        print_json(document)
        return
    print(f"{rates.rates_path()}  rates of {found.machine}")
    for line in rates.describe(found):
        print(line)


def simulate(
    plan: PlanFile,
    input_: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="The client's inputs: npz, npy or json, samples stacked or not; or jsonl or -, a line each.",
        ),
    ] = None,
    text: Texts = None,
    text_pair: TextPairs = None,
    text_file: TextFile = None,
    tokenizer: TokenizerFile = None,
    weights: Annotated[Path | None, typer.Option(help="Default: PLAN with suffix .weights")] = None,
    output: Written = None,
    label_file: Labelled = None,
    against: Annotated[
        Path | None, typer.Option(help="The ONNX model: print the error by layer, of samples the worst.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the plan's fixed-point meaning in the clear: outputs, and how near values came to their rings.

    Exit status 6 where one left its ring: two parties would give nonsense for that input.
    """
    check_places(as_json, out=output)
    check_outputs(output)
    loaded = ppc.load_plan(plan)
    named = labels(label_file, loaded)
    asked = inputs.asked(loaded, input_, text or [], text_pair or [], text_file, tokenizer)
    held = ppc.load_weights(weights or beside(plan, ".weights"), loaded)
    with Bar() as bar:
        if against is not None:
            from ppc.backend.compare import error_by_layer

            simulated, rows, agreed = error_by_layer(loaded, held, asked.samples, against, bar)
        else:
            simulator = ppc.Simulator(loaded, held)
            simulated, rows, agreed = simulator.run(asked.samples, wrapping=True, progress=bar), [], []
    near = ppc.headroom(simulated)
    if any(each.wraps for each in simulated):
        show_headroom(near, say)
    refuse_wraps(simulated, prompts(loaded))
    found = [part for i, each in enumerate(simulated) for part in asked.apart(loaded, i, each.outputs)]
    outputs = stacked(found) if asked.several else found[0]
    write_outputs(output, found, several=asked.several)
    if as_json:
        places = [asdict(each) | {"headroom": each.headroom} for each in near if each.reached > 0]
        print_json({**document(outputs, named), "errors": rows, "agreement": agreed, "headroom": places})
        return
    tell = teller(output)
    show_headroom(near, tell)
    for row in rows:
        tell(f"{row['max_error']:11.3e} max  {row['relative']:9.2e} of its spread  {row['name']}")
    for each in agreed:
        tell(f"{each['same']} of {each['compared']} places as in {against}  {each['name']}")
    show(outputs, named, output)
