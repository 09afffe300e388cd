"""What a plan's answers are to a data set: classes, embeddings or next tokens, by output and labels."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from numpy.typing import NDArray

from ppc.runtime.base.errors import BadInput
from ppc.runtime.plan.file import OutputSpec, Plan
from ppc.runtime.service.dataset import DataSet
from ppc.runtime.service.tokens import table_rows

Kind = Literal["classes", "embeddings", "next token"]

FLOAT, SIMULATED, PRIVATE = "float", "simulated", "two parties"
"""Who answers."""

Said = dict[str, dict[int, int]]
"""By who answers, of each row the class or the token."""

SUPPORTED = (
    "Supported are labels of a whole text with one number a class (logits of shape (1, classes), or --reveal "
    "argmax of them); embeddings of shape (1, width), of texts alone or of pairs labelled 0 or 1; and a "
    "decoder's next token, of texts alone."
)


@dataclass(frozen=True)
class Task:
    """``choices``: among how many numbers an answer is a place; of embeddings how wide they are.
    ``places``: the plan tells the place alone."""

    kind: Kind
    output: str
    choices: int
    places: bool

    @staticmethod
    def of(plan: Plan, data: DataSet, output: str | None = None) -> Task:
        """Raises BadInput where output and labels do not fit one another, with what is supported."""
        out = _chosen(plan, output)
        told = plan.choices(out)
        choices = out.shape[-1] if told is None else told
        rows = prod(out.shape) if told is not None else prod(out.shape[:-1])  # of numbers, or of places
        places = told is not None
        if data.labels is None:
            if choices == table_rows(plan.inputs):
                return Task("next token", out.name, choices, places)
            if rows == 1:
                return Task("classes" if places else "embeddings", out.name, choices, places)
            raise BadInput(f"{_said(plan, out)}, a row for each token. {SUPPORTED}")
        if rows > 1:
            raise BadInput(f"{_said(plan, out)}, a row for each token, and a text has one label. {SUPPORTED}")
        if places or choices == len(data.names) > 1:
            return Task("classes", out.name, choices, places)
        if data.pairs is not None and choices > 2 and set(data.labels) <= {0, 1}:
            return Task("embeddings", out.name, choices, places)
        raise BadInput(
            f"{_said(plan, out)}, and {data.path} has labels of {len(data.names)} classes; --labels FILE "
            f"names all that the model knows. {SUPPORTED}"
        )

    def answer(self, value: NDArray[Any], tokens: int) -> NDArray[Any]:
        """Of an output's value the row that counts: its numbers, or a place alone; of a next token the one
        behind the last of ``tokens``."""
        rows = value.reshape(-1, 1 if value.dtype.kind == "i" else value.shape[-1])
        row: NDArray[Any] = rows[tokens - 1 if len(rows) > 1 else 0]
        return row

    def place(self, row: NDArray[Any]) -> int:
        """The class or the token that a row says; the lowest of several."""
        return int(row[0] if len(row) == 1 else row.argmax())


def _chosen(plan: Plan, name: str | None) -> OutputSpec:
    names = ", ".join(each.name for each in plan.outputs)
    if name is None:
        if len(plan.outputs) > 1:
            raise BadInput(f"the plan has several outputs, {names}; say by --output which is evaluated")
        return plan.outputs[0]
    found = next((each for each in plan.outputs if each.name == name), None)
    if found is None:
        raise BadInput(f"the plan has no output {name!r}; it has {names}")
    return found


def _said(plan: Plan, out: OutputSpec) -> str:
    told = plan.choices(out)
    if told is not None:
        return f"output {out.name!r} has {prod(out.shape)} places among {told}"
    return f"output {out.name!r} has shape {out.shape}"
