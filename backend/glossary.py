"""Words as docs/glossary.md explains them, for a page that stands alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

GLOSSARY = Path(__file__).parent.parent / "docs" / "glossary.md"


def meanings(words: Iterable[str]) -> dict[str, str]:
    """What each word means. Raises KeyError for one that the glossary does not have."""
    lines = GLOSSARY.read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    known = {word: meaning.replace("`", "") for word, meaning, *_ in rows}
    return {word: known[word] for word in words}
