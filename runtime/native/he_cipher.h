// BFV over a Basis for plaintexts mod 2^ell, on plain arrays: no policy, no randomness of its own.
// Array shapes: L primes, N the degree; the caller has checked all sizes.
#pragma once

#include "he_basis.h"

namespace he {

constexpr uint64_t kBinomial = (1ull << 21) - 1;

// Difference of the weights of 21 and 21 bits: SEAL's error distribution, variance 10.5.
inline int binomial(uint64_t word) {
    uint64_t v = (word & kBinomial) | (~(word >> 21) & kBinomial) << 32;
    v -= v >> 1 & 0x5555555555555555;
    v = (v & 0x3333333333333333) + (v >> 2 & 0x3333333333333333);
    v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return int(v * 0x0101010101010101 >> 56) - 21;
}

// round(q·x/2^ell) mod p: q·x = 2^ell·A + R and q = 0 mod p, so A = -R/2^ell mod p.
struct Scale {
    uint64_t p, low_q, mask, half, factor;
    Scale(const Basis& basis, size_t l, int ell)
        : p(basis[l].p), low_q(basis.low_q()), mask((1ull << ell) - 1), half(1ull << (ell - 1)),
          factor(p - inv_mod(pow_mod(2, uint64_t(ell), p), p)) {}
    uint64_t operator()(uint64_t x) const {
        const uint64_t rest = low_q * x & mask;
        return (mul_mod(rest % p, factor, p) + (rest >= half)) % p;
    }
};

// raw [count][L][N][2] uniform words -> out[item*stride + l*N + j]: uniform residues, centred.
void expand(const Basis& basis, const uint64_t* raw, size_t count, double* out, size_t stride);

// out [L][count][N] <- c0 = NTT(e) - c1·s, canonical. e is the centred binomial of 42 bits of
// noise [count][N]; c1 [count][L][N] and s [L][N] in NTT form.
void encrypt_zero(const Basis& basis, const uint64_t* noise, const double* c1, const double* s, size_t count,
                  uint64_t* out);

struct AccShape {
    size_t groups, rows, size;  // groups of eight column tiles, row tiles, values a block
};

// acc [L][G][N/S][R][2][S][8] += sum over K of x [K][R][2][L][N] (ciphertexts) · w [K][G][S][8] (integers)
void accumulate(const Basis& basis, const AccShape& shape, double* acc, const double* x, const double* w,
                size_t terms);

// out [R·tiles][2][L][N] <- the coefficients of the first `tiles` column tiles of acc, centred.
void collect(const Basis& basis, const AccShape& shape, const double* acc, size_t tiles, double* out);

// ciphers [count][2][L][N], coefficients, += (b·u, a·u + e) with public_key [2][L][N] = (b, a) in NTT form and
// noise [count][2][N]: u ternary, e the centred binomial. Centred. c0 gets no error of its own: it is masked.
void rerandomise(const Basis& basis, const double* public_key, const uint64_t* noise, size_t count,
                 double* ciphers);

struct Answer {
    int bits, result_bits;      // of c1 and of c0
    const uint32_t* positions;  // [slots], where c0 is sent
    size_t slots;
    const uint64_t* mask;       // [count][slots], fractions of the modulus in units of 2^-64
};

// c1 [count][N] <- round(2^bits·c1/q); c0 [count][slots] <- round(2^result_bits·(c0/q - mask)) at positions; in is
// centred.
void switch_down(const Basis& basis, const double* in, size_t count, const Answer& answer, uint64_t* c1,
                 uint64_t* c0);

// out [count][slots] <- round((c0 + c1·s)·2^ell/2^bits) mod 2^ell at positions. The basis need not be that of q: it is
// to hold c1·s as an integer.
void decrypt(const Basis& basis, const uint64_t* c1, const uint64_t* c0, size_t count, const double* s,
             int bits, int ell, const uint32_t* positions, size_t slots, uint64_t* out);

// NTT or its inverse of [count][L][N] canonical residues.
void transform(const Basis& basis, const uint64_t* in, size_t count, bool inverse, uint64_t* out);
}  // namespace he
