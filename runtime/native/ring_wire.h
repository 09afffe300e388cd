// Elements of so many bits each, little-endian, without gaps.
#pragma once

#include <cstdint>
#include <cstring>

// Appends; to a buffer that has eight bytes more than are said.
class BitWriter {
  public:
    explicit BitWriter(uint8_t* to) : to_(to) {}

    // value < 2^bits, bits at most 64
    void put(uint64_t value, int bits) {
        acc_ |= value << have_;
        have_ += bits;
        if (have_ < 64) return;
        std::memcpy(to_, &acc_, 8);
        to_ += 8;
        have_ -= 64;
        acc_ = have_ ? value >> (bits - have_) : 0;
    }

    void finish() { std::memcpy(to_, &acc_, 8); }

  private:
    uint8_t* to_;
    uint64_t acc_ = 0;
    int have_ = 0;
};

// What begins at bit at, above it what comes next: 57 bits of it are there at least, as far as data go.
inline uint64_t bits_at(const uint8_t* data, const uint8_t* end, size_t at) {
    const uint8_t* from = data + at / 8;
    uint64_t word = 0;
    if (end - from >= 8)
        std::memcpy(&word, from, 8);
    else
        std::memcpy(&word, from, size_t(end - from));
    return word >> (at & 7);
}

// The same of bits bits, at most 64, with nothing above them.
inline uint64_t element_at(const uint8_t* data, const uint8_t* end, size_t at, int bits) {
    uint64_t word = bits_at(data, end, at);
    if (bits > 57 && (at & 7)) {
        const size_t next = at / 8 + 8;
        if (data + next < end) word |= (uint64_t)data[next] << (64 - (at & 7));
    }
    return bits == 64 ? word : word & ((1ull << bits) - 1);
}
