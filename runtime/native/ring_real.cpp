// Functions of doubles that numpy lacks. No sockets, no policy; every function releases the GIL.
#include <cmath>

#include "ring_arrays.h"

static auto error_function(In<double, 1> x) {
    const size_t n = x.shape(0);
    auto out = std::make_unique<double[]>(n ? n : 1);
    {
        nb::gil_scoped_release release;
        const double* in = x.data();
        for (size_t i = 0; i < n; ++i) out[i] = std::erf(in[i]);
    }
    return owned<1>(std::move(out), {n});
}

void bind_real(nb::module_& m) { m.def("erf", &error_function, nb::arg("x")); }
