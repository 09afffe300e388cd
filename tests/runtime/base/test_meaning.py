"""Every function means the same in numpy and in PyTorch, where gradients flow besides."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ppc.runtime.base import function as f
from ppc.runtime.base.function import PLAIN_NAMES
from ppc.runtime.base.meaning import MEANING, PLAIN, ranges
from ppc.runtime.base.namespace import NUMPY, Namespace, of_torch

R = np.random.default_rng(4)
X = R.normal(0, 2, (2, 3, 4))
Y = R.normal(0, 2, (3, 1))
UNIT = np.tanh(X)
ABOVE = np.exp(X)
WHOLE = np.array([[3, 2, 0], [1, 5, 7]])
TRUTHS = np.array([[True], [False], [True]])
ROW = R.normal(size=4)
ENDS = np.array([-np.inf, -1.0, 0.0, 2.0, np.inf, np.nan])
MASKED = np.where(np.tri(3, 4, -1) > 0, X, -np.inf)
"""Its first rows hold nothing but −∞."""

BUMP = SimpleNamespace(
    spline=SimpleNamespace(
        knots=(-1.0, 0.5), pieces=((0.0, 0.0, 0.0), (1.0, 2.0, 0.5), (-1.0, 0.0, 0.25)), gates=((1, 1.0),)
    )
)

Case = tuple[object, tuple[np.ndarray, ...]]
BOTH = (False, True)


def on(names: str, *operands: tuple[np.ndarray, ...]) -> dict[str, list[Case]]:
    """Functions without attributes, each on all of these operands."""
    return {name: [(None, xs) for xs in operands] for name in names.split()}


CASES: dict[str, list[Case]] = {
    **on("Relu Silu Sigmoid Tanh Erf Exp Neg Abs Floor Square IsNaN Truncate Boolean", (X,), (ENDS,)),
    **on("Reciprocal Ceil Round Softsign", (X,), (ENDS,)),
    **on("Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Atanh Softplus Mish", (UNIT,)),
    **on("Sqrt Log", (ABOVE,)),
    **on("Acosh", (1 + ABOVE,)),
    **on("Add Sub Mul Div Quotient", (X, Y), (ENDS, ENDS[::-1])),
    **on("Max Min Equal Less Greater LessOrEqual GreaterOrEqual", (X, Y), (WHOLE, WHOLE[::-1])),
    **on("Pow", (ABOVE, Y)),
    **on("And Or", (TRUTHS, X > 0), (ENDS, X[0, 0, :1])),
    **on("Not", (TRUTHS,), (ENDS,)),
    **on("Where", (TRUTHS, X, Y), (np.floor(Y).astype(int), X, Y)),
    **on("MatMul", (X, X.transpose(0, 2, 1)), (X, X[0].T)),
    **on("BitAnd BitOr BitXor", (WHOLE, WHOLE + 9.0)),
    **on("BitNot", (WHOLE,)),
    "BitShift": [(f.BitShift(left), (WHOLE, WHOLE % 3)) for left in BOTH],
    "Mod": [(f.Mod(fmod), (X, Y)) for fmod in BOTH],
    "Clip": [(f.Clip(lo, hi), (X,)) for lo, hi in ((-1.0, 0.5), (None, 0.5), (-1.0, None), (None, None))]
    + [(f.Clip(1.0, None), (WHOLE,))],
    "Gelu": [(f.Gelu(approx), (x,)) for approx in ("none", "tanh") for x in (X, ENDS)],
    "Elu": [(f.Elu(1.3, 1.1), (X,))],
    "Celu": [(f.Celu(1.3), (X,))],
    "ThresholdedRelu": [(f.ThresholdedRelu(0.5), (X,))],
    "Shrink": [(f.Shrink(0.3, 0.5), (X,))],
    "IsInf": [(f.IsInf(*signs), (ENDS,)) for signs in ((True, False), (False, True), (True, True))],
    "Spline": [(BUMP, (X,))],
    "Softmax": [(f.Softmax(axis), (x,)) for axis in (-1, 1) for x in (X, MASKED)],
    "LogSoftmax": [(f.LogSoftmax(1), (X,))],
    "LayerNorm": [(f.LayerNorm(1e-3), (X, ROW, ROW))],
    "RMSNorm": [(f.RMSNorm(1e-3), (X, ROW))],
    **{
        each.__name__: [(each(axes, keep), (X,)) for axes in ((1,), (0, -1)) for keep in BOTH]
        for each in (f.ReduceSum, f.ReduceMean, f.ReduceMax, f.Product, f.LogSumExp)
    },
    "CumSum": [(f.CumSum(1, exclusive, reverse), (X,)) for exclusive in BOTH for reverse in BOTH],
    "ArgExtreme": [
        (f.ArgExtreme(axis, keep, last, least), (np.floor(X),))
        for axis, keep in ((1, True), (-1, False))
        for last in BOTH
        for least in BOTH
    ],
    "Top": [
        (f.Top(axis, 2, largest, places), (np.floor(X),))
        for axis in (1, -1)
        for largest in BOTH
        for places in BOTH
    ],
    "OneHot": [(f.OneHot(4), (WHOLE - 3,))],
    "Gather": [(f.Gather(axis), (X, WHOLE % 2)) for axis in (0, 2, -1)] + [(f.Gather(1), (X, np.array(-1)))],
    "Reshape": [(f.Reshape((4, 6)), (X,))],
    "Transpose": [(f.Transpose((2, 0, 1)), (X,))],
    "Broadcast": [(f.Broadcast((2, 3, 4)), (Y,))],
    "Slice": [
        (f.Slice((0, -1), (2, -9), (1, -1), (1, -2)), (X,)),
        (f.Slice((5,), (0,), (0,), (-1,)), (X,)),
        (f.Slice((2,), (1,), (1,), (1,)), (X,)),
    ],
    "Concat": [(f.Concat(1), (X, X[:, :1]))],
}

TRAINED = (
    *("Relu", "Silu", "Sigmoid", "Tanh", "Erf", "Exp", "Square", "Neg", "Abs", "Reciprocal", "Sqrt", "Pow"),
    *("Add", "Sub", "Mul", "Div", "Max", "Min", "Where", "Clip", "MatMul", "Gelu", "Spline", "Softmax"),
    *("LogSoftmax", "LayerNorm", "RMSNorm", "ReduceSum", "ReduceMean", "ReduceMax", "CumSum", "Gather"),
    *("Reshape", "Transpose", "Broadcast", "Slice", "Concat"),
)
"""What a model with weights to train is made of."""


@pytest.fixture(scope="module")
def xp() -> Namespace:
    return of_torch(pytest.importorskip("torch"))


def in_numpy(name: str, at: object, xs: tuple[np.ndarray, ...]) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(MEANING[name](NUMPY, at, *xs))


def test_every_function_has_a_case() -> None:
    assert set(MEANING) - set(CASES) == {"Onnx"}
    assert set(PLAIN) <= set(MEANING)
    assert set(PLAIN) == PLAIN_NAMES


@pytest.mark.parametrize("name", CASES)
def test_pytorch_computes_the_same(xp: Namespace, name: str) -> None:
    for at, xs in CASES[name]:
        want = in_numpy(name, at, xs)
        got = MEANING[name](xp, at, *(xp.asarray(x.copy()) for x in xs)).numpy()
        assert got.shape == want.shape
        assert got.dtype.kind == want.dtype.kind
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_are_slopes(xp: Namespace, name: str) -> None:
    """Each operand moved along one direction, against a difference of values."""
    for at, xs in CASES[name]:
        if not any(np.isnan(x).any() for x in xs):
            for moved in (i for i, x in enumerate(xs) if x.dtype.kind == "f"):
                slopes(xp, name, at, xs, moved)


def slopes(xp: Namespace, name: str, at: object, xs: tuple[np.ndarray, ...], moved: int) -> None:
    tensors: list[Any] = [xp.asarray(each.copy()) for each in xs]
    tensors[moved].requires_grad_()
    value = MEANING[name](xp, at, *tensors)
    weights = np.random.default_rng(0).normal(size=value.shape)
    (value * xp.asarray(weights)).sum().backward()
    gradient, step = tensors[moved].grad.numpy(), np.random.default_rng(1).normal(size=xs[moved].shape) * 1e-6
    up, down = (
        in_numpy(name, at, (*xs[:moved], xs[moved] + sign * step, *xs[moved + 1 :])) for sign in (1, -1)
    )
    assert np.all(np.isfinite(gradient))
    np.testing.assert_allclose((gradient * step).sum(), (weights * (up - down)).sum() / 2, rtol=1e-4)


def test_a_slice_of_what_is_not_there_is_refused() -> None:
    assert ranges((4, 5), (1, -1), (3, -9), (0, 1), (1, -2)) == (range(1, 3), range(4, -1, -2))
    with pytest.raises(ValueError, match="axis 2 of 2"):
        ranges((4, 5), (0,), (1,), (2,), (1,))
    with pytest.raises(ValueError, match="step cannot be zero"):
        ranges((4, 5), (0,), (1,), (1,), (0,))
