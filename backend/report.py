"""What a plan says of itself: cost by step, formats, and who sees what."""

from __future__ import annotations

import msgspec

from ppc.backend.cheaper import cheaper
from ppc.backend.cost import Prediction, following, predict_over
from ppc.backend.critical_path import critical_path
from ppc.backend.document import (
    OverNetwork,
    PhaseCost,
    ProductUsed,
    Saving,
    Seen,
    StepCost,
    StepRow,
    Summary,
    Throughput,
    Together,
)
from ppc.backend.public import groups, names, public_numbers
from ppc.backend.why import reasons, text
from ppc.runtime.he.product import Product
from ppc.runtime.net.network import LAN, LOOPBACK, WAN, Network
from ppc.runtime.party.ledger import PHASES, Phase
from ppc.runtime.plan.file import OutputSpec, Plan
from ppc.runtime.plan.steps import Encode, Guard, Linear, MatMul, Maximum, Spline, Step
from ppc.runtime.session.inputs import prompts

SHOWN = (LOOPBACK, LAN, WAN)
"""Networks that stand side by side, whichever is asked for."""


def summary(plan: Plan, network: Network = LAN) -> Summary:
    """The plan as one JSON document: totals, steps with price and format, products under HE, reveals.

    Bytes and flights are what a run will measure; seconds are predicted for ``network`` (`cost`).
    """
    cost, *others = predict_over(plan, [network, *(each for each in SHOWN if each != network)])
    chain, along = critical_path(plan, cost.rows)
    return {
        "plan": plan.hash,
        "model": plan.model,
        "profile": plan.profile,
        "options": msgspec.to_builtins(plan.options),
        "inputs": [
            {
                "name": i.name,
                "shape": i.shape,
                "kind": i.kind,
                "low": i.low,
                "high": i.high,
                "bound": i.bound,
            }
            for i in plan.inputs
        ],
        "outputs": [{"name": o.name, "shape": o.shape, "choices": plan.choices(o)} for o in plan.outputs],
        "network": {"name": cost.network.name, "bandwidth": cost.network.bandwidth, "rtt": cost.network.rtt},
        "rates": {"where": cost.rates.where, "machine": cost.rates.machine, "date": cost.rates.date},
        "predicted": {phase: _phase(cost, phase) for phase in PHASES},
        "together": (together := _together(plan, cost)),
        "networks": [_over(each) for each in sorted([cost, *others], key=_shown)],
        "prompts_a_minute": _throughput(plan, cost, together),
        "cheaper": cheaper(plan, cost, others),
        "critical_path": {"flights": chain, "steps": [plan.label(i) for i in along]},
        "lengths": [each.options.seq_len for each in plan.lengths],
        "steps": [_row(plan, i, step, cost) for i, step in enumerate(plan.steps)],
        "why": reasons(plan),
        "who_sees_what": who_sees_what(plan),
        "public": public_numbers(plan),
        "names": sorted(names(plan)),
    }


def who_sees_what(plan: Plan) -> list[Seen]:
    """Every kind of value and who learns it; the last rows are the reveals."""
    secret = sum(_size(w.shape) for w in plan.weights)
    norms = "the largest column norm of each weight matrix to a power of two, and each weight's bits"
    rows: list[Seen] = [
        {"value": "graph, operators, shapes, formats, knots of splines", "seen_by": "both"},
        {"value": f"size of the errors: {norms}", "seen_by": "both"},
        {"value": _named(plan), "seen_by": "both"},
    ]
    rows += [{"value": f"of the model: {each}", "seen_by": "both"} for each in groups(public_numbers(plan))]
    rows += [
        {
            "value": f"{secret:,} weights in {len(plan.weights)} tensors, look-up tables included",
            "seen_by": "server",
        },
    ]
    rows += [{"value": f"input {i.name} {list(i.shape)}", "seen_by": "client"} for i in plan.inputs]
    encoded = sum(isinstance(s, Encode) for s in plan.steps)
    rows.append({"value": f"{encoded} values that the client computes alone", "seen_by": "client"})
    rows.append({"value": "every value between input and output", "seen_by": "nobody (shares)"})
    if plan.states.added:
        kept = f"{len(plan.states.kinds)} states, which grow by a row a token"
        rows.append({"value": kept, "seen_by": "nobody (shares)"})
        rows.append({"value": "number of tokens, and when each is asked for", "seen_by": "both"})
    rows += [
        {"value": f"output {o.name} {list(o.shape)}: {_told(plan, o)}", "seen_by": "client"}
        for o in plan.outputs
    ]
    if plan.guard is not None:
        rows.append({"value": _guarded(plan), "seen_by": "client"})
    return rows


_FEW = 3


def _named(plan: Plan) -> str:
    said = sorted(names(plan))
    shown = f"{', '.join(said[:_FEW])}{', …' if len(said) > _FEW else ''}"
    return f"names of {len(said):,} tensors, all in --json: {shown}; and of the model: {plan.model or 'none'}"


def _told(plan: Plan, out: OutputSpec) -> str:
    choices = plan.choices(out)
    return "revealed" if choices is None else f"which of {choices:,} is the largest, and no number"


def _guarded(plan: Plan) -> str:
    step = plan.steps[plan.guard or 0]
    assert isinstance(step, Guard)
    bits = f"{step.groups} bits" if step.groups > 1 else "a bit"
    return f"whether {len(step.watched)} watched tensors kept to their limits: {bits}, revealed"


def describe(plan: Plan, network: Network = LAN) -> str:
    """The same for people, as text."""
    doc = summary(plan, network)
    lines = [f"plan {plan.hash[:12]}  {plan.model}  profile {plan.profile}{_options(plan)}", ""]
    lines.append(
        f"{'step':<52}{'format':>9}  {'offline':>11}{'fl':>4}{'ms':>8}  {'online':>11}{'fl':>4}{'ms':>8}"
    )
    for row in doc["steps"]:
        off, on = row["offline"], row["online"]
        if not (off["bytes"] or on["bytes"]):
            continue
        label = row["step"] if len(row["step"]) < 52 else row["step"][:20] + "…" + row["step"][-30:]
        note = f"  {row['note']}" if row["note"] else ""
        lines.append(f"{label:<52}{row['format']:>9}{_columns(off)}{_columns(on)}{note}")
    rates = doc["rates"]
    lines += ["", f"predicted for {network}, {rates['where']} ({rates['machine']}, {rates['date']})"]
    for phase, cost in doc["predicted"].items():
        parts = "  ".join(f"{name} {cost['parts'][name]:.2f}" for name in ("work", "bytes", "round trips"))
        seconds = f"{cost['seconds']:8.2f} s {rates['where']} ({parts})"
        lines.append(
            f"{phase:>8}: {seconds}  client sends {cost['client'] / 1e6:.2f} MB, "
            f"server {cost['server'] / 1e6:.2f} MB, {cost['flights']} flights"
        )
    lines.append(f"{'in all':>8}: {_side_by_side(doc)}")
    if mean := doc["together"]:
        lines.append(
            f"{'mean':>8}: {mean['bytes'] / 1e6:.2f} MB, {mean['seconds']:.2f} s of {mean['inferences']} in "
            "a row, without setup: above is the first, which makes products for all"
        )
    rate = doc["prompts_a_minute"]
    at_once = f", {rate['together']} at a time" if rate["together"] > 1 else ""
    lines.append(f"{'a minute':>8}: {rate['fresh']:.3g} prompts{at_once}; prepared {rate['prepared']:.3g}")
    chain = doc["critical_path"]["flights"]
    lines.append(f"{'':>8}  {chain} of the online flights are on the critical path of the steps")
    if plan.shorter:
        lines.append(f"{'':>8}  for the greatest of the lengths {', '.join(map(str, doc['lengths']))}")
    lines += ["", "cheaper: MB and seconds saved of a first inference", *map(_saved, doc["cheaper"])]
    lines += ["", *text(doc["why"]), "", "who sees what"]
    lines += [f"  {row['seen_by']:<16} {row['value']}" for row in doc["who_sees_what"]]
    return "\n".join(lines)


def _together(plan: Plan, first: Prediction) -> Together | None:
    """What inferences cost in the mean of which ``first`` makes the material of all."""
    if (program := following(plan)) is None:
        return None
    (other,) = predict_over(plan, [first.network], first.rates, program)
    count, size, seconds = plan.options.together, 0.0, 0.0
    for each, weight in ((first, 1 / count), (other, 1 - 1 / count)):
        size += weight * sum(row.bytes for place, row in each.rows.items() if place.phase != "setup")
        seconds += weight * sum(each.phases[phase].seconds for phase in ("offline", "online"))
    return Together(inferences=count, bytes=round(size), seconds=seconds)


def _throughput(plan: Plan, cost: Prediction, mean: Together | None) -> Throughput:
    online, offline = (cost.phases[phase].seconds for phase in ("online", "offline"))
    each = offline + online if mean is None else mean["seconds"]
    together = prompts(plan)
    fresh, prepared = (60 * together / max(seconds, 1e-9) for seconds in (each, online))
    return Throughput(together=together, fresh=fresh, prepared=prepared)


def _side_by_side(doc: Summary) -> str:
    size = sum(cost["client"] + cost["server"] for cost in doc["predicted"].values())
    seconds = "  ".join(f"{each['name']} {each['seconds']:.2f} s" for each in doc["networks"])
    return f"{size / 1e6:.2f} MB  {seconds}"


def _saved(row: Saving) -> str:
    size, seconds = row["bytes"], row["seconds"]
    saved = f"{'':17}" if size is None or seconds is None else f"{size / 1e6:8.2f}{seconds:9.2f}"
    return f"{saved}  {row['what']} ({row['how']})"


def _options(plan: Plan) -> str:
    said = plan.options
    lengths = {**({} if said.seq_len is None else {"seq_len": said.seq_len}), **said.dims}
    named = "".join(f"  {name} {n}" for name, n in lengths.items())
    return f"{named}  byte_price {said.byte_price:g}"


def _columns(cost: StepCost) -> str:
    return f"  {cost['bytes']:>11,}{cost['flights']:>4}{1000 * cost['seconds']:>8.1f}"


def _phase(cost: Prediction, phase: str) -> PhaseCost:
    rows, parts = [row for at, row in cost.rows.items() if at.phase == phase], cost.phases[phase]
    return {
        "client": sum(row.client for row in rows),
        "server": sum(row.server for row in rows),
        "flights": sum(row.flights for row in rows),
        "seconds": parts.seconds,
        "parts": {"work": parts.work, "bytes": parts.bytes, "round trips": parts.trips},
    }


def _over(cost: Prediction) -> OverNetwork:
    network, phases = cost.network, {phase: parts.seconds for phase, parts in cost.phases.items()}
    return {
        "name": network.name,
        "bandwidth": network.bandwidth,
        "rtt": network.rtt,
        "seconds": cost.seconds,
        "phases": phases,
    }


def _shown(cost: Prediction) -> int:
    """Where it stands among `SHOWN`; another network behind them."""
    names = [each.name for each in SHOWN]
    return names.index(cost.network.name) if cost.network.name in names else len(names)


def _row(plan: Plan, i: int, step: Step, whole: Prediction) -> StepRow:
    form = plan.forms[i]

    def seen(phase: Phase) -> StepCost:
        place = plan.place(phase, i)
        cost, work = whole.rows[place], whole.work[place]
        return {"bytes": cost.bytes, "flights": cost.flights, "seconds": cost.seconds, "work": work}

    return {
        "step": plan.label(i),
        "kind": type(step).__name__,
        "layer": plan.place("", i).layer,
        "reads": step.reads(),
        "format": str(form.num),
        "shape": form.shape,
        "note": _note(step),
        "offline": seen("offline"),
        "online": seen("online"),
        "products": [_product(product) for product in step.products()],
    }


def _product(made: Product) -> ProductUsed:
    return {
        "shape": [made.batch, made.m, made.k, made.n],
        "ring": made.ell,
        "degree": made.params.degree,
        "modulus": sum(made.params.data_bits),
        "tile": str(made.tile),
        "packed": made.fill,
        "error": round(made.error_bits, 1),
        "spare": made.spare,
    }


def _note(step: Step) -> str:
    match step:
        case Linear() | MatMul():
            return "; ".join(
                f"{made.params} tile {made.tile}  error 2^{made.error_bits:.1f} of 2^{made.spare} units"
                for made in step.products()
            )
        case Maximum(argmax=True):
            return "the place alone"
        case Spline():
            knots = len(step.spec.thresholds.values)
            return (
                f"{step.function}: {knots} knots in {step.spec.compare_bits - step.spec.thresholds.drop} bits"
            )
    return ""


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for d in shape:
        size *= d
    return size
