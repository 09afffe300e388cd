// GF(2^128) modulo X^128 + X^7 + X^2 + X + 1; bit i of a block is the coefficient of X^i.
//
//   gf_dot           sum of a_i * b_i, the only operation that is needed
//   gf_path          which of three ways it goes, by what the processor has; all give the same
//
// Products are summed before they are reduced, so that a product costs four carry-less multiplications. No branch
// and no address depends on the data.
#pragma once

#include "aes.h"

#define PPC_CLMUL __attribute__((target("pclmul,sse4.1")))
#define PPC_VCLMUL __attribute__((target("vpclmulqdq,pclmul,avx512f")))

namespace ppc {

enum class GfPath : int { portable = 0, clmul = 1, wide = 2 };

inline GfPath best_gf_path() {
    if (!__builtin_cpu_supports("pclmul")) return GfPath::portable;
    return __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512f") ? GfPath::wide : GfPath::clmul;
}

// Tests and benchmarks lower it.
inline GfPath& gf_path() {
    static GfPath path = best_gf_path();
    return path;
}

// A sum of unreduced products: lo + mid * X^64 + hi * X^128.
struct GfSum {
    block lo, mid, hi;
};

inline block gf_reduce(const GfSum& sum) {
    uint64_t lo[2], mid[2], hi[2];
    _mm_storeu_si128(reinterpret_cast<block*>(lo), sum.lo);
    _mm_storeu_si128(reinterpret_cast<block*>(mid), sum.mid);
    _mm_storeu_si128(reinterpret_cast<block*>(hi), sum.hi);
    uint64_t x0 = lo[0], x1 = lo[1] ^ mid[0], x2 = hi[0] ^ mid[1], x3 = hi[1];
    x1 ^= x3 ^ x3 << 1 ^ x3 << 2 ^ x3 << 7;
    x2 ^= x3 >> 63 ^ x3 >> 62 ^ x3 >> 57;
    x0 ^= x2 ^ x2 << 1 ^ x2 << 2 ^ x2 << 7;
    x1 ^= x2 >> 63 ^ x2 >> 62 ^ x2 >> 57;
    return _mm_set_epi64x(static_cast<long long>(x1), static_cast<long long>(x0));
}

// The carry-less product of two words, bit by bit: for processors that cannot do it.
inline block gf_product(uint64_t a, uint64_t b) {
    uint64_t lo = (0 - (b & 1)) & a, hi = 0;
    for (int i = 1; i < 64; ++i) {
        const uint64_t mask = 0 - (b >> i & 1);
        lo ^= a << i & mask;
        hi ^= a >> (64 - i) & mask;
    }
    return _mm_set_epi64x(static_cast<long long>(hi), static_cast<long long>(lo));
}

inline block gf_dot_portable(const block* a, const block* b, size_t n) {
    GfSum sum{_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
    for (size_t i = 0; i < n; ++i) {
        uint64_t x[2], y[2];
        _mm_storeu_si128(reinterpret_cast<block*>(x), _mm_loadu_si128(a + i));
        _mm_storeu_si128(reinterpret_cast<block*>(y), _mm_loadu_si128(b + i));
        sum.lo = _mm_xor_si128(sum.lo, gf_product(x[0], y[0]));
        sum.hi = _mm_xor_si128(sum.hi, gf_product(x[1], y[1]));
        sum.mid = _mm_xor_si128(sum.mid, _mm_xor_si128(gf_product(x[0], y[1]), gf_product(x[1], y[0])));
    }
    return gf_reduce(sum);
}

PPC_CLMUL inline block gf_dot_clmul(const block* a, const block* b, size_t n) {
    block lo = _mm_setzero_si128(), mid = lo, other = lo, hi = lo;
    for (size_t i = 0; i < n; ++i) {
        const block x = _mm_loadu_si128(a + i), y = _mm_loadu_si128(b + i);
        lo = _mm_xor_si128(lo, _mm_clmulepi64_si128(x, y, 0x00));
        mid = _mm_xor_si128(mid, _mm_clmulepi64_si128(x, y, 0x01));
        other = _mm_xor_si128(other, _mm_clmulepi64_si128(x, y, 0x10));
        hi = _mm_xor_si128(hi, _mm_clmulepi64_si128(x, y, 0x11));
    }
    return gf_reduce({lo, _mm_xor_si128(mid, other), hi});
}

PPC_VCLMUL inline block gf_fold(__m512i x) {
    block lanes[4];
    _mm512_storeu_si512(lanes, x);
    return _mm_xor_si128(_mm_xor_si128(lanes[0], lanes[1]), _mm_xor_si128(lanes[2], lanes[3]));
}

PPC_VCLMUL inline block gf_dot_wide(const block* a, const block* b, size_t n) {
    __m512i lo = _mm512_setzero_si512(), mid = lo, other = lo, hi = lo;
    for (size_t i = 0; i < n; i += 4) {
        const __mmask8 m = n - i >= 4 ? 0xff : static_cast<__mmask8>((1u << (2 * (n - i))) - 1);
        const __m512i x = _mm512_maskz_loadu_epi64(m, a + i), y = _mm512_maskz_loadu_epi64(m, b + i);
        lo = _mm512_xor_si512(lo, _mm512_clmulepi64_epi128(x, y, 0x00));
        mid = _mm512_xor_si512(mid, _mm512_clmulepi64_epi128(x, y, 0x01));
        other = _mm512_xor_si512(other, _mm512_clmulepi64_epi128(x, y, 0x10));
        hi = _mm512_xor_si512(hi, _mm512_clmulepi64_epi128(x, y, 0x11));
    }
    return gf_reduce({gf_fold(lo), gf_fold(_mm512_xor_si512(mid, other)), gf_fold(hi)});
}

inline block gf_dot(const block* a, const block* b, size_t n) {
    switch (gf_path()) {
        case GfPath::wide:
            return gf_dot_wide(a, b, n);
        case GfPath::clmul:
            return gf_dot_clmul(a, b, n);
        default:
            return gf_dot_portable(a, b, n);
    }
}

}  // namespace ppc
