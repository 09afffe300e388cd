"""How exact each non-linear protocol is, over its whole domain, in units of the last place of its result.

Twice: the integer meaning against the real function, which is the same on every run, and two parties against
the integer meaning, which is random and therefore bounded. The numbers are docs/protocol-errors.md, written
anew by PPC_UPDATE=1 and asserted otherwise.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from small import ROOT
from stepwise import Trace, late_spline, near_a_knot, trace

from ppc import passes
from ppc.backend.lower import lower
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input, Op
from ppc.runtime.base.ring import Fixed
from ppc.runtime.plan import local, steps
from ppc.runtime.plan.file import InputSpec, Options, OutputSpec, Plan, Weights, WeightSpec
from ppc.runtime.protocols.compare import Thresholds
from ppc.runtime.protocols.spline import SplineSpec, spline_clear
from ppc.runtime.session.simulate import simulate

pytestmark = pytest.mark.long

PAGE = ROOT / "docs" / "protocol-errors.md"
UPDATE = os.environ.get("PPC_UPDATE") == "1"
RUNS = 3
"""Two-party runs from which the random bounds are taken when the page is written."""

Floats = np.ndarray
Function = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Case:
    """A protocol on inputs that fill its domain: a plan with one input ``x`` and one output.

    ``argument`` and ``result`` are the values between which the error is taken, ``of`` the real function, and
    ``strict`` the largest two-party error that the protocol allows, in units; None where there are several.
    """

    name: str
    domain: str
    plan: Plan
    weights: Weights
    x: Floats
    of: Function
    argument: int
    result: int
    strict: float | None = None


# ---- protocols alone, in plans by hand


def by_hand(name: str, x: Floats, num: Fixed, last: steps.Step, **rest: object) -> Case:
    """x encoded in ``num``, shared at random, then step ``last`` on value 1."""
    program: tuple[steps.AnyStep, ...] = (
        steps.Encode(local=0, num=num, shape=x.shape),
        steps.Scaled(
            x=0, weight="one", scale=0, weight_bits=2, shape=(1, 1)
        ),  # by 1: the same value in fresh shares
        last,
        steps.Output(name="y", x=2),
    )
    forms = last.infer(steps.Form(num, x.shape))
    plan = Plan(
        model=name,
        profile="exact",
        options=Options(byte_price=1e-7),
        inputs=(InputSpec("x", x.shape, "float"),),
        outputs=(OutputSpec("y", 3, forms.shape),),
        weights=(WeightSpec("one", (1, 1), 2),),
        local=(local.Input("x"),),
        steps=program,
    )
    weights = {"one": np.ones((1, 1), np.int64)}
    return Case(name=name, plan=plan, weights=weights, x=x, argument=1, result=2, **rest)  # type: ignore[arg-type]


def truncation(old: Fixed, new: Fixed) -> Case:
    reach = 2 ** (min(old.bits, new.bits + old.scale - new.scale) - 2)
    edges = np.array([0, 1, -1, reach - 1, 1 - reach])
    ints = np.concatenate(
        [np.linspace(1 - reach, reach - 1, 3000).astype(np.int64), edges, np.arange(-500, 500)]
    )
    name = f"truncate {old.scale - new.scale} bits" + (", larger ring" if new.bits > old.bits else "")
    return by_hand(
        name, ints[None] * 2.0**-old.scale, old, steps.Rescale(x=1, num=new),
        domain="±2^(bits−2)", of=lambda x: x, strict=1,
    )  # fmt: skip


def comparison(drop: int) -> Case:
    """[x >= 0] as a step function: an error is a whole unit, where x is less than 2^drop above 0."""
    num, out = Fixed(20, 8), Fixed(12, 0)
    pieces = ((0, 0, 0), (1, 0, 0))
    spec = SplineSpec(Thresholds((0,), drop), 16, Fixed(12, 0), pieces, (), out)
    ints = np.concatenate([np.arange(-1500, 1500), [-(2**15), 2**15 - 1]])
    step = steps.Spline(x=1, spec=spec, function="step")
    return by_hand(
        f"compare, {drop} bits dropped", ints[None] * 2.0**-8, num, step,
        domain="±2^15 units", of=lambda x: (x >= 0).astype(float), strict=float(drop > 0),
    )  # fmt: skip


def tournament(drop: int) -> Case:
    rng = np.random.default_rng(4)
    ints = rng.integers(-4000, 4000, (150, 20))
    return by_hand(
        f"maximum of 20, {drop} bits dropped", ints * 2.0**-6, Fixed(14, 6), steps.Maximum(x=1, drop=drop),
        domain="±4000 units", of=lambda x: x.max(axis=-1, keepdims=True), strict=(1 << drop) - 1,
    )  # fmt: skip


# ---- functions, through the compiler's own passes


def lowered(name: str, x: Floats, weight: Floats, build: Callable[[Op], Op]) -> tuple[Plan, Weights]:
    """build(x @ weight), calibrated on ``x`` itself."""
    given = Input(x.shape, FLOAT, name="x")
    shared = ops.MatMul(given, ops.Const(weight.astype(np.float32), True))
    state = passes.run(Graph((given,), {"y": build(shared)}, name), passes.Options(margin=1.0), [{"x": x}])
    return lower(state.graph, model=name, profile="exact", options=Options(byte_price=1e-7))


def function(name: str, lo: float, hi: float, build: Callable[[Op], Op], of: Function) -> Case:
    """A function of one value, from the value that enters its spline to the one that leaves it, or of several
    splines to the output."""
    x = np.linspace(lo, hi, 2001)[:, None] / WEIGHT
    plan, weights = lowered(name, x, np.array([[WEIGHT]]), lambda y: build(ops.Reshape(y, (1, len(x)))))
    (at, step), *more = [(i, s) for i, s in enumerate(plan.steps) if isinstance(s, steps.Spline)]
    return Case(
        name, f"[{lo:g}, {hi:g}]", plan, weights, x, of, step.x, plan.outputs[0].value if more else at
    )


WEIGHT = 0.7
"""Of many digits, so that what enters a spline has fraction bits to spare."""


def of_rows(name: str, spread: float, build: Callable[[Op], Op], of: Function) -> Case:
    """A function of rows of 16, growing up to ``spread``, from the product before it to the output."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((40, 16)) * np.linspace(0.2, 1, 40)[:, None] * spread
    turned = np.linalg.qr(rng.standard_normal((16, 16)))[0]
    plan, weights = lowered(name, x, turned, build)
    at = next(i for i, step in enumerate(plan.steps) if isinstance(step, steps.Linear))
    domain = f"rows of spread {0.2 * spread:g} to {spread:g}"
    return Case(name, domain, plan, weights, x, of, at, plan.outputs[0].value)


def gelu(x: Floats) -> Floats:
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def gelu_tanh(x: Floats) -> Floats:
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def softmax(x: Floats) -> Floats:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def normal(x: Floats) -> Floats:
    c = x - x.mean(axis=-1, keepdims=True)
    return c / np.sqrt((c**2).mean(axis=-1, keepdims=True) + 1e-5)


def rms_normal(x: Floats) -> Floats:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)


def rsqrt(x: Op) -> Op:
    return ops.Reciprocal(ops.Sqrt(x))


def gamma_beta(width: int) -> tuple[Op, Op]:
    return ops.Const(np.ones(width, np.float32), True), ops.Const(np.zeros(width, np.float32), True)


@cache
def cases() -> tuple[Case, ...]:
    gamma, beta = gamma_beta(16)
    return (
        *(truncation(Fixed(30, 20), Fixed(20, 20 - s)) for s in (1, 2, 4, 12)),
        truncation(Fixed(20, 8), Fixed(34, 4)),
        comparison(0),
        comparison(4),
        tournament(0),
        tournament(3),
        function("relu", -7, 7, ops.Relu, lambda x: np.maximum(x, 0)),
        function("clip to [−1, 2.5]", -7, 7, lambda x: ops.Clip(x, -1.0, 2.5), lambda x: np.clip(x, -1, 2.5)),
        function("gelu", -7, 7, ops.Gelu, gelu),
        function("gelu, tanh form", -7, 7, lambda x: ops.Gelu(x, approx="tanh"), gelu_tanh),
        function("silu", -12, 12, ops.Silu, lambda x: x * sigmoid(x)),
        function("sigmoid", -12, 12, ops.Sigmoid, sigmoid),
        function("tanh", -6, 6, ops.Tanh, np.tanh),
        function("erf", -4, 4, ops.Erf, np.vectorize(math.erf)),
        function("exp", -20, 0, ops.Exp, np.exp),
        function("reciprocal", 1, 32, ops.Reciprocal, lambda x: 1 / x),
        function("1/sqrt", 0.1, 4, rsqrt, lambda x: x**-0.5),
        function("sqrt", 0.1, 4, ops.Sqrt, np.sqrt),
        of_rows("softmax of 16", 3.0, ops.Softmax, softmax),
        of_rows("layer norm of 16", 2.0, lambda x: ops.LayerNorm(x, gamma, beta, 1e-5), normal),
        of_rows("rms norm of 16", 2.0, lambda x: ops.RMSNorm(x, gamma, 1e-5), rms_normal),
    )


# ---- measuring


@dataclass(frozen=True)
class Measured:
    """Errors in units of the last place of ``num``: (max, mean of absolute values, mean)."""

    num: Fixed
    integer: tuple[float, float, float]
    parties: tuple[float, float, float]
    allowed: float | None


def three(error: Floats) -> tuple[float, float, float]:
    return float(np.abs(error).max()), float(np.abs(error).mean()), float(error.mean())


def measure(case: Case) -> Measured:
    """The integer meaning by simulation; two parties by the step alone, or end to end where it is several."""
    num = case.plan.forms[case.result].num
    values = simulate(case.plan, case.weights, {"x": case.x}, keep=True)
    wanted = case.of(values[case.argument]).reshape(values[case.result].shape)
    seen = trace(case.plan, case.weights, {"x": case.x})
    if isinstance(case.plan.steps[case.result], steps.Output):
        parties = seen.made[case.result] - values[case.result] * 2.0**num.scale
    else:
        parties = seen.error(case.result).astype(float)
    return Measured(
        num, three((values[case.result] - wanted) * 2.0**num.scale), three(parties), allowed(case, seen)
    )


def allowed(case: Case, seen: Trace) -> float | None:
    """What the protocol documents: a spline's units, and what a late knot does where bits are dropped."""
    step = case.plan.steps[case.result]
    if case.strict is not None or not isinstance(step, steps.Spline):
        return case.strict
    num = case.plan.forms[step.x].num
    x = np.arange(seen.made[step.x].min(), seen.made[step.x].max() + 1)
    late = np.abs(late_spline(x, num, step.spec) - spline_clear(x, num, step.spec))
    return math.floor(step.spec.units + 0.5) + int(late[near_a_knot(x, step.spec)].max(initial=0))


# ---- the page

HEAD = """# Errors of the non-linear protocols

Measured by `tests/runtime/session/test_protocol_error.py`; regenerate with
`PPC_UPDATE=1 pytest tests/runtime/session/test_protocol_error.py`.

All errors are in units of the last place of the result, whose format stands beside (`i24f8`: 24 bits, a
unit is 2^-8). *Integer* is the plan's meaning in the clear (`ppc simulate`) against the real function:
approximation, rounding of coefficients, truncation to nearest. *Two-party* is a run between two parties
against that: truncations round up or down at random, and comparisons without their low bits may take the
piece on the left just beyond a knot. It differs from run to run, so both columns are bounds; the first is
what the protocol guarantees, or, marked with ~, what runs have shown, with room.

| protocol | domain | result | integer: max | mean | two-party: max | mean |
| --- | --- | --- | --- | --- | --- | --- |
"""


def fixed_cells(case: Case, seen: Measured) -> list[str]:
    """What is the same on every run."""
    return [case.name, case.domain, str(seen.num), f"{seen.integer[0]:.2f}", f"{seen.integer[1]:.2f}"]


def bound_cells(several: list[Measured]) -> list[str]:
    most = max(seen.parties[0] for seen in several)
    mean = max(seen.parties[1] for seen in several)
    allowed = several[0].allowed
    first = f"≤ {allowed:g}" if allowed is not None else f"~ {2 * math.ceil(most) + 1}"
    return [first, f"≤ {math.ceil(mean * 120 + 3) / 100:.2f}"]


def written() -> dict[str, list[str]]:
    """The rows of the page on disk, by protocol."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][2:]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {cells[0]: cells for cells in found}


@pytest.fixture(scope="module")
def measured() -> dict[str, Measured]:
    found = {case.name: [measure(case) for _ in range(RUNS if UPDATE else 1)] for case in cases()}
    if UPDATE:
        lines = [fixed_cells(case, found[case.name][0]) + bound_cells(found[case.name]) for case in cases()]
        PAGE.write_text(HEAD + "".join(f"| {' | '.join(cells)} |\n" for cells in lines))
    return {name: several[0] for name, several in found.items()}


def test_the_page_has_a_row_for_every_protocol(measured):
    assert list(written()) == [case.name for case in cases()]
    assert PAGE.read_text().startswith(HEAD)


@pytest.mark.parametrize("index", range(24))
def test_errors_are_what_the_page_says(measured, index):
    case = cases()[index]
    seen, cells = measured[case.name], written()[case.name]
    assert cells[:5] == fixed_cells(case, seen)
    assert seen.parties[0] <= float(cells[5].lstrip("≤~ "))
    assert seen.parties[1] <= float(cells[6].lstrip("≤ "))
    if seen.allowed is not None:
        assert cells[5] == f"≤ {seen.allowed:g}"


def test_every_case_is_tested(measured):
    assert len(cases()) == 24


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
def test_truncation_has_no_bias(measured, bits):
    """Rounded up or down with the right chances: the errors average out, however few bits are dropped.

    The integer meaning itself rounds halves up, which is 2^-(bits+1) on average.
    """
    seen = measured[f"truncate {bits} bits"]
    points = 4005
    assert abs(seen.integer[2] + seen.parties[2]) < 6 * 0.5 / math.sqrt(points)


def test_multiples_of_a_unit_are_truncated_exactly():
    old, new = Fixed(30, 12), Fixed(24, 8)
    x = np.arange(-1000, 1000)[None] * 2.0**-8
    case = by_hand("t", x, old, steps.Rescale(x=1, num=new), domain="", of=lambda x: x, strict=0)
    assert measure(case).parties[0] == 0


def test_a_function_that_is_off_would_not_match(measured):
    """The page's numbers tell a function that is one unit off."""
    form = next(case for case in cases() if case.name == "gelu, tanh form")
    other = replace(form, of=lambda x: gelu_tanh(x) + 2.0**-8)
    assert fixed_cells(form, measure(other))[3:] != fixed_cells(form, measured[form.name])[3:]
