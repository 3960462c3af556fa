"""Options that several commands share."""

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from detection.app import Job, open_job
from detection.base.timestamps import parse_duration, parse_moment
from detection.rules.silences import LONGEST_SILENCE
from detection.settings import Settings, misspelt_settings, settings_from
from detection.store.table import MemoryTable

RowFormat = Literal["table", "csv", "json"]
TextFormat = Literal["text", "json"]
ReportFormat = Literal["table", "json"]  # of a result with several tables
LOGS_HELP = "Folder of exported logs: <table>*.jsonl, .csv or .parquet."
LogsFolder = Annotated[Path, typer.Option("--logs", metavar="DIR", help=LOGS_HELP)]
RuleName = Annotated[
    str | None,
    typer.Option(
        "--rule", metavar="NAME", help="Rule folder; `rules` lists them. Defaults to the default rule."
    ),
]
RowFormatOption = Annotated[
    RowFormat, typer.Option("--format", help="Output format; json prints one object per line.")
]
AuthorOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Author, unless the app signs people in. Defaults to the name of your account on this machine.",
    ),
]

DirectOption = Annotated[
    bool,
    typer.Option(
        "--direct",
        help="Write to the incident table instead of asking the app; needs Storage Table Data Contributor.",
    ),
]


def clock() -> datetime:
    """The clock of the command line, in UTC."""
    return datetime.now(UTC)


def moment(text: str) -> datetime:
    """The time that a text at the keyboard means, in UTC. Raises ConfigurationError."""
    return parse_moment(text, clock())


def time_option(name: str, text: str) -> Any:  # noqa: ANN401  # typer has no public type for an option
    """An option for a time."""
    return typer.Option(
        name,
        parser=moment,
        metavar="TIME",
        help=f"{text} (ISO 8601 with a zone, a date in UTC, or now-2h).",
    )


def duration_option(name: str, text: str) -> Any:  # noqa: ANN401  # as above
    """An option for a duration."""
    return typer.Option(name, parser=parse_duration, metavar="8h", help=f"{text} (8h, 30m, 2d or ISO 8601).")


SilenceDuration = Annotated[
    timedelta, duration_option("--for", f"Duration of the silence, at most {LONGEST_SILENCE.days} days")
]
SilenceStart = Annotated[
    datetime | None,
    time_option("--from", "Start of the silence; an earlier time reaches back. Defaults to now"),
]


def environment_settings() -> Settings:
    """The settings of the environment. Writes to stderr which variables are probably misspelt.

    Raises ConfigurationError naming every invalid variable.
    """
    for variable, name in misspelt_settings(os.environ).items():
        print(f"{variable} is not a setting and is ignored; is {name} meant?", file=sys.stderr)
    return settings_from(os.environ)


def environment_job(*, in_memory: bool = False) -> Job:
    """The job that the environment configures. `in_memory` permits it to have no INCIDENT_STORAGE. Writes to
    stderr which of its rules cannot run.

    Raises ConfigurationError naming every invalid variable.
    """
    settings, table = environment_settings(), None
    if in_memory and settings.INCIDENT_STORAGE is None:
        table = MemoryTable()
        print(
            "INCIDENT_STORAGE is not set: incidents are in memory, and the next run sends their alerts again",
            file=sys.stderr,
        )
    job = open_job(settings, clock, table)
    for fault in job.rule_faults:
        print(f"error: {fault.text}", file=sys.stderr)
    return job
