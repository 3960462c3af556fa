"""The function app: the functions that the host indexes, their invocations, and the files of the app."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import responses
from pydantic import SecretStr

import function_app
from detection.app import GRACE, HEARTBEAT_DEADLINE
from detection.base.deadlines import FUNCTION_TIMEOUT, LONGEST_RUN, READ_TIME, RUN_TIME
from detection.base.ncrontab import schedule_problem
from detection.delivery.deliver import DEADLINE
from detection.delivery.signed_links import LinkSigner
from detection.logs.log_analytics.client import LONGEST_REQUEST
from detection.logs.log_analytics.reading import LIMITS
from detection.settings import Settings, settings_from
from detection.store.azure_table import LONGEST_CALL
from tests.regenerate import GOLDEN, LOGS, ROOT, SETTINGS_PAGE
from tests.support.azurite import new_name
from tests.support.functions_host import OLDEST, FunctionResponse, Worker, running
from tests.support.settings_page import secret_settings, settings_page

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
HEARTBEAT = "https://beat.example/1"
HOST_SETTINGS = {"FUNCTIONS_WORKER_RUNTIME": "python", "AzureWebJobsStorage": "UseDevelopmentStorage=true"}
SCHEDULES = {"DETECT_SCHEDULE", "DELIVER_SCHEDULE"}
SAMPLE_FILE = ROOT / "local.settings.sample.json"
SAMPLE: Mapping[str, str] = json.loads(SAMPLE_FILE.read_text(encoding="utf-8"))["Values"]
SOURCE = (ROOT / "function_app.py").read_text(encoding="utf-8")
HOST: Mapping[str, Any] = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
# Microsoft Learn, "Register Azure Functions binding extensions": HTTP and timer triggers need no extension.
BUILT_IN = {"timerTrigger", "httpTrigger", "http"}

# Packages that the app imports. Every hour is a cold start and pays for each of them.
IMPORTED = {
    "annotated_types",
    "azure.functions",
    "certifi",
    "charset_normalizer",
    "idna",
    "markupsafe",  # for werkzeug
    "pydantic",
    "pydantic_core",
    "requests",
    "typing_extensions",
    "typing_inspection",
    "urllib3",
    "werkzeug",  # for azure.functions
    "yaml",
}
KEYBOARD = {"antlr4", "duckdb", "duckdb_kql", "pandas", "rich", "typer"}
# A module belongs to a package if a distribution lists it; extension modules add unlisted modules.
LIST_IMPORTS = """
import json, sys
from importlib.metadata import packages_distributions
before = set(sys.modules)
import function_app
packages = packages_distributions()
imported = set(sys.modules) - before
names = {".".join(name.split(".")[:2 if name.startswith("azure.") else 1]) for name in imported}
print(json.dumps([name for name in names if name != "azure" and name.split(".")[0] in packages]))
"""


# --------------------------------------------------------------------------------------------------- the host


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    if sys.version_info < OLDEST:
        pytest.skip("azure-functions-runtime needs Python 3.13")
    with running(ROOT) as indexed:
        yield indexed


@pytest.fixture(scope="module")
def bindings(request: pytest.FixtureRequest) -> dict[str, list[dict[str, Any]]]:
    """The bindings of every function, from the worker where its library runs."""
    if sys.version_info >= OLDEST:
        indexed: Worker = request.getfixturevalue("worker")
        return {name: indexed.bindings(name) for name in indexed.functions}
    return {
        str(function.get_function_name()): [json.loads(binding) for binding in function.get_raw_bindings()]
        for function in function_app.app.get_functions()
    }


@pytest.fixture
def fresh_worker(worker: Worker, azurite: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """The worker without a job yet: golden logs, an empty incident table, June 2026."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGS_DIR", str(LOGS))
    monkeypatch.setenv("INCIDENT_STORAGE", azurite)
    monkeypatch.setenv("INCIDENT_TABLE", new_name())
    monkeypatch.setattr(worker.module, "clock", lambda: NOON)
    worker.module.job.cache_clear()
    yield worker
    worker.module.job.cache_clear()


def test_the_host_finds_the_functions(bindings: Mapping[str, object]) -> None:
    assert set(bindings) == {"detect", "deliver", "health", "incidents", "look", "run"}


def test_host_loads_no_extension_bundle_for_no_binding_needs_one(
    bindings: Mapping[str, list[dict[str, Any]]],
) -> None:
    used = {binding["type"] for function in bindings.values() for binding in function}
    assert used == BUILT_IN
    assert "extensionBundle" not in HOST


@pytest.mark.parametrize("name", ["detect", "deliver"])
def test_a_function_has_one_timer(bindings: Mapping[str, list[dict[str, Any]]], name: str) -> None:
    assert bindings[name] == [
        {
            "direction": "IN",
            "type": "timerTrigger",
            "name": "timer",
            "schedule": f"%{name.upper()}_SCHEDULE%",
            "runOnStartup": False,  # otherwise every deployment and every new instance would start a run
            "useMonitor": True,  # the host starts a run that is past due
        }
    ]


def test_detect_finds_the_pairs_of_the_golden_folder(
    fresh_worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "detection")
    assert fresh_worker.invoke("detect") is None
    (record,) = _records(caplog)
    golden_lines = (GOLDEN / "matches.default.jsonl").read_text(encoding="utf-8").splitlines()
    assert record["pairs"] == len(golden_lines)


def test_second_run_alerts_nothing_again(fresh_worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "detection")
    assert [fresh_worker.invoke("detect"), fresh_worker.invoke("detect")] == [None, None]
    first_record, second_record = _records(caplog)
    assert (first_record["new_pairs"] > 0, second_record["new_pairs"]) == (True, 0)


def test_deliver_succeeds_with_nothing_to_deliver(fresh_worker: Worker) -> None:
    assert fresh_worker.invoke("deliver") is None


def test_run_past_due_is_logged_as_a_warning(fresh_worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    assert fresh_worker.invoke("detect", past_due=True) is None
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [json.loads(record.getMessage()) for record in warnings] == [
        {"event": "detection.late", "now": "2026-06-10T12:00:00Z"}
    ]


def test_heartbeat_follows_a_complete_run(fresh_worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTBEAT_URL", HEARTBEAT)
    with responses.RequestsMock() as web:
        web.add_passthru("http://127.0.0.1")  # the table
        web.get(HEARTBEAT)
        assert fresh_worker.invoke("detect") is None


def test_no_heartbeat_follows_a_run_that_failed(
    fresh_worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEARTBEAT_URL", HEARTBEAT)
    monkeypatch.setenv("LOGS_DIR", str(tmp_path / "none"))
    with responses.RequestsMock(assert_all_requests_are_fired=False) as web:
        web.add_passthru("http://127.0.0.1")  # as above
        heartbeat = web.get(HEARTBEAT)
        assert fresh_worker.invoke("detect") is not None
        assert heartbeat.call_count == 0


@pytest.mark.parametrize("function", ["detect", "deliver"])
@pytest.mark.parametrize("setting", ["MAX_CATCH_UP", "WEBHOOK_URL", "WEBHOOK_SECRET", "WEBHOOKS"])
def test_wrong_setting_is_named_and_its_value_not_shown(
    fresh_worker: Worker, monkeypatch: pytest.MonkeyPatch, function: str, setting: str
) -> None:
    monkeypatch.setenv(setting, "hunter2")
    failure = fresh_worker.invoke(function)
    assert failure is not None
    assert failure.message.startswith(f"ConfigurationError: settings: {setting}")
    assert "hunter2" not in failure.message + failure.trace


def test_run_takes_a_post_with_a_key(bindings: Mapping[str, list[dict[str, Any]]]) -> None:
    trigger, _ = bindings["run"]
    assert (trigger["methods"], trigger["authLevel"], trigger["route"]) == (["POST"], "FUNCTION", "run")


def test_run_does_what_the_timer_does(
    fresh_worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "detection")
    monkeypatch.setenv("HEARTBEAT_URL", HEARTBEAT)
    with responses.RequestsMock() as web:
        web.add_passthru("http://127.0.0.1")  # the table
        web.get(HEARTBEAT)
        answer = fresh_worker.ask("run", "POST", f"{API}/run", {})
        assert (answer.status, answer.body) == (204, b"")
        assert fresh_worker.invoke("detect") is None
    first_record, second_record = _records(caplog)
    assert (first_record["new_pairs"] > 0, second_record["new_pairs"]) == (True, 0)


def test_run_that_fails_is_an_error(
    fresh_worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOGS_DIR", str(tmp_path / "none"))
    with pytest.raises(RuntimeError, match="LOGS_DIR"):
        fresh_worker.ask("run", "POST", f"{API}/run", {})


def test_health_takes_a_get_with_a_key(bindings: Mapping[str, list[dict[str, Any]]]) -> None:
    trigger, answer = bindings["health"]
    assert trigger == {
        "direction": "IN",
        "type": "httpTrigger",
        "name": "req",
        "methods": ["GET"],
        "authLevel": "FUNCTION",
        "route": "health",
    }
    assert answer == {"direction": "OUT", "type": "http", "name": "$return"}


def test_health_answers_with_the_status_of_the_job(
    fresh_worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_URL", "https://hooks.example/1")
    answer = fresh_worker.ask("health", "GET", "https://app.example/api/health", {})
    assert isinstance(answer, FunctionResponse)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert (
        json.loads(answer.body)["status"] == "yellow"
    )  # a table in memory is lost at the end of the process


def test_health_names_a_wrong_setting_logs_no_failed_run_and_shows_no_value(
    fresh_worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WEBHOOK_URL", "hunter2")
    answer = fresh_worker.ask("health", "GET", "https://app.example/api/health", {})
    assert isinstance(answer, FunctionResponse)
    assert answer.status == 503
    assert b"WEBHOOK_URL" in answer.body
    assert b"hunter2" not in answer.body
    assert _records(caplog) == []


def test_next_run_reads_a_corrected_setting(fresh_worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_CATCH_UP", "P99D")
    assert fresh_worker.invoke("detect") is not None
    monkeypatch.setenv("MAX_CATCH_UP", "P9D")
    assert fresh_worker.invoke("detect") is None


# --------------------------------------------------------------------------------------------------- the page

API = "https://app.example/api"
LEVELS = """
import json, function_app
functions = function_app.app.get_functions()
triggers = {f.get_function_name(): json.loads(f.get_raw_bindings()[0]) for f in functions}
print(json.dumps({name: triggers[name]["authLevel"] for name in ("incidents", "look")}))
"""


@pytest.mark.parametrize(
    "environment, levels",
    [
        ({}, {"incidents": "FUNCTION", "look": "ANONYMOUS"}),
        ({"WEBSITE_AUTH_ENABLED": "False"}, {"incidents": "FUNCTION", "look": "ANONYMOUS"}),
        ({"WEBSITE_AUTH_ENABLED": "True"}, {"incidents": "ANONYMOUS", "look": "ANONYMOUS"}),
    ],
)
def test_page_needs_the_function_key_unless_app_service_signs_people_in(
    environment: dict[str, str], levels: dict[str, str]
) -> None:
    command = [sys.executable, "-c", LEVELS]
    completed = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, env=os.environ | environment
    )
    assert json.loads(completed.stdout) == levels


def test_route_of_the_page_takes_what_is_under_it_with_any_method(
    bindings: Mapping[str, list[dict[str, Any]]],
) -> None:
    trigger = bindings["incidents"][0]
    assert (trigger["type"], trigger["route"], trigger.get("methods")) == (
        "httpTrigger",
        "incidents/{*rest}",
        None,
    )


def test_link_route_takes_no_post(bindings: Mapping[str, list[dict[str, Any]]]) -> None:
    trigger = bindings["look"][0]
    assert (trigger["route"], trigger["methods"]) == ("look/{id}", ["GET", "HEAD"])


def test_incidents_of_a_run_are_on_the_page(fresh_worker: Worker) -> None:
    assert fresh_worker.invoke("detect") is None
    answer = fresh_worker.ask("incidents", "GET", f"{API}/incidents?code=k", {"Accept": "text/html"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert b"alice@example.com" in answer.body
    assert b"?code=k" in answer.body


def test_slash_at_the_end_of_an_address_redirects_to_the_address_without_it(
    fresh_worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINK_KEY", "k" * 32)
    answer = fresh_worker.ask("incidents", "GET", f"{API}/incidents/?code=k", {"Accept": "text/html"})
    assert (answer.status, answer.headers["location"]) == (308, "../incidents?code=k")
    link = LinkSigner(SecretStr("k" * 32), API).link_to("in_1", NOON) or ""
    answer = fresh_worker.ask("look", "GET", link.replace("?", "/?"), {})
    assert (answer.status, urljoin(link.replace("?", "/?"), answer.headers["location"])) == (308, link)
    assert fresh_worker.ask("health", "GET", "https://app.example/api/health/", {}).status == 503


@pytest.mark.parametrize("function, path", [("incidents", "incidents"), ("look", "look/in_1?until=1")])
@pytest.mark.parametrize(
    "setting, value", [("WEBHOOK_URL", "hunter2"), ("INCIDENT_STORAGE", "hunter2"), ("MAX_CATCH_UP", "P99D")]
)
def test_page_with_a_wrong_setting_is_a_503_that_says_where_to_look(
    fresh_worker: Worker, monkeypatch: pytest.MonkeyPatch, function: str, path: str, setting: str, value: str
) -> None:
    monkeypatch.setenv(setting, value)
    answer = fresh_worker.ask(function, "GET", f"{API}/{path}", {"Accept": "text/html"})
    assert (answer.status, answer.headers["cache-control"]) == (503, "no-store")
    assert b"function `health`" in answer.body
    assert b"hunter2" not in answer.body


def test_page_is_back_after_a_wrong_setting_is_corrected(
    fresh_worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_CATCH_UP", "P99D")
    assert fresh_worker.ask("incidents", "GET", f"{API}/incidents", {}).status == 503
    monkeypatch.setenv("MAX_CATCH_UP", "P9D")
    assert fresh_worker.ask("incidents", "GET", f"{API}/incidents", {}).status == 200


def test_incident_is_acknowledged_over_http(fresh_worker: Worker) -> None:
    assert fresh_worker.invoke("detect") is None
    json_headers = {"Accept": "application/json", "Content-Type": "application/json"}
    list_response = fresh_worker.ask("incidents", "GET", f"{API}/incidents", json_headers)
    name = json.loads(list_response.body)["incidents"][0]["id"]
    url = f"{API}/incidents/{name}/acknowledge"
    act_response = fresh_worker.ask("incidents", "POST", url, json_headers, b'{"by": "eve"}')
    assert (act_response.status, json.loads(act_response.body)["incident"]["history"][0]["author"]) == (
        200,
        "eve",
    )


def test_link_of_a_message_shows_its_incident_without_a_key(
    fresh_worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINK_KEY", "k" * 32)
    assert fresh_worker.invoke("detect") is None
    detail = fresh_worker.module.job().desk.incidents()[0]
    link = LinkSigner(SecretStr("k" * 32), API).link_to(detail.incident.id, NOON) or ""
    answer = fresh_worker.ask("look", "GET", link, {})
    assert answer.status == 200
    assert b"<form" not in answer.body
    assert fresh_worker.ask("look", "GET", link[:-1], {}).status == 404
    assert fresh_worker.ask("look", "GET", f"{link.partition('?')[0]}?until=999999999999", {}).status == 404


def _records(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The run records in the log."""
    lines = [record.getMessage() for record in caplog.records if record.name == "detection"]
    return [line for line in map(json.loads, lines) if line["event"] == "detection.run"]


# -------------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedule_of_the_sample_is_the_default(name: str) -> None:
    assert SAMPLE[name] == Settings.model_fields[name].default


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedule_leaves_no_hour_out(name: str) -> None:
    assert schedule_problem(SAMPLE[name]) == ""


# ------------------------------------------------------------------------------------------------------ files


def test_settings_in_the_schedules_of_the_triggers_exist() -> None:
    assert set(re.findall(r"%(\w+)%", SOURCE)) == SCHEDULES & set(SAMPLE) & set(Settings.model_fields)


def test_sample_has_every_setting_of_the_job_and_the_host() -> None:
    assert set(SAMPLE) == set(Settings.model_fields) | set(HOST_SETTINGS)


def test_sample_has_the_settings_of_the_host() -> None:
    assert {name: SAMPLE[name] for name in HOST_SETTINGS} == HOST_SETTINGS


def test_sample_is_accepted() -> None:
    storage = settings_from(SAMPLE).INCIDENT_STORAGE
    assert storage
    assert storage.get_secret_value() == "UseDevelopmentStorage=true"


def test_sample_holds_no_secret() -> None:
    assert {SAMPLE[name] for name in secret_settings()} == {"", "UseDevelopmentStorage=true"}


def test_limits_derive_from_the_time_of_the_host() -> None:
    hours, minutes, seconds = map(int, HOST["functionTimeout"].split(":"))
    assert timedelta(hours=hours, minutes=minutes, seconds=seconds) == FUNCTION_TIMEOUT


def test_run_ends_before_the_next_run_and_before_another_run_takes_it_for_dead() -> None:
    assert FUNCTION_TIMEOUT < LONGEST_RUN < timedelta(hours=1)


def test_host_leaves_a_run_beyond_its_time_the_time_to_record_its_failure_and_to_deliver() -> None:
    last_steps = timedelta(seconds=LONGEST_CALL + HEARTBEAT_DEADLINE) + DEADLINE  # of a claimed message
    assert RUN_TIME + GRACE + last_steps <= FUNCTION_TIMEOUT


def test_reading_leaves_time_to_commit_at_least_that_of_a_last_answer() -> None:
    assert timedelta(seconds=LONGEST_REQUEST) < RUN_TIME - READ_TIME
    assert READ_TIME.total_seconds() == LIMITS.seconds


def test_app_has_at_most_90_lines() -> None:
    assert len(SOURCE.splitlines()) <= 90


@pytest.fixture(scope="module")
def imports() -> set[str]:
    """The third-party packages that a fresh interpreter imports for the app."""
    command = [sys.executable, "-c", LIST_IMPORTS]
    return set(json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout))


def test_app_imports_no_package_of_the_command_line(imports: set[str]) -> None:
    assert imports & KEYBOARD == set()


def test_app_imports_only_the_listed_packages(imports: set[str]) -> None:
    # azure.functions imports orjson where it is installed; only the benchmarks need it.
    assert imports - {"orjson"} == IMPORTED


def test_settings_page_is_up_to_date() -> None:
    assert SETTINGS_PAGE.read_bytes() == settings_page().encode(), "run `make schemas`"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_settings_page_explains_the_setting(name: str) -> None:
    (row,) = [line for line in settings_page().splitlines() if line.startswith(f"| `{name}` |")]
    assert row.split("|")[-2].strip().endswith(".")


def test_secret_settings_are_complete() -> None:
    assert secret_settings() == {
        "INCIDENT_STORAGE",
        "WEBHOOK_URL",
        "WEBHOOK_SECRET",
        "WEBHOOKS",
        "HEARTBEAT_URL",
        "LINK_KEY",
        "PAGE_KEY",
    }
