"""An alert in words, and values from the logs that try to be more than text."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from unicodedata import category

import pytest

from detection.cli.output import write_rejected, write_rows
from detection.correlation.output import MAX_VALUE_LENGTH, output_columns
from detection.incidents.alert import Alert, AlertWindows, Counts
from detection.logs.events import Rejected
from detection.logs.window import Window
from detection.messages.facts import lines
from detection.messages.text import WIDTH, escape_line, title
from detection.rules.loading import default_rule, load_rule

RULE = load_rule(default_rule())
READ_WINDOW = Window(datetime(2026, 6, 7, 10, tzinfo=UTC), datetime(2026, 6, 9, 10, tzinfo=UTC))

HOSTILE = {
    "ansi escape": "\x1b[31;1mroot\x1b[0m\x1b]0;title\x07",
    "c1 control": "\x9b2Jroot",
    "newline": "alice\nHIGH  bob created an API key\r\n",
    "right-to-left override": "alice\u202e@evil\u2066moc.elpmaxe",
    "zero width": "al\u200bice\ufeff",
    "line separator": "alice\u2028bob\u2029",
    "lone surrogate": "alice\ud800",
    "nul and backspace": "alice\x00\x08\x08\x08root\x7f",
    "tag characters": "alice\U000e0041\U000e0042",
    "long": "a" * 60_000,
    "long and not printable": "\x1b" * 60_000,
}


def pair(minutes: int = 0, actor: str = "alice@example.com", **values: object) -> dict[str, object]:
    """A row as the rule's query returns it; the signal is some minutes after 10:00."""
    return {
        "ConfigTime": "2026-06-09T10:00:00Z",
        "ConfigEvent": "api_key.created",
        "ActorEmail": actor,
        "ConfigIp": "203.0.113.24",
        "AbuseTime": f"2026-06-09T{10 + minutes // 60:02}:{minutes % 60:02}:00Z",
        "ModelName": "gpt-4o-2024-08-06",
        "EventFinishReasons": ["content_filter"],
        "EventRequestId": "req_1",
        "ConfigId": "audit_log-1",
        "AbuseId": "chatcmpl-1",
        "Beyond": [],
    } | values


def alert(
    changes: Mapping[str, int] | None = None,
    signals: Mapping[str, int] | None = None,
    *,
    minutes: int = 175,
    actor: str = "alice@example.com",
) -> Alert:
    """An alert with these numbers of changes and signals by kind, from 10:00 on."""
    changes, signals = changes or {"api_key.created": 1}, signals or {"content_filter": 14}
    counts = sum(changes.values()), sum(signals.values())
    return Alert(
        alert="al_1",
        incident="in_1",
        action="opened",
        rule=RULE.folder,
        time=datetime(2026, 6, 9, 14, tzinfo=UTC),
        key={"Account": actor},
        actor=actor,
        severity="High",
        first_pair=pair(min(minutes, 12), actor),
        last_pair=pair(minutes, actor),
        counts=Counts(*counts, counts[0] * counts[1]),
        change_kinds=changes,
        signal_kinds=signals,
        entities=[{"type": "Account", "Name": actor}],
        windows=AlertWindows(READ_WINDOW, READ_WINDOW, None),
        flood_until=None,
        new_addresses=[],
        severity_raised=False,
        matched_by={},
    )


def test_title_says_who_did_what_and_then_what() -> None:
    assert title(alert(), RULE) == (
        "alice@example.com created an API key, then hit the content filter 14 times within 3 h"
    )


@pytest.mark.parametrize(
    "number, words",
    [
        (1, "then hit the content filter within"),
        (2, "then hit the content filter twice within"),
        (3, "then hit the content filter 3 times within"),
        (1_000, "then hit the content filter 1,000 times within"),
    ],
)
def test_title_counts_in_words(number: int, words: str) -> None:
    assert words in title(alert(signals={"content_filter": number}), RULE)


def test_title_lists_several_kinds_on_both_sides() -> None:
    mixed_alert = alert(
        {"api_key.created": 1, "role.assignment.created": 2},
        {"content_filter": 3, "length": 2, "none": 1},
    )
    assert title(mixed_alert, RULE) == (
        "alice@example.com created an API key and assigned a role twice, "
        "then hit the content filter 3 times, was cut for length twice "
        "and returned no finish reason within 3 h"
    )


def test_kind_without_words_is_named_as_it_is() -> None:
    assert "alice@example.com logging.configured, then" in title(alert({"logging.configured": 1}), RULE)


@pytest.mark.parametrize(
    "minutes, words",
    [
        (0, "within a minute"),
        (1, "within 1 min"),
        (59, "within 59 min"),
        (60, "within 1 h"),
        (61, "within 2 h"),
        (180, "within 3 h"),
    ],
)
def test_span_is_rounded_up_in_the_unit_that_fits(minutes: int, words: str) -> None:
    assert title(alert(minutes=minutes), RULE).endswith(words)


def test_lines_say_severity_incident_size_and_both_ends() -> None:
    headline, reason, summary, *pair_lines = lines(alert(), RULE)
    assert headline == f"HIGH  {title(alert(), RULE)}"
    assert reason == "  High: created an API key, then hit the content filter 14 times"
    assert summary == "  opened in_1 · 1 change, 14 signals, 14 pairs · run of 2026-06-09T14:00:00Z"
    assert [line.split()[0] for line in pair_lines] == ["first", "last"]
    assert "2026-06-09T10:00:00Z api_key.created" in pair_lines[0]
    assert "→ 2026-06-09T12:55:00Z gpt-4o-2024-08-06" in pair_lines[1]


def test_single_pair_is_shown_once() -> None:
    shown = lines(alert(signals={"content_filter": 1}, minutes=12), RULE)
    assert "1 change, 1 signal, 1 pair ·" in shown[2]
    assert len(shown) == 4


def test_what_goes_beyond_the_published_rule_is_said_once() -> None:
    beyond = replace(
        alert(), first_pair=pair(12, Beyond=["api_key_actor"]), last_pair=pair(175, Beyond=["api_key_actor"])
    )
    assert lines(beyond, RULE)[-1] == "  beyond the published rule: api_key_actor"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_actor_is_inert_and_short_in_text(text: str) -> None:
    shown = lines(alert(actor=text[:MAX_VALUE_LENGTH]), RULE)
    assert [line for line in shown if _obeyed(line)] == []
    assert len(shown) == len(lines(alert(), RULE))
    assert max(map(len, shown)) < WIDTH + 200


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_values_are_inert_and_short_in_a_pair(text: str) -> None:
    spoiled = pair(12, ConfigIp=text, ModelName=text, EventRequestId=text, ConfigEvent=text, Beyond=[])
    shown = lines(replace(alert(), first_pair=spoiled), RULE)
    assert [line for line in shown if _obeyed(line)] == []
    assert max(map(len, shown)) < 6 * WIDTH


def test_hostile_kind_is_inert_in_the_title() -> None:
    assert not _obeyed(title(alert({HOSTILE["ansi escape"]: 1}), RULE))


def test_hostile_character_is_shown_instead_of_obeyed() -> None:
    assert escape_line("al\x1b[1mice\u202e\n") == "al\\u001b[1mice\\u202e\\u000a"


def test_ordinary_text_of_any_language_stays_as_it_is() -> None:
    assert escape_line("Zoë Müller, 山田 太郎, Ольга") == "Zoë Müller, 山田 太郎, Ольга"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_actor_is_inert_and_short_in_the_table(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows([pair(actor=text)], output_columns(RULE), "table")
    printed = capsys.readouterr().out
    assert not _obeyed(printed.replace("\n", ""))
    assert len(printed.splitlines()) < 50


@pytest.mark.parametrize("text", ["[red]alice[/red]", "[link=https://evil.example]x[/link]", "[/]", ":bomb:"])
def test_markup_is_text_like_any_other(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows([{"Actor": text}], ["Actor"], "table")
    assert text in capsys.readouterr().out
    assert text in title(alert(actor=text), RULE)


def test_hostile_file_name_is_inert_in_remarks(capsys: pytest.CaptureFixture[str]) -> None:
    write_rejected({"changes, no actor": Rejected(1_200, "a\x1b[31m.jsonl:3")})
    assert capsys.readouterr().err == "left out: 1,200 x changes, no actor (first: a\\u001b[31m.jsonl:3)\n"


def _obeyed(text: str) -> list[str]:
    """The characters that a terminal might obey: controls, format and direction characters, separators."""
    return [char for char in text if category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
