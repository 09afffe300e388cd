"""docs/operators.md is made by the code, and tells the truth about what runs on shares."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_cases import CASES, Case
from onnx_models import one_node
from small import ROOT

from ppc.backend.check import check_model
from ppc.backend.operators import ON_SHARES, PROTOCOLS, markdown
from ppc.frontend.ops.table import TABLE

DOCUMENT = ROOT / "docs" / "operators.md"


def test_the_document_is_what_the_code_says() -> None:
    if os.environ.get("PPC_UPDATE"):
        DOCUMENT.write_text(markdown())
    assert DOCUMENT.read_text() == markdown()


def test_the_table_names_only_operators_that_are_loaded() -> None:
    assert set(ON_SHARES) <= set(TABLE)
    assert all(PROTOCOLS.values())


def on_shares(case: Case) -> onnx.ModelProto:
    """The case's model with a secret added to its first input, and to no other."""
    op_type, feeds, constants, attributes = case
    proto = one_node(op_type, feeds, constants, **attributes)
    first = next(iter(feeds))
    secret = numpy_helper.from_array(np.asarray(0.3, feeds[first].dtype), "secret_addend")
    proto.graph.initializer.append(secret)
    for node in proto.graph.node:
        for i, name in enumerate(node.input):
            if name == first:
                node.input[i] = "shared"
    proto.graph.node.insert(0, helper.make_node("Add", [first, "secret_addend"], ["shared"], name="adds"))
    return proto


def is_real(case: Case) -> bool:
    return next(iter(case[1].values())).dtype == np.float32


def names(case: Case) -> str:
    return (f"{case[3]['domain']}." if "domain" in case[3] else "") + case[0]


NOT_ALL = {"Pow", "Cast", "Where"}
"""Supported in some forms only; the table says in which."""


@pytest.mark.parametrize("name", sorted({names(case) for case in CASES if is_real(case)}))
def test_what_the_table_says_runs_on_shares_does(name: str) -> None:
    found = [
        check_model(on_shares(case)).supported for case in CASES if names(case) == name and is_real(case)
    ]
    if name in NOT_ALL:
        assert any(found)
    else:
        assert set(found) == {name in ON_SHARES}


@pytest.mark.parametrize("name", ["Less", "And", "IsNaN", "ArgMax"])
def test_what_it_leaves_out_does_not(name: str) -> None:
    assert name in TABLE
    assert name not in ON_SHARES
