"""`check` with a double of the query API, Azurite and a receiver: its findings when something is wrong."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from inspect import signature
from pathlib import Path
from threading import Event
from uuid import uuid4

import azure.identity
import pytest
from azure.core.credentials import AccessToken
from azure.data.tables import TableClient
from azure.identity import CredentialUnavailableError
from jsonschema import Draft202012Validator
from pydantic import SecretStr
from standardwebhooks import Webhook as Verifier
from typer.testing import CliRunner

from detection.app import open_job
from detection.base.timestamps import iso
from detection.check import health as health_module
from detection.check.canary import send_test
from detection.check.checklist import Finding, Level, run_checks
from detection.check.checks import SendMode, all_checks
from detection.check.context import CHECK_PARTITION, CheckContext
from detection.check.health import check_schedule, health
from detection.check.questions import truth_lines
from detection.check.storage import check_incident_table
from detection.cli import check as command
from detection.cli.main import app
from detection.logs.window import Window
from detection.rules.loading import load_rule, rule_names
from detection.rules.model import OnCall, SeverityCondition
from detection.rules.silences import parse_silence
from detection.settings import Webhook, settings_from
from detection.store.azure_table import AzureTable, open_table
from detection.store.gaps import Gap, GapList
from detection.store.incident_store import IncidentStore
from detection.store.outbox import Delivery, list_rule, queue
from detection.store.table import MemoryTable, Table
from tests.regenerate import ROOT, SCHEMAS
from tests.support.query_api import (
    DROPPED,
    ApiRequest,
    Body,
    QueryApi,
    Reply,
    basic_plan,
    error,
    no_role,
    no_table,
    query_api,
    reply,
    tables_of,
)
from tests.support.raw_logs import audit, completion, write
from tests.support.receiver import HIDDEN, Receiver, receiving, status
from tests.support.rule_folders import rules
from tests.support.table_calls import NotifiedTable

__all__ = ["rules"]  # a fixture
PAGE = ROOT / "docs" / "check.md"
RULE = load_rule("openai-config-to-abuse")
SOURCES = ("OpenAIAuditLogs", "OpenAIChatCompletions")
NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
WORKSPACE, OTHER_WORKSPACE = "4f1c2a6e-0b5d-4a57-9a2e-3f9d5d0c7b11", "9b0e7c54-53d1-4c0e-8f57-6a1f2f0f6a22"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Environment = dict[str, str]


@pytest.fixture(scope="module")
def shared_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryApi]:
    """The double over a quiet day: rows of the last hour, each five minutes late."""
    folder = tmp_path_factory.mktemp("logs")
    times = [NOW - 10 * MINUTE - n * MINUTE for n in range(50)]
    write(
        folder,
        [audit(f"a{n}", "ann@example.com", at, arrived=at + 5 * MINUTE) for n, at in enumerate(times)],
        [completion(f"c{n}", "ann@example.com", at, arrived=at + 5 * MINUTE) for n, at in enumerate(times)],
    )
    with tables_of(folder, RULE.tables) as tables, query_api(tables) as api:
        yield api


@pytest.fixture
def api(shared_api: QueryApi) -> QueryApi:
    shared_api.reset()
    shared_api.moment = NOW
    return shared_api


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def environment(api: QueryApi, azurite: str, receiver: Receiver) -> Environment:
    """The settings of a job for which everything is in place, but that has not run yet."""
    return {
        "LOG_ANALYTICS_WORKSPACE_ID": WORKSPACE,
        "LOG_ANALYTICS_ENDPOINT": api.endpoint,
        "INCIDENT_STORAGE": azurite,
        "INCIDENT_TABLE": f"t{uuid4().hex[:20]}",
        "WEBHOOK_URL": receiver.url,
        "ALARM_EMAILS": "soc@example.com",
    }


@pytest.fixture
def table(environment: Environment) -> Table:
    return open_table(environment["INCIDENT_STORAGE"], environment["INCIDENT_TABLE"], None)


def run_all_checks(
    environment: Mapping[str, str], sending: SendMode = "nothing", now: datetime = NOW
) -> dict[str, Finding]:
    """The findings by name; no name comes twice."""
    findings = list(run_checks(all_checks(CheckContext(environment, lambda: now), sending)))
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings}


def names_with_level(findings: Mapping[str, Finding], level: Level) -> list[str]:
    return [name for name, finding in findings.items() if finding.level == level]


def fault_for(word: str, answer: Reply) -> Callable[[ApiRequest], Reply | None]:
    """A fault of every query in which a word stands."""
    return lambda request: answer if word in request.query else None


# ------------------------------------------------------------------------------------------------ all is well


def test_everything_in_place_is_green_but_for_the_first_run(environment: Environment) -> None:
    findings = run_all_checks(environment)
    assert list(findings) == [
        "settings",
        "rules",
        "token",
        f"workspace {WORKSPACE}",
        "table OpenAIAuditLogs_CL",
        "table SentinelOpenAIAuditLogs",
        "table ASimAgentEventLogs",
        *(f"{check_name} {source}" for source in SOURCES for check_name in ("newest row of", "arrival of")),
        "queries of openai-config-to-abuse",
        "identities of openai-config-to-abuse",
        "operators",
        "clock",
        "alarms",
        "incident table",
        "last run of openai-config-to-abuse",
        "outbox",
        "silences",
        "destination webhook",
    ]
    assert names_with_level(findings, "red") == []
    assert names_with_level(findings, "yellow") == ["last run of openai-config-to-abuse"]


def test_complete_run_makes_the_last_yellow_finding_green(environment: Environment) -> None:
    open_job(settings_from(environment), lambda: NOW).detect(NOW)
    assert names_with_level(run_all_checks(environment), "yellow") == []


def test_delays_and_ages_are_measured(environment: Environment) -> None:
    findings = run_all_checks(environment)
    assert findings["newest row of OpenAIAuditLogs"].message == "10 min old; 50 rows in the last 7 d."
    assert findings["arrival of OpenAIAuditLogs"].message == (
        "Slowest row took 5 min to arrive, 99 of 100 rows at most 5 min; the limit is 23 h."
    )


def test_identities_are_counted(environment: Environment) -> None:
    message = run_all_checks(environment)["identities of openai-config-to-abuse"].message
    assert message == "1 of 1 runtime identities could be one of 1 audit actors"


def test_identities_that_match_no_actor_are_yellow(environment: Environment, tmp_path: Path) -> None:
    write(
        tmp_path,
        [audit("a", "ann@example.com", NOW - HOUR, arrived=NOW - HOUR)],
        [completion("c", "chat-frontend", NOW - HOUR, arrived=NOW - HOUR)],
    )
    with tables_of(tmp_path, RULE.tables) as tables, query_api(tables) as api:
        api.moment = NOW
        finding = run_all_checks(environment | {"LOG_ANALYTICS_ENDPOINT": api.endpoint})[
            "identities of openai-config-to-abuse"
        ]
    assert finding.level == "yellow"
    assert "your callers do not set user to the audit identity; this rule cannot see them" in finding.message
    assert "docs/rules.md" in finding.remedy


def test_nothing_is_sent_and_nothing_stays_in_the_table(
    environment: Environment, receiver: Receiver, table: Table
) -> None:
    run_all_checks(environment)
    assert receiver.bodies == []
    assert list(table.scan(CHECK_PARTITION, "!", "~")) == []
    assert list(table.scan(RULE.folder, "!", "~")) == []


def test_one_workspace_and_the_default_rule_take_thirteen_queries(
    environment: Environment, api: QueryApi
) -> None:
    run_all_checks(environment)
    assert len(api.requests) == 13


# --------------------------------------------------------------------------------------------------- settings


def test_settings_are_named_all_at_once_and_what_needs_them_is_not_tried() -> None:
    findings = run_all_checks({"MAX_CATCH_UP": HIDDEN, "WEBHOOK_URL": HIDDEN, "STORM_ALERTS": "0"})
    assert findings["settings"].level == "red"
    assert re.findall(r"[A-Z_]{5,}", findings["settings"].message) == [
        "MAX_CATCH_UP",
        "WEBHOOK_URL",
        "STORM_ALERTS",
    ]
    messages = {finding.message for name, finding in findings.items() if name != "settings"}
    assert messages == {"Not tried because settings failed."}
    assert HIDDEN not in repr(findings)


@pytest.mark.parametrize("settings", [{}, {"STORM_ALERTS": "0"}], ids=["valid", "invalid"])
def test_misspelt_setting_is_red_whether_the_settings_are_valid_or_not(
    environment: Environment, settings: Environment
) -> None:
    finding = run_all_checks(environment | {"WEBHOOK_SECRT": HIDDEN, **settings})
    misspelt = finding["setting WEBHOOK_SECRT"]
    assert (misspelt.level, misspelt.remedy) == ("red", "Rename it to WEBHOOK_SECRET, or unset it.")
    assert HIDDEN not in repr(finding)


def test_unknown_rule_is_red_and_the_rest_is_tried(environment: Environment) -> None:
    findings = run_all_checks(environment | {"RULES": "no-such-rule"})
    assert names_with_level(findings, "red") == ["rule no-such-rule", "rules"]
    assert "unknown rule 'no-such-rule'" in findings["rule no-such-rule"].message
    assert findings["incident table"].level == "green"


def test_without_logs_the_rest_is_tried(environment: Environment) -> None:
    findings = run_all_checks(environment | {"LOG_ANALYTICS_WORKSPACE_ID": ""})
    assert names_with_level(findings, "red") == ["token"]
    assert "LOG_ANALYTICS_WORKSPACE_ID" in findings["token"].remedy
    assert findings["outbox"].level == "green"


# ------------------------------------------------------------------------------------------------------ token


class UnavailableCredential:
    """A double of azure.identity's credential with no identity signed in."""

    def __init__(self, **_: object) -> None: ...

    def get_token(self, *_: str, **__: object) -> AccessToken:
        raise CredentialUnavailableError(message=f"no identity at {HIDDEN}")


def test_without_an_identity_no_query_is_sent(
    environment: Environment, api: QueryApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", UnavailableCredential)
    findings = run_all_checks(environment | {"LOG_ANALYTICS_ENDPOINT": "https://api.loganalytics.io"})
    assert names_with_level(findings, "red") == ["token"]
    assert "`az login`" in findings["token"].message
    assert findings["workspace"].message == "Not tried because token failed."
    assert api.requests == []
    assert HIDDEN not in repr(findings)


# ------------------------------------------------------------------------------------------------- workspaces


def test_missing_role_is_red_with_its_remedy(environment: Environment, api: QueryApi) -> None:
    api.fault = lambda _: no_role()
    findings = run_all_checks(environment)
    assert names_with_level(findings, "red") == [f"workspace {WORKSPACE}"]
    assert "InsufficientAccessError" in findings[f"workspace {WORKSPACE}"].message
    assert "Log Analytics Data Reader" in findings[f"workspace {WORKSPACE}"].remedy
    assert findings["tables"].message == "Not tried because workspace failed."
    assert findings["operators"].message == "Not tried because workspace failed."


def test_of_two_workspaces_the_reachable_workspace_is_checked(
    environment: Environment, api: QueryApi
) -> None:
    api.fault = lambda request: no_role() if request.workspace == OTHER_WORKSPACE else None
    findings = run_all_checks(environment | {"LOG_ANALYTICS_WORKSPACE_ID": f"{OTHER_WORKSPACE},{WORKSPACE}"})
    assert names_with_level(findings, "red") == [
        f"workspace {OTHER_WORKSPACE}",
        "queries of openai-config-to-abuse",
    ]
    assert findings[f"table OpenAIAuditLogs_CL in {WORKSPACE}"].level == "green"
    assert findings["operators"].level == "green"
    assert f"table OpenAIAuditLogs_CL in {OTHER_WORKSPACE}" not in findings


def test_table_that_only_one_workspace_has_is_yellow_in_the_other(
    environment: Environment, api: QueryApi
) -> None:
    def fault(request: ApiRequest) -> Reply | None:
        alone = request.workspace == OTHER_WORKSPACE and "workspaces" not in request.body
        return no_table("OpenAIAuditLogs_CL") if alone and "OpenAIAuditLogs_CL" in request.query else None

    api.fault = fault
    findings = run_all_checks(environment | {"LOG_ANALYTICS_WORKSPACE_ID": f"{WORKSPACE},{OTHER_WORKSPACE}"})
    assert names_with_level(findings, "red") == []
    assert findings[f"table OpenAIAuditLogs_CL in {OTHER_WORKSPACE}"].level == "yellow"
    assert findings[f"table OpenAIAuditLogs_CL in {WORKSPACE}"].level == "green"


def test_service_that_does_not_answer_is_red(environment: Environment, api: QueryApi) -> None:
    api.fault = lambda _: DROPPED
    finding = run_all_checks(environment)[f"workspace {WORKSPACE}"]
    assert finding.level == "red"
    assert "did not answer" in finding.message


# ----------------------------------------------------------------------------------------------------- tables


def test_missing_table_is_red_and_its_source_is_not_asked(environment: Environment, api: QueryApi) -> None:
    api.fault = fault_for("ASimAgentEventLogs", no_table("ASimAgentEventLogs"))
    findings = run_all_checks(environment)
    assert findings["table ASimAgentEventLogs"].level == "red"
    assert findings["table OpenAIAuditLogs_CL"].level == "green"
    assert "newest row of OpenAIChatCompletions" not in findings
    assert findings["newest row of OpenAIAuditLogs"].level == "green"
    assert findings["queries of openai-config-to-abuse"].level == "red"


def test_table_that_is_optional_need_not_be_there(environment: Environment, api: QueryApi) -> None:
    api.fault = fault_for("SentinelOpenAIAuditLogs\n| getschema", no_table("SentinelOpenAIAuditLogs"))
    finding = run_all_checks(environment)["table SentinelOpenAIAuditLogs"]
    assert (finding.level, finding.message) == ("green", "Missing, but optional.")


@pytest.mark.parametrize("word", ["OpenAIAuditLogs_CL\n| getschema", "OpenAIAuditLogs_CL"])
def test_table_on_the_basic_plan_is_red_and_says_what_to_do(
    environment: Environment, api: QueryApi, word: str
) -> None:
    api.fault = fault_for(word, basic_plan())
    finding = run_all_checks(environment)["table OpenAIAuditLogs_CL"]
    assert finding.level == "red"
    assert "Basic or Auxiliary plan" in finding.message
    assert "--plan Analytics" in finding.remedy


def test_missing_columns_are_named(environment: Environment, api: QueryApi) -> None:
    def without(body: Body) -> Body:
        rows = [
            row for row in body["tables"][0]["rows"] if row[0] not in ("ActorApiKey", "EventFinishReasons")
        ]
        return {"tables": [{**body["tables"][0], "rows": rows}]}

    api.amend = without
    findings = run_all_checks(environment)
    assert findings["table OpenAIAuditLogs_CL"].message.startswith("Lacks ActorApiKey.")
    assert findings["table ASimAgentEventLogs"].message.startswith("Lacks EventFinishReasons.")
    assert names_with_level(findings, "red")[:2] == ["table OpenAIAuditLogs_CL", "table ASimAgentEventLogs"]


# ---------------------------------------------------------------------------------------------------- sources


def test_silent_source_is_yellow_after_a_day_and_red_after_a_week(
    environment: Environment, api: QueryApi
) -> None:
    for days, level in ((2, "yellow"), (8, "red")):
        api.moment = NOW + days * DAY
        assert (
            run_all_checks(environment, now=NOW + days * DAY)["newest row of OpenAIAuditLogs"].level == level
        )


def test_rows_that_arrive_later_than_allowed_are_red_and_name_the_setting(
    environment: Environment, api: QueryApi
) -> None:
    api.amend = lambda body: replace_cells(body, Longest=30 * 3600.0)
    findings = run_all_checks(environment)
    assert findings["arrival of OpenAIAuditLogs"].level == "red"
    assert "ALLOWED_LATENESS=PT31H" in findings["arrival of OpenAIAuditLogs"].remedy
    later = run_all_checks(environment | {"ALLOWED_LATENESS": "PT61H"})
    assert later["arrival of OpenAIAuditLogs"].level == "green"


def test_rows_whose_actor_was_cut_off_are_yellow(environment: Environment, tmp_path: Path) -> None:
    row = completion("c", "ann@example.com", NOW - HOUR, arrived=NOW - HOUR)
    write(
        tmp_path,
        [audit("a", "ann@example.com", NOW - HOUR, arrived=NOW - HOUR)],
        [row, row | {"AdditionalFields": '{"tools":["' + 70_000 * "x"}],
    )
    with tables_of(tmp_path, RULE.tables) as tables, query_api(tables) as api:
        api.moment = NOW
        findings = run_all_checks(environment | {"LOG_ANALYTICS_ENDPOINT": api.endpoint})
    finding = findings["cut rows of OpenAIChatCompletions"]
    assert (finding.level, finding.message) == (
        "yellow",
        "1 row in the last 7 d without an actor, because AdditionalFields was cut at 64 KB.",
    )


def replace_cells(body: Body, **values: object) -> Body:
    """The answer with other values in its one row, where it has those columns."""
    table = body["tables"][0]
    names = [column["name"] for column in table["columns"]]
    rows = [[values.get(name, cell) for name, cell in zip(names, row, strict=True)] for row in table["rows"]]
    return {"tables": [{**table, "rows": rows}]}


def test_query_that_takes_too_long_is_red_and_the_rest_is_tried(
    environment: Environment, api: QueryApi
) -> None:
    api.fault = fault_for("percentile(Delay", error(504, "GatewayTimeout", "Gateway timeout"))
    findings = run_all_checks(environment)
    assert names_with_level(findings, "red") == [f"newest row of {source}" for source in SOURCES]
    assert "504 GatewayTimeout" in findings[f"newest row of {SOURCES[0]}"].message
    assert findings["queries of openai-config-to-abuse"].level == "green"


def test_answer_without_a_row_is_red(environment: Environment, api: QueryApi) -> None:
    api.fault = fault_for(
        "getschema", reply({"tables": [{"name": "PrimaryResult", "columns": [], "rows": []}]})
    )
    finding = run_all_checks(environment)["table ASimAgentEventLogs"]
    assert (finding.level, finding.message) == (
        "red",
        "The answer of the query API has no ColumnName, ColumnType.",
    )


# ---------------------------------------------------------------------------------------- operators and clock


def test_underscore_that_ends_no_term_is_red(environment: Environment, api: QueryApi) -> None:
    api.amend = lambda body: replace_cells(body, t14=0, t18=0)
    finding = run_all_checks(environment)["operators"]
    assert finding.level == "red"
    assert "event types: tenant.admin_api_key.created is False" in finding.message


@pytest.mark.parametrize(
    "offset, level, word", [(-2 * MINUTE, "yellow", "behind"), (20 * MINUTE, "red", "ahead of")]
)
def test_clock_that_is_wrong(
    environment: Environment, api: QueryApi, offset: timedelta, level: Level, word: str
) -> None:
    api.amend = lambda body: replace_cells(body, Now=iso(NOW - offset))
    finding = run_all_checks(environment)["clock"]
    assert (finding.level, word in finding.message) == (level, True)


def test_variable_that_nearly_has_the_name_of_a_setting_is_red(environment: Environment) -> None:
    findings = run_all_checks(environment | {"PAGE_ULR": "https://soc.example"})
    assert names_with_level(findings, "red") == ["setting PAGE_ULR"]


def test_tenant_that_is_ignored_without_a_secret_is_yellow(environment: Environment) -> None:
    tenant = {"AZURE_CLIENT_ID": "client", "AZURE_TENANT_ID": "tenant"}
    assert run_all_checks(environment | tenant)["setting AZURE_TENANT_ID"].level == "yellow"
    assert "setting AZURE_TENANT_ID" not in run_all_checks(
        environment | tenant | {"AZURE_CLIENT_SECRET": HIDDEN}
    )


@pytest.mark.parametrize(
    "schedule, levels",
    [("0 5 * * * *", []), ("0 5 */2 * * *", ["red"]), ("5 0 * * *", ["red"])],
)
def test_schedule_with_more_than_an_hour_between_runs_is_red(schedule: str, levels: list[Level]) -> None:
    findings = check_schedule(CheckContext({"DETECT_SCHEDULE": schedule}, lambda: NOW))
    assert [finding.level for finding in findings] == levels


def test_health_is_red_for_a_schedule_with_more_than_an_hour_between_runs(environment: Environment) -> None:
    code, report = call_health(environment | {"DETECT_SCHEDULE": "0 0 6 * * *"})
    assert code == 503
    assert [finding["level"] for finding in report["findings"] if finding["name"] == "schedule"] == ["red"]


# --------------------------------------------------------------------------------------------- incident table


def test_table_that_refuses_is_red_and_shows_no_key(environment: Environment, azurite: str) -> None:
    wrong = re.sub("AccountKey=[^;]+", "AccountKey=d3Jvbmc=", azurite)
    findings = run_all_checks(environment | {"INCIDENT_STORAGE": wrong})
    assert names_with_level(findings, "red") == ["incident table"]
    assert "refuses access" in findings["incident table"].message
    assert findings["outbox"].message == "Not tried because incident table failed."


def test_missing_storage_is_red(environment: Environment) -> None:
    findings = run_all_checks(environment | {"INCIDENT_STORAGE": ""})
    assert names_with_level(findings, "red") == ["incident table"]
    assert "INCIDENT_STORAGE is missing" in findings["incident table"].message
    assert findings["silences"].message == "Not tried because incident table failed."


def test_missing_storage_makes_health_red(environment: Environment) -> None:
    status, report = call_health(environment | {"INCIDENT_STORAGE": ""})
    red = {entry["name"]: entry["message"] for entry in report["findings"] if entry["level"] == "red"}
    assert (status, list(red)) == (503, ["incident table"])
    assert "INCIDENT_STORAGE is missing" in red["incident table"]


def test_old_run_is_yellow_and_then_red(environment: Environment) -> None:
    open_job(settings_from(environment), lambda: NOW).detect(NOW)
    for hours, level in ((2, "yellow"), (3, "red")):
        finding = run_all_checks(environment, now=NOW + hours * HOUR)["last run of openai-config-to-abuse"]
        assert (finding.level, finding.message) == (
            level,
            f"Last complete run {hours} h ago.",
        )


def test_dead_letter_is_red(environment: Environment, table: Table, receiver: Receiver) -> None:
    receiver.default_answer = status(404)
    table.write(RULE.folder, [queue(Delivery("al_1_webhook", "webhook", "in_1", 1, b"{}", NOW, NOW))])
    open_job(settings_from(environment), lambda: NOW).deliver()
    finding = run_all_checks(environment)["outbox"]
    assert (finding.level, finding.message) == ("red", "1 dead letter for webhook, the first: HTTP 404.")


def test_message_of_a_removed_rule_to_an_unknown_destination_is_red(
    environment: Environment, table: Table
) -> None:
    list_rule(table, "a-former-rule")
    table.write("a-former-rule", [queue(Delivery("al_1_old", "old", "in_1", 1, b"{}", NOW, NOW))])
    finding = run_all_checks(environment)["outbox"]
    assert (finding.level, finding.message) == (
        "red",
        "1 message waiting for old, which the settings do not name.",
    )


@pytest.mark.parametrize("hours, levels", [(2, ["yellow"]), (3, [])])
def test_rule_that_another_app_runs_on_the_table_is_yellow(
    environment: Environment, table: Table, hours: int, levels: list[str]
) -> None:
    IncidentStore(table, "a-rule-of-another-app", "run").finish(NOW - hours * HOUR, b"{}")
    findings = run_all_checks(environment)
    assert [finding.level for name, finding in findings.items() if name == "other rules"] == levels
    if levels:
        assert findings["other rules"].message == (
            "a-rule-of-another-app is not among RULES, but completed a run 2 h ago."
        )


def test_gaps_are_yellow_while_they_are_open_and_after_they_were_abandoned(
    environment: Environment, table: Table
) -> None:
    gap = Gap(NOW - 9 * DAY, NOW - 5 * DAY, Window(NOW - 10 * DAY, NOW - 4 * DAY), NOW)
    store = IncidentStore(table, RULE.folder, "run")
    store.finish(NOW - HOUR, b"{}")
    assert f"gaps of {RULE.folder}" not in run_all_checks(environment)
    store.watermark()
    store.finish(NOW, b"{}", gap=gap)
    finding = run_all_checks(environment)[f"gaps of {RULE.folder}"]
    command = "python -m detection run --gap 20260605-1200"
    assert finding.level == "yellow"
    assert finding.message == f"2026-06-01T12:00:00Z to 2026-06-05T12:00:00Z is not read: `{command}`."
    assert finding.message in [entry["message"] for entry in call_health(environment)[1]["findings"]]

    gaps = GapList(table, RULE.folder)
    gaps.write(gaps.open_gaps()[0].close("abandoned", NOW))
    assert "Abandoned unread" in run_all_checks(environment)[f"gaps of {RULE.folder}"].message


def test_clock_that_is_ahead_of_the_table_service_is_red(environment: Environment) -> None:
    context = CheckContext(environment, lambda: NOW + 3 * DAY)
    context.table = MemoryTable(lambda: NOW)
    levels = {finding.name: finding.level for finding in check_incident_table(context)}
    assert levels["clock of the table service"] == "red"


# ----------------------------------------------------------------------------------------------- destinations


def webhooks_of_all_formats(receiver: Receiver) -> str:
    """One destination of each format; the second takes only the worst."""
    url = receiver.url
    return json.dumps(
        [
            {"name": "own", "url": url, "format": "native", "secret": SECRET},
            {"name": "slack", "url": url, "format": "slack", "minimum_severity": "High"},
            {"name": "teams", "url": url, "format": "teams"},
            {"name": "pager", "url": url, "format": "pagerduty", "routing_key": HIDDEN},
        ]
    )


@pytest.fixture
def with_all_formats(environment: Environment, receiver: Receiver) -> Environment:
    return environment | {"WEBHOOK_URL": "", "WEBHOOKS": webhooks_of_all_formats(receiver)}


TITLE = (
    "TEST, nothing happened (check of 2026-06-10T12:00:00Z): "
    "changed organization settings, then hit the content filter within 1 min"
)


@pytest.mark.parametrize("sending, name", [("test", "destination"), ("canary", "canary to")])
def test_every_destination_gets_a_marked_test_in_its_format(
    with_all_formats: Environment, receiver: Receiver, sending: SendMode, name: str
) -> None:
    findings = run_all_checks(with_all_formats, sending)
    accepted = "Accepted the test alert (HTTP 204), marked TEST"
    for destination, proof in (
        ("own", ". This proves that the receiver has the message, not that it acts on it"),
        ("slack", ". An incoming webhook answers so once the message is in the channel. A workflow"),
        ("teams", ". A workflow answers before it posts, and may fail afterwards"),
        ("pager", " and its resolution. PagerDuty answers before it opens the incident"),
    ):
        assert findings[f"{name} {destination}"].message.startswith(accepted + proof)
    titles = sorted(title for message in receiver.messages if (title := title_of(message)))
    assert titles == sorted([TITLE, TITLE, f"🔵 {TITLE}", TITLE])


def title_of(message: Body) -> str:
    """The title of a message of any format; none of a resolving one."""
    if "data" in message:
        return str(message["data"]["title"])
    if "blocks" in message:
        return str(message["blocks"][0]["text"]["text"])
    if "attachments" in message:
        return str(message["attachments"][0]["content"]["body"][0]["inlines"][0]["text"])
    return str(message["payload"]["summary"]) if "payload" in message else ""


def test_page_is_no_emergency_and_resolved_at_once(with_all_formats: Environment, receiver: Receiver) -> None:
    run_all_checks(with_all_formats, "canary")
    opened, resolved = [message for message in receiver.messages if "event_action" in message]
    assert (opened["event_action"], opened["payload"]["severity"]) == ("trigger", "info")
    assert (resolved["event_action"], resolved["dedup_key"]) == ("resolve", opened["dedup_key"])


def test_test_is_signed_as_alerts_are(with_all_formats: Environment, receiver: Receiver) -> None:
    run_all_checks(with_all_formats, "test", now=datetime.now(UTC))
    body, headers = next(
        (body, headers)
        for body, headers in zip(receiver.bodies, receiver.headers, strict=True)
        if "webhook-signature" in headers
    )
    Verifier(SECRET).verify(body, dict(headers))


def test_two_tests_have_different_ids(environment: Environment, receiver: Receiver) -> None:
    run_all_checks(environment, "test")
    run_all_checks(environment, "test", now=NOW + MINUTE)
    assert len({headers["webhook-id"] for headers in receiver.headers}) == 2


@pytest.mark.parametrize("sending", ["test", "canary"])
def test_incidents_of_the_rule_are_not_touched(
    environment: Environment, table: Table, receiver: Receiver, sending: SendMode
) -> None:
    job = open_job(settings_from(environment), lambda: NOW)
    job.detect(NOW)
    before, message_count = list(table.scan(RULE.folder, "!", "~")), len(receiver.bodies)
    run_all_checks(environment, sending)
    assert list(table.scan(RULE.folder, "!", "~")) == before
    assert list(table.scan(CHECK_PARTITION, "!", "~")) == []
    assert job.deliver() == []
    assert len(receiver.bodies) == message_count + 1


def test_canary_goes_through_the_incident_table(environment: Environment, azurite: str) -> None:
    wrong = re.sub("AccountKey=[^;]+", "AccountKey=d3Jvbmc=", azurite)
    findings = run_all_checks(environment | {"INCIDENT_STORAGE": wrong}, "canary")
    assert findings["canary"].message == "Not tried because incident table failed."
    assert (
        run_all_checks(environment | {"INCIDENT_STORAGE": wrong}, "test")["destination webhook"].level
        == "green"
    )


def test_rows_of_an_interrupted_canary_are_deleted(
    environment: Environment, table: Table, receiver: Receiver
) -> None:
    delivery = Delivery("al_old_webhook", "webhook", "in_old", 1, b"{}", created=NOW, due=NOW)
    table.write(CHECK_PARTITION, [queue(delivery)])
    run_all_checks(environment, "canary")
    assert [
        headers["webhook-id"] for headers in receiver.headers if headers["webhook-id"] == delivery.id
    ] == []
    assert list(table.scan(CHECK_PARTITION, "!", "~")) == []


def test_exclusions_thresholds_and_severities_do_not_change_the_test(receiver: Receiver) -> None:
    kind = next(iter(RULE.sequence.signals.labels))
    rule = RULE.model_copy(
        update={
            "exclusions": (
                parse_silence({"name": "all", "owner": "carol", "reason": "a move", "actor": "*test*"}),
            ),
            "on_call": OnCall(
                mode="observe", severity=(SeverityCondition(severity="High", signals=(kind,)),)
            ),
            "sequence": RULE.sequence.model_copy(update={"threshold": {kind: 5}}),
        }
    )
    webhook = Webhook(url=SecretStr(receiver.url))
    attempts = send_test(rule, MemoryTable(), [webhook], lambda: NOW)
    assert attempts["webhook"].outcome.sent
    assert receiver.messages[0]["data"]["severity"] == "Informational"


@pytest.mark.parametrize("folder", rule_names())
def test_every_rule_can_be_tested(receiver: Receiver, folder: str) -> None:
    webhook = Webhook(url=SecretStr(receiver.url))
    send_test(load_rule(folder), MemoryTable(), [webhook], lambda: NOW)
    assert title_of(receiver.messages[0]).startswith("TEST, nothing happened")


@pytest.mark.parametrize(
    "code, message, remedy",
    [
        (404, "Refused the test alert: HTTP 404.", "whether the webhook was deleted"),
        (302, "Refused the test alert: HTTP 302.", "The address redirects."),
        (422, "Refused the test alert: HTTP 422.", "Check the address"),
        (503, "Did not accept the test alert: HTTP 503.", "retries an alert for three days"),
    ],
)
@pytest.mark.parametrize("sending", ["test", "canary"])
def test_destination_that_refuses_is_red_and_says_why(
    environment: Environment, receiver: Receiver, code: int, message: str, remedy: str, sending: SendMode
) -> None:
    receiver.default_answer = status(code)
    finding = list(run_all_checks(environment, sending).values())[-1]
    assert (finding.level, finding.message, remedy in finding.remedy) == ("red", message, True)
    assert HIDDEN not in repr(finding)


def test_failing_destination_does_not_stop_the_tests_of_others(
    with_all_formats: Environment, receiver: Receiver
) -> None:
    webhooks = json.dumps(
        [{"name": "dead", "url": "http://127.0.0.1:1/"}, {"name": "own", "url": receiver.url}]
    )
    findings = run_all_checks(with_all_formats | {"WEBHOOKS": webhooks}, "test")
    assert findings["destination dead"].message == "Did not accept the test alert: ConnectionError."
    assert findings["destination own"].level == "green"


@pytest.mark.parametrize("sending", ["nothing", "test", "canary"])
def test_missing_destination_is_red(environment: Environment, sending: SendMode) -> None:
    finding = run_all_checks(environment | {"WEBHOOK_URL": ""}, sending)["destinations"]
    assert (finding.level, "notify no person" in finding.message) == ("red", True)


def test_rules_that_only_observe_need_no_destination(environment: Environment, rules: Path) -> None:
    file = rules / RULE.folder / "rule.yaml"
    file.write_text(file.read_text().replace("\non_call:\n", "\non_call:\n  mode: observe\n"))
    environment |= {"WEBHOOK_URL": ""}
    assert run_all_checks(environment)["destinations"].level == "green"
    assert call_health(environment)[0] == 200


def test_missing_key_of_links_is_yellow_where_messages_would_have_links(environment: Environment) -> None:
    environment |= {"PAGE_URL": "https://app.example/api"}
    finding = run_all_checks(environment)["link key"]
    assert (finding.level, "Set LINK_KEY" in finding.remedy) == ("yellow", True)
    _, report = call_health(environment)
    assert finding.message in [entry["message"] for entry in report["findings"]]
    for complete in ({"LINK_KEY": "k" * 32}, {"WEBHOOK_URL": ""}, {"PAGE_URL": ""}):
        assert "link key" not in run_all_checks(environment | complete)


# ---------------------------------------------------------------------------------------------------- alarms


@pytest.mark.parametrize("value", ["", " ", " , "])
def test_alarms_that_notify_no_person_are_red(environment: Environment, value: str) -> None:
    finding = run_all_checks(environment | {"ALARM_EMAILS": value})["alarms"]
    assert (finding.level, "ALARM_EMAILS" in finding.remedy) == ("red", True)


def test_alarms_may_notify_an_action_group(environment: Environment) -> None:
    recipients = {"ALARM_EMAILS": "", "ACTION_GROUP_RESOURCE_ID": "/subscriptions/1/…"}
    finding = run_all_checks(environment | recipients)["alarms"]
    assert (finding.level, finding.message) == (
        "green",
        "The alarms on the job itself notify those in ACTION_GROUP_RESOURCE_ID.",
    )


@pytest.mark.parametrize("sending", ["nothing", "test", "canary"])
def test_workflow_without_a_format_is_red_in_every_check_and_gets_nothing(
    environment: Environment, sending: SendMode
) -> None:
    settings = environment | {"WEBHOOK_URL": f"https://prod-1.westeurope.logic.azure.com/{HIDDEN}"}
    finding = run_all_checks(settings, sending)["destination webhook"]
    assert (finding.level, "WEBHOOK_FORMAT" in finding.remedy) == ("red", True)
    code, report = call_health(settings)
    assert (code, asdict(finding) in report["findings"]) == (503, True)
    assert HIDDEN not in repr(report)


# ----------------------------------------------------------------------------------------------------- folder


def test_folder_is_read_in_place_of_a_workspace(environment: Environment, tmp_path: Path) -> None:
    at = NOW - HOUR
    write(tmp_path, [audit("a", "ann", at, arrived=at)], [completion("c", "ann", at, arrived=at)])
    settings = environment | {"LOG_ANALYTICS_WORKSPACE_ID": "", "LOGS_DIR": str(tmp_path)}
    findings = run_all_checks(settings)
    assert findings["signals of openai-config-to-abuse"].message.startswith(
        "Readable. A run now would read 1 row,"
    )
    assert "no query service is checked" in findings["workspace"].message
    assert names_with_level(findings, "red") == []
    later = run_all_checks(settings, now=NOW + 30 * DAY)
    assert later["changes of openai-config-to-abuse"].level == "yellow"


def test_folder_that_is_not_there_is_red(environment: Environment, tmp_path: Path) -> None:
    settings = environment | {"LOG_ANALYTICS_WORKSPACE_ID": "", "LOGS_DIR": str(tmp_path / "none")}
    findings = run_all_checks(settings)
    assert names_with_level(findings, "red") == ["logs"]
    assert "there is no such folder" in findings["logs"].message


# ---------------------------------------------------------------------------------------------------- command


@pytest.fixture
def cli_environment(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """The settings in the environment of the command line, at NOW."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(command, "clock", lambda: NOW)
    return environment


def test_command_prints_a_table_and_ends_well(cli_environment: Environment) -> None:
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 0
    assert re.search(r"^green +settings +\d+ settings set, all valid\.", result.stdout, re.MULTILINE)
    assert "→ If the job has been deployed for over an hour" in result.stdout


def test_command_prints_findings_of_the_documented_shape(cli_environment: Environment) -> None:
    result = CliRunner().invoke(app, ["check", "--format", "json", "--send"])
    schema = Draft202012Validator(json.loads((SCHEMAS / "check.json").read_text()))
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) > 10
    for line in lines:
        schema.validate(line)


def test_command_ends_with_1_when_something_is_red(
    cli_environment: Environment, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.default_answer = status(410)
    result = CliRunner().invoke(app, ["check", "--canary"])
    assert result.exit_code == 1
    assert "→ The receiver has deleted the webhook. Create a new one." in result.stdout
    assert HIDDEN not in result.output


# ----------------------------------------------------------------------------------------------------- health


def call_health(environment: Mapping[str, str], now: datetime = NOW) -> tuple[int, Body]:
    """What the function `health` answers; it is of the documented shape and holds no secret."""
    code, body = health(environment, lambda: now)
    answer: Body = json.loads(body)
    Draft202012Validator(json.loads((SCHEMAS / "health.json").read_text())).validate(answer)
    for secret in (HIDDEN, *environment.values()):
        assert secret == RULE.folder or len(secret) < 8 or secret not in body.decode()
    return code, answer


def test_health_asks_one_query_for_each_source_and_sends_nothing(
    environment: Environment, api: QueryApi, receiver: Receiver, table: Table
) -> None:
    code, answer = call_health(environment)
    assert (code, answer["status"]) == (200, "yellow")  # no complete run yet
    assert answer["last_complete_runs"] == {RULE.folder: None}
    assert [finding["name"] for finding in answer["findings"]] == [
        "settings",
        "rules",
        "destinations",
        *(f"newest row of {source}" for source in SOURCES),
        "last run of openai-config-to-abuse",
        "outbox",
        "silences",
    ]
    assert len(api.requests) == 2
    assert receiver.bodies == []
    assert list(table.scan(CHECK_PARTITION, "!", "~")) == []


def test_health_makes_five_table_requests(environment: Environment, azurite: str) -> None:
    answers: list[object] = []
    client = TableClient.from_connection_string(
        azurite, environment["INCIDENT_TABLE"], raw_response_hook=answers.append
    )
    open_job(settings_from(environment), lambda: NOW).detect(NOW)
    context = CheckContext(environment, lambda: NOW)
    context.table = AzureTable(client)
    assert {finding.level for finding in health_module.quick_findings(context)} == {"green"}
    assert len(answers) == 5


def test_silences_in_force_are_named(environment: Environment) -> None:
    job = open_job(settings_from(environment), lambda: NOW)
    for name, begins in (("nightly", NOW - HOUR), ("over", NOW - DAY)):
        fields = {"name": name, "owner": "carol", "reason": "a move", "actor": "ann@example.com"}
        job.desk.silence(RULE, parse_silence({**fields, "begins": begins, "expires": begins + 2 * HOUR}))
    message = (
        "In force: silence nightly of openai-config-to-abuse, "
        "from 2026-06-10 11:00 until 2026-06-10 13:00 UTC."
    )
    finding = run_all_checks(environment)["silences"]
    assert (finding.level, finding.message) == ("green", message)
    assert message in [finding["message"] for finding in call_health(environment)[1]["findings"]]


def test_health_asks_several_workspaces_as_one(environment: Environment, api: QueryApi) -> None:
    call_health(environment | {"LOG_ANALYTICS_WORKSPACE_ID": f"{WORKSPACE},{OTHER_WORKSPACE}"})
    assert [request.body["workspaces"] for request in api.requests] == [[OTHER_WORKSPACE], [OTHER_WORKSPACE]]


def test_health_is_503_when_a_workspace_does_not_answer(environment: Environment, api: QueryApi) -> None:
    api.fault = lambda _: no_role()
    code, answer = call_health(environment)
    assert (code, answer["status"]) == (503, "red")


def test_health_is_503_when_no_run_was_complete_for_long(environment: Environment) -> None:
    open_job(settings_from(environment), lambda: NOW).detect(NOW)
    code, answer = call_health(environment, NOW + HOUR)
    assert (code, answer["status"]) == (200, "green")
    assert answer["last_complete_runs"] == {RULE.folder: iso(NOW)}
    assert call_health(environment, NOW + 3 * HOUR)[0] == 503


def test_health_is_503_at_once_without_a_destination(environment: Environment) -> None:
    code, answer = call_health(environment | {"WEBHOOK_URL": ""})
    assert code == 503
    assert [finding["name"] for finding in answer["findings"] if finding["level"] == "red"] == [
        "destinations"
    ]


@pytest.fixture
def released() -> Iterator[Event]:
    """Ends what a service of the test withholds, at the end of the test."""
    event = Event()
    yield event
    event.set()


def test_health_answers_while_the_query_api_hangs_and_names_it(
    environment: Environment, api: QueryApi, released: Event
) -> None:
    def hang(_request: ApiRequest) -> Reply:
        released.wait(60)
        return DROPPED

    api.fault = hang
    code, body = health(environment, lambda: NOW, seconds=3)
    findings = {finding["name"]: finding for finding in json.loads(body)["findings"]}
    assert code == 503
    assert findings["logs"]["message"] == "The query API did not answer within 3 s."
    assert findings["outbox"]["level"] == "green"


def test_health_leaves_three_of_its_fifteen_seconds_to_a_cold_start() -> None:
    defaults = [
        signature(function).parameters["seconds"].default
        for function in (health, health_module.quick_findings)
    ]
    assert defaults == [health_module.DEADLINE] * 2
    assert health_module.DEADLINE + 3 <= 15
    assert health_module.RETRY_FOR < health_module.DEADLINE  # the last retry begins while health waits


class HangingTable(NotifiedTable):
    """A table that answers nothing until `released`, from a call on."""

    def __init__(self, released: Event, answers: int) -> None:
        super().__init__()
        self.released, self.answers = released, answers

    def _call(self) -> None:
        self.answers -= 1
        if self.answers < 0:
            self.released.wait(60)


@pytest.mark.parametrize(
    "answers, hanging, untried", [(0, "last runs", ["outbox", "silences"]), (3, "outbox", ["silences"])]
)
def test_health_answers_while_the_table_hangs_and_names_the_check(
    environment: Environment, released: Event, answers: int, hanging: str, untried: list[str]
) -> None:
    context = CheckContext(environment, lambda: NOW)
    context.table = HangingTable(released, answers)
    findings = {finding.name: finding for finding in health_module.quick_findings(context, seconds=2)}
    assert findings[hanging].level == "red"
    assert findings[hanging].message == "The incident table did not answer within 2 s."
    assert [
        name
        for name, finding in findings.items()
        if finding.message == f"Not tried because {hanging} failed."
    ] == untried
    assert {findings[f"newest row of {source}"].level for source in SOURCES} == {"green"}


def test_health_names_wrong_settings_and_no_value(environment: Environment) -> None:
    code, answer = call_health(environment | {"MAX_CATCH_UP": HIDDEN, "WEBHOOK_SECRET": HIDDEN})
    assert code == 503
    finding = answer["findings"][0]
    assert (finding["name"], finding["level"]) == ("settings", "red")
    assert all(name in finding["message"] for name in ("MAX_CATCH_UP", "WEBHOOK_SECRET"))


def test_bug_is_named_and_its_text_is_not_shown(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise RuntimeError(HIDDEN)

    monkeypatch.setattr(health_module, "newest_query", broken)
    code, answer = call_health(environment)
    assert code == 503
    assert {finding["message"] for finding in answer["findings"] if finding["level"] == "red"} == {
        "a bug of this job: RuntimeError"
    }


# ------------------------------------------------------------------------------------------------------- page


@pytest.mark.parametrize("sending", ["nothing", "canary"])
def test_page_explains_every_finding(environment: Environment, sending: SendMode) -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    explained = [re.escape(name).replace("…", ".+") for row in rows for name in re.findall("`([^`]+)`", row)]
    names = run_all_checks(environment, sending)
    assert [name for name in names if not any(re.fullmatch(pattern, name) for pattern in explained)] == []


def test_page_says_how_many_lines_the_truth_table_has() -> None:
    assert f"{len(truth_lines())} lines" in PAGE.read_text(encoding="utf-8")
