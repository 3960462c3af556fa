"""Run checks in order. A failed check stops only the checks that depend on it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Literal

from detection.base.errors import ErrorKind, error_kind, error_sentence
from detection.logs.log_analytics.answers import QueryRefused
from detection.logs.log_analytics.splitting import QueryUnfinished

Level = Literal["green", "yellow", "red"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: green is fine, yellow works but needs attention, red does not work.

    `remedy` says what to do; a green finding has none.
    """

    name: str
    level: Level
    message: str
    remedy: str = ""


def green(name: str, message: str) -> Finding:
    return Finding(name, "green", message)


def yellow(name: str, message: str, remedy: str) -> Finding:
    return Finding(name, "yellow", message, remedy)


def red(name: str, message: str, remedy: str) -> Finding:
    return Finding(name, "red", message, remedy)


@dataclass(frozen=True, slots=True)
class Check:
    """A check with one or more findings. It is skipped if one of its `prerequisites` failed."""

    name: str
    evaluate: Callable[[], Iterator[Finding]]
    prerequisites: tuple[str, ...] = ()


def run_checks(
    checks: Iterable[Check],
    on_start: Callable[[str], object] = lambda _: None,
    root_causes: dict[str, str] | None = None,
) -> Iterator[Finding]:
    """Yield the findings of all checks in order; `on_start` receives the name of each check before it runs.

    A check has failed if all its findings are red. An error that ends a check is a red finding. `root_causes`
    has, of each failed check, the check that failed first; it is added to.
    """
    root_causes = {} if root_causes is None else root_causes
    for check in checks:
        root_cause = next((root_causes[name] for name in check.prerequisites if name in root_causes), None)
        if root_cause:
            root_causes[check.name] = root_cause
            yield Finding(check.name, "yellow", f"Not tried because {root_cause} failed.")
            continue
        on_start(check.name)
        levels = set()
        try:
            for finding in check.evaluate():
                levels.add(finding.level)
                yield finding
        except Exception as error:  # noqa: BLE001  # the next checks have to run
            levels.add("red")
            yield error_finding(check.name, error)
        if levels == {"red"}:
            root_causes[check.name] = check.name


@dataclass(slots=True)
class _Group:
    """Checks that run on a thread of their own; only this thread appends to the lists."""

    checks: Sequence[Check]
    root_causes: dict[str, str]
    started: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    ended: Future[None] = field(default_factory=Future)

    def run(self) -> None:
        try:
            for finding in run_checks(self.checks, self.started.append, self.root_causes):
                self.findings.append(finding)
        finally:
            self.ended.set_result(None)


def run_at_once(
    checks_by_service: Mapping[str, Sequence[Check]], root_causes: Mapping[str, str], seconds: float
) -> Iterator[Finding]:
    """Yield the findings of the checks of several services, which are asked at the same time.

    A service that does not answer within `seconds` is a red finding of the check that waits for it, and the
    next checks of this service are not tried. Its thread goes on: nothing ends the search for a host.
    """
    groups = {service: _Group(checks, dict(root_causes)) for service, checks in checks_by_service.items()}
    for service, group in groups.items():
        Thread(target=group.run, name=f"check of {service}", daemon=True).start()
    ended, _ = wait([group.ended for group in groups.values()], seconds)
    for service, group in groups.items():
        yield from list(group.findings)
        if group.ended in ended:
            continue
        name, *untried = [check.name for check in group.checks][max(len(group.started) - 1, 0) :]
        message = f"{service} did not answer within {seconds:g} s."
        yield red(name, message, "Check the service and the network to it. The job retries by itself.")
        yield from (Finding(check, "yellow", f"Not tried because {name} failed.") for check in untried)


@contextmanager
def catch_errors(name: str) -> Iterator[list[Finding]]:
    """Collect findings about one of several subjects. An error becomes a finding; other subjects go on."""
    findings: list[Finding] = []
    try:
        yield findings
    except Exception as error:  # noqa: BLE001  # the next subjects have to be checked
        findings.append(error_finding(name, error))


_REMEDIES: dict[ErrorKind, str] = {
    "configuration": "Correct the setting or file that the message names.",
    "data": "Correct the logs that the message names.",
    "service": "Try again in a few minutes. The job retries by itself.",
    "bug": "Report this bug.",
}


def error_finding(name: str, error: Exception) -> Finding:
    """The red finding for an error. The text of a bug is left out, because it may hold a secret."""
    if isinstance(error, QueryUnfinished):
        error = error.failure
    if isinstance(error, QueryRefused) and error.hint:
        return red(name, error.message, error.hint)
    return red(name, error_sentence(error), _REMEDIES[error_kind(error)])
