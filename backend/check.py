"""`ppc check`: every operator of a model, who computes it and how, and all that stands in the way at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from ppc.backend.lower_local import NotLocal, local_op
from ppc.backend.operators import FREELY, LAYOUT, protocol, protocols
from ppc.frontend.errors import FrontendError, UnsupportedModel, UnsupportedOp
from ppc.frontend.ir import ops
from ppc.frontend.ir.elementwise import Comparison, Logical
from ppc.frontend.ir.graph import FLOAT, Graph, Input, Op, Owner, walk, walk_from
from ppc.frontend.read.known import Known
from ppc.frontend.read.load import Survey, survey
from ppc.frontend.read.reader import Surveyed
from ppc.passes.feasible import statically
from ppc.passes.legal import LEGAL
from ppc.passes.owners import Owners, owners
from ppc.runtime.base.function import ArgExtreme, Top

FOLDED = "computed when compiling"
MOVED = "part of what reads it"
ALONE = "in the clear, by its owner"
UNSUPPORTED = "unsupported"
BEHIND = "not looked at: it follows an unsupported operator"


@dataclass(frozen=True)
class Row:
    """Nodes of one operator that run alike."""

    op_type: str
    owner: str
    how: str
    nodes: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.nodes)


@dataclass(frozen=True)
class Checked:
    """``unsupported`` is empty where ``ppc compile`` will not refuse an operator.

    ``outputs`` says so of each output that the model makes of its weights, also of those not asked for;
    ``shapes`` are of those that compile.
    """

    opset: int
    rows: tuple[Row, ...]
    unsupported: tuple[UnsupportedOp, ...]
    outputs: Mapping[str, bool]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def supported(self) -> bool:
        return not self.unsupported

    @property
    def compiling(self) -> tuple[str, ...]:
        """The outputs that compile."""
        return tuple(name for name, compiles in self.outputs.items() if compiles)

    def refusal(self) -> UnsupportedModel:
        return UnsupportedModel(self.unsupported, self.compiling)

    def document(self) -> dict[str, object]:
        """The same for JSON."""
        return {
            "opset": self.opset,
            "supported": self.supported,
            "operators": [
                {
                    "operator": row.op_type, "count": row.count, "owner": row.owner, "how": row.how,
                    "nodes": list(row.nodes),
                }
                for row in self.rows
            ],
            "unsupported": [
                {"node": each.node, "operator": each.op_type, "opset": each.opset, "reason": each.reason}
                for each in self.unsupported
            ],
            "outputs": [
                {"name": name, "compiles": compiles, "shape": self.shapes.get(name)}
                for name, compiles in self.outputs.items()
            ],
        }  # fmt: skip


def check_model(
    model: str | Path,
    *,
    seq_len: int | None = None,
    dims: Mapping[str, int] | None = None,
    outputs: Sequence[str] | None = None,
) -> Checked:
    """What ``compile`` would do with each node; raises UsageErrors and NotFinite, never UnsupportedModel."""
    found = survey(model, seq_len=seq_len, dims=dims, outputs=outputs)
    fused, ways = _looked_at(found)
    unsupported = (*found.unsupported, *ways.faults)
    compiles = {name: name not in ways.outputs for name in found.outputs}
    if unsupported and outputs is not None:
        compiles = _others(model, seq_len, dims) | compiles
    bad = {each.node for each in unsupported}
    made = found.graph.outputs if found.graph else {}
    shapes = {name: op.type.shape for name, op in made.items() if compiles.get(name)}
    return Checked(found.opset, _rows(found, fused, bad), unsupported, compiles, shapes)


def _others(model: str | Path, seq_len: int | None, dims: Mapping[str, int] | None) -> dict[str, bool]:
    """Whether outputs that were not asked for would compile; none where they need to be told more."""
    try:
        found = survey(model, seq_len=seq_len, dims=dims)
    except FrontendError:
        return {}
    stopped = _looked_at(found)[1].outputs
    return {name: name not in stopped for name in found.outputs}


# ---- what stands in the way


@dataclass(frozen=True)
class _InTheWay:
    """What shows only on shares, and the outputs that this, or what the reader found, is in the way of."""

    faults: tuple[UnsupportedOp, ...]
    outputs: frozenset[str]


def _looked_at(found: Survey) -> tuple[Graph | None, _InTheWay]:
    """The graph after fusion, and what is in its way."""
    bad = {each.node for each in found.unsupported}
    stopped = {name for name, nodes in found.outputs.items() if nodes & bad}
    if found.graph is None:
        return None, _InTheWay((), frozenset(stopped))
    after = statically(found.graph)
    faults = _faults(found, after["delay_division"])
    final = after["delay_division"].outputs
    stopped |= {
        name
        for name in found.outputs
        if name in final and not faults.keys().isdisjoint(walk_from(final[name]))
    }
    reported = {each.node: each for each in faults.values()}
    return after["pool"], _InTheWay(tuple(reported.values()), frozenset(stopped))


def _faults(found: Survey, final: Graph) -> dict[Op, UnsupportedOp]:
    """Ops that no protocol and no function of the client's covers, by the nodes they came from.

    What takes truth values or whole numbers from one of these is not a fault of its own.
    """
    owner = owners(final)
    faults: dict[Op, UnsupportedOp] = {}
    spoilt, behind = set[Op](), set[Op]()
    for op in walk(final):
        if not behind.isdisjoint(op.operands):
            behind.add(op)
        follows = any(each in spoilt and each.type.num != FLOAT for each in op.operands)
        if follows or isinstance(op, ops.Opaque):
            spoilt.add(op)
        reason = None if follows else _why_not(op, owner, op in behind)
        if reason is None:
            continue
        spoilt.add(op)
        behind.add(op)
        node = _origin(op, found, final)
        name, kind = (node.name, node.op_type) if node else ("", "an operator")
        faults[op] = UnsupportedOp(name, kind, found.opset, reason)
    return faults


_RUNS = LEGAL["delay_division"]
_ENTERS = (Input, ops.Const, ops.Opaque)


def _why_not(op: Op, owner: Mapping[Op, Owner], behind: bool) -> str | None:
    """``behind``: another stands in the way of its operands already."""
    if isinstance(op, _ENTERS):
        return None
    if owner[op] is Owner.SHARED:
        if _RUNS.on_shares(op):
            return None
        return (
            f"neither party knows its operands, and no protocol computes it on shares; {_remedy(op, behind)}"
        )
    try:
        local_op(op, tuple(range(len(op.operands))))
    except NotLocal:
        return "the client has no function for it; compute it before and make the result an input"
    return None


_ACTIVATIONS = ("Elu", "Celu", "ThresholdedRelu", "Shrink", "Mish", "Softplus", "Softsign")


def _remedy(op: Op, behind: bool) -> str:
    name = next((each.name for each in op.operands if each.name), "")
    operand = f"its operand, {name}," if name else "its operand"
    if behind:
        operand = "what compiles before it"
    match op:
        case ops.Pow():
            return "write it with whole exponents up to 4, or ½ and their inverses"
        case ops.Clear(function=ArgExtreme(least=False)):
            return f"make {operand} an output, under --reveal argmax if its place is all that may be told"
        case ops.Clear(function=ArgExtreme() | Top()):
            return f"make {operand} an output, and let the client choose"
        case ops.Gather():
            return "its places must be known to one party"
        case Comparison() | ops.Where() | Logical():
            return "write the choice with Relu or Clip"
        case ops.Clear(function=function) if function.key in _ACTIVATIONS:
            return "train with ReLU, GELU, SiLU or tanh in its place"
    return f"make {operand} an output, and let the client finish"


def _origin(op: Op, found: Survey, final: Graph) -> Surveyed | None:
    """The node that made the value, or else the one that made the nearest named value above it."""
    made = {name: node for node in found.nodes for name in node.outputs}
    users: dict[Op, list[Op]] = defaultdict(list)
    for each in walk(final):
        for operand in each.operands:
            users[operand].append(each)
    queue = [op]
    seen = set(queue)
    for each in queue:
        if each.name in made:
            return made[each.name]
        fresh = [user for user in users[each] if user not in seen]
        seen |= set(fresh)
        queue += fresh
    return None


# ---- how each node runs


def _rows(found: Survey, fused: Graph | None, bad: set[str]) -> tuple[Row, ...]:
    groups: dict[tuple[str, str, str], list[str]] = {}
    told = _Told(found, fused)
    for node in found.nodes:
        owner, how = told.of(node)
        how = UNSUPPORTED if node.name in bad else how
        groups.setdefault((node.op_type, owner, how), []).append(node.name)
    rows = [Row(kind, owner, how, tuple(nodes)) for (kind, owner, how), nodes in groups.items()]
    return tuple(sorted(rows, key=lambda row: (row.op_type, -row.count, row.how)))


class _Told:
    def __init__(self, found: Survey, fused: Graph | None) -> None:
        self.owner = owners(found.graph) if found.graph else {}
        self.fused = {op.name: _core(op) for op in walk(fused) if op.name} if fused else {}
        self.fused_owner = owners(fused) if fused else {}
        self.users: dict[Op, list[Op]] = defaultdict(list)
        for op in self.owner:
            for each in op.operands:
                self.users[each].append(op)

    def of(self, node: Surveyed) -> tuple[str, str]:
        """(owner, how)"""
        result = node.result
        if result is None or isinstance(result, ops.Opaque):
            return "", BEHIND
        if isinstance(result, Known):
            return ("server" if result.secret else "public"), FOLDED
        owner = self.owner.get(result)
        if owner is None and isinstance(result, ops.Gather) and Owners()[result] is Owner.SHARED:
            return "shared", MOVED
        if owner is None:  # made on the way to what folds
            return "public", FOLDED
        if owner in (Owner.SERVER, Owner.PUBLIC):
            return owner.value, FOLDED
        if owner is Owner.CLIENT:
            return "client", ALONE
        return "shared", self.shared(node, result)

    def known(self, op: Op) -> bool:
        return self.owner.get(op) is Owner.SHARED

    def shared(self, node: Surveyed, result: Op) -> str:
        """What it is after fusion, or of what it has become a part."""
        op = node.inner[-1] if node.inner else result
        if all(isinstance(each, LAYOUT) for each in node.inner if self.known(each)):
            return FREELY
        now = self.fused.get(op.name)
        if now is not None and self.fused_owner[now] is Owner.SHARED:
            alike = type(now) is type(op) and len(node.inner) > 1
            return protocols([each for each in node.inner if self.known(each)]) if alike else protocol(now)
        queue, seen = [op], {op}
        for each in queue:
            there = self.fused.get(each.name)
            if each is not op and there is not None and self.fused_owner[there] is Owner.SHARED:
                how = protocol(there)
                return how if how == FREELY else f"part of {type(there).__name__}: {how}"
            fresh = [user for user in self.users[each] if user not in seen]
            seen |= set(fresh)
            queue += fresh
        return protocols([each for each in node.inner if self.known(each)])


def _core(op: Op) -> Op:
    """What a fusion made, without the reshapes that give it the shape wanted; those have no name before."""
    while isinstance(op, LAYOUT) and len(op.operands) == 1 and not op.operands[0].name:
        (op,) = op.operands
    return op


# ---- as text

_NAMES, _LONGEST = 3, 32


def as_text(checked: Checked) -> str:
    """For people: a line for each kind of operator and way to run it, then all that stands in the way."""
    kind = max([len("operator"), *(len(row.op_type) for row in checked.rows)])
    how = max([len("how"), *(len(row.how) for row in checked.rows)])
    lines = [f"{'operator':<{kind}}  {'count':>5}  {'owner':<6}  {'how':<{how}}  nodes"]
    lines += [
        f"{row.op_type:<{kind}}  {row.count:>5}  {row.owner or '-':<6}  {row.how:<{how}}  {_names(row.nodes)}"
        for row in checked.rows
    ]
    nodes = sum(row.count for row in checked.rows)
    lines += [
        "",
        f"opset {checked.opset}, {nodes} nodes: {'all supported' if checked.supported else _sum(checked)}",
    ]
    lines += [f"  {each}" for each in checked.unsupported]
    return "\n".join([*lines, *outputs_as_text(checked)])


def outputs_as_text(checked: Checked) -> list[str]:
    """A line of the outputs that compile, with their shapes where those are known; no line without any."""
    told = [f"{name} {checked.shapes.get(name, '')}".rstrip() for name in checked.compiling]
    title = "these outputs compile" if checked.unsupported else "outputs"
    return [f"  {title}: {', '.join(told)}"] if told else []


def _sum(checked: Checked) -> str:
    return f"{len(checked.unsupported)} not supported"


def _names(nodes: tuple[str, ...]) -> str:
    """The first few, without what all have in common."""
    scopes = zip(*(each.split("/")[:-1] for each in nodes), strict=False)
    alike = len(list(takewhile(lambda parts: len(set(parts)) == 1, scopes))) if len(nodes) > 1 else 0
    shown = [_short("/".join(each.split("/")[alike:])) for each in nodes[:_NAMES]]
    more = f" +{len(nodes) - _NAMES}" if len(nodes) > _NAMES else ""
    return ", ".join(shown) + more


def _short(name: str) -> str:
    """A name without its middle where it is long: layers differ at the beginning, tensors at the end."""
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[:half]}…{name[1 - half :]}"
