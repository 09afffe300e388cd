"""Calibration data from texts: what a model that is not compiled yet would be given for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppc.frontend.ir.graph import Graph
from ppc.runtime.plan.file import InputSpec
from ppc.runtime.service.dataset import DataSet
from ppc.runtime.service.tokens import Encoder, Feeds

ROWS = 64
"""Samples that are taken of a larger set."""

_READ = 2000
"""Texts of which they are chosen, at most."""


@dataclass(frozen=True, repr=False)
class TextSamples:
    """``data`` as samples: what is short and what is long drives different values far, so that of more texts
    than ``rows`` those are taken that divide them evenly by tokens, the shortest and the longest too."""

    data: DataSet
    tokenizer: Path
    rows: int = ROWS

    def of(self, graph: Graph) -> list[Feeds]:
        """Inputs of ``graph``, those of long texts cut. Raises BadInput for inputs that are not of text, and
        for a text without tokens, by its line."""
        inputs = tuple(InputSpec(each.name, each.shape, "int") for each in graph.inputs)
        encoder = Encoder(self.tokenizer, [inputs])
        some = self.data.some(_spread(len(self.data), _READ))
        encoded = sorted(some.encoded(encoder, truncate=True), key=lambda each: len(each.ids))
        return encoder.feeds([encoded[i] for i in _spread(len(encoded), self.rows)], alike=False)


def _spread(count: int, most: int) -> list[int]:
    """At most so many places of a row, the first and the last among them."""
    return [round(x) for x in np.linspace(0, count - 1, min(count, most))]
