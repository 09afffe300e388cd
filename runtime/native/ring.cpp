// Ring kernels: packing of elements to bits. No sockets, no policy; every function releases the GIL.
#include "ring_arrays.h"
#include "ring_wire.h"

static auto pack(In<uint64_t, 1> x, int bits) {
    need(bits >= 1 && bits <= 64, "bits must be 1 to 64");
    const size_t n = x.shape(0), size = (n * size_t(bits) + 7) / 8;
    auto out = std::make_unique<uint8_t[]>(size + 8);
    {
        nb::gil_scoped_release release;
        const uint64_t m = mask_of(bits);
        BitWriter writer(out.get());
        for (size_t i = 0; i < n; ++i) writer.put(x.data()[i] & m, bits);
        writer.finish();
    }
    return owned<1>(std::move(out), {size});
}

static auto unpack(In<uint8_t, 1> data, int bits, size_t count) {
    need(bits >= 1 && bits <= 64, "bits must be 1 to 64");
    need(data.shape(0) == (count * size_t(bits) + 7) / 8, "packed data has the wrong length");
    auto out = std::make_unique<uint64_t[]>(count ? count : 1);
    {
        nb::gil_scoped_release release;
        const uint8_t *from = data.data(), *end = from + data.shape(0);
        for (size_t i = 0; i < count; ++i) out[i] = element_at(from, end, i * size_t(bits), bits);
    }
    return owned<1>(std::move(out), {count});
}

NB_MODULE(_ring, m) {
    nb::set_leak_warnings(false);  // caches and daemon threads outlive the interpreter's teardown
    bind_booleans(m);
    bind_leaf(m);
    bind_matmul(m);
    bind_real(m);
    bind_spline(m);
    m.doc() = "Kernels over Z/2^l for l <= 64, and over doubles.";
    m.def("pack", &pack, nb::arg("x"), nb::arg("bits"));
    m.def("unpack", &unpack, nb::arg("data"), nb::arg("bits"), nb::arg("count"));
}
