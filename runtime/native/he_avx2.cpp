// The kernels for AVX2 with FMA: one vector is two ymm registers.
#include <immintrin.h>

#include "he_kernels.h"

namespace he {
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {

struct Vec {
    __m256d a, b;
};
static inline Vec load(const double* x) { return {_mm256_loadu_pd(x), _mm256_loadu_pd(x + 4)}; }
static inline void store(double* x, Vec v) {
    _mm256_storeu_pd(x, v.a);
    _mm256_storeu_pd(x + 4, v.b);
}
static inline Vec splat(double x) { return {_mm256_set1_pd(x), _mm256_set1_pd(x)}; }
static inline Vec add(Vec a, Vec b) { return {_mm256_add_pd(a.a, b.a), _mm256_add_pd(a.b, b.b)}; }
static inline Vec sub(Vec a, Vec b) { return {_mm256_sub_pd(a.a, b.a), _mm256_sub_pd(a.b, b.b)}; }
static inline Vec mul(Vec a, Vec b) { return {_mm256_mul_pd(a.a, b.a), _mm256_mul_pd(a.b, b.b)}; }
static inline Vec fma(Vec a, Vec b, Vec c) {
    return {_mm256_fmadd_pd(a.a, b.a, c.a), _mm256_fmadd_pd(a.b, b.b, c.b)};
}
static inline Vec fms(Vec a, Vec b, Vec c) {
    return {_mm256_fmsub_pd(a.a, b.a, c.a), _mm256_fmsub_pd(a.b, b.b, c.b)};
}
static inline Vec fnma(Vec a, Vec b, Vec c) {
    return {_mm256_fnmadd_pd(a.a, b.a, c.a), _mm256_fnmadd_pd(a.b, b.b, c.b)};
}
#include "he_kernels.inc"

}  // namespace avx2
#pragma GCC pop_options

extern const Kernels kAvx2{avx2::forward, avx2::inverse_ntt, avx2::mac,    avx2::times, avx2::multiply,
                         avx2::scale,   avx2::reduce,      avx2::factor, avx2::dot};
}  // namespace he
