// Sums over GF(2^128) by which one side checks what the other has extended; what is compared with what stands in
// runtime/ot/check.py. `chi` is the public challenge, whose key stream is the coefficients.
#include "gf128.h"
#include "ot.h"

namespace ppc {

// hashes[j] = sum of chi_g * (bits 128 g to 128 g + 127 of column j), where column j is bit j of each row. The last
// group's coefficient is 1: it masks the others.
void column_hashes(const AesKey& chi, const block* rows, size_t groups, block* hashes) {
    constexpr size_t kGroups = 32;
    const auto columns = buffer<block>(128 * kGroups);
    block square[128], weights[kGroups];
    for (size_t j = 0; j < 128; ++j) hashes[j] = _mm_setzero_si128();
    for (size_t at = 0; at < groups; at += kGroups) {
        const size_t width = groups - at < kGroups ? groups - at : kGroups;
        aes_ctr(chi, at, weights, width);
        if (at + width == groups) weights[width - 1] = _mm_set_epi64x(0, 1);
        for (size_t g = 0; g < width; ++g) {
            for (size_t i = 0; i < 128; ++i) square[i] = _mm_loadu_si128(rows + 128 * (at + g) + i);
            transpose128(square);
            for (size_t j = 0; j < 128; ++j) columns[j * kGroups + g] = square[j];
        }
        for (size_t j = 0; j < 128; ++j)
            hashes[j] = _mm_xor_si128(hashes[j], gf_dot(weights, &columns[j * kGroups], width));
    }
}

// sum = sum over trees l and leaves i of b_l * a_i * leaf, holes = the same with the leaf's lowest bit in its place.
// That a coefficient is a product saves a block of the stream for each leaf; `a` stays in the cache.
void leaf_sums(const AesKey& chi, const block* leaves, size_t trees, int depth, block* sum, block* holes) {
    const size_t size = size_t(1) << depth;
    const auto a = buffer<block>(size), b = buffer<block>(trees);
    const auto sums = buffer<block>(trees), marks = buffer<block>(trees);
    aes_ctr(chi, 0, a.get(), size);
    aes_ctr(chi, size, b.get(), trees);
    for (size_t tree = 0; tree < trees; ++tree, leaves += size) {
        block mark = _mm_setzero_si128();
        for (size_t i = 0; i < size; ++i)
            mark = _mm_xor_si128(mark, _mm_and_si128(a[i], spread(low_word(_mm_loadu_si128(leaves + i)))));
        marks[tree] = mark;
        sums[tree] = gf_dot(a.get(), leaves, size);
    }
    *sum = gf_dot(b.get(), sums.get(), trees);
    *holes = gf_dot(b.get(), marks.get(), trees);
}

}  // namespace ppc
