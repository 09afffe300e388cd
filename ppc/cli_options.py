"""Options that several commands take, and that each is given once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from ppc.runtime.base.errors import BadInput
from ppc.runtime.party.role import Role as Side

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Role = Annotated[Side, typer.Option(help="Which of the two this is.")]
Listen = Annotated[str, typer.Option(help="server: where to listen")]
Connect = Annotated[str, typer.Option(help="client: where the server is")]
Weights = Annotated[Path | None, typer.Option(help="server: default PLAN with suffix .weights")]
Report = Annotated[Path | None, typer.Option(help="Write what it cost, as JSON.")]
Timeout = Annotated[
    float,
    typer.Option(min=3, help="Give up a peer that gives no sign for so long, or whose message is so late."),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        help="Offline material to hold, as 500MB; the rest waits in an encrypted file. Default: all.",
    ),
]
StoreAt = Annotated[Path | None, typer.Option("--store", help="Prepared material; default PLAN.prepared")]
ShapeAs = Annotated[
    str | None, typer.Option("--shape", help="Send as slowly as lan, wan or BANDWIDTH,RTT; give it to both.")
]
CheckOt = Annotated[
    bool,
    typer.Option(
        "--check-ot", help="End the run if the peer extends OTs otherwise than it should; give it to both."
    ),
]
TlsCert = Annotated[
    Path | None, typer.Option(help="Certificate chain, PEM: turns TLS on at the server, names the client")
]
TlsKey = Annotated[Path | None, typer.Option(help="Its private key, PEM")]
TlsCa = Annotated[Path | None, typer.Option(help="client: whom to trust, PEM; turns TLS on")]
ADDRESS = "127.0.0.1:7766"
PATIENCE = 30.0
"""Seconds for which a client waits for a server that does not listen yet; never longer than --timeout."""
SeqLen = Annotated[
    str | None, typer.Option("--seq-len", help="Tokens in a prompt; several, as 16,32,64, make one plan.")
]
PlanFile = Annotated[Path, typer.Argument(help="The plan that `ppc compile` wrote.", metavar="PLAN")]


Texts = Annotated[
    list[str] | None,
    typer.Option("--text", help="A prompt, with --tokenizer; - reads stdin; several are one sample each."),
]
TextPairs = Annotated[
    list[str] | None, typer.Option("--text-pair", help="The second half of a pair, one for each --text.")
]
TextFile = Annotated[
    Path | None,
    typer.Option(
        "--text-file", help="Prompts, a line each, with --tokenizer; of a pair the second behind a tab."
    ),
]
TokenizerFile = Annotated[
    Path | None,
    typer.Option(
        "--tokenizer",
        help="tokenizer.json, a folder with one, or the name of a model on the Hugging Face hub.",
    ),
]
Labelled = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="A classifier's labels (config.json, JSON or a line each): print them with probabilities.",
    ),
]
LabelColumn = Annotated[str | None, typer.Option(help="The column of labels; default: label")]
TextColumns = Annotated[
    list[str] | None, typer.Option(help="A column of text, or two of pairs; default: all but the labels.")
]
Truncate = Annotated[
    bool, typer.Option("--truncate", help="Cut texts that are too long; otherwise they are refused.")
]
Written = Annotated[
    Path | None, typer.Option("-o", "--out", help="Write the outputs, as .npz, .json or .jsonl, or to -.")
]


def size(given: str) -> float:
    """Bytes of a ``--memory``."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*(MB|GB)", given)
    if found is None:
        raise BadInput(f"--memory is a number of MB or GB, as 4GB, not {given!r}")
    return float(found[1]) * {"MB": 1e6, "GB": 1e9}[found[2]]
