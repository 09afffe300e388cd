"""The summary of a plan as one page: no script, nothing fetched, every value escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import log10
from pathlib import Path
from statistics import median
from typing import Any

from ppc.backend.glossary import meanings
from ppc.backend.templates import markup, template

TEMPLATE = "page.html.jinja"

KINDS = (
    "Linear", "MatMul", "Spline", "Maximum", "Rescale", "Multiply", "Square", "SquareSum", "Scaled", "Guard",
    "Output",
)  # fmt: skip
"""Kinds of steps that cost bytes, each with a colour of its own; all others share one."""

OTHER = "local work"

WORDS = (
    "plan", "step", "setup", "offline", "online", "flight", "network", "profile", "additive share", "ring",
    "fixed point", "truncation, rescaling", "spline", "knot", "guard", "OT", "correlated OT, COT", "IKNP",
    "silent extension", "BFV", "tile", "packing (of answers)", "spare bits",
)  # fmt: skip
"""What the page explains at its end, in this order, as the glossary has it."""

NODES = 12
"""As a graph the model is opened until it shows so many parts."""

LINE, WIDEST = 28, 140
"""Height of a row of the graph, and the reach of its longest arcs, in pixels."""

Row = Mapping[str, Any]


@dataclass
class Total:
    """Cost of some steps in one phase."""

    bytes: int = 0
    flights: int = 0
    seconds: float = 0.0
    work: float = 0.0

    def add(self, cost: Row) -> None:
        self.bytes += cost["bytes"]
        self.flights += cost["flights"]
        self.seconds += cost["seconds"]
        self.work += cost["work"]

    @property
    def link(self) -> float:
        """Seconds that the link takes."""
        return max(0.0, self.seconds - self.work)


@dataclass
class Node:
    """A part of the model: a module, or at the bottom one tensor and the steps that make it.

    ``error`` is that of the last tensor that it makes and that has one: what it gives on.
    """

    name: str
    parts: dict[str, Node] = field(default_factory=dict)
    steps: list[Row] = field(default_factory=list)
    offline: Total = field(default_factory=Total)
    online: Total = field(default_factory=Total)
    error: float | None = None
    numbers: list[int] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.offline.seconds + self.online.seconds

    @property
    def bytes(self) -> int:
        return self.offline.bytes + self.online.bytes

    @property
    def count(self) -> int:
        return len(self.numbers)

    @property
    def middle(self) -> float:
        """Where in the run its steps are: parts are shown in this order."""
        return median(self.numbers)

    @property
    def head(self) -> str:
        """The name up to its last part, with the slash."""
        return head(self.name)

    @property
    def tail(self) -> str:
        return tail(self.name)

    def add(self, row: Row, error: float | None = None) -> None:
        self.offline.add(row["offline"])
        self.online.add(row["online"])
        self.numbers.append(int(row["number"]))
        self.error = self.error if error is None else error


def head(name: str) -> str:
    return name[: len(name) - len(tail(name))]


def tail(name: str) -> str:
    return name.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Edge:
    """Node ``end`` of the graph reads what node ``start`` made."""

    start: int
    end: int

    @property
    def width(self) -> int:
        """How far its arc reaches from the list; neighbours are joined by a line."""
        return 0 if self.end == self.start + 1 else min(WIDEST, 14 + 10 * (self.end - self.start))

    def path(self, x: float) -> str:
        """From below the dot of one row at ``x`` to above that of another."""
        first, last, out = (self.start + 0.5) * LINE + 5, (self.end + 0.5) * LINE - 5, 1.33 * self.width
        return f"M{x},{first} C{x - out:.0f},{first + 4} {x - out:.0f},{last - 4} {x},{last}"


def page(summary: Row, errors: Sequence[Row] = ()) -> str:
    """One HTML document.

    Args:
        summary: what `report.summary` gives.
        errors: rows of `compare.error_by_layer`: ``name``, ``max_error``, ``relative``.
    """
    steps = [dict(row) for row in summary["steps"]]
    for row, place in zip(steps, _places(steps), strict=True):
        row["number"] = row["step"].partition(" ")[0]
        row["place"] = place
        for what in ("seconds", "work"):
            row[what] = row["offline"][what] + row["online"][what]
        row["bits"], row["fraction"] = map(int, row["format"][1:].split("f"))
    tree = _tree(steps, {row["name"]: row["relative"] for row in errors})
    layers, graph = _layers(tree), _nodes(tree, NODES)
    edges = _edges(steps, graph)
    return _template()(
        plan=summary,
        whole={"bytes": sum(cost["client"] + cost["server"] for cost in summary["predicted"].values())},
        steps=steps,
        tree=tree,
        layers=layers,
        graph=graph,
        edges=edges,
        formats=sorted(_by_format(steps).items()),
        margin=max((edge.width for edge in edges), default=0) + 12,
        longest=max(max(part.offline.seconds, part.online.seconds) for part in graph),
        slowest=max(part.seconds for part in layers),
        largest=max(part.bytes for part in layers),
        glossary=meanings(WORDS),
        kinds=_by_kind(steps),
        products=[row for row in steps if row["products"]],
        errors=errors,
        colours=(*KINDS, OTHER),
    )


def _places(steps: Sequence[Row]) -> list[str]:
    """The tensor that each step works for: its own, or that of the first step to read it."""
    places = [row["step"].split(" ", 2)[2] if row["step"].count(" ") > 1 else "" for row in steps]
    names = [place if row["kind"] != "Weight" else "" for row, place in zip(steps, places, strict=True)]
    for i in reversed(range(len(steps))):
        for j in steps[i]["reads"]:
            if steps[j]["kind"] == "Weight" or not places[j]:
                names[j] = names[i]
    return names


UNNAMED = "unnamed"
"""Where steps stand that neither have a name nor work for one that has."""


def _tree(steps: Sequence[Row], errors: Mapping[str, float]) -> Node:
    """The model by the parts of its tensors' names, in the order in which they are done."""
    root = Node("model")
    for row in steps:
        node, error = root, errors.get(row["place"])
        node.add(row, error)
        for part in _modules(row["place"]) or [UNNAMED]:
            node = node.parts.setdefault(part, Node(part))
            node.add(row, error)
        node.steps.append(row)
    _tidy(root)
    return root


def _modules(name: str) -> list[str]:
    """The parts of a tensor's name: between slashes, or of one that has none between dots."""
    return [part for part in name.split("/" if "/" in name else ".") if part]


def _tidy(node: Node) -> None:
    """Join a part that holds nothing but one other part with it, and sort."""
    for key, part in list(node.parts.items()):
        while len(part.parts) == 1 and not part.steps:
            (only,) = part.parts.values()
            only.name = f"{part.name}/{only.name}"
            part = only
        node.parts[key] = part
        _tidy(part)
    node.parts = dict(sorted(node.parts.items(), key=lambda item: item[1].middle))


def _layers(tree: Node) -> list[Node]:
    """The tree opened where one part takes more than half of all time: of a model of many layers these."""
    parts = list(tree.parts.values())
    while dear := [part for part in parts if part.parts and 2 * part.seconds > tree.seconds]:
        parts = [inner for part in parts for inner in (_inside(part) if part in dear else [part])]
    return sorted(parts, key=lambda part: part.middle)


def _nodes(tree: Node, enough: int) -> list[Node]:
    """The tree opened, level by level, until it shows ``enough`` parts or has no more modules."""
    parts = list(tree.parts.values())
    while len(parts) < enough and any(part.parts for part in parts):
        parts = [inner for part in parts for inner in _inside(part)]
    return sorted(parts, key=lambda part: part.middle)


def _inside(part: Node) -> list[Node]:
    """What a part is made of, under whole names; itself where it is a tensor's."""
    if not part.parts:
        return [part]
    inside = [replace(inner, name=f"{part.name}/{inner.name}") for inner in part.parts.values()]
    return [*inside, *([replace(part, parts={})] if part.steps else [])]


def _edges(steps: Sequence[Row], layers: Sequence[Node]) -> list[Edge]:
    """Which layers read which."""
    of = {number: i for i, layer in enumerate(layers) for number in layer.numbers}
    found = {(of[j], of[i]) for i, row in enumerate(steps) for j in row["reads"]}
    return [Edge(a, b) for a, b in sorted(found) if a < b]


def _by_kind(steps: Sequence[Row]) -> list[Node]:
    """Cost of each kind, the costliest first; those that need no message in one row at the end."""
    found: dict[str, Node] = {}
    for row in steps:
        kind = row["kind"] if row["kind"] in KINDS else OTHER
        node = found.setdefault(kind, Node(kind))
        node.add(row)
        node.steps.append(row)
    return sorted(found.values(), key=lambda node: (node.name == OTHER, -node.seconds))


def _by_format(steps: Sequence[Row]) -> dict[tuple[int, int], list[Row]]:
    """Steps by bits and fraction of their values."""
    found: dict[tuple[int, int], list[Row]] = {}
    for row in steps:
        found.setdefault((row["bits"], row["fraction"]), []).append(row)
    return found


# ---- how numbers are written


def size(count: float) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    if not count:
        return "–"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{_digits(count / scale)} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """Seconds, to three digits."""
    if seconds < 1e-6:
        return "–"
    if seconds >= 999.5:
        return f"{seconds:,.0f} s"
    unit, scale = ("s", 1.0) if seconds >= 0.9995 else ("ms", 1e3) if seconds >= 0.9995e-3 else ("µs", 1e6)
    return f"{_digits(scale * seconds)} {unit}"


def rate(bandwidth: float) -> str:
    """Bytes a second as bits."""
    gigabits, megabits = bandwidth * 8e-9, bandwidth * 8e-6
    return f"{_digits(gigabits)} Gbit/s" if gigabits >= 1 else f"{_digits(megabits)} Mbit/s"


def _digits(value: float) -> str:
    """Three, so that a column lines up."""
    return f"{value:#.3g}".rstrip(".")


def short(name: str, most: int) -> str:
    """As many of the last parts of a name as ``most`` characters hold, and at least the last."""
    parts = name.split("/")
    while len(parts) > 1 and len("/".join(parts)) > most - 2:
        parts = parts[1:]
    kept = "/".join(parts)
    return name if len(name) <= most else f"…/{kept}" if len(kept) <= most - 2 else f"…{kept[1 - most :]}"


def breakable(name: str) -> str:
    """A name that may go on in the next line behind a slash."""
    return markup("/<wbr>").join(name.split("/"))


def percent(part: float, whole: float) -> str:
    """A length for CSS."""
    return f"{100 * min(1.0, part / whole) if whole else 0:.2f}%"


def level(error: float) -> float:
    """Decades of a relative error above 0.001 %."""
    return max(0.0, log10(max(error, 1e-12)) + 5)


def colour(kind: str) -> str:
    """The class that gives a kind of step its colour."""
    return f"k{KINDS.index(kind)}" if kind in KINDS else "other"


@lru_cache(maxsize=1)
def _template() -> Callable[..., str]:
    filters: dict[str, Callable[..., str]] = {
        "size": size,
        "duration": duration,
        "rate": rate,
        "breakable": breakable,
        "colour": colour,
        "short": short,
    }
    known = {"percent": percent, "level": level, "head": head, "tail": tail, "LINE": LINE}
    return template(Path(__file__).with_name(TEMPLATE), filters, known)
