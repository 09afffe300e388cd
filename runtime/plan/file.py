"""The plan: the public protocol of one model, and the server's weights beside it.

`plan.bin` is a magic word, the BLAKE2b-256 of the body, and the body in MessagePack, decoded into
typed records and nothing else. It may come from a stranger: every step is checked before any runs.
`plan.weights` is a safetensors file of integers whose metadata names the plan it belongs to, and has a digest
of both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..base.errors import BadInput, BadPlan
from ..base.files import whole
from ..base.ring import MAX_BITS, Integers
from ..he.product import Product
from ..party.ledger import Place
from ..protocols.halves import FLIGHT, check_flight
from .kept import rows_axis
from .local import LocalOp, infer_local
from .state import States
from .steps import AnyStep, Form, Guard, MatMul, Maximum, Step, TimesRow, UnderHE, fits

MAGIC = b"PPCPLAN1"
VERSION = 14
DIGEST = 32
RELEASES = {VERSION: "0.1.0"}
"""Which release is of a version; of several the first."""

MAX_FILE = 256 * 2**20
MAX_STEPS = 100_000
MOST_TOGETHER = 64

ANYWHERE = "some value"
"""What left its limits, where a guard does not locate."""


INPUT_KINDS = {"int": "iub", "bool": "iub", "float": "fiub"}
"""The kinds of numpy that hold an input of each kind."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the model was compiled for: lengths of its open axes, seconds that a byte costs, and bytes that a
    ``flight`` is worth; of one that generates, whether places count tokens or, where that is the same, rows
    with padding among them; and how many inferences' products are made `together` (`party.ahead`)."""

    seq_len: int | None = None
    dims: dict[str, int] = msgspec.field(default_factory=dict)
    byte_price: float
    flight: int = FLIGHT
    places: Literal["tokens", "rows"] = "tokens"
    together: int = 1

    def __post_init__(self) -> None:
        for n in (*self.dims.values(), *([] if self.seq_len is None else [self.seq_len])):
            if not fits((n,)):
                raise ValueError(f"an axis of length {n}")
        if not 1 <= self.together <= MOST_TOGETHER:
            raise ValueError(f"{self.together} inferences together")
        if not 0 < self.byte_price < inf:
            raise ValueError(f"a byte that costs {self.byte_price} s")
        check_flight(self.flight)


Bound = Literal["table", "samples", "assumed"]
"""What an input's range is known by: the table that it looks up, the samples of calibration, or nothing
better than what the compiler assumes of such inputs."""


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input of the client's, which is checked against [low, high] where given, before a server is
    called."""

    name: str
    shape: tuple[int, ...]
    kind: str  # of INPUT_KINDS
    low: int | float | None = None  # whole numbers as such: what is read and written again is the same
    high: int | float | None = None
    bound: Bound = "table"


Outputs = dict[str, NDArray[Any]]
"""What the client learns, by name: float64, or int64 where that is a place alone (`Plan.choices`)."""


class OutputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    value: int  # the Output step
    shape: tuple[int, ...]


class WeightSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shape of a server tensor, and the bits that hold each of its signed integers."""

    name: str
    shape: tuple[int, ...]
    bits: int


class Plan(msgspec.Struct, frozen=True, kw_only=True, dict=True, forbid_unknown_fields=True):
    """What both parties do, in order. Holds shapes, formats and public constants; no weight."""

    version: int = VERSION
    model: str
    profile: str
    options: Options
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    weights: tuple[WeightSpec, ...]
    local: tuple[LocalOp, ...]
    steps: tuple[AnyStep, ...]
    guard: int | None = None  # the Guard step, where there is one
    shorter: tuple[Plan, ...] = ()  # the same model at smaller lengths, ascending, on the same weights

    @cached_property
    def body(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @cached_property
    def hash(self) -> str:
        """BLAKE2b-256 of the body, in hex: what the handshake compares."""
        return hashlib.blake2b(self.body, digest_size=DIGEST).hexdigest()

    @cached_property
    def together(self) -> list[int]:
        """The steps of which the first of several inferences makes the material of all."""
        steps = enumerate(self.steps)
        return [i for i, step in steps if isinstance(step, UnderHE) and step.together > 1]

    def files(self, count: int) -> int:
        """How many files of prepared material so many inferences need: one is for all made together."""
        return -(-count // self.options.together)

    @cached_property
    def forms(self) -> list[Form]:
        """Format and shape of every value. Raises BadPlan at the first step that is ill-formed."""
        forms: list[Form] = []
        for i, step in enumerate(self.steps):
            try:
                if any(not 0 <= j < i for j in step.reads()):
                    raise ValueError("it reads a value that does not exist yet")
                forms.append(step.infer(*(forms[j] for j in step.reads())))
            except (ValueError, TypeError, IndexError) as error:
                raise BadPlan(
                    f"step {i} ({type(step).__name__} {step.name}) is ill-formed: {error}"
                ) from None
        return forms

    @property
    def lengths(self) -> tuple[Plan, ...]:
        """This plan and its shorter ones, ascending."""
        return (*self.shorter, self)

    def at_length(self, seq_len: int) -> Plan:
        """The plan of that length. BadInput where there is none."""
        for each in self.lengths:
            if each.options.seq_len == seq_len:
                return each
        there = ", ".join(str(each.options.seq_len) for each in self.lengths)
        raise BadInput(f"--seq-len {seq_len}: the plan has the lengths {there}")

    def of_hash(self, hash: str) -> Plan | None:
        """The one of its lengths that has this hash."""
        return next((each for each in self.lengths if each.hash == hash), None)

    def left(self, alarms: NDArray[np.float64]) -> tuple[str, ...]:
        """What left its limits by the guard's word: the tensors, or ANYWHERE where it does not locate."""
        step = None if self.guard is None else self.steps[self.guard]
        if not isinstance(step, Guard) or not alarms.any():
            return ()
        if not step.locate:
            return (ANYWHERE,)
        return tuple(
            self.tensor(each.value) for each, alarm in zip(step.watched, alarms, strict=True) if alarm
        )

    @cached_property
    def states(self) -> States:
        """What programs of this plan carry from one to the next. Raises BadPlan where its steps disagree."""
        try:
            return States.of(self.steps, self.forms)
        except ValueError as error:
            raise BadPlan(f"states that cannot be: {error}") from None

    @property
    def products(self) -> list[Product]:
        """Every product under HE, in order."""
        return [product for step in self.steps for product in step.products()]

    def choices(self, out: OutputSpec) -> int | None:
        """Among how many numbers ``out`` tells the place of the largest and no more; None where it tells
        numbers."""
        for i in self.steps[out.value].reads():
            made = self.steps[i]
            if isinstance(made, Maximum) and made.argmax:
                return self.forms[made.x].shape[-1]
        return None

    def named(self, revealed: Mapping[int, NDArray[np.float64]]) -> Outputs:
        """The outputs, of the values that are revealed, by step."""
        found: Outputs = {}
        for out in self.outputs:
            value = revealed[out.value].reshape(out.shape)
            found[out.name] = value if self.choices(out) is None else value.astype(np.int64)
        return found

    def place(self, phase: str, index: int) -> Place:
        """Where a ledger books what a step does in a phase."""
        step = self.steps[index]
        return Place(phase, type(step).__name__, index, step.name)

    @cached_property
    def readers(self) -> list[list[int]]:
        """Of every value the steps that read it."""
        found: list[list[int]] = [[] for _ in self.steps]
        for i, step in enumerate(self.steps):
            for j in dict.fromkeys(step.reads()):
                found[j].append(i)
        return found

    def tensor(self, index: int) -> str:
        """The tensor that a step is there for: its own, or that of the first with a name to read it."""
        queue = [index]
        for i in queue:
            if self.steps[i].name:
                return self.steps[i].name
            queue += [j for j in self.readers[i] if j not in queue]
        return ""

    def label(self, index: int) -> str:
        """The step for people: its number, kind and name."""
        return self.place("", index).label


def save(plan: Plan, path: str | Path) -> None:
    digest = hashlib.blake2b(plan.body, digest_size=DIGEST).digest()
    with whole(Path(path)) as part:
        part.write_bytes(MAGIC + digest + plan.body)


def hash_of(path: Path) -> str | None:
    """The hash of the plan that a file says it holds; None where it is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(len(MAGIC) + DIGEST)
    return head[len(MAGIC) :].hex() if head.startswith(MAGIC) else None


def load(path: str | Path) -> Plan:
    """Read and check a plan; BadPlan names what is wrong with it, BadInput a file that is not there."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE:
            raise BadPlan(f"{path}: larger than {MAX_FILE >> 20} MiB, which no plan is")
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    if data[: len(MAGIC)] != MAGIC:
        raise BadPlan(f"{path}: not a plan of ppc")
    digest, body = data[len(MAGIC) : len(MAGIC) + DIGEST], data[len(MAGIC) + DIGEST :]
    if hashlib.blake2b(body, digest_size=DIGEST).digest() != digest:
        raise BadPlan(f"{path}: damaged, its checksum does not match; copy or compile it again")
    return decode(body, str(path))


def release(version: int) -> str:
    """A version of plan and protocol in words."""
    if version in RELEASES:
        said = f"ppc {RELEASES[version]}"
    elif version < min(RELEASES):
        said = f"a ppc older than {RELEASES[min(RELEASES)]}"
    else:
        said = f"a ppc newer than {RELEASES[max(RELEASES)]}"
    return f"{said} (plan version {version})"


class Versioned(msgspec.Struct):
    """What every version of a plan says; nothing else of another version can be read."""

    version: int


def decode(body: bytes, source: str = "plan") -> Plan:
    try:
        version = msgspec.msgpack.decode(body, type=Versioned).version
        if version != VERSION:
            remedy = "update ppc, or compile it again" if version > VERSION else "compile it again"
            raise BadPlan(f"{source}: written by {release(version)}, this is {release(VERSION)}; {remedy}")
        plan = msgspec.msgpack.decode(body, type=Plan)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadPlan(f"{source}: not a well-formed plan: {error}") from None
    _check(plan, source)
    return plan


def _check(plan: Plan, source: str) -> None:
    for shorter in plan.shorter:
        if shorter.shorter:
            raise BadPlan(f"{source}: a shorter plan holds still shorter ones")
        _check(shorter, source)
    if len({each.hash for each in plan.lengths}) != len(plan.lengths):
        raise BadPlan(f"{source}: two lengths are the same plan")
    all_weights(plan, source)
    _check_tensors(plan, source)
    if not 1 <= len(plan.steps) <= MAX_STEPS:
        raise BadPlan(f"{source}: {len(plan.steps)} steps, not 1 to {MAX_STEPS}")
    forms, states = plan.forms, plan.states
    if any(each.states.kinds != states.kinds for each in plan.shorter):
        raise BadPlan(f"{source}: its lengths carry different states")
    shapes = {w.name: w.shape for w in plan.weights}
    for i, step in enumerate(plan.steps):
        for name, shape in step.weights().items():
            if shapes.get(name) != shape:
                raise BadPlan(
                    f"{source}: step {i} wants weight {name!r} of shape {shape}, it is {shapes.get(name)}"
                )
    for i, step in enumerate(plan.steps):
        if isinstance(step, TimesRow) and step.table.shape[0] <= states.held:
            raise BadPlan(
                f"{source}: step {i} has a table of {step.table.shape[0]} rows, of which {states.held} kept "
                "ones count"
            )
    for i, step in enumerate(plan.steps):
        if isinstance(step, UnderHE) and step.together not in (1, plan.options.together):
            raise BadPlan(f"{source}: step {i} is not made for {plan.options.together} inferences together")
        if isinstance(step, MatMul) and step.kept:
            axis = {"k": -2, "n": -1}[step.kept] + len(forms[step.b].shape)
            if rows_axis(plan.steps, forms, step.b) != axis:
                raise BadPlan(f"{source}: step {i} would mask once what is not kept as it is")
    guards = [] if plan.guard is None else [plan.guard]
    if guards != [i for i, step in enumerate(plan.steps) if isinstance(step, Guard)]:
        raise BadPlan(f"{source}: it does not name the guard among its steps")
    revealed = [i for i, step in enumerate(plan.steps) if step.reveals()]
    if sorted([*guards, *(o.value for o in plan.outputs)]) != revealed:
        raise BadPlan(f"{source}: its steps reveal other values than the outputs it names")
    for out in plan.outputs:
        if np.prod(out.shape) != forms[out.value].size:
            raise BadPlan(f"{source}: output {out.name!r} of shape {out.shape} from {forms[out.value].shape}")
    try:
        infer_local(plan.local, {i.name: i.shape for i in plan.inputs})
    except ValueError as error:
        raise BadPlan(f"{source}: the client's own part is ill-formed: {error}") from None
    for i, step in enumerate(plan.steps):
        for local in step.locals():
            if not 0 <= local < len(plan.local):
                raise BadPlan(f"{source}: step {i} encodes local value {local}, of {len(plan.local)}")


def _check_tensors(plan: Plan, source: str) -> None:
    """What is said of inputs, outputs and weights can be said of a tensor, and each has its own name."""
    for kind, specs in (("inputs", plan.inputs), ("outputs", plan.outputs), ("weights", plan.weights)):
        if len({each.name for each in specs}) != len(specs):
            raise BadPlan(f"{source}: two {kind} of one name")
        for each in specs:
            if not fits(each.shape):
                raise BadPlan(f"{source}: {each.name!r} among its {kind} has shape {each.shape}")
    for spec in plan.inputs:
        if spec.kind not in INPUT_KINDS:
            raise BadPlan(f"{source}: input {spec.name!r} is of kind {spec.kind!r}, which is none")
        low, high = (-inf if spec.low is None else spec.low), (inf if spec.high is None else spec.high)
        if not low <= high or low == inf or high == -inf:
            raise BadPlan(
                f"{source}: input {spec.name!r} is in [{spec.low}, {spec.high}], which holds nothing"
            )
    for weight in plan.weights:
        if not 1 <= weight.bits <= MAX_BITS:
            raise BadPlan(f"{source}: weight {weight.name!r} has {weight.bits} bits, not 1 to {MAX_BITS}")


def all_weights(plan: Plan, source: str = "plan") -> tuple[WeightSpec, ...]:
    """The weights of all lengths, each once; BadPlan where two lengths mean different ones by one name."""
    found: dict[str, WeightSpec] = {}
    for each in plan.lengths:
        for spec in each.weights:
            if found.setdefault(spec.name, spec) != spec:
                raise BadPlan(f"{source}: two weights of the name {spec.name!r}")
    return tuple(found.values())


Weights = dict[str, Integers]
"""The server's signed integers by name, each tensor in any width that holds it."""


def save_weights(weights: Weights, plan: Plan, path: str | Path) -> None:
    """The server's integers, in the narrowest type that holds each tensor, and the digest of them all."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    narrow = {spec.name: _narrow(spec, weights) for spec in all_weights(plan)}
    content = weights_digest(plan, weights).hex()
    try:
        with whole(Path(path)) as part:
            # one entry: of several the library changes the order from run to run
            save_file(narrow, str(part), metadata={"plan": f"{plan.hash} {content}"})
    except SafetensorError as error:  # a full disk
        raise BadInput(f"{path}: cannot be written: {error}") from None


def load_weights(path: str | Path, plan: Plan) -> Weights:
    """Read and check the weights of ``plan``; BadPlan where they are another's or damaged, BadInput without a
    file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            belongs, _, content = (file.metadata() or {}).get("plan", "").partition(" ")
            if belongs != plan.hash:
                raise BadPlan(f"{path}: weights of plan {belongs[:12]}…, but the plan is {plan.hash[:12]}…")
            names = set(file.keys())
            weights = {w.name: file.get_tensor(w.name) for w in all_weights(plan) if w.name in names}
    except FileNotFoundError:
        raise BadInput(
            f"{path}: no such file; the server needs the weights that `ppc compile` wrote"
        ) from None
    except (SafetensorError, OSError, TypeError, AttributeError) as error:  # types that numpy does not have
        raise BadPlan(f"{path}: not a readable weights file: {error}") from None
    check_weights(weights, plan, str(path))
    if content != weights_digest(plan, weights).hex():
        raise BadPlan(f"{path}: damaged, its checksum does not match; copy or compile it again")
    return weights


def weights_belong(path: Path) -> str | None:
    """The hash of the plan that a file's weights are of; None where it holds none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            return (file.metadata() or {}).get("plan", "").partition(" ")[0] or None
    except (SafetensorError, OSError):
        return None


def weights_digest(plan: Plan, weights: Weights) -> bytes:
    """BLAKE2b-256 of the plan's hash and of all its weights: what their file, and prepared material, is of.

    It stays at the server: in the plan it would let a client try models until one has it.
    """
    state = hashlib.blake2b(bytes.fromhex(plan.hash), digest_size=DIGEST)
    for spec in all_weights(plan):
        state.update(_narrow(spec, weights).data)
    return state.digest()


def _narrow(spec: WeightSpec, weights: Weights) -> Integers:
    """A tensor in the narrowest type that holds it, row by row."""
    kinds = (np.int8, np.int16, np.int32, np.int64)
    kind = next(t for t in kinds if spec.bits <= np.dtype(t).itemsize * 8)
    return np.asarray(weights[spec.name], kind, order="C")


def check_weights(weights: Weights, plan: Plan, source: str = "weights") -> None:
    """Raises BadPlan, naming it, where a tensor is missing or not what the plan says of it."""
    for w in all_weights(plan):
        if w.name not in weights:
            raise BadPlan(f"{source}: weight {w.name!r} is missing")
        held = weights[w.name]
        if held.dtype.kind != "i":
            raise BadPlan(f"{source}: weight {w.name!r} holds {held.dtype}, not integers")
        if held.shape != w.shape:
            raise BadPlan(f"{source}: weight {w.name!r} has shape {held.shape}, the plan says {w.shape}")
        if held.size and max(int(held.max()), -int(held.min())) > 1 << (w.bits - 1):
            raise BadPlan(f"{source}: weight {w.name!r} does not fit the {w.bits} bits that the plan says")


def check_promises(weights: Weights, plan: Plan) -> None:
    """Raises RangeFault where a tensor of the server's passes the bound that a step relies on."""
    seen: set[object] = set()
    for each in plan.lengths:
        steps: Sequence[Step] = each.steps
        for step in steps:
            said = (type(step), step.promised(), *step.weights())
            if step.promised() is not None and said not in seen:
                seen.add(said)
                step.check(*(weights[name] for name in step.weights()))
