"""The messages of alerts and of updates: to which destinations they go, and under which ids."""

import json
from dataclasses import replace

import pytest

from detection.correlation.detection import Detection, correlate_logs
from detection.delivery.rendering import FORMATS, message_renderer, update_messages
from detection.incidents.decide import Circumstances, Verdict, decide
from detection.incidents.incident import Action, Incident
from detection.incidents.key_state import KeyState
from detection.messages.context import alert_context
from detection.messages.links import MessageLinks
from detection.settings import MessageFormat, Webhook
from detection.store.outbox import Delivery
from tests.support.builders import (
    HOUR,
    RULE,
    START,
    account,
    act,
    change_row,
    closed_at_start,
    first_windows,
    logs,
    signal_row,
)

WINDOWS = first_windows(START + HOUR)
LINKS = MessageLinks(page="https://func.example/api/look/in_1")


def webhook(name: str, message_format: MessageFormat = "native", **settings: object) -> Webhook:
    key = {"routing_key": "r" * 32} if message_format == "pagerduty" else {}
    values = {"name": name, "url": "https://soc.example/hook", "format": message_format, **key, **settings}
    return Webhook.model_validate(values)


def decided() -> tuple[Verdict, Detection]:
    """A verdict with an alert of severity High, and the detection that it is of."""
    read = logs([change_row("c", START)], [signal_row("s", START)], WINDOWS)
    detection = correlate_logs(read, RULE, WINDOWS)
    verdict = decide(detection.chains, Circumstances(RULE, WINDOWS), KeyState(account()))
    assert verdict
    return verdict, detection


@pytest.mark.parametrize("message_format", FORMATS)
def test_alert_is_written_for_a_destination_in_its_format(message_format: MessageFormat) -> None:
    verdict, detection = decided()
    assert verdict.alert
    messages = message_renderer([webhook("soc", message_format)], lambda *_: LINKS)(verdict, detection)
    body = FORMATS[message_format](alert_context(verdict, RULE, WINDOWS, LINKS))
    alert, now = verdict.alert, WINDOWS.now
    assert messages == [
        Delivery(f"{alert.alert}_soc", "soc", alert.incident, verdict.state.commits, body, now, now)
    ]


def test_alert_goes_to_all_destinations_that_accept_its_severity() -> None:
    webhooks = [webhook("a"), webhook("b", minimum_severity="High"), webhook("c")]
    verdict, detection = decided()
    assert verdict.alert
    medium = replace(verdict, alert=replace(verdict.alert, severity="Medium"))
    render = message_renderer(webhooks)
    assert [message.destination for message in render(verdict, detection)] == ["a", "b", "c"]
    assert [message.destination for message in render(medium, detection)] == ["a", "c"]


def test_verdict_without_an_alert_has_no_message() -> None:
    verdict, detection = decided()
    assert message_renderer([webhook("soc")])(replace(verdict, alert=None), detection) == []


@pytest.mark.parametrize(
    "done, action", [("acknowledged", "acknowledge"), ("closed", "resolve")], ids=["ack", "close"]
)
def test_update_of_an_incident_goes_to_pagerduty_only(done: Action, action: str) -> None:
    incident = act(Incident("in_1", 1, START, START, 1, 1, None), done, "carol", START)
    webhooks = [webhook("soc"), webhook("pager", "pagerduty"), webhook("chat", "slack")]

    [message] = update_messages(webhooks, incident, 7, START + HOUR)

    assert json.loads(message.body) == {"event_action": action, "dedup_key": "in_1"}
    later = START + HOUR
    assert replace(message, body=b"") == Delivery("in_1_7_pager", "pager", "in_1", 7, b"", later, later)


def test_silence_and_reopening_change_nothing_in_pagerduty() -> None:
    incident = Incident("in_1", 1, START, START, 1, 1, None)
    for update in (
        act(incident, "silenced", "carol", START),
        act(closed_at_start(incident), "reopened", "carol", START),
    ):
        assert update_messages([webhook("pager", "pagerduty")], update, 7, START) == []
