"""Bytes and seconds on a core of matrix products under HE.

python benchmarks/he_product.py [--json] [--repeat 3] [--only NAME] [--byte-price 8e-8] [--packing]
                                [--plan PLAN]     the products of a plan, instead of some by themselves
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from math import log2
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import ppc
from ppc.runtime.base.prg import SEED_BYTES, Prg
from ppc.runtime.base.ring import Fixed
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.bfv import HeClient, HeServer, share_of
from ppc.runtime.he.params import PACKING_SETS, PARAMETER_SETS, HeParams
from ppc.runtime.he.product import Product, answer_bytes, public_key_bytes, upload_bytes
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.plan.steps import Linear

T = TypeVar("T")

SPARE = 10
"""Low bits that what follows a product drops, less one."""


def shapes(byte_price: float, params: tuple[HeParams, ...]) -> dict[str, tuple[Product, int | None]]:
    """Products by name, and the signed width of V where it is not uniform mod 2^ell."""

    def weights(m: int, k: int, n: int, ell: int, bits: int, norm: int) -> tuple[Product, int]:
        return plan_product(
            1, m, k, n, ell, he_seconds, spare=SPARE, norm_bits=norm, byte_price=byte_price, params=params
        ), bits

    def masks(batch: int, m: int, k: int, n: int, ell: int) -> tuple[Product, None]:
        return plan_product(
            batch, m, k, n, ell, he_seconds, spare=SPARE, byte_price=byte_price, params=params
        ), None

    return {
        "lookup 32x30522x384": weights(32, 30522, 384, 16, 15, 22),
        "qkv 32x384x1152": weights(32, 384, 1152, 30, 10, 13),
        "ffn 32x384x1536": weights(32, 384, 1536, 30, 10, 13),
        "scores 12x32x32x32": masks(12, 32, 32, 32, 26),
        "base 128x768x768": weights(128, 768, 768, 32, 10, 14),
        "base scores 12x128x64x128": masks(12, 128, 64, 128, 32),
    }


def of_plan(path: Path) -> dict[str, tuple[Product, int | None]]:
    """Those of a plan, with weights of the widest entries that the announced norm allows."""
    found: dict[str, tuple[Product, int | None]] = {}
    for i, step in enumerate(ppc.load_plan(path).steps):
        for j, product in enumerate(step.products()):
            bits = (
                max(1, int(product.norm_bits - log2(product.k) / 2) + 1) if isinstance(step, Linear) else None
            )
            shape = f"{product.batch}x{product.m}x{product.k}x{product.n}"
            found[f"{i:04}{'ab'[j]} {shape}"] = product, bits
    return found


def timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.process_time()
    out = work()
    return time.process_time() - start, out


def measure(product: Product, value_bits: int | None) -> dict[str, Any]:
    """One product, checked against integers."""
    prg, ell, b = Prg(), product.ell, product.batch
    m, k, n = product.m, product.k, product.n
    client, seed = HeClient(), prg.bytes(SEED_BYTES).tobytes()
    keys, public = timed(lambda: client.add([product.params], seed))
    server = HeServer(seed)
    server.add([product.params], public)
    mask = prg.ring(64, (b, m, n))
    v: np.ndarray[Any, Any] = prg.ring(value_bits or ell, (b, k, n))
    if value_bits:
        v = v.astype(np.int32) - (1 << (value_bits - 1))
    u, parts = client.upload(product)
    encrypt, up = timed(lambda: list(parts))
    answer, down = timed(lambda: list(server.answer(product, up, v, mask)))
    decrypt, got = timed(lambda: client.finish(product, down))
    num = Fixed(ell)
    error = num.signed(num.wrap(got + share_of(mask, ell) - u @ v.astype(np.int64).view(np.uint64)))
    if np.abs(error).max() > 2**product.spare:
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
        "error_bits": product.error_bits,
        "spare": product.spare,
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
    ("product", 27), ("tile", 9), ("fill", 5), ("N", 5), ("q", 4), ("error/spare", 12), ("up MB", 8),
    ("down MB", 8), ("keys", 7), ("encrypt", 8), ("answer", 8), ("decrypt", 8), ("sum", 7), ("predicted", 10),
)  # fmt: skip


def show(rows: list[dict[str, Any]]) -> None:
    """A table; times in seconds, errors in bits of the product."""
    print("".join(f"{name:>{width}}" for name, width in COLUMNS))
    for r in rows:
        times = r["seconds"]
        error = f"{r['error_bits']:.1f}/{r['spare']}"
        total = times["encrypt"] + times["answer"] + times["decrypt"]
        cells = [r["name"], r["tile"], r["fill"], r["degree"], r["q_bits"], error]
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
    parser.add_argument("--plan", type=Path, help="measure the products of this plan")
    args = parser.parse_args()
    params = PACKING_SETS if args.packing else PARAMETER_SETS
    offered = of_plan(args.plan) if args.plan else shapes(args.byte_price, params)
    chosen = [(name, *it) for name, it in offered.items() if args.only in name]
    rows = [row(name, product, bits, args.repeat) for name, product, bits in chosen]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if args.json:
        print(json.dumps({"rows": rows, "peak_bytes": peak}))
    else:
        show(rows)
        total = {key: sum(r["seconds"][key] for r in rows) for key in ("encrypt", "answer", "decrypt")}
        size = sum(r["upload_bytes"] + r["answer_bytes"] for r in rows)
        print(f"together {size / 1e6:.2f} MB, {sum(total.values()):.2f} s on a core of both sides: {total}")
        print(f"peak memory {peak / 1e6:.0f} MB, both sides and all matrices in one process")


if __name__ == "__main__":
    main()
