"""The encoder of `encoder` under SPU's Cheetah protocol, two processes on loopback; prints one JSON object.

    .venv-spu/bin/python benchmarks/spu_encoder.py --layers 1 --hidden 384 --heads 12 --ffn 1536 --tokens 64
                                                   [--activation gelu|relu] [--attention softmax|relu]

Runs in an environment of its own, with ``pip install spu`` alone: it pins an older numpy. Weights are private
to rank 1, the input to rank 0. What is private to one side is secret with an owner; each side makes the same
shares of the other's values, as SPU's examples do for colocated data. Messages may take minutes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

RING, FRACTION = 64, 18
TIMEOUT_MS = 3_600_000


def draw(args: argparse.Namespace) -> tuple[list[dict[str, Any]], Any]:
    """As `encoder.draw`, with the zero biases and unit gains that SPU adds and multiplies as well."""
    rng, d, f = np.random.default_rng(0), args.hidden, args.ffn

    def w(rows: int, cols: int) -> Any:
        return (rng.standard_normal((rows, cols)) * 0.5 / np.sqrt(rows)).astype(np.float32)

    shapes = {"wq": (d, d), "wk": (d, d), "wv": (d, d), "wo": (d, d), "w1": (d, f), "w2": (f, d)}
    layers = [{name: w(*shape) for name, shape in shapes.items()} for _ in range(args.layers)]
    for layer in layers:
        layer |= {"b": np.zeros(d, np.float32), "b1": np.zeros(f, np.float32), "g": np.ones(d, np.float32)}
    return layers, rng.standard_normal((args.tokens, d)).astype(np.float32)


def encoder(args: argparse.Namespace) -> Callable[[Any, Any], Any]:
    import jax
    import jax.numpy as jnp

    def norm(x: Any, p: Any) -> Any:
        c = x - x.mean(-1, keepdims=True)
        return c * jax.lax.rsqrt((c * c).mean(-1, keepdims=True) + 1e-5) * p["g"] + p["b"]

    def attention(x: Any, p: Any) -> Any:
        n, d = x.shape
        width = d // args.heads
        q, k, v = (
            (x @ p[w] + p["b"]).reshape(n, args.heads, width).transpose(1, 0, 2) for w in ("wq", "wk", "wv")
        )
        s = q @ k.transpose(0, 2, 1) / np.sqrt(width).astype(np.float32)
        if args.attention == "softmax":
            e = jnp.exp(jnp.clip(s - s.max(-1, keepdims=True), -14, 0))
            a = e / e.sum(-1, keepdims=True)
        else:
            r = jax.nn.relu(s)
            a = r / (r.sum(-1, keepdims=True) + 1e-2)
        return (a @ v).transpose(1, 0, 2).reshape(n, d) @ p["wo"] + p["b"]

    def run(x: Any, layers: Any) -> Any:
        for p in layers:
            x = norm(x + attention(x, p), p)
            h = x @ p["w1"] + p["b1"]
            h = jax.nn.gelu(h, approximate=True) if args.activation == "gelu" else jax.nn.relu(h)
            x = norm(x + h @ p["w2"] + p["b"], p)
        return x

    return run


def sent_on_loopback() -> int:
    """Bytes that this machine has sent to itself, headers of TCP and IP included."""
    with open("/proc/net/dev") as file:
        line = next(line for line in file if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[8])


def party(rank: int, ports: list[int], args: argparse.Namespace) -> tuple[float, int, Any, Any, Any]:
    """Seconds, loopback bytes, this rank's share, the float result and SPU's reader of shares."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    from spu import Io, Runtime, libspu
    from spu.utils import frontend

    config = libspu.RuntimeConfig(
        protocol=libspu.ProtocolKind.CHEETAH, field=libspu.FieldType.FM64, fxp_fraction_bits=FRACTION
    )
    config.experimental_enable_colocated_optimization = True
    config.cheetah_2pc_config.enable_mul_lsb_error = True
    layers, x = draw(args)
    program = encoder(args)
    flat, _ = jax.tree_util.tree_flatten(((x, layers), {}))
    secret = libspu.Visibility.VIS_SECRET
    names = [f"in{i}" for i in range(len(flat))]
    compiled, _ = frontend.compile(
        frontend.Kind.JAX, program, (x, layers), {}, names, [secret] * len(flat),
        lambda outputs: [f"out{i}" for i in range(len(outputs))],
    )  # fmt: skip
    io = Io(2, config)
    link = libspu.link.Desc()
    link.recv_timeout_ms = link.http_timeout_ms = TIMEOUT_MS
    for i in range(2):
        link.add_party(f"id{i}", f"127.0.0.1:{ports[i]}")
    runtime = Runtime(libspu.link.create_brpc(link, rank), config)
    for i, (name, value) in enumerate(zip(names, flat, strict=True)):
        runtime.set_var(name, io.make_shares(np.asarray(value), secret, 0 if i == 0 else 1)[rank])
    before, begun = sent_on_loopback(), time.perf_counter()
    runtime.run(compiled)
    seconds, moved = time.perf_counter() - begun, sent_on_loopback() - before
    return seconds, moved, runtime.get_var("out0"), np.asarray(program(x, layers)), io


def other(ports: list[int], args: argparse.Namespace, pipe: Connection) -> None:
    seconds, _, share, _, _ = party(1, ports, args)
    pipe.send((seconds, bytes(share.meta), [bytes(chunk) for chunk in share.share_chunks]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in (("layers", 1), ("hidden", 768), ("heads", 12), ("ffn", 3072), ("tokens", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--activation", choices=("gelu", "relu"), default="gelu")
    parser.add_argument("--attention", choices=("softmax", "relu"), default="softmax")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    ports = _ports()
    child = context.Process(target=other, args=(ports, args, theirs))
    child.start()
    seconds, moved, share, wanted, io = party(0, ports, args)
    slower, meta, chunks = mine.recv()
    child.join()
    from spu import libspu

    rest = libspu.Share()
    rest.meta, rest.share_chunks = meta, chunks
    error = float(np.abs(io.reconstruct([share, rest]) - wanted).max())
    print(json.dumps({"seconds": max(seconds, slower), "bytes": moved, "error": error, "ring": RING}))


def _ports() -> list[int]:
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    main()
