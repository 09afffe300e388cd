"""What would make a plan cheaper: by how much where the plan itself tells, and no number where it does not.

Savings are of a connection's first inference over the network asked for, with nothing prepared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ppc.backend.cost import Prediction
from ppc.backend.document import Saving
from ppc.runtime.cost.forecast import predict_time
from ppc.runtime.party.role import Role
from ppc.runtime.plan.file import OutputSpec, Plan
from ppc.runtime.plan.steps import Maximum, Spline
from ppc.runtime.session.connection import FRESH, PREPARED, Program
from ppc.runtime.session.engines import Ready


def cheaper(plan: Plan, whole: Prediction, elsewhere: Sequence[Prediction] = ()) -> list[Saving]:
    """What could be done, and what it saves of ``whole``, which is what `cost.predict_seconds` says.

    ``elsewhere`` says the same of other networks.
    """
    found = [_prepared(plan, whole), *_again(plan, whole), *_over(elsewhere, whole), *_shorter(plan, whole)]
    found += [_without(plan, out, whole) for out in plan.outputs if len(plan.outputs) > 1]
    return [*found, _functions(plan, whole)]


def _less(whole: Prediction, size: int, seconds: float, what: str, how: str) -> Saving:
    """Where ``size`` bytes and ``seconds`` are left."""
    return {"what": what, "how": how, "bytes": whole.bytes - size, "seconds": whole.seconds - seconds}


def _left(plan: Plan, whole: Prediction, program: Program = FRESH) -> tuple[int, float]:
    """Bytes and seconds of another program, or another plan."""
    rows = predict_time(plan, whole.rates, whole.network, program).ledger.rows.values()
    return sum(row.bytes for row in rows), sum(row.seconds for row in rows)


def _prepared(plan: Plan, whole: Prediction) -> Saving:
    how = "ppc prepare: less to wait for once there is a question; it is done before"
    return _less(whole, *_left(plan, whole, PREPARED), "prepare beforehand", how)


def _again(plan: Plan, whole: Prediction) -> Iterable[Saving]:
    """Who generates keeps the connection anyway."""
    if not plan.states.added:
        ready = Ready(frozenset(Role), frozenset(each.params for each in plan.products))
        left = _left(plan, whole, Program(further=True, ready=ready))
        how = "--text-file, or run_all: every inference but the first goes without setup"
        yield _less(whole, *left, "keep the connection", how)


def _over(elsewhere: Iterable[Prediction], whole: Prediction) -> Iterable[Saving]:
    """Between two machines that are better connected."""
    for other in elsewhere:
        if other.seconds < whole.seconds and not other.network.one_machine:
            what = f"run over a {other.network.name}"
            yield _less(whole, other.bytes, other.seconds, what, f"{other.network}")


def _shorter(plan: Plan, whole: Prediction) -> Iterable[Saving]:
    """Lengths that the plan has."""
    if plan.states.added or plan.options.seq_len is None:
        return
    for each in reversed(plan.shorter):
        what = f"a prompt of up to {each.options.seq_len} tokens"
        yield _less(whole, *_left(each, whole), what, "the plan has this length, and takes it by itself")
    if not plan.shorter:
        how = f"compile with --seq-len: this plan has {plan.options.seq_len} alone, and pads to it"
        yield {"what": "shorter lengths", "how": how, "bytes": None, "seconds": None}


def _without(plan: Plan, out: OutputSpec, whole: Prediction) -> Saving:
    """What only this output needs; what the guard watches there goes with it."""
    needed = _behind(plan, (other.value for other in plan.outputs if other != out))
    own = [i for i in _behind(plan, [out.value]) if i not in needed]
    rows = [whole.rows[plan.place(phase, i)] for phase in ("offline", "online") for i in own]
    return {
        "what": f"leave out the output {out.name}",
        "how": "compile with --output for the others: what its own steps cost",
        "bytes": sum(row.bytes for row in rows),
        "seconds": sum(row.seconds for row in rows),
    }


def _behind(plan: Plan, values: Iterable[int]) -> set[int]:
    """The steps of which these values are made."""
    found, left = set[int](), list(values)
    while left:
        i = left.pop()
        if i not in found:
            found.add(i)
            left += plan.steps[i].reads()
    return found


def _functions(plan: Plan, whole: Prediction) -> Saving:
    """What others would save depends on what stands in their place, of which this plan knows nothing."""
    of = [i for i, step in enumerate(plan.steps) if isinstance(step, Spline | Maximum)]
    taken = sum(whole.rows[plan.place(phase, i)].bytes for phase in ("offline", "online") for i in of)
    how = f"--profile or ppc tune: splines and maxima say {taken / 1e6:.2f} of {whole.bytes / 1e6:.2f} MB"
    return {"what": "cheaper functions", "how": how, "bytes": None, "seconds": None}
