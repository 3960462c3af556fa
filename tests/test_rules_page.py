"""docs/rules.md: the rule that its tutorial writes is valid, and passes its tests as it says."""

import re
import shlex
from pathlib import Path

import pytest

from detection.cli.main import app
from detection.rules.model import EventSequence, RuleFile, Side
from detection.ruletests.cases import EVENT_KEYS, CaseDefinition, CaseFile, ExpectedAlert, ExpectedIncident
from tests.cli.test_main import run

PAGE = (Path(__file__).parents[1] / "docs" / "rules.md").read_text(encoding="utf-8")
TUTORIAL, REFERENCE = PAGE.split("## Rule tests\n")
BLOCK = re.compile(r"```(?:kql|yaml)\n(?://|#) (\S+)\n(.*?)```", re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the tutorial's reader has in the end."""
    for name, text in BLOCK.findall(TUTORIAL):
        path = tmp_path / "openai-guard-off" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "openai-guard-off"


def test_tutorial_writes_every_file_of_a_rule(folder: Path) -> None:
    written = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert written == ["changes.kql", "rule.yaml", "signals.kql", "tests/first.yaml"]


def test_rule_of_the_tutorial_is_valid(folder: Path) -> None:
    result = run("rules", folder.parent, "--format", "json")
    assert [rule["problem"] for rule in result.objects] == [""]


def test_tests_of_the_tutorial_pass_as_it_says(folder: Path) -> None:
    result = run("test-rules", folder)
    assert (result.code, result.err) == (0, "")
    assert all(line in TUTORIAL for line in result.out.splitlines())


def test_failure_looks_as_the_tutorial_says(folder: Path) -> None:
    rule = folder / "rule.yaml"
    rule.write_text(
        rule.read_text(encoding="utf-8").replace("within: PT2H", "within: PT3H"), encoding="utf-8"
    )
    result = run("test-rules", folder)
    assert result.code == 1
    expected_lines = [
        line.partition(", …}")[0]
        for line in re.findall(r"```\n(FAILED .*?)```", TUTORIAL, re.DOTALL)[0].splitlines()
    ]
    assert [line for line in expected_lines if line not in result.out] == []


def test_every_key_of_a_test_is_in_the_reference() -> None:
    models = (CaseFile, CaseDefinition, ExpectedAlert, ExpectedIncident)
    keys = {name for model in models for name in model.model_fields} | {
        *EVENT_KEYS,
        "each",
        "from",
        "skip",
        "every",
    }
    assert {key for key in keys if not re.search(rf"[`{{ ]{key}[`:]", REFERENCE)} == set()


@pytest.mark.parametrize("model", [RuleFile, EventSequence, Side])
def test_every_key_of_a_rule_is_in_the_reference(model: type[RuleFile | EventSequence | Side]) -> None:
    keys = [field.alias or name for name, field in model.model_fields.items()]
    assert [key for key in keys if not re.search(rf"`(\w+\.)?{key}\b", REFERENCE)] == []


def test_every_command_of_the_page_is_one() -> None:
    commands = {
        command.name or (command.callback.__name__ if command.callback else "")
        for command in app.registered_commands
    }
    used = {shlex.split(line)[3] for line in re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)}
    assert {name.replace("_", "-") for name in used} <= {name.replace("_", "-") for name in commands}
