"""The alarms' queries: Microsoft's parser accepts them, they name fields that the lines have, and each one fires over the
lines of its fault and over no others.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import duckdb_kql
import pytest
from pydantic import TypeAdapter

from detection.app import open_job, start
from detection.delivery.deliver import UNSET_FORMAT, Outcome, deliver
from detection.logs.coverage import Coverage
from detection.rules.silences import parse_silence
from detection.runs.record import CoveredBySilences
from detection.settings import settings_from
from detection.store.outbox import Delivery, Outbox, list_rule, queue
from detection.store.table import MemoryTable, Put
from detection.telemetry import log_attempt
from tests.infra.lines import (
    DAY,
    HOUR,
    LAST,
    MINUTE,
    NOW,
    LoggedLine,
    complete_run,
    dead_letters,
    failed_delivery,
    failed_run,
    hourly_runs,
    log_lines,
)
from tests.infra.snapshots import NAMES as SETS
from tests.infra.snapshots import Resource, snapshot
from tests.regenerate import LOGS
from tests.support.kusto.analyzer import analyze
from tests.support.receiver import Receiver, receiving, status

ALARMS = Path(__file__).parents[2] / "infra" / "alerts"
NAMES = sorted(path.stem for path in ALARMS.glob("*.kql"))
# Of the table of an Application Insights resource, the columns that a trace is sure to have.
SCHEMA = {"traces": {"timestamp": "datetime", "message": "string", "severityLevel": "int"}}


def alarms(parameters: str) -> dict[str, Resource]:
    """The alarm rules of a parameter set, by the name of the query's file. The compiler reads the files into the template."""
    texts = {query(name): name for name in NAMES}
    rules = snapshot(parameters).of_type("Microsoft.Insights/scheduledQueryRules")
    return {texts[rule["properties"]["criteria"]["allOf"][0]["query"]]: rule for rule in rules}


@cache
def windows() -> dict[str, timedelta]:
    """How far back the service lets each alarm look."""
    read = TypeAdapter(timedelta).validate_python
    return {name: read(rule["properties"]["windowSize"]) for name, rule in alarms("defaults").items()}


def query(name: str) -> str:
    return (ALARMS / f"{name}.kql").read_text(encoding="utf-8")


@cache
def translated(name: str) -> duckdb_kql.TranslationResult:
    """An alarm's query in SQL, at NOW: translating takes longer than answering."""
    return duckdb_kql.to_sql(
        query(name), schema={"traces": ["timestamp", "message"]}, query_now=NOW.replace(tzinfo=None)
    )


def rows(name: str, lines: Iterable[LoggedLine]) -> list[dict[str, Any]]:
    """What an alarm's query returns at NOW over a log of these lines, as far back as the service lets it look."""
    connection = duckdb_kql.connect()
    connection.execute("CREATE TABLE traces (timestamp TIMESTAMP, message VARCHAR)")
    # Lines of others are among them: the host's own, and JSON that is not the job's.
    foreign_lines = [
        LoggedLine(NOW - HOUR, "Executing 'Functions.detect'"),
        LoggedLine(NOW - HOUR, '{"event":"other","rule":7}'),
    ]
    oldest = NOW - windows()[name]
    trace_rows = [
        (line.time.replace(tzinfo=None), line.message)
        for line in [*foreign_lines, *lines]
        if line.time > oldest
    ]
    connection.executemany("INSERT INTO traces VALUES (?, ?)", trace_rows)
    sql = translated(name)
    answer = connection.sql(sql, params=sql.parameters) if sql.parameters else connection.sql(sql)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]


# ----------------------------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize("parameters", SETS)
def test_every_query_is_an_alarm_that_is_switched_on(parameters: str) -> None:
    rules = alarms(parameters)
    assert sorted(rules) == NAMES
    assert [name for name, rule in rules.items() if not rule["properties"]["enabled"]] == []


@pytest.mark.parametrize("parameters", SETS)
def test_every_alarm_looks_at_the_jobs_log_and_tells_the_action_group(parameters: str) -> None:
    evaluated = snapshot(parameters)
    group, log = (
        evaluated.single("Microsoft.Insights/actionGroups"),
        evaluated.single("Microsoft.Insights/components"),
    )
    for rule in alarms(parameters).values():
        (scope,) = rule["properties"]["scopes"]
        assert "telemetry" in scope
        assert "outputs.insightsId" in scope
        assert group["id"] in rule["properties"]["actions"]["actionGroups"]
    assert re.match(r"appi-(sec-)?detection-", log["name"])  # `sec-` in the landing zone


def test_addresses_and_a_further_group_are_told() -> None:
    evaluated = snapshot("several-destinations")
    receivers = evaluated.single("Microsoft.Insights/actionGroups")["properties"]["emailReceivers"]
    assert [receiver["emailAddress"] for receiver in receivers] == ["soc@example.com", "on-call@example.com"]
    groups = [
        rule["properties"]["actions"]["actionGroups"][-1] for rule in alarms("several-destinations").values()
    ]
    assert {group.split("/")[-1] for group in groups} == {"ag-soc"}


@pytest.mark.parametrize("parameters", SETS)
def test_few_executions_are_counted_by_another_way_than_the_log(parameters: str) -> None:
    """Six hours have at least six runs, so fewer than five executions are too few. The sum passes through one to four in
    the last hours of the window after the app has stopped, so the alert also fires if the app then writes no zeros.
    """
    evaluated = snapshot(parameters)
    rule = evaluated.single("Microsoft.Insights/metricAlerts")["properties"]
    (scope,), (criterion,) = rule["scopes"], rule["criteria"]["allOf"]
    assert "'app-" in scope
    assert "outputs.id" in scope
    read = TypeAdapter(timedelta).validate_python
    runs = read(rule["windowSize"]) // HOUR
    assert (criterion["timeAggregation"], criterion["operator"]) == ("Total", "LessThan")
    assert 1 < criterion["threshold"] < runs
    # Deliveries every five minutes: the sum is below the threshold for this long before the window is empty.
    assert (criterion["threshold"] - 1) * 5 * MINUTE > 2 * read(rule["evaluationFrequency"])
    assert rule["enabled"]
    assert rule["actions"][0]["actionGroupId"] == evaluated.single("Microsoft.Insights/actionGroups")["id"]


@pytest.mark.parametrize("parameters", SETS)
def test_alarm_that_does_not_work_is_an_alarm(parameters: str) -> None:
    """Azure reports the health of rules that it evaluates every 15 minutes or more often, and calls others unavailable."""
    evaluated = snapshot(parameters)
    rule = evaluated.single("Microsoft.Insights/activityLogAlerts")["properties"]
    read = TypeAdapter(timedelta).validate_python
    frequent = {
        alarm["id"]
        for alarm in alarms(parameters).values()
        if read(alarm["properties"]["evaluationFrequency"]) <= 15 * MINUTE
    }
    assert set(rule["scopes"]) == frequent
    assert alarms(parameters)["no-complete-run"]["id"] in frequent
    category, statuses = rule["condition"]["allOf"]
    assert (category["field"], category["equals"]) == ("category", "ResourceHealth")
    assert {(status["field"], status["equals"]) for status in statuses["anyOf"]} == {
        ("properties.currentHealthStatus", "Unavailable"),
        ("properties.currentHealthStatus", "Degraded"),
    }
    assert rule["enabled"]
    (group, *_) = rule["actions"]["actionGroups"]
    assert group["actionGroupId"] == evaluated.single("Microsoft.Insights/actionGroups")["id"]


@pytest.mark.parametrize("kind", ["metricAlerts", "activityLogAlerts"])
def test_further_group_is_told_by_every_alarm(kind: str) -> None:
    actions = snapshot("several-destinations").single(f"Microsoft.Insights/{kind}")["properties"]["actions"]
    groups = actions if isinstance(actions, list) else actions["actionGroups"]
    assert [group["actionGroupId"].split("/")[-1].split("-")[0] for group in groups] == ["ag", "ag"]
    assert groups[-1]["actionGroupId"].endswith("/ag-soc")


# ----------------------------------------------------------------------------------------------------- the texts


@pytest.fixture(scope="module")
def diagnostics() -> dict[str, list[str]]:
    analyses = analyze({name: query(name) for name in NAMES}, SCHEMA)
    return {
        name: [str(diagnostic) for diagnostic in analysis.diagnostics] for name, analysis in analyses.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_microsofts_parser_has_nothing_to_say_about(diagnostics: dict[str, list[str]], name: str) -> None:
    assert diagnostics[name] == []


def test_microsofts_parser_finds_a_misspelt_column() -> None:
    (analysis,) = analyze({"": query("gap-or-lag").replace("message", "mesage")}, SCHEMA).values()
    assert analysis.diagnostics


@pytest.mark.parametrize("name", NAMES)
def test_query_keeps_the_limits_of_log_alerts(name: str) -> None:
    """https://learn.microsoft.com/azure/azure-monitor/alerts/alerts-create-log-alert-rule#configure-alert-rule-conditions

    An alert looks back two days at most, and an alert that is evaluated every minute refuses `union`.
    """
    text = re.sub(r"//.*", "", query(name))
    assert re.findall(r"bag_unpack|\bpivot|\bnarrow|AggregatedValue", text) == []
    spans = re.findall(r"\bago\(([^)]*)\)", text)
    assert [span for span in spans if not re.fullmatch(r"\d+[dhm]", span)] == []
    assert windows()[name] <= 2 * DAY
    (rule,) = [rule for alarm, rule in alarms("defaults").items() if alarm == name]
    assert len(json.dumps(rule["properties"])) < 64 * 2**10
    assert rule["properties"]["evaluationFrequency"] != "PT1M"


def paths(text: str) -> set[str]:
    """The fields of a line that a query reads."""
    return set(re.findall(r"\bline((?:\.\w+)+)", text))


def has_field(line: LoggedLine, path: str) -> bool:
    value = json.loads(line.message)
    for name in path.split(".")[1:]:
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True


@pytest.mark.parametrize("name", NAMES)
def test_lines_have_every_field_that_is_read_by(name: str) -> None:
    sample_lines = [complete_run(NOW), failed_run(NOW), failed_delivery(NOW, NOW, NOW), dead_letters(NOW)]
    assert [
        path for path in paths(query(name)) if not any(has_field(line, path) for line in sample_lines)
    ] == []


def test_misspelt_field_is_found() -> None:
    assert not has_field(complete_run(NOW), ".windows.nwo")


# -------------------------------------------------------------------------------------------------------- silence

QUIET = {
    "two days of complete runs": hourly_runs(48),
    "a run failed, the next one completed": [
        *hourly_runs(48)[1:],
        failed_run(LAST - 30 * MINUTE),
        complete_run(LAST),
    ],
    "one run failed": [*hourly_runs(48)[1:], failed_run(LAST)],
    "one run was missed": hourly_runs(48)[1:],
    "the first run of all": [complete_run(LAST, previous_watermark=None)],
    "a message was sent at the second attempt": [
        *hourly_runs(48),
        failed_delivery(LAST, LAST, LAST + MINUTE),
    ],
    "one source is silent": [
        complete_run(line.time, health={"changes": {"newest": None}}) for line in hourly_runs(48)
    ],
    "few rows, none with an actor": [
        *[complete_run(line.time, health={"changes": {"rows": 9, "named": 0}}) for line in hourly_runs(24)],
        *hourly_runs(48)[24:],
    ],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("log", QUIET.values(), ids=QUIET)
def test_silent(name: str, log: list[LoggedLine]) -> None:
    assert rows(name, log) == []


def test_only_a_missing_run_is_an_alarm_in_an_empty_log() -> None:
    assert [name for name in NAMES if rows(name, [])] == ["no-complete-run"]


# --------------------------------------------------------------------------------------------------------- alarms


def test_every_alarm_is_tried_below() -> None:
    tried = set(re.findall(r'rows\("([\w-]+)"', Path(__file__).read_text(encoding="utf-8")))
    assert tried == set(NAMES)


@pytest.mark.parametrize("minutes, alarm_count", [(149, 0), (151, 1), (190, 1)])
def test_no_complete_run_for_two_and_a_half_hours(minutes: int, alarm_count: int) -> None:
    assert len(rows("no-complete-run", [complete_run(NOW - minutes * MINUTE)])) == alarm_count


def test_runs_that_fail_are_not_complete() -> None:
    log = [*hourly_runs(48, until=NOW - 3 * HOUR), *(failed_run(LAST - n * HOUR) for n in range(3))]
    assert len(rows("no-complete-run", log)) == 1


def test_two_failed_runs_in_a_row_name_the_last_reason() -> None:
    log = [
        *hourly_runs(48)[2:],
        failed_run(LAST - HOUR),
        failed_run(LAST, reason="no access", error="configuration"),
    ]
    (row,) = rows("failed-twice", log)
    assert (row["rule"], row["failed"], row["error"], row["reason"]) == (
        "openai-config-to-abuse",
        2,
        "configuration",
        "no access",
    )


def test_two_failed_runs_that_never_completed_are_in_a_row() -> None:
    assert len(rows("failed-twice", [failed_run(LAST - HOUR), failed_run(LAST)])) == 1


def test_rule_that_fails_beside_one_that_completes_is_told() -> None:
    log = [*hourly_runs(48), failed_run(LAST - HOUR, rule="other"), failed_run(LAST, rule="other")]
    assert [row["rule"] for row in rows("failed-twice", log)] == ["other"]


def test_wrong_settings_are_told() -> None:
    log = [*hourly_runs(48)[2:], failed_run(LAST - HOUR, rule=""), failed_run(LAST, rule="")]
    assert [row["rule"] for row in rows("failed-twice", log)] == [""]


def test_settings_that_were_mended_are_not_told() -> None:
    assert (
        rows(
            "failed-twice",
            [failed_run(LAST - 2 * HOUR, rule=""), failed_run(LAST - HOUR, rule=""), complete_run(LAST)],
        )
        == []
    )


class DeadLetterJob:
    """A real job with a message that a real receiver has refused some time ago, and its log of every delivery since."""

    def __init__(self, receiver: Receiver, rule: str, refused: datetime) -> None:
        self.now, self.table, self.receiver = refused, MemoryTable(), receiver
        settings = settings_from({"LOGS_DIR": str(LOGS), "WEBHOOK_URL": receiver.url})
        self.job = open_job(settings, lambda: self.now, self.table)
        message = Delivery("al_1", settings.destinations[0].name, "in_1", 1, b"{}", refused, refused)
        list_rule(self.table, rule)
        self.table.write(rule, [queue(message)])
        receiver.default_answer = status(410)

    def deliveries(self, until: datetime = NOW) -> list[LoggedLine]:
        """The log of an hourly delivery up to a time."""
        lines: list[LoggedLine] = []
        while self.now <= until:
            lines += log_lines(self.now, self.job.deliver_logged)
            self.now += HOUR
        return lines


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.mark.parametrize("days", [0, 1, 2, 3])
@pytest.mark.parametrize("rule", ["openai-config-to-abuse", "a rule that no longer runs"])
def test_dead_letter_is_told_as_long_as_it_is_there(receiver: Receiver, rule: str, days: int) -> None:
    log = DeadLetterJob(receiver, rule, NOW - days * DAY - HOUR).deliveries()
    (row,) = rows("undelivered", [*hourly_runs(48), *log])
    assert (row["outcome"], row["number"]) == ("dead", 1)
    assert "HTTP 410" in row["reason"]
    assert "webhook" in row["destination"]
    assert len(receiver.requests) == 1


def test_dead_letter_is_told_beside_a_message_that_cannot_be_read(receiver: Receiver) -> None:
    job = DeadLetterJob(receiver, "openai-config-to-abuse", NOW - 2 * DAY)
    log = job.deliveries(NOW - HOUR)
    job.table.write("openai-config-to-abuse", [Put("d|webhook|in_2|0000000001", {"id": "damaged"})])
    (row,) = rows("undelivered", [*hourly_runs(48), *log[:1], *job.deliveries()])
    assert (row["outcome"], row["number"]) == ("dead", 1)


def test_dead_letter_that_is_sent_at_last_is_told_no_longer(receiver: Receiver) -> None:
    job = DeadLetterJob(receiver, "openai-config-to-abuse", NOW - 2 * DAY)
    log = job.deliveries(NOW - HOUR)
    receiver.default_answer = status(204)
    assert job.job.requeue() == 1
    last_lines = job.deliveries()
    assert ['"number":0' in line.message for line in last_lines] == [True]
    assert rows("undelivered", [*hourly_runs(48), *log, *last_lines]) == []
    assert log_lines(NOW, job.job.deliver_logged) == []


def test_dead_letter_that_has_expired_is_told_no_longer(receiver: Receiver) -> None:
    job = DeadLetterJob(receiver, "openai-config-to-abuse", NOW - 2 * DAY)
    log = job.deliveries(NOW - HOUR)
    Outbox(job.table, "openai-config-to-abuse").delete_dead_letters(NOW)
    assert rows("undelivered", [*hourly_runs(48), *log, *job.deliveries()]) == []


def test_dead_letter_that_the_keyboard_has_sent_is_told_no_longer(receiver: Receiver) -> None:
    job = DeadLetterJob(receiver, "openai-config-to-abuse", NOW - 2 * DAY)
    log = job.deliveries(NOW - 3 * HOUR)
    receiver.default_answer = status(204)
    job.job.requeue()
    job.job.deliver()
    assert rows("undelivered", [*hourly_runs(48), *log, *job.deliveries()]) == []


def test_message_that_waits_for_more_than_half_an_hour_is_told_once() -> None:
    created = NOW - 2 * HOUR
    log = [failed_delivery(created + n * MINUTE, created, created + 3 * HOUR, attempt=n) for n in (1, 5, 35)]
    assert [(row["destination"], row["number"]) for row in rows("undelivered", log)] == [("soc", 35)]


@pytest.mark.parametrize("minutes, names", [(20, []), (40, ["old"])])
@pytest.mark.parametrize(
    "destinations, reason",
    [
        ({}, "the settings name no such destination"),
        ({"old": UNSET_FORMAT}, "WEBHOOK_FORMAT (in WEBHOOKS: format) is not set"),
    ],
    ids=["no destination", "no format"],
)
def test_message_that_waits_for_a_setting_is_told(
    destinations: dict[str, Outcome], reason: str, minutes: int, names: list[str]
) -> None:
    table, created = MemoryTable(), NOW - minutes * MINUTE
    table.write("rule", [queue(Delivery("al_1_old", "old", "in_1", 1, b"{}", created, created))])

    def attempt_delivery(now: datetime) -> None:
        deliver(Outbox(table, "rule"), destinations, lambda: now, lambda _: None, timedelta(0), log_attempt)

    times = [NOW - 5 * MINUTE, NOW]
    log = [line for time in times for line in log_lines(time, partial(attempt_delivery, time))]
    alarm_rows = rows("undelivered", log)
    assert [row["destination"] for row in alarm_rows] == names
    assert all(reason in row["reason"] for row in alarm_rows)


def test_message_that_was_sent_after_long_is_not_told() -> None:
    log = [failed_delivery(NOW - 3 * HOUR, NOW - 5 * HOUR, NOW - HOUR)]
    assert rows("undelivered", log) == []


def test_open_gap_is_told_by_its_id_until_it_is_read() -> None:
    runs = [complete_run(LAST - n * HOUR, open_gaps=["20260526-0005"]) for n in (1, 2)]
    (row,) = rows("gap-or-lag", runs)
    assert "20260526-0005" in row["gaps"]
    assert rows("gap-or-lag", [*runs, complete_run(LAST)]) == []


def test_run_that_began_four_hours_behind_is_told() -> None:
    (row,) = rows("gap-or-lag", [complete_run(LAST, previous_watermark=LAST - 4 * HOUR)])
    assert row["lag"] == 4 * HOUR


@pytest.mark.parametrize("newest", [None, LAST - 25 * HOUR])
def test_two_silent_sources_are_told(newest: datetime | None) -> None:
    silent = {"changes": {"newest": newest}, "signals": {"newest": newest}}
    assert len(rows("silent-sources", [*hourly_runs(48)[1:], complete_run(LAST, health=silent)])) == 1


@pytest.mark.parametrize("side", ["changes", "signals"])
def test_fallen_coverage_is_told_with_its_side(side: str) -> None:
    fallen = [complete_run(line.time, health={side: {"rows": 100, "named": 20}}) for line in hourly_runs(12)]
    assert [row["side"] for row in rows("coverage-fallen", [*fallen, *hourly_runs(48)[12:]])] == [side]


@pytest.mark.parametrize("matched, sides", [(9, ["identities"]), (10, [])])
def test_runtime_identities_that_the_audit_log_no_longer_knows_are_told(
    matched: int, sides: list[str]
) -> None:
    before = [complete_run(line.time, coverage=_coverage(20, 20)) for line in hourly_runs(48)[12:]]
    fallen = [complete_run(line.time, coverage=_coverage(20, matched)) for line in hourly_runs(12)]
    assert [row["side"] for row in rows("coverage-fallen", [*fallen, *before])] == sides


def test_few_runtime_identities_say_nothing() -> None:
    before = [complete_run(line.time, coverage=_coverage(9, 9)) for line in hourly_runs(48)[12:]]
    fallen = [complete_run(line.time, coverage=_coverage(9, 0)) for line in hourly_runs(12)]
    assert rows("coverage-fallen", [*fallen, *before]) == []


def silenced_run(time: datetime, silenced: int, actors: list[str], alerted: int = 0) -> LoggedLine:
    """The line of a run in which silences covered pairs of these actors."""
    return complete_run(
        time, new_pairs=alerted, covered_by_silences=CoveredBySilences(silenced, actors), pairs=silenced
    )


def test_silences_that_cover_more_pairs_of_several_actors_than_were_alerted_are_told() -> None:
    log = [silenced_run(LAST - HOUR, 2, ["00a1"], alerted=2), silenced_run(LAST, 1, ["00b2"])]
    (row,) = rows("mostly-silenced", log)
    assert (row["rule"], row["silenced"], row["alerted"], row["actors"]) == (
        "openai-config-to-abuse",
        3,
        2,
        2,
    )


@pytest.mark.parametrize(
    "log",
    [
        [silenced_run(LAST - n * HOUR, 5, ["00a1"]) for n in range(3)],
        [silenced_run(LAST, 4, ["00a1", "00b2"]), silenced_run(LAST - HOUR, 0, [], alerted=4)],
        [silenced_run(LAST - 25 * HOUR, 4, ["00a1", "00b2"]), silenced_run(LAST, 0, [])],
    ],
    ids=["one actor in several runs", "as many alerted", "the day before"],
)
def test_other_silenced_pairs_are_not_told(log: list[LoggedLine]) -> None:
    assert rows("mostly-silenced", log) == []


def test_pairs_that_another_rule_alerts_do_not_hide_silenced_ones() -> None:
    log = [silenced_run(LAST, 4, ["00a1", "00b2"]), complete_run(LAST, rule="other", new_pairs=9)]
    assert [row["rule"] for row in rows("mostly-silenced", log)] == ["openai-config-to-abuse"]


def _coverage(identities: int, matched: int) -> Coverage:
    return Coverage(identities, matched, identities, matched, 5)


# ------------------------------------------------------------------------------------------- a real job, with real faults


def raised_alarms(lines: list[LoggedLine]) -> list[str]:
    """The alarms that a log raises."""
    return [name for name in NAMES if rows(name, lines)]


def log_of_runs(environment: dict[str, str], *moments: datetime) -> list[LoggedLine]:
    """The log of one job at several moments, each a run; where it cannot even start, of that."""
    table = MemoryTable()

    def run(now: datetime) -> None:
        storage = {"INCIDENT_STORAGE": "UseDevelopmentStorage=true"}
        replace(start(environment | storage, lambda: now), table=table).detect()

    return [line for moment in moments for line in log_lines(moment, partial(run, moment))]


def test_healthy_job_raises_no_alarm() -> None:
    assert raised_alarms(log_of_runs({"LOGS_DIR": str(LOGS)}, LAST - HOUR, LAST)) == []


def test_job_with_wrong_settings_raises_alarms() -> None:
    log = log_of_runs({"LOGS_DIR": str(LOGS), "MAX_CATCH_UP": "never"}, LAST - 2 * HOUR, LAST - HOUR, LAST)
    assert raised_alarms(log) == ["failed-twice", "no-complete-run"]


def test_job_without_its_logs_raises_alarms(tmp_path: Path) -> None:
    log = log_of_runs({"LOGS_DIR": str(tmp_path / "none")}, LAST - 2 * HOUR, LAST - HOUR, LAST)
    assert raised_alarms(log) == ["failed-twice", "no-complete-run"]


def test_job_after_an_outage_of_twenty_days_raises_an_alarm() -> None:
    log = log_of_runs({"LOGS_DIR": str(LOGS)}, LAST - 20 * DAY, LAST)
    assert raised_alarms(log) == ["gap-or-lag"]


def test_job_whose_logs_have_stopped_raises_an_alarm() -> None:
    late = [replace(line, time=LAST) for line in log_of_runs({"LOGS_DIR": str(LOGS)}, LAST + 20 * DAY)]
    assert raised_alarms(late) == ["silent-sources"]


def test_job_with_a_silence_that_covers_everybody_raises_an_alarm() -> None:
    now = LAST + DAY
    job = open_job(settings_from({"LOGS_DIR": str(LOGS)}), lambda: now, MemoryTable())
    values = {"name": "wide", "owner": "carol", "reason": "x", "actor": "*@example.com"}
    job.desk.silence(job.rules[0], parse_silence(values))
    lines = [replace(line, time=LAST) for line in log_lines(now, job.detect)]
    assert raised_alarms(lines) == ["mostly-silenced"]
