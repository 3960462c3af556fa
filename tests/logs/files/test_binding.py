"""The queries of a rule folder are bound to its connectors' tables: errors name the file, its line and the fault."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from detection.base.errors import ConfigurationError
from detection.logs.files.binding import require_queries_bind
from detection.rules.loading import RULES, load_rule, rule_names

NAME = "copilot-config-to-abuse"
TOP = "// A comment before the query.\n\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(RULES / NAME, tmp_path / "rules" / NAME)


def problem_with(folder: Path, file: str, edit: Callable[[str], str]) -> str:
    path = folder / file
    path.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ConfigurationError) as error:
        require_queries_bind(load_rule(NAME, folder.parent), folder)
    return str(error.value).replace(f"{folder}/", "")


@pytest.mark.parametrize("name", rule_names())
def test_shipped_rules_bind(name: str) -> None:
    require_queries_bind(load_rule(name), RULES / name)


@pytest.mark.parametrize("file", ["changes.kql", "signals.kql"])
@pytest.mark.parametrize(
    "operator, fault",
    [
        ("| where Nope == 'x'", "there is no column Nope"),
        ("| wher RecordType == 'x'", "it is not KQL: unexpected |"),
        ("| where nosuch(RecordType) == 1", "the local engine has no function nosuch"),
        ("| where tolower(RecordType, 1) == 'x'", "wrong number of arguments of the function tolower"),
        ("| where RecordType == 'x", "it is not KQL: unexpected 'x"),
        (
            "| where RecordType + TimeGenerated == 1",
            "does not accept operands of the types string and datetime",
        ),
    ],
)
def test_fault_of_an_operator_is_named_with_its_line(
    folder: Path, file: str, operator: str, fault: str
) -> None:
    lines = (folder / file).read_text(encoding="utf-8").splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("|")) + 1
    while place < len(lines) and not lines[place].startswith("|"):
        place += 1
    problem = problem_with(
        folder, file, lambda text: TOP + "\n".join([*lines[:place], operator, *lines[place:]]) + "\n"
    )
    assert problem.startswith(f"{file}: line {place + 3}: ")
    assert fault in problem


def test_unknown_table_is_named(folder: Path) -> None:
    problem = problem_with(
        folder, "changes.kql", lambda text: text.replace("CopilotActivity\n", "CopilotActivty\n")
    )
    assert ": there is no table" in problem
    assert "CopilotActivty" in problem


def test_column_that_the_query_does_not_return_is_named(folder: Path) -> None:
    column = next(iter(load_rule(NAME).sequence.changes.columns))
    problem = problem_with(folder, "changes.kql", lambda text: f"{text}\n| project-away {column}\n")
    assert problem == f"rule.yaml: sequence.changes.columns: changes.kql returns no column {column}"


def test_query_that_ends_too_early_is_named(folder: Path) -> None:
    problem = problem_with(folder, "signals.kql", lambda text: f"{text.rstrip()}\n| where AbuseKind ==\n")
    assert problem.endswith("it is not KQL: the query ends too early")
