"""The process in which native code looks at models: run by `onnx_apart`, it imports nothing of ours.

    parent -> worker   pickle of (function, arguments)
    worker -> parent   pickle of the result, or None where it raised

A question that takes longer than the seconds given at its start ends the process, in whatever native code.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from typing import Any

SHAPE_LIKE = 1024
"""Elements of an input that may say how large an output is."""


def infer(model: bytes) -> bytes:
    """The model with the types that shape inference can tell."""
    import onnx
    from onnx import shape_inference

    found = shape_inference.infer_shapes(onnx.ModelProto.FromString(model), data_prop=True)
    return bytes(found.SerializeToString())


def evaluate(model: bytes, feeds: dict[str, Any], most: int) -> list[Any] | int:
    """The outputs' values; or the elements of the largest output, where they are more than ``most``."""
    size = _largest(model, feeds)
    if size > most:
        return size
    try:
        return _run(model, feeds)
    except Exception:  # whatever ONNX Runtime cannot do, the reference may
        from onnx.reference import ReferenceEvaluator

        return list(ReferenceEvaluator(model).run(None, feeds))


def _run(model: bytes, feeds: dict[str, Any]) -> list[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def _largest(model: bytes, feeds: dict[str, Any]) -> int:
    """Elements of the largest output, as far as the inputs' shapes and small values tell."""
    import onnx
    from onnx import numpy_helper, shape_inference

    asking = onnx.ModelProto.FromString(model)
    for name, value in feeds.items():
        if value.size <= SHAPE_LIKE:
            asking.graph.initializer.append(numpy_helper.from_array(value, name))
    try:
        asking = shape_inference.infer_shapes(asking, data_prop=True)
    except Exception:  # what it does not know is for ONNX Runtime to refuse
        return 0
    largest = 0
    for made in asking.graph.output:
        size = 1
        for axis in made.type.tensor_type.shape.dim:
            size *= axis.dim_value
        largest = max(largest, size)
    return largest


def main() -> None:
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    seconds, questions = int(sys.argv[1]), {"infer": infer, "evaluate": evaluate}
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            os._exit(0)  # at once: the parent waits
        signal.alarm(seconds)
        try:
            answer = questions[function](*arguments)
        except Exception:
            answer = None
        signal.alarm(0)
        pickle.dump(answer, out, pickle.HIGHEST_PROTOCOL)
        out.flush()


if __name__ == "__main__":
    main()
