"""Fixtures that several modules share: one Azurite serves them all. And what holds for every test: no secret gets out."""

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from detection.base.sign_in import sign_in
from tests.chaos.summary import table
from tests.support.azurite import azure_table, azurite, azurite_over_tls
from tests.support.secrecy import leaks

TESTS = Path(__file__).parent
# The files that take longest, longest first: were they last, one core would work while the others wait.
HEAVY = (
    "infra/test_parameters.py",
    "infra/test_package.py",
    "backtest/test_backtest.py",
    "logs/test_actors.py",
    "web/test_page_in_browser.py",
    "check/test_checks.py",
    "test_whole_line.py",
    "ruletests/test_suite.py",
    "logs/test_coverage.py",
    "logs/log_analytics/test_client.py",
    "logs/files/test_loading.py",
    "cli/test_main.py",
    "cli/test_run.py",
    "logs/log_analytics/test_reading.py",
    "cli/test_silences.py",
    "chaos/test_clock_rules_settings.py",
    "chaos/test_killed.py",
    "infra/test_alarms.py",
    "test_telemetry.py",
)

# How long an example takes says how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

__all__ = ["azure_table", "azurite", "azurite_over_tls"]


@pytest.fixture(autouse=True)
def signed_out() -> None:
    """No test gets the identity of another one."""
    sign_in.cache_clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test fails whose output, captured by now, holds a secret."""
    report = yield
    leaked = leaks(text for _, text in report.sections)
    if call.when == "teardown" and leaked:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} printed or logged {', '.join(leaked)}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The heavy files come first; with `--no-loadscope-reorder` xdist hands files out in this order."""
    order = {TESTS / name: position for position, name in enumerate(HEAVY)}
    items.sort(key=lambda test: order.get(test.path, len(order)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table that the chaos tests come to."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    entered = [value for report in reports for name, value in report.user_properties if name == "chaos"]
    if lines := table(entered):
        terminalreporter.section("chaos")
        terminalreporter.write_line("\n".join(lines))
