"""`check`: whether everything is in place, and what to do where it is not."""

import os
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from detection.check.checklist import Finding, run_checks
from detection.check.checks import SendMode, all_checks
from detection.check.context import CheckContext
from detection.cli.options import TextFormat, clock
from detection.cli.output import progress, write_findings, write_json_line


def check(
    send: Annotated[
        bool, typer.Option("--send", help="Post a marked test alert to every destination.")
    ] = False,
    canary: Annotated[
        bool,
        typer.Option("--canary", help="Walk the whole line, incident table included, to such an alert."),
    ] = False,
    output_format: Annotated[
        TextFormat, typer.Option("--format", help="json: a finding is a line.")
    ] = TextFormat.text,
) -> None:
    """Look whether everything is in place for the job, part by part; exit code 1 if something is red."""
    send_mode: SendMode = "canary" if canary else "test" if send else "nothing"
    findings: list[Finding] = []
    with progress() as bar:
        task = bar.add_task("", total=None)
        planned_checks = all_checks(CheckContext(os.environ, clock), send_mode)
        for finding in run_checks(planned_checks, lambda name: bar.update(task, description=name)):
            findings.append(finding)
            if output_format is TextFormat.json:
                write_json_line(asdict(finding))
    if output_format is TextFormat.text:
        write_findings(findings)
    if any(finding.level == "red" for finding in findings):
        sys.exit(1)
