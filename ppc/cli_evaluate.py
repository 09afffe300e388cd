"""The command over a data set: evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import ppc
from ppc.cli_files import beside, check_places, write_document
from ppc.cli_options import Json, LabelColumn, Labelled, PlanFile, TextColumns, TokenizerFile, Truncate
from ppc.cli_results import Bar, mega, print_json, show_headroom
from ppc.runtime.base.errors import BadInput
from ppc.runtime.service.labels import Labels

if TYPE_CHECKING:
    from ppc.backend.evaluation import Evaluation, Private
    from ppc.backend.similarity import Similarity


def evaluate(
    plan: PlanFile,
    data: Annotated[
        Path,
        typer.Option(help="Texts with labels, a table with tabs and a header; or texts alone, a line each."),
    ],
    tokenizer: TokenizerFile = None,
    weights: Annotated[Path | None, typer.Option(help="Default: PLAN with suffix .weights")] = None,
    model: Annotated[
        Path | None, typer.Option(help="The ONNX model that was compiled: hold the plan against its floats.")
    ] = None,
    output_name: Annotated[
        str | None, typer.Option("--output", help="Which output, where the plan has several.")
    ] = None,
    label_column: LabelColumn = None,
    text_column: TextColumns = None,
    label_file: Labelled = None,
    private: Annotated[int, typer.Option(min=0, help="Rows that two parties compute as well.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many rows, from the first.")] = None,
    truncate: Truncate = False,
    output: Annotated[Path | None, typer.Option("-o", "--out", help="Write the report, as JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Accuracy of a plan over a data set, by the simulator and by two parties, beside the model in floats.

    Exit status 6, after the report, where texts left their rings: two parties would give nonsense for those.
    """
    check_places(as_json, out=output)
    if tokenizer is None:
        raise BadInput("a data set is of texts, which need --tokenizer tokenizer.json")
    loaded = ppc.load_plan(plan)
    names = Labels.read(label_file).fitted(loaded).names if label_file else ()
    read = ppc.read_data(data, label_column=label_column, text_columns=text_column or (), names=names)
    if limit is not None:
        read = read.some(range(min(limit, len(read))))
    held = ppc.load_weights(weights or beside(plan, ".weights"), loaded)
    with Bar() as bar:
        found = ppc.evaluate(
            loaded,
            held,
            read,
            tokenizer,
            model=model,
            output=output_name,
            private=private,
            truncate=truncate,
            progress=bar,
        )
    if output is not None:
        write_document(output, found.document())
    if as_json:
        print_json(found.document())
    else:
        _show(found)
    found.refuse()


def _show(found: Evaluation) -> None:
    """For people: each part that there is."""
    speed = found.prompts / found.seconds
    print(f"{found.task.kind} by {found.task.output}: {len(found.data)} rows of {found.data.path}")
    print(f"{found.prompts} prompts simulated, {speed:.1f} a second")
    if found.cut:
        print(f"{found.cut} prompts were cut, for they have more tokens than the plan holds")
    if found.data.names != tuple(map(str, range(len(found.data.names)))):
        print("classes: " + ", ".join(f"{i} {name}" for i, name in enumerate(found.data.names)))
    for title, rates in (("accuracy", found.accuracy), ("same answer", found.agreement)):
        for who, rate in rates.items():
            low, high = (100 * bound for bound in rate.interval)
            said = f"{100 * rate.value:.2f} %, 95 % {low:.2f} to {high:.2f}"
            print(f"{title:>11}  {said}  {rate.hits} of {rate.of}  {who}")
    if found.similarity is not None:
        _show_similarity(found.similarity, found.data.names)
    if found.errors:
        print("error by the output's spread   worst       rms")
        for what, error in found.errors.items():
            print(f"{what:>24} {error.worst:11.2e} {error.rms:9.2e}")
    if found.private is not None:
        _show_private(found.private)
    show_headroom(found.headroom, print)


def _show_similarity(like: Similarity, names: Sequence[str]) -> None:
    if like.cosine is not None:
        mean, worst = like.cosine
        print(f"cosine to float's: {mean:.6f} in the mean, {worst:.6f} at worst")
    if like.correlation is not None:
        print(f"rank correlation of the pairs' cosines with float's: {like.correlation:.6f}")
    if like.threshold is not None:
        best = f"the best by {like.judge} on these labels"
        print(f"a pair is alike, of class {names[1]}, from a cosine of {like.threshold:.4f} on: {best}")


def _show_private(told: Private) -> None:
    cost = told.cost
    lines = ", ".join(map(str, told.lines))
    unnoticed = f", {told.unnoticed} that left a ring NOT noticed" if told.unnoticed else ""
    print(
        f"two parties: {told.inferences} inferences, {told.refused} refused by the guard{unnoticed}; "
        f"lines {lines}"
    )
    print(
        f"  each {mega(cost['offline'])} offline and {mega(cost['online'])} online, after a setup of "
        f"{mega(cost['setup'])}; {cost['seconds']:.2f} s with both on this machine"
    )
    print(f"  bytes and flights {'as' if cost['as_predicted'] else 'NOT as'} predicted")
