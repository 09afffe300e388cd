"""Material that is made for several inferences at once, as the pieces of each (`party.ahead`)."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from ..base.ring import Ring


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Made = TypeVar("Made", bound=_Dataclass)


def pieces(made: Made, count: int, axis: int = 0) -> list[Made]:
    """As many equal parts of all its arrays along an axis."""
    parts = (split(getattr(made, each.name), count, axis) for each in fields(made))
    return [type(made)(*each) for each in zip(*parts, strict=True)]


def split(x: Ring | None, count: int, axis: int) -> list[Ring | None]:
    """As many equal parts along an axis, each of which owns its numbers: what is used is let go of."""
    if x is None or count == 1:
        return [x] * count
    return [part.copy() for part in np.split(x, count, axis)]
