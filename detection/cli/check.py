"""`check`: whether everything is in place, and what to do where it is not."""

import os
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from detection.check.bench import Bench
from detection.check.checks import Sending, checks
from detection.check.finding import Finding
from detection.check.order import run
from detection.cli.environment import clock
from detection.cli.options import AlertFormat
from detection.cli.output import json_line, progress, write_findings


def check(
    send: Annotated[
        bool, typer.Option("--send", help="Post a marked test alert to every destination.")
    ] = False,
    canary: Annotated[
        bool,
        typer.Option("--canary", help="Walk the whole line, incident table included, to such an alert."),
    ] = False,
    form: Annotated[
        AlertFormat, typer.Option("--format", help="json: a finding is a line.")
    ] = AlertFormat.text,
) -> None:
    """Look whether everything is in place for the job, part by part; exit code 1 if something is red."""
    sending: Sending = "canary" if canary else "test" if send else "nothing"
    found: list[Finding] = []
    with progress() as bar:
        task = bar.add_task("", total=None)
        planned = checks(Bench(os.environ, clock), sending)
        for finding in run(planned, lambda name: bar.update(task, description=name)):
            found.append(finding)
            if form is AlertFormat.json:
                json_line(asdict(finding))
    if form is AlertFormat.text:
        write_findings(found)
    if any(finding.level == "red" for finding in found):
        sys.exit(1)
