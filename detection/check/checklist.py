"""Checks one after the other. One that fails stops no other, but for those that cannot be tried without it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from detection.base.errors import ErrorKind, error_kind, error_sentence
from detection.logs.log_analytics.answers import QueryRefused
from detection.logs.log_analytics.splitting import QueryUnfinished

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


@dataclass(frozen=True, slots=True)
class Check:
    """A question with one or more findings; it is not tried when one of its `prerequisites` has failed."""

    name: str
    evaluate: Callable[[], Iterator[Finding]]
    prerequisites: tuple[str, ...] = ()


def run_checks(
    checks: Iterable[Check], on_start: Callable[[str], object] = lambda _: None
) -> Iterator[Finding]:
    """The findings, one after the other; `began` hears of each check before it is tried."""
    failed: dict[str, str] = {}  # and what failed first of all, for its sake
    for check in checks:
        failed_prerequisite = next((failed[name] for name in check.prerequisites if name in failed), None)
        if failed_prerequisite:
            failed[check.name] = failed_prerequisite
            yield not_tried(check.name, failed_prerequisite)
            continue
        on_start(check.name)
        levels = []
        for finding in run_check(check.name, check.evaluate):
            levels.append(finding.level)
            yield finding
        if levels and set(levels) == {"red"}:
            failed[check.name] = check.name


_REMEDIES: dict[ErrorKind, str] = {
    "configuration": "mend what it names",
    "data": "mend the logs that it names",
    "service": "try again in some minutes; the job does so by itself",
    "bug": "report it",
}


def run_check(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check, and what it breaks off with."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001  # whatever it is: the others have to be tried
        yield error_finding(name, error)


def error_finding(name: str, error: Exception) -> Finding:
    """What an error says, without what a bug's own text may hold."""
    if isinstance(error, QueryUnfinished):
        error = error.failure
    if isinstance(error, QueryRefused) and error.hint:
        return red(name, error.message, error.hint)
    return red(name, error_sentence(error), _REMEDIES[error_kind(error)])
