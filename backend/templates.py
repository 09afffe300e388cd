"""Pages and reports, which Jinja fills in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ppc.runtime.base.extras import needs

needs("compile", "writing a page", "jinja2", "markupsafe")


def template(
    file: Path, filters: Mapping[str, Callable[..., object]], known: Mapping[str, object]
) -> Callable[..., str]:
    """``file``, to be called with its values, which are escaped in HTML; it knows ``known`` besides."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(file.parent),
        autoescape=".html" in file.suffixes,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    environment.globals |= known
    return environment.get_template(file.name).render


def markup(html: str) -> str:
    """What is HTML already, and is not escaped; what is joined by it is."""
    from markupsafe import Markup

    return Markup(html)
