"""Private transformer inference: the server keeps its weights, the client keeps its prompt."""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout the rooms stand beside this folder; in an installed package, inside it.
if not (Path(__file__).parent / "runtime").exists():
    __path__.append(str(Path(__file__).parent.parent))
