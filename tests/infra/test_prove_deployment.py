"""scripts/prove_deployment.py against a web server that answers as the deployed app would, whole or broken."""

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import ModuleType

import pytest

from detection.base.timestamps import iso
from detection.check.checklist import green, red
from detection.check.health import HEALTH_REPORT, HealthReport
from tests.regenerate import ROOT

KEY = "made-up"
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RULE = "openai-config-to-abuse"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "prove_deployment", ROOT / "scripts" / "prove_deployment.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = script()


@dataclass
class DeployedApp:
    """An app by its faults. Time passes only while the script waits; a run takes no time."""

    now: datetime = NOON
    page_status: int = 401
    run_status: int = 204
    run_completes: bool = True
    timers_fire: bool = True
    health_body: bytes | None = None
    rules: dict[str, datetime | None] = field(default_factory=lambda: {RULE: NOON - HOUR})
    requests: list[str] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        before, self.now = self.now, self.now + timedelta(seconds=seconds)
        due = before.replace(minute=5, second=0) + (HOUR if before.minute >= 5 else timedelta(0))
        if self.timers_fire and due <= self.now:
            self.rules = dict.fromkeys(self.rules, due)

    def respond(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        self.requests.append(f"{method} {path}")
        if path == "/api/incidents":
            assert "x-functions-key" not in headers
            assert headers["x-ms-client-principal-name"]
            return self.page_status, b""
        if headers.get("x-functions-key") != KEY:
            return 401, b""
        if path == "/api/run":
            if self.run_completes:
                self.rules = dict.fromkeys(self.rules, self.now + timedelta(seconds=1))
            return self.run_status, b""
        return 200, self.health_body or self.health()

    def health(self) -> bytes:
        runs = {name: iso(time) if time else None for name, time in self.rules.items()}
        finding = green("rules", "1 rule.") if self.run_completes else red("rules", "no role", "Wait.")
        return HEALTH_REPORT.dump_json(HealthReport(finding.level, iso(self.now), runs, [finding]))


@contextmanager
def serving(app: DeployedApp) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body = app.respond(self.command, self.path, headers)
            self.send_response(status)
            if status == 302:
                self.send_header("location", "https://login.example/")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815  # the names that the server looks for

        def log_message(self, *_: object) -> None:
            """Stays silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def prove(app: DeployedApp, key: str = KEY) -> None:
    with serving(app) as url:
        SCRIPT.prove(SCRIPT.App(url, key, lambda: app.now, app.sleep))


def failure(app: DeployedApp, key: str = KEY) -> str:
    with pytest.raises(SCRIPT.NotProvenError) as error:
        prove(app, key)
    return str(error.value)


@pytest.mark.parametrize("status", [302, 401, 403])
def test_deployment_is_proven_by_a_run_that_was_asked_for_and_one_of_the_timer(
    status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    app = DeployedApp(page_status=status)
    prove(app)
    assert app.now >= NOON + 5 * MINUTE  # the timer's turn
    assert app.requests[:2] == ["GET /api/incidents", "POST /api/run"]
    assert f"A forged sign-in is refused (HTTP {status})." in capsys.readouterr().out


def test_long_run_that_the_platform_answers_for_is_waited_for() -> None:
    app = DeployedApp(run_status=504)
    prove(app)
    assert app.now >= NOON + 5 * MINUTE


def test_forged_sign_in_that_gets_in_is_found() -> None:
    assert "azd env set PAGE_CLIENT_ID ''" in failure(DeployedApp(page_status=200))


def test_run_before_the_deployment_proves_nothing() -> None:
    app = DeployedApp(run_completes=False, timers_fire=False, run_status=500)
    message = failure(app)
    assert "No complete run is recorded" in message
    assert "red: rules: no role Wait." in message
    assert app.now >= NOON + SCRIPT.RUN_WITHIN


def test_rule_that_has_no_complete_run_is_waited_for() -> None:
    app = DeployedApp(rules={RULE: NOON + HOUR, "other": None}, run_completes=False, timers_fire=False)
    assert '"other": null' in failure(app)


def test_timers_that_do_not_fire_are_found_while_runs_complete() -> None:
    app = DeployedApp(timers_fire=False)
    assert failure(app).startswith(SCRIPT.TIMERS_STOPPED)
    assert app.now >= NOON + SCRIPT.TIMER_WITHIN


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"status": "green"}', b'{"last_complete_runs": {}}'])
def test_answer_that_names_no_run_proves_nothing(body: bytes) -> None:
    assert "docs/deploy.md" in failure(DeployedApp(health_body=body))


def test_wrong_key_is_named() -> None:
    assert "APP_KEY" in failure(DeployedApp(), key="other")


def test_package_that_is_not_deployed_is_named() -> None:
    assert "package is not deployed" in failure(DeployedApp(page_status=404))


def test_app_that_does_not_answer_is_named() -> None:
    app = DeployedApp()
    with serving(app) as url:
        pass
    with pytest.raises(SCRIPT.NotProvenError, match="does not answer"):
        SCRIPT.prove(SCRIPT.App(url, KEY, lambda: app.now, app.sleep))


def test_run_may_take_as_long_as_the_host_lets_it() -> None:
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    hours, minutes, seconds = map(int, host["functionTimeout"].split(":"))
    limit = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    assert limit < SCRIPT.RUN_WITHIN
    assert HOUR + limit < SCRIPT.TIMER_WITHIN
