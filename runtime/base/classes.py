"""Classes are numbers, 0 and up."""

from __future__ import annotations

NONE = -100
"""The class of a token that has none: what PyTorch's losses leave out."""
