"""Additive shares. A share knows its format; mixing formats raises; printing one shows no secret."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from .ring import Fixed, Ring


@dataclass(frozen=True, eq=False, repr=False)
class Share:
    """One party's additive share of a tensor over Z/2^bits.

    ``data`` is None while a program is priced: then only formats and shapes flow.
    """

    num: Fixed
    shape: tuple[int, ...]
    data: Ring | None

    def __post_init__(self) -> None:
        if self.data is not None and self.data.shape != self.shape:
            raise ValueError(f"a share of shape {self.shape} got data of shape {self.data.shape}")

    def __repr__(self) -> str:
        return f"Share({self.num}, {self.shape}, <secret>)"

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def ring(self) -> Ring:
        """The data; only for local work, which never happens while pricing."""
        if self.data is None:
            raise RuntimeError("a priced program has no data")
        return self.data

    def like(self, data: Ring | None, num: Fixed | None = None) -> Share:
        return Share(num or self.num, self.shape, data)


def share_of(num: Fixed, data: Ring | None, shape: tuple[int, ...]) -> Share:
    return Share(num, shape, None if data is None else np.ascontiguousarray(num.wrap(data)))
