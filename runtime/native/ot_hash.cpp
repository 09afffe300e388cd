// The tweakable circular correlation robust hash TMMO of Guo, Katz, Wang, Yu (S&P 2020, eprint 2019/074):
// H(x, i) = pi(pi(x) ^ i) ^ pi(x). Output block j of a longer key has the tweak (i, j).
#include <cstring>

#include "ot.h"

namespace ppc {

void hash_keys(const block* blocks, block offset, uint64_t first, size_t n, size_t nbytes, uint8_t* out) {
    constexpr size_t kBatch = 64;
    const AesKey& pi = fixed_key();
    const size_t parts = (nbytes + 15) / 16;
    block inner[kBatch], outer[kBatch];
    for (size_t at = 0; at < n; at += kBatch) {
        const size_t width = n - at < kBatch ? n - at : kBatch;
        for (size_t i = 0; i < width; ++i) inner[i] = _mm_xor_si128(_mm_loadu_si128(blocks + at + i), offset);
        aes_blocks(pi, inner, inner, width);
        for (size_t j = 0; j < parts; ++j) {
            for (size_t i = 0; i < width; ++i) {
                const auto index = static_cast<long long>(first + at + i);
                outer[i] = _mm_xor_si128(inner[i], _mm_set_epi64x(static_cast<long long>(j), index));
            }
            aes_blocks(pi, outer, outer, width);
            uint8_t* to = out + at * nbytes + 16 * j;
            if (parts == 1) {
                // Rows are written in order, so what spills over a row's end is overwritten by the next.
                for (size_t i = 0; i < width; ++i, to += nbytes)
                    _mm_storeu_si128(reinterpret_cast<block*>(to), _mm_xor_si128(outer[i], inner[i]));
                continue;
            }
            const size_t size = nbytes - 16 * j < 16 ? nbytes - 16 * j : 16;
            for (size_t i = 0; i < width; ++i, to += nbytes) {
                const block key = _mm_xor_si128(outer[i], inner[i]);
                std::memcpy(to, &key, size);
            }
        }
    }
}

}  // namespace ppc
