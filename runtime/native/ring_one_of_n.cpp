// 1-of-2^k transfers of small entries: pads, sealed tables, opened entries, and a comparison's tables.
// Every function releases the GIL.
#include "ring_arrays.h"

#include <cstring>
#include <vector>

// pads[n][v][e] = XOR over i of (bit i of v ? k1 : k0)[i][n][v][e]
static auto one_of_n_pads(In<uint8_t, 3> k0, In<uint8_t, 3> k1, size_t entry) {
    const size_t bits = k0.shape(0), count = k0.shape(1), size = size_t(1) << bits;
    need(bits >= 1 && bits <= 8, "an index has 1 to 8 bits");
    need(k0.shape(2) == size * entry, "a key holds one entry for every index");
    for (int i = 0; i < 3; ++i) need(k0.shape(i) == k1.shape(i), "keys differ in shape");
    const size_t row = size * entry, total = count * row;
    auto out = std::make_unique<uint8_t[]>(total + 1);
    {
        nb::gil_scoped_release release;
        // for each index bit, which bytes of a row come from k1
        std::vector<uint8_t> high(bits * row);
        for (size_t i = 0; i < bits; ++i)
            for (size_t b = 0; b < row; ++b) high[i * row + b] = ((b / entry) >> i & 1) ? 0xff : 0;
        for (size_t n = 0; n < count; ++n) {
            uint8_t* to = out.get() + n * row;
            std::memset(to, 0, row);
            for (size_t i = 0; i < bits; ++i) {
                const uint8_t* a = k0.data() + (i * count + n) * row;
                const uint8_t* b = k1.data() + (i * count + n) * row;
                const uint8_t* h = high.data() + i * row;
                for (size_t j = 0; j < row; ++j) to[j] ^= uint8_t((a[j] & ~h[j]) | (b[j] & h[j]));
            }
        }
    }
    return owned<3>(std::move(out), {count, size, entry});
}

// Little-endian bits, appended.
class BitWriter {
  public:
    explicit BitWriter(uint8_t* to) : to_(to) {}
    void put(uint64_t value, int bits) {
        acc_ |= (unsigned __int128)value << have_;
        have_ += bits;
        if (have_ >= 64) {
            const uint64_t word = (uint64_t)acc_;
            std::memcpy(to_, &word, 8);
            to_ += 8;
            acc_ >>= 64;
            have_ -= 64;
        }
    }
    void finish() {
        const uint64_t word = (uint64_t)acc_;
        std::memcpy(to_, &word, 8);
    }

  private:
    uint8_t* to_;
    unsigned __int128 acc_ = 0;
    int have_ = 0;
};

static uint64_t load_entry(const uint8_t* from, size_t entry) {
    uint64_t word = 0;
    std::memcpy(&word, from, entry);
    return word;
}

// The table, entry v masked by the pad at v xor turn, packed to width bits an entry.
static auto one_of_n_seal(In<uint8_t, 3> pads, In<uint64_t, 1> turn, In<uint64_t, 2> table, int width) {
    const size_t count = pads.shape(0), size = pads.shape(1), entry = pads.shape(2);
    need(width >= 1 && width <= 64 && entry == size_t(width + 7) / 8, "entries have another width");
    need(turn.shape(0) == count && table.shape(0) == count && table.shape(1) == size, "shapes differ");
    const size_t bytes = (count * size * size_t(width) + 7) / 8;
    auto out = std::make_unique<uint8_t[]>(bytes + 16);
    {
        nb::gil_scoped_release release;
        BitWriter writer(out.get());
        const uint64_t low = mask_of(width);
        for (size_t n = 0; n < count; ++n) {
            const uint8_t* row = pads.data() + n * size * entry;
            const size_t spin = turn.data()[n] & (size - 1);
            for (size_t v = 0; v < size; ++v)
                writer.put((table.data()[n * size + v] ^ load_entry(row + (v ^ spin) * entry, entry)) & low, width);
        }
        writer.finish();
    }
    return owned<1>(std::move(out), {bytes});
}

// The entry at index of every sealed table, its pad taken off.
static auto one_of_n_open(In<uint8_t, 1> data, In<uint8_t, 1> index, In<uint8_t, 2> pad, int bits, int width) {
    const size_t count = index.shape(0), size = size_t(1) << bits, entry = size_t(width + 7) / 8;
    need(bits >= 1 && bits <= 8 && width >= 1 && width <= 64, "an index has 1 to 8 bits, an entry 1 to 64");
    need(data.shape(0) == (count * size * size_t(width) + 7) / 8, "sealed tables have the wrong length");
    need(pad.shape(0) == count && pad.shape(1) == entry, "pads have the wrong shape");
    auto out = std::make_unique<uint64_t[]>(count + 1);
    {
        nb::gil_scoped_release release;
        const uint64_t low = mask_of(width);
        const uint8_t* end = data.data() + data.shape(0);
        for (size_t n = 0; n < count; ++n) {
            const size_t at = (n * size + (index.data()[n] & (size - 1))) * size_t(width);
            const uint8_t* from = data.data() + at / 8;
            unsigned __int128 word = 0;
            const size_t left = size_t(end - from);
            std::memcpy(&word, from, left < 16 ? left : 16);
            out[n] = ((uint64_t)(word >> (at & 7)) ^ load_entry(pad.data() + n * entry, entry)) & low;
        }
    }
    return owned<1>(std::move(out), {count});
}

// For every row of digits d_j: entry v holds bit j = [v > d_j] and, if equal, bit rows+j = [v == d_j],
// all xor the row's mask.
static auto comparison_table(In<uint8_t, 2> digits, In<uint64_t, 1> masks, int bits, bool equal) {
    const size_t count = digits.shape(0), rows = digits.shape(1), size = size_t(1) << bits;
    need(bits >= 1 && bits <= 8, "a digit has 1 to 8 bits");
    need(rows * (equal ? 2 : 1) <= 64, "too many thresholds for one table");
    need(masks.shape(0) == count, "shapes differ");
    auto out = std::make_unique<uint64_t[]>(count * size + 1);
    {
        nb::gil_scoped_release release;
        for (size_t n = 0; n < count; ++n) {
            uint64_t* to = out.get() + n * size;
            std::memset(to, 0, size * 8);
            const uint8_t* d = digits.data() + n * rows;
            for (size_t j = 0; j < rows; ++j)  // [v > d] changes at d + 1
                if (size_t(d[j]) + 1 < size) to[d[j] + 1] ^= 1ull << j;
            uint64_t run = masks.data()[n];
            for (size_t v = 0; v < size; ++v) to[v] = run ^= to[v];
            if (equal)
                for (size_t j = 0; j < rows; ++j) to[d[j] & (size - 1)] ^= 1ull << (rows + j);
        }
    }
    return owned<2>(std::move(out), {count, size});
}

void bind_leaf(nb::module_& m) {
    m.def("one_of_n_pads", &one_of_n_pads, nb::arg("k0"), nb::arg("k1"), nb::arg("entry"));
    m.def("one_of_n_seal", &one_of_n_seal, nb::arg("pads"), nb::arg("turn"), nb::arg("table"), nb::arg("width"));
    m.def("one_of_n_open", &one_of_n_open, nb::arg("data"), nb::arg("index"), nb::arg("pad"), nb::arg("bits"), nb::arg("width"));
    m.def("comparison_table", &comparison_table, nb::arg("digits"), nb::arg("masks"), nb::arg("bits"), nb::arg("equal"));
}
