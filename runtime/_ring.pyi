from typing import Any

from numpy import int64, uint8, uint64
from numpy.typing import NDArray

def pack(x: NDArray[uint64], bits: int) -> NDArray[uint8]: ...
def unpack(data: NDArray[uint8], bits: int, count: int) -> NDArray[uint64]: ...
def matmul(a: NDArray[uint64], b: NDArray[Any]) -> NDArray[uint64]: ...
def one_of_n_pads(k0: NDArray[uint8], k1: NDArray[uint8], entry: int) -> NDArray[uint8]: ...
def one_of_n_seal(
    pads: NDArray[uint8], turn: NDArray[uint64], table: NDArray[uint64], width: int
) -> NDArray[uint8]: ...
def one_of_n_open(
    data: NDArray[uint8], index: NDArray[uint8], pad: NDArray[uint8], bits: int, width: int
) -> NDArray[uint64]: ...
def comparison_table(
    digits: NDArray[uint8], masks: NDArray[uint64], bits: int, equal: bool
) -> NDArray[uint64]: ...
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
