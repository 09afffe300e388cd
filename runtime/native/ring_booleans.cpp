// ANDs of shared bits and selections by them, as they go over the wire. Every function releases the GIL.
#include "ring_arrays.h"
#include "ring_wire.h"

#include <utility>
#include <vector>

using Bytes = In<uint8_t, 1>;
using Elements = In<uint64_t, 1>;

static size_t packed(size_t count, int bits) { return (count * size_t(bits) + 7) / 8; }

// How many elements all batches have, and how many bits they open.
static std::pair<size_t, size_t> counted(const std::vector<Bytes>& u, const std::vector<Bytes>& v,
                                         const std::vector<int>& widths) {
    need(u.size() == widths.size() && v.size() == widths.size(), "batches differ");
    size_t count = 0, bits = 0;
    for (size_t b = 0; b < u.size(); ++b) {
        need(widths[b] >= 1 && widths[b] <= 8, "1 to 8 bits are multiplied by one");
        need(u[b].shape(0) == v[b].shape(0), "shapes differ");
        count += u[b].shape(0);
        bits += u[b].shape(0) * size_t(1 + widths[b]);
    }
    return {count, bits};
}

// Of batches with so many bits of y each: x xor u and y xor v, those of an element beside each other.
static auto and_open(Bytes x, Bytes y, std::vector<Bytes> u, std::vector<Bytes> v, std::vector<int> widths) {
    const auto [count, bits] = counted(u, v, widths);
    need(x.shape(0) == count && y.shape(0) == count, "shapes differ");
    const size_t bytes = packed(bits, 1);
    auto out = std::make_unique<uint8_t[]>(bytes + 8);
    {
        nb::gil_scoped_release release;
        BitWriter writer(out.get());
        size_t at = 0;
        for (size_t b = 0; b < u.size(); ++b) {
            const int width = widths[b];
            const uint8_t low = (uint8_t)mask_of(width);
            const uint8_t *ub = u[b].data(), *vb = v[b].data(), *xb = x.data() + at, *yb = y.data() + at;
            const size_t n = u[b].shape(0);
            for (size_t i = 0; i < n; ++i)
                writer.put((uint64_t)((xb[i] ^ ub[i]) & 1) | (uint64_t)((yb[i] ^ vb[i]) & low) << 1, 1 + width);
            at += n;
        }
        writer.finish();
    }
    return owned<1>(std::move(out), {bytes});
}

// With d and e opened: d·v xor u·e xor uv, and d·e at the first party.
static auto and_close(Bytes mine, Bytes theirs, std::vector<Bytes> u, std::vector<Bytes> v, std::vector<Bytes> uv,
                      std::vector<int> widths, bool first) {
    const auto [count, bits] = counted(u, v, widths);
    need(uv.size() == u.size(), "batches differ");
    for (size_t b = 0; b < u.size(); ++b) need(uv[b].shape(0) == u[b].shape(0), "shapes differ");
    const size_t bytes = packed(bits, 1);
    need(mine.shape(0) == bytes && theirs.shape(0) == bytes, "packed data has the wrong length");
    auto out = std::make_unique<uint8_t[]>(count + 1);
    {
        nb::gil_scoped_release release;
        const uint8_t *a = mine.data(), *a_end = a + bytes, *c = theirs.data(), *c_end = c + bytes;
        uint8_t* to = out.get();
        size_t at = 0;
        for (size_t b = 0; b < u.size(); ++b) {
            const int width = widths[b];
            const uint8_t low = (uint8_t)mask_of(width);
            const uint8_t *ub = u[b].data(), *vb = v[b].data(), *uvb = uv[b].data();
            const size_t n = u[b].shape(0);
            for (size_t i = 0; i < n; ++i, at += size_t(1 + width)) {
                const uint64_t open = bits_at(a, a_end, at) ^ bits_at(c, c_end, at);
                const uint8_t d = (uint8_t)-(open & 1), e = (uint8_t)(open >> 1) & low, u_all = (uint8_t)-(ub[i] & 1);
                *to++ = (uint8_t)((d & vb[i]) ^ (u_all & e) ^ uvb[i] ^ (first ? d & e : 0));
            }
        }
    }
    return owned<1>(std::move(out), {count});
}

// bit xor choice and (1 - 2·bit)·x - (t1 - t0), those of an element beside each other.
static auto select_open(Elements t0, Elements t1, Elements choice, Elements bit, Elements x, int bits) {
    const size_t n = x.shape(0);
    need(bits >= 1 && bits <= 64, "bits must be 1 to 64");
    for (const Elements* each : {&t0, &t1, &choice, &bit}) need(each->shape(0) == n, "shapes differ");
    const size_t bytes = packed(n, 1 + bits);
    auto out = std::make_unique<uint8_t[]>(bytes + 8);
    {
        nb::gil_scoped_release release;
        const uint64_t m = mask_of(bits);
        BitWriter writer(out.get());
        for (size_t i = 0; i < n; ++i) {
            const uint64_t own = bit.data()[i] & 1, sign = 0 - own;
            const uint64_t value = ((x.data()[i] ^ sign) - sign) - (t1.data()[i] - t0.data()[i]);
            writer.put(own ^ (choice.data()[i] & 1), 1);
            writer.put(value & m, bits);
        }
        writer.finish();
    }
    return owned<1>(std::move(out), {bytes});
}

// With f and e opened in each direction: bit·x, f·(1 - 2·bit)·x - (1 - 2f)·t0 of the other's f, and
// (1 - 2f)·(got + choice·e) of one's own f and the other's e.
static auto select_close(Elements t0, Elements choice, Elements got, Elements bit, Elements x, Bytes came, int bits) {
    const size_t n = x.shape(0);
    need(bits >= 1 && bits <= 64, "bits must be 1 to 64");
    for (const Elements* each : {&t0, &choice, &got, &bit}) need(each->shape(0) == n, "shapes differ");
    need(came.shape(0) == packed(n, 1 + bits), "packed data has the wrong length");
    auto out = std::make_unique<uint64_t[]>(n ? n : 1);
    {
        nb::gil_scoped_release release;
        const uint64_t m = mask_of(bits);
        const uint8_t *data = came.data(), *end = data + came.shape(0);
        size_t at = 0;
        for (size_t i = 0; i < n; ++i, at += size_t(1 + bits)) {
            const uint64_t own = bit.data()[i] & 1, e = element_at(data, end, at + 1, bits);
            const uint64_t u = choice.data()[i] & 1, theirs = 0 - element_at(data, end, at, 1), mine = 0 - (own ^ u);
            const uint64_t sign = 0 - own, value = x.data()[i], turned = (value ^ sign) - sign;
            const uint64_t key = (t0.data()[i] ^ theirs) - theirs, heard = got.data()[i] + ((0 - u) & e);
            out[i] = ((sign & value) + (theirs & turned) - key + ((heard ^ mine) - mine)) & m;
        }
    }
    return owned<1>(std::move(out), {n});
}

// Bits first to first + rows of each element, a byte each.
static auto split_bits(Elements x, int first, int rows) {
    need(first >= 0 && rows >= 1 && first + rows <= 64, "an element has 64 bits");
    const size_t n = x.shape(0), size = n * size_t(rows);
    auto out = std::make_unique<uint8_t[]>(size ? size : 1);
    {
        nb::gil_scoped_release release;
        uint8_t* to = out.get();
        for (size_t i = 0; i < n; ++i) {
            const uint64_t word = x.data()[i] >> first;
            for (int j = 0; j < rows; ++j) *to++ = (uint8_t)(word >> j & 1);
        }
    }
    return owned<1>(std::move(out), {size});
}

// carry xor the top bit of each share, and xor one if so told. An element has s shares or one, of s carries or one.
static auto signs(Bytes carry, In<uint64_t, 2> shares, int top, size_t s, bool flip) {
    const size_t n = shares.shape(0), of_shares = shares.shape(1), of_carry = n ? carry.shape(0) / n : s;
    need(top >= 0 && top < 64, "the top bit is bit 0 to 63");
    need(of_shares == s || of_shares == 1, "an element has a share for each threshold, or one");
    need(carry.shape(0) == n * of_carry && (of_carry == s || of_carry == 1), "shapes differ");
    auto out = std::make_unique<uint64_t[]>(n * s + 1);
    {
        nb::gil_scoped_release release;
        uint64_t* to = out.get();
        for (size_t i = 0; i < n; ++i) {
            const uint64_t* share = shares.data() + i * of_shares;
            const uint8_t* bit = carry.data() + i * of_carry;
            for (size_t j = 0; j < s; ++j)
                *to++ = (bit[of_carry == 1 ? 0 : j] ^ share[of_shares == 1 ? 0 : j] >> top ^ uint64_t(flip)) & 1;
        }
    }
    return owned<2>(std::move(out), {n, s});
}

void bind_booleans(nb::module_& m) {
    m.def("and_open", &and_open, nb::arg("x"), nb::arg("y"), nb::arg("u"), nb::arg("v"), nb::arg("widths"));
    m.def("and_close", &and_close, nb::arg("mine"), nb::arg("theirs"), nb::arg("u"), nb::arg("v"), nb::arg("uv"),
          nb::arg("widths"), nb::arg("first"));
    m.def("select_open", &select_open, nb::arg("t0"), nb::arg("t1"), nb::arg("choice"), nb::arg("bit"), nb::arg("x"),
          nb::arg("bits"));
    m.def("select_close", &select_close, nb::arg("t0"), nb::arg("choice"), nb::arg("got"), nb::arg("bit"),
          nb::arg("x"), nb::arg("came"), nb::arg("bits"));
    m.def("signs", &signs, nb::arg("carry"), nb::arg("shares"), nb::arg("top"), nb::arg("s"), nb::arg("flip"));
    m.def("split_bits", &split_bits, nb::arg("x"), nb::arg("first"), nb::arg("rows"));
}
