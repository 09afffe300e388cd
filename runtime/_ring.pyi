from collections.abc import Sequence
from typing import Any

from numpy import float64, int64, uint8, uint64
from numpy.typing import NDArray

def pack(x: NDArray[uint64], bits: int) -> NDArray[uint8]: ...
def unpack(data: NDArray[uint8], bits: int, count: int) -> NDArray[uint64]: ...
def matmul(a: NDArray[uint64], b: NDArray[Any]) -> NDArray[uint64]: ...
def one_of_n_pads(k0: NDArray[uint8], k1: NDArray[uint8], entry: int) -> NDArray[uint8]: ...
def one_of_n_open(
    data: NDArray[uint8], index: NDArray[uint8], pad: NDArray[uint8], bits: int, width: int
) -> NDArray[uint64]: ...
def comparison_seal(
    pads: NDArray[uint8],
    turn: NDArray[uint64],
    shares: NDArray[uint64],
    masks: NDArray[uint64],
    low: int,
    at: int,
    start: int,
    stop: int,
    equal: bool,
) -> NDArray[uint8]: ...
def and_open(
    x: NDArray[uint8],
    y: NDArray[uint8],
    u: Sequence[NDArray[uint8]],
    v: Sequence[NDArray[uint8]],
    widths: Sequence[int],
) -> NDArray[uint8]: ...
def and_close(
    mine: NDArray[uint8],
    theirs: NDArray[uint8],
    u: Sequence[NDArray[uint8]],
    v: Sequence[NDArray[uint8]],
    uv: Sequence[NDArray[uint8]],
    widths: Sequence[int],
    first: bool,
) -> NDArray[uint8]: ...
def select_open(
    t0: NDArray[uint64],
    t1: NDArray[uint64],
    choice: NDArray[uint64],
    bit: NDArray[uint64],
    x: NDArray[uint64],
    bits: int,
) -> NDArray[uint8]: ...
def select_close(
    t0: NDArray[uint64],
    choice: NDArray[uint64],
    got: NDArray[uint64],
    bit: NDArray[uint64],
    x: NDArray[uint64],
    came: NDArray[uint8],
    bits: int,
) -> NDArray[uint64]: ...
def signs(
    carry: NDArray[uint8], shares: NDArray[uint64], top: int, s: int, flip: bool
) -> NDArray[uint64]: ...
def split_bits(x: NDArray[uint64], first: int, rows: int) -> NDArray[uint8]: ...
def erf(x: NDArray[float64]) -> NDArray[float64]: ...
def spline(
    x: NDArray[int64],
    knots: NDArray[int64],
    pieces: NDArray[int64],
    bits: int,
    drop: int,
    gates: NDArray[int64],
    gate_bits: int,
    gate_drop: int,
) -> NDArray[int64]: ...
