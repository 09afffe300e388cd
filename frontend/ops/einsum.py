"""Einsum as products of matrices: labels of both operands are batch or summed, the rest rows and columns."""

from __future__ import annotations

import math
from string import ascii_letters

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.frontend.ops.node import Node, Unsupported
from ppc.frontend.ops.structure import reshaped


def einsum(node: Node, *xs: Op) -> Op:
    """Operands are joined from left to right; a label is summed as soon as nothing later reads it."""
    equation = node.get("equation", "")
    terms, result = labels(equation, [x.type.rank for x in xs])
    left, at = xs[0], terms[0]
    left, at = _summed(left, at, _later(terms[1:], result))
    for i in range(1, len(xs)):
        needed = _later(terms[i + 1 :], result)
        right, there = _summed(xs[i], terms[i], needed | set(at))
        left, at = _joined(left, at, right, there, needed)
    if sorted(at) != sorted(result):
        raise Unsupported(f"has a label in its result that no operand has: {equation}")
    return _arranged(left, at, result)


def labels(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """Each operand's labels and the result's, an ellipsis spelled out."""
    text = equation.replace(" ", "")
    inputs, arrow, result = text.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ranks):
        raise Unsupported(f"has {len(ranks)} operands for {equation!r}")
    spare = [each for each in ascii_letters if each not in text]
    bare = [len(term.replace("...", "")) for term in terms]
    widest = max(
        (rank - n for term, rank, n in zip(terms, ranks, bare, strict=True) if "..." in term), default=0
    )
    rest = "".join(spare[: max(0, widest)])
    full = []
    for term, rank, n in zip(terms, ranks, bare, strict=True):
        count = rank - n
        spelled = term.replace("...", rest[len(rest) - count :] if "..." in term else "")
        if len(spelled) != rank or len(set(spelled)) != rank or (rank and not spelled.isalpha()):
            raise Unsupported(f"takes a diagonal, or does not fit its operands: {equation!r}")
        full.append(spelled)
    if arrow:
        return full, result.replace("...", rest)
    once = sorted(each for each in set("".join(full)) - set(rest) if "".join(full).count(each) == 1)
    return full, rest + "".join(once)


def _later(terms: list[str], result: str) -> set[str]:
    return set("".join(terms) + result)


def _summed(x: Op, at: str, needed: set[str]) -> tuple[Op, str]:
    """x without the labels that nothing else reads."""
    gone = tuple(i for i, each in enumerate(at) if each not in needed)
    kept = "".join(each for each in at if each in needed)
    return (ops.ReduceSum(x, gone, False), kept) if gone else (x, at)


def _joined(a: Op, la: str, b: Op, lb: str, needed: set[str]) -> tuple[Op, str]:
    """The product of two operands, and the labels of its axes."""
    shared = [each for each in la if each in lb]
    batch = "".join(each for each in shared if each in needed)
    inner = "".join(each for each in shared if each not in needed)
    rows = "".join(each for each in la if each not in lb)
    columns = "".join(each for each in lb if each not in la)
    size = {**dict(zip(la, a.type.shape, strict=True)), **dict(zip(lb, b.type.shape, strict=True))}
    for each in shared:
        if a.type.shape[la.index(each)] != b.type.shape[lb.index(each)]:
            raise Unsupported(f"gives label {each} two sizes")
    outer = tuple(size[each] for each in batch)

    def count(some: str) -> int:
        return math.prod(size[each] for each in some)

    if inner:
        left = reshaped(_arranged(a, la, batch + rows + inner), (*outer, count(rows), count(inner)))
        right = reshaped(_arranged(b, lb, batch + inner + columns), (*outer, count(inner), count(columns)))
        product: Op = ops.MatMul(left, right)
    else:
        left = reshaped(_arranged(a, la, batch + rows), (*outer, count(rows), 1))
        right = reshaped(_arranged(b, lb, batch + columns), (*outer, 1, count(columns)))
        product = ops.Mul(left, right)
    at = batch + rows + columns
    return reshaped(product, tuple(size[each] for each in at)), at


def _arranged(x: Op, at: str, wanted: str) -> Op:
    return x if at == wanted else ops.Transpose(x, tuple(at.index(each) for each in wanted))
