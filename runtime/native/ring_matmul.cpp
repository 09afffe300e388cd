// Products of matrices over Z/2^64. No sockets, no policy; every function releases the GIL.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "ring_arrays.h"

constexpr size_t kRows = 8;

// c[0..rows) += a[0..rows) . b for at most kRows rows, which share each load of b.
__attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
static void rows_times(const uint64_t* a, const uint64_t* b, uint64_t* c, size_t rows, size_t k, size_t n) {
    constexpr size_t kColumns = 512;
    for (size_t j0 = 0; j0 < n; j0 += kColumns) {
        const size_t j1 = j0 + kColumns < n ? j0 + kColumns : n;
        for (size_t l = 0; l < k; ++l) {
            const uint64_t* row = b + l * n;
            for (size_t i = 0; i < rows; ++i) {
                const uint64_t f = a[i * k + l];
                uint64_t* to = c + i * n;
                for (size_t j = j0; j < j1; ++j) to[j] += f * row[j];
            }
        }
    }
}

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq")

constexpr size_t kLanes = 8, kColumns = 2 * kLanes;
constexpr size_t kDepth = 256;  // a panel of b, kDepth by kColumns, fits the first cache

// c += a . b, kRows rows by kColumns words of c in registers. Rows that a last block lacks are its last, again.
static void wide_times(const uint64_t* a, const uint64_t* b, uint64_t* c, size_t m, size_t k, size_t n) {
    __m512i panel[kDepth][2];
    for (size_t l0 = 0; l0 < k; l0 += kDepth) {
        const size_t depth = std::min(kDepth, k - l0);
        for (size_t j = 0; j < n; j += kColumns) {
            const unsigned columns = (1u << std::min(kColumns, n - j)) - 1;
            const __mmask8 low = __mmask8(columns), high = __mmask8(columns >> kLanes);
            for (size_t l = 0; l < depth; ++l) {
                const uint64_t* row = b + (l0 + l) * n + j;
                panel[l][0] = _mm512_maskz_loadu_epi64(low, row);
                panel[l][1] = _mm512_maskz_loadu_epi64(high, row + kLanes);
            }
            for (size_t i0 = 0; i0 < m; i0 += kRows) {
                const uint64_t* row[kRows];
                for (size_t i = 0; i < kRows; ++i) row[i] = a + std::min(i0 + i, m - 1) * k + l0;
                __m512i sum[kRows][2] = {};
                for (size_t l = 0; l < depth; ++l)
                    for (size_t i = 0; i < kRows; ++i) {
                        const __m512i f = _mm512_set1_epi64((long long)row[i][l]);
                        for (size_t v = 0; v < 2; ++v)
                            sum[i][v] = _mm512_add_epi64(sum[i][v], _mm512_mullo_epi64(f, panel[l][v]));
                    }
                for (size_t i = 0; i < kRows && i0 + i < m; ++i) {
                    uint64_t* to = c + (i0 + i) * n + j;
                    const __m512i l = _mm512_add_epi64(_mm512_maskz_loadu_epi64(low, to), sum[i][0]);
                    const __m512i h = _mm512_add_epi64(_mm512_maskz_loadu_epi64(high, to + kLanes), sum[i][1]);
                    _mm512_mask_storeu_epi64(to, low, l);
                    _mm512_mask_storeu_epi64(to + kLanes, high, h);
                }
            }
        }
    }
}

#pragma GCC pop_options

// c += a . b
static void times(const uint64_t* a, const uint64_t* b, uint64_t* c, size_t m, size_t k, size_t n) {
    static const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
    if (wide && m >= kRows / 2) return wide_times(a, b, c, m, k, n);
    for (size_t i = 0; i < m; i += kRows) rows_times(a + i * k, b, c + i * n, std::min(kRows, m - i), k, n);
}

static auto matmul(In<uint64_t, 3> a, In<uint64_t, 3> b) {
    const size_t m = a.shape(1), k = a.shape(2), n = b.shape(2);
    const size_t ba = a.shape(0), bb = b.shape(0), batch = ba == 1 ? bb : ba;
    need(b.shape(1) == k, "matmul: inner axes differ");
    need(bb == batch || bb == 1, "matmul: batches differ");
    const size_t size = batch * m * n;
    auto out = std::make_unique<uint64_t[]>(size ? size : 1);
    {
        nb::gil_scoped_release release;
        std::memset(out.get(), 0, size * 8);
        for (size_t s = 0; s < batch; ++s)
            times(a.data() + (ba == 1 ? 0 : s) * m * k, b.data() + (bb == 1 ? 0 : s) * k * n,
                  out.get() + s * m * n, m, k, n);
    }
    return owned<3>(std::move(out), {batch, m, n});
}

void bind_matmul(nb::module_& m) {
    m.def("matmul", &matmul, nb::arg("a"), nb::arg("b"), "Batched a.b over Z/2^64; a batch of 1 repeats.");
}
