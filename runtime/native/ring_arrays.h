// Arrays in and out of the ring kernels.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <initializer_list>
#include <memory>

namespace nb = nanobind;

template <class T, size_t Rank>
using In = nb::ndarray<const T, nb::ndim<Rank>, nb::c_contig, nb::device::cpu>;

template <class T, size_t Rank>
using Out = nb::ndarray<nb::numpy, T, nb::ndim<Rank>>;

// Hand a buffer to Python, which frees it.
template <size_t Rank, class T>
Out<T, Rank> owned(std::unique_ptr<T[]> data, std::initializer_list<size_t> shape) {
    T* p = data.release();
    nb::capsule owner(p, [](void* q) noexcept { delete[] static_cast<T*>(q); });
    return Out<T, Rank>(p, shape, owner);
}

inline uint64_t mask_of(int bits) { return bits == 64 ? ~0ull : (1ull << bits) - 1; }

inline void need(bool holds, const char* message) {
    if (!holds) throw nb::value_error(message);
}

void bind_booleans(nb::module_& m);
void bind_leaf(nb::module_& m);
void bind_matmul(nb::module_& m);
void bind_real(nb::module_& m);
void bind_spline(nb::module_& m);
