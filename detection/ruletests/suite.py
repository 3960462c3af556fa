"""The test suites of rule folders: load their cases, run them, report their outcomes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from detection.base.errors import ConfigurationError
from detection.logs.events import Logs
from detection.logs.window import Windows
from detection.messages.text import escape_control
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
        """The outcomes. Raises ConfigurationError if the rule's KQL cannot run or a case's row is invalid."""
        case_objects = [(case, received_object) for case in self.cases for received_object in case.objects]
        rows = rows_of([received_object for _, received_object in case_objects], self.kinds, self.rule)
        arrivals = [
            Arrival(case.label, self.kinds[received_object.kind].table, row, received_object.received)
            for (case, received_object), row in zip(case_objects, rows, strict=True)
        ]
        runs = [
            CaseRun(case.label, windows) for case in self.cases for windows in needed_windows(case, self.rule)
        ]
        logs_by_case: dict[str, dict[Windows, Logs]] = defaultdict(dict)
        for (label, windows), logs in IsolatedRuns(self.rule, arrivals).read(runs):
            logs_by_case[label][windows] = logs
        for case in self.cases:
            yield compare(case, self.rule, PreparedLogs(logs_by_case[case.label]))


def load_suites(folder: Path) -> list[Suite]:
    """The tests of a rule folder, or of every rule in a folder. A rule without tests has an empty suite.

    Raises ConfigurationError naming the file, the case and the key, and if there are no tests at all.
    """
    is_rule = (folder / "rule.yaml").is_file()
    root, names = (folder.parent, [folder.name]) if is_rule else (folder, rule_names(folder))
    suites = []
    for name in names:
        rule_folder = (root / name).resolve()
        rule = load_rule(rule_folder.name, rule_folder.parent)
        kinds = objects_of(rule, rule_folder)
        files = sorted((root / name / "tests").glob("*.yaml"))
        cases = [case for file in files for case in read_cases(file, rule, kinds)]
        suites.append(Suite(rule, kinds, cases))
    if not any(suite.cases for suite in suites):
        missing = "tests/*.yaml to its rules" if names else "a rule folder"
        raise ConfigurationError(f"{folder}: there is nothing to test; add {missing}")
    return suites


def junit(outcomes: Sequence[CaseOutcome]) -> bytes:
    """JUnit XML with a suite for each test file. The text of a failure is the difference."""
    root = Element("testsuites")
    by_file: dict[Path, list[CaseOutcome]] = defaultdict(list)
    for outcome in outcomes:
        by_file[outcome.case.file].append(outcome)
    for file, file_outcomes in by_file.items():
        # XML cannot contain control characters or lone surrogates, not even escaped as entities.
        rule, file_name = escape_control(file.parents[1].name), escape_control(file.name)
        failures = sum(bool(outcome.difference) for outcome in file_outcomes)
        counts = {"tests": str(len(file_outcomes)), "failures": str(failures), "errors": "0", "skipped": "0"}
        suite = SubElement(root, "testsuite", {"name": f"{rule}/{file_name}"} | counts)
        for outcome in file_outcomes:
            classname = f"{rule}.{file_name.removesuffix(file.suffix)}"
            attributes = {"classname": classname, "name": escape_control(outcome.case.name)}
            case = SubElement(suite, "testcase", attributes)
            if outcome.difference:
                lines = list(map(escape_control, outcome.difference))
                SubElement(case, "failure", {"message": lines[0]}).text = "\n".join(lines)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text
