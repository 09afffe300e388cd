"""Time and bytes of matrix products under HE, one thread.

python benchmarks/he_product.py [--json] [--repeat 3] [--only NAME] [--byte-price 8e-8]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ppc.runtime.he import HeClient, HeServer
from ppc.runtime.he_product import Product, answer_bytes, plan_product, upload_bytes
from ppc.runtime.random import Prg

T = TypeVar("T")


def shapes(byte_price: float) -> dict[str, tuple[Product, int | None]]:
    """Products by name, and the signed width of V where it is not uniform mod 2^ell."""

    def weights(m: int, k: int, n: int, ell: int, bits: int, norm: int) -> tuple[Product, int]:
        return plan_product(1, m, k, n, ell, norm_bits=norm, byte_price=byte_price), bits

    def masks(batch: int, m: int, k: int, n: int, ell: int) -> tuple[Product, None]:
        return plan_product(batch, m, k, n, ell, two_sided=True, byte_price=byte_price), None

    return {
        "lookup 32x30522x384": weights(32, 30522, 384, 16, 15, 22),
        "qkv 32x384x1152": weights(32, 384, 1152, 30, 10, 13),
        "ffn 32x384x1536": weights(32, 384, 1536, 30, 10, 13),
        "scores 12x32x32x32": masks(12, 32, 32, 32, 26),
        "base 128x768x768": weights(128, 768, 768, 32, 10, 14),
        "base scores 12x128x64x128": masks(12, 128, 64, 128, 32),
    }


def timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    out = work()
    return time.perf_counter() - start, out


def measure(product: Product, value_bits: int | None) -> dict[str, Any]:
    """One product, checked against integers."""
    prg, ell, b = Prg(), product.ell, product.batch
    m, k, n = product.m, product.k, product.n
    keys, client = timed(lambda: HeClient([product.params]))
    server = HeServer([product.params], client.public_keys())
    u, s = prg.ring(ell, (b, m, k)), prg.ring(ell, (b, m, n))
    v: np.ndarray[Any, Any] = prg.ring(value_bits or ell, (b, k, n))
    if value_bits:
        v = v.astype(np.int32) - (1 << (value_bits - 1))
    two = product.two_sided
    p, q = (prg.ring(ell, (b, k, n)), prg.ring(ell, (b, m, k))) if two else (None, None)
    encrypt, up = timed(lambda: list(client.upload(product, u, p)))
    answer, down = timed(lambda: list(server.answer(product, up, v, s, q)))
    decrypt, got = timed(lambda: client.finish(product, down))
    want = u @ v.astype(np.int64).view(np.uint64) - s
    if p is not None and q is not None:
        want = want + q @ p
    if not np.array_equal(got, want & np.uint64((1 << ell) - 1)):
        raise SystemExit(f"wrong result: {product}")
    sent, received = sum(map(len, up)), sum(map(len, down))
    if (sent, received) != (upload_bytes(product), answer_bytes(product)):
        raise SystemExit(f"sizes differ from the prediction: {product}")
    return {"keys": keys, "encrypt": encrypt, "answer": answer, "decrypt": decrypt}


def row(name: str, product: Product, value_bits: int | None, repeat: int) -> dict[str, Any]:
    runs = [measure(product, value_bits) for _ in range(repeat)]
    best = {key: min(run[key] for run in runs) for key in runs[0]}
    return {
        "name": name,
        "tile": str(product.tile),
        "degree": product.params.degree,
        "q_bits": sum(product.params.data_bits),
        "noise_bits": product.noise_bits,
        "flood_bits": product.flood_bits,
        "budget_bits": product.budget_bits,
        "answer_bits": product.answer_bits,
        "upload_ciphertexts": product.upload_ciphertexts,
        "plain_tiles": product.plain_tiles,
        "macs": product.macs,
        "answer_ciphertexts": product.answer_ciphertexts,
        "upload_bytes": upload_bytes(product),
        "answer_bytes": answer_bytes(product),
        "seconds": best,
        "predicted_seconds": product.predicted_seconds,
    }


def show(rows: list[dict[str, Any]]) -> None:
    print(
        f"{'product':27} {'tile':>9} {'N':>5} {'q':>4} {'noise/flood/room':>16} {'up MB':>7} {'down MB':>7}",
        end="",
    )
    print(f" {'keys':>6} {'encrypt':>7} {'answer':>7} {'decrypt':>7} {'sum':>6} {'predicted':>9}")
    for r in rows:
        s = r["seconds"]
        noise = f"{r['noise_bits']}/{r['flood_bits']}/{r['budget_bits']}"
        print(f"{r['name']:27} {r['tile']:>9} {r['degree']:5} {r['q_bits']:4} {noise:>16}", end="")
        print(f" {r['upload_bytes'] / 1e6:7.2f} {r['answer_bytes'] / 1e6:7.2f} {s['keys']:6.3f}", end="")
        total = s["encrypt"] + s["answer"] + s["decrypt"]
        print(f" {s['encrypt']:7.3f} {s['answer']:7.3f} {s['decrypt']:7.3f} {total:6.3f}", end="")
        print(f" {r['predicted_seconds']:9.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, of which the best counts")
    parser.add_argument("--only", default="", help="products whose name contains this")
    parser.add_argument("--byte-price", type=float, default=8e-8, help="seconds a byte costs (100 Mbit/s)")
    args = parser.parse_args()
    chosen = [(name, *it) for name, it in shapes(args.byte_price).items() if args.only in name]
    rows = [row(name, product, bits, args.repeat) for name, product, bits in chosen]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if args.json:
        print(json.dumps({"rows": rows, "peak_bytes": peak}))
    else:
        show(rows)
        print(f"peak memory {peak / 1e6:.0f} MB, both sides and all matrices in one process")


if __name__ == "__main__":
    main()
