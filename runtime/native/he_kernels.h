// Vector kernels over Z/p in double precision: eight polynomials ride in eight lanes.
//
// A residue is a double that holds an integer. With p < 2^48 a product a·w is exact as a pair
// (h, l) = (fl(a·w), a·w - h), its quotient by p is h/p rounded to the nearest integer, and
// h - q·p + l is an exact integer below p in magnitude (error of q at most 0.35). Sums may therefore grow
// lazily to 16·p before they are reduced; a double holds 32·p exactly.
#pragma once

#include <cstddef>
#include <cstdint>

namespace he {

constexpr size_t kLanes = 8;
constexpr int kMaxPrimeBits = 48;
constexpr size_t kLazyTerms = 16;  // products summed between two reductions, at most

struct Prime {
    uint64_t p = 0;
    double value = 0, inverse = 0;  // p and 1/p
    double degree_inverse = 0;      // 1/N mod p, centred
    const double* roots = nullptr;  // powers of the least primitive 2N-th root, bit-reversed, centred
    const double* inverse_roots = nullptr;
};

struct Kernels {
    // Forward negacyclic NTT of [size][lanes], seen as block `block` of `blocks`: the first
    // log2(blocks) stages of a polynomial of degree below `size` only copy it.
    void (*forward)(double* x, size_t size, size_t block, size_t blocks, const Prime& prime);
    void (*inverse)(double* x, size_t size, const Prime& prime);  // [N][lanes], result reduced
    // acc[i][lane] += x[i]·w[i][lane]
    void (*mac)(double* acc, const double* x, const double* w, size_t count, const Prime& prime);
    // out[i][lane] = x[i][lane]·y[i]
    void (*times)(double* out, const double* x, const double* y, size_t count, const Prime& prime);
    // out[v] = x[v]·y[v] for vectors of eight, not reduced further
    void (*multiply)(double* out, const double* x, const double* y, size_t vectors, const Prime& prime);
    // out[v] = factor·x[v], reduced
    void (*scale)(double* out, const double* x, double factor, size_t vectors, const Prime& prime);
    void (*reduce)(double* out, const double* x, size_t vectors, const Prime& prime);  // to [-p/2, p/2]
    // Residues as `dot` takes them, which need not be doubles; vector v goes to place v·spread.
    void (*factor)(double* out, const double* x, size_t vectors, size_t spread, const Prime& prime);
    // sums[c][j][lane] += Σ_t x[j][t][c]·w[j][t][lane] for c = 0, 1 and j < size, reduced; size is even and
    // terms at most kLazyTerms. All is read in the order in which it lies.
    void (*dot)(double* sums, const double* x, const double* w, size_t terms, size_t size, const Prime& prime);
};

extern const Kernels kIfma, kAvx512, kAvx2, kPlain;

}  // namespace he
