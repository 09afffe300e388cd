// After PackLWEs (Chen, Dai, Kim, Song, eprint 2020/015) and BumbleBee (eprint 2023/1678).
//
// With g: X -> X^(N/2^s + 1), A + g(A) doubles the coefficients at multiples of 2^(s+1) and kills the odd
// multiples of 2^s. So (A + X^h·B) + g(A - X^h·B), h = 2^s, keeps the results of A and, h further on, those
// of B; one key switch serves two ciphertexts. The doubling is undone beforehand modulo q.
#include "he_pack.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace he {

namespace {

class Packer {
public:
    Packer(const Basis& basis, const PackShape& shape)
        : basis_(basis), shape_(shape), n_(basis.degree()), kept_(basis.count() - 1), k_(basis.kernels()),
          items_(shape.packs * shape.fill * 2 * kept_ * n_), sum_(2 * kept_ * n_ * kLanes),
          turned_(2 * kept_ * n_ * kLanes), digit_(n_ * kLanes), rest_(n_ * kLanes), lanes_(n_ * kLanes),
          switched_(2 * basis.count() * n_ * kLanes) {
        std::fill(lanes_.get(), lanes_.get() + n_ * kLanes, 0.0);
        std::fill(digit_.get(), digit_.get() + n_ * kLanes, 0.0);
        for (size_t i = 0; i < kept_; ++i)
            last_inverse_.push_back(centred(inv_mod(basis[kept_].p, basis[i].p), basis[i].p));
    }

    void run(const double* in, const double* keys, double* out) {
        for (size_t item = 0; item < shape_.packs * shape_.fill * 2; ++item)
            drop(in + item * (kept_ + 1) * n_, items_.get() + item * kept_ * n_);
        int s = __builtin_ctzll(shape_.stride) - 1;
        const size_t key_size = kept_ * shape_.parts * 2 * (kept_ + 1) * n_;
        for (size_t half = shape_.fill / 2; half >= 1; half /= 2, --s)
            for (size_t first = 0; first < shape_.packs * half; first += kLanes)
                merge(first, std::min(kLanes, shape_.packs * half - first), half, size_t(s),
                      keys + size_t(s) * key_size);
        for (size_t pack = 0; pack < shape_.packs; ++pack)
            for (size_t c = 0; c < 2; ++c)
                for (size_t i = 0; i < kept_; ++i) {
                    const double* x = item(pack * shape_.fill, c, i);
                    out = std::copy(x, x + n_, out);
                }
    }

private:
    double* item(size_t which, size_t c, size_t i) { return items_.get() + ((which * 2 + c) * kept_ + i) * n_; }
    double* lanes(Buffer& from, size_t c, size_t l, size_t primes) {
        return from.get() + (c * primes + l) * n_ * kLanes;
    }

    // One polynomial: divided by fill, switched from q to q', and turned by X^-(stride-1).
    void drop(const double* in, double* out) {
        double* last = digit_.get();
        double* x = lanes_.get();
        const size_t vectors = n_ / kLanes, shift = shape_.stride - 1;
        k_.scale(last, in + kept_ * n_, divided(basis_[kept_]), vectors, basis_[kept_]);
        for (size_t i = 0; i < kept_; ++i) {
            k_.scale(x, in + i * n_, divided(basis_[i]), vectors, basis_[i]);
            for (size_t j = 0; j < n_; ++j) x[j] -= last[j];
            k_.scale(x, x, last_inverse_[i], vectors, basis_[i]);
            double* to = out + i * n_;
            std::copy(x + shift, x + n_, to);
            for (size_t j = 0; j < shift; ++j) to[n_ - shift + j] = -x[j];
        }
    }

    double divided(const Prime& prime) const { return centred(inv_mod(shape_.fill, prime.p), prime.p); }

    void merge(size_t first, size_t used, size_t half, size_t s, const double* key) {
        const size_t h = size_t(1) << s, step = n_ >> s;
        std::vector<size_t> where(used);
        for (size_t lane = 0; lane < used; ++lane)
            where[lane] = (first + lane) / half * shape_.fill + (first + lane) % half;
        for (size_t c = 0; c < 2; ++c)
            for (size_t i = 0; i < kept_; ++i) {
                double* sum = lanes(sum_, c, i, kept_);
                double* turned = lanes(turned_, c, i, kept_);
                gather(where, 0, c, i, lanes_.get());
                gather(where, half, c, i, digit_.get());
                for (size_t j = 0; j < n_; ++j) {
                    const double* a = lanes_.get() + j * kLanes;
                    const double* b = digit_.get() + ((j - h) & (n_ - 1)) * kLanes;
                    const size_t to = (j + j * step) & (2 * n_ - 1);
                    const double sign = j >= h ? 1.0 : -1.0, turn = to < n_ ? 1.0 : -1.0;
                    double* turned_row = turned + (to & (n_ - 1)) * kLanes;
                    for (size_t lane = 0; lane < kLanes; ++lane) {
                        sum[j * kLanes + lane] = a[lane] + sign * b[lane];
                        turned_row[lane] = turn * (a[lane] - sign * b[lane]);
                    }
                }
                k_.reduce(turned, turned, n_, basis_[i]);
            }
        key_switch(key);
        for (size_t c = 0; c < 2; ++c)
            for (size_t i = 0; i < kept_; ++i) {
                double* sum = lanes(sum_, c, i, kept_);
                const double* extra = lanes(switched_, c, i, kept_ + 1);
                const double* turned = lanes(turned_, 0, i, kept_);
                for (size_t j = 0; j < n_ * kLanes; ++j) sum[j] += extra[j] + (c == 0 ? turned[j] : 0.0);
                k_.reduce(sum, sum, n_, basis_[i]);
                for (size_t lane = 0; lane < used; ++lane) {
                    double* to = item(where[lane], c, i);
                    for (size_t j = 0; j < n_; ++j) to[j] = sum[j * kLanes + lane];
                }
            }
    }

    // Polynomial (c, i) of items where[lane] + offset, side by side; unused lanes are left as they are.
    void gather(const std::vector<size_t>& where, size_t offset, size_t c, size_t i, double* out) {
        constexpr size_t kChunk = 64;  // rows that stay in the first cache while the lanes are visited
        for (size_t j = 0; j < n_; j += kChunk)
            for (size_t lane = 0; lane < where.size(); ++lane) {
                const double* from = item(where[lane] + offset, c, i) + j;
                for (size_t at = 0; at < kChunk; ++at) out[(j + at) * kLanes + lane] = from[at];
            }
    }

    // Take the lowest digit, from -2^(digit_bits - 1) up, off rest_.
    void cut_digit(double* digit) {
        const double base = std::ldexp(1.0, shape_.digit_bits);
        Prime modulus;
        modulus.value = base;
        modulus.inverse = 1 / base;
        k_.reduce(digit, rest_.get(), n_, modulus);
        for (size_t j = 0; j < n_ * kLanes; ++j) rest_.get()[j] = (rest_.get()[j] - digit[j]) / base;
    }

    // switched <- (Σ digits of turned c1 · key)/p_last, for c0 and c1, modulo the kept primes
    void key_switch(const double* key) {
        const size_t primes = kept_ + 1;
        std::fill(switched_.get(), switched_.get() + 2 * primes * n_ * kLanes, 0.0);
        for (size_t i = 0; i < kept_; ++i) {
            const double* source = lanes(turned_, 1, i, kept_);
            std::copy(source, source + n_ * kLanes, rest_.get());
            for (size_t part = 0; part < shape_.parts; ++part, key += 2 * primes * n_) {
                const bool last = part + 1 == shape_.parts;
                if (!last) cut_digit(digit_.get());
                for (size_t l = 0; l < primes; ++l) {
                    k_.reduce(lanes_.get(), last ? rest_.get() : digit_.get(), n_, basis_[l]);
                    k_.forward(lanes_.get(), n_, 0, 1, basis_[l]);
                    for (size_t c = 0; c < 2; ++c)
                        k_.mac(lanes(switched_, c, l, primes), key + (c * primes + l) * n_, lanes_.get(), n_,
                               basis_[l]);
                }
            }
        }
        for (size_t c = 0; c < 2; ++c) {
            double* last = lanes(switched_, c, kept_, primes);
            k_.inverse(last, n_, basis_[kept_]);
            for (size_t i = 0; i < kept_; ++i) {
                double* x = lanes(switched_, c, i, primes);
                k_.inverse(x, n_, basis_[i]);
                for (size_t j = 0; j < n_ * kLanes; ++j) x[j] -= last[j];
                k_.scale(x, x, last_inverse_[i], n_, basis_[i]);
            }
        }
    }

    const Basis& basis_;
    const PackShape& shape_;
    const size_t n_, kept_;
    const Kernels& k_;
    Buffer items_, sum_, turned_, digit_, rest_, lanes_, switched_;
    std::vector<double> last_inverse_;
};

}  // namespace

void interleave(const Basis& basis, const PackShape& shape, const double* in, const double* keys, double* out) {
    Packer(basis, shape).run(in, keys, out);
}

}  // namespace he
