// After PackLWEs (Chen, Dai, Kim, Song, eprint 2020/015) and BumbleBee (eprint 2023/1678).
//
// With g: X -> X^(N/2^s + 1), A + g(A) doubles the coefficients at multiples of 2^(s+1) and kills the odd
// multiples of 2^s. So (A + X^h·B) + g(A - X^h·B), h = 2^s, keeps the results of A and, h further on, those
// of B; one key switch serves two ciphertexts. The doubling is undone beforehand modulo q.
//
// All stays in NTT form, where X^h multiplies and g permutes values; only what a key switch cuts into residues
// and what it divides by the special prime P is turned into coefficients. c0 is never cut, so it is carried as
// P·c0 modulo P·q and divided once at the end.
#include "he_pack.h"

#include <algorithm>
#include <vector>

namespace he {

namespace {

constexpr size_t kChunk = 64;  // rows that stay in the first cache while the lanes are visited

class Packer {
public:
    Packer(const Basis& basis, const AccShape& acc_shape, const PackShape& shape)
        : basis_(basis), acc_shape_(acc_shape), shape_(shape), n_(basis.degree()), primes_(basis.count() - 1),
          across_(shape.packs * shape.fill), poly_(n_ * kLanes), k_(basis.kernels()),
          items_(acc_shape.rows * across_ * item_size()), first_(poly_), second_(poly_), sum_((primes_ + 1) * poly_),
          turned_(primes_ * poly_), c1_(primes_ * poly_), switched_((primes_ + 1) * poly_) {
        std::fill(second_.get(), second_.get() + poly_, 0.0);
        for (size_t i = 0; i < primes_; ++i) special_inverse_.push_back(centred(inv_mod(special().p, basis[i].p), basis[i].p));
        exponents_of_places();
    }

    void run(const double* acc, const double* keys, double* out) {
        prepare(acc);
        const size_t packs = acc_shape_.rows * shape_.packs, key_size = primes_ * 2 * (primes_ + 1) * n_;
        int s = __builtin_ctzll(shape_.stride) - 1;
        for (size_t half = shape_.fill / 2; half >= 1; half /= 2, --s) {
            const Turn turn(*this, size_t(s));
            for (size_t first = 0; first < packs * half; first += kLanes)
                merge(first, std::min(kLanes, packs * half - first), half, turn, keys + size_t(s) * key_size);
        }
        for (size_t first = 0; first < packs; first += kLanes)
            finish(first, std::min(kLanes, packs - first), out + first * 2 * primes_ * n_);
    }

private:
    const Prime& special() const { return basis_[primes_]; }
    size_t item_size() const { return (2 * primes_ + 1) * n_; }
    // Polynomial c of an item modulo prime l: c0 modulo q and P, c1 modulo q.
    double* item(size_t which, size_t c, size_t l) {
        return items_.get() + which * item_size() + (c * (primes_ + 1) + l) * n_;
    }
    double* lanes(Buffer& from, size_t l) { return from.get() + l * poly_; }

    // An NTT's value at place i is that at the root to the power exponents_[i].
    void exponents_of_places() {
        const Prime& prime = basis_[0];
        Buffer x(poly_);
        std::fill(x.get(), x.get() + poly_, 0.0);
        x.get()[kLanes] = 1.0;  // the polynomial X
        k_.forward(x.get(), n_, 0, 1, prime);
        k_.reduce(x.get(), x.get(), n_, prime);
        std::vector<uint64_t> values(n_);
        for (size_t i = 0; i < n_; ++i) values[i] = canonical(x.get()[i * kLanes], prime);
        // All are odd powers of the first; a sorted table finds their places.
        std::vector<std::pair<uint64_t, uint32_t>> powers;
        const uint64_t root = values[0], square = mul_mod(root, root, prime.p);
        uint64_t power = root;
        for (size_t e = 1; e < 2 * n_; e += 2, power = mul_mod(power, square, prime.p)) powers.emplace_back(power, e);
        std::sort(powers.begin(), powers.end());
        exponents_.resize(n_);
        places_.resize(2 * n_);
        for (size_t i = 0; i < n_; ++i) {
            const auto found = std::lower_bound(powers.begin(), powers.end(), std::make_pair(values[i], uint32_t(0)));
            exponents_[i] = found->second;
            places_[found->second] = uint32_t(i);
        }
    }

    // NTT form of factor·X^power modulo a prime.
    std::vector<double> monomial(size_t power, uint64_t factor, const Prime& prime) {
        Buffer x(poly_);
        std::fill(x.get(), x.get() + poly_, 0.0);
        power %= 2 * n_;
        x.get()[power % n_ * kLanes] = centred(power < n_ ? factor : prime.p - factor, prime.p);
        k_.forward(x.get(), n_, 0, 1, prime);
        k_.reduce(x.get(), x.get(), n_, prime);
        std::vector<double> out(n_);
        for (size_t i = 0; i < n_; ++i) out[i] = x.get()[i * kLanes];
        return out;
    }

    // X^h and g of a level.
    struct Turn {
        std::vector<std::vector<double>> shift;  // by prime
        std::vector<uint32_t> from;              // g(f) has at i what f has at from[i]
        Turn(Packer& packer, size_t s) {
            const size_t n = packer.n_, g = (n >> s) + 1;
            for (size_t l = 0; l <= packer.primes_; ++l)
                shift.push_back(packer.monomial(size_t(1) << s, 1, packer.basis_[l]));
            for (size_t i = 0; i < n; ++i) from.push_back(packer.places_[packer.exponents_[i] * g % (2 * n)]);
        }
    };

    // Items from the sums: turned by X^-(stride-1) and divided by fill, c0 times P.
    void prepare(const double* acc) {
        const size_t size = acc_shape_.size, blocks = n_ / size, rows = acc_shape_.rows;
        std::fill(items_.get(), items_.get() + rows * across_ * item_size(), 0.0);
        for (size_t l = 0; l < primes_; ++l) {
            const Prime& prime = basis_[l];
            const uint64_t part = inv_mod(shape_.fill, prime.p);
            const size_t back = 2 * n_ - (shape_.stride - 1);
            const std::vector<double> factors[2] = {monomial(back, mul_mod(part, special().p % prime.p, prime.p), prime),
                                                    monomial(back, part, prime)};
            for (size_t g = 0; g < acc_shape_.groups && g * kLanes < across_; ++g)
                for (size_t r = 0; r < rows; ++r)
                    for (size_t c = 0; c < 2; ++c) {
                        double* x = first_.get();
                        std::fill(x, x + poly_, 0.0);
                        for (size_t b = 0; b < blocks; ++b)
                            k_.mac(x + b * size * kLanes, factors[c].data() + b * size,
                                   acc + ((((l * acc_shape_.groups + g) * blocks + b) * rows + r) * 2 + c) * size * kLanes,
                                   size, prime);
                        k_.reduce(x, x, n_, prime);
                        const size_t used = std::min(kLanes, across_ - g * kLanes);
                        for (size_t lane = 0; lane < used; ++lane) where_[lane] = r * across_ + g * kLanes + lane;
                        scatter(x, used, c, l);
                    }
        }
    }

    void merge(size_t first, size_t used, size_t half, const Turn& turn, const double* key) {
        for (size_t lane = 0; lane < used; ++lane)
            where_[lane] = (first + lane) / half * shape_.fill + (first + lane) % half;
        for (size_t l = 0; l <= primes_; ++l) {  // c0 is but added up
            double* sum = lanes(sum_, l);
            join(used, half, 0, l, turn, sum, second_.get());
            for (size_t j = 0; j < poly_; ++j) sum[j] += second_.get()[j];
        }
        for (size_t i = 0; i < primes_; ++i) join(used, half, 1, i, turn, lanes(c1_, i), lanes(turned_, i));
        switch_key(key);
        for (size_t l = 0; l <= primes_; ++l) {
            k_.reduce(lanes(sum_, l), lanes(sum_, l), n_, basis_[l]);
            scatter(lanes(sum_, l), used, 0, l);
        }
        for (size_t i = 0; i < primes_; ++i) scatter(lanes(c1_, i), used, 1, i);
    }

    // sum <- A + X^h·B and turned <- g(A - X^h·B), for one polynomial of the items where_ and `half` further.
    void join(size_t used, size_t half, size_t c, size_t l, const Turn& turn, double* sum, double* turned) {
        double* a = first_.get();
        double* b = turned;
        gather(used, 0, c, l, a);
        gather(used, half, c, l, b);
        std::copy(a, a + poly_, sum);
        k_.mac(sum, turn.shift[l].data(), b, n_, basis_[l]);
        for (size_t j = 0; j < n_; ++j) {
            const double* once = a + turn.from[j] * kLanes;
            const double* more = sum + turn.from[j] * kLanes;
            for (size_t lane = 0; lane < kLanes; ++lane) turned[j * kLanes + lane] = 2 * once[lane] - more[lane];
        }
        k_.reduce(turned, turned, n_, basis_[l]);
    }

    // P·c0 += Σ residues of turned c1 · key, and c1 += the same for the key's other half, divided by P.
    void switch_key(const double* key) {
        const size_t all = primes_ + 1;
        std::fill(switched_.get(), switched_.get() + all * poly_, 0.0);
        for (size_t i = 0; i < primes_; ++i, key += 2 * all * n_) {
            double* residues = first_.get();
            std::copy(lanes(turned_, i), lanes(turned_, i) + poly_, residues);
            k_.inverse(residues, n_, basis_[i]);
            for (size_t l = 0; l < all; ++l) {
                const double* digit = lanes(turned_, i);
                if (l != i) digit = moved(residues, l);
                k_.mac(lanes(sum_, l), key + l * n_, digit, n_, basis_[l]);
                k_.mac(lanes(switched_, l), key + (all + l) * n_, digit, n_, basis_[l]);
            }
        }
        double* last = lanes(switched_, primes_);
        k_.inverse(last, n_, special());
        for (size_t i = 0; i < primes_; ++i) {
            double* x = lanes(switched_, i);
            const double* part = moved(last, i);
            for (size_t j = 0; j < poly_; ++j) x[j] -= part[j];
            k_.scale(x, x, special_inverse_[i], n_, basis_[i]);
            double* to = lanes(c1_, i);
            for (size_t j = 0; j < poly_; ++j) to[j] += x[j];
            k_.reduce(to, to, n_, basis_[i]);
        }
    }

    // Integers as an NTT modulo another prime, in second_.
    const double* moved(const double* integers, size_t l) {
        double* x = second_.get();
        k_.reduce(x, integers, n_, basis_[l]);
        k_.forward(x, n_, 0, 1, basis_[l]);
        return x;
    }

    // The first item of each pack as centred coefficients, c0 divided by P.
    void finish(size_t first, size_t used, double* out) {
        for (size_t lane = 0; lane < used; ++lane) where_[lane] = (first + lane) * shape_.fill;
        double* last = second_.get();
        gather(used, 0, 0, primes_, last);
        k_.inverse(last, n_, special());
        for (size_t c = 0; c < 2; ++c)
            for (size_t i = 0; i < primes_; ++i) {
                double* x = first_.get();
                gather(used, 0, c, i, x);
                k_.inverse(x, n_, basis_[i]);
                if (c == 0) {
                    for (size_t j = 0; j < poly_; ++j) x[j] -= last[j];
                    k_.scale(x, x, special_inverse_[i], n_, basis_[i]);
                }
                for (size_t lane = 0; lane < used; ++lane) {
                    double* to = out + ((lane * 2 + c) * primes_ + i) * n_;
                    for (size_t j = 0; j < n_; ++j) to[j] = x[j * kLanes + lane];
                }
            }
    }

    // Polynomial (c, l) of items where_[lane] + offset, side by side; unused lanes are left as they are.
    void gather(size_t used, size_t offset, size_t c, size_t l, double* out) {
        for (size_t j = 0; j < n_; j += kChunk)
            for (size_t lane = 0; lane < used; ++lane) {
                const double* from = item(where_[lane] + offset, c, l) + j;
                for (size_t at = 0; at < kChunk; ++at) out[(j + at) * kLanes + lane] = from[at];
            }
    }

    void scatter(const double* in, size_t used, size_t c, size_t l) {
        for (size_t j = 0; j < n_; j += kChunk)
            for (size_t lane = 0; lane < used; ++lane) {
                double* to = item(where_[lane], c, l) + j;
                for (size_t at = 0; at < kChunk; ++at) to[at] = in[(j + at) * kLanes + lane];
            }
    }

    const Basis& basis_;
    const AccShape& acc_shape_;
    const PackShape& shape_;
    const size_t n_, primes_, across_, poly_;
    const Kernels& k_;
    Buffer items_, first_, second_, sum_, turned_, c1_, switched_;
    std::vector<double> special_inverse_;
    std::vector<uint32_t> exponents_, places_;
    size_t where_[kLanes] = {};
};

}  // namespace

void pack(const Basis& basis, const AccShape& acc_shape, const double* acc, const PackShape& shape,
          const double* keys, double* out) {
    Packer(basis, acc_shape, shape).run(acc, keys, out);
}

}  // namespace he
