"""An alert as an on-call reads it in a terminal.

Everything that comes from the logs is attacker-written: control and direction characters are made
visible instead of being obeyed.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from detection.correlation.output import BEYOND, OutputRow
from detection.incidents.alert import Alert
from detection.rules.model import Rule, Side

WIDTH = 200  # characters of one value in a line
WORDS = 500  # characters of the title, and of what happened on one side


def title(alert: Alert, rule: Rule) -> str:
    """Who did what, and then what: "alice created an API key, then hit the content filter 14 times within 3 h"."""
    changes = in_words(alert.change_kinds, rule.sequence.changes)
    signals = in_words(alert.signal_kinds, rule.sequence.signals)
    return f"{escape_line(alert.actor)} {changes}, then {signals} within {_span(alert, rule)}"


def lines(alert: Alert, rule: Rule) -> list[str]:
    """The alert in a few lines: title, incident, the first and the last pair."""
    counts = alert.counts
    size = f"{plural(counts.changes, 'change')}, {plural(counts.signals, 'signal')}, {plural(counts.pairs, 'pair')}"
    reasons = sorted({reason for row in (alert.first_pair, alert.last_pair) for reason in _beyond(row)})
    pairs = {"first": alert.first_pair} | ({"last": alert.last_pair} if counts.pairs > 1 else {})
    return [
        f"{alert.severity.upper()}  {title(alert, rule)}",
        f"  {alert.action} {alert.incident} · {size} · run of {alert.time}",
        *(f"  {name:<5}  {pair_line(row, rule)}" for name, row in pairs.items()),
        *([f"  beyond the published rule: {', '.join(reasons)}"] if reasons else []),
        *([f"  {flood_note(alert)}"] if alert.flood_until else []),
    ]


def flood_note(alert: Alert) -> str:
    """What is to be known of an alert with too many signals to remember; nothing of any other."""
    return (
        f"Flood: everything of this actor up to {alert.flood_until} counts as told"
        if alert.flood_until
        else ""
    )


def escape_line(value: object, width: int = WIDTH) -> str:
    """A value from the logs as one short line that no terminal obeys."""
    line = escape_control(str(value)[: width + 1])
    return line if len(line) <= width else line[:width] + "…"


def escape_control(text: str) -> str:
    """A text of any length on one line, with control and direction characters shown instead of obeyed."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def in_words(kinds: Mapping[str, int], side: Side) -> str:
    """What happened on one side, and how often: "created an API key twice and assigned a role"."""
    return _join_phrases(escape_line(side.label(kind)) + _times(number) for kind, number in kinds.items())


def _times(number: int) -> str:
    return {1: "", 2: " twice"}.get(number, f" {number} times")


def _join_phrases(phrases: Iterable[str]) -> str:
    *leading, last = phrases
    return f"{', '.join(leading)} and {last}" if leading else last


def plural(number: int, noun: str) -> str:
    """A number of things, in the plural unless it is one."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _span(alert: Alert, rule: Rule) -> str:
    """From the first change to the last signal, in the unit that fits."""
    begin = datetime.fromisoformat(str(alert.first_pair[rule.sequence.changes.time]))
    end = datetime.fromisoformat(str(alert.last_pair[rule.sequence.signals.time]))
    for unit, name in ((timedelta(hours=1), "h"), (timedelta(minutes=1), "min")):
        if end - begin >= unit:
            return f"{-(-(end - begin) // unit)} {name}"
    return "a minute"


def pair_line(row: OutputRow, rule: Rule) -> str:
    """A pair in one line: the change, an arrow, the signal."""
    return " → ".join(_side(row, side) for side in (rule.sequence.changes, rule.sequence.signals))


def _side(row: OutputRow, side: Side) -> str:
    values = (row[name] for name in row if name in side.columns and name not in (side.actor, side.id))
    return " ".join(escape_line(_flat(value)) for value in values if value not in ("", None))


def _flat(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _beyond(row: OutputRow) -> list[str]:
    reasons = row.get(BEYOND, [])
    return [str(reason) for reason in reasons] if isinstance(reasons, list) else []


Variant = TypeVar("Variant")


def render_to_fit(variants: Iterable[Variant], render: Callable[[Variant], bytes], limit: int) -> bytes:
    """The message in the first of some ways, each with less in it, that fits into a number of bytes; else in the last."""
    message = b""
    for variant in variants:
        message = render(variant)
        if len(message) <= limit:
            break
    return message


def decreasing_counts(count: int) -> range:
    """So many things, and then fewer and fewer, down to none."""
    return range(count, -1, -1)
