"""`rules`: the rule folders, valid or what is wrong with them."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from detection.base.errors import ConfigurationError
from detection.cli.options import RowFormat
from detection.cli.output import progress, write_remark, write_rows
from detection.drafting.draft import make_draft, problem_of, write_draft
from detection.messages.text import escape_line, plural
from detection.rules.loading import RULES, RuleStatus, statuses
from detection.ruletests.compare import CaseOutcome
from detection.ruletests.suite import Suite, load_suites
from detection.ruletests.suite import junit as junit_xml


def rules(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]",
            help="A folder of rule folders; the shipped ones if not given.",
            show_default=False,
        ),
    ] = RULES,
    output_format: Annotated[
        RowFormat, typer.Option("--format", help="A JSON object is a line.")
    ] = RowFormat.table,
) -> None:
    """List the rules; exit code 2 if one of them is not valid."""
    rule_statuses = statuses(folder)
    write_rows(
        (asdict(status) for status in rule_statuses), list(RuleStatus.__dataclass_fields__), output_format
    )
    if not all(status.valid for status in rule_statuses):
        sys.exit(2)


def new_rule(
    published_file: Annotated[
        Path, typer.Option("--from", metavar="FILE", help="A Sentinel rule's YAML that joins two sources.")
    ],
    target_folder: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Gets rules/<name>, and connectors/ if need be; the shipped ones' folder if not given.",
            show_default=False,
        ),
    ] = RULES.parent,
) -> None:
    """Draft a rule folder from a published rule, and say what could not be drafted; exit code 1 if it is not valid yet."""
    rule_draft = make_draft(published_file, target_folder)
    folder = write_draft(rule_draft, target_folder)
    print(f"{folder}: {', '.join(sorted(path.rpartition('/')[2] for path in rule_draft.files))}")
    for remark in rule_draft.remarks:
        print(f"  to look at: {escape_line(remark)}")
    if problem := problem_of(folder):
        write_remark(f"not valid yet: {problem}")
        sys.exit(1)
    print("valid; see what it finds: python -m detection test-rules " + str(folder))


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
