import pytest
from rewriting import inp, num, row

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.passes.pattern import close, is_all, polynomial, same_polynomial, scaled

X = inp(2, 3)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (X, {1: 1}),
        (num(3), {0: 3}),
        (num(0), {}),
        (ops.Add(ops.Mul(X, num(2)), num(3)), {0: 3, 1: 2}),
        (ops.Sub(X, ops.Mul(X, num(1))), {}),
        (ops.Mul(ops.Square(X), ops.Neg(X)), {3: -1}),
        (ops.Square(ops.Add(X, num(1))), {0: 1, 1: 2, 2: 1}),
        (ops.Square(ops.Square(X)), None),
        (ops.Tanh(X), None),
        (ops.Add(X, inp(2, 3, name="z")), None),
        (ops.Mul(X, row(1, 2, 3)), None),
    ],
    ids=str,
)
def test_polynomial(op: Op, expected: dict[int, float] | None) -> None:
    assert polynomial(op, X) == expected


def test_a_large_sum_is_given_up_early() -> None:
    op: Op = X
    for _ in range(60):
        op = ops.Add(op, op)
    assert polynomial(op, X) is None


def test_same_polynomial() -> None:
    assert same_polynomial({1: 0.70711}, {1: 0.70710678})
    assert not same_polynomial({1: 0.708}, {1: 0.70710678})
    assert not same_polynomial({1: 0.70711, 2: 1e-9}, {1: 0.70710678})
    assert not same_polynomial(None, {1: 1})


def test_scaled() -> None:
    tripled = ops.Mul(X, num(3))
    op = ops.Neg(tripled)
    assert list(scaled(op)) == [(1, op), (-1, tripled), (-3, X)]
    widened = ops.Mul(inp(1), ops.Const(row(3).value.reshape(1, 1)))
    assert list(scaled(widened)) == [(1, widened)]


def test_constants() -> None:
    assert close(0.70711, 0.70710678)
    assert not close(0.7, 0.70710678)
    assert not close(None, 1)
    assert is_all(row(1, 1, secret=False), 1)
    assert not is_all(row(1, 1), 1)
    assert not is_all(row(1, 2, secret=False), 1)
    assert not is_all(X, 1)
