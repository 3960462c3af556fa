"""`check`: the state of every part that the job needs, and a remedy for each fault."""

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
        bool, typer.Option("--send", help="Post an alert that is marked as a test to every destination.")
    ] = False,
    canary: Annotated[
        bool,
        typer.Option(
            "--canary", help="Make and deliver such an alert through every step, incident table included."
        ),
    ] = False,
    output_format: Annotated[
        TextFormat, typer.Option("--format", help="Output format; json prints one finding per line.")
    ] = "text",
) -> None:
    """Check settings, access, log tables, storage and destinations. Exits 1 if any check is red."""
    send_mode: SendMode = "canary" if canary else "test" if send else "nothing"
    findings: list[Finding] = []
    with progress() as bar:
        task = bar.add_task("", total=None)
        planned_checks = all_checks(CheckContext(os.environ, clock), send_mode)
        for finding in run_checks(planned_checks, lambda name: bar.update(task, description=name)):
            findings.append(finding)
            if output_format == "json":
                write_json_line(asdict(finding))
    if output_format == "text":
        write_findings(findings)
    if any(finding.level == "red" for finding in findings):
        sys.exit(1)
