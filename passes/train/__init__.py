"""IR -> IR with other weights, by gradients: the one part of the house that needs PyTorch."""

from __future__ import annotations

from ppc.frontend.errors import UsageError


class NeedsPyTorch(UsageError):
    def __init__(self) -> None:
        super().__init__("tuning needs PyTorch, which is not installed: pip install 'ppc[tune]'")


try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise NeedsPyTorch from None
