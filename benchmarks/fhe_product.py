"""One product of a BERT-base layer beside TenSEAL's (CKKS), where a whole model would be computed encrypted.

    python benchmarks/fhe_product.py [--tenseal .venv-fhe/bin/python] [--no-keep]

TenSEAL multiplies an encrypted row of 768 by a matrix, with a rotation a column; a product of 128 rows is so
many of them. Ours makes all rows at once, with masks in the place of values, and leaves shares. TenSEAL gets
an environment of its own, which is made in .venv-fhe where none is given. Seconds are of one core's work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

from he_product import row, shapes
from peers import environment
from results import load, mega, publish, seconds

from ppc.runtime.he.params import PACKING_SETS

TENSEAL = "tenseal==0.3.18"
NAME, ROWS, WIDTH = "base 128x768x768", 128, 768
HEAD = ["product", "rows", "s", "MB up", "MB down", "MB of keys"]

SCRIPT = f"""
import json, time
import numpy, tenseal
context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 60])
context.global_scale = 2**40
context.generate_galois_keys()
rng = numpy.random.default_rng(0)
x, w = rng.normal(size={WIDTH}), rng.normal(size=({WIDTH}, {WIDTH}))
begun = time.process_time()
row = tenseal.ckks_vector(context, x.tolist())
made = row.matmul(w.tolist())
found = numpy.array(made.decrypt())
print(json.dumps({{
    "seconds": time.process_time() - begun, "up": len(row.serialize()), "down": len(made.serialize()),
    "keys": len(context.serialize(save_secret_key=False)), "error": float(abs(found - x @ w).max()),
}}))
"""


def tenseal(python: Path) -> dict[str, Any]:
    """One row."""
    done = subprocess.run([str(python), "-c", SCRIPT], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tenseal", type=Path, help="an interpreter that has TenSEAL installed")
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy, python = load(), environment(args.tenseal, ".venv-fhe", TENSEAL)
    peer, ours = tenseal(python), row(NAME, *shapes(1.6e-7, PACKING_SETS)[NAME], 3)
    spent = sum(ours["seconds"][part] for part in ("encrypt", "answer", "decrypt"))
    table = [
        HEAD,
        ["TenSEAL", "1", *_columns(peer["seconds"], peer["up"], peer["down"], peer["keys"])],
        ["ours", str(ROWS), *_columns(spent, ours["upload_bytes"], ours["answer_bytes"], ours["key_bytes"])],
    ]
    notes = [
        f"{ROWS} rows by TenSEAL, one by one: {ROWS * peer['seconds']:,.0f} s, "
        f"{ROWS * (peer['up'] + peer['down']) / 1e6:,.0f} MB.",
        f"TenSEAL's results, of spread {WIDTH**0.5:.0f}, err by up to {peer['error']:.0e}; ours by at most "
        f"2^{ours['error_bits']:.1f} units of which the next rescaling drops 2^{ours['spare']}.",
    ]
    publish("A product, and TenSEAL's", [table], notes, busy, not args.no_keep)


def _columns(spent: float, up: int, down: int, keys: int) -> list[str]:
    return [seconds(spent), mega(up), mega(down), mega(keys)]


if __name__ == "__main__":
    main()
