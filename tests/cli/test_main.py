"""The command line from its arguments to output and exit codes."""

import csv
import gc
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from detection.base.timestamps import parse_duration, parse_moment, parse_time
from detection.cli.main import main
from detection.cli.output import write_rows
from detection.rules.loading import RULES
from tests.support.receiver import receiving, status

ROOT = Path(__file__).parents[2]
SENTINEL = "openai-config-to-abuse-sentinel"
PUBLISHED = [
    "ConfigTime",
    "ConfigEvent",
    "ActorEmail",
    "ConfigIp",
    "AbuseTime",
    "ModelName",
    "EventFinishReasons",
    "EventRequestId",
]
COLUMNS = [*PUBLISHED, "ConfigId", "AbuseId", "Beyond"]
ALERT = [
    "alert",
    "incident",
    "action",
    "rule",
    "time",
    "key",
    "actor",
    "severity",
    "first_pair",
    "last_pair",
    "counts",
    "change_kinds",
    "signal_kinds",
    "entities",
    "windows",
    "flood_until",
    "new_addresses",
    "severity_raised",
    "matched_by",
    "changed_objects",
    "raised_by",
]

Json = dict[str, Any]
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # rich colours errors in CI even without a terminal


@dataclass(frozen=True)
class CommandResult:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Json]:
        """Stdout as JSON, an object per line."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(*arguments: object) -> CommandResult:
    """Runs a command in this process."""
    out, err, code = io.StringIO(newline=""), io.StringIO(newline=""), 0
    threshold = gc.get_threshold()
    with (
        patch.object(sys, "argv", ["detection", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            gc.set_threshold(*threshold)
    return CommandResult(code, out.getvalue(), err.getvalue())


def run_process(*arguments: object) -> CommandResult:
    """Runs a command in a new process."""
    completed = subprocess.run(
        [sys.executable, "-m", "detection", *map(str, arguments)],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
        timeout=300,
    )
    return CommandResult(completed.returncode, completed.stdout, completed.stderr)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Alice makes two changes, Bob one with an API key; Alice's third signal arrives at 13:20."""
    folder = tmp_path_factory.mktemp("logs")
    changes = [
        _change("a1", "10:00:00", "api_key.created", "alice"),
        _change("a2", "10:10:00.5", "role.assignment.created", "alice"),
        _change("b1", "10:05:00", "project.created", "bob", ActorSession=None),
        "no JSON",
    ]
    signals = [
        _signal("s1", "10:30:00", ["content_filter"], "alice"),
        _signal("s2", "11:30:00", ["length"], "alice"),
        _signal("s3", "12:10:00", None, "alice", _ingested="2026-06-08T13:20:00Z"),
        _signal("t1", "10:40:00", [""], "bob"),
    ]
    (folder / "OpenAIAuditLogs_CL.jsonl").write_text("".join(line + "\n" for line in changes))
    (folder / "ASimAgentEventLogs.jsonl").write_text("".join(line + "\n" for line in signals))
    return folder


def _change(ident: str, clock: str, event: str, name: str, **columns: object) -> str:
    user = {"user": {"email": f"{name}@example.com"}}
    return json.dumps(
        {
            "TimeGenerated": f"2026-06-08T{clock}Z",
            "Id": ident,
            "EventType": event,
            "EffectiveAt": f"2026-06-08T{clock}Z",
            "ActorApiKey": user,
            "ActorSession": {**user, "ip_address": "203.0.113.7"},
            "EventDetails": {},
            "TenantId": "t",
        }
        | columns
    )


def _signal(ident: str, clock: str, reasons: object, name: str, **columns: object) -> str:
    return json.dumps(
        {
            "TimeGenerated": f"2026-06-08T{clock}Z",
            "EventStartTime": f"2026-06-08T{clock}Z",
            "EventVendor": "OpenAI",
            "EventProduct": "OpenAI API Platform",
            "EventType": "ChatCompletion",
            "EventUid": ident,
            "EventRequestId": f"req_{ident}",
            "EventFinishReasons": reasons,
            "ModelName": "gpt-4o",
            "AdditionalFields": {"input_user": f"{name}@example.com"},
        }
        | columns
    )


# ---------------------------------------------------------------------------------------------------- matches


@pytest.fixture(scope="module")
def matches(logs: Path) -> CommandResult:
    return run_process("matches", "--logs", logs, "--at", "2026-06-08T12:00:00Z", "--format", "json")


@pytest.fixture(scope="module")
def later_matches(logs: Path) -> CommandResult:
    return run("matches", "--logs", logs, "--at", "2026-06-08T16:00:00+02:00", "--format", "json")


@pytest.fixture(scope="module")
def published(logs: Path) -> CommandResult:
    return run(
        "matches", "--logs", logs, "--at", "2026-06-08T12:00:00Z", "--rule", SENTINEL, "--format", "json"
    )


def test_matches_are_objects_the_newest_change_first(matches: CommandResult) -> None:
    pairs = [(row["ConfigId"], row["AbuseId"]) for row in matches.objects]
    assert pairs == [("a2", "s2"), ("a2", "s1"), ("b1", "t1"), ("a1", "s2"), ("a1", "s1")]
    assert matches.code == 0


def test_matches_of_the_default_rule_have_its_keys_in_order(matches: CommandResult) -> None:
    assert {tuple(row) for row in matches.objects} == {tuple(COLUMNS)}


def test_matches_of_the_published_rule_have_its_keys_in_order(published: CommandResult) -> None:
    assert {tuple(row) for row in published.objects} == {tuple(PUBLISHED)}
    assert len(published.objects) == 4


def test_match_has_the_documented_fields(matches: CommandResult) -> None:
    assert matches.objects[-1] == {
        "ConfigTime": "2026-06-08T10:00:00Z",
        "ConfigEvent": "api_key.created",
        "ActorEmail": "alice@example.com",
        "ConfigIp": "203.0.113.7",
        "AbuseTime": "2026-06-08T10:30:00Z",
        "ModelName": "gpt-4o",
        "EventFinishReasons": ["content_filter"],
        "EventRequestId": "req_s1",
        "ConfigId": "a1",
        "AbuseId": "s1",
        "Beyond": [],
    }


def test_time_has_a_fraction_only_when_it_is_not_zero(matches: CommandResult) -> None:
    assert [row["ConfigTime"] for row in matches.objects][1:3] == [
        "2026-06-08T10:10:00.500000Z",
        "2026-06-08T10:05:00Z",
    ]


def test_beyond_has_the_reasons(matches: CommandResult) -> None:
    assert matches.objects[2]["Beyond"] == ["api_key_actor", "finish_reason_missing"]


def test_rows_ingested_later_are_not_read(matches: CommandResult, later_matches: CommandResult) -> None:
    assert "s3" not in {row["AbuseId"] for row in matches.objects}
    assert "s3" in {row["AbuseId"] for row in later_matches.objects}


def test_null_reason_is_null(later_matches: CommandResult) -> None:
    assert [row["EventFinishReasons"] for row in later_matches.objects if row["AbuseId"] == "s3"] == [
        None,
        None,
    ]


def test_remarks_are_on_stderr(matches: CommandResult) -> None:
    assert matches.err.splitlines() == [
        "ignored columns of OpenAIAuditLogs_CL: TenantId",
        "left out: 1 x OpenAIAuditLogs_CL, not a JSON object (first: OpenAIAuditLogs_CL.jsonl:4)",
    ]


def test_csv_has_a_header_and_the_same_rows(logs: Path, matches: CommandResult) -> None:
    result = run("matches", "--logs", logs, "--at", "2026-06-08T12:00:00Z", "--format", "csv")
    header, *rows = csv.reader(io.StringIO(result.out))
    assert header == COLUMNS
    assert [row[:6] for row in rows] == [list(row.values())[:6] for row in matches.objects]
    assert [json.loads(row[6]) for row in rows] == [row["EventFinishReasons"] for row in matches.objects]


def test_table_is_the_default_and_its_rows_are_counted(logs: Path) -> None:
    result = run("matches", "--logs", logs, "--at", "2026-06-08T12:00:00Z")
    assert result.code == 0
    assert "ConfigTime" in result.out
    assert result.err.splitlines()[-1] == "5 rows"


def test_no_rows_are_a_success(logs: Path) -> None:
    result = run("matches", "--logs", logs, "--at", "2026-07-08T12:00:00Z", "--format", "json")
    assert (result.code, result.out) == (0, "")


# ----------------------------------------------------------------------------------------------------- replay


@pytest.fixture(scope="module")
def replay(logs: Path) -> Callable[..., CommandResult]:
    def begin(*options: str) -> CommandResult:
        span = ("--from", "2026-06-08T11:00:00Z", "--to", "2026-06-08T14:00:00Z", "--format", "json")
        return run("replay", "--logs", logs, *span, *options)

    return begin


@pytest.fixture(scope="module")
def alerts(replay: Callable[..., CommandResult]) -> CommandResult:
    return replay("--pairs")


@pytest.fixture(scope="module")
def skipped(replay: Callable[..., CommandResult]) -> CommandResult:
    return replay("--skip", "2026-06-08T11:00:00Z,2026-06-08T14:00:00+02:00")


def test_replay_prints_an_alert_a_line(alerts: CommandResult) -> None:
    assert [
        (alert["time"], alert["actor"], alert["action"], alert["counts"]["pairs"]) for alert in alerts.objects
    ] == [
        ("2026-06-08T11:00:00Z", "alice@example.com", "opened", 2),
        ("2026-06-08T11:00:00Z", "bob@example.com", "opened", 1),
        ("2026-06-08T12:00:00Z", "alice@example.com", "updated", 2),
        ("2026-06-08T14:00:00Z", "alice@example.com", "updated", 2),
    ]
    assert alerts.code == 0


def test_alert_has_its_keys_in_order(alerts: CommandResult, skipped: CommandResult) -> None:
    assert {tuple(alert) for alert in skipped.objects} == {tuple(ALERT)}
    assert {tuple(alert) for alert in alerts.objects} == {(*ALERT, "pairs")}


def test_alert_has_the_documented_fields(alerts: CommandResult) -> None:
    alert = alerts.objects[0]
    assert alert["rule"] == "openai-config-to-abuse"
    assert alert["key"] == {"Account": "alice@example.com"}
    assert alert["severity"] == "High"
    assert alert["counts"] == {"changes": 2, "signals": 1, "pairs": 2}
    assert alert["change_kinds"] == {"api_key.created": 1, "role.assignment.created": 1}
    assert alert["signal_kinds"] == {"content_filter": 1}
    assert alert["windows"] == {
        "changes": {"after": "2026-06-06T11:00:00Z", "until": "2026-06-08T11:00:00Z"},
        "signals": {"after": "2026-06-07T11:00:00Z", "until": "2026-06-08T11:00:00Z"},
        "gap": None,
    }
    assert alert["entities"] == [
        {"type": "Account", "Name": "alice@example.com"},
        {"type": "IP", "Address": "203.0.113.7"},
        {"type": "CloudApplication", "Name": "gpt-4o"},
    ]


def test_pairs_are_rows_as_matches_prints_them(alerts: CommandResult, matches: CommandResult) -> None:
    pairs = [pair for alert in alerts.objects[:3] for pair in alert["pairs"]]
    assert sorted(map(json.dumps, pairs)) == sorted(map(json.dumps, matches.objects))


def test_first_and_last_pair_are_among_the_pairs(alerts: CommandResult) -> None:
    for alert in alerts.objects:
        assert alert["first_pair"] in alert["pairs"]
        assert alert["last_pair"] in alert["pairs"]


def test_alerts_of_one_incident_share_its_id_and_have_their_own(alerts: CommandResult) -> None:
    assert len({alert["alert"] for alert in alerts.objects}) == 4
    assert len({alert["incident"] for alert in alerts.objects if alert["actor"] == "alice@example.com"}) == 1


def test_pairs_of_skipped_runs_come_with_the_next(skipped: CommandResult) -> None:
    assert [
        (alert["time"], alert["actor"], alert["action"], alert["counts"]["pairs"])
        for alert in skipped.objects
    ] == [
        ("2026-06-08T13:00:00Z", "alice@example.com", "opened", 4),
        ("2026-06-08T13:00:00Z", "bob@example.com", "opened", 1),
        ("2026-06-08T14:00:00Z", "alice@example.com", "updated", 2),
    ]


def test_runs_are_counted_on_stderr(alerts: CommandResult, skipped: CommandResult) -> None:
    assert alerts.err.splitlines()[-1] == "4 runs"
    assert skipped.err.splitlines()[-1] == "2 runs"


def test_last_run_is_at_or_before_the_end(replay: Callable[..., CommandResult]) -> None:
    result = replay("--every", "PT2H")
    assert [alert["time"][11:13] for alert in result.objects] == ["11", "11", "13"]
    assert result.err.splitlines()[-1] == "2 runs"


def test_replay_of_the_published_rule_alerts_its_pairs(replay: Callable[..., CommandResult]) -> None:
    result = replay("--rule", SENTINEL, "--pairs")
    assert {alert["rule"] for alert in result.objects} == {SENTINEL}
    assert sum(alert["counts"]["pairs"] for alert in result.objects) == 4
    assert {tuple(pair) for alert in result.objects for pair in alert["pairs"]} == {tuple(PUBLISHED)}


def test_replay_prints_alerts_as_text(logs: Path) -> None:
    result = run("replay", "--logs", logs, "--from", "2026-06-08T12:00:00Z", "--to", "2026-06-08T12:00:00Z")
    assert "bob@example.com created a project, then returned no finish reason within 35 min" in result.out


# -------------------------------------------------------------------------------------------- query and rules


@pytest.mark.parametrize("rule", ["openai-config-to-abuse", SENTINEL])
def test_query_prints_the_kql_of_a_run(rule: str) -> None:
    result = run("query", "--rule", rule, "--at", "2026-06-08T14:00:00+02:00")
    assert (result.code, result.err) == (0, "")
    assert [line for line in result.out.splitlines() if line in {"// changes", "// signals", "// health"}]
    assert result.out.count("let signals_after = datetime(2026-06-07T12:00:00Z);") == 4


def test_query_of_the_published_rule_reads_a_day_on_both_sides() -> None:
    result = run("query", "--rule", SENTINEL, "--at", "2026-06-08T12:00:00Z")
    assert "let changes_after = datetime(2026-06-07T12:00:00Z);" in result.out


def test_query_without_a_time_is_for_now() -> None:
    result = run("query", "--format", "json")
    (texts,) = result.objects
    assert list(texts) == ["changes", "signals", "health", "coverage"]
    assert all(text.startswith("let changes_after = datetime(2") for text in texts.values())


def test_rules_lists_every_rule_and_marks_the_default() -> None:
    result = run("rules", "--format", "json")
    assert result.code == 0
    assert [list(rule) for rule in result.objects] == [
        ["rule", "valid", "default", "name", "severity", "problem"]
    ] * len(result.objects)
    assert {rule["rule"]: rule["default"] for rule in result.objects} == {
        "copilot-config-to-abuse": False,
        "openai-config-to-abuse": True,
        SENTINEL: False,
    }


# ------------------------------------------------------------------------------------------------------- demo


@dataclass(frozen=True)
class Demo:
    """A finished demo and its logs."""

    result: CommandResult
    folder: Path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo") / "new" / "logs"
    return Demo(run_process("demo", "--out", folder), folder)


def test_demo_succeeds_and_prints_alerts_as_text(demo: Demo) -> None:
    assert demo.result.code == 0
    assert "HIGH  alice@example.com created API key key_" in demo.result.out


@pytest.mark.parametrize(
    "begin, text",
    [
        ("runs", "48 hourly"),
        ("last run, changes", "naming an actor"),
        ("last run, signals", "naming an actor"),
        ("alerted", "1,591 pairs in 42 alerts"),
        ("already alerted", "times a run read a pair alerted before"),
        ("incidents", ""),
        ("suppressed: silenced", "30 pairs of silenced actors"),
        ("suppressed: re-stamped", "1 pair that"),
        ("suppressed: too late", "1 row older"),
        ("suppressed: in future", "0 rows later"),
        ("left out: signals, no actor", "first: ASimAgentEventLogs.jsonl:"),
        (f"The published rule ({SENTINEL})", ""),
        ("  returned", "for pairs that it had returned before"),
        ("  missed", "missed 10 pairs alerted here, and returned 31 pairs not alerted here"),
    ],
)
def test_demo_sums_up(begin: str, text: str, demo: Demo) -> None:
    lines = [line for line in demo.result.out.splitlines() if line.startswith(begin)]
    assert len(lines) == 1
    assert text in lines[0]


def test_demo_has_a_storm_a_flood_and_an_address_that_is_new(demo: Demo) -> None:
    assert "ALERT STORM  24 alerts in one run, sent as one digest" in demo.result.out
    assert "High volume: this alert covers everything of this actor" in demo.result.out
    assert "hit the content filter 130 times; address new for this actor" in demo.result.out


def test_demo_names_a_few_alerts_of_the_storm_and_counts_the_others(demo: Demo) -> None:
    _, storm = demo.result.out.split("ALERT STORM", 1)
    _, *titles, remainder = storm.split("\n\n")[0].splitlines()
    assert (len(titles), remainder) == (5, "  and 19 more alerts; `--serve` shows all")


def test_demo_prints_the_acts_of_its_on_call(demo: Demo) -> None:
    acts = [line for line in demo.result.out.splitlines() if line.startswith("ANN  in_")]
    assert [line.split(" ", 3)[3].partition(":")[0] for line in acts] == [
        "silenced",
        "acknowledged",
        "closed as benign",
    ]


def test_demo_does_not_post_where_the_format_must_be_set(tmp_path: Path) -> None:
    ran = run("demo", "--out", tmp_path, "--webhook", "https://prod-1.westeurope.logic.azure.com/x")
    assert (ran.code, ran.out, "--webhook: this address serves workflows" in ran.err) == (2, "", True)


def test_demo_keeps_the_logs_and_suggests_a_command(demo: Demo) -> None:
    assert {path.name for path in demo.folder.iterdir()} == {
        "OpenAIAuditLogs_CL.jsonl",
        "ASimAgentEventLogs.jsonl",
    }
    assert f"matches --logs {demo.folder} --at 2026-06-10T12:00:00Z" in demo.result.err


def test_suggested_command_of_the_demo_works(demo: Demo) -> None:
    result = run("matches", "--logs", demo.folder, "--at", "2026-06-10T12:00:00Z", "--format", "json")
    assert "alice@example.com" in {row["ActorEmail"] for row in result.objects}


# ------------------------------------------------------------------------------------------------- exit codes


def _at(moment: str) -> tuple[str, ...]:
    return ("matches", "--logs", "{logs}", "--at", moment)


def _replay(*options: str) -> tuple[str, ...]:
    return ("replay", "--logs", "{logs}", "--from", "2026-06-08T11:00:00Z", "--to", *options)


WRONG_USAGE: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown command": (("nonsense",), "nonsense"),
    "unknown option": (("rules", "--color"), "--color"),
    "missing option": (("matches", "--logs", "{logs}"), "--at"),
    "unknown format": ((*_at("2026-06-08T12:00:00Z"), "--format", "xml"), "xml"),
    "naive time": (_at("2026-06-08T12:00:00"), "'2026-06-08T12:00:00' is not a time with a zone"),
    "no time": (_at("noon"), "'noon' is not a time with a zone"),
    "time before all calendars": (_at("0001-01-01T00:00:00Z"), "0001-01-01T00:00:00Z"),
    "time after all calendars": (_at("9999-12-31T23:59:59-05:00"), "9999-12-31T23:59:59-05:00"),
    "unknown rule": (
        (*_at("2026-06-08T12:00:00Z"), "--rule", "nope"),
        "unknown rule 'nope'; there are: copilot-",
    ),
    "rule that climbs out": (("query", "--rule", "../rules/openai-config-to-abuse"), "unknown rule"),
    "unknown rule of query": (("query", "--rule", "nope"), "unknown rule 'nope'"),
    "no such folder": (
        ("matches", "--logs", "nowhere", "--at", "2026-06-08T12:00:00Z"),
        "nowhere: there is no such",
    ),
    "duration without a unit": (_replay("2026-06-08T12:00:00Z", "--every", "1"), "'1' is not a duration"),
    "duration of nothing": (_replay("2026-06-08T12:00:00Z", "--every", "PT0S"), "'PT0S' is not a duration"),
    "naive end": (_replay("2026-06-08T12:00:00"), "is not a time with a zone"),
    "naive skip": (
        _replay("2026-06-08T12:00:00Z", "--skip", "2026-06-08T12:00:00"),
        "is not a time with a zone",
    ),
    "every run skipped": (
        _replay("2026-06-08T11:00:00Z", "--skip", "2026-06-08T11:00:00Z"),
        "--skip names every run",
    ),
    "now and no duration": (_at("now-2"), "'2' is not a duration"),
    "rules of a missing folder": (("rules", "nope"), "nope: has no rule folders"),
    "rules of a folder without rules": (("rules", "{logs}"), "has no rule folders"),
    "report into a missing folder": (
        (
            *("backtest", "--logs", "nowhere", "--from", "2026-06-08", "--to", "2026-06-09"),
            *("--report", "{logs}/none/r.html"),
        ),
        "none/r.html cannot be written to: No such file or directory",
    ),
    "JUnit file that is a folder": (
        ("test-rules", "--junit", "{logs}"),
        "cannot be written to: Is a directory",
    ),
    "port that does not exist": (("incidents", "serve", "--port", "99999"), "65535"),
    "end before the beginning": (_replay("2026-06-08T10:00:00Z"), "is before the start"),
    "demo into a file": (("demo", "--out", "{logs}/ASimAgentEventLogs.jsonl"), "ASimAgentEventLogs.jsonl"),
}


@pytest.mark.parametrize("arguments, message", WRONG_USAGE.values(), ids=WRONG_USAGE)
def test_wrong_usage_exits_2_with_a_sentence_on_stderr(
    arguments: tuple[str, ...], message: str, logs: Path
) -> None:
    result = run(*(argument.format(logs=logs) for argument in arguments))
    assert (result.code, result.out) == (2, "")
    assert message in COLOURS.sub("", result.err)
    assert "Traceback" not in result.err


def test_process_with_an_unknown_rule_exits_2() -> None:
    result = run_process("query", "--rule", "nope")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: unknown rule 'nope'")


@pytest.fixture
def no_parquet(tmp_path: Path) -> Path:
    (tmp_path / "OpenAIAuditLogs_CL.parquet").write_text("no parquet")
    return tmp_path


def test_unreadable_logs_exit_1(no_parquet: Path) -> None:
    result = run("matches", "--logs", no_parquet, "--at", "2026-06-08T12:00:00Z")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(
        f"error: {no_parquet / 'OpenAIAuditLogs_CL.parquet'}: cannot be read as parquet"
    )
    assert len(result.err.splitlines()) == 1


def test_rules_exits_2_for_an_invalid_rule(tmp_path: Path) -> None:
    (tmp_path / "DEFAULT").write_text("broken\n")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "rule.yaml").write_text("id: 1\n")
    result = run("rules", tmp_path, "--format", "json")
    assert result.code == 2
    (status,) = result.objects
    assert (status["rule"], status["valid"], status["default"]) == ("broken", False, True)
    assert "broken/rule.yaml" in status["problem"]


# ---------------------------------------------------------------------------------------------------- the keyboard


@pytest.mark.parametrize("moment", ["2026-06-08", "2026-06-08T00:00:00Z", "2026-06-08T02:00:00+02:00"])
def test_date_is_its_start_in_utc(moment: str) -> None:
    assert "datetime(2026-06-06T00:00:00Z);" in run("query", "--at", moment).out


@pytest.mark.parametrize(
    "text, moment",
    [
        ("now", "2026-06-08T10:00:00Z"),
        ("now-2h", "2026-06-08T08:00:00Z"),
        ("now-1d12h", "2026-06-06T22:00:00Z"),
        ("now+PT30M", "2026-06-08T10:30:00Z"),
    ],
)
def test_time_may_be_relative_to_now(text: str, moment: str) -> None:
    assert parse_moment(text, parse_time("2026-06-08T10:00:00.5Z")) == parse_time(moment)


@pytest.mark.parametrize(
    "text, seconds",
    [("8h", 28_800), ("30m", 1_800), ("2d", 172_800), ("90s", 90), ("1h30m", 5_400), ("PT1H", 3_600)],
)
def test_duration_is_short_or_iso(text: str, seconds: int) -> None:
    assert parse_duration(text).total_seconds() == seconds


def test_port_in_use_is_an_error_with_the_option_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INCIDENT_STORAGE", "UseDevelopmentStorage=true")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = run("incidents", "serve", "--port", port)
    assert result.code == 2
    assert result.err.startswith(
        f"error: port {port} cannot be listened on: Address already in use; choose another"
    )


def test_table_into_a_pipe_has_all_rows_on_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": f"in_{n}", "text": "word " * 60 + "w" * 300} for n in range(70)]
    write_rows(rows, ["id", "text"], "table")
    out, err = capsys.readouterr()
    assert [line.split()[1] for line in out.splitlines() if "in_" in line] == [row["id"] for row in rows]
    assert out.count(rows[0]["text"]) == 70
    assert err == "70 rows\n"


def test_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    result = run("--version")
    assert (result.code, result.out) == (0, f"{project['version']}\n")


def test_shell_can_complete_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (
        ("_DETECTION_COMPLETE", "complete_bash"),
        ("COMP_WORDS", "detection inc"),
        ("COMP_CWORD", "1"),
    ):
        monkeypatch.setenv(name, text)
    assert run_process().out == "incidents\n"


def test_rules_exits_2_for_a_query_that_cannot_run(tmp_path: Path) -> None:
    folder = shutil.copytree(RULES / "copilot-config-to-abuse", tmp_path / "rules" / "copilot")
    query = folder / "changes.kql"
    query.write_text(query.read_text(encoding="utf-8") + "\n| where Nope == 1\n", encoding="utf-8")
    line = len(query.read_text(encoding="utf-8").splitlines())
    result = run("rules", folder.parent, "--format", "json")
    (status,) = result.objects
    assert (result.code, status["valid"]) == (2, False)
    assert status["problem"] == f"{query}: line {line}: there is no column Nope"


def test_rules_exits_2_for_a_folder_without_rule_yaml_next_to_rules(tmp_path: Path) -> None:
    name = "copilot-config-to-abuse"
    shutil.copytree(RULES / name, tmp_path / name)
    (tmp_path / name / "rule.yaml").rename(tmp_path / name / "rule.yml")
    shutil.copytree(RULES / name, tmp_path / "other")
    result = run("rules", tmp_path, "--format", "json")
    assert result.code == 2
    assert {status["rule"]: status["problem"] for status in result.objects} == {
        "other": "",
        name: f"{tmp_path / name}: has no rule.yaml",
    }


def test_demo_whose_alerts_cannot_be_posted_exits_1() -> None:
    with receiving() as receiver:
        receiver.default_answer = status(410)
        result = run_process("demo", "--webhook", receiver.url)
    assert result.code == 1
    assert "not sent: " in result.err
