"""What the job says of itself: a record and a line for every run, complete or failed, a line for every failed attempt, and
warnings. Every line is an event in JSON.
"""

import json
import logging
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import responses
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

import detection.app
import function_app
from detection.app import (
    HEARTBEAT_DEADLINE,
    Job,
    in_turn,
    open_job,
    open_source,
    send_heartbeat,
    start,
)
from detection.base.deadlines import READ_TIME, RUN_TIME
from detection.base.errors import ConfigurationError, Incomplete, ServiceError, Unreachable
from detection.cli import run
from detection.cli.main import app
from detection.delivery.deliver import DEADLINE, Attempt, Outcome
from detection.logs.log_analytics.client import LogAnalytics
from detection.logs.source import Source
from detection.rules.loading import load_rule
from detection.rules.model import Rule
from detection.runs.record import ALERTS_NAMED, RECORD, RunFailure, RunRecord
from detection.settings import settings_from
from detection.store.azure_table import LONGEST_CALL
from detection.store.layout import SCHEMA
from detection.store.outbox import Delivery, Outbox, queue
from detection.store.table import PAGE, Entity, MemoryTable, Operation, Put
from detection.telemetry import log_attempt, log_late, log_run
from tests.regenerate import LOGS, ROOT, SCHEMAS
from tests.support.builders import START
from tests.support.clock import Clock
from tests.support.receiver import dripping, receiving, status
from tests.support.table_calls import NotifiedTable

NOW = datetime(2026, 6, 9, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
LOGS_A_LINE = re.compile(r"[.](debug|info|warn|warning|error|exception|critical|log)[(]")
DEFAULT, PUBLISHED = "openai-config-to-abuse", "openai-config-to-abuse-sentinel"
DELIVERY = Delivery("al_1_soc", "soc", "in_1", 1, b"{}", created=START, due=START, attempt=3)


def job(table: MemoryTable, logs: str = str(LOGS), now: datetime = NOW, **extra_settings: str) -> Job:
    """The job over the golden logs and a table, with both rules."""
    rules = f"{PUBLISHED},{DEFAULT}"
    settings = settings_from({"LOGS_DIR": logs, "RULES": rules, **extra_settings})
    return open_job(settings, lambda: now, table)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    """Every line that the job logs from now on, as it is logged."""
    logged: list[dict[str, Any]] = []

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = json.loads(record.getMessage())
            schema = json.loads(
                (SCHEMAS / f"line.{line['event'].removeprefix('detection.')}.json").read_text()
            )
            Draft202012Validator(schema).validate(line)
            logged.append(line)

    caplog.set_level(logging.INFO, "detection")
    handler = Reader()
    logging.getLogger("detection").addHandler(handler)
    try:
        yield logged
    finally:
        logging.getLogger("detection").removeHandler(handler)


def with_newer_schema(table: MemoryTable, rule: str) -> MemoryTable:
    """The table as a newer version of the job has left it for a rule: this one must not touch it."""
    table.write(rule, [Put("w", {"now": "2026-06-09T14:00:00Z", "runs": 1, "schema": SCHEMA + 1})])
    return table


# ---------------------------------------------------------------------------------------------------------------- runs


def test_every_complete_run_is_a_line_of_the_documented_shape(lines: list[dict[str, Any]]) -> None:
    job(MemoryTable()).detect()
    assert [(line["rule"], line["outcome"]) for line in lines] == [
        (PUBLISHED, "complete"),
        (DEFAULT, "complete"),
    ]
    assert all(line["health"]["signals"]["rows"] > 0 for line in lines)


def test_line_says_how_far_the_run_was_behind(lines: list[dict[str, Any]]) -> None:
    table = MemoryTable()
    job(table, now=NOW - 3 * HOUR).detect()
    job(table).detect()
    assert [line["previous_watermark"] for line in lines] == [None, None, *["2026-06-09T12:00:00Z"] * 2]


def test_rule_that_fails_does_not_keep_the_others_from_running(lines: list[dict[str, Any]]) -> None:
    table = with_newer_schema(MemoryTable(), PUBLISHED)
    with pytest.raises(ConfigurationError, match=f"schema {SCHEMA + 1}"):
        job(table).detect()
    assert [(line["rule"], line["outcome"]) for line in lines] == [
        (PUBLISHED, "failed"),
        (DEFAULT, "complete"),
    ]
    assert lines[0]["error"] == "configuration"


def test_failed_run_is_recorded_with_its_reason_and_the_last_complete_one(
    lines: list[dict[str, Any]], tmp_path: object
) -> None:
    table = MemoryTable()
    job(table).detect()
    with pytest.raises(ConfigurationError):
        job(table, logs=f"{tmp_path}/none", now=NOW + HOUR).detect()

    failures = [record for record in job(table).records(5) if isinstance(record, RunFailure)]

    assert [failure.rule for failure in failures] == [PUBLISHED, DEFAULT]
    assert {failure.last_complete for failure in failures} == {NOW}
    assert {failure.now for failure in failures} == {NOW + HOUR}
    assert all("none" in failure.reason for failure in failures)
    assert [line["outcome"] for line in lines] == ["complete", "complete", "failed", "failed"]


def test_run_by_a_clock_that_is_days_ahead_fails_and_is_recorded_by_the_clock_of_the_table_service(
    lines: list[dict[str, Any]],
) -> None:
    table = MemoryTable(lambda: NOW)
    with pytest.raises(ConfigurationError, match="ahead of the table service"):
        job(table, now=NOW + timedelta(days=3), RULES=DEFAULT).detect()

    [failure] = job(table, RULES=DEFAULT).records(5)

    assert isinstance(failure, RunFailure)
    assert (failure.now, failure.error, failure.last_complete) == (NOW, "configuration", None)
    assert [line["now"] for line in lines] == ["2026-06-09T15:00:00Z"]


def test_failed_run_moves_no_watermark(tmp_path: object) -> None:
    table = MemoryTable()
    job(table).detect()
    with pytest.raises(ConfigurationError):
        job(table, logs=f"{tmp_path}/none", now=NOW + HOUR).detect()
    assert set(job(table).ages(NOW).values()) == {timedelta(0)}


def test_failed_run_does_not_hide_the_complete_one_of_the_same_moment(tmp_path: object) -> None:
    table = MemoryTable()
    job(table).detect()
    with pytest.raises(ConfigurationError):
        job(table, logs=f"{tmp_path}/none").detect()
    outcomes = sorted(record.outcome for record in job(table).records(5) if record.rule == DEFAULT)
    assert outcomes == ["complete", "failed"]


def test_bug_is_told_from_other_failures_and_its_text_is_not_shown(lines: list[dict[str, Any]]) -> None:
    class BuggyTable(MemoryTable):
        def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
            if self.is_first_read:
                self.is_first_read = False
                raise ZeroDivisionError("hunter2")
            return super().scan(partition, start, end, page)

        is_first_read = True

    with pytest.raises(ZeroDivisionError):
        job(BuggyTable(), RULES=DEFAULT).detect()
    (line,) = lines
    assert (line["error"], line["reason"]) == ("bug", "a bug of this job: ZeroDivisionError")


def test_bug_in_a_run_is_recorded_as_a_failed_run_and_the_next_rule_runs(
    lines: list[dict[str, Any]],
) -> None:
    class BuggyTable(MemoryTable):
        def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
            if partition == PUBLISHED and start.startswith("m|"):
                raise ZeroDivisionError
            return super().scan(partition, start, end, page)

    table = BuggyTable()
    with pytest.raises(ZeroDivisionError):
        job(table).detect()

    [failure] = [record for record in job(table).records(5) if isinstance(record, RunFailure)]
    assert (failure.rule, failure.error) == (PUBLISHED, "bug")
    assert [(line["rule"], line["outcome"]) for line in lines] == [
        (PUBLISHED, "failed"),
        (DEFAULT, "complete"),
    ]


def test_bug_that_also_prevents_the_record_is_still_a_line_and_the_next_rule_runs(
    lines: list[dict[str, Any]],
) -> None:
    class BuggyTable(MemoryTable):
        def write(self, partition: str, operations: Sequence[Operation]) -> None:
            if partition == PUBLISHED:
                raise ValueError("the partition cannot be a key")
            super().write(partition, operations)

    with pytest.raises(ValueError, match="cannot be a key"):
        job(BuggyTable()).detect()

    assert [(line["rule"], line["outcome"], line.get("error")) for line in lines] == [
        (PUBLISHED, "failed", "bug"),
        (DEFAULT, "complete", None),
    ]


def test_run_that_the_table_fails_is_still_a_line(lines: list[dict[str, Any]]) -> None:
    class UnavailableTable(MemoryTable):
        def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
            raise Incomplete("the table service answers nothing")

    with pytest.raises(Incomplete):
        job(UnavailableTable(), RULES=DEFAULT).detect()
    (line,) = lines
    assert (line["error"], line["last_complete"]) == ("service", None)


class TableWithoutOutbox(MemoryTable):
    """A table that answers runs and not the delivery of messages."""

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        if start.startswith("d|"):
            raise ServiceError("the table service failed")
        return super().scan(partition, start, end, page)


def test_delivery_that_fails_after_complete_runs_is_a_line_that_names_the_next_step(
    lines: list[dict[str, Any]],
) -> None:
    with pytest.raises(ServiceError):
        job(TableWithoutOutbox()).detect()
    assert [(line["rule"], line["outcome"]) for line in lines] == [
        (PUBLISHED, "complete"),
        (DEFAULT, "complete"),
        ("", "failed"),
    ]
    assert lines[-1]["error"] == "service"
    assert "the next delivery sends them: the table service failed" in lines[-1]["reason"]


def test_timer_whose_delivery_fails_writes_a_line(
    lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_job = job(TableWithoutOutbox())
    monkeypatch.setattr(function_app, "job", lambda: failing_job)
    with pytest.raises(ServiceError):
        function_app.deliver.build().get_user_function()(None)
    assert [(line["rule"], line["outcome"]) for line in lines] == [("", "failed")]


def test_job_whose_rules_are_all_disabled_fails_with_a_line(lines: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigurationError, match="every rule is disabled"):
        replace(job(MemoryTable()), rules=[]).detect()
    assert [(line["rule"], line["outcome"], line["error"]) for line in lines] == [
        ("", "failed", "configuration")
    ]


def test_settings_that_are_wrong_are_a_line_without_a_rule(lines: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigurationError):
        start({"MAX_CATCH_UP": "hunter2"}, lambda: NOW)
    (line,) = lines
    assert (line["rule"], line["error"]) == ("", "configuration")
    assert "MAX_CATCH_UP" in line["reason"]
    assert "hunter2" not in line["reason"]


def test_line_of_a_run_in_the_worst_storm_fits_where_logs_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "detection")
    [record] = job(MemoryTable(), RULES=DEFAULT).detect()
    log_run(replace(record, alerts=50_000, alert_ids=["al_" + "0" * 20] * ALERTS_NAMED))
    assert len(caplog.messages[-1]) < 32_768


@pytest.mark.parametrize("is_complete", [True, False])
def test_record_comes_back_as_it_was_kept(is_complete: bool) -> None:
    [record] = job(MemoryTable(), RULES=DEFAULT).detect()
    stored_record: RunRecord | RunFailure = (
        record if is_complete else RunFailure(DEFAULT, NOW, "service", "no answer", None, 1.5)
    )
    assert RECORD.validate_json(RECORD.dump_json(stored_record)) == stored_record


def test_record_that_cannot_be_read_is_named() -> None:
    table = MemoryTable()
    job(table, RULES=DEFAULT).detect()
    table.write(DEFAULT, [Put("r|20260609T160000.000000Z", {"b0": b"{"})])
    with pytest.raises(ServiceError, match=rf"row r\|20260609T160000.000000Z in the partition {DEFAULT}"):
        job(table, RULES=DEFAULT).records(5)


# ------------------------------------------------------------------------------------------------------------ attempts


@pytest.mark.parametrize(
    "outcome, next_due, expected",
    [
        (Outcome(500, reason="HTTP 500"), START + HOUR, ("again", 500, "HTTP 500")),
        (Outcome(410, dead_reason="HTTP 410"), None, ("dead", 410, "HTTP 410")),
        (Outcome(None, reason="SSLError"), None, ("dead", None, "SSLError")),
    ],
)
def test_failed_attempt_is_a_line(
    lines: list[dict[str, Any]], outcome: Outcome, next_due: datetime | None, expected: tuple[object, ...]
) -> None:
    log_attempt(Attempt(DELIVERY, outcome, next_due))
    (line,) = lines
    assert (line["outcome"], line["status"], line["reason"]) == expected
    assert (line["id"], line["attempt"], line["created"]) == ("al_1_soc", 3, "2026-03-02T10:00:00Z")


def test_attempt_that_succeeded_is_no_line(lines: list[dict[str, Any]]) -> None:
    log_attempt(Attempt(DELIVERY, Outcome(200, sent=True), None))
    assert lines == []


def test_dead_letter_is_an_error_and_a_retry_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    log_attempt(Attempt(DELIVERY, Outcome(410, dead_reason="HTTP 410"), None))
    log_attempt(Attempt(DELIVERY, Outcome(500, reason="HTTP 500"), START))
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


# ------------------------------------------------------------------------------------------------------------ the rest


def test_run_that_is_past_due_is_a_line(lines: list[dict[str, Any]]) -> None:
    log_late(NOW)
    assert lines == [{"event": "detection.late", "now": "2026-06-09T15:00:00Z"}]


def test_misspelt_setting_is_a_line_at_the_start(lines: list[dict[str, Any]]) -> None:
    environment = {"LOGS_DIR": str(LOGS), "INCIDENT_STORAGE": "UseDevelopmentStorage=true"}
    start(environment | {"WEBHOK_URL": "hunter2"}, lambda: NOW)
    assert lines == [{"event": "detection.setting", "variable": "WEBHOK_URL", "setting": "WEBHOOK_URL"}]


def test_failed_heartbeat_is_a_line_without_its_address(lines: list[dict[str, Any]]) -> None:
    settings = settings_from({"HEARTBEAT_URL": "https://beat.example/hunter2"})
    with responses.RequestsMock() as web:
        web.get("https://beat.example/hunter2", status=500)
        send_heartbeat(settings)
    assert lines == [{"event": "detection.heartbeat", "error": "HTTP 500"}]


def test_heartbeat_that_drips_its_headers_ends_by_its_deadline(
    lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection.app, "HEARTBEAT_DEADLINE", 0.2)
    with receiving() as receiver:
        receiver.default_answer = dripping(b"HTTP/1.1 200 OK\r\nx-a: ", b"b")
        send_heartbeat(settings_from({"HEARTBEAT_URL": receiver.url}))
        assert receiver.broken.wait(60)
    assert lines == [{"event": "detection.heartbeat", "error": "no answer within 0.2 s"}]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_heartbeat_follows_no_redirect(lines: list[dict[str, Any]], code: int) -> None:
    with receiving() as internal, receiving() as receiver:
        receiver.default_answer = status(code, location=internal.url)
        send_heartbeat(settings_from({"HEARTBEAT_URL": receiver.url}))
    assert internal.requests == []
    assert lines == [{"event": "detection.heartbeat", "error": f"HTTP {code}"}]


@pytest.mark.parametrize("code", [200, 302])
def test_heartbeat_reads_only_the_beginning_of_a_body_without_end(
    lines: list[dict[str, Any]], code: int
) -> None:
    head = b"HTTP/1.1 %d x\r\nlocation: /\r\n\r\n" % code
    with receiving() as receiver:
        receiver.default_answer = dripping(head, b"x" * 2**16, every=0)
        send_heartbeat(settings_from({"HEARTBEAT_URL": receiver.url}))
        assert receiver.broken.wait(60)
    assert [line["error"] for line in lines] == ([] if code == 200 else ["HTTP 302"])


@pytest.mark.parametrize("body", ["OK (not found)", "OK (rate limited)"])
def test_heartbeat_that_healthchecks_does_not_count_is_a_failure(
    lines: list[dict[str, Any]], body: str
) -> None:
    with responses.RequestsMock() as web:
        web.get("https://hc-ping.com/hunter2", body=body)
        send_heartbeat(settings_from({"HEARTBEAT_URL": "https://hc-ping.com/hunter2"}))
    assert lines == [{"event": "detection.heartbeat", "error": f"HTTP 200, whose body is {body}"}]


def test_heartbeat_ends_by_its_deadline_while_its_host_is_searched_for(
    lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address_search = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: address_search.wait(60))
    monkeypatch.setattr(detection.app, "HEARTBEAT_DEADLINE", 0.2)
    send_heartbeat(settings_from({"HEARTBEAT_URL": "https://beat.example/hunter2"}))
    address_search.set()
    assert lines == [{"event": "detection.heartbeat", "error": "no answer within 0.2 s"}]


def test_job_logs_nothing_but_events() -> None:
    sources = [ROOT / "function_app.py", *(ROOT / "detection").rglob("*.py")]
    logging_files = {path.name for path in sources if LOGS_A_LINE.search(path.read_text(encoding="utf-8"))}
    assert logging_files == {"log_event.py"}


@pytest.mark.parametrize("name", sorted(path.stem for path in SCHEMAS.glob("line.*.json")))
def test_every_event_is_named_where_people_look(name: str) -> None:
    event = name.replace("line.", "detection.")
    for path in ("detection/telemetry.py", "docs/reliability.md"):
        assert event in (ROOT / path).read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------- `runs`


def _runs(table: MemoryTable, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:  # noqa: ANN401
    current_job = job(table, now=NOW + 3 * HOUR, RULES=DEFAULT)
    monkeypatch.setattr(run, "environment_job", lambda **_: current_job)
    monkeypatch.setattr(run, "clock", current_job.clock)
    return CliRunner().invoke(app, ["runs", *arguments])


def test_runs_says_why_none_was_complete_since(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    table = MemoryTable()
    job(table, RULES=DEFAULT).detect()
    for hours in (1, 2):
        with pytest.raises(ConfigurationError):
            job(table, logs=f"{tmp_path}/none", now=NOW + hours * HOUR, RULES=DEFAULT).detect()

    result = _runs(table, monkeypatch)

    assert result.exit_code == 1
    assert "the last complete run was 3:00:00 ago" in result.stderr
    assert "since then 2 runs failed, the last at 2026-06-09T17:00:00Z: configuration: " in result.stderr


def test_runs_is_not_content_without_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "environment_job", lambda **_: replace(job(MemoryTable()), rules=[]))
    result = CliRunner().invoke(app, ["runs"])
    assert result.exit_code == 1
    assert "no rule runs: every rule is disabled" in result.stderr


def test_runs_lists_failed_runs_with_their_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    table = MemoryTable()
    with pytest.raises(ConfigurationError):
        job(table, logs=f"{tmp_path}/none", RULES=DEFAULT).detect()

    [row] = [json.loads(line) for line in _runs(table, monkeypatch, "--format", "json").stdout.splitlines()]

    assert (row["outcome"], row["pairs"]) == ("failed", None)
    assert row["reason"].startswith("configuration: ")


def test_runs_is_content_when_the_last_run_was_complete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    table = MemoryTable()
    with pytest.raises(ConfigurationError):
        job(table, logs=f"{tmp_path}/none", now=NOW - HOUR, RULES=DEFAULT).detect()
    job(table, RULES=DEFAULT).detect()

    result = _runs(table, monkeypatch)

    assert result.exit_code == 0
    assert "failed" not in result.stderr


# ----------------------------------------------------------------------------------- services that do not answer


class DeadTable(NotifiedTable):
    """A table that answers nothing after a number of calls; counts the calls in vain."""

    def __init__(self, answers: int = 0) -> None:
        super().__init__()
        self.answers, self.calls_in_vain = answers, 0

    def _call(self) -> None:
        self.answers -= 1
        if self.answers < 0:
            self.calls_in_vain += 1
            raise Unreachable("the table service does not answer")


@pytest.mark.parametrize("answers", [0, 1, 3])
def test_table_that_does_not_answer_is_asked_once_for_all_rules(
    lines: list[dict[str, Any]], answers: int
) -> None:
    table = DeadTable(answers)
    with pytest.raises(Unreachable):
        job(table).detect()
    assert table.calls_in_vain == 1
    assert [(line["rule"], line["outcome"], line["error"]) for line in lines] == [
        (PUBLISHED, "failed", "service"),
        (DEFAULT, "failed", "service"),
    ]


def test_next_run_asks_a_table_again_that_did_not_answer(lines: list[dict[str, Any]]) -> None:
    table = DeadTable()
    dead_job = job(table)
    with pytest.raises(Unreachable):
        dead_job.detect()
    table.answers = 10**6
    dead_job.detect()
    assert [line["outcome"] for line in lines] == ["failed", "failed", "complete", "complete"]


def test_query_api_that_does_not_answer_is_asked_for_one_rule(
    lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, asked_for = MemoryTable(), []

    def unreachable(_settings: object, rule: Rule, *_: object) -> Source:
        asked_for.append(rule.folder)
        raise Unreachable("the query API does not answer")

    monkeypatch.setattr(detection.app, "open_source", unreachable)
    with pytest.raises(Unreachable):
        job(table).detect()
    assert asked_for == [PUBLISHED]
    assert [record.outcome for record in job(table).records(5)] == ["failed", "failed"]
    assert [line["reason"] for line in lines] == ["the query API does not answer"] * 2


def test_run_beyond_its_time_fails_with_a_line_and_a_record_and_moves_no_watermark(
    lines: list[dict[str, Any]],
) -> None:
    clock = Clock(NOW)

    class SlowTable(MemoryTable):
        def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
            clock.sleep(5)
            return super().scan(partition, start, end, page)

    table = SlowTable()
    with pytest.raises(ServiceError, match="its time was used up"):
        replace(job(table), clock=clock).detect(run_time=timedelta(seconds=15))
    assert {(line["rule"], line["error"]) for line in lines} == {(PUBLISHED, "service"), (DEFAULT, "service")}
    records = job(table).records(5)
    assert [record.outcome for record in records] == ["failed", "failed"]
    assert set(job(table).ages(NOW).values()) == {None}
    clock.now = NOW
    replace(job(table), clock=clock).detect()
    assert [line["outcome"] for line in lines[2:]] == ["complete", "complete"]


class SlowestTable(NotifiedTable):
    """A table that answers every call just before it would fail."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.calls = clock, 0

    def _call(self) -> None:
        self.calls += 1
        self.clock.sleep(LONGEST_CALL)


@pytest.mark.parametrize("seconds_before_call", range(0, 45, 5))
def test_last_line_is_written_before_the_host_ends_the_invocation_however_slow_the_table_is(
    lines: list[dict[str, Any]], seconds_before_call: int
) -> None:
    clock = Clock(NOW)
    slow_job = replace(job(MemoryTable()), clock=clock, table=SlowestTable(clock))
    rules = [slow_job.rules[1].model_copy(update={"folder": f"rule-{number}"}) for number in range(5)]
    run_time = RUN_TIME - timedelta(seconds=seconds_before_call)
    clock.sleep(seconds_before_call)
    with pytest.raises(ServiceError):
        replace(slow_job, rules=rules).detect(run_time=run_time)
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    hours, minutes, seconds = map(int, host["functionTimeout"].split(":"))
    reserve = timedelta(seconds=HEARTBEAT_DEADLINE)
    assert clock.now + reserve <= NOW + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    assert {line["rule"] for line in lines} == {*(rule.folder for rule in rules), ""}


def test_messages_that_there_is_no_time_for_wait_unclaimed_and_are_not_a_failure(
    lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, table = Clock(NOW), MemoryTable()

    class SlowReceiver:
        def send(self, _delivery: Delivery, _now: datetime) -> Outcome:
            clock.sleep(DEADLINE.total_seconds())
            return Outcome(204, sent=True)

    monkeypatch.setattr(detection.app, "open_destinations", lambda _: nullcontext({"soc": SlowReceiver()}))
    for commit in range(5):
        delivery = replace(DELIVERY, id=f"al_{commit}_soc", commit=commit, attempt=0)
        table.write(DEFAULT, [queue(delivery)])
    delivering_job = replace(job(table), clock=clock)
    attempts = delivering_job.deliver_logged(timedelta(seconds=60), deadline=NOW + timedelta(seconds=40))
    assert [attempt.delivery.commit for attempt in attempts] == [0, 1]
    waiting = [queued.delivery for queued in Outbox(table, DEFAULT).waiting("soc")]
    assert [(delivery.commit, delivery.attempt) for delivery in waiting] == [(2, 0), (3, 0), (4, 0)]
    assert lines == []


def test_rule_that_uses_up_the_time_of_every_run_does_not_keep_the_other_rule_from_running() -> None:
    clock = Clock(NOW)

    class TableSlowForOneRule(MemoryTable):
        def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
            clock.sleep(60 if partition == PUBLISHED else 0)
            return super().scan(partition, start, end, page)

    table = TableSlowForOneRule()
    for hours in range(2):
        clock.now = NOW + hours * HOUR
        with suppress(ServiceError):
            replace(job(table), clock=clock).detect(run_time=timedelta(seconds=30))
    ages = job(table).ages(clock.now)
    assert ages[PUBLISHED] is None
    assert ages[DEFAULT] is not None


def rules_in_turn(hours: int) -> str:
    rules = [load_rule(DEFAULT).model_copy(update={"folder": folder}) for folder in "abcd"]
    return "".join(rule.folder for rule in in_turn(rules, NOW + hours * HOUR))


def test_turn_moves_on_by_a_rule_every_hour_and_leaves_none_out() -> None:
    assert [rules_in_turn(hours) for hours in range(5)] == ["abcd", "bcda", "cdab", "dabc", "abcd"]


@pytest.mark.parametrize("every", [1, 2, 3, 4, 6, 8, 12, 24])
def test_every_rule_is_first_on_every_schedule(every: int) -> None:
    assert {rules_in_turn(run * every)[0] for run in range(60)} == set("abcd")


@pytest.mark.parametrize("seconds, budget", [(250, 100), (1_700, READ_TIME.total_seconds())])
def test_reading_ends_by_the_deadline_of_the_run(seconds: int, budget: int) -> None:
    settings = settings_from({"LOG_ANALYTICS_WORKSPACE_ID": str(UUID(int=1)), "AZURE_CLIENT_ID": "client"})
    source = open_source(settings, load_rule(DEFAULT), lambda: NOW, NOW + timedelta(seconds=seconds))
    assert isinstance(source, LogAnalytics)
    assert source._limits.seconds == budget


def test_rule_without_time_for_a_query_is_not_read() -> None:
    settings = settings_from({"LOG_ANALYTICS_WORKSPACE_ID": str(UUID(int=1))})
    with pytest.raises(ServiceError, match="its time was used up"):
        open_source(settings, load_rule(DEFAULT), lambda: NOW, NOW + timedelta(seconds=150))
