"""Runs the coverage query next to a reading. If it fails, the failure is logged and detection goes on without
it.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from detection.base.errors import DetectionError
from detection.base.log_event import log_event
from detection.logs.coverage import Coverage, parse_coverage
from detection.logs.events import Row
from detection.logs.log_analytics.splitting import QueryUnfinished
from detection.rules.model import Rule


@dataclass(frozen=True, slots=True)
class FailedCoverage:
    """The coverage of a run of `rule` could not be counted. The run goes on without it."""

    rule: str
    reason: str


def query_coverage(read_rows: Callable[[], Iterable[Row]], rule: Rule) -> Coverage | FailedCoverage:
    """The coverage in the rows that `read_rows` returns, or the reason why it could not be counted.

    Any error but DetectionError and QueryUnfinished is a bug and is raised.
    """
    try:
        return parse_coverage(read_rows(), rule)
    except (DetectionError, QueryUnfinished) as error:
        return FailedCoverage(rule.folder, str(error))


def log_failed_coverage(result: Coverage | FailedCoverage | None) -> Coverage | None:
    """Returns the coverage; logs a failure and returns None.

    Call it on the thread of the invocation: Azure drops the log lines of all other threads.
    """
    if isinstance(result, FailedCoverage):
        log_event(logging.WARNING, "detection.coverage", asdict(result))
        return None
    return result
