"""Array libraries under one set of names, those of the Python array API standard (data-apis.org/array-api).

numpy is here. PyTorch, where gradients are wanted, comes in from outside, as its module.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from .. import _ring

Array: TypeAlias = Any
"""An array of the namespace at hand: numpy's, or a tensor."""


class Namespace:
    """``library``, and under names of ``own`` what it lacks or calls otherwise.

    ``real`` is the type in which it holds reals. Beyond the standard there are `erf`, `cumsum`, `fmod` and
    `is_real`, and `argsort` keeps the order of equals.
    """

    def __init__(self, library: ModuleType, real: object, **own: object) -> None:
        self._library, self.real = library, real
        self.__dict__.update(own)

    def __getattr__(self, name: str) -> Callable[..., Array]:
        return getattr(self._library, name)  # type: ignore[no-any-return]


def _erf(x: Array) -> Array:
    return _ring.erf(np.ascontiguousarray(x, np.float64).reshape(-1)).reshape(np.shape(x))


NUMPY = Namespace(
    np,
    np.float64,
    astype=lambda x, dtype: np.asarray(x).astype(dtype, copy=False),
    is_real=lambda x: x.dtype.kind == "f",
    erf=_erf,
    argsort=lambda x, axis: np.argsort(x, axis=axis, kind="stable"),
    # what numpy 1.26 has by older names alone
    bool=np.bool_,
    pow=np.power,
    concat=np.concatenate,
    permute_dims=np.transpose,
    acos=np.arccos,
    asin=np.arcsin,
    atan=np.arctan,
    acosh=np.arccosh,
    asinh=np.arcsinh,
    atanh=np.arctanh,
    bitwise_invert=np.invert,
    bitwise_left_shift=np.left_shift,
    bitwise_right_shift=np.right_shift,
)


def of_torch(torch: ModuleType, real: object = None) -> Namespace:
    """PyTorch's module as a namespace; reals are double unless ``real`` is another of its types."""

    def asarray(x: object, dtype: object = None) -> Array:
        return x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=dtype)

    def product(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
        whole = reduce(lambda y, each: torch.prod(y, dim=each, keepdim=True), axis, x)
        return whole if keepdims else torch.squeeze(whole, axis)

    return Namespace(
        torch,
        torch.float64 if real is None else real,
        asarray=asarray,
        astype=lambda x, dtype: x.to(dtype),
        is_real=lambda x: x.is_floating_point(),
        argsort=lambda x, axis: torch.argsort(x, dim=axis, stable=True),
        flip=lambda x, axis: torch.flip(x, axis),
        max=torch.amax,
        prod=product,
        permute_dims=torch.permute,
        take_along_axis=torch.take_along_dim,
        bitwise_invert=torch.bitwise_not,
    )
