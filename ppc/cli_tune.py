"""The command that trains: tune."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

import ppc
from ppc.cli_files import check_files, check_places, write_text
from ppc.cli_options import Json, LabelColumn, Labelled, TextColumns, TokenizerFile, Truncate
from ppc.cli_results import Bar, print_json
from ppc.runtime.base.errors import BadInput
from ppc.runtime.base.files import check_place
from ppc.runtime.net.network import parse_network
from ppc.runtime.service.labels import Labels

REPORTS = (".md", ".html", ".json")


def tune(
    model: Annotated[Path, typer.Argument(help="An ONNX transformer.", metavar="MODEL.onnx")],
    data: Annotated[
        Path,
        typer.Option(help="What to tune on: a table with tabs, a header and labels; or texts, a line each."),
    ],
    valid: Annotated[Path, typer.Option(help="The same of other texts, for the final numbers alone.")],
    output: Annotated[Path, typer.Option("-o", "--out", help="Where to write the tuned model, as ONNX.")],
    seq_len: Annotated[int, typer.Option("--seq-len", min=1, help="Tokens in a prompt.")],
    tokenizer: TokenizerFile = None,
    decide: Annotated[
        Path | None,
        typer.Option(
            help="The same, to decide by: best texts that MODEL has not seen; otherwise a part of --data."
        ),
    ] = None,
    profile: Annotated[
        str, typer.Option(help="What may be replaced by what: friendly, menu, or FILE.toml.")
    ] = "friendly",
    budget: Annotated[
        float | None,
        typer.Option(
            min=0, help="Points of accuracy (without labels, of agreement) to be given up; default 1."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="What an inference may cost at most: 40MB, or 2s on --network.")
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps of the first tuning; a third in each later one.")
    ] = 300,
    epochs: Annotated[float | None, typer.Option(min=0, help="The same, in rounds over the data.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Texts in a step.")] = 32,
    rate: Annotated[
        float | None, typer.Option(min=1e-9, help="The learning rate; found by trying without it.")
    ] = None,
    label_weight: Annotated[
        float, typer.Option(min=0, help="How much labels count beside the model's own answers.")
    ] = 0.0,
    mix: Annotated[
        float, typer.Option(min=0, help="Train on so many texts made of two, for each text, as well.")
    ] = 0.0,
    half: Annotated[
        bool,
        typer.Option("--half", help="Train by products of bfloat16: faster where processor or GPU has them."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn: the same gives the same model.")] = 0,
    work: Annotated[
        Path | None, typer.Option(help="A folder for a journal, and from which an interrupted run goes on.")
    ] = None,
    output_name: Annotated[
        str | None, typer.Option("--output", help="Which output, where the model has several.")
    ] = None,
    label_column: LabelColumn = None,
    text_column: TextColumns = None,
    label_file: Labelled = None,
    truncate: Truncate = False,
    network: Annotated[
        str, typer.Option(help="What seconds are predicted for: lan, wan or BANDWIDTH,RTT.")
    ] = ppc.DEFAULT_NETWORK,
    report: Annotated[Path | None, typer.Option(help="Write every decision, as .md, .html or .json.")] = None,
    as_json: Json = False,
) -> None:
    """Replace what is dear in a model by what is cheap, tune it to answer as before, and write it as ONNX.

    Exit status 6, after the report, where budget and target were not both kept.
    """
    check_places(as_json, out=output, report=report)
    check_files(out=output, report=report)
    if report is not None and report.suffix not in REPORTS:
        raise BadInput(
            f"--report {report}: reports are written as {', '.join(REPORTS)}, by the ending of the name"
        )
    if tokenizer is None:
        raise BadInput("tuning is on texts, which need --tokenizer tokenizer.json")
    if work is not None and not work.is_dir():
        check_place(work)
        work.mkdir()
    from ppc.backend.tune.report import document, lines, written
    from ppc.backend.tune.settings import Goal, Settings

    limit = _target(target)
    settings = Settings(
        profile=profile,
        goal=Goal(budget if budget is not None else 1.0 if target is None else 0.0, **limit),
        steps=steps,
        epochs=epochs,
        batch=batch,
        rate=rate,
        labels=label_weight,
        seed=seed,
        half=half,
        mix=mix,
        network=parse_network(network),
    )
    names = Labels.read(label_file).names if label_file else ()
    tables = [
        ppc.read_data(each, label_column=label_column, text_columns=text_column or (), names=names)
        for each in (data, valid, decide)
        if each is not None
    ]
    with Bar() as bar:
        found = ppc.tune(
            model,
            data=tables[0],
            valid=tables[1],
            decide=tables[2] if decide else None,
            tokenizer=tokenizer,
            output=output,
            seq_len=seq_len,
            kept=output_name,
            truncate=truncate,
            settings=settings,
            work=work,
            progress=bar,
        )
    if report is not None:
        write_text(report, written(found, report.suffix))
    if as_json:
        print_json(document(found))
    else:
        for line in lines(found):
            print(line)
    if not found.met:
        raise typer.Exit(6)


def _target(given: str | None) -> dict[str, float]:
    """Bytes or seconds."""
    if given is None:
        return {}
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*(kB|MB|GB|s)", given)
    if found is None or not float(found[1]):
        raise BadInput(f"--target is a number of MB, kB or GB, or of seconds, as 40MB or 2s, not {given!r}")
    number, unit = float(found[1]), found[2]
    return {"seconds": number} if unit == "s" else {"bytes": number * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]}
