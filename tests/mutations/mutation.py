"""A protection taken out on purpose: where it stands, what is left of it, and which tests must fail then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

NATIVE = "runtime/native/"


class Stale(Exception):
    """An entry that no longer fits the sources, in one line."""


@dataclass(frozen=True)
class Mutation:
    """
    Attributes:
        name: how it is called for, and said.
        takes_out: the protection that is gone with it, in words.
        file: from the root of the checkout; a kernel's module is built again.
        old, new: the text that stands there exactly once, and what it becomes.
        noticed_by: pytest ids, of which at least one must fail.
    """

    name: str
    takes_out: str
    file: str
    old: str
    new: str
    noticed_by: tuple[str, ...]

    @property
    def module(self) -> str | None:
        """The native module that the file is a source of."""
        if not self.file.startswith(NATIVE):
            return None
        return "_" + Path(self.file).stem.partition("_")[0]

    def applied(self, root: Path = ROOT) -> str:
        """The file's text with the protection gone. Raises Stale where ``old`` does not stand there once."""
        path = root / self.file
        if not path.is_file():
            raise Stale(f"{self.name}: {self.file} is no longer there")
        text = path.read_text()
        if (count := text.count(self.old)) != 1:
            line = self.old.strip().splitlines()[0]
            raise Stale(f"{self.name}: {line!r} stands {count} times in {self.file}, not once")
        return text.replace(self.old, self.new)
