"""The process in which native code looks at models: run by `sandbox`, it imports nothing of ours.

    parent -> worker   [function, arguments]
    worker -> parent   the result, or None where it raised

Both are MessagePack behind their length in 8 bytes, with arrays as [type, shape, bytes]. A question that
takes longer than the seconds given at the start ends the process, in whatever native code it is.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import IO, Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

SHAPE_LIKE = 1024
"""Elements of an input that may say how large an output is."""

Array = NDArray[Any]
Packed = tuple[str, list[int], bytes]


def send(stream: IO[bytes], message: object) -> None:
    body = msgspec.msgpack.encode(message)
    stream.write(len(body).to_bytes(8, "little"))
    stream.write(body)
    stream.flush()


def receive(stream: IO[bytes]) -> object:
    """The next message. Raises EOFError where the stream ends before it does."""
    head = stream.read(8)
    size = int.from_bytes(head, "little")
    body = stream.read(size) if len(head) == 8 else b""
    if len(head) < 8 or len(body) < size:
        raise EOFError
    return msgspec.msgpack.decode(body)


def pack(value: Array) -> Packed:
    return value.dtype.str, list(value.shape), value.tobytes()


def unpack(packed: Packed) -> Array:
    kind, shape, data = packed
    return np.frombuffer(data, np.dtype(kind)).reshape(shape)


def plain(value: Array) -> Array:
    """Element types that numpy does not have by itself are widened. TypeError for what is no real number."""
    if value.dtype.kind in "fiub":
        return value
    name = value.dtype.name
    if value.dtype.kind != "V":
        raise TypeError(f"it holds no numbers, but {name}")
    return value.astype(np.int8 if name.startswith(("int", "uint")) else np.float32)


def infer(model: bytes) -> bytes:
    """The model with the types that shape inference can tell."""
    import onnx
    from onnx import shape_inference

    found = shape_inference.infer_shapes(onnx.ModelProto.FromString(model), data_prop=True)
    return bytes(found.SerializeToString())


def convert(model: bytes, opset: int) -> bytes:
    """The model in another opset."""
    import onnx
    from onnx import version_converter

    found = version_converter.convert_version(onnx.ModelProto.FromString(model), opset)
    return bytes(found.SerializeToString())


def evaluate(model: bytes, feeds: dict[str, Packed], most: int) -> list[Packed] | int:
    """The outputs' values; or the elements of the largest output, where they are more than ``most``."""
    given = {name: unpack(value) for name, value in feeds.items()}
    size = _largest(model, given)
    if size > most:
        return size
    try:
        session = _session(model)
    except Exception:  # what ONNX Runtime has no kernel for, the reference may do
        import onnx
        from onnx.reference import ReferenceEvaluator

        session = ReferenceEvaluator(onnx.ModelProto.FromString(model))
    return [pack(plain(np.asarray(value))) for value in session.run(None, given)]


def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _largest(model: bytes, feeds: dict[str, Array]) -> int:
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
    for name in ("onnx.shape_inference", "onnxruntime"):
        importlib.import_module(name)  # before the clock of the first question runs
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    seconds = int(sys.argv[1])
    questions: dict[str, Callable[..., object]] = {"infer": infer, "convert": convert, "evaluate": evaluate}
    while True:
        try:
            function, arguments = cast("tuple[str, list[object]]", receive(sys.stdin.buffer))
        except EOFError:
            os._exit(0)  # at once: the parent waits
        signal.alarm(seconds)
        try:
            answer = questions[function](*arguments)
        except Exception:
            answer = None
        signal.alarm(0)
        send(out, answer)


if __name__ == "__main__":
    main()
