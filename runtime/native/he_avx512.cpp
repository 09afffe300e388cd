// The kernels for AVX-512: one vector is one zmm register.
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

extern const Kernels kAvx512{avx512::forward, avx512::inverse_ntt, avx512::mac, avx512::multiply,
                             avx512::reduce};
}  // namespace he
