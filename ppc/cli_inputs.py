"""What the command line is given, as what the public API takes; BadInput names the flag or the file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import ppc
from ppc.cli_files import Outputs
from ppc.runtime.base.errors import BadInput
from ppc.runtime.service.batch import apart, grouped, of_first
from ppc.runtime.service.dataset import read_texts
from ppc.runtime.session.inputs import UNNAMED, named, prompts

if TYPE_CHECKING:
    from ppc.backend.compare import LayerError
    from ppc.backend.compile import Samples


Sample = dict[str, NDArray[Any]]
"""An inference's inputs, or a prompt's, by name."""

LINES = ".jsonl"


def lengths(given: str | None, flag: str = "--seq-len") -> list[int] | None:
    if given is None:
        return None
    parts = given.split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise BadInput(f"{flag} wants a length, or several with commas between, not {given!r}")
    return [int(part) for part in parts]


def dims(given: list[str]) -> dict[str, int]:
    dims = {}
    for each in given:
        name, _, value = each.partition("=")
        if not value.isdigit() or int(value) < 1:
            raise BadInput(f"--dim wants NAME=VALUE with a positive number, not {each!r}")
        dims[name] = int(value)
    return dims


def reveal(given: list[str]) -> str | dict[str, str]:
    """What ``--reveal`` says for all outputs, or for some by name."""
    named = [each.rpartition("=") for each in given]
    if len(given) > 1 and not all(equals for _, equals, _ in named):
        said = ", ".join(given)
        raise BadInput(f"--reveal is given once for all outputs, or as NAME=WHAT for each, not {said}")
    if given and not named[0][1]:
        return given[0]
    twice = {name for name, _, _ in named if sum(name == other for other, _, _ in named) > 1}
    if twice:
        raise BadInput(f"--reveal says of {twice.pop()!r} more than once what is revealed")
    return {name: what for name, _, what in named}


def read_inputs(path: Path) -> Sample:
    """npz, npy (one array, `UNNAMED`) or json; BadInput names the file and what is wrong."""
    try:
        if path.suffix == ".json":
            document = json.loads(path.read_text())
            if not isinstance(document, dict):
                raise BadInput(f"{path}: a JSON object of input names is wanted")
            return {name: np.asarray(value) for name, value in document.items()}
        if path.suffix == ".npy":
            return {UNNAMED: np.load(path, allow_pickle=False)}
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None
    except BadInput:
        raise
    except Exception as error:  # zipfile, zlib, json and numpy each have several of their own
        reason = (
            str(error).partition(". ")[0] or type(error).__name__
        )  # numpy goes on with how to load pickles
        raise BadInput(f"{path}: neither npz, npy nor JSON of numbers: {reason}") from None


def simulated(path: Path | None) -> list[LayerError]:
    """Errors by layer, from what ``ppc simulate --against --json`` printed."""
    if path is None:
        return []
    try:
        rows = json.loads(path.read_text())["errors"]
        return [row | {what: float(row[what]) for what in ("max_error", "relative")} for row in rows]
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"{path}: not what `ppc simulate --against --json` prints: {error!r}") from None


def samples(path: Path, tokenizer: Path | None) -> Samples:
    """Calibration data: inputs, or texts with a tokenizer."""
    if path.suffix in (".npz", ".npy", ".json"):
        if tokenizer:
            raise BadInput(f"--tokenizer is for calibration texts, and {path} holds inputs")
        return _unstacked(path, read_inputs(path))
    if tokenizer is None:
        raise BadInput(
            f"{path}: texts to calibrate on need --tokenizer tokenizer.json; inputs are .npz, .npy or .json"
        )
    from ppc.backend.samples import TextSamples

    return TextSamples(ppc.read_data(path), tokenizer)


def read_lines(path: Path) -> list[Sample]:
    """A sample a line, each a JSON object of inputs, of a file or of standard input; BadInput names it."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: no text in UTF-8: {error.reason}") from None
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
            if not isinstance(document, dict):
                raise ValueError("no object of input names")
            found.append({name: np.asarray(value) for name, value in document.items()})
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path}, line {number}: not readable as JSON of numbers: {error}") from None
    if not found:
        raise BadInput(f"{path}: no line with a sample, a JSON object of inputs each")
    return found


def one_or_more(plan: ppc.Plan, path: Path) -> tuple[list[Sample], bool]:
    """The samples of a file, and whether there may be several: a line each, or stacked, so that every input
    has an axis before the plan's."""
    if path.suffix == LINES or str(path) == "-":
        return read_lines(path), True
    given = named(read_inputs(path), [spec.name for spec in plan.inputs], str(path))
    ranks = {spec.name: len(spec.shape) for spec in plan.inputs}
    stacked = {name: value.ndim == ranks[name] + 1 for name, value in given.items() if name in ranks}
    if not any(stacked.values()):
        return [given], False
    if not all(stacked.values()):
        many, one = (next(name for name, is_so in stacked.items() if is_so is what) for what in (True, False))
        raise BadInput(
            f"{path}: {many!r} has {ranks[many] + 1} axes, one more than the plan's input, and {one!r} has "
            f"{given[one].ndim}; give one sample, or samples stacked on a first axis of every input"
        )
    return _unstacked(path, given), True


def _unstacked(path: Path, stacked: Sample) -> list[Sample]:
    counts = {name: value.shape[:1] for name, value in stacked.items()}
    if len(set(counts.values())) != 1 or not set(counts.values()).isdisjoint({(), (0,)}):
        raise BadInput(
            f"{path}: every input needs as many samples on its first axis as the others, not {counts}"
        )
    return [
        {name: value[i] for name, value in stacked.items()} for i in range(next(iter(counts.values()))[0])
    ]


def _rows(sample: Sample) -> set[int]:
    return {len(value) if value.ndim else 0 for value in sample.values()}


@dataclass(frozen=True, repr=False)
class Asked:
    """What options ask of a plan.

    Attributes:
        samples: an inference's inputs each.
        several: whether the options name more than one, so that answers are a list.
        prompts: how many were given, one behind the other where an inference takes several; None where
            ``samples`` were given as they are.
    """

    samples: list[Sample]
    several: bool
    prompts: int | None = None

    def answers(self, plan: ppc.Plan, at: int, outputs: Outputs) -> Outputs:
        """Of the outputs of sample ``at`` what was asked for."""
        return outputs if self.prompts is None else of_first(plan, outputs, self.prompts - at * prompts(plan))

    def apart(self, plan: ppc.Plan, at: int, outputs: Outputs) -> list[Outputs]:
        """The same, prompt by prompt."""
        found = self.answers(plan, at, outputs)
        return [found] if self.prompts is None else apart(plan, found)


def asked(
    plan: ppc.Plan,
    file: Path | None,
    texts: Sequence[str],
    pairs: Sequence[str],
    text_file: Path | None,
    tokenizer: Path | None,
) -> Asked:
    """What the options of ``ppc run`` and ``ppc simulate`` name."""
    if sum(map(bool, (file, texts, text_file))) != 1:
        raise BadInput(
            "give either --input FILE or --text TEXT, or --text-file FILE; the last two with --tokenizer FILE"
        )
    if file is not None:
        if tokenizer:
            raise BadInput("--tokenizer goes with --text or --text-file, not with --input")
        samples, several = one_or_more(plan, file)
        if (together := prompts(plan)) == 1 or (not several and _rows(samples[0]) == {together}):
            return Asked(samples, several)
        return Asked(*grouped(plan, samples, str(file)))
    if tokenizer is None:
        raise BadInput("--text and --text-file need --tokenizer tokenizer.json")
    if text_file is not None:
        read = read_texts(text_file)
        return Asked(ppc.tokenize_all(plan, read.texts, tokenizer, read.pairs), True, len(read.texts))
    if [*texts, *pairs].count("-") > 1:
        raise BadInput("- is standard input, which can be read once")
    texts, pairs = [read_text(each) for each in texts], [read_text(each) for each in pairs]
    samples = ppc.tokenize_all(plan, texts, tokenizer, pairs or None)
    return Asked(samples, len(texts) > 1, len(texts))


def read_text(given: str) -> str:
    """A prompt, of standard input where it is -. Raises BadInput where that is no text."""
    if given != "-":
        return given
    try:
        return sys.stdin.read().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise BadInput(f"standard input is no text: {error}") from None
