"""Tables of results: on the terminal, and appended to RESULTS.md with machine, command, date and commit."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")

Table = Sequence[Sequence[str]]
"""The head and the rows."""


def machine() -> str:
    """Processor, cores and memory."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores, {pages / 2**30:.0f} GiB"


def load() -> str:
    """How busy the machine is with other things."""
    return f"load {os.getloadavg()[0]:.1f} at the start"


def commit() -> str:
    """The commit of this checkout, and whether it is what lies here."""
    at = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(at), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def show(table: Table) -> str:
    """A table in Markdown, its columns lined up."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]

    def line(row: Sequence[str]) -> str:
        first, *rest = (
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        return f"| {' | '.join([first, *rest])} |"

    rule = (
        "|"
        + "|".join(":" + "-" * (w + 1) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths))
        + "|"
    )
    return "\n".join([line(table[0]), rule, *(line(row) for row in table[1:])])


def publish(
    title: str, tables: Sequence[Table], notes: Sequence[str] = (), busy: str = "", keep: bool = True
) -> None:
    """Print the tables, and with ``keep`` append them to RESULTS.md."""
    command = shlex.join(["python", *(os.path.relpath(a) if i == 0 else a for i, a in enumerate(sys.argv))])
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    facts = [f"`{command}`", machine(), busy, when, f"commit {commit()}"]
    body = [f"## {title}", " · ".join(fact for fact in facts if fact), *map(show, tables), *notes]
    text = "\n\n".join(body)
    print(text, flush=True)
    if keep:
        with RESULTS.open("a") as file:
            file.write(("" if file.tell() else "# Results\n\n") + text + "\n\n")


def seconds(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def mega(count: float) -> str:
    return f"{count / 1e6:.1f}"
