// The module `_ot`: checks sizes, releases the GIL, calls the kernels. No sockets, no policy.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>

#include "gf128.h"
#include "ot.h"

namespace nb = nanobind;
using ppc::allocate;
using ppc::block;

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Blocks = nb::ndarray<const uint64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using BlocksInPlace = nb::ndarray<uint64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OutBytes = nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>>;
using OutRows = nb::ndarray<nb::numpy, uint8_t, nb::ndim<2>>;
using OutBlocks = nb::ndarray<nb::numpy, uint64_t, nb::ndim<2>>;

static constexpr size_t kMost = size_t(1) << 40;  // no array of ours is longer; keeps products below 2^64

static void need(bool good, const char* why) {
    if (!good) throw nb::value_error(why);
}

static const block* as_block(const Bytes& x) { return reinterpret_cast<const block*>(x.data()); }

static const block* blocks_of(const Blocks& x) {
    need(x.shape(1) == 2, "blocks have the shape (n, 2)");
    return reinterpret_cast<const block*>(x.data());
}

static block one_block(const Bytes& x) {
    need(x.shape(0) == 16, "a seed or key has 16 bytes");
    return _mm_loadu_si128(as_block(x));
}

static block delta_of(const Blocks& x) {
    need(x.shape(0) == 1, "Delta is one block, shape (1, 2)");
    const block delta = _mm_loadu_si128(blocks_of(x));
    need(ppc::low_word(delta) & 1, "Delta's lowest bit must be set");
    return delta;
}

static nb::capsule owner_of(void* p) { return nb::capsule(p, &ppc::release); }

static OutBlocks as_blocks(block* p, size_t n) {
    return OutBlocks(reinterpret_cast<uint64_t*>(p), {n, 2}, owner_of(p));
}

static OutBytes as_bytes(void* p, size_t n) { return OutBytes(static_cast<uint8_t*>(p), {n}, owner_of(p)); }

// Returns what was set before. For tests and benchmarks; not meant to be called while kernels run.
static bool set_wide_aes(bool wide) {
    need(!wide || ppc::has_vaes(), "this processor has no VAES");
    const bool before = ppc::wide_aes();
    ppc::wide_aes() = wide;
    return before;
}

// As `set_wide_aes`: 0 is portable, 1 PCLMUL, 2 its 512-bit form.
static int set_gf_path(int path) {
    need(path >= 0 && path <= static_cast<int>(ppc::best_gf_path()), "this processor has no such path");
    const int before = static_cast<int>(ppc::gf_path());
    ppc::gf_path() = static_cast<ppc::GfPath>(path);
    return before;
}

static OutBytes aes_encrypt(Bytes key, Bytes data) {
    const block k = one_block(key);
    const size_t size = data.shape(0);
    need(size % 16 == 0, "data must be whole 16-byte blocks");
    auto* out = static_cast<block*>(allocate(size));
    {
        nb::gil_scoped_release release;
        ppc::aes_blocks(ppc::aes_key(&k), as_block(data), out, size / 16);
    }
    return as_bytes(out, size);
}

static OutBytes aes_ctr(Bytes key, uint64_t counter, size_t count) {
    const block k = one_block(key);
    need(count < kMost, "too many blocks");
    auto* out = static_cast<block*>(allocate(16 * count));
    {
        nb::gil_scoped_release release;
        ppc::aes_ctr(ppc::aes_key(&k), counter, out, count);
    }
    return as_bytes(out, 16 * count);
}

static std::pair<OutBytes, OutBlocks> iknp_receive(Bytes seeds0, Bytes seeds1, uint64_t counter, Bytes choices) {
    need(seeds0.shape(0) == 16 * ppc::kColumns && seeds1.shape(0) == 16 * ppc::kColumns,
         "127 seeds of 16 bytes are needed on each side");
    const size_t words = choices.shape(0) / 16;
    need(choices.shape(0) % 16 == 0 && words < kMost, "choices must be whole groups of 128 bits");
    auto* message = static_cast<block*>(allocate(16 * ppc::kColumns * words));
    auto* out = static_cast<block*>(allocate(16 * 128 * words));
    {
        nb::gil_scoped_release release;
        ppc::iknp_receive(seeds0.data(), seeds1.data(), counter, as_block(choices), words, message, out);
    }
    return {as_bytes(message, 16 * ppc::kColumns * words), as_blocks(out, 128 * words)};
}

static OutBlocks iknp_send(Bytes seeds, Blocks delta, uint64_t counter, Bytes message) {
    need(seeds.shape(0) == 16 * ppc::kColumns, "127 seeds of 16 bytes are needed");
    const block d = delta_of(delta);
    const size_t words = message.shape(0) / (16 * ppc::kColumns);
    need(message.shape(0) == 16 * ppc::kColumns * words, "the message must be whole groups of 127 columns");
    auto* out = static_cast<block*>(allocate(16 * 128 * words));
    {
        nb::gil_scoped_release release;
        ppc::iknp_send(seeds.data(), d, counter, as_block(message), words, out);
    }
    return as_blocks(out, 128 * words);
}

static OutRows hash_keys(block tweak, const block* blocks, size_t n, block offset, uint64_t first, size_t nbytes) {
    need(nbytes >= 1 && nbytes <= 1 << 26, "a key has 1 to 2^26 bytes");
    need(first + n >= first, "the index of a COT must stay below 2^64");
    auto* out = static_cast<uint8_t*>(allocate(n * nbytes + 16));
    {
        nb::gil_scoped_release release;
        ppc::hash_keys(ppc::aes_key(&tweak), blocks, offset, first, n, nbytes, out);
    }
    return OutRows(out, {n, nbytes}, owner_of(out));
}

static std::pair<OutRows, OutRows> sender_keys(Blocks blocks, Blocks delta, Bytes tweak, uint64_t first,
                                               size_t nbytes) {
    const block* q = blocks_of(blocks);
    const block d = delta_of(delta), w = one_block(tweak);
    return {hash_keys(w, q, blocks.shape(0), _mm_setzero_si128(), first, nbytes),
            hash_keys(w, q, blocks.shape(0), d, first, nbytes)};
}

static OutRows receiver_keys(Blocks blocks, Bytes tweak, uint64_t first, size_t nbytes) {
    const block* t = blocks_of(blocks);
    return hash_keys(one_block(tweak), t, blocks.shape(0), _mm_setzero_si128(), first, nbytes);
}

static OutBytes choice_bits(Blocks blocks) {
    blocks_of(blocks);
    const size_t n = blocks.shape(0);
    const uint64_t* words = blocks.data();
    auto* out = static_cast<uint8_t*>(allocate(n));
    {
        nb::gil_scoped_release release;
        for (size_t i = 0; i < n; ++i) out[i] = static_cast<uint8_t>(words[2 * i] & 1);
    }
    return as_bytes(out, n);
}

static void check_trees(const Blocks& cots, size_t trees, int depth) {
    need(depth >= 1 && depth <= 24, "a tree has 1 to 24 levels");
    need(trees < kMost && cots.shape(0) == trees * static_cast<size_t>(depth),
         "one COT a level and tree is needed");
}

static std::pair<OutBytes, OutBlocks> ggm_send(Bytes seed, Bytes tweak, Blocks delta, Blocks cots, size_t trees,
                                               int depth) {
    const block s = one_block(seed), w = one_block(tweak), d = delta_of(delta);
    const block* q = blocks_of(cots);
    check_trees(cots, trees, depth);
    const size_t size = 16 * trees * static_cast<size_t>(depth);
    auto* message = static_cast<block*>(allocate(size));
    auto* leaves = static_cast<block*>(allocate(16 * (trees << depth)));
    {
        nb::gil_scoped_release release;
        ppc::ggm_send(ppc::aes_key(&s), ppc::aes_key(&w), d, q, trees, depth, leaves, message);
    }
    return {as_bytes(message, size), as_blocks(leaves, trees << depth)};
}

static OutBlocks ggm_receive(Bytes tweak, Blocks cots, Bytes message, size_t trees, int depth) {
    const block w = one_block(tweak);
    const block* t = blocks_of(cots);
    check_trees(cots, trees, depth);
    need(message.shape(0) == 16 * cots.shape(0), "the message has one block a level and tree");
    auto* leaves = static_cast<block*>(allocate(16 * (trees << depth)));
    {
        nb::gil_scoped_release release;
        ppc::ggm_receive(ppc::aes_key(&w), t, as_block(message), trees, depth, leaves);
    }
    return as_blocks(leaves, trees << depth);
}

static void lpn_encode(Bytes seed, Blocks secret, BlocksInPlace x) {
    const block s = one_block(seed);
    const block* u = blocks_of(secret);
    const size_t k = secret.shape(0);
    need(k >= 2 && k <= size_t(1) << 30 && (k & (k - 1)) == 0, "the secret's length must be a power of two");
    need(x.shape(1) == 2, "blocks have the shape (n, 2)");
    nb::gil_scoped_release release;
    ppc::lpn_encode(ppc::aes_key(&s), u, __builtin_ctzll(k), reinterpret_cast<block*>(x.data()), x.shape(0));
}

static OutBlocks gf_dot(Blocks a, Blocks b) {
    const block *x = blocks_of(a), *y = blocks_of(b);
    need(a.shape(0) == b.shape(0), "a dot product is of equally many blocks");
    auto* out = static_cast<block*>(allocate(16));
    {
        nb::gil_scoped_release release;
        *out = ppc::gf_dot(x, y, a.shape(0));
    }
    return as_blocks(out, 1);
}

static OutBlocks column_hashes(Bytes challenge, Blocks rows) {
    const block c = one_block(challenge), *x = blocks_of(rows);
    need(rows.shape(0) % 128 == 0, "rows must be whole groups of 128");
    auto* out = static_cast<block*>(allocate(16 * 128));
    {
        nb::gil_scoped_release release;
        ppc::column_hashes(ppc::aes_key(&c), x, rows.shape(0) / 128, out);
    }
    return as_blocks(out, 128);
}

static std::pair<OutBlocks, OutBlocks> leaf_sums(Bytes challenge, Blocks leaves, size_t trees, int depth) {
    const block c = one_block(challenge), *x = blocks_of(leaves);
    need(depth >= 1 && depth <= 24, "a tree has 1 to 24 levels");
    need(trees < kMost && leaves.shape(0) == trees << depth, "2^depth leaves a tree are needed");
    auto* sum = static_cast<block*>(allocate(16));
    auto* holes = static_cast<block*>(allocate(16));
    {
        nb::gil_scoped_release release;
        ppc::leaf_sums(ppc::aes_key(&c), x, trees, depth, sum, holes);
    }
    return {as_blocks(sum, 1), as_blocks(holes, 1)};
}

NB_MODULE(_ot, m) {
    nb::set_leak_warnings(false);  // caches and daemon threads outlive the interpreter's teardown
    if (!ppc::has_aes())
        throw nb::import_error("ppc needs a processor with AES-NI and SSE4.1; this one lacks them");
    m.doc() = "Kernels of oblivious transfer over AES-NI. Blocks are uint64 arrays of shape (n, 2).";
    m.attr("COLUMNS") = ppc::kColumns;
    m.def("has_wide_aes", &ppc::has_vaes);
    m.def("set_wide_aes", &set_wide_aes, nb::arg("wide"));
    m.def("aes_encrypt", &aes_encrypt, nb::arg("key"), nb::arg("data"));
    m.def("aes_ctr", &aes_ctr, nb::arg("key"), nb::arg("counter"), nb::arg("count"));
    m.def("iknp_receive", &iknp_receive, nb::arg("seeds0"), nb::arg("seeds1"), nb::arg("counter"),
          nb::arg("choices"));
    m.def("iknp_send", &iknp_send, nb::arg("seeds"), nb::arg("delta"), nb::arg("counter"), nb::arg("message"));
    m.def("sender_keys", &sender_keys, nb::arg("blocks"), nb::arg("delta"), nb::arg("tweak"), nb::arg("first"),
          nb::arg("nbytes"));
    m.def("receiver_keys", &receiver_keys, nb::arg("blocks"), nb::arg("tweak"), nb::arg("first"), nb::arg("nbytes"));
    m.def("choice_bits", &choice_bits, nb::arg("blocks"));
    m.def("ggm_send", &ggm_send, nb::arg("seed"), nb::arg("tweak"), nb::arg("delta"), nb::arg("cots"),
          nb::arg("trees"), nb::arg("depth"));
    m.def("ggm_receive", &ggm_receive, nb::arg("tweak"), nb::arg("cots"), nb::arg("message"), nb::arg("trees"),
          nb::arg("depth"));
    m.def("best_gf_path", [] { return static_cast<int>(ppc::best_gf_path()); });
    m.def("set_gf_path", &set_gf_path, nb::arg("path"));
    m.def("gf_dot", &gf_dot, nb::arg("a"), nb::arg("b"));
    m.def("column_hashes", &column_hashes, nb::arg("challenge"), nb::arg("rows"));
    m.def("leaf_sums", &leaf_sums, nb::arg("challenge"), nb::arg("leaves"), nb::arg("trees"), nb::arg("depth"));
    m.def("lpn_encode", &lpn_encode, nb::arg("seed"), nb::arg("secret"), nb::arg("x"));
}
