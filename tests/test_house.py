"""Which room may see which: the import directions, read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("frontend", "passes", "backend", "runtime")
SEEN = {
    "runtime": ("ppc.runtime",),
    "frontend": ("ppc.frontend", "ppc.runtime.base"),
    "passes": ("ppc.passes", "ppc.frontend.ir", "ppc.frontend.errors", "ppc.runtime.base"),
    "backend": ("ppc.backend", "ppc.passes", "ppc.frontend", "ppc.runtime"),
}
COMPILER_ONLY = ("onnx", "onnxruntime")


def imports(path: Path) -> Iterator[str]:
    """Every module that the file names in an import, however deep; ``from a import b`` is a.b."""
    package = ["ppc", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            yield from (f"{module}.{each.name}" for each in node.names)


def within(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in modules)


FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_sees_only_what_it_may(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    wrong = [name for name in imports(path) if within(name, ("ppc",)) and not within(name, SEEN[room])]
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_frontend_reads_onnx(path: Path) -> None:
    if path.name.startswith("onnx_") and path.parent.name in ("frontend", "base"):
        return  # in the runtime only where a plan asks for it, which test_without_onnx holds
    assert not [name for name in imports(path) if within(name, COMPILER_ONLY)]


def test_pytorch_comes_in_from_outside() -> None:
    """To what means the same with it and without."""
    inside = [path for path in FILES if path.relative_to(ROOT).parts[0] in ("runtime", "frontend")]
    assert not [path for path in inside if any(within(name, ("torch",)) for name in imports(path))]


def test_the_reader_of_imports_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "passes" / "x.py"
    path.parent.mkdir()
    path.write_text("import onnx.helper\nfrom ppc.backend import cost\ndef f():\n    from . import own\n")
    assert list(imports(path)) == ["onnx.helper", "ppc.backend.cost", "ppc.passes.own"]
