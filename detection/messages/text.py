"""The texts that all messages share: titles, sizes, changes and signals in words.

Values from the logs may come from an attacker: control and direction characters are escaped, so that no
terminal obeys them, and names that mix scripts are marked, so that they pass for no other.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from detection.base.scripts import mixed_scripts
from detection.base.timestamps import iso
from detection.correlation.output import OutputRow, row_time
from detection.incidents.alert import Alert, Counts
from detection.incidents.changed_object import ChangedObject
from detection.incidents.evidence import KIND
from detection.incidents.extent import Extent
from detection.rules.model import Rule, Side

WIDTH = 200  # characters of one value in a line
WORDS = 500  # characters of the title, and of the events of one side in words
TARGET = 60  # characters of the name of a changed object
NO_TARGETS: Mapping[object, str] = {}
TARGETS_SHOWN = 3  # changed objects of a type; further objects are counted


def title(alert: Alert, rule: Rule) -> str:
    """The alert in words: "alice created API key key_1, then hit the content filter 14 times within 3 h"."""
    changes = changes_in_words(alert.change_kinds, targets_by_kind(alert.changed_objects), rule)
    signals = in_words(alert.signal_kinds, rule.sequence.signals)
    began = row_time(alert.first_pair, rule.sequence.changes)
    ended = row_time(alert.last_pair, rule.sequence.signals)
    return f"{escape_name(alert.actor)} {changes}, then {signals} within {_span(began, ended)}"


def incident_title(extent: Extent, rule: Rule) -> str:
    """The alerts of an incident in words, as `title` has an alert."""
    changes = changes_in_words(extent.change_kinds, targets_by_kind(extent.changed_objects), rule)
    signals = in_words(extent.signals, rule.sequence.signals)
    return f"{escape_name(extent.actor)} {changes}, then {signals} within {_span(extent.began, extent.ended)}"


def _span(began: datetime, ended: datetime) -> str:
    span, length = "a minute", ended - began
    for unit, name in ((timedelta(minutes=1), "min"), (timedelta(hours=1), "h")):
        if length >= unit:
            span = f"{-(-length // unit)} {name}"
    return span


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
    return _joined(escape_line(side.label(kind)) + _times(number) for kind, number in kinds.items())


def changes_in_words(kinds: Mapping[str, int], targets: Mapping[str, Sequence[str]], rule: Rule) -> str:
    """The changes in words, with their numbers and the names of their objects."""
    phrases = []
    for kind, number in kinds.items():
        names = targets.get(kind[:KIND], ())
        if number == 1 and len(names) == 1:
            phrases.append(change_phrase(kind, names[0], rule))
            continue
        phrase = escape_line(rule.sequence.changes.label(kind)) + _times(number)
        shown = [escape_name(name, TARGET) for name in names[:TARGETS_SHOWN]]
        if shown and number > len(shown):
            shown[-1] += f" and {number - len(shown):,} more"
        phrases.append(phrase + (f" ({', '.join(shown)})" if shown else ""))
    return _joined(phrases)


def change_phrase(kind: str, target: str, rule: Rule) -> str:
    """A change with the name of its object: "created API key key_1"; its label if the log has no name."""
    change_type, label = rule.change_types.get(kind.lower()), escape_line(rule.sequence.changes.label(kind))
    name = escape_name(target, TARGET)
    if not name:
        return label
    return change_type.words.replace("{target}", name) if change_type else f"{label} {name}"


def targets_by_kind(changed_objects: Iterable[ChangedObject]) -> dict[str, list[str]]:
    """The names of changed objects by the type of the change, without duplicates."""
    targets: dict[str, list[str]] = {}
    for changed in changed_objects:
        if changed.target and changed.target not in targets.get(changed.kind, ()):
            targets.setdefault(changed.kind, []).append(changed.target)
    return targets


def severity_text(alert: Alert, rule: Rule) -> str:
    """The severity with its reason in one line.

    "High: created an API key, then hit the content filter 47 times; address new for this actor". Of a raised
    severity only the evidence that raised it, and the severity of the rule.
    """
    change_kinds, signal_kinds, raised_by = alert.change_kinds, alert.signal_kinds, alert.raised_by
    if raised_by:
        change_kinds = _kinds_in(change_kinds, raised_by.changes)
        signal_kinds = _kinds_in(signal_kinds, raised_by.signals)
    changes = in_words(change_kinds, rule.sequence.changes)
    text = f"{alert.severity}: {changes}, then {in_words(signal_kinds, rule.sequence.signals)}"[:WORDS]
    if alert.new_addresses and (raised_by is None or raised_by.new_address):
        text += "; address new for this actor"
    return text + (f"; raised from {rule.severity}" if alert.severity_raised else "")


def _kinds_in(kinds: Mapping[str, int], names: Sequence[str]) -> Mapping[str, int]:
    """The kinds that a condition names, or all."""
    return {kind: number for kind, number in kinds.items() if kind.lower() in names} or kinds


def _times(number: int) -> str:
    return {1: "", 2: " twice"}.get(number, f" {number:,} times")


def _joined(phrases: Iterable[str]) -> str:
    *leading, last = phrases
    return f"{', '.join(leading)} and {last}" if leading else last


def plural(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless the number is 1."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def counts_text(counts: Counts) -> str:
    changes, signals = plural(counts.changes, "change"), plural(counts.signals, "signal")
    return f"{changes}, {signals}, {plural(counts.pairs, 'pair')}"


def pair_line(row: OutputRow, rule: Rule, targets: Mapping[object, str] = NO_TARGETS) -> str:
    """A pair in one line: the change, an arrow, the signal. `targets` are names of objects by change id."""
    sides = []
    for side in (rule.sequence.changes, rule.sequence.signals):
        values = [row[name] for name in row if name in side.columns and name not in (side.actor, side.id)]
        texts = [", ".join(map(str, value)) if isinstance(value, list) else value for value in values]
        texts.append(targets.get(row.get(side.id)))
        sides.append(" ".join(escape_name(text) for text in texts if text not in ("", None)))
    return " → ".join(sides)


def first_that_fits(messages: Iterable[bytes], limit: int) -> bytes:
    """The first of ever shorter messages with at most `limit` bytes, else the last. Renders none after it."""
    message = b""
    for message in messages:
        if len(message) <= limit:
            break
    return message


def decreasing_counts(count: int) -> range:
    return range(count, -1, -1)
