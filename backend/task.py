"""What a plan's answers are to a data set: classes of texts or of their tokens, embeddings or next
tokens, by output and labels."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from numpy.typing import NDArray

from ppc.runtime.base.errors import BadInput
from ppc.runtime.plan.file import OutputSpec, Plan
from ppc.runtime.service.dataset import DataSet
from ppc.runtime.service.tokens import table_rows

Kind = Literal["classes", "token classes", "embeddings", "next token"]

FLOAT, SIMULATED, PRIVATE = "float", "simulated", "two parties"
"""Who answers."""

Places = tuple[int, ...]

Said = dict[str, dict[int, Places]]
"""By who answers, of each row the class or the token, or the class of each of its tokens."""

SUPPORTED = (
    "Supported are labels of a whole text with one number a class (logits of shape (1, classes), or --reveal "
    "argmax of them); a label for each word, blanks between, with such a row for each token; embeddings of "
    "shape (1, width), of texts alone or of pairs labelled 0 or 1; and a decoder's next token, of texts."
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
        if data.words is not None:
            if rows > 1 and (places or choices == len(data.names) > 1):
                return Task("token classes", out.name, choices, places)
        elif data.labels is None:
            if choices == table_rows(plan.inputs):
                return Task("next token", out.name, choices, places)
            if rows == 1:
                return Task("classes" if places else "embeddings", out.name, choices, places)
            if choices == len(data.names):
                return Task("token classes", out.name, choices, places)
            raise BadInput(
                f"{_said(plan, out)}, a row for each token; where they are classes of tokens, --labels FILE "
                f"says so by their names. {SUPPORTED}"
            )
        elif rows > 1:
            raise BadInput(
                f"{_said(plan, out)}, a row for each token, and a text has one label{_odd(data)}. {SUPPORTED}"
            )
        elif places or choices == len(data.names) > 1:
            return Task("classes", out.name, choices, places)
        elif data.pairs is not None and choices > 2 and set(data.labels) <= {0, 1}:
            return Task("embeddings", out.name, choices, places)
        raise BadInput(
            f"{_said(plan, out)}, and {data.path} has labels of {len(data.names)} classes; --labels FILE "
            f"names all that the model knows. {SUPPORTED}"
        )

    @property
    def labelled(self) -> bool:
        """Whether labels say what an answer should have been."""
        return self.kind in ("classes", "token classes")

    def answer(self, value: NDArray[Any], tokens: int) -> NDArray[Any]:
        """Of an output's value the rows that count: their numbers, (rows, choices), or places, (rows, 1).

        There is one, of a next token that behind the last of ``tokens``; or of each token one.
        """
        rows = value.reshape(-1, 1 if value.dtype.kind == "i" else value.shape[-1])
        if self.kind == "token classes":
            return rows[:tokens]
        return rows[[tokens - 1 if len(rows) > 1 else 0]]

    def said(self, rows: NDArray[Any]) -> Places:
        """The class or the token that each of the rows says; the lowest of several."""
        return tuple((rows[:, 0] if rows.shape[1] == 1 else rows.argmax(axis=1)).astype(int).tolist())


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


def _odd(data: DataSet) -> str:
    """Where most cells have a label for each word, the first that has not."""
    cells = [data.names[label].split() for label in data.labels or ()]
    counts = list(zip(data.lines, map(len, cells), (len(text.split()) for text in data.texts), strict=True))
    odd = [
        f"; line {line} has {words} words and {labels} labels"
        for line, labels, words in counts
        if labels != words
    ]
    return odd[0] if 0 < len(odd) <= len(counts) // 2 else ""


def _said(plan: Plan, out: OutputSpec) -> str:
    told = plan.choices(out)
    if told is not None:
        return f"output {out.name!r} has {prod(out.shape)} places among {told}"
    return f"output {out.name!r} has shape {out.shape}"
