"""IR -> IR with other weights, by gradients: the one part of the house that needs PyTorch."""

from ppc.runtime.base.extras import needs

needs("tune", "tuning", "torch")
