"""Outcomes as JUnit's XML, which build servers read (llg.cubic.org/docs/junit describes what they agree on)."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from detection.ruletests.compare import CaseOutcome


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
