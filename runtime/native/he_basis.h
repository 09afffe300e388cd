// A prime basis of Z_q[X]/(X^N + 1): tables, and the passage between residues and lanes.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <vector>

#include "he_kernels.h"

namespace he {

using u128 = unsigned __int128;
using i128 = __int128;

inline uint64_t mul_mod(uint64_t a, uint64_t b, uint64_t p) { return uint64_t(u128(a) * b % p); }
uint64_t pow_mod(uint64_t a, uint64_t e, uint64_t p);
inline uint64_t inv_mod(uint64_t a, uint64_t p) { return pow_mod(a % p, p - 2, p); }
// Both without branches, which uniform residues would mispredict half of the time.
inline double centred(uint64_t x, uint64_t p) { return double(int64_t(x - (p & -uint64_t(x > p / 2)))); }
inline uint64_t canonical(double x, const Prime& prime) {  // of -p < x < p
    const int64_t value = int64_t(x);
    return uint64_t(value) + (prime.p & uint64_t(value >> 63));
}

// Doubles on a cache line's boundary.
class Buffer {
public:
    explicit Buffer(size_t count)
        : data_(static_cast<double*>(std::aligned_alloc(64, (count * sizeof(double) + 63) / 64 * 64))) {
        if (!data_) throw std::bad_alloc();
    }
    double* get() { return data_.get(); }

private:
    struct Free {
        void operator()(double* p) const { std::free(p); }
    };
    std::unique_ptr<double, Free> data_;
};

class Basis {
public:
    // Throws std::invalid_argument unless N is a power of two and every p an NTT prime below 2^48.
    Basis(size_t degree, std::vector<uint64_t> primes, const char* isa);
    Basis(const Basis&) = delete;

    size_t degree() const { return degree_; }
    size_t count() const { return primes_.size(); }
    const Prime& operator[](size_t i) const { return primes_[i]; }
    const Kernels& kernels() const { return *kernels_; }
    uint64_t low_q() const { return low_q_; }                        // q mod 2^64
    uint64_t punctured(size_t i) const { return punctured_[i]; }     // (q/p_i)^-1 mod p_i
    uint64_t reciprocal(size_t i) const { return reciprocal_[i]; }   // floor(2^(63+bits)/p_i)
    int bits(size_t i) const { return bits_[i]; }

private:
    size_t degree_;
    std::vector<Prime> primes_;
    std::vector<std::vector<double>> tables_;
    std::vector<uint64_t> punctured_, reciprocal_;
    std::vector<int> bits_;
    const Kernels* kernels_;
    uint64_t low_q_ = 1;
};

}  // namespace he
