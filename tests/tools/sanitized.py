"""A pytest plugin: the kernels that were built into the folder PPC_NATIVE, in place of those in runtime/."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

MODULES = ("_ring", "_ot", "_he")


def take(name: str, folder: Path) -> Path:
    """Enter the module ``ppc.runtime.name`` from the folder, before anything imports the usual one."""
    (path,) = folder.glob(f"{name}.*.so")
    spec = importlib.util.spec_from_file_location(f"ppc.runtime.{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return path


TAKEN = [take(name, Path(os.environ["PPC_NATIVE"])) for name in MODULES]


def pytest_report_header() -> str:
    return f"kernels: {', '.join(map(str, TAKEN))}"
