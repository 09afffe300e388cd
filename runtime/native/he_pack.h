// Packing of answers: many sparse results in one ciphertext, at one key switch each.
#pragma once

#include "he_basis.h"

namespace he {

// Key-switching works modulo the kept primes q' (all but the last); the last prime is the special one.
struct PackShape {
    size_t packs, fill;    // ciphertexts out, and ciphertexts in for each
    size_t stride;         // results of a ciphertext stand `stride` apart, the first at stride - 1
    int digit_bits;        // width of a gadget digit
    size_t parts;          // digits a prime
};

// in [packs][fill][2][L][N] centred, keys [log2 stride][(L-1)·parts][2][L][N] in NTT form, key s for the
// automorphism X -> X^(N/2^s + 1). out [packs][2][L-1][N]: result e of slot j at j·stride + e·stride/fill.
void interleave(const Basis& basis, const PackShape& shape, const double* in, const double* keys, double* out);

}  // namespace he
