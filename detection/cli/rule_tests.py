"""`test-rules`: the test cases of the rule folders, through the rules' own KQL."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from detection.cli.output import progress, say
from detection.errors import ConfigurationError
from detection.messages.text import many
from detection.rule import RULES
from detection.ruletests.judge import Outcome
from detection.ruletests.junit import junit as as_junit
from detection.ruletests.suite import Suite, suites


def rule_tests(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]",
            help="A rule folder, or a folder of them; the shipped rules if not given.",
            show_default=False,
        ),
    ] = RULES,
    junit: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", help="Write the outcomes there as JUnit XML too."),
    ] = None,
) -> None:
    """Run the rules' test cases, offline; exit code 1 if one fails. docs/rules.md says how to write them."""
    outcomes = [outcome for suite in suites(folder) for outcome in _outcomes(suite)]
    if junit:
        try:
            junit.write_bytes(as_junit(outcomes))
        except OSError as error:
            raise ConfigurationError(f"{junit} cannot be written to: {error.strerror}") from error
    failed = sum(bool(one.difference) for one in outcomes)
    print(f"{many(len(outcomes) - failed, 'case')} passed, {failed:,} failed")
    if failed:
        sys.exit(1)


def _outcomes(suite: Suite) -> list[Outcome]:
    """The outcomes of one rule, those that failed shown."""
    rule, number = suite.rule.folder, len(suite.cases)
    if not number:
        say(f"{rule}: has no tests")
        return []
    with progress() as bar:
        outcomes = list(bar.track(suite.outcomes(), total=number, description=rule))
    for one in (one for one in outcomes if one.difference):
        print("\n".join((f"FAILED {rule}, {one.case.file.name}: {one.case.name}", *one.difference)) + "\n")
    print(f"{rule}: {many(number, 'case')}, {sum(bool(one.difference) for one in outcomes):,} failed")
    return outcomes
