"""Token after token: which program of a plan comes next, what its inputs are, and when it is over.

A plan that generates has programs of two kinds among its lengths. A *prompt* reads no rows and begins anew;
it keeps as many as it is long, of which padding stands in front. A *step* reads what is kept, up to so many
rows, and adds one. How many rows there are both sides know; which of them are padding, and the place of a
token, the client tells by the mask and the positions alone, which are its own. To a model that knows but
distances a place may as well be the row's number: places are public then, and turning by them costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

import numpy as np

from ..base.errors import BadInput
from ..plan.file import InputSpec, Outputs, Plan
from .sampling import Sampler
from .tokens import Feeds, meaning


class Answered(Protocol):
    @property
    def outputs(self) -> Outputs | None: ...


Answer = TypeVar("Answer", bound=Answered)


@dataclass(repr=False)
class Rows:
    """What the client knows of the rows that are kept: which are tokens, and what places count."""

    tokens: list[bool] = field(default_factory=list)
    counting: Literal["tokens", "rows"] = "tokens"

    def __repr__(self) -> str:
        return f"Rows({len(self.tokens)}, <secret>)"

    def feeds(self, inputs: Sequence[InputSpec], held: int, added: int, ids: Sequence[int]) -> Feeds:
        """The inputs of a program over ``held`` rows that adds ``added``, of which ``ids`` are the last.

        Raises BadInput for an input that does not come of tokens.
        """
        padding = added - len(ids)
        place = len(self.tokens) + padding if self.counting == "rows" else sum(self.tokens)
        rows = {
            "ids": [*[0] * padding, *ids],
            "mask": [*self.tokens, *[0] * (held - len(self.tokens) + padding), *[1] * len(ids)],
            "places": [*[0] * padding, *range(place, place + len(ids))],
            "types": [0] * added,
        }
        feeds = {}
        for spec in inputs:
            row = np.array(rows.get(meaning(spec.name) or "", ()), np.int64)
            if row.size != np.prod(spec.shape):
                raise BadInput(
                    f"input {spec.name!r} of shape {spec.shape} is not ids, mask or positions of one text"
                )
            feeds[spec.name] = row.reshape(spec.shape)
        return feeds

    def add(self, added: int, count: int) -> None:
        """A program has kept ``added`` rows, of which the last ``count`` are tokens."""
        self.tokens += [False] * (added - count) + [True] * count


def generates(plan: Plan) -> None:
    """Raises BadInput for a plan that does not."""
    if not plan.states.added:
        raise BadInput("this plan keeps nothing from run to run; compile the model with --generate")


def longest(plan: Plan, prompt: int) -> int:
    """How many tokens can follow a prompt of so many.

    Raises BadInput where the plan does not hold it, or does not generate.
    """
    generates(plan)
    held = max(each.states.held for each in plan.lengths)
    rows = _next(plan, 0, prompt).states.added
    return held - rows + 2 if held >= rows else 1


def decode(
    plan: Plan,
    ids: Sequence[int],
    most: int,
    answer: Callable[[Plan, Feeds], Answer],
    pick: Callable[[Outputs], int],
    stop: frozenset[int] = frozenset(),
) -> Iterator[tuple[int, Answer]]:
    """Up to ``most`` tokens after ``ids``, to one of ``stop`` and with it; each with its answer.

    ``answer`` runs a program of the plan, one after the other. Raises BadInput, before the first, for a
    prompt that is too long for the plan, by itself or with ``most`` tokens behind it, and for a plan that
    leaves a sampler nothing to draw from.
    """
    if not ids:
        raise BadInput("the prompt has no token")
    if isinstance(pick, Sampler):
        pick.check(plan)
    return _decoded(plan, programs(plan, len(ids), most), ids, answer, pick, stop)


def programs(plan: Plan, prompt: int, most: int) -> Iterator[Plan]:
    """The plans of ``most`` tokens after a prompt of so many, in order: what is carried on decides which.

    Raises BadInput where the plan does not hold them, or does not generate.
    """
    room = longest(plan, prompt)
    if most > room:
        raise BadInput(
            f"{most} tokens after a prompt of {prompt} are more than the {room} that the plan holds; "
            "compile with a larger --max-tokens"
        )
    return _programs(plan, prompt, most)


def _programs(plan: Plan, prompt: int, most: int) -> Iterator[Plan]:
    rows, new = 0, prompt
    for _ in range(most):
        length = _next(plan, rows, new)
        yield length
        rows, new = rows + length.states.added, 1


def _decoded(
    plan: Plan,
    lengths: Iterator[Plan],
    ids: Sequence[int],
    answer: Callable[[Plan, Feeds], Answer],
    pick: Callable[[Outputs], int],
    stop: frozenset[int],
) -> Iterator[tuple[int, Answer]]:
    rows, new = Rows(counting=plan.options.places), ids
    for length in lengths:
        held, added = length.states.held, length.states.added
        found = answer(length, rows.feeds(length.inputs, held, added, new))
        rows.add(added, len(new))
        outputs = found.outputs
        assert outputs is not None
        token = pick(outputs)
        yield token, found
        if token in stop:
            return
        new = [token]


def _next(plan: Plan, rows: int, count: int) -> Plan:
    """The smallest program for ``count`` tokens after ``rows``."""
    fits = [
        each
        for each in plan.lengths
        if each.states.added >= count and (each.states.held >= rows if rows else each.states.held == 0)
    ]
    if not fits:
        longest = max(each.states.added for each in plan.lengths)
        raise BadInput(
            f"the prompt has {count} tokens, the plan holds {longest}; compile with a longer --prompt-len"
        )
    return min(fits, key=lambda each: (each.states.held, each.states.added))
