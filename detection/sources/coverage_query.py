"""The coverage query is asked beside a reading. Where it fails, the log says why, and detection goes on without it."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from detection.coverage import Coverage, parse_coverage
from detection.errors import DetectionError
from detection.events import Row
from detection.rule import Rule
from detection.sources.halving import QueryUnfinished
from detection.telemetry import log_event


@dataclass(frozen=True, slots=True)
class FailedCoverage:
    """The coverage of a run of `rule` could not be counted. The run goes on without it."""

    rule: str
    reason: str


def query_coverage(read_rows: Callable[[], Iterable[Row]], rule: Rule) -> Coverage | FailedCoverage:
    """The coverage in the rows that `ask` returns, or why there is none. A bug passes through."""
    try:
        return parse_coverage(read_rows(), rule)
    except (DetectionError, QueryUnfinished) as error:
        return FailedCoverage(rule.folder, str(error))


def log_failed_coverage(result: Coverage | FailedCoverage | None) -> Coverage | None:
    """The coverage, if there is one; a failure is logged. For the thread of the invocation: Azure drops the lines of
    all others.
    """
    if isinstance(result, FailedCoverage):
        log_event(logging.WARNING, "detection.coverage", asdict(result))
        return None
    return result
