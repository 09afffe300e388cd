// Packing of answers: many sparse results in one ciphertext, at one key switch each.
#pragma once

#include "he_cipher.h"

namespace he {

struct PackShape {
    size_t packs, fill;  // ciphertexts of a row tile that come out, and column tiles in each
    size_t stride;       // results of a ciphertext stand `stride` apart, the first at stride - 1
};

// The basis is that of q (L primes) and last the special prime, which is there for switching keys alone.
// acc [L][G][N/S][R][2][S][8] are sums as `accumulate` leaves them, of which the column tiles below packs·fill count;
// keys [log2 stride][L][2][L+1][N] in NTT form, one a prime of q, key s for the automorphism X -> X^(N/2^s + 1).
// out [R·packs][2][L][N], centred coefficients: result e of slot j at j·stride + e·stride/fill.
void pack(const Basis& basis, const AccShape& acc_shape, const double* acc, const PackShape& shape,
          const double* keys, double* out);

}  // namespace he
