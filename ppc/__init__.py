"""Private transformer inference: the server keeps its weights, the client keeps its prompt.

At the server::

    compiled = ppc.compile("model.onnx", seq_len=32)
    compiled.save("plan.bin", "plan.weights")
    ppc.Server(compiled.plan, compiled.weights).serve()

At the client, with nothing but the plan::

    plan = ppc.load_plan("plan.bin")
    outcome = ppc.Client(plan).run({"input_ids": ids, "attention_mask": mask})
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from numpy.typing import ArrayLike

__version__ = "0.1.0"

# In a checkout the rooms stand beside this folder; in an installed package, inside it.
if not (Path(__file__).parent / "runtime").exists():
    __path__.append(str(Path(__file__).parent.parent))

from ppc.runtime.base.errors import Error, RuntimeFault
from ppc.runtime.net.network import USUAL, parse_network
from ppc.runtime.plan.file import Outputs, Plan, Weights, load_weights
from ppc.runtime.plan.file import load as load_plan
from ppc.runtime.service.client import Client
from ppc.runtime.service.dataset import DataSet
from ppc.runtime.service.dataset import read as read_data
from ppc.runtime.service.decoding import decode, longest
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.sampling import Sampler
from ppc.runtime.service.server import Server
from ppc.runtime.service.tokenizer import Tokenizer
from ppc.runtime.service.tokens import tokenize, tokenize_all
from ppc.runtime.session.cache import Cache
from ppc.runtime.session.simulate import Simulated, Simulator, headroom

DEFAULT_NETWORK = USUAL.name
"""What plans are made for by default."""

if TYPE_CHECKING:
    from ppc.backend.check import Checked
    from ppc.backend.compile import Compiled
    from ppc.backend.document import Summary
    from ppc.backend.evaluation import Evaluation
    from ppc.backend.samples import TextSamples
    from ppc.backend.tune.settings import Settings
    from ppc.backend.tune.tune import Tuned
    from ppc.runtime.session.executor import Progress


def compile(
    model: str | Path,
    *,
    seq_len: int | Sequence[int] | None = None,
    dims: Mapping[str, int] | None = None,
    outputs: str | Sequence[str] | None = None,
    reveal: str | Mapping[str, str] = "value",
    profile: str = "exact",
    calibrate: Sequence[Mapping[str, ArrayLike]] | TextSamples | None = None,
    max_error: float | None = None,
    margin: float | None = None,
    network: str = DEFAULT_NETWORK,
    guard: Literal["one", "locate", "off"] = "one",
    anonymous: bool = False,
    emit_onnx: str | Path | None = None,
    progress: Progress | None = None,
) -> Compiled:
    """Compile an ONNX transformer; takes the extra ``compile``, which running a plan does not.

    Args:
        model: path of the ONNX file.
        seq_len: length of the sequence axes; several make one plan, of which a client takes the shortest
            that holds its input. ``dims`` gives other dynamic axes by name.
        outputs: name, or names, of the outputs to keep; by default all that depend on the weights.
        reveal: what the client learns of all outputs, or of one by name: the ``value``, or the ``argmax`` of
            its last axis alone, which is a classifier's label or a decoder's next token.
        profile: what functions are replaced by: ``exact``, ``friendly``, ``menu``, or a TOML file; of several
            variants for one, the first.
        calibrate: sample inputs that show the ranges of activations, at the greatest length, or texts
            (`TextSamples` of `ppc.backend.samples`); seeded random ones by default.
        max_error: spend as many bits as keep every output within this part of its standard deviation; by
            default 0.0125 where there are samples and it can be had.
        margin: inner values may go so many times as far as in ``calibrate`` before they leave their rings; by
            default 2, and 3 without samples.
        network: what to choose for: ``lan``, ``wan`` or BANDWIDTH,RTT such as ``200Mbit,15ms``.
        guard: whether the parties watch, for one bit, that values keep to what was calibrated: an answer that
            is not to be trusted is then refused (`Outcome.outputs`). ``locate`` tells the client which value
            left its limits, at a bit for each; ``off`` leaves it out.
        anonymous: leave the names of tensors, and the model's own, out of the plan; `summary` lists them.
        emit_onnx: where to write the model as the profile makes it, as ONNX.
        progress: called with what is going on, how much of it is done, and of how much.

    The same arguments and the same model give the same bytes, whatever its file is called. Errors carry an
    ``exit_status`` and name the node, file or field.
    """
    from ppc.backend.compile import compile_model

    return compile_model(
        model,
        seq_len=seq_len,
        dims=dims,
        outputs=outputs,
        reveal=reveal,
        profile=profile,
        calibrate=calibrate,
        max_error=max_error,
        margin=margin,
        network=parse_network(network),
        guard=guard,
        nameless=anonymous,
        emit_onnx=emit_onnx,
        progress=progress,
    )


def compile_generation(
    model: str | Path,
    *,
    prompts: Sequence[int],
    most: int,
    dims: Mapping[str, int] | None = None,
    output: str | None = None,
    reveal: str = "value",
    profile: str = "exact",
    calibrate: Sequence[Mapping[str, ArrayLike]] | TextSamples | None = None,
    max_error: float | None = None,
    margin: float | None = None,
    network: str = DEFAULT_NETWORK,
    guard: Literal["one", "locate", "off"] = "one",
    anonymous: bool = False,
) -> Compiled:
    """Compile a decoder, with past (`past_key_values…` in, `present…` out) or of whole texts, to generate.

    Args:
        prompts: lengths of prompts, of which a client takes the shortest that holds its own.
        most: tokens that can follow a prompt of the longest.
        output: which output chooses the next token, where there are several beside the caches.
        calibrate: texts, or inputs with an empty cache, as long as the longest prompt and ``most`` together.

    Others, and errors, as of `compile`.
    """
    from ppc.backend.generation import compile_generation as compiled

    return compiled(
        model,
        prompts=prompts,
        most=most,
        dims=dims,
        output=output,
        reveal=reveal,
        profile=profile,
        calibrate=calibrate,
        max_error=max_error,
        margin=margin,
        network=parse_network(network),
        guard=guard,
        nameless=anonymous,
    )


def simulate_generation(
    plan: Plan,
    weights: Weights,
    ids: Sequence[int],
    most: int,
    *,
    pick: Callable[[Outputs], int] | None = None,
    stop: Iterable[int] = (),
) -> Iterator[tuple[int, Simulated]]:
    """What `Client.generate` gives, in the clear: each token with the outputs that chose it.

    Raises BadInput as that does, and RangeFault where a value leaves its ring.
    """
    simulator, cache = Simulator(plan, weights), Cache(lead=1)

    def answer(length: Plan, feeds: Mapping[str, ArrayLike]) -> Simulated:
        return simulator.further(length, feeds, cache)

    return decode(plan, ids, most, answer, pick or Sampler(), frozenset(stop))


def simulate(plan: Plan, weights: Weights, feeds: Mapping[str, ArrayLike]) -> Outputs:
    """The plan's fixed-point meaning in the clear: outputs by name.

    Raises RangeFault (exit status 6), naming the tensor and by how much, where a value leaves its ring.
    """
    return simulate_many(plan, weights, [feeds])[0]


def simulate_many(plan: Plan, weights: Weights, samples: Sequence[Mapping[str, ArrayLike]]) -> list[Outputs]:
    """The same of many samples, sooner than one by one; a `Simulator` is for samples that come in parts."""
    return [each.outputs for each in Simulator(plan, weights).run(samples)]


def evaluate(
    plan: Plan,
    weights: Weights,
    data: DataSet,
    tokenizer: str | Path,
    *,
    model: str | Path | None = None,
    output: str | None = None,
    private: int = 0,
    truncate: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """How often a plan is right over a data set (`read_data`), and where its errors come from.

    Args:
        tokenizer: the model's tokenizer.json.
        model: the ONNX file that was compiled: its floats are held against the simulator.
        output: which of the plan's, where there are several.
        private: of so many rows, evenly spread, two parties in this process compute the answer as well.
        truncate: cut texts that are too long for the plan, which are refused otherwise.
        progress: called with what is going on, how much of it is done, and of how much.

    Rows that leave a ring are counted apart (`Evaluation.left`), and `Evaluation.refuse` raises RangeFault
    for them. Raises BadInput where labels and output do not fit one another, and for a text that the plan
    cannot take, by its line.
    """
    from ppc.backend.evaluate import evaluate as over

    return over(
        plan,
        weights,
        data,
        Path(tokenizer),
        model=None if model is None else Path(model),
        output=output,
        private=private,
        truncate=truncate,
        progress=progress or (lambda phase, done, total: None),
    )


def tune(
    model: str | Path,
    *,
    data: DataSet,
    valid: DataSet,
    tokenizer: str | Path,
    output: str | Path,
    seq_len: int,
    kept: str | None = None,
    truncate: bool = False,
    decide: DataSet | None = None,
    settings: Settings | None = None,
    work: str | Path | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Replace what is dear in an ONNX model, tune it to answer as before, write it; takes the extra ``tune``.

    Args:
        data: texts (`read_data`) to tune on and to decide by; ``valid``: others, for the final numbers alone.
        decide: texts to decide by, which are a part of ``data`` otherwise; best those that the model itself
            was not trained on.
        tokenizer: the model's tokenizer.json.
        output: the file to be written, for prompts of ``seq_len`` tokens.
        kept: which output is wanted, where the model has several.
        truncate: cut texts that are too long, which are refused otherwise.
        settings: what may be replaced by what, at which loss of accuracy, and how long it is tuned
            (`ppc.backend.tune.settings`).
        work: a folder for a journal, and from which an interrupted run goes on with the same decisions.
        progress: called with what is going on, how much of it is done, and of how much.

    Raises BadInput and UsageError, before anything is trained, where model, data and tokenizer do not fit one
    another, and NotInstalled, which is a BadInput, where PyTorch is missing.
    """
    from ppc.backend.tune.tune import tune_model

    return tune_model(
        Path(model),
        data=data,
        valid=valid,
        tokenizer=Path(tokenizer),
        output=Path(output),
        seq_len=seq_len,
        kept=kept,
        truncate=truncate,
        decide=decide,
        settings=settings,
        work=None if work is None else Path(work),
        tell=progress or (lambda phase, done, total: None),
    )


def check(
    model: str | Path,
    *,
    seq_len: int | None = None,
    dims: Mapping[str, int] | None = None,
    outputs: str | Sequence[str] | None = None,
) -> Checked:
    """Every operator of a model, who would run it and how, and all that `compile` would refuse.

    Raises Error for a file that is no model, and for axes and outputs that it does not have.
    """
    from ppc.backend.check import check_model

    kept = (outputs,) if isinstance(outputs, str) else outputs
    return check_model(model, seq_len=seq_len, dims=dims, outputs=kept)


def inspect(plan: Plan, *, network: str = "lan") -> Summary:
    """Price, formats and who sees what, as one document; seconds over ``network`` (as of `compile`)."""
    from ppc.backend.report import summary as describe

    return describe(plan, parse_network(network))


def summary(plan: Plan) -> Summary:
    """`inspect` over a LAN."""
    return inspect(plan)


__all__ = [
    "Client",
    "DataSet",
    "Error",
    "Plan",
    "RuntimeFault",
    "Sampler",
    "Server",
    "SessionOptions",
    "Simulator",
    "Tokenizer",
    "Weights",
    "check",
    "compile",
    "compile_generation",
    "evaluate",
    "headroom",
    "inspect",
    "load_plan",
    "load_weights",
    "longest",
    "read_data",
    "simulate",
    "simulate_generation",
    "simulate_many",
    "summary",
    "tokenize",
    "tokenize_all",
    "tune",
]
