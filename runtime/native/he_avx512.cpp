// The kernels for AVX-512: one vector is one zmm register. Processors that multiply 52-bit integers sum
// products as two words each, which spares a reduction for every one.
#include <immintrin.h>

#include "he_kernels.h"

namespace he {
#pragma GCC push_options
#pragma GCC target("avx512f,fma")
namespace avx512 {

using Vec = __m512d;
static inline Vec load(const double* x) { return _mm512_loadu_pd(x); }
static inline void store(double* x, Vec v) { _mm512_storeu_pd(x, v); }
static inline Vec splat(double x) { return _mm512_set1_pd(x); }
static inline Vec add(Vec a, Vec b) { return _mm512_add_pd(a, b); }
static inline Vec sub(Vec a, Vec b) { return _mm512_sub_pd(a, b); }
static inline Vec mul(Vec a, Vec b) { return _mm512_mul_pd(a, b); }
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_pd(a, b, c); }
static inline Vec fms(Vec a, Vec b, Vec c) { return _mm512_fmsub_pd(a, b, c); }
static inline Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_pd(a, b, c); }
#include "he_kernels.inc"

}  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512ifma,fma")
namespace ifma {

using avx512::Vec, avx512::add, avx512::load, avx512::reduced, avx512::splat, avx512::store;

// Canonical residues as 64-bit integers.
static void factor(double* out, const double* x, size_t vectors, size_t spread, const Prime& prime) {
    const Vec p = splat(prime.value), inverse = splat(prime.inverse);
    for (size_t v = 0; v < vectors; ++v) {
        const Vec value = reduced(load(x + v * kLanes), p, inverse);
        const Vec positive = _mm512_mask_add_pd(value, _mm512_movepi64_mask(_mm512_castpd_si512(value)), value, p);
        store(out + v * spread * kLanes, _mm512_castsi512_pd(_mm512_cvttpd_epu64(positive)));
    }
}

// Σ a·b as low + 2^52·high. Residues have at most 48 bits, so sixteen terms overflow neither word.
struct Sum {
    __m512i low, high;
    Sum() : low(_mm512_setzero_si512()), high(_mm512_setzero_si512()) {}
    void take(__m512i a, __m512i b) {
        low = _mm512_madd52lo_epu64(low, a, b);
        high = _mm512_madd52hi_epu64(high, a, b);
    }
    Vec value(Vec shift, Vec p, Vec inverse) const {  // shift is 2^52 modulo p
        const __m512i mask = _mm512_set1_epi64((1ll << 52) - 1);
        const Vec top = _mm512_cvtepu64_pd(_mm512_add_epi64(high, _mm512_srli_epi64(low, 52)));
        const Vec rest = _mm512_cvtepu64_pd(_mm512_and_si512(low, mask));
        return add(avx512::mulmod(top, shift, p, inverse), reduced(rest, p, inverse));
    }
};

static void dot(double* sums, const double* x, const double* w, size_t terms, size_t size, const Prime& prime) {
    const Vec p = splat(prime.value), inverse = splat(prime.inverse);
    const Vec shift = reduced(splat(4503599627370496.0), p, inverse);
    const size_t next = terms * kLanes;
    for (size_t j = 0; j < size; j += 2, w += 2 * next, x += 4 * terms) {
        Sum sum[2][2];
        for (size_t t = 0; t < terms; ++t)
            for (size_t at = 0; at < 2; ++at) {
                const __m512i factor = _mm512_loadu_si512(w + at * next + t * kLanes);
                for (size_t c = 0; c < 2; ++c)
                    sum[c][at].take(factor, _mm512_castpd_si512(splat(x[(at * terms + t) * 2 + c])));
            }
        for (size_t c = 0; c < 2; ++c)
            for (size_t at = 0; at < 2; ++at) {
                double* to = sums + (c * size + j + at) * kLanes;
                store(to, reduced(add(load(to), sum[c][at].value(shift, p, inverse)), p, inverse));
            }
    }
}

}  // namespace ifma
#pragma GCC pop_options

extern const Kernels kAvx512{avx512::forward, avx512::inverse_ntt, avx512::mac,    avx512::times, avx512::multiply,
                             avx512::scale,   avx512::reduce,      avx512::factor, avx512::dot};
extern const Kernels kIfma{avx512::forward, avx512::inverse_ntt, avx512::mac,  avx512::times, avx512::multiply,
                           avx512::scale,   avx512::reduce,      ifma::factor, ifma::dot};
}  // namespace he
