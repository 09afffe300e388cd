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
#include <utility>

namespace he {

std::vector<double> PackTables::monomial(size_t power, const Prime& prime) const {
    const size_t n = basis_.degree();
    Buffer x(n * kLanes);
    std::fill(x.get(), x.get() + n * kLanes, 0.0);
    x.get()[power % n * kLanes] = power < n ? 1.0 : -1.0;
    basis_.kernels().forward(x.get(), n, 0, 1, prime);
    basis_.kernels().reduce(x.get(), x.get(), n, prime);
    std::vector<double> out(n);
    for (size_t i = 0; i < n; ++i) out[i] = x.get()[i * kLanes];
    return out;
}

// The power of the root at which an NTT has its value number i, for each i. All are odd.
std::vector<uint32_t> PackTables::exponents() const {
    const size_t n = basis_.degree();
    const Prime& prime = basis_[0];
    const std::vector<double> points = monomial(1, prime);
    std::vector<std::pair<uint64_t, uint32_t>> powers;
    const uint64_t root = canonical(points[0], prime), square = mul_mod(root, root, prime.p);
    uint64_t power = root;
    for (uint32_t e = 1; e < 2 * n; e += 2, power = mul_mod(power, square, prime.p)) powers.emplace_back(power, e);
    std::sort(powers.begin(), powers.end());
    std::vector<uint32_t> out(n);
    for (size_t i = 0; i < n; ++i)
        out[i] = std::lower_bound(powers.begin(), powers.end(), std::make_pair(canonical(points[i], prime), 0u))->second;
    return out;
}

PackTables::PackTables(const Basis& basis, size_t stride) : basis_(basis), stride_(stride) {
    const size_t n = basis.degree();
    const std::vector<uint32_t> exponent = exponents();
    std::vector<uint32_t> place(2 * n);
    for (size_t i = 0; i < n; ++i) place[exponent[i]] = uint32_t(i);
    for (size_t l = 0; l < basis.count(); ++l) back_.push_back(monomial(2 * n - (stride - 1), basis[l]));
    for (size_t h = 1; h < stride; h *= 2) {
        shifts_.emplace_back();
        for (size_t l = 0; l < basis.count(); ++l) shifts_.back().push_back(monomial(h, basis[l]));
        turns_.emplace_back(n);
        for (size_t i = 0; i < n; ++i) turns_.back()[i] = place[exponent[i] * (n / h + 1) % (2 * n)];
    }
}

namespace {

constexpr size_t kChunk = 64;  // rows that stay in the first cache while the lanes are visited

// Ciphertexts are kept by eights, side by side, as the sums are: merging a group with another that is further on
// takes no rearrangement. Only the last three levels, within a group, gather lanes of several groups.
class Packer {
public:
    Packer(const PackTables& tables, const AccShape& shape, size_t packs, size_t fill)
        : tables_(tables), basis_(tables.basis()), shape_(shape), packs_(shape.rows * packs), fill_(fill),
          across_(packs * fill), n_(basis_.degree()), primes_(basis_.count() - 1), poly_(n_ * kLanes),
          polys_(2 * primes_ + 1), k_(basis_.kernels()), groups_((shape.rows * across_ + kLanes - 1) / kLanes),
          items_(groups_ * polys_ * poly_), a_(polys_ * poly_), b_(polys_ * poly_), turned_(primes_ * poly_),
          residues_(poly_), moved_(poly_), switched_((primes_ + 1) * poly_) {
        std::fill(items_.get(), items_.get() + groups_ * polys_ * poly_, 0.0);
        std::fill(a_.get(), a_.get() + polys_ * poly_, 0.0);
        std::fill(b_.get(), b_.get() + polys_ * poly_, 0.0);
        for (size_t i = 0; i < primes_; ++i)
            special_inverse_.push_back(centred(inv_mod(special().p, basis_[i].p), basis_[i].p));
    }

    void run(const double* acc, const double* keys, double* out) {
        prepare(acc);
        const size_t key_size = primes_ * 2 * (primes_ + 1) * n_;
        size_t s = size_t(tables_.levels()) - 1;
        for (size_t half = fill_ / 2; half >= 1; half /= 2, --s) {
            const double* key = keys + s * key_size;
            if (half >= kLanes) {
                for (size_t pack = 0; pack < packs_; ++pack)
                    for (size_t at = 0; at < half; at += kLanes) {
                        double* a = group((pack * fill_ + at) / kLanes);
                        merge(a, group((pack * fill_ + at + half) / kLanes), s, key);
                    }
                continue;
            }
            for (size_t first = 0; first < packs_ * half; first += kLanes) {
                const size_t used = std::min(kLanes, packs_ * half - first);
                size_t where[kLanes], further[kLanes];
                for (size_t lane = 0; lane < used; ++lane) {
                    where[lane] = (first + lane) / half * fill_ + (first + lane) % half;
                    further[lane] = where[lane] + half;
                }
                gather(where, used, a_.get());
                gather(further, used, b_.get());
                merge(a_.get(), b_.get(), s, key);
                scatter(a_.get(), where, used);
            }
        }
        for (size_t first = 0; first < packs_; first += kLanes)
            finish(first, std::min(kLanes, packs_ - first), out + first * 2 * primes_ * n_);
    }

private:
    const Prime& special() const { return basis_[primes_]; }
    double* group(size_t g) { return items_.get() + g * polys_ * poly_; }
    // Polynomial c modulo prime l of a group: c0 modulo q and P, then c1 modulo q.
    double* poly(double* group, size_t c, size_t l) const { return group + (c * (primes_ + 1) + l) * poly_; }

    // Groups from the sums: turned by X^-(stride-1) and divided by fill, c0 times P.
    void prepare(const double* acc) {
        const size_t size = shape_.size, blocks = n_ / size, rows = shape_.rows;
        for (size_t l = 0; l < primes_; ++l) {
            const Prime& prime = basis_[l];
            const uint64_t part = inv_mod(fill_, prime.p);
            const double factor[2] = {centred(mul_mod(part, special().p % prime.p, prime.p), prime.p),
                                      centred(part, prime.p)};
            for (size_t g = 0; g < shape_.groups && g * kLanes < across_; ++g)
                for (size_t r = 0; r < rows; ++r)
                    for (size_t c = 0; c < 2; ++c) {
                        const size_t first = r * across_ + g * kLanes, used = std::min(kLanes, across_ - g * kLanes);
                        const bool whole = used == kLanes && first % kLanes == 0;
                        double* x = whole ? poly(group(first / kLanes), c, l) : residues_.get();
                        for (size_t b = 0; b < blocks; ++b)
                            k_.times(x + b * size * kLanes,
                                     acc + ((((l * shape_.groups + g) * blocks + b) * rows + r) * 2 + c) * size * kLanes,
                                     tables_.back(l) + b * size, size, prime);
                        k_.scale(x, x, factor[c], n_, prime);
                        for (size_t lane = 0; !whole && lane < used; ++lane) {
                            double* to = poly(group((first + lane) / kLanes), c, l) + (first + lane) % kLanes;
                            for (size_t j = 0; j < n_; ++j) to[j * kLanes] = x[j * kLanes + lane];
                        }
                    }
        }
    }

    // a <- (A + X^h·B) + g(A - X^h·B), of eight pairs; b is used up.
    void merge(double* a, double* b, size_t s, const double* key) {
        for (size_t i = 0; i < primes_; ++i) join(poly(a, 1, i), poly(b, 1, i), s, i, lanes(turned_, i));
        for (size_t l = 0; l <= primes_; ++l) {  // c0 is but added up
            double* sum = poly(a, 0, l);
            join(sum, poly(b, 0, l), s, l, moved_.get());
            for (size_t j = 0; j < poly_; ++j) sum[j] += moved_.get()[j];
        }
        switch_key(a, key);
    }

    // a <- A + X^h·B and turned <- g(A - X^h·B), for one polynomial modulo one prime
    void join(double* a, double* b, size_t s, size_t l, double* turned) {
        const Prime& prime = basis_[l];
        const uint32_t* from = tables_.turn(s);
        k_.times(b, b, tables_.shift(s, l), n_, prime);
        for (size_t j = 0; j < n_; ++j) {
            const double* once = a + from[j] * kLanes;
            const double* less = b + from[j] * kLanes;
            for (size_t lane = 0; lane < kLanes; ++lane) turned[j * kLanes + lane] = once[lane] - less[lane];
        }
        for (size_t j = 0; j < poly_; ++j) a[j] += b[j];
    }

    // P·c0 += Σ residues of turned c1 · key, and c1 += the same for the key's other half, divided by P.
    void switch_key(double* a, const double* key) {
        const size_t all = primes_ + 1;
        std::fill(switched_.get(), switched_.get() + all * poly_, 0.0);
        for (size_t i = 0; i < primes_; ++i, key += 2 * all * n_) {
            const double* turned = lanes(turned_, i);
            std::copy(turned, turned + poly_, residues_.get());
            k_.inverse(residues_.get(), n_, basis_[i]);
            for (size_t l = 0; l < all; ++l) {
                const double* digit = l == i ? turned : moved(residues_.get(), l);
                k_.mac(poly(a, 0, l), key + l * n_, digit, n_, basis_[l]);
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
            double* to = poly(a, 1, i);
            for (size_t j = 0; j < poly_; ++j) to[j] += x[j];
            k_.reduce(to, to, n_, basis_[i]);
        }
        for (size_t l = 0; l < all; ++l) k_.reduce(poly(a, 0, l), poly(a, 0, l), n_, basis_[l]);
    }

    // Integers as an NTT modulo another prime.
    const double* moved(const double* integers, size_t l) {
        double* x = moved_.get();
        k_.reduce(x, integers, n_, basis_[l]);
        k_.forward(x, n_, 0, 1, basis_[l]);
        return x;
    }

    // The first item of each pack as centred coefficients, c0 divided by P.
    void finish(size_t first, size_t used, double* out) {
        size_t where[kLanes];
        for (size_t lane = 0; lane < used; ++lane) where[lane] = (first + lane) * fill_;
        gather(where, used, a_.get());
        double* last = poly(a_.get(), 0, primes_);
        k_.inverse(last, n_, special());
        for (size_t c = 0; c < 2; ++c)
            for (size_t i = 0; i < primes_; ++i) {
                double* x = poly(a_.get(), c, i);
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

    double* lanes(Buffer& from, size_t l) { return from.get() + l * poly_; }

    // All polynomials of chosen items, side by side; unused lanes are left as they are.
    void gather(const size_t* where, size_t used, double* out) {
        each_lane(where, used, [&](double* item, size_t lane, size_t j) { out[j + lane] = item[j]; });
    }

    void scatter(const double* in, const size_t* where, size_t used) {
        each_lane(where, used, [&](double* item, size_t lane, size_t j) { item[j] = in[j + lane]; });
    }

    template <class F>
    void each_lane(const size_t* where, size_t used, F body) {
        for (size_t j = 0; j < polys_ * n_; j += kChunk)
            for (size_t lane = 0; lane < used; ++lane) {
                double* item = group(where[lane] / kLanes) + where[lane] % kLanes;
                for (size_t at = j; at < j + kChunk; ++at) body(item, lane, at * kLanes);
            }
    }

    const PackTables& tables_;
    const Basis& basis_;
    const AccShape& shape_;
    const size_t packs_, fill_, across_, n_, primes_, poly_, polys_;
    const Kernels& k_;
    const size_t groups_;
    Buffer items_, a_, b_, turned_, residues_, moved_, switched_;
    std::vector<double> special_inverse_;
};

}  // namespace

void pack(const PackTables& tables, const AccShape& shape, const double* acc, size_t packs, size_t fill,
          const double* keys, double* out) {
    Packer(tables, shape, packs, fill).run(acc, keys, out);
}

}  // namespace he
