"""The line: rule folders → test files → cases → rows → readings → outcomes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from detection.base.errors import ConfigurationError
from detection.logs.events import Logs
from detection.logs.window import Windows
from detection.rules.loading import load_rule, rule_names
from detection.rules.model import Rule
from detection.ruletests.cases import Case, read_cases
from detection.ruletests.compare import CaseOutcome, PreparedLogs, compare, needed_windows
from detection.ruletests.isolated_runs import Arrival, CaseRun, IsolatedRuns
from detection.ruletests.objects import ApiObject, objects_of, rows_of


@dataclass(frozen=True, slots=True)
class Suite:
    """The test cases of one rule."""

    rule: Rule
    kinds: dict[str, ApiObject]
    cases: list[Case]

    def outcomes(self) -> Iterator[CaseOutcome]:
        """Every case, judged. Raises ConfigurationError where the rule's KQL cannot run, or a row is none."""
        rule = self.rule
        runs = [
            CaseRun(_case_label(case), windows)
            for case in self.cases
            for windows in needed_windows(case, rule)
        ]
        logs_by_case: dict[str, dict[Windows, Logs]] = defaultdict(dict)
        for (label, windows), logs in IsolatedRuns(rule, self._case_arrivals()).read(runs):
            logs_by_case[label][windows] = logs
        for case in self.cases:
            yield compare(case, rule, PreparedLogs(logs_by_case[_case_label(case)]))

    def _case_arrivals(self) -> Iterator[Arrival]:
        case_objects = [(case, received_object) for case in self.cases for received_object in case.objects]
        rows = rows_of([received_object for _, received_object in case_objects], self.kinds, self.rule)
        for (case, received_object), row in zip(case_objects, rows, strict=True):
            yield Arrival(
                _case_label(case), self.kinds[received_object.kind].table, row, received_object.received
            )


def load_suites(folder: Path) -> list[Suite]:
    """The tests of a rule folder, or of every rule in a folder of them; a rule without any has an empty suite.

    Raises ConfigurationError naming file, case and key, and where there are no tests at all.
    """
    root, names = (
        (folder.parent, [folder.name]) if (folder / "rule.yaml").is_file() else (folder, rule_names(folder))
    )
    rule_suites = [_load_suite(root, name) for name in names]
    if not any(suite.cases for suite in rule_suites):
        missing = "a rule" if not names else "tests/*.yaml"
        raise ConfigurationError(f"{folder}: there is nothing to test, for it has not {missing}")
    return rule_suites


def _load_suite(root: Path, name: str) -> Suite:
    folder = (root / name).resolve()
    rule = load_rule(folder.name, folder.parent)
    kinds = objects_of(rule, folder)
    files = sorted((root / name / "tests").glob("*.yaml"))
    return Suite(rule, kinds, [case for file in files for case in read_cases(file, rule, kinds)])


def _case_label(case: Case) -> str:
    return f"{case.file}: case {case.name!r}"


def junit(outcomes: Sequence[CaseOutcome]) -> bytes:
    """A suite for each test file, a case for each case; a failure's text is the difference."""
    root = Element("testsuites")
    by_file: dict[Path, list[CaseOutcome]] = {}
    for outcome in outcomes:
        by_file.setdefault(outcome.case.file, []).append(outcome)
    for file, file_outcomes in by_file.items():
        _add_suite(root, file, file_outcomes)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _add_suite(root: Element, file: Path, outcomes: Sequence[CaseOutcome]) -> None:
    rule = file.parents[1].name
    failures = sum(bool(outcome.difference) for outcome in outcomes)
    counts = {"tests": str(len(outcomes)), "failures": str(failures), "errors": "0", "skipped": "0"}
    suite = SubElement(root, "testsuite", {"name": f"{rule}/{file.name}"} | counts)
    for outcome in outcomes:
        case = SubElement(
            suite, "testcase", {"classname": f"{rule}.{file.stem}", "name": _printable(outcome.case.name)}
        )
        if outcome.difference:
            failure = SubElement(case, "failure", {"message": _printable(outcome.difference[0])})
            failure.text = "\n".join(map(_printable, outcome.difference))


def _printable(text: str) -> str:
    """XML knows no control characters, not even escaped."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
