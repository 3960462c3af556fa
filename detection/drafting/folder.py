"""A draft on disk: written where nothing is yet, and checked as every rule folder is."""

from pathlib import Path

from detection.base.errors import ConfigurationError
from detection.drafting.draft import Draft
from detection.rules.model import load_rule


def write_draft(draft: Draft, out: Path) -> Path:
    """Writes the files; returns the rule's folder. Raises ConfigurationError where one is there already."""
    existing = [out / name for name in draft.files if (out / name).exists()]
    if existing:
        raise ConfigurationError(f"{existing[0]} is there already; nothing was written")
    try:
        for name, text in draft.files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written to: {error.strerror}") from error
    return out / "rules" / draft.name


def problem_of(folder: Path) -> str:
    """What is wrong with a rule folder; empty if it is valid."""
    try:
        load_rule(folder.name, folder.parent)
    except ConfigurationError as error:
        return str(error)
    return ""
