// Packing of answers: many sparse results in one ciphertext, at one key switch each.
#pragma once

#include "he_cipher.h"

namespace he {

// What packing at one stride takes of a basis, which is that of q (L primes) and last the special prime, which is
// there for switching keys alone. The basis must outlive it.
class PackTables {
public:
    PackTables(const Basis& basis, size_t stride);

    const Basis& basis() const { return basis_; }
    size_t stride() const { return stride_; }
    int levels() const { return int(turns_.size()); }
    // NTT form modulo prime l of X^-(stride-1), and of X^(2^s).
    const double* back(size_t l) const { return back_[l].data(); }
    const double* shift(size_t s, size_t l) const { return shifts_[s][l].data(); }
    // An NTT of f(X^(N/2^s + 1)) has at i what that of f has at turn(s)[i].
    const uint32_t* turn(size_t s) const { return turns_[s].data(); }

private:
    std::vector<double> monomial(size_t power, const Prime& prime) const;
    std::vector<uint32_t> exponents() const;

    const Basis& basis_;
    size_t stride_;
    std::vector<std::vector<double>> back_;
    std::vector<std::vector<std::vector<double>>> shifts_;
    std::vector<std::vector<uint32_t>> turns_;
};

// acc [L][G][N/S][R][2][S][8] are sums as `accumulate` leaves them, of which the column tiles below packs·fill count;
// keys [levels][L][2][L+1][N] in NTT form, one a prime of q, key s for the automorphism X -> X^(N/2^s + 1).
// out [R·packs][2][L][N], centred coefficients: result e of slot j at j·stride + e·stride/fill, where those of a
// ciphertext stood `stride` apart, the first at stride - 1.
void pack(const PackTables& tables, const AccShape& shape, const double* acc, size_t packs, size_t fill,
          const double* keys, double* out);

}  // namespace he
