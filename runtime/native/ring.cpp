// Ring kernels: packing of elements to bits. No sockets, no policy; every function releases the GIL.
#include "ring_arrays.h"

#include <cstring>

static auto pack(In<uint64_t, 1> x, int bits) {
    need(bits >= 1 && bits <= 64, "bits must be 1 to 64");
    const size_t n = x.shape(0), size = (n * size_t(bits) + 7) / 8;
    auto out = std::make_unique<uint8_t[]>(size + 16);
    {
        nb::gil_scoped_release release;
        const uint64_t m = mask_of(bits);
        const uint64_t* in = x.data();
        uint8_t* to = out.get();
        unsigned __int128 acc = 0;
        int have = 0;
        for (size_t i = 0; i < n; ++i) {
            acc |= (unsigned __int128)(in[i] & m) << have;
            have += bits;
            if (have >= 64) {
                const uint64_t word = (uint64_t)acc;
                std::memcpy(to, &word, 8);
                to += 8;
                acc >>= 64;
                have -= 64;
            }
        }
        const uint64_t word = (uint64_t)acc;
        std::memcpy(to, &word, 8);
    }
    return owned<1>(std::move(out), {size});
}

static auto unpack(In<uint8_t, 1> data, int bits, size_t count) {
    need(bits >= 1 && bits <= 64, "bits must be 1 to 64");
    need(data.shape(0) == (count * size_t(bits) + 7) / 8, "packed data has the wrong length");
    auto out = std::make_unique<uint64_t[]>(count ? count : 1);
    {
        nb::gil_scoped_release release;
        const uint64_t m = mask_of(bits);
        const uint8_t* from = data.data();
        const uint8_t* end = from + data.shape(0);
        unsigned __int128 acc = 0;
        int have = 0;
        for (size_t i = 0; i < count; ++i) {
            if (have < bits) {
                uint64_t word = 0;
                const size_t left = size_t(end - from), take = left < 8 ? left : 8;
                std::memcpy(&word, from, take);
                from += take;
                acc |= (unsigned __int128)word << have;
                have += 64;
            }
            out[i] = (uint64_t)acc & m;
            acc >>= bits;
            have -= bits;
        }
    }
    return owned<1>(std::move(out), {count});
}

// One row block: c[0..rows) += a[0..rows) . b over Z/2^64. Rows share each load of b.
__attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
static void rows_times(const uint64_t* a, const uint64_t* b, uint64_t* c, size_t rows, size_t k, size_t n) {
    constexpr size_t kColumns = 512;
    for (size_t j0 = 0; j0 < n; j0 += kColumns) {
        const size_t j1 = j0 + kColumns < n ? j0 + kColumns : n;
        for (size_t l = 0; l < k; ++l) {
            const uint64_t* row = b + l * n;
            for (size_t i = 0; i < rows; ++i) {
                const uint64_t f = a[i * k + l];
                uint64_t* to = c + i * n;
                for (size_t j = j0; j < j1; ++j) to[j] += f * row[j];
            }
        }
    }
}

static auto matmul(In<uint64_t, 3> a, In<uint64_t, 3> b) {
    const size_t m = a.shape(1), k = a.shape(2), n = b.shape(2);
    const size_t ba = a.shape(0), bb = b.shape(0), batch = ba > bb ? ba : bb;
    need(b.shape(1) == k, "matmul: inner axes differ");
    need((ba == batch || ba == 1) && (bb == batch || bb == 1), "matmul: batches differ");
    const size_t size = batch * m * n;
    auto out = std::make_unique<uint64_t[]>(size ? size : 1);
    {
        nb::gil_scoped_release release;
        std::memset(out.get(), 0, size * 8);
        constexpr size_t kRows = 8;
        for (size_t s = 0; s < batch; ++s)
            for (size_t i = 0; i < m; i += kRows)
                rows_times(a.data() + ((ba == 1 ? 0 : s) * m + i) * k, b.data() + (bb == 1 ? 0 : s) * k * n,
                           out.get() + (s * m + i) * n, i + kRows < m ? kRows : m - i, k, n);
    }
    return owned<3>(std::move(out), {batch, m, n});
}

NB_MODULE(_ring, m) {
    nb::set_leak_warnings(false);  // caches and daemon threads outlive the interpreter's teardown
    bind_leaf(m);
    m.def("matmul", &matmul, nb::arg("a"), nb::arg("b"), "Batched a.b over Z/2^64; a batch of 1 repeats.");
    m.doc() = "Kernels over Z/2^l for l <= 64.";
    m.def("pack", &pack, nb::arg("x"), nb::arg("bits"));
    m.def("unpack", &unpack, nb::arg("data"), nb::arg("bits"), nb::arg("count"));
}
