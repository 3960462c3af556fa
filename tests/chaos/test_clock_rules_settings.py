"""What people and machines change between runs: the clock, the rule, the settings."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.scenarios import FAULT_HOUR, EnterFigures, chaos_only, enter, marked_parameters
from tests.chaos.stage import DAY, LAST, RULE, Stage
from tests.chaos.table_proxy import dating
from tests.chaos.world import FIRST_RUN, HOUR

__all__ = ["enter"]
ROOT = Path(__file__).parents[2]
# Settings, and what the line of the failed run must name.
BROKEN = {
    "a wrong webhook": ({"WEBHOOK_URL": "ftp://example.com"}, "WEBHOOK_URL"),
    "a webhook with a long label": ({"WEBHOOK_URL": f"https://{'a' * 64}.example/x"}, "WEBHOOK_URL"),
    "a heartbeat with a long label": ({"HEARTBEAT_URL": f"https://{'a' * 64}.example/x"}, "HEARTBEAT_URL"),
    "no workspace": ({"LOG_ANALYTICS_WORKSPACE_ID": ""}, "LOG_ANALYTICS_WORKSPACE_ID"),
    "a catch-up out of range": ({"MAX_CATCH_UP": "P99D"}, "MAX_CATCH_UP"),
    "an unknown rule": ({"RULES": "nothing-of-that-name"}, "nothing-of-that-name"),
    "a table storage that is none": ({"INCIDENT_STORAGE": "hunter2"}, "table storage"),
    "a client secret without a tenant": (
        {"LOG_ANALYTICS_ENDPOINT": "https://api.loganalytics.io", "AZURE_CLIENT_SECRET": "hunter2"},
        "AZURE_TENANT_ID",
    ),
}


@pytest.mark.parametrize("hours", marked_parameters((-1, 1, -3, 3), always=(-1,), slow=(1,)))
def test_clock_of_one_run_is_hours_off(stage: Stage, enter: EnterFigures, hours: int) -> None:
    stage.runs(0, 1)
    assert stage.run(FAULT_HOUR, clock=FAULT_HOUR + hours) == 0
    stage.runs(FAULT_HOUR + 1)
    enter("clock: hours back or ahead for a run", stage.evaluate())


@chaos_only
def test_clock_is_set_back_and_forth(stage: Stage, enter: EnterFigures) -> None:
    for hour, clock in ((0, 0), (1, 2), (2, 1), (3, 4.5), (4, 3), (5, 5), (6, 5)):
        assert stage.run(hour, clock=clock) == 0
    stage.runs(LAST + 1, LAST + 2)
    enter("clock: back and forth at every run", stage.evaluate())


def test_clock_of_one_run_is_days_ahead(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)
    stage.proxy.fault = dating(FIRST_RUN + FAULT_HOUR * HOUR)
    assert stage.run(FAULT_HOUR, clock=FAULT_HOUR + 72, cause="clock") == 1
    assert [(failure.now, failure.error) for failure in stage.failures] == [
        (FIRST_RUN + FAULT_HOUR * HOUR, "configuration")
    ]
    assert stage.run(FAULT_HOUR, "deliver") == 0
    stage.runs(FAULT_HOUR + 1)
    enter("clock: days ahead for a run", stage.evaluate())


@pytest.mark.parametrize("name", marked_parameters(BROKEN, always=(), slow=("a wrong webhook",)))
def test_settings_are_broken_for_a_run(stage: Stage, enter: EnterFigures, name: str) -> None:
    stage.runs(0, 1)
    old_settings = dict(stage.settings)
    settings, cause = BROKEN[name]
    stage.settings |= settings
    assert stage.run(FAULT_HOUR, cause=cause) == 1
    assert stage.figures.fault.requests["query API"] == stage.figures.fault.requests["webhook"] == 0
    assert [line["error"] for line in stage.lines if line.get("outcome") == "failed"] == ["configuration"]
    stage.settings = old_settings
    stage.runs(FAULT_HOUR + 1)
    enter("settings: broken for a run", stage.evaluate())


@chaos_only
def test_lateness_is_raised_to_a_week(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)
    stage.settings["ALLOWED_LATENESS"] = "P7D"
    for hour in range(FAULT_HOUR, LAST + 1):
        assert stage.run(hour) == 0
    enter("settings: lateness raised to a week", stage.evaluate())


# ------------------------------------------------------------------------------------------------------ rule edited

Edit = Callable[[str], str]
EDITS: dict[str, Edit] = {
    "severity": lambda text: text.replace("severity: High", "severity: Medium"),
    "version": lambda text: text.replace("version: 1.0.0", "version: 9.0.0"),
    "within": lambda text: text.replace("within: PT24H", "within: PT48H"),
    "lookback": lambda text: text.replace("lookbackDuration: PT24H", "lookbackDuration: PT1H"),
    "grouping by all": lambda text: text.replace("matchingMethod: Selected", "matchingMethod: AllEntities"),
    "no grouping": lambda text: text.replace("matchingMethod: Selected", "matchingMethod: AnyAlert"),
    "another entity": lambda text: text.replace(
        "groupByEntities:\n      - Account", "groupByEntities:\n      - IP"
    ),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=chaos_only) for name in EDITS])
def test_rule_is_edited_between_runs(stage: Stage, enter: EnterFigures, tmp_path: Path, name: str) -> None:
    """The next runs come from a copy of the job in which the rule is another, as after a deployment."""
    stage.runs(0, 1)
    job = _edited(tmp_path, EDITS[name])
    for hour in range(FAULT_HOUR, LAST + 1):
        _run(job, stage, hour)
    enter(f"rule edited: {name}", stage.evaluate(lookback=HOUR if name == "lookback" else DAY))


def _edited(folder: Path, edit: Edit) -> Path:
    shutil.copytree(ROOT / "detection", folder / "detection")
    rule = folder / "detection" / "content" / "rules" / RULE.folder / "rule.yaml"
    old_text = rule.read_text()
    rule.write_text(edit(old_text))
    assert rule.read_text() != old_text
    return folder


def _run(job: Path, stage: Stage, hour: int) -> None:
    time = FIRST_RUN + hour * HOUR
    stage.api.moment = time
    subprocess.run(
        [sys.executable, "-m", "detection", "run", "--at", time.isoformat()],
        cwd=job,
        env={**os.environ, **stage.environment},
        check=True,
        capture_output=True,
    )
