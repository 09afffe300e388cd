"""Substitutions that change the model: functions that are cheap on shares in place of those that are not.

After "LLMs Can Understand Encrypted Prompt: Towards Privacy-Computing Friendly Transformers" (arXiv
2305.18396), and others where they are named: of GELU and SiLU `passes/friendly_activations.py`, of softmax
`passes/friendly_softmax.py`, of LayerNorm and RMSNorm `passes/friendly_norms.py`.

A model is meant to be tuned with them. What can be had without training is had here: constants are
fitted to the calibration data, so that the untuned model starts close, and cost nothing: sums with constants
are local, and factors are taken by weights, or take γ's place. With everything that profile ``friendly``
replaces replaced in MiniLM's three layers the mean cosine of its embeddings to the exact ones is 0.01 for
a = γ·mean(1/σ), b = β, m = t = 0; fitted to random tokens it is 0.82, to a handful of sentences 0.86.
"""

from __future__ import annotations

import math

from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.passes import friendly_activations, friendly_norms, friendly_softmax
from ppc.passes.substitution import Substitution

SUBSTITUTIONS: tuple[Substitution, ...] = (
    *friendly_activations.SUBSTITUTIONS,
    *friendly_softmax.SUBSTITUTIONS,
    *friendly_norms.SUBSTITUTIONS,
)
"""The first of each op is what profile ``friendly`` takes."""


def variants(op: type[Op]) -> dict[str, Substitution]:
    """What may stand for ``op``, by name."""
    return {each.name: each for each in SUBSTITUTIONS if each.op is op}


REPLACEABLE: tuple[type[Op], ...] = tuple(dict.fromkeys(each.op for each in SUBSTITUTIONS))

MENU: dict[type[Op], tuple[str, ...]] = {
    ops.Gelu: ("relu",),
    ops.Silu: ("relu",),
    ops.Softmax: ("relu_mean", "relu_sum"),
    ops.LayerNorm: ("affine", "centred_affine"),
    ops.RMSNorm: ("affine",),
}
"""What profile ``menu`` takes, and tuning chooses from, the cheapest first by docs/performance.md. Others
cost more there than one that is nearer to the function, or leave nothing of a model."""


def markdown() -> str:
    """The part of docs/functions.md about what changes the model."""
    lines = [
        "## What a profile may put in their place",
        "",
        "By `[[replace]]` in a TOML file ([profiles.md](profiles.md)). These change the model, which is",
        "meant to be tuned with them. The first of each operator is what profile `friendly` takes; of",
        "several named in a list, as profile `menu` has them, `ppc compile` takes the first and",
        "[`ppc tune`](tune.md) chooses.",
        "[What each saves](performance.md#what-each-substitution-saves) was measured.",
        "",
        "| op | with | formula | max. error | cost | settings |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for each in SUBSTITUTIONS:
        bound = "none" if math.isinf(each.max_error) else f"{each.max_error:g}"
        settings = ", ".join(f"{key} = {str(value).lower()}" for key, value in each.settings.items())
        lines.append(
            f"| {each.op.__name__} | {each.name} | {each.formula} | {bound} | {each.cost} | {settings} |"
        )
    return "\n".join(lines) + "\n"
