// Python face of the homomorphic kernels: sizes are checked here, the GIL is released, nothing is sent.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "he_cipher.h"
#include "he_pack.h"
#include "he_upload.h"

namespace nb = nanobind;
using he::Basis;

template <class T, int D>
using In = nb::ndarray<const T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
template <int D>
using Sums = nb::ndarray<double, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
template <class T, int D>
using Out = nb::ndarray<nb::numpy, T, nb::ndim<D>>;

template <class T, int D>
static Out<T, D> fresh(const size_t (&shape)[D]) {
    size_t count = 1;
    for (size_t d : shape) count *= d;
    T* p = new T[count ? count : 1];
    nb::capsule owner(p, [](void* q) noexcept { delete[] static_cast<T*>(q); });
    return Out<T, D>(p, D, shape, owner);
}

template <class A>
static void expect(const A& a, std::initializer_list<size_t> shape, const char* name) {
    size_t d = 0;
    for (size_t want : shape)
        if (a.shape(d++) != want) throw nb::value_error((std::string(name) + " has the wrong shape").c_str());
}

static void expect(bool good, const char* what) {
    if (!good) throw nb::value_error(what);
}

static void expect_below(const uint64_t* x, size_t count, uint64_t bound) {
    for (size_t i = 0; i < count; ++i)
        if (x[i] >= bound) throw std::invalid_argument("a residue is not below its modulus");
}

static void expect_positions(const Basis& basis, In<uint32_t, 1> positions) {
    for (size_t i = 0; i < positions.shape(0); ++i)
        expect(positions.data()[i] < basis.degree(), "a position lies outside the polynomial");
}

static auto encrypt_zero(const Basis& basis, In<uint64_t, 2> noise, In<uint64_t, 4> raw, In<double, 2> secret) {
    const size_t count = noise.shape(0), n = basis.degree(), primes = basis.count();
    expect(noise, {count, n}, "noise");
    expect(raw, {count, primes, n, 2}, "raw");
    expect(secret, {primes, n}, "secret");
    auto out = fresh<uint64_t, 3>({primes, count, n});
    nb::gil_scoped_release release;
    he::Buffer c1(count * primes * n);
    he::expand(basis, raw.data(), count, c1.get(), primes * n);
    he::encrypt_zero(basis, noise.data(), c1.get(), secret.data(), count, out.data());
    return out;
}

static he::UploadShape shape_of(const Basis& basis, In<uint8_t, 1> free, int ell, int drop) {
    expect(free, {basis.degree()}, "free");
    expect(ell >= 1 && ell <= 62, "ell must be 1 to 62");
    expect(drop >= 0 && drop <= 40, "drop must be 0 to 40");
    int bits = 0;
    for (size_t l = 0; l < basis.count(); ++l) bits += basis.bits(l);
    expect(bits <= int(64 * he::kWords), "the modulus is too large to be sent");
    return {free.data(), ell, drop};
}

static auto upload(const Basis& basis, In<uint8_t, 1> free, int ell, int drop, In<uint64_t, 2> offset,
                   In<uint64_t, 2> noise, In<uint64_t, 4> raw, In<double, 2> secret) {
    const size_t count = noise.shape(0), n = basis.degree(), primes = basis.count();
    const auto shape = shape_of(basis, free, ell, drop);
    expect(offset, {count, n}, "offset");
    expect(noise, {count, n}, "noise");
    expect(raw, {count, primes, n, 2}, "raw");
    expect(secret, {primes, n}, "secret");
    auto plain = fresh<uint64_t, 2>({count, n});
    auto said = fresh<uint64_t, 3>({he::kWords, count, n});
    bool even;
    {
        nb::gil_scoped_release release;
        he::Buffer c1(count * primes * n);
        he::expand(basis, raw.data(), count, c1.get(), primes * n);
        even = he::upload(basis, shape, offset.data(), noise.data(), c1.get(), secret.data(), count, plain.data(),
                          said.data());
    }
    return nb::make_tuple(even, plain, said);
}

static auto read_upload(const Basis& basis, In<uint8_t, 1> free, int ell, int drop, In<uint64_t, 2> offset,
                        In<uint64_t, 3> said, In<uint64_t, 4> raw) {
    const size_t count = offset.shape(0), n = basis.degree(), primes = basis.count();
    const auto shape = shape_of(basis, free, ell, drop);
    expect(offset, {count, n}, "offset");
    expect(said, {he::kWords, count, n}, "said");
    expect(raw, {count, primes, n, 2}, "raw");
    auto out = fresh<double, 4>({count, 2, primes, n});
    nb::gil_scoped_release release;
    he::read_upload(basis, shape, offset.data(), said.data(), count, out.data(), 2 * primes * n);
    he::expand(basis, raw.data(), count, out.data() + primes * n, 2 * primes * n);
    return out;
}

static auto ciphertexts(const Basis& basis, In<uint64_t, 3> c0, In<uint64_t, 4> raw) {
    const size_t count = c0.shape(1), n = basis.degree(), primes = basis.count();
    expect(c0, {primes, count, n}, "c0");
    expect(raw, {count, primes, n, 2}, "raw");
    auto out = fresh<double, 4>({count, 2, primes, n});
    nb::gil_scoped_release release;
    for (size_t l = 0; l < primes; ++l) {
        expect_below(c0.data() + l * count * n, count * n, basis[l].p);
        for (size_t item = 0; item < count; ++item)
            for (size_t j = 0; j < n; ++j)
                out.data()[(item * 2 * primes + l) * n + j] =
                    he::centred(c0.data()[(l * count + item) * n + j], basis[l].p);
    }
    he::expand(basis, raw.data(), count, out.data() + primes * n, 2 * primes * n);
    return out;
}

static he::AccShape shape_of(const Basis& basis, const Sums<7>& acc) {
    const size_t size = acc.shape(5);
    expect(size && basis.degree() % size == 0, "the block size must divide the degree");
    expect(acc, {basis.count(), acc.shape(1), basis.degree() / size, acc.shape(3), 2, size, he::kLanes}, "acc");
    return {acc.shape(1), acc.shape(3), size};
}

static void accumulate(const Basis& basis, Sums<7> acc, In<double, 5> x, In<double, 4> w) {
    const auto shape = shape_of(basis, acc);
    const size_t terms = x.shape(0);
    expect(x, {terms, shape.rows, 2, basis.count(), basis.degree()}, "x");
    expect(w, {terms, shape.groups, shape.size, he::kLanes}, "w");
    nb::gil_scoped_release release;
    he::accumulate(basis, shape, acc.data(), x.data(), w.data(), terms);
}

static auto collect(const Basis& basis, Sums<7> acc, size_t tiles) {
    const auto shape = shape_of(basis, acc);
    expect(tiles >= 1 && tiles <= shape.groups * he::kLanes, "there are not so many column tiles");
    auto out = fresh<double, 4>({shape.rows * tiles, 2, basis.count(), basis.degree()});
    nb::gil_scoped_release release;
    he::collect(basis, shape, acc.data(), tiles, out.data());
    return out;
}

static void rerandomise(const Basis& basis, Sums<4> ciphers, In<double, 3> public_key, In<uint64_t, 3> noise) {
    const size_t count = ciphers.shape(0), n = basis.degree();
    expect(ciphers, {count, 2, basis.count(), n}, "ciphertexts");
    expect(public_key, {2, basis.count(), n}, "public_key");
    expect(noise, {count, 2, n}, "noise");
    nb::gil_scoped_release release;
    he::rerandomise(basis, public_key.data(), noise.data(), count, ciphers.data());
}

static auto switch_down(const Basis& basis, In<double, 4> in, int bits, int result_bits,
                        In<uint32_t, 1> positions, In<uint64_t, 2> mask) {
    const size_t count = in.shape(0), n = basis.degree(), slots = positions.shape(0);
    expect(in, {count, 2, basis.count(), n}, "ciphertexts");
    expect(mask, {count, slots}, "mask");
    expect(result_bits >= 1 && result_bits <= bits && bits <= 62, "it must hold that 1 <= result_bits <= bits <= 62");
    expect_positions(basis, positions);
    auto c1 = fresh<uint64_t, 2>({count, n});
    auto c0 = fresh<uint64_t, 2>({count, slots});
    {
        nb::gil_scoped_release release;
        const he::Answer answer{bits, result_bits, positions.data(), slots, mask.data()};
        he::switch_down(basis, in.data(), count, answer, c1.data(), c0.data());
    }
    return nb::make_tuple(c1, c0);
}

static auto decrypt(const Basis& basis, In<uint64_t, 2> c1, In<uint64_t, 2> c0, In<double, 2> secret, int bits,
                    int ell, In<uint32_t, 1> positions) {
    const size_t count = c1.shape(0), n = basis.degree(), slots = positions.shape(0), primes = basis.count();
    expect(c1, {count, n}, "c1");
    expect(c0, {count, slots}, "c0");
    expect(secret, {primes, n}, "secret");
    expect(ell >= 1 && ell <= 62 && bits >= 1 && bits <= 54, "ell must be 1 to 62 and bits 1 to 54");
    expect(primes == 1 || primes == 2, "one prime or two hold a product");
    expect(basis[0].value * (primes == 2 ? basis[1].value : 1.0) > double(n) * double(1ull << bits),
           "the primes do not hold a product at this modulus");
    expect_positions(basis, positions);
    auto out = fresh<uint64_t, 2>({count, slots});
    nb::gil_scoped_release release;
    he::decrypt(basis, c1.data(), c0.data(), count, secret.data(), bits, ell, positions.data(), slots, out.data());
    return out;
}

static he::PackTables pack_tables(const Basis& basis, size_t stride) {
    const size_t n = basis.degree();
    expect(basis.count() >= 2, "packing needs a special prime");
    expect(n >= 64, "packing needs a degree of at least 64");
    expect(stride >= 2 && stride <= n && (stride & (stride - 1)) == 0, "the stride must be a power of two");
    return {basis, stride};
}

static auto pack(const he::PackTables& tables, Sums<7> acc, size_t packs, size_t fill, In<double, 5> keys) {
    const Basis& basis = tables.basis();
    const size_t n = basis.degree(), primes = basis.count() - 1, size = acc.shape(5);
    expect(size && n % size == 0, "the block size must divide the degree");
    expect(acc, {primes, acc.shape(1), n / size, acc.shape(3), 2, size, he::kLanes}, "acc");
    expect(packs >= 1, "at least one ciphertext comes out");
    expect(fill >= 2 && fill <= tables.stride() && (fill & (fill - 1)) == 0,
           "a power of two up to the stride is packed");
    expect(keys.shape(0) >= size_t(tables.levels()), "there are too few keys for this stride");
    expect(keys, {keys.shape(0), primes, 2, primes + 1, n}, "keys");
    auto out = fresh<double, 4>({acc.shape(3) * packs, 2, primes, n});
    nb::gil_scoped_release release;
    const he::AccShape shape{acc.shape(1), acc.shape(3), size};
    he::pack(tables, shape, acc.data(), packs, fill, keys.data(), out.data());
    return out;
}

static auto transform(const Basis& basis, In<uint64_t, 3> x, bool inverse) {
    const size_t count = x.shape(0), n = basis.degree(), primes = basis.count();
    expect(x, {count, primes, n}, "x");
    auto out = fresh<uint64_t, 3>({count, primes, n});
    nb::gil_scoped_release release;
    for (size_t item = 0; item < count; ++item)
        for (size_t l = 0; l < primes; ++l)
            expect_below(x.data() + (item * primes + l) * n, n, basis[l].p);
    he::transform(basis, x.data(), count, inverse, out.data());
    return out;
}

NB_MODULE(_he, m) {
    nb::set_leak_warnings(false);  // caches and daemon threads outlive the interpreter's teardown
    m.doc() = "BFV over prime bases for plaintexts mod 2^ell: kernels without policy.";
    nb::class_<Basis>(m, "Basis")
        .def("__init__",
             [](Basis* self, size_t degree, std::vector<uint64_t> primes, const std::string& isa) {
                 new (self) Basis(degree, std::move(primes), isa.c_str());
             },
             nb::arg("degree"), nb::arg("primes"), nb::arg("isa") = "best")
        .def_prop_ro("degree", &Basis::degree)
        .def_prop_ro("count", &Basis::count)
        .def("encrypt_zero", &encrypt_zero, nb::arg("noise"), nb::arg("raw"), nb::arg("secret"))
        .def("upload", &upload, nb::arg("free"), nb::arg("ell"), nb::arg("drop"), nb::arg("offset"),
             nb::arg("noise"), nb::arg("raw"), nb::arg("secret"))
        .def("read_upload", &read_upload, nb::arg("free"), nb::arg("ell"), nb::arg("drop"), nb::arg("offset"),
             nb::arg("said"), nb::arg("raw"))
        .def("ciphertexts", &ciphertexts, nb::arg("c0"), nb::arg("raw"))
        .def("accumulate", &accumulate, nb::arg("acc").noconvert(), nb::arg("x"), nb::arg("w"))
        .def("collect", &collect, nb::arg("acc").noconvert(), nb::arg("tiles"))
        .def("rerandomise", &rerandomise, nb::arg("ciphertexts").noconvert(), nb::arg("public_key"),
             nb::arg("noise"))
        .def("switch_down", &switch_down, nb::arg("ciphertexts"), nb::arg("bits"), nb::arg("result_bits"),
             nb::arg("positions"), nb::arg("mask"))
        .def("decrypt", &decrypt, nb::arg("c1"), nb::arg("c0"), nb::arg("secret"), nb::arg("bits"),
             nb::arg("ell"), nb::arg("positions"))
        .def("transform", &transform, nb::arg("x"), nb::arg("inverse") = false);
    nb::class_<he::PackTables>(m, "Packing")
        .def("__init__",
             [](he::PackTables* self, const Basis& basis, size_t stride) {
                 new (self) he::PackTables(pack_tables(basis, stride));
             },
             nb::arg("basis"), nb::arg("stride"), nb::keep_alive<1, 2>())
        .def("pack", &pack, nb::arg("acc").noconvert(), nb::arg("packs"), nb::arg("fill"), nb::arg("keys"));
}
