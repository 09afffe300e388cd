"""A node that is not what its operator's definition says: what is wrong with it, in words."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import checker

DAMAGE = (TypeError, ValueError, AttributeError, IndexError, KeyError, ArithmeticError, AssertionError)
"""What Python raises over inputs that are missing and attributes of another type."""


def ill_formed(node: onnx.NodeProto, error: Exception, opsets: Sequence[onnx.OperatorSetIdProto]) -> str:
    """The reason in words: ONNX's own, where its checker has one."""
    context = checker.C.CheckerContext()
    context.ir_version = onnx.IR_VERSION
    context.opset_imports = {each.domain: each.version for each in opsets}
    try:
        checker.check_node(node, context)
    except Exception as reason:  # the checker raises what it likes
        first = next((line for line in str(reason).splitlines() if line.strip()), type(reason).__name__)
        return f"it is ill-formed: {first.strip()}"
    return f"its inputs or attributes are not what its operator takes ({type(error).__name__}: {error})"
