"""A model compiled, simulated and run by two parties, against ONNX Runtime."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from sides import infer, serve_one

import ppc
from ppc.backend.compile import Compiled
from ppc.frontend.read.run import run
from ppc.runtime.party.ledger import PHASES
from ppc.runtime.service.report import Outcome
from ppc.runtime.session.connection import predict_cost

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Error:
    """Of one output over several inputs, in parts of its standard deviation."""

    worst: float
    typical: float


def compiled(
    path: Path, calibrate: Sequence[Feeds], *, tokens: int = 16, batch: int = 1, **options: Any
) -> Compiled:
    return ppc.compile(path, dims=open_axes(path, tokens, batch), calibrate=calibrate, **options)


def open_axes(path: Path, tokens: int, batch: int) -> dict[str, int]:
    """A size for every axis that the model leaves open: the batch first, then tokens."""
    graph = onnx.load(path, load_external_data=False).graph
    return {
        axis.dim_param: tokens if i else batch
        for each in graph.input
        for i, axis in enumerate(each.type.tensor_type.shape.dim)
        if axis.dim_param
    }


def simulated_errors(
    path: Path, made: Compiled, feeds: Sequence[Feeds], *, padding: bool = True
) -> dict[str, Error]:
    """Of every output against ONNX Runtime; with ``padding`` of what tokens of padding give, too."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for each in feeds:
        got = ppc.simulate(made.plan, made.weights, each)
        for name, wanted in run(path, each, list(got)).items():
            assert got[name].shape == wanted.shape
            kept = np.asarray(each["attention_mask"] if not padding else 1, bool)
            at = kept if kept.shape == wanted.shape[:2] else ...
            found.setdefault(name, []).append((got[name][at].ravel(), wanted[at].ravel()))
    errors = {}
    for name, pairs in found.items():
        made_of, wanted_of = (np.concatenate(some) for some in zip(*pairs, strict=True))
        off = np.abs(made_of - wanted_of) / wanted_of.std()
        errors[name] = Error(float(off.max()), float(np.sqrt((off**2).mean())))
    return errors


def two_parties(made: Compiled, feeds: Feeds) -> tuple[Outcome, Outcome]:
    """(server's, client's) of one inference over loopback sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        server = listener.accept()[0]
    served: list[Outcome] = []
    thread = threading.Thread(
        target=lambda: served.append(serve_one(server, made.plan, made.weights, timeout=120))
    )
    thread.start()
    outcome = infer(client, made.plan, feeds, timeout=120)
    thread.join(timeout=120)
    assert served
    return served[0], outcome


def cost_as_predicted(*outcomes: Outcome) -> bool:
    """Bytes and flights of every phase, at each side."""
    keys: tuple[Literal["sent", "received", "flights"], ...] = ("sent", "received", "flights")
    return all(
        each.report[phase][key] == each.report["predicted"][phase][key]
        for each in outcomes
        for phase in PHASES
        for key in keys
    )


def megabytes(made: Compiled) -> tuple[float, float]:
    """Offline and online, both directions."""
    ledger = predict_cost(made.plan)
    offline, online = (ledger.total(phase) for phase in ("offline", "online"))
    return (offline.client + offline.server) / 1e6, (online.client + online.server) / 1e6
