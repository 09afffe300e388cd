// Encryptions of uniform plaintexts, sent in fewer bits than a ciphertext has.
#pragma once

#include "he_basis.h"

namespace he {

constexpr size_t kWords = 3;  // 64-bit words of an integer modulo q

// Which coefficients carry a plaintext, uniform mod 2^ell; the others are 0. Low `drop` bits are not sent.
struct UploadShape {
    const uint8_t* free;  // [N]
    int ell, drop;
};

// For y = e - c1·s, with e the centred binomial of noise [count][N], c1 [count][L][N] and s [L][N] in NTT form:
// plain [count][N] <- the plaintexts, said [kWords][count][N] <- what goes with offset [count][N] < 2^ell.
// False where a y does not belong to any plaintext: nothing of it may be used.
bool upload(const Basis& basis, const UploadShape& shape, const uint64_t* offset, const uint64_t* noise,
            const double* c1, const double* s, size_t count, uint64_t* plain, uint64_t* said);

// out[item*stride + l*N + j] <- NTT of c0, centred.
void read_upload(const Basis& basis, const UploadShape& shape, const uint64_t* offset, const uint64_t* said,
                 size_t count, double* out, size_t stride);

}  // namespace he
