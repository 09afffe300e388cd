from numpy import float64, uint8, uint32, uint64
from numpy.typing import NDArray

Words = NDArray[uint64]
Residues = NDArray[float64]

class Basis:
    def __init__(self, degree: int, primes: list[int], isa: str = "best") -> None: ...
    @property
    def degree(self) -> int: ...
    @property
    def count(self) -> int: ...
    def encrypt_zero(self, noise: Words, raw: Words, secret: Residues) -> Words: ...
    def upload(
        self,
        free: NDArray[uint8],
        ell: int,
        drop: int,
        offset: Words,
        noise: Words,
        raw: Words,
        secret: Residues,
    ) -> tuple[Words, Words]: ...
    def read_upload(
        self, free: NDArray[uint8], ell: int, drop: int, offset: Words, said: Words, raw: Words
    ) -> Residues: ...
    def ciphertexts(self, c0: Words, raw: Words) -> Residues: ...
    def accumulate(self, acc: Residues, x: Residues, w: Residues) -> None: ...
    def rerandomise(
        self,
        acc: Residues,
        group: int,
        public_key: Residues,
        noise: Words,
        flood: Words,
        flood_bits: int,
        mask: Words,
        ell: int,
        positions: NDArray[uint32],
    ) -> Residues: ...
    def switch_down(
        self, ciphertexts: Residues, bits: int, result_bits: int, positions: NDArray[uint32]
    ) -> tuple[Words, Words]: ...
    def decrypt(
        self, c1: Words, c0: Words, secret: Residues, bits: int, ell: int, positions: NDArray[uint32]
    ) -> Words: ...
    def interleave(self, ciphertexts: Residues, stride: int, digit_bits: int, keys: Residues) -> Residues: ...
    def transform(self, x: Words, inverse: bool = False) -> Words: ...
