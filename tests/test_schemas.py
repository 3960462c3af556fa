"""docs/schemas: as the code generates them, true of what the commands print, and of nothing else."""

import json
from collections.abc import Callable
from functools import reduce
from operator import getitem
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from detection.cli.output import write_json_line
from detection.logs.kql import queries
from detection.rules.loading import default_rule, load_rule, statuses
from tests.regenerate import GOLDEN, MESSAGES, SCHEMAS, schema_files
from tests.support.schemas import DIALECT

MATCH, ALERT, NATIVE = "match.openai-config-to-abuse", "alert", "native"
PRINTED = {
    MATCH: "matches.default.jsonl",
    "match.openai-config-to-abuse-sentinel": "matches.sentinel.jsonl",
    ALERT: "replay.jsonl",
}

Json = dict[str, Any]


def test_files_are_what_the_code_generates() -> None:
    files = {path.name: path.read_bytes() for path in SCHEMAS.iterdir()}
    assert files == schema_files(), "run `make schemas`"


@pytest.mark.parametrize("name", schema_files())
def test_schema_is_a_valid_schema(name: str) -> None:
    schema = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    assert schema["$schema"] == DIALECT
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", PRINTED)
def test_golden_output_validates(name: str) -> None:
    assert [problem for line in _printed(name) for problem in _problems(name, line)] == []


@pytest.mark.parametrize("name", PRINTED)
def test_properties_are_in_the_order_they_are_printed(name: str) -> None:
    properties = list(_schema(name)["properties"])
    assert all(list(line) == properties for line in _printed(name))


def test_alert_validates_without_pairs_too() -> None:
    alert = _printed(ALERT)[0]
    del alert["pairs"]
    assert _problems(ALERT, alert) == []


def test_rules_line_validates(capsys: pytest.CaptureFixture[str]) -> None:
    for status in statuses():
        write_json_line(status)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) >= 2
    assert [problem for line in lines for problem in _problems("rule", line)] == []


def test_query_object_validates() -> None:
    assert _problems("query", dict(queries(load_rule(default_rule())))) == []


def test_native_message_validates() -> None:
    assert _problems(NATIVE, _message()) == []


@pytest.mark.parametrize(
    "place", [(), ("data",), ("data", "rule"), ("data", "incident"), ("data", "last_pair")]
)
def test_native_message_has_no_other_keys(place: tuple[str, ...]) -> None:
    message = _message()
    reduce(getitem, place, message)["color"] = "red"
    assert _problems(NATIVE, message)


def _without(name: str) -> Callable[[Json], None]:
    def spoil(line: Json) -> None:
        del line[name]

    return spoil


def _with(**values: object) -> Callable[[Json], None]:
    def spoil(line: Json) -> None:
        line.update(values)

    return spoil


@pytest.mark.parametrize(
    "name, spoil",
    [
        pytest.param(MATCH, _without("ConfigTime"), id="match without a column"),
        pytest.param(MATCH, _without("Beyond"), id="match without Beyond"),
        pytest.param(MATCH, _with(Color="red"), id="match with another column"),
        pytest.param(MATCH, _with(ConfigTime="2026-06-09T14:00:00+00:00"), id="time without Z"),
        pytest.param(MATCH, _with(ConfigTime="2026-06-09T14:00:00.5Z"), id="time with a short fraction"),
        pytest.param(MATCH, _with(ActorEmail=None), id="text that is null"),
        pytest.param(MATCH, _with(Beyond="api_key_actor"), id="Beyond that is no list"),
        pytest.param(ALERT, _without("incident"), id="alert without an incident"),
        pytest.param(ALERT, _with(action="closed"), id="alert of another action"),
        pytest.param(ALERT, _with(counts={"changes": 1, "signals": 1}), id="alert that counts no pairs"),
        pytest.param(
            ALERT, _with(pairs=[{"ConfigTime": "2026-06-09T14:00:00Z"}]), id="alert with half a pair"
        ),
        pytest.param(ALERT, _with(pairs=[]), id="alert with an empty list of pairs"),
        pytest.param(ALERT, _with(color="red"), id="alert with another key"),
    ],
)
def test_wrong_line_does_not_validate(name: str, spoil: Callable[[Json], None]) -> None:
    line = _printed(name)[0]
    spoil(line)
    assert _problems(name, line)


def _schema(name: str) -> Json:
    schema: Json = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return schema


def _printed(name: str) -> list[Json]:
    return [json.loads(line) for line in (GOLDEN / PRINTED[name]).read_text(encoding="utf-8").splitlines()]


def _message() -> Json:
    message: Json = json.loads((MESSAGES / "native.json").read_text(encoding="utf-8"))
    return message


def _problems(name: str, line: Json) -> list[str]:
    return [error.message for error in Draft202012Validator(_schema(name)).iter_errors(line)]
