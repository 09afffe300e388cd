"""IR to ONNX."""

from ppc.runtime.base.extras import needs

needs("compile", "writing an ONNX model", "onnx")
