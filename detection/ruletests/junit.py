"""Outcomes as JUnit's XML, which build servers read (llg.cubic.org/docs/junit describes what they agree on)."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from detection.ruletests.judge import Outcome


def junit(outcomes: Sequence[Outcome]) -> bytes:
    """A suite for each test file, a case for each case; a failure's text is the difference."""
    root = Element("testsuites")
    by_file: dict[Path, list[Outcome]] = {}
    for one in outcomes:
        by_file.setdefault(one.case.file, []).append(one)
    for file, some in by_file.items():
        _suite(root, file, some)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _suite(root: Element, file: Path, outcomes: Sequence[Outcome]) -> None:
    rule = file.parents[1].name
    failures = sum(bool(one.difference) for one in outcomes)
    counts = {"tests": str(len(outcomes)), "failures": str(failures), "errors": "0", "skipped": "0"}
    suite = SubElement(root, "testsuite", {"name": f"{rule}/{file.name}"} | counts)
    for one in outcomes:
        case = SubElement(
            suite, "testcase", {"classname": f"{rule}.{file.stem}", "name": _sound(one.case.name)}
        )
        if one.difference:
            failure = SubElement(case, "failure", {"message": _sound(one.difference[0])})
            failure.text = "\n".join(map(_sound, one.difference))


def _sound(text: str) -> str:
    """XML knows no control characters, not even escaped."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
