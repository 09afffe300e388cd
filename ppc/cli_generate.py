"""The command that generates: token after token, with a server or in the clear."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

import ppc
from ppc import cli_inputs as inputs
from ppc.backend.cost import following
from ppc.cli_files import check_places, write_document
from ppc.cli_options import (
    ADDRESS,
    PATIENCE,
    CheckOt,
    Connect,
    Json,
    PlanFile,
    Report,
    ShapeAs,
    StoreAt,
    Timeout,
    TlsCa,
    TlsCert,
    TlsKey,
    Weights,
)
from ppc.cli_results import mega, print_json, say
from ppc.runtime.base.errors import BadInput
from ppc.runtime.net.network import parse_network
from ppc.runtime.net.tls import ClientTls
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.service.options import TIMEOUT
from ppc.runtime.service.report import Outcome
from ppc.runtime.service.sampling import Sampler
from ppc.runtime.service.tokenizer import Tokenizer
from ppc.runtime.session.connection import Program, predict_cost

Generate = Annotated[
    bool, typer.Option("--generate", help="A decoder: token after token, with --max-tokens.")
]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", min=1, help="Tokens that can follow a prompt, with --generate.")
]
PromptLen = Annotated[
    str | None,
    typer.Option("--prompt-len", help="Tokens in a prompt, with --generate: 16 or 16,64; default 16."),
]


def for_generation(
    asked: dict[str, object],
    emit_onnx: Path | None,
    generate: bool,
    most: int | None,
    prompts: str | None,
) -> dict[str, object]:
    """Arguments of `ppc.compile_generation`, from those of `ppc.compile` and the options about it."""
    if not generate or most is None:
        raise BadInput("--max-tokens and --prompt-len go with --generate, which needs the first")
    rest = dict(asked)
    seq_len, outputs, reveal = rest.pop("seq_len"), rest.pop("outputs"), rest.pop("reveal")
    if seq_len is not None or emit_onnx is not None:
        raise BadInput("--generate has its lengths by --prompt-len and --max-tokens, and emits no ONNX")
    chosen = outputs if isinstance(outputs, tuple) else ()
    if len(chosen) > 1:
        raise BadInput(f"--generate has one output, which chooses the next token, not {', '.join(chosen)}")
    told = next(iter(reveal.values()), "value") if isinstance(reveal, dict) else reveal
    lengths = inputs.lengths(prompts, "--prompt-len") or [16]
    return {**rest, "prompts": lengths, "most": most, "output": next(iter(chosen), None), "reveal": told}


def purpose(length: ppc.Plan) -> str:
    """What a program of a plan that generates is for."""
    states = length.states
    return f"a token after up to {states.held}" if states.held else f"a prompt of up to {states.added}"


def show_prices(plan: ppc.Plan) -> None:
    """What a prompt of each length costs, and a token after so many rows."""
    for each in plan.lengths:
        first, count = Program(further=bool(each.states.held)), each.options.together
        costs = [predict_cost(each, program) for program in (first, following(each) or first)]
        said = []
        for phase in ("offline", "online"):
            one, other = (cost.total(phase) for cost in costs)
            size = (one.bytes + (count - 1) * other.bytes) / count
            said.append(f"{phase} {mega(size)} in {other.flights} flights")
        mean = f", in the mean of {count} whose products are made together" if count > 1 else ""
        print(f"{purpose(each)}: {', '.join(said)}{mean}")


def generate(
    plan: PlanFile,
    tokenizer: Annotated[
        Path, typer.Option("--tokenizer", help="tokenizer.json, or the folder with the model's files.")
    ],
    text: Annotated[str | None, typer.Option("--text", help="The prompt; - reads stdin.")] = None,
    chat: Annotated[
        str | None,
        typer.Option(
            "--chat", help="Or what the user says, as the model's chat template writes it; - reads stdin."
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", help="What the assistant is told beforehand.")
    ] = None,
    chat_template: Annotated[
        Path | None,
        typer.Option("--chat-template", help="A template (Jinja); default: the one beside the tokenizer."),
    ] = None,
    side: Annotated[str, typer.Option("--role", help="client; the server's side is `ppc run`")] = "client",
    connect: Connect = ADDRESS,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="As many, or all that the plan has room for.")
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            help="A token that ends the text, as <|im_end|>; by default the tokenizer's usual ones."
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Draw at that temperature; 0 takes the likeliest.")
    ] = 0.0,
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="Draw from so many; 0: from all.")] = 0,
    top_p: Annotated[
        float,
        typer.Option("--top-p", min=0.0, max=1.0, help="Draw from the fewest that are so likely together."),
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Draw the same again.")] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="In the clear, with the server's weights, and no server.")
    ] = False,
    weights: Weights = None,
    costs: Annotated[
        bool, typer.Option("--costs", help="Tell each token's seconds and bytes on stderr.")
    ] = False,
    store: StoreAt = None,
    shape: ShapeAs = None,
    check_ot: CheckOt = False,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    report: Report = None,
    timeout: Timeout = TIMEOUT,
    as_json: Json = False,
) -> None:
    """Continue a text token by token: the client keeps prompt and answer, the server its weights."""
    check_places(as_json, report=report)
    if side != "client":
        raise BadInput(f"--role {side!r}: the server's side of generating is `ppc run PLAN --role server`")
    loaded = ppc.load_plan(plan)
    words = Tokenizer(tokenizer, chat_template=chat_template)
    ids = _prompt(words, text, chat, system)
    most = max_tokens or ppc.longest(loaded, len(ids))
    pick = Sampler(temperature, top_k, top_p, seed)
    ends = words.stops(stop)
    tokens: Iterator[tuple[int, Any]]
    if simulate:
        held = ppc.load_weights(weights or plan.with_suffix(".weights"), loaded)
        tokens = ppc.simulate_generation(loaded, held, ids, most, pick=pick, stop=ends)
    else:
        network = parse_network(shape) if shape else None
        options = ppc.SessionOptions(timeout=timeout, shape=network, check_ot=check_ot)
        client = ppc.Client(
            loaded,
            options,
            patience=min(PATIENCE, timeout),
            store=store or plan.with_suffix(".prepared"),
            tls=ClientTls(tls_ca, tls_cert, tls_key) if tls_ca else None,
        )
        tokens = client.generate(ids, most, pick=pick, stop=ends, address=connect)
    said, rows = _streamed(tokens, words, ends, None if as_json else _print, say if costs else None)
    document = {"text": said, "prompt": len(ids), "tokens": rows}
    write_document(report, document)
    if as_json:
        print_json(document)
        return
    print()
    _summarise(rows)


def _prompt(words: Tokenizer, text: str | None, chat: str | None, system: str | None) -> list[int]:
    """The prompt's tokens, of the one of the two that is given."""
    if text is not None:
        return words.encode(inputs.read_text(text))
    if chat is None:
        raise BadInput("give either --text TEXT, which is continued, or --chat TEXT, which is answered")
    said = inputs.read_text(chat)
    if not said.strip():
        raise BadInput("the user says nothing in --chat")
    told = [] if system is None else [{"role": "system", "content": system}]
    return words.chat([*told, {"role": "user", "content": said}])


def _print(piece: str) -> None:
    print(piece, end="", flush=True)


def _streamed(
    tokens: Iterator[tuple[int, Any]],
    words: Tokenizer,
    ends: frozenset[int],
    tell: Callable[[str], None] | None,
    cost: Callable[[str], None] | None,
) -> tuple[str, list[dict[str, Any]]]:
    """The text, told as it comes, and of every token what it was and what it cost."""
    said, ids, rows = "", list[int](), list[dict[str, Any]]()
    begun = perf_counter()
    for token, answer in tokens:
        seconds, begun = perf_counter() - begun, perf_counter()
        row: dict[str, Any] = {"id": token, "seconds": round(seconds, 3)}
        if isinstance(answer, Outcome):
            ledger = answer.done.ledger
            row |= {phase: ledger.total(phase).server + ledger.total(phase).client for phase in PHASES}
        rows.append(row)
        if cost:
            cost(f"token {len(rows)}: {seconds:.2f} s, {mega(_bytes(row))}")
        if token not in ends:
            ids.append(token)
            whole = words.decode(ids)
            if tell:
                tell(whole[len(said) :])
            said = whole
    return said, rows


def _bytes(row: Mapping[str, Any]) -> int:
    """Of all phases, both ways."""
    return sum(row.get(phase, 0) for phase in PHASES)


def _summarise(rows: Sequence[Mapping[str, Any]]) -> None:
    """On stderr: what the first token cost, which is the prompt's, and what each further one."""
    for what, some in (("the first token", rows[:1]), ("each further one", rows[1:])):
        if some:
            seconds = sum(each["seconds"] for each in some) / len(some)
            sizes = [_bytes(each) for each in some]
            online = sum(each.get("online", 0) for each in some) / len(some)
            cost = f", {mega(sum(sizes) / len(some))}, {mega(online)} of it online" if any(sizes) else ""
            say(f"{what}: {seconds:.2f} s{cost}")
