// The kernels for any processor; std::fma is slow where the hardware has none, and still exact.
#include <cmath>

#include "he_kernels.h"

namespace he {
namespace plain {

struct Vec {
    double v[kLanes];
};

template <class F>
static inline Vec each(F f) {
    Vec out;
    for (size_t i = 0; i < kLanes; ++i) out.v[i] = f(i);
    return out;
}
static inline Vec load(const double* x) {
    return each([&](size_t i) { return x[i]; });
}
static inline void store(double* x, const Vec& v) {
    for (size_t i = 0; i < kLanes; ++i) x[i] = v.v[i];
}
static inline Vec splat(double x) {
    return each([&](size_t) { return x; });
}
static inline Vec add(const Vec& a, const Vec& b) {
    return each([&](size_t i) { return a.v[i] + b.v[i]; });
}
static inline Vec sub(const Vec& a, const Vec& b) {
    return each([&](size_t i) { return a.v[i] - b.v[i]; });
}
static inline Vec mul(const Vec& a, const Vec& b) {
    return each([&](size_t i) { return a.v[i] * b.v[i]; });
}
static inline Vec fma(const Vec& a, const Vec& b, const Vec& c) {
    return each([&](size_t i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
static inline Vec fms(const Vec& a, const Vec& b, const Vec& c) {
    return each([&](size_t i) { return std::fma(a.v[i], b.v[i], -c.v[i]); });
}
static inline Vec fnma(const Vec& a, const Vec& b, const Vec& c) {
    return each([&](size_t i) { return std::fma(-a.v[i], b.v[i], c.v[i]); });
}
#include "he_kernels.inc"

}  // namespace plain

extern const Kernels kPlain{plain::forward, plain::inverse_ntt, plain::mac,    plain::times, plain::multiply,
                          plain::scale,   plain::reduce,      plain::factor, plain::dot};
}  // namespace he
