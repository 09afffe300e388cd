// AES-128 by AES-NI, and by VAES (512 bits wide) where the processor has it. Header only.
//
//   AesKey           a key schedule
//   aes_blocks       encrypt n independent blocks (ECB), the work-horse of everything below
//   aes_counters     the counter blocks 0^64 || be64(counter), as CTR mode with a zero nonce counts
//   aes_keys         eight key schedules at once
#pragma once

#if !defined(__x86_64__)
#error "ppc needs an x86-64 processor with AES-NI"
#endif

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define PPC_AES __attribute__((target("aes,ssse3,sse4.1")))
#define PPC_VAES __attribute__((target("vaes,aes,avx512f,avx512vl,avx512bw,avx512dq")))

namespace ppc {

using block = __m128i;

inline bool has_aes() { return __builtin_cpu_supports("aes") && __builtin_cpu_supports("sse4.1"); }

inline bool has_vaes() {
    return __builtin_cpu_supports("vaes") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}

// Whether the wide path is taken. Both give the same bytes; tests and benchmarks switch it off.
inline bool& wide_aes() {
    static bool wide = has_vaes();
    return wide;
}

struct AesKey {
    block round[11];
};

PPC_AES inline block aes_next_round_key(block key, block assist) {
    assist = _mm_shuffle_epi32(assist, 0xff);
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
    return _mm_xor_si128(key, assist);
}

// FIPS-197 section 5.2. `key` points to 16 bytes.
PPC_AES inline AesKey aes_key(const void* key) {
    AesKey k;
    block* r = k.round;
    r[0] = _mm_loadu_si128(static_cast<const block*>(key));
    r[1] = aes_next_round_key(r[0], _mm_aeskeygenassist_si128(r[0], 0x01));
    r[2] = aes_next_round_key(r[1], _mm_aeskeygenassist_si128(r[1], 0x02));
    r[3] = aes_next_round_key(r[2], _mm_aeskeygenassist_si128(r[2], 0x04));
    r[4] = aes_next_round_key(r[3], _mm_aeskeygenassist_si128(r[3], 0x08));
    r[5] = aes_next_round_key(r[4], _mm_aeskeygenassist_si128(r[4], 0x10));
    r[6] = aes_next_round_key(r[5], _mm_aeskeygenassist_si128(r[5], 0x20));
    r[7] = aes_next_round_key(r[6], _mm_aeskeygenassist_si128(r[6], 0x40));
    r[8] = aes_next_round_key(r[7], _mm_aeskeygenassist_si128(r[7], 0x80));
    r[9] = aes_next_round_key(r[8], _mm_aeskeygenassist_si128(r[8], 0x1b));
    r[10] = aes_next_round_key(r[9], _mm_aeskeygenassist_si128(r[9], 0x36));
    return k;
}

constexpr size_t kSchedules = 8;

// The schedules of kSchedules keys. SubWord is aesenclast of a word that stands in all four columns, where ShiftRows
// changes nothing: unlike aeskeygenassist it is pipelined, and eight keys hide its latency.
PPC_AES inline void aes_keys(const block* keys, AesKey* out) {
    static constexpr int kRcon[10] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36};
    const block rotated = _mm_set1_epi32(0x0c0f0e0d);  // RotWord of the last column
    block x[kSchedules];
    for (size_t k = 0; k < kSchedules; ++k) out[k].round[0] = x[k] = _mm_loadu_si128(keys + k);
    for (int r = 0; r < 10; ++r) {
        const block rcon = _mm_set1_epi32(kRcon[r]);
        for (size_t k = 0; k < kSchedules; ++k) {
            const block word = _mm_aesenclast_si128(_mm_shuffle_epi8(x[k], rotated), rcon);
            x[k] = _mm_xor_si128(x[k], _mm_slli_si128(x[k], 4));
            x[k] = _mm_xor_si128(x[k], _mm_slli_si128(x[k], 8));
            out[k].round[r + 1] = x[k] = _mm_xor_si128(x[k], word);
        }
    }
}

// Eight blocks in flight hide the latency of one round.
PPC_AES inline void aes_blocks_ni(const AesKey& k, const block* in, block* out, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        block x[8];
        for (int b = 0; b < 8; ++b) x[b] = _mm_xor_si128(_mm_loadu_si128(in + i + b), k.round[0]);
        for (int r = 1; r < 10; ++r)
            for (int b = 0; b < 8; ++b) x[b] = _mm_aesenc_si128(x[b], k.round[r]);
        for (int b = 0; b < 8; ++b) _mm_storeu_si128(out + i + b, _mm_aesenclast_si128(x[b], k.round[10]));
    }
    for (; i < n; ++i) {
        block x = _mm_xor_si128(_mm_loadu_si128(in + i), k.round[0]);
        for (int r = 1; r < 10; ++r) x = _mm_aesenc_si128(x, k.round[r]);
        _mm_storeu_si128(out + i, _mm_aesenclast_si128(x, k.round[10]));
    }
}

PPC_VAES inline void aes_blocks_vaes(const AesKey& k, const block* in, block* out, size_t n) {
    __m512i key[11];
    // The masked form, because GCC 12 warns of the plain one's undefined source.
    for (int r = 0; r < 11; ++r) key[r] = _mm512_maskz_broadcast_i32x4(0xffff, k.round[r]);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m512i x[8];
        for (int b = 0; b < 8; ++b) x[b] = _mm512_xor_si512(_mm512_loadu_si512(in + i + 4 * b), key[0]);
        for (int r = 1; r < 10; ++r)
            for (int b = 0; b < 8; ++b) x[b] = _mm512_aesenc_epi128(x[b], key[r]);
        for (int b = 0; b < 8; ++b) _mm512_storeu_si512(out + i + 4 * b, _mm512_aesenclast_epi128(x[b], key[10]));
    }
    for (; i < n; i += 4) {
        const __mmask8 m = n - i >= 4 ? 0xff : static_cast<__mmask8>((1u << (2 * (n - i))) - 1);
        __m512i x = _mm512_xor_si512(_mm512_maskz_loadu_epi64(m, in + i), key[0]);
        for (int r = 1; r < 10; ++r) x = _mm512_aesenc_epi128(x, key[r]);
        _mm512_mask_storeu_epi64(out + i, m, _mm512_aesenclast_epi128(x, key[10]));
    }
}

// out[i] = AES_k(in[i]); in == out is allowed.
inline void aes_blocks(const AesKey& k, const block* in, block* out, size_t n) {
    if (wide_aes())
        aes_blocks_vaes(k, in, out, n);
    else
        aes_blocks_ni(k, in, out, n);
}

inline void aes_counters(uint64_t first, block* out, size_t n) {
    for (size_t i = 0; i < n; ++i)
        out[i] = _mm_set_epi64x(static_cast<long long>(__builtin_bswap64(first + i)), 0);
}

// Key stream of CTR mode from counter `first`: n blocks.
inline void aes_ctr(const AesKey& k, uint64_t first, block* out, size_t n) {
    aes_counters(first, out, n);
    aes_blocks(k, out, out, n);
}

}  // namespace ppc
