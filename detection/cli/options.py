"""Options that several commands share."""

import os
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from detection.app import Job, open_job
from detection.base.timestamps import parse_duration, parse_time
from detection.settings import settings_from


class RowFormat(StrEnum):
    """How results are printed."""

    table = "table"
    csv = "csv"
    json = "json"


class TextFormat(StrEnum):
    """How alerts are printed."""

    text = "text"
    json = "json"


class ReportFormat(StrEnum):
    """How a result is printed that is more than rows."""

    table = "table"
    json = "json"


LogsFolder = Annotated[
    Path,
    typer.Option("--logs", metavar="DIR", help="Folder of exported logs: <table>*.jsonl, .csv or .parquet."),
]
RuleName = Annotated[
    str | None,
    typer.Option("--rule", metavar="NAME", help="Rule folder, see `rules`; the default rule if not given."),
]


def time_option(name: str, text: str) -> Any:  # noqa: ANN401  # typer has no public type for an option
    """An option that takes a moment with a zone."""
    return typer.Option(name, parser=parse_time, metavar="TIME", help=f"{text} (ISO 8601 with a zone)")


def duration_option(name: str, text: str) -> Any:  # noqa: ANN401  # as above
    """An option that takes a duration."""
    return typer.Option(name, parser=parse_duration, metavar="PT1H", help=f"{text} (ISO 8601 duration)")


def clock() -> datetime:
    """The one clock of the command line."""
    return datetime.now(UTC)


def environment_job() -> Job:
    """The job that the environment describes. Raises ConfigurationError naming every wrong variable."""
    return open_job(settings_from(os.environ), clock)
