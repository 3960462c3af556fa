"""HTML pages from Jinja2 templates: each page carries its style, loads nothing and has no script."""

import base64
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


def page_templates(folder: Path, filters: Mapping[str, Callable[..., object]]) -> Environment:
    """The templates of a folder. They escape all values, and an undefined name is an error.

    `style` is the text of the folder's `style.css` in every template.
    """
    templates = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters |= filters
    style = (folder / "style.css").read_text(encoding="utf-8")
    templates.globals["style"] = Markup(style)  # noqa: S704  # a file of this project
    return templates


def content_policy(templates: Environment, *directives: str) -> str:
    """A Content-Security-Policy: allows the style of these templates and the directives, and nothing else."""
    digest = base64.b64encode(sha256(str(templates.globals["style"]).encode()).digest()).decode()
    return "; ".join(("default-src 'none'", f"style-src 'sha256-{digest}'", *directives))
