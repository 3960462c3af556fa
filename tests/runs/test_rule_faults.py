"""A rule that cannot be loaded fails alone: recorded and logged, while the other rules run, messages are sent and the page works."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from detection.app import Job, open_job
from detection.base.deadlines import LONGEST_RUN
from detection.base.errors import ConfigurationError
from detection.check.checklist import run_checks
from detection.check.checks import all_checks
from detection.check.context import CheckContext
from detection.cli import options, silences
from detection.cli import run as cli_run
from detection.incidents.acts import CloseAct, IncidentAct, SilenceAct
from detection.logs.window import Window
from detection.messages.context import DigestEntry
from detection.rules.silences import Silence
from detection.runs.record import RunFailure
from detection.settings import settings_from
from detection.store.digest_draft import DigestDraft
from detection.store.gaps import Gap, GapList
from detection.store.outbox import list_rule
from detection.store.silence_list import SilenceList
from detection.store.table import MemoryTable
from detection.web.exchange import make_request
from detection.web.respond import respond
from tests.cli.test_main import run
from tests.regenerate import LOGS
from tests.support.page_world import HTML, JSON, LINK_KEY, parse_page
from tests.support.receiver import Receiver, receiving
from tests.support.rule_folders import rules
from tests.test_telemetry import DEFAULT, NOW, PUBLISHED

__all__ = ["rules"]  # a fixture
HOUR = timedelta(hours=1)
TYPO = "exclusions:\n  - name: terraform\n    ownr: platform\n    reason: applies roles\n    actor: svc-*\n"
API = "https://app.example/api"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable()


def make_job(table: MemoryTable, receiver: Receiver, now: datetime = NOW) -> Job:
    environment = {
        "LOGS_DIR": str(LOGS),
        "INCIDENT_STORAGE": "UseDevelopmentStorage=true",  # the table is replaced
        "RULES": f"{PUBLISHED},{DEFAULT}",
        "WEBHOOK_URL": receiver.url,
        "PAGE_URL": API,
        "LINK_KEY": LINK_KEY,
    }
    return replace(open_job(settings_from(environment), lambda: now), table=table)


def broken_job(rules: Path, table: MemoryTable, receiver: Receiver, name: str = PUBLISHED) -> Job:
    """The job an hour after a complete run, with a typo in the exclusions of a rule."""
    make_job(table, receiver).detect()
    (rules / name / "exclusions.yaml").write_text(TYPO, encoding="utf-8")
    return make_job(table, receiver, NOW + HOUR)


def test_other_rules_run_and_the_fault_is_recorded(
    rules: Path, table: MemoryTable, receiver: Receiver
) -> None:
    job = broken_job(rules, table, receiver)

    with pytest.raises(ConfigurationError, match=r"exclusions.yaml: .*exclusions.0.ownr"):
        job.detect()

    records = {record.rule: record for record in job.records(1)}
    failure = records[PUBLISHED]
    assert isinstance(failure, RunFailure)
    assert (failure.error, failure.last_complete) == ("configuration", NOW)
    assert "exclusions.0.ownr" in failure.reason
    assert (records[DEFAULT].outcome, job.ages(NOW + HOUR)) == (
        "complete",
        {DEFAULT: timedelta(0), PUBLISHED: HOUR},
    )


def test_error_of_a_rule_holds_the_traceback_of_the_last_run_only(
    rules: Path, table: MemoryTable, receiver: Receiver
) -> None:
    job = broken_job(rules, table, receiver)

    def depth() -> int:
        with pytest.raises(ConfigurationError) as caught:
            job.detect()
        return len(caught.traceback)

    assert depth() == depth()


def test_messages_are_sent_also_those_of_the_broken_rule(
    rules: Path, table: MemoryTable, receiver: Receiver
) -> None:
    job = broken_job(rules, table, receiver, DEFAULT)
    receiver.requests.clear()
    entry = DigestEntry("al_1", "in_1", True, "High", "alice@example.com created an API key", 1, 1, 1)
    list_rule(table, DEFAULT)
    table.write(DEFAULT, [DigestDraft(table, DEFAULT, "a-draft", NOW).operation([entry])])

    replace(job, clock=lambda: NOW + LONGEST_RUN + HOUR).deliver()

    (message,) = receiver.messages
    assert (message["type"], message["data"]["rule"]["name"]) == ("detection.alert.digest", DEFAULT)


def test_page_lists_the_incidents_of_the_broken_rule_and_names_its_fault(
    rules: Path, table: MemoryTable, receiver: Receiver
) -> None:
    job = broken_job(rules, table, receiver)
    detail = next(detail for detail in job.desk.incidents() if detail.rule == PUBLISHED)

    def get(path: str, headers: dict[str, str] = HTML) -> str:
        answer = respond(make_request("GET", f"{API}/{path}", headers, b"", "key"), job, NOW + HOUR)
        assert answer.status == 200
        return answer.body.decode() if headers is JSON else parse_page(answer).text

    page, incident_page = get("incidents"), get(f"incidents/{detail.incident.id}")
    listing = json.loads(get("incidents", JSON))
    assert f"{PUBLISHED} does not run: " in page
    assert "exclusions.0.ownr" in page
    assert detail.incident.id in page
    assert [fault["rule"] for fault in listing["rule_faults"]] == [PUBLISHED]
    assert detail.incident.title in incident_page
    assert "rule of this incident cannot be loaded" in incident_page


def test_silences_of_the_broken_rule_are_listed_and_its_exclusions_named_as_missing(
    rules: Path, table: MemoryTable, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence = Silence(name="leave", owner="eve", reason="test", expires=NOW + 2 * HOUR, actor="bob")
    SilenceList(table, PUBLISHED).add(silence)
    job = broken_job(rules, table, receiver)
    monkeypatch.setattr(silences, "environment_job", lambda: job)
    result = run("silences", "list", "--format", "json")
    assert [(row["name"], row["rule"]) for row in map(json.loads, result.out.splitlines())] == [
        ("leave", PUBLISHED)
    ]
    assert (result.code, result.err) == (1, f"not listed: the exclusions of {PUBLISHED}\n")
    answer = respond(make_request("GET", f"{API}/incidents", JSON, b"", "key"), job, NOW + HOUR)
    assert [row["name"] for row in json.loads(answer.body)["silences"]] == ["leave"]


def test_gap_of_the_broken_rule_is_listed_and_its_reading_says_why_it_cannot_run(
    rules: Path, table: MemoryTable, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    gap = Gap(NOW - 9 * HOUR, NOW - 5 * HOUR, Window(NOW - 9 * HOUR, NOW), NOW)
    GapList(table, PUBLISHED).write(gap)
    job = broken_job(rules, table, receiver)
    assert [folder for folder, _ in job.desk.open_gaps()] == [PUBLISHED]
    monkeypatch.setattr(cli_run, "environment_job", lambda **_: job)
    result = run("run", "--gap", gap.id)
    assert result.code == 2
    assert f"error: {PUBLISHED} does not run: " in result.err
    assert "exclusions.0.ownr" in result.err


def test_incident_of_the_broken_rule_is_acknowledged_and_closed_but_not_silenced(
    rules: Path, table: MemoryTable, receiver: Receiver
) -> None:
    desk = broken_job(rules, table, receiver).desk
    name = next(detail for detail in desk.incidents() if detail.rule == PUBLISHED).incident.id
    desk.acknowledge(IncidentAct(incident=name, author="eve", request="1"))
    with pytest.raises(ConfigurationError, match=r"exclusions.0.ownr"):
        desk.silence_incident(
            SilenceAct(incident=name, author="eve", request="2", note="a test", duration=HOUR)
        )
    desk.close(CloseAct(incident=name, author="eve", request="3", classification="benign"))
    assert desk.incident(name).incident.status == "closed"


def test_commands_name_the_fault_and_show_the_rest(
    rules: Path, table: MemoryTable, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = broken_job(rules, table, receiver)
    detail = next(detail for detail in job.desk.incidents() if detail.rule == PUBLISHED)
    monkeypatch.setattr(options, "open_job", lambda *_: job)
    listed, shown = run("incidents", "list"), run("incidents", "show", detail.incident.id)
    for result in (listed, shown):
        assert re.search(rf"error: {PUBLISHED} does not run: .*exclusions.0.ownr", result.err)
        assert detail.incident.id in result.out


def test_check_is_red_for_the_broken_rule_and_green_for_the_other(
    rules: Path, table: MemoryTable, receiver: Receiver
) -> None:
    (rules / PUBLISHED / "exclusions.yaml").write_text(TYPO, encoding="utf-8")
    environment = {"LOGS_DIR": str(LOGS), "RULES": f"{PUBLISHED},{DEFAULT}", "WEBHOOK_URL": receiver.url}
    now = datetime(2026, 6, 9, 15, tzinfo=UTC)
    findings = {
        finding.name: finding for finding in run_checks(all_checks(CheckContext(environment, lambda: now)))
    }
    assert findings[f"rule {PUBLISHED}"].level == "red"
    assert "exclusions.0.ownr" in findings[f"rule {PUBLISHED}"].message
    assert findings["rules"].message == f"1 rule: {DEFAULT}."
    assert findings[f"changes of {DEFAULT}"].level == "green"


def test_rule_of_the_settings_runs_once_however_often_they_name_it(
    table: MemoryTable, receiver: Receiver
) -> None:
    storage = {"INCIDENT_STORAGE": "UseDevelopmentStorage=true"}
    settings = settings_from({"LOGS_DIR": str(LOGS), "RULES": f"{DEFAULT}, {DEFAULT}", **storage})
    job = replace(open_job(settings, lambda: NOW), table=table)
    assert [record.rule for record in job.detect()] == [DEFAULT]
    ids = [detail.incident.id for detail in job.desk.incidents()]
    assert len(ids) == len(set(ids)) > 0
