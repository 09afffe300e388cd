"""What the tests of rewriting passes share: small graphs, and the check that a value has not changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input, Num, Op, walk
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.ir.text import show
from ppc.passes.rewrite import Rewritten


def inp(*shape: int, name: str = "x", num: Num = FLOAT) -> Input:
    return Input(shape, num, name=name)


def num(value: float) -> ops.Const:
    return ops.Const(np.asarray(value, np.float64))


def row(*values: float, secret: bool = True) -> ops.Const:
    return ops.Const(np.asarray(values, np.float32), secret)


def graph(*outputs: Op) -> Graph:
    """Outputs y, y1, y2, …, and the inputs they are made of."""
    named = {f"y{i or ''}": op for i, op in enumerate(outputs)}
    found = walk_inputs(*outputs)
    return Graph(found, named)


def walk_inputs(*outputs: Op) -> tuple[Input, ...]:
    seen: dict[Input, None] = {}
    stack = list(outputs)
    done: set[Op] = set()
    while stack:
        op = stack.pop()
        if op in done:
            continue
        done.add(op)
        if isinstance(op, Input):
            seen[op] = None
        stack.extend(op.operands)
    return tuple(sorted(seen, key=lambda each: each.name))


def text(g: Graph) -> str:
    """The printed graph without types and names, one op after the other."""
    lines = [line.split(" : ")[0] for line in show(g, names=False).splitlines()]
    return "\n".join(line for line in lines if not line.startswith("return"))


def becomes(rewrite: Callable[[Graph], Rewritten], before: Graph, expected: str) -> Graph:
    """Rewrites, compares the print, and checks on random inputs that the outputs are what they were."""
    after = rewrite(before).graph
    assert text(after) == expected.strip(), text(after)
    same_value(before, after)
    return after


def same_value(before: Graph, after: Graph, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    feeds = {each.name: _random(random, each) for each in before.inputs}
    old, new = evaluate(before, feeds), evaluate(after, feeds)
    assert old.keys() == new.keys()
    for name in old:
        np.testing.assert_allclose(new[name], old[name], rtol=1e-5, atol=1e-6)


def _random(random: np.random.Generator, x: Input) -> np.ndarray:
    if x.num == FLOAT:
        return random.uniform(0.2, 2.0, x.shape) * random.choice([-1, 1], x.shape)
    return random.integers(0, 2, x.shape)


def refuses(rewrite: Callable[[Graph], Rewritten], before: Graph, *reasons: str) -> None:
    """Nothing happens, for exactly these reasons (parts of them)."""
    done = rewrite(before)
    assert done.count == 0, text(done.graph)
    assert done.graph is before
    assert len(done.refusals) == len(reasons), [str(each) for each in done.refusals]
    for refusal, reason in zip(done.refusals, reasons, strict=True):
        assert reason in refusal.reason


def kinds(g: Graph) -> list[str]:
    return [type(op).__name__ for op in walk(g)]
