import pytest
from rewriting import graph, inp, num, row

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Input, Op, Owner
from ppc.passes.owners import Owners, owners

P, S, C, B = Owner.PUBLIC, Owner.SERVER, Owner.CLIENT, Owner.SHARED

X = inp(3)
WEIGHT = row(1, 2, 3)


@pytest.mark.parametrize(
    ("a", "b", "joined"),
    [
        (P, P, P), (P, S, S), (P, C, C), (P, B, B), (S, S, S),
        (C, C, C), (S, C, B), (S, B, B), (C, B, B), (B, B, B),
    ],
)  # fmt: skip
def test_join(a: Owner, b: Owner, joined: Owner) -> None:
    assert a | b is joined
    assert b | a is joined


def test_leaves() -> None:
    public = Input((3,), FLOAT, True, name="p")
    found = owners(graph(ops.Add(ops.Add(X, public), ops.Add(WEIGHT, num(1)))))
    leaves = {type(op).__name__ + op.name: owner for op, owner in found.items() if not op.operands}
    assert leaves == {"Inputx": C, "Inputp": P, "Const": P}
    assert found[WEIGHT] is S


def test_the_clients_own_arithmetic_stays_its_own() -> None:
    mask = ops.Mul(ops.Sub(num(1), X), num(-1e4))
    scores = ops.Mul(X, WEIGHT)
    out = ops.Add(scores, mask)
    found = owners(graph(out))
    assert (found[mask], found[scores], found[out]) == (C, B, B)


def test_the_servers_own_arithmetic_stays_its_own() -> None:
    folded = ops.Mul(WEIGHT, num(2))
    assert owners(graph(ops.Add(X, folded)))[folded] is S


def test_a_public_input_with_a_weight_is_the_servers() -> None:
    public = Input((3,), FLOAT, True, name="p")
    out = ops.Mul(public, WEIGHT)
    assert owners(graph(out))[out] is S


def test_asking_one_by_one_gives_the_same_however_deep() -> None:
    out: Op = ops.Mul(X, WEIGHT)
    for _ in range(5000):
        out = ops.Add(out, X)
    lazy = Owners()
    assert lazy.shared(out)
    assert dict(lazy) == owners(graph(out))
    assert lazy[ops.Add(out, num(1))] is B
