"""An alert in the words of a terminal, and the texts that all messages share.

Values from the logs may come from an attacker: control and direction characters are escaped, so that no
terminal obeys them, and names that mix scripts are marked, so that they pass for no other.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from detection.base.scripts import mixed_scripts
from detection.base.timestamps import iso
from detection.correlation.output import BEYOND, OutputRow
from detection.incidents.alert import Alert, Counts
from detection.rules.model import Rule, Side

WIDTH = 200  # characters of one value in a line
WORDS = 500  # characters of the title, and of the events of one side in words


def title(alert: Alert, rule: Rule) -> str:
    """The alert in words: "alice created an API key, then hit the content filter 14 times within 3 h"."""
    changes = in_words(alert.change_kinds, rule.sequence.changes)
    signals = in_words(alert.signal_kinds, rule.sequence.signals)
    begin = row_time(alert.first_pair, rule.sequence.changes)
    length = row_time(alert.last_pair, rule.sequence.signals) - begin
    span = "a minute"
    for unit, name in ((timedelta(minutes=1), "min"), (timedelta(hours=1), "h")):
        if length >= unit:
            span = f"{-(-length // unit)} {name}"
    return f"{escape_name(alert.actor)} {changes}, then {signals} within {span}"


def lines(alert: Alert, rule: Rule) -> list[str]:
    """The alert in a few lines: title, incident, the first and the last pair."""
    pairs = {"first": alert.first_pair} | ({"last": alert.last_pair} if alert.counts.pairs > 1 else {})
    beyond = (row.get(BEYOND) for row in pairs.values())
    reasons = sorted({str(reason) for reasons in beyond if isinstance(reasons, list) for reason in reasons})
    return [
        f"{alert.severity.upper()}  {title(alert, rule)}",
        f"  {alert.action} {alert.incident} · {counts_text(alert.counts)} · run of {iso(alert.time)}",
        *(f"  {name:<5}  {pair_line(row, rule)}" for name, row in pairs.items()),
        *([f"  beyond the published rule: {', '.join(reasons)}"] if reasons else []),
        *([f"  {flood_note(alert)}"] if alert.flood_until else []),
    ]


def flood_note(alert: Alert) -> str:
    """The note of an alert at high volume; an empty text for any other alert."""
    return f"High volume: {covered_by_flood(alert.flood_until)}" if alert.flood_until else ""


def covered_by_flood(flood_until: datetime) -> str:
    """The events that an alert at high volume covers."""
    until = iso(flood_until)
    return f"this alert covers everything of this actor up to {until}; later activity alerts separately"


def escape_line(value: object, width: int = WIDTH) -> str:
    """A value from the logs as one line, escaped, with an ellipsis where it is cut to `width` characters."""
    line = escape_control(str(value)[: width + 1])
    return line if len(line) <= width else line[:width] + "…"


def escape_name(value: object, width: int = WIDTH) -> str:
    """A name, an address or an id from the logs as `escape_line` has it, marked if it mixes scripts."""
    return escape_line(value, width) + script_mark(value, width)


def script_mark(value: object, width: int = WIDTH) -> str:
    """The mark that follows a name which mixes scripts; else an empty text."""
    scripts = mixed_scripts(str(value)[:width])
    return f" [mixed scripts: {', '.join(scripts)}]" if scripts else ""


def escape_control(text: str) -> str:
    """A text of any length on one line, with control and direction characters as escapes."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def in_words(kinds: Mapping[str, int], side: Side) -> str:
    """The events of one side in words, with their numbers: "created an API key twice and assigned a role"."""
    times = {1: "", 2: " twice"}
    *leading, last = (
        escape_line(side.label(kind)) + times.get(number, f" {number} times")
        for kind, number in kinds.items()
    )
    return f"{', '.join(leading)} and {last}" if leading else last


def plural(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless the number is 1."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def counts_text(counts: Counts) -> str:
    """The numbers of changes, signals and pairs with their nouns."""
    changes, signals = plural(counts.changes, "change"), plural(counts.signals, "signal")
    return f"{changes}, {signals}, {plural(counts.pairs, 'pair')}"


def row_time(row: OutputRow, side: Side) -> datetime:
    """The time (UTC) of a side's event in a row as the rule's query returns it."""
    return datetime.fromisoformat(str(row[side.time]))


def pair_line(row: OutputRow, rule: Rule) -> str:
    """A pair in one line: the change, an arrow, the signal."""
    sides = []
    for side in (rule.sequence.changes, rule.sequence.signals):
        values = [row[name] for name in row if name in side.columns and name not in (side.actor, side.id)]
        texts = (", ".join(map(str, value)) if isinstance(value, list) else value for value in values)
        sides.append(" ".join(escape_name(text) for text in texts if text not in ("", None)))
    return " → ".join(sides)


def first_that_fits(messages: Iterable[bytes], limit: int) -> bytes:
    """The first of ever shorter messages that has at most `limit` bytes, else the last.

    Renders no message after it.
    """
    message = b""
    for message in messages:
        if len(message) <= limit:
            break
    return message


def decreasing_counts(count: int) -> range:
    """The counts from `count` down to 0."""
    return range(count, -1, -1)
