"""ONNX node to IR."""

from ppc.runtime.base.extras import needs

needs("compile", "reading an ONNX model", "onnx", "onnxruntime")
