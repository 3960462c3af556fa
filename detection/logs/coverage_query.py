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


def count_coverage(read_rows: Callable[[], Iterable[Row]], rule: Rule) -> Coverage | None:
    """The coverage in the rows that `read_rows` returns. Logs a failure and returns None.

    Any error but DetectionError and QueryUnfinished is a bug and is raised. Call it on the thread of the
    invocation: Azure drops the log lines of all other threads.
    """
    try:
        return parse_coverage(read_rows(), rule)
    except (DetectionError, QueryUnfinished) as error:
        failed = FailedCoverage(rule.folder, str(error))
        log_event(logging.WARNING, "detection.coverage", asdict(failed))
        return None
