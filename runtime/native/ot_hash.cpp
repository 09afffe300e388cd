// The tweakable circular correlation robust hash TMMO of Guo, Katz, Wang, Yu (S&P 2020, eprint 2019/074):
// H(x, i) = pi(pi(x) ^ i) ^ pi(x). Output block j of a longer key is pi_j(pi(x) ^ (i, j)) ^ pi(x).
#include <cstring>

#include "ot.h"

namespace ppc {

static constexpr size_t kChunk = 64;

// Each batch of 1024 COTs has a public permutation of its own for each output block j: AES under block (j, i >> 10) of
// the tweak's key stream. Keys of one tweak differ for certain, so that one evaluation of AES tests a guess of Delta
// against one batch (runtime/ot/keys.py).
static constexpr int kLogBatch = 10;
static constexpr size_t kBatch = size_t(1) << kLogBatch;

static block key_number(uint64_t part, uint64_t batch) {
    return _mm_set_epi64x(static_cast<long long>(__builtin_bswap64(batch)),
                          static_cast<long long>(__builtin_bswap64(part)));
}

// The permutations of kSchedules numbers, which are overwritten.
static void permutations(const AesKey& tweak, block* numbers, AesKey* out) {
    aes_blocks(tweak, numbers, numbers, kSchedules);
    aes_keys(numbers, out);
}

// Output block `part` of `width` <= kChunk keys of nbytes, from their pi(x); `index` is that of the first.
static void hash_part(const AesKey& pi, const block* inner, uint64_t index, size_t part, size_t width, size_t nbytes,
                      uint8_t* out) {
    block outer[kChunk];
    for (size_t i = 0; i < width; ++i) {
        const auto tweak = static_cast<long long>(index + i);
        outer[i] = _mm_xor_si128(inner[i], _mm_set_epi64x(static_cast<long long>(part), tweak));
    }
    aes_blocks(pi, outer, outer, width);
    uint8_t* to = out + 16 * part;
    if (nbytes <= 16) {
        // Rows are written in order, so what spills over a row's end is overwritten by the next.
        for (size_t i = 0; i < width; ++i, to += nbytes)
            _mm_storeu_si128(reinterpret_cast<block*>(to), _mm_xor_si128(outer[i], inner[i]));
        return;
    }
    const size_t size = nbytes - 16 * part < 16 ? nbytes - 16 * part : 16;
    for (size_t i = 0; i < width; ++i, to += nbytes) {
        const block key = _mm_xor_si128(outer[i], inner[i]);
        std::memcpy(to, &key, size);
    }
}

// Schedules are made eight at a time: of eight batches to come, or of eight output blocks of the batch at hand.
void hash_keys(const AesKey& tweak, const block* blocks, block offset, uint64_t first, size_t n, size_t nbytes,
               uint8_t* out) {
    const size_t parts = (nbytes + 15) / 16;
    AesKey pi[kSchedules];
    block numbers[kSchedules], inner[kBatch];
    size_t batches = 0;
    for (size_t at = 0; at < n;) {
        const uint64_t index = first + at, batch = index >> kLogBatch;
        const size_t left = kBatch - (index & (kBatch - 1)), run = n - at < left ? n - at : left;
        for (size_t part = 0; part < parts; part += kSchedules) {
            const size_t some = parts - part < kSchedules ? parts - part : kSchedules;
            const size_t ahead = parts == 1 ? batches++ % kSchedules : 0;
            if (ahead == 0) {
                for (size_t k = 0; k < kSchedules; ++k)
                    numbers[k] = parts == 1 ? key_number(0, batch + k) : key_number(part + k, batch);
                permutations(tweak, numbers, pi);
            }
            for (size_t i = 0; i < run; i += kChunk) {
                const size_t width = run - i < kChunk ? run - i : kChunk;
                block* own = parts > kSchedules ? inner + i : inner;  // kept where later output blocks need it
                if (part == 0) {
                    for (size_t j = 0; j < width; ++j)
                        own[j] = _mm_xor_si128(_mm_loadu_si128(blocks + at + i + j), offset);
                    aes_blocks(pi[ahead], own, own, width);
                }
                for (size_t k = 0; k < some; ++k)
                    hash_part(pi[ahead + k], own, index + i, part + k, width, nbytes, out + (at + i) * nbytes);
            }
        }
        at += run;
    }
}

}  // namespace ppc
