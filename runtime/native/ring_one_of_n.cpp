// 1-of-2^k transfers of small entries: pads, a comparison's tables sealed by them, opened entries.
// Every function releases the GIL.
#include "ring_arrays.h"
#include "ring_wire.h"

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

static inline uint64_t load_entry(const uint8_t* from, size_t entry) {
    if (entry == 1) return *from;
    uint64_t word = 0;
    std::memcpy(&word, from, entry);
    return word;
}

// Of every element the table of one digit, each entry masked by the pad at its index xor turn. With bounds
// d_j = (low - share_j) >> at mod 2^bits of the thresholds start to stop entry v holds bit j = [v > d_j] and,
// if equal, bit rows + j = [v == d_j], all xor the element's mask.
static auto comparison_seal(In<uint8_t, 3> pads, In<uint64_t, 1> turn, In<uint64_t, 2> shares, In<uint64_t, 1> masks,
                            uint64_t low, int at, size_t start, size_t stop, bool equal) {
    const size_t count = pads.shape(0), size = pads.shape(1), entry = pads.shape(2), all = shares.shape(1);
    need(start < stop && stop <= all, "no such thresholds");
    need(size >= 2 && size <= 256 && (size & (size - 1)) == 0, "a digit has 1 to 8 bits");
    need(at >= 0 && at < 64, "a digit begins at bit 0 to 63");
    const size_t rows = stop - start, width = rows * (equal ? 2 : 1);
    need(width <= 64, "too many thresholds for one table");
    need(entry == (width + 7) / 8, "entries have another width");
    need(turn.shape(0) == count && shares.shape(0) == count && masks.shape(0) == count, "shapes differ");
    const size_t bytes = (count * size * width + 7) / 8;
    auto out = std::make_unique<uint8_t[]>(bytes + 8);
    {
        nb::gil_scoped_release release;
        BitWriter writer(out.get());
        const uint64_t kept = mask_of(int(width));
        uint64_t table[256];
        for (size_t n = 0; n < count; ++n) {
            std::memset(table, 0, size * 8);
            const uint64_t* share = shares.data() + n * all + start;
            for (size_t j = 0; j < rows; ++j) {  // [v > d] changes at d + 1, [v == d] there and at d
                const size_t d = ((low ^ (share[j] & low)) >> at) & (size - 1);
                const uint64_t same = equal ? 1ull << (rows + j) : 0;
                table[d] ^= same;
                if (d + 1 < size) table[d + 1] ^= same ^ 1ull << j;
            }
            uint64_t run = masks.data()[n];
            const uint8_t* row = pads.data() + n * size * entry;
            const size_t spin = turn.data()[n] & (size - 1);
            for (size_t v = 0; v < size; ++v) {
                run ^= table[v];
                writer.put((run ^ load_entry(row + (v ^ spin) * entry, entry)) & kept, int(width));
            }
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
        const uint8_t *from = data.data(), *end = from + data.shape(0);
        for (size_t n = 0; n < count; ++n) {
            const size_t at = (n * size + (index.data()[n] & (size - 1))) * size_t(width);
            out[n] = (element_at(from, end, at, width) ^ load_entry(pad.data() + n * entry, entry)) & low;
        }
    }
    return owned<1>(std::move(out), {count});
}

void bind_leaf(nb::module_& m) {
    m.def("one_of_n_pads", &one_of_n_pads, nb::arg("k0"), nb::arg("k1"), nb::arg("entry"));
    m.def("one_of_n_open", &one_of_n_open, nb::arg("data"), nb::arg("index"), nb::arg("pad"), nb::arg("bits"), nb::arg("width"));
    m.def("comparison_seal", &comparison_seal, nb::arg("pads"), nb::arg("turn"), nb::arg("shares"), nb::arg("masks"),
          nb::arg("low"), nb::arg("at"), nb::arg("start"), nb::arg("stop"), nb::arg("equal"));
}
