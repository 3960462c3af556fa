"""`test-rules`: the test cases of the rule folders, through the rules' own KQL."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from detection.base.errors import ConfigurationError
from detection.cli.output import progress, write_remark
from detection.messages.text import plural
from detection.rules.model import RULES
from detection.ruletests.compare import CaseOutcome
from detection.ruletests.junit import junit as junit_xml
from detection.ruletests.suite import Suite, load_suites


def rule_tests(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]",
            help="A rule folder, or a folder of them; the shipped rules if not given.",
            show_default=False,
        ),
    ] = RULES,
    junit_file: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", help="Write the outcomes there as JUnit XML too."),
    ] = None,
) -> None:
    """Run the rules' test cases, offline; exit code 1 if one fails. docs/rules.md says how to write them."""
    outcomes = [outcome for suite in load_suites(folder) for outcome in _run_suite(suite)]
    if junit_file:
        try:
            junit_file.write_bytes(junit_xml(outcomes))
        except OSError as error:
            raise ConfigurationError(f"{junit_file} cannot be written to: {error.strerror}") from error
    failed_count = sum(bool(outcome.difference) for outcome in outcomes)
    print(f"{plural(len(outcomes) - failed_count, 'case')} passed, {failed_count:,} failed")
    if failed_count:
        sys.exit(1)


def _run_suite(suite: Suite) -> list[CaseOutcome]:
    """The outcomes of one rule, those that failed shown."""
    rule, case_count = suite.rule.folder, len(suite.cases)
    if not case_count:
        write_remark(f"{rule}: has no tests")
        return []
    with progress() as bar:
        outcomes = list(bar.track(suite.outcomes(), total=case_count, description=rule))
    for outcome in (outcome for outcome in outcomes if outcome.difference):
        print(
            "\n".join((f"FAILED {rule}, {outcome.case.file.name}: {outcome.case.name}", *outcome.difference))
            + "\n"
        )
    print(
        f"{rule}: {plural(case_count, 'case')}, {sum(bool(outcome.difference) for outcome in outcomes):,} failed"
    )
    return outcomes
