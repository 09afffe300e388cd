"""Rows that are zero but in one place, by which a look-up multiplies a table: known by the place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True, eq=False, repr=False)
class OneHotRows:
    """(…, depth), where row i holds ``value`` at place ``ids[i]`` and zeros.

    numpy reads it as the array that it stands for: `np.asarray` writes it out.
    """

    ids: NDArray[np.int64]  # in [0, depth)
    depth: int
    value: int = 1

    def __repr__(self) -> str:
        return f"OneHotRows({self.shape}, <secret>)"

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.ids.shape, self.depth)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[np.int64]:
        rows = np.zeros(self.shape, np.int64 if dtype is None else dtype)
        np.put_along_axis(rows, self.ids[..., None], self.value, axis=-1)
        return rows
