import numpy as np
import pytest
from rewriting import graph, inp, num, text

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.passes.rewrite import Refuse, RewriteError, Uses, apply, apply_all

X = inp(2, name="x")


def no_double_negation(op: Op, uses: Uses) -> Op | None:
    match op:
        case ops.Neg(x=ops.Neg(x=x) as inner):
            if uses[inner] > 1:
                raise Refuse(f"{uses[inner]} users")
            return x
    return None


def exp_to_silu(op: Op, uses: Uses) -> Op | None:
    return ops.Silu(op.x) if isinstance(op, ops.Exp) else None


def test_applies_until_nothing_is_left() -> None:
    op: Op = X
    for _ in range(7):
        op = ops.Neg(op)
    done = apply(no_double_negation, graph(op))
    assert text(done.graph) == "%0 = Input(x)\n%1 = Neg(%0)"
    assert done.count == 3


def test_untouched_graphs_stay_identical() -> None:
    g = graph(ops.Tanh(ops.Add(X, num(1))))
    assert apply(no_double_negation, g).graph is g


def test_what_does_not_change_keeps_its_identity() -> None:
    kept = ops.Tanh(X)
    done = apply(exp_to_silu, graph(ops.Add(kept, ops.Exp(X))))
    assert done.graph.outputs["y"].operands[0] is kept


def test_a_refusal_says_where_and_why() -> None:
    inner = ops.Neg(X)
    done = apply(no_double_negation, graph(ops.Neg(inner, name="outer"), inner))
    assert [str(each) for each in done.refusals] == ["Neg outer: 2 users"]
    assert done.count == 0


def test_uses_follow_what_was_rebuilt_below() -> None:
    """The inner Neg is rebuilt, since its operand changes, and is still known to have two users."""
    inner = ops.Neg(ops.Exp(X))

    def both(op: Op, uses: Uses) -> Op | None:
        return exp_to_silu(op, uses) or no_double_negation(op, uses)

    done = apply(both, graph(ops.Neg(inner), inner))
    assert [each.reason for each in done.refusals] == ["2 users"]


def test_a_refusal_that_later_falls_is_not_reported() -> None:
    """The second user is dead once the first rule has done its work."""
    inner = ops.Neg(X)

    def drop(op: Op, uses: Uses) -> Op | None:
        return ops.Tanh(op.a.operands[0]) if isinstance(op, ops.Max) else None

    g = graph(ops.Neg(inner), ops.Max(inner, inner))
    done = apply_all((no_double_negation, drop), g)
    assert done.refusals == ()
    assert text(done.graph) == "%0 = Input(x)\n%1 = Tanh(%0)"


def test_names_go_to_what_takes_the_place() -> None:
    done = apply(exp_to_silu, graph(ops.Exp(X, name="e")))
    assert done.graph.outputs["y"].name == "e"


def test_an_operand_in_the_place_keeps_its_own_name() -> None:
    y = ops.Tanh(X, name="t")
    done = apply(no_double_negation, graph(ops.Neg(ops.Neg(y), name="n")))
    assert done.graph.outputs["y"] is y


def test_a_rule_may_not_change_a_type() -> None:
    def wrong(op: Op, uses: Uses) -> Op | None:
        return ops.Reshape(op.x, (2, 1)) if isinstance(op, ops.Exp) else None

    with pytest.raises(RewriteError, match="another type"):
        apply(wrong, graph(ops.Exp(X)))


def test_a_rule_must_come_to_rest() -> None:
    def forever(op: Op, uses: Uses) -> Op | None:
        return ops.Tanh(op.x) if isinstance(op, ops.Tanh) else None

    def there(op: Op, uses: Uses) -> Op | None:
        return ops.Sigmoid(op.x) if isinstance(op, ops.Tanh) else None

    def back(op: Op, uses: Uses) -> Op | None:
        return ops.Tanh(op.x) if isinstance(op, ops.Sigmoid) else None

    g = graph(ops.Tanh(X))
    with pytest.raises(RewriteError, match="forever still finds work"):
        apply(forever, g)
    with pytest.raises(RewriteError, match="2 rules undo"):
        apply_all((there, back), g)


def test_deep_graphs() -> None:
    op: Op = X
    for _ in range(3000):
        op = ops.Tanh(op)
    assert len(text(apply(no_double_negation, graph(op)).graph).splitlines()) == 3001
    assert np.isfinite(len(repr(op)))
