"""Time and bytes of matrix products under HE, one thread.

python benchmarks/he_product.py [--json] [--repeat 3] [--only NAME] [--byte-price 8e-8] [--packing]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ppc.runtime.base.prg import Prg
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.bfv import HeClient, HeServer
from ppc.runtime.he.params import PACKING_SETS, PARAMETER_SETS, HeParams
from ppc.runtime.he.product import Product, answer_bytes, public_key_bytes, upload_bytes
from ppc.runtime.he.tiling import plan_product

T = TypeVar("T")


def shapes(byte_price: float, params: tuple[HeParams, ...]) -> dict[str, tuple[Product, int | None]]:
    """Products by name, and the signed width of V where it is not uniform mod 2^ell."""

    def weights(m: int, k: int, n: int, ell: int, bits: int, norm: int) -> tuple[Product, int]:
        return plan_product(
            1, m, k, n, ell, he_seconds, norm_bits=norm, byte_price=byte_price, params=params
        ), bits

    def masks(batch: int, m: int, k: int, n: int, ell: int) -> tuple[Product, None]:
        return plan_product(batch, m, k, n, ell, he_seconds, byte_price=byte_price, params=params), None

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
    s = prg.ring(ell, (b, m, n))
    v: np.ndarray[Any, Any] = prg.ring(value_bits or ell, (b, k, n))
    if value_bits:
        v = v.astype(np.int32) - (1 << (value_bits - 1))
    u, parts = client.upload(product)
    encrypt, up = timed(lambda: list(parts))
    answer, down = timed(lambda: list(server.answer(product, up, v, s)))
    decrypt, got = timed(lambda: client.finish(product, down))
    want = u @ v.astype(np.int64).view(np.uint64) - s
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
        "fill": product.fill,
        "key_bytes": public_key_bytes(product.params),
        "degree": product.params.degree,
        "q_bits": sum(product.params.data_bits),
        "noise_bits": product.noise_bits,
        "flood_bits": product.flood_bits,
        "budget_bits": product.budget_bits,
        "answer_bits": product.answer_bits,
        "upload_ciphertexts": product.upload_ciphertexts,
        "plain_tiles": product.plain_tiles,
        "work": product.work,
        "answer_ciphertexts": product.answer_ciphertexts,
        "upload_bytes": upload_bytes(product),
        "answer_bytes": answer_bytes(product),
        "seconds": best,
        "predicted_seconds": he_seconds(product),
    }


COLUMNS = (
    ("product", 27), ("tile", 9), ("fill", 5), ("N", 5), ("q", 4), ("noise/flood/room", 17), ("up MB", 8),
    ("down MB", 8), ("keys", 7), ("encrypt", 8), ("answer", 8), ("decrypt", 8), ("sum", 7), ("predicted", 10),
)  # fmt: skip


def show(rows: list[dict[str, Any]]) -> None:
    """A table; times in seconds, noise in bits."""
    print("".join(f"{name:>{width}}" for name, width in COLUMNS))
    for r in rows:
        times = r["seconds"]
        noise = f"{r['noise_bits']}/{r['flood_bits']}/{r['budget_bits']}"
        total = times["encrypt"] + times["answer"] + times["decrypt"]
        cells = [r["name"], r["tile"], r["fill"], r["degree"], r["q_bits"], noise]
        cells += [f"{r[key] / 1e6:.2f}" for key in ("upload_bytes", "answer_bytes")]
        cells += [f"{x:.3f}" for x in (*times.values(), total, r["predicted_seconds"])]
        print("".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, of which the best counts")
    parser.add_argument("--only", default="", help="products whose name contains this")
    parser.add_argument("--byte-price", type=float, default=8e-8, help="seconds a byte costs (100 Mbit/s)")
    parser.add_argument("--packing", action="store_true", help="allow packed answers, with their keys")
    args = parser.parse_args()
    params = PACKING_SETS if args.packing else PARAMETER_SETS
    chosen = [(name, *it) for name, it in shapes(args.byte_price, params).items() if args.only in name]
    rows = [row(name, product, bits, args.repeat) for name, product, bits in chosen]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if args.json:
        print(json.dumps({"rows": rows, "peak_bytes": peak}))
    else:
        show(rows)
        print(f"peak memory {peak / 1e6:.0f} MB, both sides and all matrices in one process")


if __name__ == "__main__":
    main()
