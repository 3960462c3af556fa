"""Rule tests as data: the shipped cases pass, a broken rule fails them, and a mistake in a file is named."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from detection.base.timestamps import iso
from detection.correlation.detection import detect_at
from detection.logs.files.source import FileSource
from detection.logs.history.calendar_shift import LAST_DATETIME_YEAR, CalendarShift
from detection.rules.loading import RULES, load_rule, rule_names
from detection.ruletests.compare import CaseOutcome
from detection.ruletests.objects import ReceivedObject, complete_fields, objects_of, rows_of
from detection.ruletests.suite import Suite, load_suites
from tests.cli.test_main import run
from tests.support import truth

DEFAULT, SENTINEL = "openai-config-to-abuse", "openai-config-to-abuse-sentinel"
OPENAI = (DEFAULT, SENTINEL)
NOON = datetime(2026, 6, 8, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

Folder = Callable[..., Path]


# ------------------------------------------------------------------------------------------ what ships passes


@pytest.fixture(scope="module")
def shipped() -> dict[str, Suite]:
    return {suite.rule.folder: suite for suite in load_suites(RULES)}


@pytest.mark.parametrize("rule", rule_names())
def test_shipped_cases_pass(shipped: dict[str, Suite], rule: str) -> None:
    assert [line for outcome in shipped[rule].outcomes() for line in _failure_lines(outcome)] == []


def _failure_lines(outcome: CaseOutcome) -> list[str]:
    return (
        [f"{outcome.case.file.name}: {outcome.case.name}", *outcome.difference] if outcome.difference else []
    )


@pytest.mark.parametrize("rule", OPENAI)
def test_there_are_many_cases(shipped: dict[str, Suite], rule: str) -> None:
    assert len(shipped[rule].cases) >= 60


@pytest.mark.parametrize("rule", OPENAI)
def test_every_documented_event_type_has_its_case(rule: str) -> None:
    listed, unlisted, *_ = _parameter_values(RULES / rule / "tests" / "event_types.yaml", "type")
    assert (listed, unlisted) == ([*truth.LISTED], [*truth.UNLISTED])


@pytest.mark.parametrize("rule", OPENAI)
def test_every_spelling_of_the_truth_table_has_its_case(rule: str) -> None:
    _, _, matched, unmatched = _parameter_values(RULES / rule / "tests" / "event_types.yaml", "type")
    assert dict.fromkeys(matched, True) | dict.fromkeys(unmatched, False) == truth.SPELLINGS


@pytest.mark.parametrize("rule", OPENAI)
def test_every_finish_reason_of_the_truth_table_has_its_case(rule: str) -> None:
    written = _parameter_values(RULES / rule / "tests" / "finish_reasons.yaml", "reasons")
    tested_values = {json.dumps(value) for values in written for value in values}
    lines = {*truth.PUBLISHED_REASONS, *truth.REASON_KINDS} - {"(absent)"}
    assert {json.dumps(json.loads(line)) for line in lines} - tested_values == set()


def _parameter_values(path: Path, name: str) -> Iterator[list[Any]]:
    """The values that a file's cases stand for, case by case."""
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))["cases"]:
        parameters = case.get("each", {})
        if isinstance(parameters, dict) and name in parameters:
            yield parameters[name]
        elif isinstance(parameters, list) and name in parameters[0]:
            yield [parameter_row[name] for parameter_row in parameters]


# --------------------------------------------------------------------------------- a broken rule is found out


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A copy of a rule's folder that has one test file, of these cases."""

    def make(*cases: object, rule: str = DEFAULT, **file_fields: object) -> Path:
        copy = tmp_path / "rules" / rule
        shutil.copytree(RULES / rule, copy, ignore=shutil.ignore_patterns("tests"), dirs_exist_ok=True)
        (copy / "tests").mkdir(exist_ok=True)
        text = yaml.safe_dump(file_fields | {"cases": list(cases)}, sort_keys=False)
        (copy / "tests" / "own.yaml").write_text(text, encoding="utf-8")
        return copy

    return make


PAIR: list[dict[str, Any]] = [{"audit_log": {}}, {"completion": {}}]


def test_failing_case_is_shown_with_its_difference_and_its_events(folder: Folder) -> None:
    case = {"name": "a pair", "events": PAIR, "rows": [{"ActorEmail": "bob@example.com"}], "alerts": 2}
    ran = run("test-rules", folder(case))
    assert ran.code == 1
    assert ran.out.splitlines() == [
        f"FAILED {DEFAULT}, own.yaml: a pair",
        "rows: expected 1, got 1",
        "  - {ActorEmail: bob@example.com}",
        "  + {ActorEmail: ann@example.com}",
        "alerts: expected 2, got 1",
        *(line for line in ran.out.splitlines() if "change_kinds" in line or line == "  - {}"),
        "events that the rule's queries returned at 2026-06-08T12:00:00Z:",
        "  2026-06-08T09:00:00Z api_key.created ann@example.com audit_log-1",
        "  2026-06-08T10:00:00Z content_filter ann@example.com chatcmpl-2",
        "",
        f"{DEFAULT}: 1 case, 1 failed",
        "0 cases passed, 1 failed",
    ]


@pytest.mark.parametrize(
    "events, remark",
    [
        ([{"audit_log": {}}, {"completion": {}, "at": "PT1S", "arrives": "PT0S"}], ", in the future"),
        ([{"audit_log": {}}, {"completion": {}, "at": "-P4D", "arrives": "PT0S"}], ", too late"),
        ([], "  none"),
    ],
)
def test_failing_case_says_why_an_event_was_left_out(folder: Folder, events: object, remark: str) -> None:
    ran = run("test-rules", folder({"name": "a pair", "events": events, "rows": 1}))
    assert any(line.endswith(remark) for line in ran.out.splitlines())


@pytest.mark.parametrize(
    "query, old, new, tests",
    [
        ("signals.kql", '"length"', '"lenght"', "finish_reasons"),
        ("changes.kql", "> changes_after and", "> changes_after + 1h and", "times"),
        ("changes.kql", "KeyEmail)", "SessionEmail)", "actors"),
        ("signals.kql", "isnull(EventStartTime)", "true", "times"),
    ],
    ids=["term", "bound", "actor", "time"],
)
def test_rule_that_is_broken_fails_its_shipped_cases(
    tmp_path: Path, query: str, old: str, new: str, tests: str
) -> None:
    copy = tmp_path / "rules" / DEFAULT
    shutil.copytree(RULES / DEFAULT, copy, ignore=shutil.ignore_patterns("tests"))
    (copy / "tests").mkdir()
    shutil.copy(RULES / DEFAULT / "tests" / f"{tests}.yaml", copy / "tests")
    path = copy / query
    assert old in path.read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert run("test-rules", copy).code == 1


def test_kql_that_cannot_run_is_an_error_and_not_a_failed_case(folder: Folder) -> None:
    copy = folder({"name": "a pair", "events": PAIR, "rows": 1})
    (copy / "changes.kql").write_text("OpenAIAuditLogs | where Tpye == 1", encoding="utf-8")
    ran = run("test-rules", copy)
    assert ran.code == 2
    assert "the rule's query reads a column that is not there" in ran.err


# --------------------------------------------------------------------------------------------------- in lanes


def test_cases_that_are_read_together_find_the_same_as_alone(
    shipped: dict[str, Suite], tmp_path: Path
) -> None:
    suite = shipped[DEFAULT]
    sample = [case for case in suite.cases if case.rows is not None and not case.needs_runs][::60]
    combined = Suite(suite.rule, suite.kinds, sample)
    for number, case in enumerate(sample):
        logs = tmp_path / str(number)
        logs.mkdir()
        rows = rows_of(case.objects, suite.kinds, suite.rule)
        for name in suite.rule.tables:
            lines = [
                json.dumps({**row, "_ingested": iso(received_object.received)})
                for received_object, row in zip(case.objects, rows, strict=True)
                if suite.kinds[received_object.kind].table == name
            ]
            (logs / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        rows_alone = list(detect_at(suite.rule, case.now, FileSource(logs, suite.rule.tables)).rows())
        assert len(rows_alone) == len(case.rows or ())
    assert [line for outcome in combined.outcomes() for line in _failure_lines(outcome)] == []


@pytest.mark.parametrize(
    "years, short", [({2026}, 3), ({2000, 2027}, 3), ({2040}, 3), ({2099}, 1), ({2001, 2090}, 1), (set(), 4)]
)
def test_lanes_have_one_calendar_and_are_distinguished(years: set[int], short: int) -> None:
    calendar = CalendarShift.for_years(years)
    assert calendar.lanes_per_cycle == short
    for lane in range(calendar.lane_count):
        for year in years:
            later = year + calendar.offset_years(lane)
            assert later <= LAST_DATETIME_YEAR
            assert calendar.lane_of(later) == lane
            assert _days(later) == _days(year)


def _days(year: int) -> list[tuple[int, int]]:
    """The weekdays of a year, and its leap day."""
    begin = datetime(year, 1, 1, tzinfo=UTC)
    end = datetime(year, 12, 31, tzinfo=UTC)
    return [(begin.weekday(), (end - begin).days), (end.weekday(), 0)]


def test_cases_do_not_see_each_other(folder: Folder) -> None:
    change, signal = PAIR
    cases = [
        {"name": "the change only", "events": [change], "rows": 0, "alerts": 0},
        {"name": "the signal only", "events": [signal], "rows": 0, "alerts": 0},
        {"name": "both", "events": PAIR, "rows": 1, "alerts": 1, "incidents": 1},
        {
            "name": "both, in another year",
            "now": "2031-01-01T00:00:00Z",
            "events": PAIR,
            "rows": [{"ConfigTime": "-PT3H"}],
        },
    ]
    assert run("test-rules", folder(*cases)).code == 0


def test_signal_of_one_case_is_not_returned_for_the_change_of_another(folder: Folder) -> None:
    change, signal = PAIR
    cases = [
        {"name": "the change only", "events": [change], "rows": 0},
        {"name": "the signal only", "events": [signal], "rows": 1},
    ]
    assert "  none" in run("test-rules", folder(*cases)).out.splitlines()


# ----------------------------------------------------------------------------- objects of the API become rows


def connector_row(
    kind: str, fields: dict[str, Any], time: datetime = NOON, late: timedelta = timedelta(0)
) -> dict[str, Any]:
    """The row that the OpenAI connector writes for an object."""
    rule = load_rule(DEFAULT)
    kinds = objects_of(rule, RULES / DEFAULT)
    received_object = ReceivedObject(
        kind, complete_fields(kinds[kind], fields, 1, time, time), {}, time + late
    )
    (row,) = rows_of([received_object], kinds, rule)
    return row


def test_audit_log_becomes_the_row_that_the_connector_writes() -> None:
    # An example of openapi.yaml, and the row by the transformation of the connector's solution 3.1.1.
    actor = {
        "type": "api_key",
        "session": None,
        "api_key": {"type": "user", "user": {"id": "user-xxx", "email": "user@example.com"}},
    }
    details = {"id": "proj_abc"}
    row = connector_row(
        "audit_log",
        {
            "id": "audit_log-xxx",
            "type": "project.archived",
            "effective_at": 1722461446,
            "actor": actor,
            "project.archived": details,
        },
        datetime(2024, 7, 31, 21, 31, tzinfo=UTC),
    )
    assert row == {
        "TimeGenerated": "2024-07-31T21:30:46Z",
        "Id": "audit_log-xxx",
        "EventType": "project.archived",
        "EffectiveAt": "2024-07-31T21:30:46Z",
        "ActorType": "api_key",
        "ActorApiKey": actor["api_key"],
        "ActorSession": None,
        "Project": None,
        "EventDetails": details,
        "ConnectorName": "example-org",
    }


def test_completion_becomes_the_row_that_the_connector_writes() -> None:
    row = connector_row("completion", {"input_user": None, "tool_choice": "auto", "metadata": {"team": "a"}})
    assert {
        name: row[name] for name in ("EventVendor", "EventProduct", "EventType", "ModelName", "ToolName")
    } == {
        "EventVendor": "OpenAI",
        "EventProduct": "OpenAI API Platform",
        "EventType": "ChatCompletion",
        "ModelName": "gpt-4o-2024-08-06",
        "ToolName": "auto",
    }
    assert row["TimeGenerated"] == row["EventStartTime"] == row["EventEndTime"] == iso(NOON)
    assert row["AdditionalFields"]["input_user"] == ""
    assert row["AdditionalFields"]["metadata"] == {"team": "a"}
    assert (row["InputTokensUsed"], row["OutputTokensUsed"]) == (7, 16)


@pytest.mark.parametrize(
    "choices, written",
    [([{"finish_reason": "stop"}], ["stop"]), ([{"finish_reason": None}], [""]), ([], [""])],
)
def test_finish_reasons_are_a_list_of_the_first_choice(choices: object, written: object) -> None:
    assert connector_row("completion", {"choices": choices})["EventFinishReasons"] == written


@pytest.mark.parametrize(
    "late, stamped",
    [
        (48 * HOUR, NOON),
        (48 * HOUR + timedelta(seconds=1), NOON + 48 * HOUR + timedelta(seconds=1)),
        (-24 * HOUR, NOON),
        (-25 * HOUR, NOON - 25 * HOUR),
    ],
    ids=["two days late", "later", "a day ahead", "further ahead"],
)
def test_row_is_stamped_with_its_arrival_where_log_analytics_does(late: timedelta, stamped: datetime) -> None:
    row = connector_row("completion", {}, late=late)
    assert (row["TimeGenerated"], row["EventStartTime"]) == (iso(stamped), iso(NOON))


# -------------------------------------------------------------------------------------------- what is refused

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unlisted type": (
        {"events": [{"audit_log": {"type": "scim.enabld"}}], "rows": 0},
        "audit_log_list_params.py; scim.enabled is similar; correct it, or set `unlisted: true` in the case",
    ),
    "unlisted type in a row": (
        {"events": [{"audit_log": {}, "row": {"EventType": "role.creatd"}}]},
        "events.0.audit_log: EventType: 'role.creatd' is not in openai 3.54.0",
    ),
    "unlisted type of a table": (
        {"events": [{"OpenAIAuditLogs_CL": {"EventType": "role.creatd"}}]},
        "events.0.OpenAIAuditLogs_CL: EventType: 'role.creatd' is not in openai 3.54.0",
    ),
    "unlisted finish reason": (
        {"events": [{"completion": {"choices": [{"finish_reason": "stop"}, {"finish_reason": "lenght"}]}}]},
        "choices.finish_reason: 'lenght' is not in openai 3.54.0, types/chat/chat_completion.py; length is",
    ),
    "unknown key": ({"row": 1}, "row: Extra inputs"),
    "no name": ({"name": ""}, "name: "),
    "no expectation": ({"rows": None}, "the case expects nothing; add rows, alerts or incidents"),
    "unknown object": ({"events": [{"audit": {}}]}, "events.0.audit: an event has one of "),
    "two objects": ({"events": [{"audit_log": {}, "completion": {}}]}, "events.0.audit_log, completion: "),
    "unknown field": (
        {"events": [*PAIR, {"completion": {"user": "ann"}}]},
        "events.2.completion: user: there is no such field",
    ),
    "unknown details": (
        {"events": [{"audit_log": {"role.created": {}}}]},
        "events.0.audit_log: role.created: there is no such field",
    ),
    "field of another type": (
        {"events": [{"completion": {"model": 4}}]},
        "events.0.completion: model: must be text",
    ),
    "unknown column of a row": (
        {"events": [{"completion": {}, "row": {"Model": "x"}}]},
        "events.0.row.Model: there is no such column; ASimAgentEventLogs has TimeGenerated",
    ),
    "invalid time": ({"events": [{"completion": {}, "at": "yesterday"}]}, "events.0.completion: "),
    "time without a zone": (
        {"events": [{"completion": {}, "at": "2026-06-08T10:00:00"}]},
        "events.0.completion: write a time with a zone",
    ),
    "time in another century": (
        {"events": [{"completion": {}, "at": "1999-06-08T10:00:00Z"}]},
        "the year must be between 2000 and 2099",
    ),
    "unknown column": (
        {"rows": [{"Actor": "ann"}]},
        "rows.0.Actor: there is no such column; the rule returns ConfigTime",
    ),
    "unknown key of an alert": ({"alerts": [{"pair": 1}]}, "alerts.0.pair: "),
    "unknown key of an incident": ({"incidents": [{"id": "x"}]}, "incidents.0.id: "),
    "unknown key of runs": ({"runs": {"from": "-PT1H", "until": "PT0S"}}, "runs.until: "),
    "runs that end before they begin": ({"runs": {"from": "PT1H"}}, "there is no run"),
    "yes as a number": ({"rows": True}, "rows: "),
    "number below zero": ({"alerts": -1}, "alerts: "),
    "object that is a word": (
        {"events": [{"audit_log": "x"}]},
        "events.0.audit_log: must be a mapping of names to values",
    ),
    "row that is a list": (
        {"events": [{"audit_log": {}, "row": []}]},
        "events.0.audit_log: must be a mapping of names to values",
    ),
    "invalid each": ({"each": "x"}, "each: Extra inputs"),
    "value of another type in a row": (
        {"events": [{"completion": {}, "row": {"EventCount": "many"}}]},
        "a row of ASimAgentEventLogs is invalid; correct its event: EventCount: not of type INTEGER",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistake_is_refused_by_file_case_and_key(folder: Folder, mistake: str) -> None:
    edit, message = WRONG[mistake]
    ran = run(
        "test-rules",
        folder(
            {"name": "first", "events": PAIR, "rows": 1}, {"name": "second", "events": PAIR, "rows": 1} | edit
        ),
    )
    assert ran.code == 2
    assert f"own.yaml: case {edit.get('name', 'second')!r}: " in ran.err
    assert message in ran.err


def test_unknown_key_of_a_file_is_refused(folder: Folder) -> None:
    ran = run("test-rules", folder({"name": "first", "events": PAIR, "rows": 1}, abuot="x"))
    assert (ran.code, "own.yaml: abuot: Extra inputs" in ran.err) == (2, True)


def test_two_cases_of_one_name_are_refused(folder: Folder) -> None:
    case = {"name": "a pair of {who}", "each": {"whom": [1, 2]}, "events": PAIR, "rows": 1}
    assert "two cases are named 'a pair of {who}'" in run("test-rules", folder(case)).err


def test_values_of_each_are_kept_as_they_are(folder: Folder) -> None:
    case = {
        "name": "{reasons} are {rows} rows",
        "each": [{"reasons": [], "rows": 1}, {"reasons": ["stop"], "rows": 0}],
        "events": [PAIR[0], {"completion": {}, "row": {"EventFinishReasons": "{reasons}"}}],
        "rows": "{rows}",
    }
    (suite,) = load_suites(folder(case))
    assert [(loaded_case.name, len(loaded_case.rows or ())) for loaded_case in suite.cases] == [
        ("[] are 1 rows", 1),
        ('["stop"] are 0 rows', 0),
    ]
    assert [outcome.difference for outcome in suite.outcomes()] == [[], []]


def test_shape_is_completed_by_its_event(folder: Folder) -> None:
    shapes = {
        "cut": {"completion": {"model": "gpt-5", "choices": [{"finish_reason": "length"}]}, "at": "-PT1H"}
    }
    case = {
        "name": "a pair",
        "events": [PAIR[0], {"cut": {"input_user": "ANN@example.com"}}],
        "rows": [{"AbuseTime": "-PT1H", "ModelName": "gpt-5", "EventFinishReasons": ["length"]}],
    }
    assert run("test-rules", folder(case, shapes=shapes)).code == 0


def test_shape_may_have_the_name_of_its_object(folder: Folder) -> None:
    shapes = {"completion": {"completion": {"model": "gpt-5"}}}
    case = {"name": "a pair", "events": PAIR, "rows": [{"ModelName": "gpt-5"}]}
    assert run("test-rules", folder(case, shapes=shapes)).code == 0


def test_shape_of_a_shape_is_refused(folder: Folder) -> None:
    shapes: dict[str, Any] = {"one": {"two": {}}, "two": {"one": {}}}
    ran = run("test-rules", folder({"name": "a pair", "events": [{"one": {}}], "rows": 0}, shapes=shapes))
    assert (ran.code, "shapes.one.two: an event has one of " in ran.err) == (2, True)


# ------------------------------------------------------------------------------------------------ the command


def test_command_tests_a_folder_of_rules_and_names_those_without_tests(folder: Folder) -> None:
    copy = folder({"name": "a pair", "events": PAIR, "rows": 1})
    shutil.copytree(RULES / SENTINEL, copy.parent / SENTINEL, ignore=shutil.ignore_patterns("tests"))
    ran = run("test-rules", copy.parent)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "1 case passed, 0 failed")
    assert f"{SENTINEL}: has no tests" in ran.err


@pytest.mark.parametrize(
    "make", [lambda path: path / "nowhere", lambda path: path], ids=["no folder", "no rules"]
)
def test_folder_without_rules_is_wrong_usage(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    ran = run("test-rules", make(tmp_path))
    assert (ran.code, "there is nothing to test" in ran.err) == (2, True)


def test_junit_file_counts_the_cases_and_holds_the_difference(folder: Folder, tmp_path: Path) -> None:
    case = {"name": "a \x1b[31mred pair", "events": PAIR, "rows": 2}
    ran = run(
        "test-rules",
        folder(case, {"name": "a pair", "events": PAIR, "rows": 1}),
        "--junit",
        tmp_path / "out.xml",
    )
    root = ET.fromstring((tmp_path / "out.xml").read_bytes())
    (suite,) = root
    assert ran.code == 1
    assert suite.attrib == {
        "name": f"{DEFAULT}/own.yaml",
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
    }
    assert [(test_case.get("name"), len(test_case)) for test_case in suite] == [
        (r"a \u001b[31mred pair", 1),
        ("a pair", 0),
    ]
    failure = suite[0][0]
    assert failure.get("message") == "rows: expected 2, got 1"
    assert "chatcmpl-2" in (failure.text or "")


def test_junit_file_is_xml_whatever_the_files_are_called(folder: Folder, tmp_path: Path) -> None:
    rule_folder = folder({"name": "a pair\ufffe", "events": PAIR, "rows": 1})
    (file,) = (rule_folder / "tests").glob("*.yaml")
    file.rename(file.with_name("o\x1b[31m\udcffwn.yaml"))
    run("test-rules", rule_folder, "--junit", tmp_path / "out.xml")
    (suite,) = ET.fromstring((tmp_path / "out.xml").read_bytes())
    assert (suite.get("name"), suite[0].get("classname"), suite[0].get("name")) == (
        rf"{DEFAULT}/o\u001b[31m\udcffwn.yaml",
        rf"{DEFAULT}.o\u001b[31m\udcffwn",
        r"a pair\ufffe",
    )


def test_junit_file_that_cannot_be_written_is_wrong_usage(folder: Folder, tmp_path: Path) -> None:
    ran = run(
        "test-rules",
        folder({"name": "a pair", "events": PAIR, "rows": 1}),
        "--junit",
        tmp_path / "no" / "out.xml",
    )
    assert (ran.code, "cannot be written to" in ran.err) == (2, True)


def test_vendor_lists_the_types_of_the_truth_table() -> None:
    listed = objects_of(load_rule(DEFAULT), RULES / DEFAULT)["audit_log"].values
    assert {*listed["type"].values} == {*truth.LISTED, *truth.UNLISTED}
    assert listed["EventType"] == listed["type"]
