#include "he_cipher.h"

#include <algorithm>

namespace he {

static inline double ternary(uint64_t word) { return double(u128(word) * 3 >> 64) - 1.0; }  // bias below 2^-62

static constexpr size_t kChunk = 64;  // rows that stay in the first cache while the lanes are visited

// Calls body(row, lane) for all rows and lanes, in an order that is kind to caches.
template <class F>
static void each_row(size_t rows, size_t lanes, F body) {
    for (size_t from = 0; from < rows; from += kChunk)
        for (size_t lane = 0; lane < lanes; ++lane)
            for (size_t j = from; j < std::min(rows, from + kChunk); ++j) body(j, lane);
}

// Runs body(first, used, prime index) for every eight items and every prime.
template <class F>
static void each_lanes(const Basis& basis, size_t count, F body) {
    for (size_t first = 0; first < count; first += kLanes)
        for (size_t l = 0; l < basis.count(); ++l) body(first, std::min(kLanes, count - first), l);
}

void expand(const Basis& basis, const uint64_t* raw, size_t count, double* out, size_t stride) {
    const size_t n = basis.degree();
    for (size_t item = 0; item < count; ++item)
        for (size_t l = 0; l < basis.count(); ++l) {
            const uint64_t p = basis[l].p;
            double* to = out + item * stride + l * n;
            for (size_t j = 0; j < n; ++j, raw += 2)  // floor(raw·p/2^128): a bias below 2^-80
                to[j] = centred(uint64_t((u128(raw[1]) * p + uint64_t(u128(raw[0]) * p >> 64)) >> 64), p);
        }
}

void encrypt_zero(const Basis& basis, const uint64_t* noise, const double* c1, const double* s, size_t count,
                  uint64_t* out) {
    const size_t n = basis.degree(), primes = basis.count();
    const Kernels& k = basis.kernels();
    Buffer lanes(n * kLanes), product(n);
    each_lanes(basis, count, [&](size_t first, size_t used, size_t l) {
        const Prime& prime = basis[l];
        double* x = lanes.get();
        std::fill(x, x + n * kLanes, 0.0);
        each_row(n, used, [&](size_t j, size_t lane) {
            x[j * kLanes + lane] = binomial(noise[(first + lane) * n + j]);
        });
        k.forward(x, n, 0, 1, prime);
        for (size_t lane = 0; lane < used; ++lane) {
            double* masked = product.get();
            k.multiply(masked, c1 + ((first + lane) * primes + l) * n, s + l * n, n / kLanes, prime);
            for (size_t j = 0; j < n; ++j) masked[j] = x[j * kLanes + lane] - masked[j];
            k.reduce(masked, masked, n / kLanes, prime);
            uint64_t* to = out + (l * count + first + lane) * n;
            for (size_t j = 0; j < n; ++j) to[j] = canonical(masked[j], prime);
        }
    });
}

void accumulate(const Basis& basis, const AccShape& shape, double* acc, const double* x, const double* w,
                size_t terms) {
    const size_t n = basis.degree(), primes = basis.count(), size = shape.size, blocks = n / size;
    const size_t poly = size * kLanes, ciphers = shape.rows * 2;
    const Kernels& k = basis.kernels();
    Buffer plain(kLazyTerms * poly), ntt(poly), right(kLazyTerms * poly), row(n), left(ciphers * n * terms);
    for (size_t l = 0; l < primes; ++l) {
        const Prime& prime = basis[l];
        const auto left_at = [&](size_t from, size_t count, size_t i, size_t j) {
            return left.get() + (from * ciphers + i / 2 * 2 * count) * n + j * count * 2 + i % 2;
        };
        for (size_t t = 0; t < terms; ++t)
            for (size_t i = 0; i < ciphers; ++i) {
                const size_t from = t - t % kLazyTerms, count = std::min(terms - from, kLazyTerms);
                k.factor(row.get(), x + ((t * ciphers + i) * primes + l) * n, n / kLanes, 1, prime);
                double* to = left_at(from, count, i, 0) + (t - from) * 2;
                for (size_t j = 0; j < n; ++j) to[j * count * 2] = row.get()[j];
            }
        for (size_t g = 0; g < shape.groups; ++g)
            for (size_t from = 0; from < terms; from += kLazyTerms) {
                const size_t count = std::min(terms - from, kLazyTerms);
                for (size_t t = 0; t < count; ++t)
                    k.reduce(plain.get() + t * poly, w + ((from + t) * shape.groups + g) * poly, size, prime);
                for (size_t b = 0; b < blocks; ++b) {
                    for (size_t t = 0; t < count; ++t) {
                        std::copy(plain.get() + t * poly, plain.get() + (t + 1) * poly, ntt.get());
                        k.forward(ntt.get(), size, b, blocks, prime);
                        k.factor(right.get() + t * kLanes, ntt.get(), size, count, prime);
                    }
                    double* sums = acc + ((l * shape.groups + g) * blocks + b) * ciphers * poly;
                    for (size_t r = 0; r < shape.rows; ++r)
                        k.dot(sums + r * 2 * poly, left_at(from, count, 2 * r, b * size), right.get(), count, size,
                              prime);
                }
            }
    }
}

void collect(const Basis& basis, const AccShape& shape, const double* acc, size_t tiles, double* out) {
    const size_t n = basis.degree(), primes = basis.count(), size = shape.size, blocks = n / size;
    const Kernels& k = basis.kernels();
    Buffer sum(n * kLanes);
    double* x = sum.get();
    for (size_t l = 0; l < primes; ++l)
        for (size_t g = 0; g * kLanes < tiles; ++g)
            for (size_t r = 0; r < shape.rows; ++r)
                for (size_t c = 0; c < 2; ++c) {
                    for (size_t b = 0; b < blocks; ++b) {
                        const double* from =
                            acc + ((((l * shape.groups + g) * blocks + b) * shape.rows + r) * 2 + c) * size * kLanes;
                        std::copy(from, from + size * kLanes, x + b * size * kLanes);
                    }
                    k.inverse(x, n, basis[l]);
                    double* to = out + (((r * tiles + g * kLanes) * 2 + c) * primes + l) * n;
                    each_row(n, std::min(kLanes, tiles - g * kLanes), [&](size_t j, size_t lane) {
                        to[lane * 2 * primes * n + j] = x[j * kLanes + lane];
                    });
                }
}

void rerandomise(const Basis& basis, const double* public_key, const uint64_t* noise, size_t count,
                 double* ciphers) {
    const size_t n = basis.degree(), primes = basis.count();
    const Kernels& k = basis.kernels();
    Buffer ternaries(n * kLanes), small(n * kLanes), sum(n * kLanes);
    std::fill(ternaries.get(), ternaries.get() + n * kLanes, 0.0);
    double *u = small.get(), *x = sum.get();
    for (size_t first = 0; first < count; first += kLanes) {
        const size_t used = std::min(kLanes, count - first);
        const uint64_t* words = noise + first * 2 * n;
        each_row(n, used, [&](size_t j, size_t lane) {
            ternaries.get()[j * kLanes + lane] = ternary(words[lane * 2 * n + j]);
        });
        for (size_t l = 0; l < primes; ++l) {
            const Prime& prime = basis[l];
            std::copy(ternaries.get(), ternaries.get() + n * kLanes, u);
            k.forward(u, n, 0, 1, prime);
            for (size_t c = 0; c < 2; ++c) {
                std::fill(x, x + n * kLanes, 0.0);
                k.mac(x, public_key + (c * primes + l) * n, u, n, prime);
                k.inverse(x, n, prime);
                double* to = ciphers + ((first * 2 + c) * primes + l) * n;
                each_row(n, used, [&](size_t j, size_t lane) {
                    double& value = to[lane * 2 * primes * n + j];
                    const double error = c == 0 ? 0.0 : binomial(words[(lane * 2 + 1) * n + j]);
                    x[j * kLanes + lane] += value + error;
                });
                k.reduce(x, x, n, prime);
                each_row(n, used, [&](size_t j, size_t lane) {
                    to[lane * 2 * primes * n + j] = x[j * kLanes + lane];
                });
            }
        }
    }
}

// c/q mod 1 as a 64-bit fraction, by the Chinese remainder theorem: sum of y_i/p_i with
// y_i = c_i·(q/p_i)^-1 mod p_i. Each term is at most 3·2^-64 too small.
struct Fraction {
    const Basis& basis;
    uint64_t operator()(const double* residues) const {  // residues of one coefficient are N apart
        uint64_t sum = 0;
        for (size_t l = 0; l < basis.count(); ++l) {
            const uint64_t y = mul_mod(canonical(residues[l * basis.degree()], basis[l]), basis.punctured(l), basis[l].p);
            sum += uint64_t(u128(y) * basis.reciprocal(l) >> (basis.bits(l) - 1));
        }
        return sum;
    }
};

void switch_down(const Basis& basis, const double* in, size_t count, const Answer& answer, uint64_t* c1,
                 uint64_t* c0) {
    const size_t n = basis.degree(), poly = basis.count() * n;
    const Fraction fraction{basis};
    const auto rounded = [](uint64_t x, int b) { return (x + (1ull << (63 - b))) >> (64 - b); };
    for (size_t item = 0; item < count; ++item) {
        const double* a = in + (2 * item + 1) * poly;
        const double* b = in + 2 * item * poly;
        for (size_t j = 0; j < n; ++j) c1[item * n + j] = rounded(fraction(a + j), answer.bits);
        // A uniform fraction is taken off before the rounding, so what is sent is uniform whatever c0 is.
        for (size_t at = item * answer.slots, i = 0; i < answer.slots; ++i, ++at)
            c0[at] = rounded(fraction(b + answer.positions[i]) - answer.mask[at], answer.result_bits);
    }
}

void decrypt(const Basis& basis, const uint64_t* c1, const uint64_t* c0, size_t count, const double* s,
             int bits, int ell, const uint32_t* positions, size_t slots, uint64_t* out) {
    const size_t n = basis.degree(), primes = basis.count();
    const Kernels& k = basis.kernels();
    const uint64_t mask = (1ull << bits) - 1, first_prime = basis[0].p, last_prime = basis[primes - 1].p;
    const uint64_t inverse = primes == 2 ? inv_mod(first_prime, last_prime) : 0;
    const auto signed_of = [](uint64_t x, uint64_t p) { return int64_t(x - (p & -uint64_t(x > p / 2))); };
    Buffer first_lanes(n * kLanes), last_lanes(n * kLanes);
    double* residues[2] = {first_lanes.get(), last_lanes.get()};
    for (size_t first = 0; first < count; first += kLanes) {
        const size_t used = std::min(kLanes, count - first);
        for (size_t l = 0; l < primes; ++l) {
            double* x = residues[l];
            std::fill(x, x + n * kLanes, 0.0);
            each_row(n, used, [&](size_t j, size_t lane) {
                x[j * kLanes + lane] = double(int64_t(c1[(first + lane) * n + j] << (64 - bits)) >> (64 - bits));
            });
            k.reduce(x, x, n, basis[l]);
            k.forward(x, n, 0, 1, basis[l]);
            for (size_t j = 0; j < n; ++j) {
                double key[kLanes];
                std::fill(key, key + kLanes, s[l * n + j]);
                k.multiply(x + j * kLanes, x + j * kLanes, key, 1, basis[l]);
            }
            k.inverse(x, n, basis[l]);
        }
        for (size_t lane = 0; lane < used; ++lane)
            for (size_t i = 0; i < slots; ++i) {
                const size_t at = positions[i] * kLanes + lane;
                const uint64_t low = canonical(residues[0][at], basis[0]);
                uint64_t product = uint64_t(signed_of(low, first_prime));
                if (primes == 2) {  // low + first_prime·turns, turns centred
                    const uint64_t other = canonical(residues[1][at], basis[1]);
                    const uint64_t step =
                        mul_mod((other + last_prime - low % last_prime) % last_prime, inverse, last_prime);
                    product = low + first_prime * uint64_t(signed_of(step, last_prime));
                }
                const uint64_t sum = c0[(first + lane) * slots + i] + product;
                uint64_t& to = out[(first + lane) * slots + i];
                to = bits > ell ? ((sum + (1ull << (bits - ell - 1))) & mask) >> (bits - ell)
                                : (sum & mask) << (ell - bits);
            }
    }
}

void transform(const Basis& basis, const uint64_t* in, size_t count, bool inverse, uint64_t* out) {
    const size_t n = basis.degree(), primes = basis.count();
    const Kernels& k = basis.kernels();
    Buffer lanes(n * kLanes);
    each_lanes(basis, count, [&](size_t first, size_t used, size_t l) {
        double* x = lanes.get();
        std::fill(x, x + n * kLanes, 0.0);
        for (size_t lane = 0; lane < used; ++lane)
            for (size_t j = 0; j < n; ++j)
                x[j * kLanes + lane] = centred(in[((first + lane) * primes + l) * n + j], basis[l].p);
        if (inverse)
            k.inverse(x, n, basis[l]);
        else
            k.forward(x, n, 0, 1, basis[l]);
        k.reduce(x, x, n, basis[l]);
        for (size_t lane = 0; lane < used; ++lane)
            for (size_t j = 0; j < n; ++j)
                out[((first + lane) * primes + l) * n + j] = canonical(x[j * kLanes + lane], basis[l]);
    });
}

}  // namespace he
