"""What a check found: green, yellow or red, and what to do. Pure."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["green", "yellow", "red"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: green is well, yellow works but wants a look, red does not work; `remedy` says what helps."""

    name: str
    level: Level
    message: str
    remedy: str = ""


def green(name: str, message: str) -> Finding:
    """It is well."""
    return Finding(name, "green", message)


def yellow(name: str, message: str, remedy: str) -> Finding:
    """It works, and wants a look."""
    return Finding(name, "yellow", message, remedy)


def red(name: str, message: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(name, "red", message, remedy)


def not_tried(name: str, failed_check: str) -> Finding:
    """What depends on something that failed says nothing by itself."""
    return Finding(name, "yellow", f"not tried, because {failed_check} failed")
