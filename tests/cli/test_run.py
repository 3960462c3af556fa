"""The commands over a configured job, on Azurite, a double of the query API and a receiver."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from azure.data.tables import TableClient
from jsonschema import Draft202012Validator
from typer.testing import CliRunner, Result

from detection.app import Job, open_job
from detection.base.errors import ConfigurationError
from detection.base.timestamps import iso
from detection.cli import acts, demo, incidents, options, run, silences
from detection.cli.main import app
from detection.desk import IncidentDetail
from detection.logs.window import Window
from detection.rules.loading import load_rule
from detection.rules.model import Rule
from detection.settings import Settings, settings_from
from detection.store.azure_table import AzureTable
from detection.store.gaps import Gap, GapList
from detection.store.incident_list import IncidentList
from detection.store.incident_store import IncidentStore
from detection.store.layout import SCHEMA
from detection.store.table import MemoryTable, Put
from tests.regenerate import GOLDEN, LOGS, SCHEMAS
from tests.support.receiver import receiving, status
from tests.support.retention import expire
from tests.test_whole_line import Pipeline, golden_api, pipeline

__all__ = ["golden_api", "pipeline"]  # fixtures
DAY = timedelta(days=1)
FIRST_ALERT = datetime(2026, 6, 9, 14, tzinfo=UTC)


class Commands:
    """The command line over a job with a settable clock."""

    def __init__(self, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pipeline = pipeline
        self._monkeypatch = monkeypatch
        self.now = FIRST_ALERT

    def __call__(self, *arguments: str) -> Result:
        current_job = self._pipeline.job_at(self.now)
        for module in (acts, incidents, run, silences):
            self._monkeypatch.setattr(module, "environment_job", lambda **_: current_job, raising=False)
            self._monkeypatch.setattr(module, "clock", current_job.clock, raising=False)
        return CliRunner().invoke(app, list(arguments))

    def lines(self, *arguments: str) -> list[dict[str, object]]:
        """The JSON lines that a command prints."""
        return [json.loads(text) for text in self(*arguments, "--format", "json").stdout.splitlines()]


@pytest.fixture
def commands(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(pipeline, monkeypatch)


def test_run_sends_messages_and_prints_its_record(commands: Commands, pipeline: Pipeline) -> None:
    [record] = commands.lines("run", "--at", "2026-06-09T14:00:00Z")

    assert (record["new_pairs"], record["already_alerted"]) == (1, 0)
    assert len(pipeline.receiver.bodies) == 1


def test_run_whose_message_waits_exits_1_with_the_next_attempt(
    commands: Commands, pipeline: Pipeline
) -> None:
    pipeline.receiver.default_answer = status(503)
    result = commands("run", "--at", "2026-06-09T14:00:00Z")

    assert result.exit_code == 1
    assert "alerts      1" in result.stdout
    assert "not sent: al_" in result.stderr
    remark = "1 message waits in the outbox, the next attempt is due at 2026-06-09T14:05:40Z"
    assert remark in result.stderr

    waiting = commands("deliver")
    assert (waiting.exit_code, waiting.stdout, remark in waiting.stderr) == (1, "0 sent, 0 failed\n", True)
    pipeline.receiver.default_answer = status(200)
    commands.now += timedelta(minutes=6)
    sent = commands("deliver")
    assert (sent.exit_code, sent.stdout, sent.stderr) == (0, "1 sent, 0 failed\n", "")


@pytest.mark.parametrize("arguments", [("run",), ("deliver", "--retry-dead", "--direct")])
def test_command_that_makes_a_dead_letter_exits_1_with_the_remedy(
    commands: Commands, pipeline: Pipeline, arguments: Sequence[str]
) -> None:
    pipeline.receiver.default_answer = status(404)
    if arguments[0] == "deliver":
        commands("run")
    result = commands(*arguments)

    assert result.exit_code == 1
    assert "1 message is a dead letter" in result.stderr
    assert "deliver --retry-dead" in result.stderr


def test_message_of_a_run_in_memory_is_lost_and_the_run_exits_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
    with receiving() as receiver:
        receiver.default_answer = status(404)
        monkeypatch.setenv("LOGS_DIR", str(LOGS))
        monkeypatch.setenv("WEBHOOK_URL", receiver.url)
        result = CliRunner().invoke(app, ["run", "--at", "2026-06-09T14:00:00Z"])

    assert result.exit_code == 1
    assert "1 message was not sent" in result.stderr
    assert "the next run sends their alerts again" in result.stderr


def test_record_and_incident_match_their_schemas(commands: Commands) -> None:
    [record] = commands.lines("run", "--at", "2026-06-09T14:00:00Z")
    [row] = commands.lines("incidents", "list")
    [incident] = commands.lines("incidents", "show", str(row["id"]))

    for name, value in (("run", record), ("incident", incident)):
        Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text())).validate(value)


def test_run_ahead_of_the_clock_is_refused(commands: Commands) -> None:
    result = commands("run", "--at", "2026-06-09T15:00:00Z")

    assert isinstance(result.exception, ConfigurationError)
    assert "ahead of the clock" in str(result.exception)


def record_gap(pipeline: Pipeline, rule: Rule, after: datetime, until: datetime) -> Gap:
    """The gap as a run at its end would have recorded it, with the watermark."""
    gap = Gap(after, until, Window(after - timedelta(days=1), until + timedelta(days=1)), until)
    watermark = Put("w", {"now": iso(until), "runs": 1, "schema": SCHEMA, "gaps": True})
    pipeline.job.table.write(rule.folder, [watermark, gap.operation()])
    return gap


def test_run_reads_the_open_gap_of_its_rule_and_leaves_the_watermark(
    commands: Commands, pipeline: Pipeline
) -> None:
    commands.now = datetime(2026, 6, 20, tzinfo=UTC)
    pipeline.job = replace(
        pipeline.job, rules=[*pipeline.job.rules, load_rule("openai-config-to-abuse-sentinel")]
    )
    after, until = FIRST_ALERT - timedelta(hours=1), FIRST_ALERT + timedelta(hours=2)
    record_gap(pipeline, pipeline.job.rules[0], after, until)
    ages = pipeline.job.ages(commands.now)
    [record] = commands.lines("run", "--gap")

    golden_alerts = (json.loads(text) for text in (GOLDEN / "replay.jsonl").read_text().splitlines())
    golden_pairs = [
        pair
        for alert in golden_alerts
        for pair in alert["pairs"]
        if "2026-06-09T13:00:00Z" < pair["AbuseTime"] <= "2026-06-09T16:00:00Z"
    ]
    assert record["new_pairs"] == len(golden_pairs) == 4
    assert pipeline.job.ages(commands.now) == ages
    assert len(pipeline.receiver.bodies) == record["alerts"]
    assert not IncidentStore(pipeline.job.table, "openai-config-to-abuse-sentinel", "look").records()


def test_gap_that_is_read_abandoned_or_unknown_is_refused(commands: Commands, pipeline: Pipeline) -> None:
    rule = pipeline.job.rules[0]
    gaps = [record_gap(pipeline, rule, FIRST_ALERT - n * DAY, FIRST_ALERT - (n - 1) * DAY) for n in (3, 6)]
    abandoned = GapList(pipeline.job.table, rule.folder).gaps()[0]
    GapList(pipeline.job.table, rule.folder).write(abandoned.close("abandoned", FIRST_ALERT))
    assert f"--gap {gaps[0].id}" in commands("runs").stderr
    assert len(commands.lines("run", "--gap", gaps[0].id)) == 1
    assert "--gap" not in commands("runs").stderr

    for name, message in (
        (gaps[0].id, f"{gaps[0].id} is not open: read at 2026-06-09T14:00:00Z"),
        (abandoned.id, f"{abandoned.id} is not open: abandoned at"),
        ("20200101-0000", "there is no gap 20200101-0000"),
    ):
        result = commands("run", "--gap", name)
        assert isinstance(result.exception, ConfigurationError)
        assert message in str(result.exception)
    assert commands("run", "--gap").stderr == "no gap is open\n"


@pytest.mark.parametrize("arguments", [("--gap", "--at", "2026-06-09T14:00:00Z"), ("20200101-0000",)])
def test_run_of_a_time_and_of_a_gap_at_once_is_refused(commands: Commands, arguments: Sequence[str]) -> None:
    assert isinstance(commands("run", *arguments).exception, ConfigurationError)


def test_runs_prints_the_age_of_the_last_complete_run(commands: Commands) -> None:
    assert commands("runs").exit_code == 1
    commands("run", "--at", "2026-06-09T14:00:00Z")
    commands.now += timedelta(hours=2)

    result = commands("runs")

    assert result.exit_code == 0
    assert "the last complete run was 2:00:00" in result.stderr
    assert [row["time"] for row in commands.lines("runs")] == ["2026-06-09T14:00:00Z"]


@pytest.mark.parametrize("kind", ["r", "k", "j"])
def test_runs_names_a_damaged_row_and_lists_the_others(
    commands: Commands, pipeline: Pipeline, kind: str
) -> None:
    commands("run", "--at", "2026-06-09T14:00:00Z")
    rule = pipeline.job.rules[0].folder
    row = f"{kind}|20200101T000000.000000Z"
    pipeline.job.table.write(rule, [Put(row, {})])
    result = commands("runs")
    assert result.exit_code == 1
    assert "2026-06-09T14:00:00Z" in result.stdout
    assert f"not listed: row {row} in the partition {rule}" in result.stderr


def test_incident_is_listed_shown_and_closed(commands: Commands) -> None:
    commands("run", "--at", "2026-06-09T14:00:00Z")
    [row] = commands.lines("incidents", "list")
    name = str(row["id"])
    assert row["key"] == "Account carol@example.com"

    assert "carol@example.com invited a member" in commands("incidents", "show", name).stdout
    commands("incidents", "ack", name, "--by", "carol", "--direct")
    commands("incidents", "close", name, "--as", "benign", "--by", "dave", "--note", "load test", "--direct")

    shown = commands("incidents", "show", name).stdout
    assert "closed as benign" in shown
    assert "acknowledged 2026-06-09T14:00:00" in shown
    assert "by dave: load test" in shown


def test_unknown_incident_is_named_in_the_error(commands: Commands) -> None:
    result = commands("incidents", "show", "in_nothing")

    assert isinstance(result.exception, ConfigurationError)
    assert "there is no incident in_nothing" in str(result.exception)


def test_dead_letter_is_sent_again_when_asked(commands: Commands, pipeline: Pipeline) -> None:
    pipeline.receiver.answers = [status(404)]
    assert commands("run", "--at", "2026-06-09T14:00:00Z").exit_code == 1
    assert commands("deliver").stdout == "0 sent, 0 failed\n"

    result = commands("deliver", "--retry-dead", "--direct")

    assert (result.exit_code, result.stdout) == (0, "1 sent, 0 failed\n")
    assert pipeline.receiver.bodies[0] == pipeline.receiver.bodies[1]


def test_demo_posts_its_alerts_to_the_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "RUNS", 13)  # up to noon of the second day
    with receiving() as receiver:
        result = CliRunner().invoke(app, ["demo", "--webhook", receiver.url])

    assert result.exit_code == 0, result.exception
    titles = [message["data"]["title"] for message in receiver.messages]
    assert titles
    assert all(title in result.stdout for title in titles)


def test_demo_whose_alerts_are_refused_exits_1_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "RUNS", 13)
    with receiving() as receiver:
        receiver.default_answer = status(404)
        result = CliRunner().invoke(app, ["demo", "--webhook", receiver.url])

    assert result.exit_code == 1
    assert f"{len(receiver.bodies)} messages were not sent" in result.stderr


def test_demo_serves_the_incidents_with_the_acts_of_its_on_call(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[IncidentDetail] = []
    monkeypatch.setattr(
        demo, "serve_until_interrupted", lambda server: served.extend(server.job.desk.incidents())
    )

    assert CliRunner().invoke(app, ["demo", "--serve"]).exit_code == 0

    incidents = {
        dict(detail.key)["Account"].partition("@")[0]: detail.incident for detail in reversed(served)
    }
    assert incidents["victor"].status == "acknowledged"
    assert incidents["heidi"].classification == "benign"
    assert (incidents["peggy"].history[-1].action, incidents["peggy"].silenced) == ("silenced", 30)
    assert {incident.history[-1].author for incident in incidents.values() if incident.history} == {"Ann"}
    assert len({incident.digests for incident in incidents.values() if incident.digests}) == 1


def test_quiet_run_sends_four_queries_and_four_table_requests(pipeline: Pipeline, azurite: str) -> None:
    answers: list[object] = []
    client = TableClient.from_connection_string(azurite, "quietrun", raw_response_hook=answers.append)
    quiet_hour = datetime(2026, 6, 9, 3, tzinfo=UTC)
    settings = pipeline.job.settings
    first_job = Job(settings, pipeline.job.rules, AzureTable(client), lambda: quiet_hour)
    pipeline.api.moment = quiet_hour
    first_job.detect(quiet_hour)
    answers.clear()
    pipeline.api.requests.clear()

    next_hour = quiet_hour + timedelta(hours=1)
    Job(settings, pipeline.job.rules, AzureTable(client), lambda: next_hour).detect(next_hour)

    assert len(pipeline.api.requests) == 4
    assert len(answers) == 4


def test_environment_without_logs_is_refused_with_the_setting_to_set() -> None:
    with pytest.raises(ConfigurationError, match="LOG_ANALYTICS_WORKSPACE_ID"):
        open_job(settings_from({}), options.clock, MemoryTable()).detect()


def test_logs_on_disk_can_be_read_instead_of_a_workspace() -> None:
    job = open_job(settings_from({"LOGS_DIR": str(LOGS)}), options.clock, MemoryTable())

    [record] = job.detect(FIRST_ALERT + timedelta(hours=1))

    assert record.new_pairs > 0


def test_table_of_a_newer_version_is_refused() -> None:
    table = MemoryTable()
    table.write("rule", [Put("w", {"now": "2026-06-09T14:00:00Z", "runs": 1, "schema": SCHEMA + 1})])

    with pytest.raises(ConfigurationError, match=f"schema {SCHEMA + 1}"):
        IncidentStore(table, "rule", "run").watermark()


def test_expiry_removes_alerts_incidents_and_records(pipeline: Pipeline) -> None:
    table = MemoryTable()
    job = Job(settings_from({"LOGS_DIR": str(LOGS)}), pipeline.job.rules, table, options.clock)
    for time in (FIRST_ALERT, FIRST_ALERT + timedelta(hours=1), FIRST_ALERT + timedelta(days=1, hours=2)):
        job.detect(time)
    store = IncidentStore(table, job.rules[0].folder, "look")
    assert max(detail.incident.number for detail in job.desk.incidents()) == 2

    expire(store.table, store.rule, FIRST_ALERT + timedelta(days=90))

    assert not list(job.desk.incidents())
    assert not list(IncidentList(store.table, store.rule).alerts())
    assert not store.records()
    assert not list(table.scan(job.rules[0].folder, "e|", "e}"))


def test_no_secret_is_printed_by_a_run(commands: Commands, pipeline: Pipeline) -> None:
    pipeline.receiver.answers = [status(500)]
    result = commands("run", "--at", "2026-06-09T14:00:00Z")

    assert pipeline.receiver.url not in result.output
