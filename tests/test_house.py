"""Which room may see which, and which folder within a room: the import directions, read from the sources."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import networkx
from rules import holds

ROOT = Path(__file__).parent.parent

SEES: dict[str, tuple[str, ...]] = {
    "runtime": ("ppc.runtime",),
    "frontend": ("ppc.frontend", "ppc.runtime.base"),
    "passes": ("ppc.passes", "ppc.frontend.ir", "ppc.frontend.errors", "ppc.runtime.base"),
    "backend": ("ppc.backend", "ppc.passes", "ppc.frontend", "ppc.runtime"),
    "ppc": ("ppc",),
}
"""What a room imports of the house."""

FOLDERS: dict[str, tuple[str, ...]] = {
    "runtime": (
        "base", "net", "party", "ot", "he", "protocols", "plan", "session", "cost", "service",
    ),
    "frontend": ("ir", "ops", "read", "emit"),
    "passes": ("train",),
    "backend": ("tune",),
}  # fmt: skip
"""From left to right: a file imports from its own folder and from those before it; what stands in no folder
comes before all."""

READS_ONNX = ("frontend/ops", "frontend/read", "frontend/emit", "runtime/base/onnx_node.py")
"""In the runtime only where a plan asks for it, which test_without_onnx holds."""

COMPILER_ONLY = ("onnx", "onnxruntime")

Imports = Mapping[str, Sequence[str]]
"""By file, every module that it names in an import."""


def imports(path: Path, root: Path = ROOT) -> Iterator[str]:
    """Every module that the file names in an import, in functions and for type checkers too; ``from a import
    b`` is a.b."""
    package = _module(str(path.relative_to(root))).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            yield from (f"{module}.{each.name}" for each in node.names)


def _module(file: str) -> str:
    """frontend/read/load.py is ppc.frontend.read.load; the room ppc/ is the package itself."""
    parts = file.removesuffix(".py").removesuffix("/__init__").split("/")
    return ".".join(parts if parts[0] == "ppc" else ["ppc", *parts])


def within(name: str, modules: Sequence[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in modules)


HOUSE: dict[str, list[str]] = {
    str(path.relative_to(ROOT)): sorted(set(imports(path)))
    for room in SEES
    for path in sorted((ROOT / room).rglob("*.py"))
}


def rooms_not_to_be_seen(house: Imports) -> set[str]:
    return {
        f"{file}: {name}"
        for file, names in house.items()
        for name in names
        if within(name, ("ppc",)) and not within(name, SEES[file.split("/")[0]])
    }


def folders_to_the_right(house: Imports) -> set[str]:
    return {
        f"{file}: {name}"
        for file, names in house.items()
        for room, folders in FOLDERS.items()
        if file.startswith(f"{room}/")
        for name in names
        if within(name, [f"ppc.{room}.{each}" for each in folders[_place(file, folders) + 1 :]])
    }


def _place(file: str, folders: Sequence[str]) -> int:
    folder = file.split("/")[1]
    return folders.index(folder) if folder in folders else -1


def readers_of_onnx(house: Imports) -> set[str]:
    return {
        f"{file}: {name}"
        for file, names in house.items()
        if not any(file == each or file.startswith(f"{each}/") for each in READS_ONNX)
        for name in names
        if within(name, COMPILER_ONLY)
    }


def circles(house: Imports) -> list[set[str]]:
    """Files that import each other, by way of others or not."""
    files = {_module(file): file for file in house}
    graph = networkx.DiGraph()
    for file, names in house.items():
        for name in names:
            parts = name.split(".")
            known = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
            if (found := next((each for each in known if each in files), None)) is not None:
                graph.add_edge(file, files[found])
    return [set(each) for each in networkx.strongly_connected_components(graph) if len(each) > 1]


def test_a_room_sees_only_what_it_may() -> None:
    assert rooms_not_to_be_seen(HOUSE) == set()


def test_a_folder_sees_only_those_before_it() -> None:
    assert folders_to_the_right(HOUSE) == set()


def test_only_the_frontend_reads_onnx() -> None:
    assert readers_of_onnx(HOUSE) == set()


def test_no_files_import_each_other() -> None:
    assert circles(HOUSE) == []


def test_every_folder_has_its_place() -> None:
    for room, folders in FOLDERS.items():
        there = {path.parent.name for path in (ROOT / room).glob("*/__init__.py")}
        assert there == set(folders)


def readers_of_pytorch(house: Imports) -> set[str]:
    return {
        file
        for file, names in house.items()
        if not file.startswith("passes/train/") and any(within(name, ("torch",)) for name in names)
    }


def test_no_two_files_of_tests_have_one_name() -> None:
    """Pytest imports them by it, and takes the second for the first."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert not [name for name, count in names.items() if count > 1]


def test_pytorch_comes_in_from_outside() -> None:
    """To what means the same with it and without; only training itself imports it."""
    assert readers_of_pytorch(HOUSE) == set()


def test_every_import_is_read(tmp_path: Path) -> None:
    path = tmp_path / "passes" / "x.py"
    path.parent.mkdir()
    path.write_text(
        "import onnx.helper\n"
        "from ppc.backend import cost\n"
        "if TYPE_CHECKING:\n    import ppc.cli\n"
        "def f():\n    from . import owners\n"
    )
    assert set(imports(path, tmp_path)) == {"onnx.helper", "ppc.backend.cost", "ppc.cli", "ppc.passes.owners"}
    start = path.with_name("__init__.py")
    start.write_text("from .owners import Owners\n")
    assert list(imports(start, tmp_path)) == ["ppc.passes.owners.Owners"]


def test_what_breaks_a_rule_is_found() -> None:
    assert rooms_not_to_be_seen({"passes/a.py": ["ppc.backend.cost", "ppc.frontend.ir.ops", "onnx"]}) == {
        "passes/a.py: ppc.backend.cost"
    }
    left = {"frontend/ops/a.py": ["ppc.frontend.read.load", "ppc.frontend.ir.ops", "ppc.frontend.errors.X"]}
    assert folders_to_the_right(left) == {"frontend/ops/a.py: ppc.frontend.read.load"}
    assert folders_to_the_right({"frontend/errors.py": ["ppc.frontend.ir.ops"]}) == {
        "frontend/errors.py: ppc.frontend.ir.ops"
    }
    assert readers_of_onnx({"frontend/ir/a.py": ["onnx.helper"], "frontend/read/a.py": ["onnx"]}) == {
        "frontend/ir/a.py: onnx.helper"
    }
    pytorch = {"passes/a.py": ["torch"], "passes/train/a.py": ["torch.nn"], "backend/a.py": ["torchless"]}
    assert readers_of_pytorch(pytorch) == {"passes/a.py"}
    knot = {
        "passes/a.py": ["ppc.passes.b.B"],
        "passes/b.py": ["ppc.passes.c"],
        "passes/c.py": ["ppc.passes.a"],
        "passes/d.py": ["ppc.passes.a"],
    }
    assert circles(knot) == [{"passes/a.py", "passes/b.py", "passes/c.py"}]


def asked_for(file: Path, root: Path = ROOT) -> set[str]:
    """The packages that the file, or a folder it lies in, asks for (`runtime/base/extras.py`)."""
    above = [folder / "__init__.py" for folder in file.parents if folder.is_relative_to(root)]
    return {
        argument.value
        for each in (file, *above)
        if each.exists()
        for node in ast.walk(ast.parse(each.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "needs"
        for argument in node.args[2:]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def taken_unasked(file: Path, root: Path = ROOT) -> set[str]:
    """Packages that the file imports, that `pip install ppc` does not bring and nobody has asked for."""
    named = {each.split(".")[0] for each in imports(file, root)}
    standard = {"tomllib", *sys.stdlib_module_names}  # which has the first from Python 3.11 on
    return named - standard - {"ppc", *BROUGHT} - asked_for(file, root)


DEPENDENCIES = re.findall(
    r'"([\w-]+)>=', (ROOT / "pyproject.toml").read_text().split("\ndependencies = [")[1].split("\n]\n")[0]
)
BROUGHT = {{"seal-python": "seal", "PyNaCl": "nacl"}.get(each, each) for each in DEPENDENCIES}
"""Modules that come with `pip install ppc`."""


def test_what_an_extra_brings_is_asked_for() -> None:
    holds((ROOT / file for file in HOUSE), taken_unasked)


def test_what_is_not_asked_for_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "frontend" / "read"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("needs('compile', 'reading', 'onnx')\n")
    file = folder / "a.py"
    file.write_text("import onnx.helper, numpy, nacl.public, json\ndef f():\n    from torch import nn\n")
    assert taken_unasked(file, tmp_path) == {"torch"}
    assert {"numpy", "seal", "nacl", "typer"} <= BROUGHT
    assert not BROUGHT & {"onnx", "networkx", "pytest"}


ARRAYS = {"NDArray", "ndarray", "signedinteger", "unsignedinteger", "floating"}
"""Whose kind of element may be any."""


def _says_any(annotation: ast.expr | None) -> bool:
    match annotation:
        case None:
            return False
        case ast.Constant(value=str(text)):
            return _says_any(ast.parse(text, mode="eval").body)
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name)) if name in ARRAYS:
            return False
        case ast.Name(id="Any"):
            return True
    return any(_says_any(child) for child in ast.iter_child_nodes(annotation) if isinstance(child, ast.expr))


def _public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (
                each
                for each in node.body
                if isinstance(each, ast.FunctionDef) and not each.name.startswith("_")
            )


def test_no_public_signature_says_any():
    found = []
    for path in (each for room in SEES for each in sorted((ROOT / room).rglob("*.py"))):
        for function in _public_functions(ast.parse(path.read_text())):
            at = function.args
            every = [*at.posonlyargs, *at.args, *at.kwonlyargs, at.vararg, at.kwarg]
            if any(_says_any(each.annotation) for each in every if each) or _says_any(function.returns):
                found.append(f"{path}:{function.lineno} {function.name}")
    assert not found
