"""What the command line writes, and where: found out before any work; by the name's ending, - for stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppc.runtime.base.errors import BadInput
from ppc.runtime.base.files import check_place, whole
from ppc.runtime.plan.file import hash_of, weights_belong

Outputs = Mapping[str, NDArray[Any]]

STDOUT = Path("-")

ENDINGS = (".npz", ".json", ".jsonl")
"""Of outputs: arrays; one document; a document a line, one of each sample."""


def check_places(as_json: bool, **files: Path | None) -> None:
    """Of what is written at the end, by option (``emit_onnx`` is --emit-onnx): it has a place, and stdout is
    asked for once."""
    named = {f"--{name.replace('_', '-')}": path for name, path in files.items() if path is not None}
    streams = [name for name, path in named.items() if path == STDOUT] + ["--json"] * as_json
    if len(streams) > 1:
        raise BadInput(f"{' and '.join(streams)} each write to standard output; one of them can")
    for name, path in named.items():
        if path == STDOUT:
            continue
        check_place(path)
        if twice := [other for other in named if other != name and named[other] == path]:
            raise BadInput(f"{name} and {twice[0]} are both {path}; give each a file of its own")


def check_outputs(file: Path | None) -> None:
    """Outputs are written as what the file's name says."""
    if file not in (None, STDOUT) and file.suffix not in ENDINGS:
        raise BadInput(
            f"--out {file}: outputs are written as {', '.join(ENDINGS)}, by the ending of the name, or to -, "
            "standard output, as JSON"
        )


def check_files(**files: Path | None) -> None:
    """What is no stream: a plan, which weights lie beside, and models."""
    for name, path in files.items():
        if path == STDOUT:
            raise BadInput(f"--{name.replace('_', '-')} wants a file, and - is standard output")


def beside(plan: Path, ending: str) -> Path:
    """What goes with a plan: plan.bin has plan.weights, and p.s8 has p.s8.weights, for p.s16 has its own."""
    return plan.with_name(plan.name.removesuffix(".bin") + ending)


def check_own(plan: Path, weights: Path) -> None:
    """Two plans have no weights in common: BadInput where ``weights`` are those of another that is there."""
    belongs = weights_belong(weights)
    if belongs is None or belongs == hash_of(plan):
        return
    for other in sorted(weights.parent.iterdir()):
        if other != plan and hash_of(other) == belongs:
            raise BadInput(
                f"{weights}: the weights of {other}, which {plan} would overwrite; give another name, or "
                "--weights FILE"
            )


def write_text(path: Path | None, text: str) -> None:
    if path == STDOUT:
        sys.stdout.write(text)
    elif path is not None:
        with whole(path) as part:
            part.write_text(text, encoding="utf-8")


def write_document(path: Path | None, document: Mapping[str, object]) -> None:
    write_text(path, json.dumps(document, indent=1) + "\n")


def write_outputs(path: Path | None, every: Sequence[Outputs], *, several: bool) -> None:
    """The outputs of one sample, or of ``several`` on a new first axis; in .jsonl a line each."""
    if path is None:
        return
    outputs = stacked(every) if several else every[0]
    if path.suffix == ".npz":
        with whole(path) as part, part.open("wb") as file:
            np.savez(file, **outputs)  # type: ignore[arg-type]
    elif path.suffix == ".jsonl":
        write_text(path, "".join(json.dumps(plain(each)) + "\n" for each in every))
    else:
        write_text(path, json.dumps(plain(outputs)) + "\n")


def stacked(every: Sequence[Outputs]) -> Outputs:
    """Several samples' outputs on a new first axis."""
    return {name: np.stack([each[name] for each in every]) for name in every[0]}


def plain(outputs: Outputs) -> dict[str, object]:
    """For JSON, which has null for what is no number."""
    found = {}
    for name, value in outputs.items():
        numbers = value.astype(object)
        numbers[np.isnan(value)] = None
        found[name] = numbers.tolist()
    return found
