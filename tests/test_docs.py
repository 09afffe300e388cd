"""The documents name what exists: tests, files and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints, is_typeddict

from rules import holds
from typer.main import get_command

from ppc.backend.document import Summary
from ppc.cli import app
from ppc.runtime.service.report import Report

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = ("frontend", "passes", "backend", "runtime", "ppc", "models", "tests", "benchmarks", "deploy", "docs")
PATH = re.compile(rf"(?:{'|'.join(ROOMS)})/[\w./*-]+")

PLACEHOLDER = re.compile(r"NAME|SUBJECT")


def named_tests(text: str) -> list[tuple[str, str]]:
    """(file, function) for each ``file::function``; one that stands without a file has the last file's."""
    found, last = [], ""
    for file, function in re.findall(r"`([\w/.]*)::(\w+)`", text):
        last = file or last
        found.append((last, function))
    return found


def missing(page: Path, root: Path = ROOT) -> list[str]:
    """Tests, files and links of a page that are not there."""
    text = page.read_text()
    wrong = [
        f"{file}::{function}" for file, function in named_tests(text) if not has_test(root, file, function)
    ]
    in_code = [each for code in re.findall(r"`([^`\n]+)`", text) for each in PATH.findall(code)]
    wrong += [path for path in in_code if not PLACEHOLDER.search(path) and not list(root.glob(path))]
    for link, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text):
        target = page.parent / link if link else page
        if "://" not in link and not target.exists():
            wrong.append(link)
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
            wrong.append(f"{link}#{anchor}")
    return wrong


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def has_test(root: Path, file: str, function: str) -> bool:
    path = root / file
    return path.is_file() and f"def {function}(" in path.read_text()


COMMANDS = {
    name: {option for each in command.params for option in each.opts}
    for name, command in get_command(app).commands.items()
}


def unknown_options(page: Path) -> list[str]:
    """Options that a page gives to a command of ours that has none such."""
    text = page.read_text().replace("\\\n", " ")
    return [
        f"ppc {verb} {option}"
        for verb, rest in re.findall(r"\bppc (\w+)((?: [^`\n#&]*)?)", text)
        for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)
        if verb in COMMANDS and option not in {*COMMANDS[verb], "-h"}
    ]


def test_the_pages_name_only_what_exists() -> None:
    holds(PAGES, missing)


def test_the_pages_give_commands_only_options_that_they_have(tmp_path: Path) -> None:
    holds(PAGES, unknown_options)
    page = tmp_path / "page.md"
    page.write_text(
        "    ppc run plan.bin --role client \\\n        --speed 3    # --not-this\n"
        "`ppc check -q`, `ppc run`s --x"
    )
    assert unknown_options(page) == ["ppc run --speed", "ppc check -q"]


def test_every_kind_of_stale_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("def test_b():\n    pass\n")
    page = tmp_path / "page.md"
    page.write_text(
        "`tests/test_a.py::test_b`, `::test_c`, `tests/test_z.py::test_b`, `runtime/gone.py`, "
        "`runtime/NAME.py`, [link](gone.md), [outside](https://example.org)\n\n"
        "## What is here: `a`, b\n\n[there](#what-is-here-a-b), [not](page.md#what-is-there)"
    )
    assert missing(page, tmp_path) == [
        "tests/test_a.py::test_c", "tests/test_z.py::test_b", "tests/test_z.py", "runtime/gone.py", "gone.md",
        "page.md#what-is-there",
    ]  # fmt: skip


def fields(kind: object) -> Iterator[str]:
    """Names of a document's fields, and of those within it."""
    for name, inner in get_type_hints(kind).items() if is_typeddict(kind) else ():
        yield name
        yield from fields(inner)
    for inner in get_args(kind):
        yield from fields(inner)


def test_the_page_about_reports_explains_every_field() -> None:
    before, _, after = (ROOT / "docs" / "report.md").read_text().partition("## Before it runs")
    for kind, text in ((Report, before), (Summary, after)):
        assert {"seconds", "flights", "steps"} < set(fields(kind))
        assert [name for name in fields(kind) if f"`{name}`" not in text] == []
