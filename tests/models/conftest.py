"""Tests of whole models from PyTorch take minutes; they run with ``-m slow`` or PPC_SLOW=1."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = "slow" in (config.option.markexpr or "") or os.environ.get("PPC_SLOW")
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(3600))
            if not asked:
                item.add_marker(pytest.mark.skip(reason="slow; run with -m slow"))
