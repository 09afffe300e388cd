#include "he_basis.h"

#include <cstring>

namespace he {

uint64_t pow_mod(uint64_t a, uint64_t e, uint64_t p) {
    uint64_t out = 1;
    for (; e; e >>= 1, a = mul_mod(a, a, p))
        if (e & 1) out = mul_mod(out, a, p);
    return out;
}

// The least primitive 2N-th root, as SEAL takes it, so that both agree on the order of values.
static uint64_t least_root(uint64_t p, size_t degree) {
    uint64_t root = 0;
    for (uint64_t g = 2; g < 1000 && !root; ++g) {
        const uint64_t r = pow_mod(g, (p - 1) / (2 * degree), p);
        if (pow_mod(r, degree, p) == p - 1) root = r;
    }
    if (!root) throw std::invalid_argument("a modulus has no primitive root of order 2N");
    const uint64_t square = mul_mod(root, root, p);
    uint64_t least = root;
    for (size_t i = 0; i < degree; ++i, root = mul_mod(root, square, p))
        if (root < least) least = root;
    return least;
}

static const Kernels* choose(const char* isa) {
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f");
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool ifma = avx512 && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512ifma");
    const bool best = std::strcmp(isa, "best") == 0;
    if (ifma && (best || !std::strcmp(isa, "ifma"))) return &kIfma;
    if (avx512 && (best || !std::strcmp(isa, "avx512"))) return &kAvx512;
    if (avx2 && (best || !std::strcmp(isa, "avx2"))) return &kAvx2;
    if (best || !std::strcmp(isa, "plain")) return &kPlain;
    throw std::invalid_argument("this processor has no such instruction set");
}

static size_t reversed(size_t i, size_t n) {
    size_t out = 0;
    for (size_t bit = 1; bit < n; bit <<= 1, i >>= 1) out = out << 1 | (i & 1);
    return out;
}

Basis::Basis(size_t degree, std::vector<uint64_t> primes, const char* isa)
    : degree_(degree), kernels_(choose(isa)) {
    if (degree < 16 || degree > 32768 || (degree & (degree - 1)))
        throw std::invalid_argument("the degree must be a power of two from 16 to 32768");
    if (primes.empty() || primes.size() > 8) throw std::invalid_argument("a basis has 1 to 8 primes");
    tables_.reserve(2 * primes.size());
    for (size_t i = 0; i < primes.size(); ++i) {
        const uint64_t p = primes[i];
        if (p < (1ull << 20) || p >> kMaxPrimeBits || p % (2 * degree) != 1 || pow_mod(2, p - 1, p) != 1)
            throw std::invalid_argument("a modulus must be a prime of 21 to 48 bits that is 1 mod 2N");
        const uint64_t root = least_root(p, degree), back = inv_mod(root, p);
        std::vector<double> forward(degree), inverse(degree);
        uint64_t a = 1, b = 1;
        for (size_t k = 0; k < degree; ++k, a = mul_mod(a, root, p), b = mul_mod(b, back, p)) {
            forward[reversed(k, degree)] = centred(a, p);
            inverse[reversed(k, degree)] = centred(b, p);
        }
        uint64_t others = 1;
        for (size_t j = 0; j < primes.size(); ++j) {
            if (j != i && primes[j] == p) throw std::invalid_argument("the primes of a basis must differ");
            if (j != i) others = mul_mod(others, primes[j] % p, p);
        }
        tables_.push_back(std::move(forward));
        tables_.push_back(std::move(inverse));
        const int bits = 64 - __builtin_clzll(p);
        primes_.push_back({p, double(p), 1.0 / double(p), centred(inv_mod(degree, p), p),
                           tables_[2 * i].data(), tables_[2 * i + 1].data()});
        punctured_.push_back(inv_mod(others, p));
        reciprocal_.push_back(uint64_t((u128(1) << (63 + bits)) / p));
        bits_.push_back(bits);
        low_q_ *= p;
    }
}

}  // namespace he
