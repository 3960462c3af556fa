"""Names that mix scripts are marked wherever a person reads them; calls to copy are exact, and values for machines."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from detection.cli.summary import incident_lines
from detection.delivery.templates import render
from detection.messages.changes import undo_steps
from detection.messages.context import AlertContext
from detection.messages.digest import as_native, as_pagerduty, make_digest
from detection.messages.native import native
from detection.messages.pagerduty import pagerduty
from detection.messages.slack import slack
from detection.messages.teams import teams
from tests.backtest.test_backtest import BEGIN, backtest
from tests.support import raw_logs
from tests.support.builders import HOUR, RULE, START, change, signal
from tests.support.contexts import alert_of, digest_entry, made_up_context
from tests.support.page_world import PageWorld, parse_page

A = "\N{CYRILLIC SMALL LETTER A}"
EVE, ALICE, ORGANIZATION = f"eve@ex{A}mple.org", f"{A}lice@example.com", f"ex{A}mple"
MARK = "[mixed scripts: Cyrillic, Latin]"
DETAILS = json.dumps({"id": "invite_1", "data": {"email": EVE}})
STEP = f"Withdraw the invitation of {EVE} {MARK}: "
INVITED = change("c", START - 2 * HOUR, kind="invite.sent", details=DETAILS)


def text_of(message: bytes) -> str:
    """A message with its texts as they are read."""
    return json.dumps(json.loads(message), ensure_ascii=False)


def test_step_that_undoes_a_change_marks_its_object_and_the_call_has_the_id_alone() -> None:
    (step,) = undo_steps(alert_of(INVITED), RULE)
    assert step.step.startswith(STEP)
    assert step.call.endswith("/invites/invite_1")
    look_alike = DETAILS.replace("invite_1", f"invite_{A}")
    changed = change("c", START - 2 * HOUR, kind="invite.sent", details=look_alike)
    (step,) = undo_steps(alert_of(changed), RULE)
    assert step.call.endswith("/invites/ID")


@pytest.mark.parametrize("render_message", [native, slack, teams, pagerduty])
def test_message_marks_the_object_in_the_step_that_undoes_its_change(
    render_message: Callable[[AlertContext], bytes],
) -> None:
    context = made_up_context()
    assert STEP in text_of(render_message(replace(context, alert=alert_of(INVITED))))


def test_page_and_terminal_mark_the_object_in_the_step_that_undoes_its_change() -> None:
    world = PageWorld(now=START + 24 * HOUR)
    name = world.commit_new([INVITED], [signal("s", START - HOUR)])
    assert STEP in " ".join(parse_page(world.get(f"incidents/{name}")).text.split())
    detail = world.job.desk.incident(name)
    assert any(STEP in line for line in incident_lines(detail, RULE))


def test_backtest_marks_the_actor_in_its_table_and_its_report(tmp_path: Path) -> None:
    time, file = BEGIN + 30 * HOUR, tmp_path / "report.html"
    raw_logs.write(
        tmp_path,
        [raw_logs.audit("c", ALICE, time, arrived=time)],
        [raw_logs.completion("s", ALICE, time + timedelta(minutes=9), arrived=time)],
    )
    assert MARK in "".join(backtest(tmp_path, "--report", file).out.split("\n"))
    assert f"{ALICE} {MARK}" in file.read_text(encoding="utf-8")


def test_mattermost_marks_the_actor_and_the_native_message_does_not() -> None:
    message = native(made_up_context(actor=ALICE))
    (attachment,) = json.loads(render("mattermost.json.j2", message))["attachments"]
    assert attachment["fields"][1]["value"] == f"`{ALICE} {MARK}`"
    assert json.loads(message)["data"]["actor"] == ALICE


def test_pagerduty_marks_the_organization_as_its_source() -> None:
    event = json.loads(pagerduty(made_up_context(organization=ORGANIZATION)))
    assert event["payload"]["source"] == f"{ORGANIZATION} {MARK}"
    digest = make_digest("dg_1", START, [replace(digest_entry(1), organization=ORGANIZATION)], RULE)
    assert json.loads(as_pagerduty(digest))["payload"]["source"] == f"{ORGANIZATION} {MARK}"
    assert json.loads(as_native(digest))["data"]["organizations"] == [ORGANIZATION]
