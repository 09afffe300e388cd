"""One product of a BERT-base layer beside others' in CKKS, where a whole model would be computed encrypted.

    python benchmarks/fhe_product.py [--tenseal .venv-fhe/bin/python] [--desilo .venv-desilo/bin/python]
                                     [--no-keep]

TenSEAL multiplies an encrypted row of 768 by a matrix, with a rotation a column; a product of 128 rows is
so many of them. DESILO's library multiplies 256 encrypted blocks of 16 by 16 by as many others at once, as
a·bᵀ each: every block of x is uploaded once for each of 32 columns of blocks, and sums are taken over the 48
of a row. Ours makes all rows at once, with masks in the place of values, and leaves shares. Each peer gets
an environment of its own, which is made where none is given. Seconds are of one core's work.
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

TENSEAL, DESILO = "tenseal==0.3.18", "desilofhe==2.0.0"
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

BLOCKS, SIDE = 256, 16
"""Of one encrypted stack, the library's smallest."""

OF_BLOCKS = f"""
import json, time
import numpy, desilofhe
engine = desilofhe.Engine(shape=({BLOCKS}, {SIDE}, {SIDE}), mode="cpu", thread_count=1)
secret = engine.create_secret_key()
key = engine.create_matrix_multiplication_key(secret)
rng = numpy.random.default_rng(0)
x, w = rng.normal(size=({ROWS}, {WIDTH})), rng.normal(size=({WIDTH}, {WIDTH}))
rows, inner = {ROWS} // {SIDE}, {WIDTH} // {SIDE}
columns = {BLOCKS} // rows
blocks = lambda a: a.reshape(a.shape[0] // {SIDE}, {SIDE}, -1, {SIDE}).transpose(0, 2, 1, 3)
x_of, w_of = blocks(x), blocks(w)
begun, up, sums = time.process_time(), 0, {{}}
for k in range(inner):
    stack = numpy.repeat(x_of[:, k], columns, axis=0)
    sent = engine.encrypt(stack, secret)
    up += len(engine.serialize_ciphertext(sent))
    for first in range(0, inner, columns):
        there = numpy.zeros((columns, {SIDE}, {SIDE}))
        some = w_of[k, first : first + columns]
        there[: len(some)] = some
        plain = engine.encode(numpy.tile(there.transpose(0, 2, 1), (rows, 1, 1)))
        one = engine.matrix_multiply(sent, plain, key)
        sums[first] = engine.add(sums[first], one) if first in sums else one
found, down = numpy.zeros((rows, inner, {SIDE}, {SIDE})), 0
for first, total in sums.items():
    down += len(engine.serialize_ciphertext(total))
    made = numpy.real(engine.decrypt(total, secret)).reshape(rows, columns, {SIDE}, {SIDE})
    found[:, first : first + columns] = made[:, : inner - first]
print(json.dumps({{
    "seconds": time.process_time() - begun, "up": up, "down": down,
    "keys": len(engine.serialize_matrix_multiplication_key(key)),
    "error": float(abs(found - blocks(x @ w)).max()),
}}))
"""


def measured(python: Path, script: str) -> dict[str, Any]:
    """What a peer's script says of itself."""
    done = subprocess.run([str(python), "-c", script], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tenseal", type=Path, help="an interpreter that has TenSEAL installed")
    parser.add_argument("--desilo", type=Path, help="an interpreter that has desilofhe installed")
    parser.add_argument("--no-keep", action="store_true", help="leave RESULTS.md alone")
    args = parser.parse_args()
    busy = load()
    peer = measured(environment(args.tenseal, ".venv-fhe", TENSEAL), SCRIPT)
    stacks = measured(environment(args.desilo, ".venv-desilo", DESILO), OF_BLOCKS)
    ours = row(NAME, *shapes(1.6e-7, PACKING_SETS)[NAME], 3)
    spent = sum(ours["seconds"][part] for part in ("encrypt", "answer", "decrypt"))
    table = [
        HEAD,
        ["TenSEAL", "1", *_columns(peer["seconds"], peer["up"], peer["down"], peer["keys"])],
        ["DESILO", str(ROWS), *_columns(stacks["seconds"], stacks["up"], stacks["down"], stacks["keys"])],
        ["ours", str(ROWS), *_columns(spent, ours["upload_bytes"], ours["answer_bytes"], ours["key_bytes"])],
    ]
    notes = [
        f"{ROWS} rows by TenSEAL, one by one: {ROWS * peer['seconds']:,.0f} s, "
        f"{ROWS * (peer['up'] + peer['down']) / 1e6:,.0f} MB.",
        f"TenSEAL's results, of spread {WIDTH**0.5:.0f}, err by up to {peer['error']:.0e}, DESILO's by "
        f"{stacks['error']:.0e}; ours by at most "
        f"2^{ours['error_bits']:.1f} units of which the next rescaling drops 2^{ours['spare']}.",
    ]
    publish("A product, and others' in CKKS", [table], notes, busy, not args.no_keep)


def _columns(spent: float, up: int, down: int, keys: int) -> list[str]:
    return [seconds(spent), mega(up), mega(down), mega(keys)]


if __name__ == "__main__":
    main()
