"""What is replaced in a model, decided by price and by what is lost."""

from ppc.runtime.base.extras import needs

needs("tune", "tuning", "onnx", "onnxruntime", "jinja2")  # and, where it trains, what `passes.train` asks for
