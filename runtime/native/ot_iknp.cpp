// IKNP's matrices (Ishai, Kilian, Nissim, Petrank, CRYPTO 2003; the random-choice form of Asharov, Lindell,
// Schneider, Zohner, CCS 2013).
#include "ot.h"

namespace ppc {

static constexpr size_t kWords = 32;  // 4096 rows at a time: 64 KiB of columns

// In-place transpose of 128 x 128 bits, Eklundh's way: swap ever smaller off-diagonal squares.
void transpose128(block* m) {
    for (size_t k = 0; k < 64; ++k) {
        const block a = m[k], b = m[k + 64];
        m[k] = _mm_unpacklo_epi64(a, b);
        m[k + 64] = _mm_unpackhi_epi64(a, b);
    }
    static const uint64_t masks[6] = {0x00000000ffffffffull, 0x0000ffff0000ffffull, 0x00ff00ff00ff00ffull,
                                      0x0f0f0f0f0f0f0f0full, 0x3333333333333333ull, 0x5555555555555555ull};
    int shift = 32;
    for (int stage = 0; stage < 6; ++stage, shift >>= 1) {
        const block mask = _mm_set1_epi64x(static_cast<long long>(masks[stage]));
        const size_t step = static_cast<size_t>(shift);
        for (size_t base = 0; base < 128; base += 2 * step)
            for (size_t k = base; k < base + step; ++k) {
                block t = _mm_and_si128(_mm_xor_si128(_mm_srli_epi64(m[k], shift), m[k + step]), mask);
                m[k + step] = _mm_xor_si128(m[k + step], t);
                m[k] = _mm_xor_si128(m[k], _mm_slli_epi64(t, shift));
            }
    }
}

static void rows_of(const block* columns, size_t words, block* out) {
    for (size_t w = 0; w < words; ++w) {
        block* square = out + 128 * w;
        for (size_t j = 0; j < 128; ++j) square[j] = columns[j * kWords + w];
        transpose128(square);
    }
}

static Buffer<AesKey> schedules(const uint8_t* seeds) {
    auto keys = buffer<AesKey>(kColumns);
    for (size_t j = 0; j < kColumns; ++j) keys[j] = aes_key(seeds + 16 * j);
    return keys;
}

// Column 0 is the choice bits themselves (Delta's lowest bit is 1 and q's is 0), so it is never sent.
void iknp_receive(const uint8_t* seeds0, const uint8_t* seeds1, uint64_t counter, const block* choices,
                  size_t words, block* message, block* out) {
    const auto zero = schedules(seeds0), one = schedules(seeds1);
    const auto columns = buffer<block>(128 * kWords);
    block counters[kWords], other[kWords];
    for (size_t at = 0; at < words; at += kWords) {
        const size_t width = words - at < kWords ? words - at : kWords;
        aes_counters(counter + at, counters, width);
        for (size_t w = 0; w < width; ++w) columns[w] = _mm_loadu_si128(choices + at + w);
        for (size_t j = 0; j < kColumns; ++j) {
            block* t = &columns[(j + 1) * kWords];
            aes_blocks(zero[j], counters, t, width);
            aes_blocks(one[j], counters, other, width);
            for (size_t w = 0; w < width; ++w)
                message[w] = _mm_xor_si128(_mm_xor_si128(t[w], other[w]), columns[w]);
            message += width;
        }
        rows_of(columns.get(), width, out + 128 * at);
    }
}

void iknp_send(const uint8_t* seeds, block delta, uint64_t counter, const block* message, size_t words,
               block* out) {
    const auto keys = schedules(seeds);
    uint64_t bits[2];
    _mm_storeu_si128(reinterpret_cast<block*>(bits), delta);
    const auto columns = buffer<block>(128 * kWords);
    for (size_t w = 0; w < kWords; ++w) columns[w] = _mm_setzero_si128();
    block counters[kWords];
    for (size_t at = 0; at < words; at += kWords) {
        const size_t width = words - at < kWords ? words - at : kWords;
        aes_counters(counter + at, counters, width);
        for (size_t j = 0; j < kColumns; ++j) {
            block* q = &columns[(j + 1) * kWords];
            aes_blocks(keys[j], counters, q, width);
            const block mask = spread(bits[(j + 1) >> 6] >> ((j + 1) & 63));
            for (size_t w = 0; w < width; ++w)
                q[w] = _mm_xor_si128(q[w], _mm_and_si128(mask, _mm_loadu_si128(message + w)));
            message += width;
        }
        rows_of(columns.get(), width, out + 128 * at);
    }
}

}  // namespace ppc
