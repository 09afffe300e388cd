"""What a classifier's outputs say: labels, each with its probability, or the likeliest alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..base.errors import BadInput
from ..plan.file import Plan


class Label(TypedDict):
    label: str


class Guess(Label, total=False):
    """A label that was told alone has no probability."""

    probability: float


class Row(TypedDict):
    """The labels of one row of logits, the likeliest first, or that one alone; ``at`` is where it stands in
    the output."""

    at: tuple[int, ...]
    labels: list[Guess]


@dataclass(frozen=True)
class Labels:
    """``each``: whether every label is true or false by itself, and probabilities do not add up to one.
    ``places``: the outputs that are places of labels instead of numbers for all."""

    names: tuple[str, ...]
    each: bool = False
    places: frozenset[str] = frozenset()

    @staticmethod
    def read(path: Path) -> Labels:
        """A model's config.json, JSON of names (a list, or an object by number), or text, a name a line.

        Raises BadInput, naming the file.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise BadInput(f"{path}: neither JSON nor text, a label a line") from None
        try:
            document: object = json.loads(text)
        except (ValueError, RecursionError):
            if path.suffix == ".json":
                raise BadInput(f"{path}: not readable as JSON") from None
            document = [line.strip() for line in text.splitlines() if line.strip()]
        return _of(path, document)

    def fitted(self, plan: Plan) -> Labels:
        """The same for the plan's outputs. Raises BadInput where none is about as many labels."""
        about = {spec.name: plan.choices(spec) for spec in plan.outputs}
        places = frozenset(name for name, choices in about.items() if choices == len(self.names))
        logits = (spec.shape for spec in plan.outputs if about[spec.name] is None)
        if not places and not any(_fits(self, shape) for shape in logits):
            held = ", ".join(
                f"{spec.name} {spec.shape if about[spec.name] is None else f'of {about[spec.name]} labels'}"
                for spec in plan.outputs
            )
            raise BadInput(f"{len(self.names)} labels, and no output has as many on its last axis: {held}")
        return replace(self, places=places)

    def of(self, outputs: Mapping[str, NDArray[Any]]) -> dict[str, list[Row]]:
        """Of each output that holds logits, one number a label on its last axis, or a label's place, its
        rows."""
        found = {}
        for name, value in outputs.items():
            if name in self.places and value.dtype.kind == "i":
                found[name] = self._told(value)
            elif name not in self.places and _fits(self, value.shape):
                found[name] = self._rows(value)
        return found

    def _told(self, places: NDArray[Any]) -> list[Row]:
        found = []
        for at in np.ndindex(places.shape):
            row: Row = {"at": at, "labels": [{"label": self.names[int(places[at])]}]}
            found.append(row)
        return found

    def _rows(self, logits: NDArray[Any]) -> list[Row]:
        found = []
        for at in np.ndindex(logits.shape[:-1]):
            chances = self._probabilities(np.asarray(logits[at], np.float64))
            order = np.argsort(-chances, kind="stable")
            guesses: list[Guess] = [{"label": self.names[i], "probability": float(chances[i])} for i in order]
            row: Row = {"at": at, "labels": guesses}
            found.append(row)
        return found

    def _probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.each or len(self.names) == 1:
            return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits))  # 1 / (1 + e^-x), without its overflow
        raised: NDArray[np.float64] = np.exp(logits - logits.max())
        return np.asarray(raised / raised.sum())


def _of(path: Path, document: object) -> Labels:
    each = False
    if isinstance(document, dict):
        each = document.get("problem_type") == "multi_label_classification"
        names = document.get("id2label", document)
        if not isinstance(names, dict) or set(names) != {str(i) for i in range(len(names))}:
            raise BadInput(f"{path}: no labels by number, 0 and up, under id2label or by themselves")
        document = [names[str(i)] for i in range(len(names))]
    if not isinstance(document, list) or not document or not all(isinstance(name, str) for name in document):
        raise BadInput(f"{path}: no list of labels")
    return Labels(tuple(document), each)


def _fits(labels: Labels, shape: tuple[int, ...]) -> bool:
    return bool(shape) and shape[-1] == len(labels.names)
