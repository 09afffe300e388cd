"""What no data can mend is refused before anything is computed with data."""

import numpy as np
import pytest

from ppc import passes
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import FLOAT, Graph, Input, IRError
from ppc.passes.feasible import feasible

X = Input((2, 4), FLOAT, name="x")
HIDDEN = ops.MatMul(X, ops.Const(np.eye(4, dtype=np.float32), True), name="hidden")


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    def calibrate(*_):
        raise AssertionError("computed with data")

    monkeypatch.setattr(passes, "calibrate", calibrate)


def test_what_compiles_passes():
    feasible(Graph((X,), {"y": ops.Softmax(HIDDEN)}))


def test_an_op_that_no_protocol_computes():
    with pytest.raises(IRError, match="<Pow hidden to itself"):
        feasible(Graph((X,), {"y": ops.Softmax(ops.Pow(HIDDEN, HIDDEN, name="hidden to itself"))}))


def test_an_output_that_is_the_clients_own():
    with pytest.raises(IRError, match="'z' does not depend on the model's weights"):
        feasible(Graph((X,), {"y": ops.Softmax(HIDDEN), "z": ops.Neg(X)}))
