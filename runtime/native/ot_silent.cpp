// Silent extension: punctured GGM trees and the local linear code of Ferret (Yang, Weng, Lan, Zhang, Wang,
// CCS 2020, eprint 2020/924). The trees are correlated (Guo, Yang, Wang, Zhang, Xie, Liu, Zhao, "Half-Tree",
// EUROCRYPT 2023, eprint 2022/1431): each level XORs to Delta, so one COT a level opens it without hashing.
#include "ot.h"

namespace ppc {

static constexpr size_t kBatch = 64;

// sigma(hi, lo) = (hi ^ lo, hi), a linear orthomorphism.
static inline block sigma(block x) {
    const block swapped = _mm_shuffle_epi32(x, 0x4e);
    return _mm_xor_si128(swapped, _mm_and_si128(x, _mm_set_epi64x(-1, 0)));
}

// A tree's own public permutation: AES under block `tree` of the tweak's key stream. Keys of one tweak differ for
// certain, so that one evaluation of AES tests a guess of Delta against one tree (runtime/ot/silent.py).
static AesKey tree_key(const AesKey& tweak, size_t tree) {
    block key;
    aes_ctr(tweak, tree, &key, 1);
    return aes_key(&key);
}

// children[2i] = H(x_i), children[2i+1] = x_i ^ H(x_i) with H(x) = pi(sigma(x)) ^ sigma(x), which is circular
// correlation robust (eprint 2019/074, section 7.3). From the last parent down, so that the level may grow in
// place. Returns the XOR of the left children.
static block grow(const AesKey& pi, block* level, size_t parents) {
    block s[kBatch], h[kBatch], left = _mm_setzero_si128();
    for (size_t end = parents; end > 0;) {
        const size_t width = end < kBatch ? end : kBatch, at = end - width;
        for (size_t i = 0; i < width; ++i) s[i] = sigma(level[at + i]);
        aes_blocks(pi, s, h, width);
        for (size_t i = width; i-- > 0;) {
            const block l = _mm_xor_si128(h[i], s[i]), x = level[at + i];
            level[2 * (at + i)] = l;
            level[2 * (at + i) + 1] = _mm_xor_si128(x, l);
            left = _mm_xor_si128(left, l);
        }
        end = at;
    }
    return left;
}

static block clear_lowest_bits(block* leaves, size_t n) {
    block sum = _mm_setzero_si128();
    for (size_t i = 0; i < n; ++i) {
        leaves[i] = _mm_andnot_si128(lowest_bit(), leaves[i]);
        sum = _mm_xor_si128(sum, leaves[i]);
    }
    return sum;
}

void ggm_send(const AesKey& roots, const AesKey& tweak, block delta, const block* q, size_t trees, int depth,
              block* leaves, block* message) {
    const size_t size = size_t(1) << depth;
    for (size_t tree = 0; tree < trees; ++tree, leaves += size, q += depth, message += depth) {
        const AesKey pi = tree_key(tweak, tree);
        aes_ctr(roots, tree, leaves, 1);
        leaves[1] = _mm_xor_si128(leaves[0], delta);
        message[0] = _mm_xor_si128(_mm_loadu_si128(q), leaves[0]);
        for (int level = 1; level < depth; ++level) {
            const block left = grow(pi, leaves, size_t(1) << level);
            message[level] = _mm_xor_si128(_mm_loadu_si128(q + level), left);
        }
        clear_lowest_bits(leaves, size);
    }
}

// A random choice bit r at a level opens the sum of that level's children of side r, so the path to the hole
// goes the other way: the hole is uniform because the choice bits are, and nothing needs to be corrected.
void ggm_receive(const AesKey& tweak, const block* t, const block* message, size_t trees, int depth,
                 block* leaves) {
    const size_t size = size_t(1) << depth;
    const block zero = _mm_setzero_si128();
    for (size_t tree = 0; tree < trees; ++tree, leaves += size, t += depth, message += depth) {
        const AesKey pi = tree_key(tweak, tree);
        size_t hole = 0;
        for (int level = 0; level < depth; ++level) {
            const size_t parents = size_t(1) << level;
            const block opened = _mm_xor_si128(_mm_loadu_si128(message + level), _mm_loadu_si128(t + level));
            const uint64_t side = low_word(_mm_loadu_si128(t + level)) & 1;
            block left = zero, right = zero;
            if (level > 0) {
                // The hole's slot holds zero; its two false children are left out of the sums.
                block all = zero;
                for (size_t i = 0; i < parents; ++i) all = _mm_xor_si128(all, leaves[i]);
                left = grow(pi, leaves, parents);
                right = _mm_xor_si128(all, left);
                left = _mm_xor_si128(left, leaves[2 * hole]);
                right = _mm_xor_si128(right, leaves[2 * hole + 1]);
            }
            const block mask = spread(side);
            const block sum = _mm_or_si128(_mm_and_si128(mask, right), _mm_andnot_si128(mask, left));
            leaves[2 * hole + side] = _mm_xor_si128(opened, sum);
            leaves[2 * hole + (1 - side)] = zero;
            hole = 2 * hole + (1 - side);
        }
        // All leaves of the sender XOR to Delta, lowest bits apart; the receiver's at the hole is q ^ Delta.
        leaves[hole] = _mm_or_si128(clear_lowest_bits(leaves, size), lowest_bit());
    }
}

// x_i ^= XOR of ten entries of the secret, at indices from AES-CTR under a public key. Indices are 32-bit words
// masked to the (power of two) length of the secret; four rows use ten blocks of the stream.
void lpn_encode(const AesKey& matrix, const block* secret, int log_secret, block* x, size_t n) {
    constexpr size_t kRows = 32, kTaps = 10, kStream = kRows * kTaps / 4;
    const uint32_t mask = (uint32_t(1) << log_secret) - 1;
    alignas(64) block stream[kStream];
    const auto* index = reinterpret_cast<const uint32_t*>(stream);
    for (size_t at = 0; at < n; at += kRows) {
        const size_t width = n - at < kRows ? n - at : kRows;
        aes_ctr(matrix, at / kRows * kStream, stream, kStream);
        for (size_t i = 0; i < width; ++i) {
            const uint32_t* row = index + kTaps * i;
            block a = _mm_loadu_si128(x + at + i), b = _mm_loadu_si128(secret + (row[0] & mask));
            for (size_t j = 1; j + 1 < kTaps; j += 2) {
                a = _mm_xor_si128(a, _mm_loadu_si128(secret + (row[j] & mask)));
                b = _mm_xor_si128(b, _mm_loadu_si128(secret + (row[j + 1] & mask)));
            }
            a = _mm_xor_si128(a, _mm_loadu_si128(secret + (row[kTaps - 1] & mask)));
            _mm_storeu_si128(x + at + i, _mm_xor_si128(a, b));
        }
    }
}

}  // namespace ppc
