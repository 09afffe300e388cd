// Piecewise quadratics of integers. No sockets, no policy; every function releases the GIL.
#include <algorithm>

#include "ring_arrays.h"

struct Gate {
    int64_t knot, slope;
};

struct Spline {
    const int64_t* knots;
    size_t count;
    const int64_t (*pieces)[3];
    const Gate* gates;
    size_t gate_count;
    int bits, drop, gate_bits, gate_drop;
};

static inline int64_t reduced(uint64_t x, int bits) { return (int64_t)(x << (64 - bits)) >> (64 - bits); }

static inline int64_t rounded(int64_t x, int drop) {
    const uint64_t half = drop ? 1ull << (drop - 1) : 0;
    return (int64_t)((uint64_t)x + half) >> drop;
}

constexpr size_t kChunk = 256;

// At most kChunk values. Knots are few and every one is compared with: that vectorises, a search does not.
__attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
static void evaluate(const int64_t* x, int64_t* y, size_t n, const Spline& s) {
    uint64_t piece[kChunk] = {}, c0[kChunk], c1[kChunk], c2[kChunk];
    for (size_t j = 0; j < s.count; ++j) {
        const int64_t knot = s.knots[j];
        for (size_t i = 0; i < n; ++i) piece[i] += x[i] >= knot;
    }
    for (size_t i = 0; i < n; ++i) {
        const int64_t* c = s.pieces[piece[i]];
        c0[i] = (uint64_t)c[0];
        c1[i] = (uint64_t)c[1];
        c2[i] = (uint64_t)c[2];
    }
    const int bits = s.bits, drop = s.drop, gate_bits = s.gate_bits, gate_drop = s.gate_drop;
    for (size_t i = 0; i < n; ++i) {
        const uint64_t u = (uint64_t)x[i];
        y[i] = rounded(reduced(c0[i] + u * (c1[i] + u * c2[i]), bits), drop);
    }
    for (size_t g = 0; g < s.gate_count; ++g) {
        const Gate gate = s.gates[g];
        for (size_t i = 0; i < n; ++i) {
            const uint64_t gated = x[i] >= gate.knot ? (uint64_t)x[i] * (uint64_t)gate.slope : 0;
            y[i] = (int64_t)((uint64_t)y[i] + (uint64_t)rounded(reduced(gated, gate_bits), gate_drop));
        }
    }
}

static auto spline(In<int64_t, 1> x, In<int64_t, 1> knots, In<int64_t, 2> pieces, int bits, int drop,
                   In<int64_t, 2> gates, int gate_bits, int gate_drop) {
    const size_t n = x.shape(0);
    need(pieces.shape(0) == knots.shape(0) + 1 && pieces.shape(1) == 3, "a piece more than knots, of 3 coefficients");
    need(gates.shape(1) == 2, "a gate is a knot and a slope");
    need(std::is_sorted(knots.data(), knots.data() + knots.shape(0)), "knots must ascend");
    need(bits >= 1 && bits <= 64 && gate_bits >= 1 && gate_bits <= 64, "bits must be 1 to 64");
    need(drop >= 0 && drop < 64 && gate_drop >= 0 && gate_drop < 64, "0 to 63 bits can be dropped");
    auto out = std::make_unique<int64_t[]>(n ? n : 1);
    {
        nb::gil_scoped_release release;
        const Spline s{knots.data(), knots.shape(0), reinterpret_cast<const int64_t(*)[3]>(pieces.data()),
                       reinterpret_cast<const Gate*>(gates.data()), gates.shape(0), bits, drop, gate_bits, gate_drop};
        for (size_t i = 0; i < n; i += kChunk) evaluate(x.data() + i, out.get() + i, std::min(kChunk, n - i), s);
    }
    return owned<1>(std::move(out), {n});
}

void bind_spline(nb::module_& m) {
    m.def("spline", &spline, nb::arg("x"), nb::arg("knots"), nb::arg("pieces"), nb::arg("bits"), nb::arg("drop"),
          nb::arg("gates"), nb::arg("gate_bits"), nb::arg("gate_drop"),
          "Of signed x: the quadratic of its piece mod 2^bits, rounded off by drop bits, and each gate's slope.x likewise.");
}
