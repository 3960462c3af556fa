"""The messages: their content, their limits, and that values from the logs are nothing but text."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from detection.base.json_types import type_adapter
from detection.base.timestamps import iso
from detection.delivery.rendering import FORMATS
from detection.delivery.webhook import with_routing_key
from detection.incidents.alert import Alert, RaisedBy
from detection.incidents.decide import Circumstances, Verdict, decide
from detection.incidents.key_state import KeyState
from detection.incidents.severity import group_by_actor
from detection.logs.events import Event
from detection.messages import native as native_module
from detection.messages import pagerduty as pagerduty_module
from detection.messages import slack as slack_module
from detection.messages import teams as teams_module
from detection.messages.changes import UNDO
from detection.messages.context import PAIRS_SHOWN, AlertContext, alert_context
from detection.messages.facts import facts
from detection.messages.links import MessageLinks
from detection.messages.native import native
from detection.messages.pagerduty import pagerduty, resolve
from detection.messages.slack import slack
from detection.messages.teams import teams
from detection.store.layout import ROW_SIZE
from tests.regenerate import MESSAGES, message_files
from tests.support.builders import (
    ALICE,
    HOUR,
    RULE,
    START,
    TICK,
    account,
    chains,
    change,
    first_windows,
    signal,
)
from tests.support.contexts import LINKS, golden_context, incident_opened_at, made_up_context

Json = dict[str, Any]

HOSTILE = {
    "channel mention": "<!channel>",
    "everyone": "@everyone",
    "link": "<http://evil.example|click>",
    "markup": "*bold* _x_ `code` &amp; <@U123>",
    "right-to-left": "alice\u202egpj.exe\u2066",
    "control": "a\x1b[31m\x00\r\nHIGH b\x07",
    "long": "a" * 60_000,
    "long escapes": "\x1b" * 60_000,
    "long emoji": "😀" * 60_000,
    "long quotes": '"\\' * 30_000,
}
hostile = pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
every_format = pytest.mark.parametrize("render", FORMATS.values(), ids=FORMATS)


@pytest.mark.parametrize("name", message_files())
def test_message_is_what_is_kept(name: str) -> None:
    assert message_files()[name] == (MESSAGES / name).read_bytes(), "run `make schemas`"


@every_format
def test_same_alert_is_the_same_bytes(render: Callable[[AlertContext], bytes]) -> None:
    assert render(golden_context()) == render(golden_context())


def test_verdict_without_an_alert_tells_nothing() -> None:
    with pytest.raises(ValueError, match="has no alert"):
        alert_context(Verdict(KeyState(account()), []), RULE, first_windows())


# ----------------------------------------------------------------------------------------------------- native


def test_native_has_the_shape_of_standard_webhooks() -> None:
    message = json.loads(native(made_up_context()))
    assert list(message) == ["type", "timestamp", "data"]
    assert message["type"] == "detection.alert.opened"
    assert message["timestamp"] == iso(START)


def test_native_names_the_rule() -> None:
    rule = _data(made_up_context())["rule"]
    assert (rule["rule"], rule["id"], rule["version"]) == (RULE.folder, str(RULE.id), RULE.version)
    assert (rule["name"], rule["description"]) == (RULE.name, RULE.description)
    assert tuple(rule["tactics"]) == RULE.tactics
    assert tuple(rule["techniques"]) == RULE.relevant_techniques


def test_native_tells_an_opened_incident() -> None:
    incident = _data(made_up_context(3))["incident"]
    assert (incident["action"], incident["number"], incident["predecessor"]) == ("opened", 1, None)
    assert (incident["opened"], incident["updated"]) == (iso(START), iso(START))
    assert (incident["alerts"], incident["pairs"]) == (1, 3)


def test_native_tells_an_updated_incident() -> None:
    message = json.loads(native(made_up_context(3, incident=incident_opened_at(START - HOUR))))
    incident = message["data"]["incident"]
    assert message["type"] == "detection.alert.updated"
    assert (incident["id"], incident["action"]) == ("in_1", "updated")
    assert (incident["opened"], incident["updated"]) == (iso(START - HOUR), iso(START))
    assert (incident["alerts"], incident["pairs"]) == (2, 5)


def test_native_names_the_predecessor() -> None:
    incident = _data(golden_context())["incident"]
    assert (incident["number"], incident["predecessor"]) == (2, "in_1")


def test_native_names_actor_severity_key_and_entities() -> None:
    data = _data(made_up_context())
    assert (data["actor"], data["severity"], data["key"]) == (ALICE, "High", {"Account": ALICE})
    assert data["entities"][:2] == [
        {"type": "Account", "Name": ALICE},
        {"type": "IP", "Address": "203.0.113.7"},
    ]


def test_native_says_in_words_what_happened() -> None:
    data = _data(made_up_context(3))
    assert data["changes"] == "created an API key"
    assert data["signals"] == "hit the content filter 3 times"
    assert data["title"] == f"{ALICE} created an API key, then hit the content filter 3 times within 2 h"


def test_native_counts_all_and_by_kind() -> None:
    data = _data(made_up_context(3))
    assert data["counts"] == {"changes": 1, "signals": 3, "pairs": 3}
    assert (data["change_kinds"], data["signal_kinds"]) == ({"api_key.created": 1}, {"content_filter": 3})


def test_native_shows_first_and_last_pair() -> None:
    data = _data(made_up_context(3))
    assert (data["first_pair"]["AbuseId"], data["last_pair"]["AbuseId"]) == ("chatcmpl-0", "chatcmpl-2")


def test_native_shows_the_newest_pairs_and_how_many_more() -> None:
    data = _data(made_up_context(30))
    assert [row["AbuseId"] for row in data["pairs"]] == [f"chatcmpl-{n}" for n in range(29, 9, -1)]
    assert data["more_pairs"] == 10


def test_native_shows_all_pairs_where_they_are_few() -> None:
    data = _data(made_up_context(PAIRS_SHOWN))
    assert (len(data["pairs"]), data["more_pairs"]) == (PAIRS_SHOWN, 0)


def test_native_shows_the_windows() -> None:
    windows = _data(made_up_context())["windows"]
    assert windows["signals"] == {"after": iso(first_windows().signals.after), "until": iso(START)}
    assert windows["changes"]["after"] == iso(first_windows().changes.after)
    assert windows["gap"] is None


@pytest.mark.parametrize("fraction", [0 * TICK, 120_000 * TICK, TICK])
def test_times_of_an_alert_have_a_fraction_only_when_it_is_not_zero(fraction: timedelta) -> None:
    time = START + fraction
    context = made_up_context()
    alert = replace(context.alert, time=time, flood_until=time)
    data = _data(replace(context, alert=alert))
    assert (data["time"], data["flood_until"]) == (iso(time), iso(time))
    stored = type_adapter(Alert).dump_json(alert)
    assert f'"time":"{iso(time)}"'.encode() in stored
    assert type_adapter(Alert).validate_json(stored) == alert


def test_native_shows_the_kql_that_was_sent() -> None:
    queries = _data(made_up_context())["queries"]
    assert list(queries) == ["changes", "signals"]
    for text in queries.values():
        assert f"let changes_after = datetime({iso(first_windows().changes.after)});" in text
        assert RULE.changes_kql in text


def test_pair_that_stands_at_several_times_is_shown_once() -> None:
    repeated_signals = [
        signal("s1", START - HOUR),
        signal("s1", START - HOUR + TICK),
        signal("s2", START - HOUR / 2),
    ]
    actor_chains = chains([change("c1", START - 2 * HOUR)], repeated_signals)
    verdict = decide(actor_chains, Circumstances(RULE, first_windows()), KeyState(account()))
    assert verdict is not None
    data = _data(alert_context(verdict, RULE, first_windows()))
    assert [row["AbuseId"] for row in data["pairs"]] == ["s2", "s1"]
    assert (data["counts"]["pairs"], data["more_pairs"]) == (2, 0)


@hostile
def test_native_stays_short(value: str) -> None:
    assert (
        len(native(made_up_context(30, value, ip=value, model=value)))
        <= native_module.MESSAGE_BYTES
        < ROW_SIZE
    )


def test_native_counts_the_pairs_that_its_length_leaves_out() -> None:
    data = _data(made_up_context(30, "😀" * 60_000, model="😀" * 60_000))
    assert len(data["pairs"]) < PAIRS_SHOWN
    assert len(data["pairs"]) + data["more_pairs"] == 30


@hostile
def test_native_is_plain_ascii_on_one_line(value: str) -> None:
    message = native(made_up_context(3, value, ip=value, model=value))
    assert all(0x20 <= byte < 0x7F for byte in message)


# ------------------------------------------------------------------------------------------------------ slack


def test_slack_tells_the_alert() -> None:
    text = "\n".join(element["text"] for element in _elements(json.loads(slack(golden_context()))))
    for part in (
        f"🔴 {ALICE} created API key key_Vn3Qy8LsTz0KdWc5, then hit the content filter 3 times within 2 h",
        "Incident: opened in_",
        ", after in_1",
        "So far: 1 alert, 3 pairs",
        "New: 1 change, 3 signals, 3 pairs",
        "Severity: High: created an API key, then hit the content filter 3 times",
        "Changed: created API key key_Vn3Qy8LsTz0KdWc5 (scopes: api.model.request) in project Payments, from ",
        "project Payments, from Chrome on macOS, 203.0.113.7",
        f"Actor: {ALICE}",
        "Tactics: Persistence, DefenseEvasion, Execution (T1098, T1556, T1059)",
        "api_key.created 203.0.113.7 key_Vn3Qy8LsTz0KdWc5 → ",
        RULE.name,
        f"signals from {iso(first_windows().signals.after)} to {iso(START)}",
    ):
        assert part in text


def test_slack_shows_the_newest_pairs_first_and_counts_the_rest() -> None:
    evidence = _evidence(json.loads(slack(made_up_context(500))))
    shown = [line.rpartition(" ")[2] for line in evidence[:-1]]
    assert shown == [f"req_chatcmpl-{499 - n}" for n in range(len(shown))]
    assert len(shown) > 5
    assert evidence[-1] == f"and {500 - len(shown)} pairs more"


def test_slack_shows_all_pairs_where_they_are_few() -> None:
    evidence = _evidence(json.loads(slack(made_up_context(3))))
    assert len(evidence) == 3


def test_slack_has_a_fallback_without_markup() -> None:
    message = json.loads(slack(made_up_context(3, "<!channel> & <http://x|click>")))
    assert "&lt;!channel&gt; &amp; &lt;http://x|click&gt;" in message["text"]
    assert message["mrkdwn"] is False


@hostile
def test_slack_stays_below_its_limits(value: str) -> None:
    body = slack(made_up_context(30, value, ip=value, model=value))
    message = json.loads(body)
    header, facts, *sections, origin = message["blocks"]
    assert len(body) <= slack_module.MESSAGE_BYTES == 10_000
    assert len(header["text"]["text"]) <= 150
    assert len(facts["fields"]) <= 10
    assert all(0 < len(field["text"]) <= 2_000 for field in facts["fields"])
    assert all(0 < len(section["text"]["text"]) <= 3_000 for section in sections)
    assert len(origin["elements"]) <= 10


@hostile
def test_slack_says_how_many_pairs_it_leaves_out(value: str) -> None:
    evidence = _evidence(json.loads(slack(made_up_context(30, value, ip=value, model=value))))
    assert evidence[-1] == f"and {30 - len(evidence[:-1])} pairs more"


@hostile
def test_slack_has_hostile_values_in_plain_text_only(value: str) -> None:
    message = json.loads(slack(made_up_context(3, value, ip=value, model=value)))
    links = [element["text"] for element in _elements(message) if element["type"] != "plain_text"]
    assert links == [
        element["text"]
        for element in _elements(json.loads(slack(golden_context())))
        if element["type"] == "mrkdwn"
    ]
    assert {block["type"] for block in message["blocks"]} == {"header", "section", "context"}
    assert "<" not in message["text"]
    assert ">" not in message["text"]


@hostile
def test_slack_shows_no_control_or_direction_characters(value: str) -> None:
    message = json.loads(slack(made_up_context(3, value, ip=value, model=value)))
    texts = [message["text"], *(element["text"] for element in _elements(message))]
    assert all(line.isprintable() for text in texts for line in text.split("\n"))
    assert len(_evidence(message)) <= 4


# -------------------------------------------------------------------------------------------------- addresses


def _addresses(*earlier: Event) -> str:
    """The fact "Addresses" of an alert with one change, after earlier changes were read too."""
    actor_chains = chains([change("c", START - 2 * HOUR)], [signal("s", START - HOUR)])
    changes_by_actor = group_by_actor([*actor_chains[0].changes, *earlier])
    verdict = decide(
        actor_chains, Circumstances(RULE, first_windows(), changes_by_actor), KeyState(account())
    )
    assert verdict is not None
    return dict(
        facts(
            alert_context(
                verdict,
                RULE,
                first_windows(),
            )
        )
    )["Addresses"]


def test_address_that_the_actor_had_before_is_not_new() -> None:
    assert _addresses(change("c0", START - 9 * HOUR)) == "203.0.113.7"


def test_address_that_the_actor_never_had_is_new() -> None:
    earlier_change = change("c0", START - 9 * HOUR, ip="198.51.100.1")
    assert _addresses(earlier_change) == "203.0.113.7 (new for this actor)"


@pytest.mark.parametrize(
    "earlier_change",
    [
        change("c0", START - 9 * HOUR, "bob@example.com", ip="198.51.100.1"),
        change("c0", START - HOUR, ip="198.51.100.1"),
    ],
    ids=["another actor's", "a later one"],
)
def test_address_of_an_actors_first_change_is_not_called_new(earlier_change: Event) -> None:
    assert _addresses(earlier_change) == "203.0.113.7"


# ------------------------------------------------------------------------------------- what every format says

people = pytest.mark.parametrize("render", [slack, teams, pagerduty], ids=["slack", "teams", "pagerduty"])


@people
def test_update_says_that_it_is_one(render: Callable[[AlertContext], bytes]) -> None:
    assert f"Update: {ALICE} created" in _text(
        render(made_up_context(incident=incident_opened_at(START - HOUR)))
    )
    assert "Update: " not in _text(render(made_up_context()))


@people
def test_message_tells_what_happened_in_order(render: Callable[[AlertContext], bytes]) -> None:
    text = _text(render(made_up_context()))
    steps = (
        "2026-03-02T08:00:00Z  created an API key (203.0.113.7)",
        "2026-03-02T09:00:00Z  hit the content filter 3 times (gpt-4o-2024-08-06)",
    )
    assert -1 < text.find(steps[0]) < text.find(steps[1])


@people
def test_message_shows_the_first_three_steps_of_the_runbook(render: Callable[[AlertContext], bytes]) -> None:
    text = _text(render(made_up_context()))
    steps = [step.replace(UNDO, "") for step in RULE.on_call.runbook]
    assert all(f"{number}. {step}" in text for number, step in enumerate(steps, 1))
    assert len(RULE.on_call.runbook) == 3


@every_format
def test_whole_runbook_is_on_the_page_of_the_incident(render: Callable[[AlertContext], bytes]) -> None:
    text = _text(render(made_up_context())).replace("&amp;", "&")
    assert f"{LINKS.page}#runbook" in text
    assert "runbook.md" not in text


@every_format
def test_message_without_a_page_leads_to_no_runbook(render: Callable[[AlertContext], bytes]) -> None:
    assert "#runbook" not in _text(render(made_up_context(links=MessageLinks())))


@every_format
def test_message_leads_to_the_page_the_portal_and_the_runbook(
    render: Callable[[AlertContext], bytes],
) -> None:
    book = "https://wiki.example/runbooks/openai?a=1&b=2"
    rule = RULE.model_copy(update={"on_call": RULE.on_call.model_copy(update={"runbook_url": book})})
    text = _text(render(made_up_context(rule=rule))).replace("&amp;", "&")
    assert all(url and url in text for url in (LINKS.page, LINKS.portal, book))


@people
def test_raised_severity_says_so(render: Callable[[AlertContext], bytes]) -> None:
    context = made_up_context()
    raised_by = RaisedBy(changes=["api_key.created"], signals=[], new_address=True)
    alert = replace(context.alert, severity_raised=True, raised_by=raised_by, new_addresses=["203.0.113.7"])
    low_rule = RULE.model_copy(update={"severity": "Low"})
    assert (
        "High: created an API key, then hit the content filter 3 times; address new for this actor; "
        "raised from Low"
    ) in _text(render(replace(context, alert=alert, rule=low_rule)))


def _text(body: bytes) -> str:
    """Every text of a message, one after the other."""
    return "\n".join(_texts(json.loads(body)))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _texts(child)


# ------------------------------------------------------------------------------------------------------ teams


@hostile
def test_teams_stays_below_its_limit_and_says_what_it_leaves_out(value: str) -> None:
    body = teams(made_up_context(30, value, ip=value, model=value))
    assert len(body) <= teams_module.MESSAGE_BYTES < 21_000
    pair_texts = [text for text in _runs(json.loads(body)) if " → " in text]
    remainder_texts = [text for text in _runs(json.loads(body)) if text.startswith("and ")]
    assert remainder_texts == (
        [f"and {30 - len(pair_texts)} pairs more"] if len(pair_texts) < 20 else ["and 10 pairs more"]
    )


@hostile
def test_teams_has_hostile_values_in_text_runs_only(value: str) -> None:
    message = json.loads(teams(made_up_context(3, value, ip=value, model=value)))
    card = message["attachments"][0]["content"]
    assert card["actions"] == json.loads(teams(golden_context()))["attachments"][0]["content"]["actions"]
    assert {element["type"] for element in card["body"]} == {"RichTextBlock"}
    assert {run["type"] for element in card["body"] for run in element["inlines"]} == {"TextRun"}
    assert card["fallbackText"] == teams_module.FALLBACK
    assert set(card) == {"$schema", "type", "version", "fallbackText", "msteams", "body", "actions"}
    assert card["msteams"] == {"width": "Full"}  # no entities, so no mentions


@hostile
def test_teams_shows_no_control_or_direction_characters(value: str) -> None:
    assert all(
        text.isprintable()
        for text in _runs(json.loads(teams(made_up_context(3, value, ip=value, model=value))))
    )


def test_teams_is_the_envelope_of_a_workflow() -> None:
    message = json.loads(teams(made_up_context()))
    (attachment,) = message["attachments"]
    assert message["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["content"]["type"] == "AdaptiveCard"


# -------------------------------------------------------------------------------------------------- pagerduty


def test_pagerduty_has_one_key_for_an_incident() -> None:
    opened, updated = (
        json.loads(pagerduty(context))
        for context in (made_up_context(), made_up_context(incident=incident_opened_at(START - HOUR)))
    )
    assert opened["dedup_key"].startswith("in_")
    assert updated["dedup_key"] == "in_1"
    assert json.loads(resolve("in_1")) == {"event_action": "resolve", "dedup_key": "in_1"}


@hostile
def test_pagerduty_keeps_its_limits(value: str) -> None:
    body = pagerduty(made_up_context(30, value, ip=value, model=value))
    event = json.loads(body)
    assert len(body) <= pagerduty_module.MESSAGE_BYTES
    assert len(event["payload"]["summary"]) <= 1_024
    assert len(event["dedup_key"]) <= 255
    assert event["payload"]["severity"] == "critical"
    assert event["payload"]["custom_details"]["Pairs"].endswith("pairs more")


@hostile
def test_pagerduty_shows_no_control_or_direction_characters(value: str) -> None:
    payload = json.loads(pagerduty(made_up_context(3, value, ip=value, model=value)))["payload"]
    texts = [payload["summary"], *payload["custom_details"].values()]
    assert all(line.isprintable() for text in texts for line in text.split("\n"))


def test_pagerduty_event_has_its_routing_key_only_when_it_is_sent() -> None:
    body = pagerduty(made_up_context())
    assert b"routing_key" not in body
    sent = json.loads(with_routing_key(body, 'k"1'))
    assert sent == {"routing_key": 'k"1', **json.loads(body)}


def test_pagerduty_names_the_organization_and_links_the_client_to_the_page() -> None:
    event = json.loads(pagerduty(golden_context()))
    assert event["payload"]["source"] == "example-org"
    assert (event["client"], event["client_url"]) == ("openai-config-to-abuse", LINKS.page)
    unnamed = json.loads(pagerduty(made_up_context(links=MessageLinks())))
    assert unnamed["payload"]["source"] == RULE.name
    assert "client_url" not in unnamed


@people
def test_message_has_no_time_without_a_zone(render: Callable[[AlertContext], bytes]) -> None:
    text = _text(render(made_up_context()))
    times = re.findall(r"\d\d:\d\d:\d\d(?:\.\d+)?.?", text)
    assert len(times) > 4
    assert all(time.endswith("Z") for time in times)


def _runs(message: Json) -> list[str]:
    """Every text of a Teams message."""
    body = message["attachments"][0]["content"]["body"]
    return [run["text"] for element in body for run in element["inlines"]]


def _data(context: AlertContext) -> Json:
    data: Json = json.loads(native(context))["data"]
    return data


def _elements(message: Json) -> Iterator[Json]:
    """Every text element of a Slack message."""
    for block in message["blocks"]:
        yield from [block["text"]] if "text" in block else block.get("fields") or block["elements"]


def _evidence(message: Json) -> list[str]:
    """The lines of the pairs, below their heading."""
    text: str = message["blocks"][3]["text"]["text"]
    heading, *lines = text.split("\n")
    assert heading == "Pairs, the newest first"
    return lines


@every_format
def test_actor_who_looks_like_another_is_marked_in_every_message(
    render: Callable[[AlertContext], bytes],
) -> None:
    context = golden_context()
    actor = "\N{CYRILLIC SMALL LETTER A}lice@example.com"
    message = render(replace(context, alert=replace(context.alert, actor=actor)))
    assert f"{actor} [mixed scripts: Cyrillic, Latin] " in json.dumps(json.loads(message), ensure_ascii=False)
    assert b"mixed scripts" not in render(context)


def test_names_for_machines_are_not_marked() -> None:
    context = golden_context()
    actor = "\N{CYRILLIC SMALL LETTER A}lice@example.com"
    data = json.loads(native(replace(context, alert=replace(context.alert, actor=actor))))["data"]
    assert data["actor"] == actor
