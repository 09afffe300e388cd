"""Packages that running a plan does without.

Whoever takes one asks for it first, by the extra that brings it – a folder in its `__init__`, a file at its
head – so that nobody meets an import that fails.
"""

from __future__ import annotations

from importlib import import_module

from .errors import NotInstalled


def needs(extra: str, what: str, *packages: str) -> None:
    """Go on where ``packages`` can be imported. NotInstalled, for ``what`` takes them, where one cannot."""
    missing = [each for each in packages if not _imports(each)]
    if missing:
        named = ", ".join(missing)
        raise NotInstalled(f"{what} needs {named} (not installed here): pip install 'ppc[{extra}]'")


def _imports(package: str) -> bool:
    try:
        import_module(package)
    except ImportError:
        return False
    return True
