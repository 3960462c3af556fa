"""Checks one after the other. One that fails stops no other, but for those that cannot be tried without it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from detection.check.failing import run_check
from detection.check.finding import Finding, not_tried


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
