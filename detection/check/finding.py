"""What a check found: green, yellow or red, and what to do. Pure."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["green", "yellow", "red"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: green is well, yellow works but wants a look, red does not work; `do` says what helps."""

    name: str
    level: Level
    what: str
    do: str = ""


def green(name: str, what: str) -> Finding:
    """It is well."""
    return Finding(name, "green", what)


def yellow(name: str, what: str, do: str) -> Finding:
    """It works, and wants a look."""
    return Finding(name, "yellow", what, do)


def red(name: str, what: str, do: str) -> Finding:
    """It does not work."""
    return Finding(name, "red", what, do)


def not_tried(name: str, failed: str) -> Finding:
    """What depends on something that failed says nothing by itself."""
    return Finding(name, "yellow", f"not tried, because {failed} failed")
