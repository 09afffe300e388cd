"""Rates of oblivious transfer on one core: COTs by IKNP and by silent iterations, checks and hashes of them.

    python benchmarks/ot_rate.py [--repeat 5] [--aes-ni] [--json]

Each role's kernels run alone, one after the other, so that a rate is one core's and owes nothing to the wire.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ppc.runtime import _ot
from ppc.runtime.ot.base import base_ots
from ppc.runtime.ot.check import challenge
from ppc.runtime.ot.extension import message_size
from ppc.runtime.ot.keys import hash_tweak, receiver_keys
from ppc.runtime.ot.silent import B12, SETS, Lpn
from ppc.runtime.party.party import Party, together
from ppc.runtime.party.role import SERVER

LOW = np.array([1, 0], np.uint64)
COUNT = 1 << 19


def best(repeat: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """The least seconds of ``repeat`` runs, and the last result."""
    least, result = float("inf"), None
    for _ in range(repeat):
        result = None  # give the memory back first, as a running pool does
        begun = time.perf_counter()
        result = work()
        least = min(least, time.perf_counter() - begun)
    return least, result


def dealt(n: int) -> tuple[Any, Any, Any]:
    """Delta, q, t from a public generator."""
    rng = np.random.default_rng(1)
    words = rng.integers(0, 2**64, (n + 1, 2), dtype=np.uint64)
    delta, q = words[:1] | LOW, words[1:] & ~LOW
    return delta, q, q ^ rng.integers(0, 2, (n, 1)).astype(np.uint64) * delta


def iknp(repeat: int) -> dict[str, float]:
    rng = np.random.default_rng(2)
    zero, one = (np.frombuffer(rng.bytes(16 * _ot.COLUMNS), np.uint8) for _ in range(2))
    choices = np.frombuffer(rng.bytes(COUNT // 8), np.uint8)
    receive, made = best(repeat, lambda: _ot.iknp_receive(zero, one, 0, choices))
    send, _ = best(repeat, lambda: _ot.iknp_send(zero, dealt(1)[0], 0, made[0]))
    return {"sender": COUNT / send, "receiver": COUNT / receive, "bytes": message_size(COUNT) / COUNT}


def silent(lpn: Lpn, repeat: int) -> dict[str, float]:
    delta, q, t = dealt(lpn.spent)
    seed = np.zeros(16, np.uint8)

    def send() -> Any:
        message, leaves = _ot.ggm_send(seed, seed, delta, q[lpn.secret :], lpn.trees, lpn.depth)
        _ot.lpn_encode(seed, q[: lpn.secret], leaves)
        return message

    def receive() -> None:
        leaves = _ot.ggm_receive(seed, t[lpn.secret :], message, lpn.trees, lpn.depth)
        _ot.lpn_encode(seed, t[: lpn.secret], leaves)

    net = lpn.made - lpn.spent
    sent, message = best(repeat, send)
    received, _ = best(repeat, receive)
    return {"sender": net / sent, "receiver": net / received, "bytes": lpn.message_size / net}


def checks(repeat: int) -> dict[str, float]:
    """Rows and leaves a second of the checks (`ot.check`), the hash of what was said included."""
    _, _, rows = dealt(COUNT)
    columns, sums = bytes(message_size(COUNT)), bytes(B12.message_size)
    _, _, leaves = dealt(B12.made)

    def column() -> None:
        _ot.column_hashes(challenge(b"ppc IKNP check", b"", 0, columns), rows)

    def leaf() -> None:
        _ot.leaf_sums(challenge(b"ppc GGM check", b"", 0, sums), leaves, B12.trees, B12.depth)

    return {"rows": COUNT / best(repeat, column)[0], "leaves": B12.made / best(repeat, leaf)[0]}


def hashes(nbytes: int, repeat: int) -> float:
    _, _, t = dealt(COUNT)
    tweak = hash_tweak(b"")
    return COUNT / best(repeat, lambda: receiver_keys(t, tweak, 0, nbytes))[0]


def base(repeat: int) -> float:
    """Seconds of 127 base OTs, both roles sharing this process."""

    def program(p: Party) -> None:
        base_ots(p, SERVER, _ot.COLUMNS)

    return best(repeat, lambda: together(program))[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, help="runs of each measurement; the best counts")
    parser.add_argument("--aes-ni", action="store_true", help="leave VAES unused")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if args.aes_ni:
        _ot.set_wide_aes(False)
    report: dict[str, Any] = {
        "vaes": _ot.has_wide_aes() and not args.aes_ni,
        "base_seconds": base(min(args.repeat, 3)),
        "cots": {"iknp": iknp(args.repeat), **{s.name: silent(s, args.repeat) for s in SETS.values()}},
        "checks": checks(args.repeat),
        "hashes": {str(n): hashes(n, args.repeat) for n in (1, 8, 16, 32)},
    }
    if args.json:
        print(json.dumps(report))
        return
    print(f"127 base OTs: {1000 * report['base_seconds']:.1f} ms; VAES {'on' if report['vaes'] else 'off'}")
    print(f"{'':8}{'sender':>10}{'receiver':>10}   (million COT/s, one core){'bytes/COT':>12}")
    for name, row in report["cots"].items():
        print(f"{name:8}{row['sender'] / 1e6:10.1f}{row['receiver'] / 1e6:10.1f}{row['bytes']:37.3f}")
    for what, rate in report["checks"].items():
        print(f"{what} checked: {rate / 1e6:6.0f} million/s")
    for size, rate in report["hashes"].items():
        print(f"keys of {size:>2} bytes: {rate / 1e6:6.0f} million/s")


if __name__ == "__main__":
    main()
