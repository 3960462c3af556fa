"""docs/settings.md: every setting, made from the class that reads them."""

from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python

from detection.settings import Settings

_HEAD = """\
# Settings

The job reads its settings from environment variables: in the cloud those are the app's settings, on your machine the
`Values` of `local.settings.json` (copy `local.settings.sample.json`). An empty value counts as not set. If any are wrong, the
run fails with one error that names all of them and shows no value.

This page is made from `detection/settings.py` by `make schemas`.

| setting | default | secret | what it says |
|---|---|---|---|
"""

_TAIL = """
## The host's own

The job does not read these; the Functions host does.

| setting | what it says |
|---|---|
| `AzureWebJobsStorage` | The host's storage: there it remembers when a timer last ran. `UseDevelopmentStorage=true` is Azurite. |
| `FUNCTIONS_WORKER_RUNTIME` | `python` |
"""


def settings_page() -> str:
    """The page as its file holds it."""
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in _rows()) + _TAIL


def secret_settings() -> frozenset[str]:
    """The settings whose value, or a part of it, is never shown."""
    return frozenset(name for name, field in Settings.model_fields.items() if _is_secret(field.annotation))


def _rows() -> Iterator[tuple[str, str, str, str]]:
    secret_names = secret_settings()
    for name, field in Settings.model_fields.items():
        default = _default_text(field.default)
        yield (
            f"`{name}`",
            f"`{default}`" if default else "",
            "secret" if name in secret_names else "",
            (field.description or "").replace("|", r"\|"),
        )


def _default_text(default: object) -> str:
    """A default as one would write it in the environment."""
    json_value = default.get_secret_value() if isinstance(default, SecretStr) else to_jsonable_python(default)
    return str(json_value or "")


def _is_secret(annotation: object) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(_is_secret(field.annotation) for field in annotation.model_fields.values())
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))
