"""`rules`, `new-rule` and `test-rules`: list, draft and test rule folders."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from detection.base.errors import ConfigurationError
from detection.cli.options import RowFormatOption
from detection.cli.output import progress, require_writable, write_remark, write_rows, writing
from detection.drafting.draft import make_draft, problem_of, write_draft
from detection.messages.text import escape_control, escape_line, plural
from detection.rules.loading import RULES, RuleStatus, statuses
from detection.ruletests.compare import CaseOutcome
from detection.ruletests.suite import junit as junit_xml
from detection.ruletests.suite import load_suites


def rules(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]",
            help="Folder of rule folders. Defaults to the shipped rules.",
            show_default=False,
        ),
    ] = RULES,
    output_format: RowFormatOption = "table",
) -> None:
    """List the rules and their problems. Exits 2 if any rule is invalid, or if there is none.

    Parses both queries of a rule and binds them to the columns of its connectors' tables, offline.
    """
    rule_statuses = statuses(folder)
    if not rule_statuses:
        raise ConfigurationError(
            f"{folder}: has no rule folders; name the folder that has a folder with a rule.yaml for each rule"
        )
    with progress() as bar:
        rule_statuses = [
            _bound(status, folder) for status in bar.track(rule_statuses, description="binding the queries")
        ]
    write_rows(
        (asdict(status) for status in rule_statuses), list(RuleStatus.__dataclass_fields__), output_format
    )
    if not all(status.valid for status in rule_statuses):
        sys.exit(2)


def _bound(status: RuleStatus, root: Path) -> RuleStatus:
    """The status of a rule folder, with the problem of its queries."""
    problem = status.problem or problem_of(root / status.rule)
    return replace(status, valid=not problem, problem=problem)


def new_rule(
    published_file: Annotated[
        Path, typer.Option("--from", metavar="FILE", help="YAML of a Sentinel rule that joins two tables.")
    ],
    target_folder: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder to write rules/<name>, and connectors/ where needed, to. "
            "Defaults to the folder of the shipped rules.",
            show_default=False,
        ),
    ] = RULES.parent,
) -> None:
    """Draft a rule folder from a published rule. Exits 1 if the draft is not valid yet.

    Prints what could not be drafted and needs a review.
    """
    rule_draft = make_draft(published_file, target_folder)
    folder = write_draft(rule_draft, target_folder)
    print(f"{folder}: {', '.join(sorted(path.rpartition('/')[2] for path in rule_draft.files))}")
    for remark in rule_draft.remarks:
        print(f"  review: {escape_line(remark)}")
    if problem := problem_of(folder):
        write_remark(f"not valid yet: {problem}")
        sys.exit(1)
    print(f"valid; to test it: python -m detection test-rules {folder}")


def rule_tests(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]",
            help="Rule folder, or a folder of rule folders. Defaults to the shipped rules.",
            show_default=False,
        ),
    ] = RULES,
    junit_file: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", help="Write the outcomes to this file as JUnit XML, too."),
    ] = None,
) -> None:
    """Run the test cases of rules, offline. Exits 1 if any case fails.

    docs/rules.md describes the test cases.
    """
    if junit_file:
        require_writable(junit_file)
    outcomes: list[CaseOutcome] = []
    for suite in load_suites(folder):
        rule, case_count = suite.rule.folder, len(suite.cases)
        if not case_count:
            write_remark(f"{rule}: has no tests")
            continue
        with progress() as bar:
            suite_outcomes = list(bar.track(suite.outcomes(), total=case_count, description=rule))
        failures = [outcome for outcome in suite_outcomes if outcome.difference]
        for failure in failures:
            print(escape_control(f"FAILED {rule}, {failure.case.file.name}: {failure.case.name}"))
            print("\n".join(map(escape_control, failure.difference)) + "\n")
        print(f"{rule}: {plural(case_count, 'case')}, {len(failures):,} failed")
        outcomes += suite_outcomes
    if junit_file:
        with writing(junit_file):
            junit_file.write_bytes(junit_xml(outcomes))
    failed_count = sum(bool(outcome.difference) for outcome in outcomes)
    print(f"{plural(len(outcomes) - failed_count, 'case')} passed, {failed_count:,} failed")
    if failed_count:
        sys.exit(1)
