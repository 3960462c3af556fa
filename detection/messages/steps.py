"""What happened, in order: a line for changes that follow each other, a line for the signals up to the next change."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from detection.base.timestamps import iso
from detection.correlation.correlate import Chain
from detection.logs.events import Event, without_duplicates
from detection.messages.text import escape_line, in_words
from detection.rules.model import Rule, Side

STEPS_SHOWN = 12  # steps; the first stay, for they are how it began
LEADING_STEPS = 2
VALUES_SHOWN = 3  # addresses or models of a step


@dataclass(frozen=True, slots=True)
class Step:
    """Changes, or signals, with none of the other between them: when (ISO 8601, UTC), by kind, from where or to what.

    `entity_values` are the addresses or models, or whatever else the rule's entities name beside the actor.
    """

    side: str
    begin: str
    end: str
    kinds: Mapping[str, int]
    entity_values: Sequence[str]


def steps(chains: Sequence[Chain], rule: Rule) -> list[Step]:
    """The steps that lead through the chains' changes and signals, in order of time; a change comes before its signals."""
    events = [
        (event.time, number, event)
        for number, events in enumerate(
            (
                without_duplicates([event for chain in chains for event in chain.changes]),
                without_duplicates([event for chain in chains for event in chain.signals]),
            )
        )
        for event in events
    ]
    events.sort(key=lambda entry: entry[:2])
    names = list(rule.sequence.sides)
    return [
        _step(names[number], [event for _, _, event in side_entries], rule)
        for number, side_entries in groupby(events, key=lambda entry: entry[1])
    ]


def step_lines(all_steps: Sequence[Step], rule: Rule) -> list[str]:
    """The steps, a line each; of many the first and the last, and how many are between."""
    omitted_count = len(all_steps) - STEPS_SHOWN
    lines = [_line(step, rule.sequence.sides[step.side]) for step in all_steps]
    if omitted_count <= 0:
        return lines
    omission = f"… {omitted_count} steps between …"
    return [*lines[:LEADING_STEPS], omission, *lines[LEADING_STEPS + omitted_count :]]


def _step(name: str, events: Sequence[Event], rule: Rule) -> Step:
    side = rule.sequence.sides[name]
    places = [
        place for mapping in rule.entity_mappings for place in rule.entity_places(mapping.entity_type, side)
    ]
    values = (
        str(event.row[place]) for event in events for place in places if place != side.place_of(side.actor)
    )
    return Step(
        side=name,
        begin=iso(events[0].time),
        end=iso(events[-1].time),
        kinds=dict(Counter(event.kind for event in events).most_common()),
        entity_values=list(_first_few(filter(None, values))),
    )


def _first_few(values: Iterable[str]) -> Iterator[str]:
    return (value for value, _ in zip(dict.fromkeys(values), range(VALUES_SHOWN + 1), strict=False))


def _line(step: Step, side: Side) -> str:
    entity_text = ", ".join(map(escape_line, step.entity_values[:VALUES_SHOWN])) + (
        " and more" if len(step.entity_values) > VALUES_SHOWN else ""
    )
    return f"{_time_text(step)}  {in_words(step.kinds, side)}" + (f" ({entity_text})" if entity_text else "")


def _time_text(step: Step) -> str:
    """The stretch of a step, to the second; of one day the day stands once."""
    begin, end = (datetime.fromisoformat(text) for text in (step.begin, step.end))
    begin_text, end_text = (f"{moment:%d %b %H:%M:%S}" for moment in (begin, end))
    if end_text == begin_text:
        return begin_text
    return f"{begin_text} to {end:%H:%M:%S}" if end.date() == begin.date() else f"{begin_text} to {end_text}"
