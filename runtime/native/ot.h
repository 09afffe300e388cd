// Kernels of oblivious transfer: plain pointers in, plain pointers out; sizes are checked by the caller.
// A block is 16 bytes; Delta has its lowest bit set, a sender's block q has it clear, and the receiver's
// block is t = q ^ c * Delta, so that the lowest bit of t is the choice bit c.
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "aes.h"

namespace ppc {

// Uninitialised memory on a cache line; large arrays on huge pages where the system has them, for the page
// faults of a fresh array cost as much as filling it.
inline void* allocate(size_t size) {
    constexpr size_t kLine = 64, kHuge = size_t(2) << 20;
    const bool large = size >= 2 * kHuge;
    void* p = nullptr;
    if (posix_memalign(&p, large ? kHuge : kLine, size ? size : 1) != 0) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    if (large) madvise(p, size, MADV_HUGEPAGE);
#endif
    return p;
}
inline void release(void* p) noexcept { std::free(p); }

struct Release {
    void operator()(void* p) const noexcept { release(p); }
};
template <class T>
using Buffer = std::unique_ptr<T[], Release>;
template <class T>
Buffer<T> buffer(size_t n) {
    return Buffer<T>(static_cast<T*>(allocate(n * sizeof(T))));
}

inline block lowest_bit() { return _mm_set_epi64x(0, 1); }
inline uint64_t low_word(block x) { return static_cast<uint64_t>(_mm_cvtsi128_si64(x)); }
// All ones where bit is 1, else zero, without a branch on the secret bit.
inline block spread(uint64_t bit) { return _mm_set1_epi64x(-static_cast<long long>(bit & 1)); }

// ot_iknp.cpp: IKNP over 127 columns; `words` is the number of 128-row groups, message 127 * words blocks.
constexpr size_t kColumns = 127;
void iknp_receive(const uint8_t* seeds0, const uint8_t* seeds1, uint64_t counter, const block* choices,
                  size_t words, block* message, block* out);
void iknp_send(const uint8_t* seeds, block delta, uint64_t counter, const block* message, size_t words,
               block* out);

// Transposes 128 x 128 bits in place.
void transpose128(block* square);

// ot_hash.cpp: out has n * nbytes bytes and 16 of slack.
void hash_keys(const AesKey& tweak, const block* blocks, block offset, uint64_t first, size_t n, size_t nbytes,
               uint8_t* out);

// ot_silent.cpp
void ggm_send(const AesKey& roots, const AesKey& tweak, block delta, const block* q, size_t trees, int depth,
              block* leaves, block* message);
void ggm_receive(const AesKey& tweak, const block* t, const block* message, size_t trees, int depth,
                 block* leaves);
void lpn_encode(const AesKey& matrix, const block* secret, int log_secret, block* x, size_t n);

// ot_check.cpp: 128 hashes of 128 * groups rows; two sums of trees << depth leaves.
void column_hashes(const AesKey& chi, const block* rows, size_t groups, block* hashes);
void leaf_sums(const AesKey& chi, const block* leaves, size_t trees, int depth, block* sum, block* holes);

}  // namespace ppc
