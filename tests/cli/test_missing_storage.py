"""Without INCIDENT_STORAGE there is no incident table: commands and the function app refuse, `run` says so."""

import os
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from detection.app import start
from detection.base.errors import ConfigurationError
from detection.cli.main import app
from detection.settings import Settings
from tests.regenerate import LOGS

LAST = datetime(2026, 6, 10, 12, tzinfo=UTC)
SPAN = ("--from", "2026-06-09T00:00:00Z", "--to", "2026-06-10T00:00:00Z")
COMMANDS = [
    ("incidents", "list"),
    ("incidents", "show", "in_1"),
    ("incidents", "ack", "in_1", "--direct"),
    ("incidents", "assign", "in_1", "bob", "--direct"),
    ("incidents", "comment", "in_1", "x", "--direct"),
    ("incidents", "close", "in_1", "--as", "benign", "--direct"),
    ("incidents", "reopen", "in_1", "--direct"),
    ("incidents", "serve"),
    ("incidents", "silence", "in_1", "--for", "PT1H", "--reason", "x", "--direct"),
    ("incidents", "stats"),
    ("silences", "add", "x", "--for", "PT1H", "--reason", "x", "--actor", "alice@example.com", "--direct"),
    ("silences", "list"),
    ("silences", "lift", "x", "--direct"),
    ("runs",),
    ("deliver",),
    ("deliver", "--retry-dead", "--direct"),
    ("run", "--gap"),
    ("backtest", "--logs", str(LOGS), *SPAN, "--silences"),
]


@pytest.fixture(autouse=True)
def _logs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGS_DIR", str(LOGS))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command_that_uses_the_table_is_refused(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, ConfigurationError)
    assert str(result.exception).startswith("settings: INCIDENT_STORAGE is missing")
    assert result.stdout == ""


def test_every_command_over_the_table_is_in_the_list() -> None:
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    assert groups
    listed = {(command[0], command[1]) for command in COMMANDS if command[0] in groups}
    names = {
        (str(name), command.name or command.callback.__name__)
        for name, group in groups.items()
        if group
        for command in group.registered_commands
        if command.callback
    }
    assert names == listed


def test_run_says_that_its_incidents_are_in_memory() -> None:
    result = CliRunner().invoke(app, ["run", "--at", "2026-06-10T12:00:00Z"])
    assert result.exit_code == 0
    assert result.stderr.startswith("INCIDENT_STORAGE is not set: incidents are in memory")


def test_run_without_a_destination_says_that_its_alerts_notify_no_person() -> None:
    result = CliRunner().invoke(app, ["run", "--at", "2026-06-10T12:00:00Z"])
    assert "no destination is set, so alerts notify no person; set WEBHOOK_URL" in result.stderr


def test_function_app_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="INCIDENT_STORAGE is missing"):
        start(os.environ, lambda: LAST)
