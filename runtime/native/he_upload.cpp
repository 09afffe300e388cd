// A uniform plaintext u = h - k with h from a public seed and k = floor(2^ell·y/q) is encrypted by
//
//     c0 = y + q·u/2^ell = q·h/2^ell + (y - q·k/2^ell)
//
// so only the rest of y below q/2^ell is sent, and of that only what rises above noise that is there anyway.
// Where the plaintext is 0, y itself is sent, likewise rounded.
//
// y looks uniform mod q by RLWE. The y of one k are floor(q/2^ell) many or one more, and what a k has more than
// the others is refused: of the rest, every pair of k and what is sent is as likely as any other. So u is exactly
// uniform whatever is sent, although q is but a few bits longer than 2^ell.
#include "he_upload.h"

#include <algorithm>
#include <vector>

#include "he_cipher.h"

namespace he {

namespace {

// An integer of 256 bits in two's complement, least word first.
struct Wide {
    uint64_t word[4] = {0, 0, 0, 0};

    void times_plus(uint64_t factor, uint64_t addend) {
        u128 carry = addend;
        for (uint64_t& w : word) {
            carry += u128(w) * factor;
            w = uint64_t(carry);
            carry >>= 64;
        }
    }
    void minus(const Wide& other) {
        unsigned char borrow = 0;
        for (size_t i = 0; i < 4; ++i) {
            const u128 difference = u128(word[i]) - other.word[i] - borrow;
            word[i] = uint64_t(difference);
            borrow = uint64_t(difference >> 64) != 0;
        }
    }
    bool negative() const { return word[3] >> 63; }
    bool operator==(const Wide& other) const {
        return std::equal(word, word + 4, other.word);
    }
    double value() const {
        return ((double(word[3]) * 0x1p64 + double(word[2])) * 0x1p64 + double(word[1])) * 0x1p64 + double(word[0]);
    }
    // round(this/2^bits) of an integer that is not negative
    Wide rounded(int bits) const {
        if (bits == 0) return *this;
        Wide out = *this, half;
        half.word[(bits - 1) / 64] = 1ull << (bits - 1) % 64;
        u128 carry = 0;
        for (size_t i = 0; i < 4; ++i) {
            carry += u128(out.word[i]) + half.word[i];
            out.word[i] = uint64_t(carry);
            carry >>= 64;
        }
        return out.shifted(bits);
    }
    Wide shifted(int bits) const {  // right, by 1 to 63
        Wide out;
        for (size_t i = 0; i < 4; ++i) out.word[i] = word[i] >> bits | (i < 3 ? word[i + 1] << (64 - bits) : 0);
        return out;
    }
};

// The integer in [0, q) of given residues, by mixed radices (Garner).
class Composer {
public:
    explicit Composer(const Basis& basis) : basis_(basis), inverse_(basis.count() * basis.count()) {
        for (size_t l = 0; l < basis.count(); ++l)
            for (size_t i = 0; i < l; ++i) inverse_[l * basis.count() + i] = inv_mod(basis[i].p, basis[l].p);
        q.word[0] = 1;
        for (size_t l = 0; l < basis.count(); ++l) q.times_plus(basis[l].p, 0);
    }
    Wide operator()(const uint64_t* residues, size_t stride) const {
        uint64_t digit[8];
        const size_t primes = basis_.count();
        for (size_t l = 0; l < primes; ++l) {
            const uint64_t p = basis_[l].p;
            uint64_t d = residues[l * stride];
            for (size_t i = 0; i < l; ++i)
                d = mul_mod(d + p - digit[i] % p, inverse_[l * primes + i], p);
            digit[l] = d;
        }
        Wide out;
        for (size_t l = primes; l-- > 0;) out.times_plus(l + 1 < primes ? basis_[l].p : 0, digit[l]);
        return out;
    }
    Wide q;

private:
    const Basis& basis_;
    std::vector<uint64_t> inverse_;
};

// k = floor(2^ell·y/q), and y becomes y - round(q·k/2^ell), which is not negative.
uint64_t split(Wide& y, const Wide& q, int ell, double factor) {
    const uint64_t most = (1ull << ell) - 1;
    uint64_t k = std::min(most, uint64_t(y.value() * factor));
    if (k < most) ++k;  // the quotient in doubles may be too small by one
    for (;; --k) {
        Wide part = q, rest = y;
        part.times_plus(k, 0);
        rest.minus(part.rounded(ell));
        if (!rest.negative()) {
            y = rest;
            return k;
        }
    }
}

// The same where q is a prime, so below 2^48.
uint64_t split(uint64_t& y, uint64_t q, int ell, double factor) {
    const uint64_t most = (1ull << ell) - 1;
    uint64_t k = std::min(most, uint64_t(double(y) * factor));
    if (k < most) ++k;
    for (;; --k) {
        const uint64_t part = uint64_t((u128(q) * k + (1ull << (ell - 1))) >> ell);
        if (part <= y) {
            y -= part;
            return k;
        }
    }
}

}  // namespace

bool upload(const Basis& basis, const UploadShape& shape, const uint64_t* offset, const uint64_t* noise,
            const double* c1, const double* s, size_t count, uint64_t* plain, uint64_t* said) {
    const size_t n = basis.degree(), primes = basis.count();
    const Kernels& k = basis.kernels();
    const Composer compose(basis);
    const double factor = double(1ull << shape.ell) / compose.q.value();
    const uint64_t mask = (1ull << shape.ell) - 1;
    const Wide each = compose.q.shifted(shape.ell);  // the y of a k
    Buffer lanes(n * kLanes), product(n);
    std::vector<uint64_t> residues(primes * kLanes * n);
    for (size_t first = 0; first < count; first += kLanes) {
        const size_t used = std::min(kLanes, count - first);
        for (size_t l = 0; l < primes; ++l) {
            const Prime& prime = basis[l];
            double* x = lanes.get();
            std::fill(x, x + n * kLanes, 0.0);
            for (size_t lane = 0; lane < used; ++lane) {
                k.multiply(product.get(), c1 + ((first + lane) * primes + l) * n, s + l * n, n / kLanes, prime);
                for (size_t j = 0; j < n; ++j) x[j * kLanes + lane] = -product.get()[j];
            }
            k.inverse(x, n, prime);
            for (size_t j = 0; j < n; ++j)
                for (size_t lane = 0; lane < used; ++lane)
                    residues[(l * kLanes + lane) * n + j] =
                        canonical(x[j * kLanes + lane] + binomial(noise[(first + lane) * n + j]), prime);
        }
        for (size_t lane = 0; lane < used; ++lane)
            for (size_t j = 0; j < n; ++j) {
                const size_t at = (first + lane) * n + j;
                const uint64_t* residue = residues.data() + lane * n + j;
                uint64_t k = 0;
                Wide rest;
                if (primes == 1) {
                    rest.word[0] = *residue;
                    if (shape.free[j]) k = split(rest.word[0], basis[0].p, shape.ell, factor);
                } else {
                    rest = compose(residue, kLanes * n);
                    if (shape.free[j]) k = split(rest, compose.q, shape.ell, factor);
                }
                if (shape.free[j] && rest == each) return false;
                plain[at] = shape.free[j] ? (offset[at] - k) & mask : 0;
                rest = rest.rounded(shape.drop);
                for (size_t w = 0; w < kWords; ++w) said[w * count * n + at] = rest.word[w];
            }
    }
    return true;
}

void read_upload(const Basis& basis, const UploadShape& shape, const uint64_t* offset, const uint64_t* said,
                 size_t count, double* out, size_t stride) {
    const size_t n = basis.degree(), primes = basis.count();
    const Kernels& k = basis.kernels();
    Buffer lanes(n * kLanes);
    for (size_t first = 0; first < count; first += kLanes)
        for (size_t l = 0; l < primes; ++l) {
            const Prime& prime = basis[l];
            const Scale scale(basis, l, shape.ell);
            const uint64_t unit = (1ull << shape.drop) % prime.p;
            const size_t used = std::min(kLanes, count - first);
            double* x = lanes.get();
            std::fill(x, x + n * kLanes, 0.0);
            for (size_t lane = 0; lane < used; ++lane)
                for (size_t j = 0; j < n; ++j) {
                    const size_t at = (first + lane) * n + j;
                    uint64_t value = 0;
                    for (size_t w = kWords; w-- > 0;)
                        value = uint64_t((u128(value) << 64 | said[w * count * n + at]) % prime.p);
                    value = mul_mod(value, unit, prime.p);
                    if (shape.free[j]) value = (value + scale(offset[at])) % prime.p;
                    x[j * kLanes + lane] = centred(value, prime.p);
                }
            k.forward(x, n, 0, 1, prime);
            k.reduce(x, x, n, prime);
            for (size_t lane = 0; lane < used; ++lane)
                for (size_t j = 0; j < n; ++j)
                    out[(first + lane) * stride + l * n + j] = x[j * kLanes + lane];
        }
}

}  // namespace he
