"""Private transformer inference: the server keeps its weights, the client keeps its prompt.

At the server::

    compiled = ppc.compile("model.onnx", seq_len=32)
    compiled.save(Path("plan.bin"), Path("plan.weights"))
    ppc.Server(compiled.plan, compiled.weights).serve()

At the client, with nothing but the plan::

    plan = ppc.load_plan(Path("plan.bin"))
    outcome = ppc.Client(plan).run({"input_ids": ids, "attention_mask": mask})
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a checkout the rooms stand beside this folder; in an installed package, inside it.
if not (Path(__file__).parent / "runtime").exists():
    __path__.append(str(Path(__file__).parent.parent))

from ppc.runtime.base.errors import RuntimeFault
from ppc.runtime.plan.file import Plan, Weights, load_weights
from ppc.runtime.plan.file import load as load_plan
from ppc.runtime.service.client import Client
from ppc.runtime.service.server import Server
from ppc.runtime.service.tokens import tokenize

if TYPE_CHECKING:
    from ppc.backend.compile import Compiled


def compile(model: str | Path, **options: Any) -> Compiled:
    """See `ppc.backend.compile.compile_model`; needs the ONNX packages, which running a plan does not."""
    from ppc.backend.compile import compile_model

    return compile_model(model, **options)


def simulate(plan: Plan, weights: Weights, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """The plan's fixed-point meaning in the clear: outputs by name."""
    from ppc.runtime.session.inputs import fit
    from ppc.runtime.session.simulate import simulate as run

    plan, feeds = fit(plan, feeds)
    values = run(plan, weights, feeds)
    return {o.name: values[o.value].reshape(o.shape) for o in plan.outputs}


def summary(plan: Plan) -> dict[str, Any]:
    """Price, formats and who sees what, as one document."""
    from ppc.backend.report import summary as describe

    return describe(plan)


__all__ = [
    "Client",
    "Plan",
    "RuntimeFault",
    "Server",
    "Weights",
    "compile",
    "load_plan",
    "load_weights",
    "simulate",
    "summary",
    "tokenize",
]
