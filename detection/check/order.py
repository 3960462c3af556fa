"""Checks one after the other. One that fails stops no other, but for those that cannot be tried without it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from detection.check.failing import tried
from detection.check.finding import Finding, not_tried


@dataclass(frozen=True, slots=True)
class Check:
    """A question with one or more findings; it is not tried when one of those that it `needs` has failed."""

    name: str
    findings: Callable[[], Iterator[Finding]]
    needs: tuple[str, ...] = ()


def run(planned: Iterable[Check], began: Callable[[str], object] = lambda _: None) -> Iterator[Finding]:
    """The findings, one after the other; `began` hears of each check before it is tried."""
    failed: dict[str, str] = {}  # and what failed first of all, for its sake
    for check in planned:
        because = next((failed[name] for name in check.needs if name in failed), None)
        if because:
            failed[check.name] = because
            yield not_tried(check.name, because)
            continue
        began(check.name)
        levels = []
        for finding in tried(check.name, check.findings):
            levels.append(finding.level)
            yield finding
        if levels and set(levels) == {"red"}:
            failed[check.name] = check.name
