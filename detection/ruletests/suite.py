"""The line: rule folders → test files → cases → rows → readings → outcomes."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from detection.errors import ConfigurationError
from detection.events import Logs
from detection.rule import Rule, load_rule, rule_names
from detection.ruletests.cases import Case, read_cases
from detection.ruletests.judge import Answers, Outcome, outcome, questions
from detection.ruletests.lanes import Arrival, Lanes, Reading
from detection.ruletests.objects import ApiObject, objects_of, rows_of
from detection.window import Windows


@dataclass(frozen=True, slots=True)
class Suite:
    """The test cases of one rule."""

    rule: Rule
    kinds: dict[str, ApiObject]
    cases: list[Case]

    def outcomes(self) -> Iterator[Outcome]:
        """Every case, judged. Raises ConfigurationError where the rule's KQL cannot run, or a row is none."""
        rule = self.rule
        readings = [
            Reading(_label(case), windows) for case in self.cases for windows in questions(case, rule)
        ]
        answers: dict[str, dict[Windows, Logs]] = defaultdict(dict)
        for (label, windows), logs in Lanes(rule, self._arrivals()).read(readings):
            answers[label][windows] = logs
        for case in self.cases:
            yield outcome(case, rule, Answers(answers[_label(case)]))

    def _arrivals(self) -> Iterator[Arrival]:
        seen = [(case, one) for case in self.cases for one in case.seen]
        rows = rows_of([one for _, one in seen], self.kinds, self.rule)
        for (case, one), row in zip(seen, rows, strict=True):
            yield Arrival(_label(case), self.kinds[one.kind].table, row, one.received)


def suites(folder: Path) -> list[Suite]:
    """The tests of a rule folder, or of every rule in a folder of them; a rule without any has an empty suite.

    Raises ConfigurationError naming file, case and key, and where there are no tests at all.
    """
    root, names = (
        (folder.parent, [folder.name]) if (folder / "rule.yaml").is_file() else (folder, rule_names(folder))
    )
    found = [_suite(root, name) for name in names]
    if not any(one.cases for one in found):
        what = "a rule" if not names else "tests/*.yaml"
        raise ConfigurationError(f"{folder}: there is nothing to test, for it has not {what}")
    return found


def _suite(root: Path, name: str) -> Suite:
    folder = (root / name).resolve()
    rule = load_rule(folder.name, folder.parent)
    kinds = objects_of(rule, folder)
    files = sorted((root / name / "tests").glob("*.yaml"))
    return Suite(rule, kinds, [case for file in files for case in read_cases(file, rule, kinds)])


def _label(case: Case) -> str:
    return f"{case.file}: case {case.name!r}"
