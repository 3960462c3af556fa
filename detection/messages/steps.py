"""What happened, in order: a line for changes that follow each other, a line for the signals up to the next change. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from detection.correlate import Chain
from detection.events import Event, unique
from detection.messages.text import in_words, inert
from detection.rule import Rule, Side
from detection.timestamps import iso

SHOWN = 12  # steps; the first stay, for they are how it began
FIRST = 2
NAMED = 3  # addresses or models of a step


@dataclass(frozen=True, slots=True)
class Step:
    """Changes, or signals, with none of the other between them: when (ISO 8601, UTC), by kind, from where or to what.

    `of` are the addresses or models, or whatever else the rule's entities name beside the actor.
    """

    side: str
    at: str
    until: str
    kinds: Mapping[str, int]
    of: Sequence[str]


def steps(told: Sequence[Chain], rule: Rule) -> list[Step]:
    """The steps that lead through the chains' changes and signals, in order of time; a change comes before its signals."""
    events = [
        (event.time, number, event)
        for number, events in enumerate(
            (
                unique([event for one in told for event in one.changes]),
                unique([event for one in told for event in one.signals]),
            )
        )
        for event in events
    ]
    events.sort(key=lambda one: one[:2])
    names = list(rule.sequence.sides)
    return [
        _step(names[number], [event for _, _, event in some], rule)
        for number, some in groupby(events, key=lambda one: one[1])
    ]


def step_lines(all_steps: Sequence[Step], rule: Rule) -> list[str]:
    """The steps, a line each; of many the first and the last, and how many are between."""
    between = len(all_steps) - SHOWN
    lines = [_line(one, rule.sequence.sides[one.side]) for one in all_steps]
    if between <= 0:
        return lines
    left_out = f"… {between} steps between …"
    return [*lines[:FIRST], left_out, *lines[FIRST + between :]]


def _step(name: str, events: Sequence[Event], rule: Rule) -> Step:
    side = rule.sequence.sides[name]
    places = [at for mapping in rule.entity_mappings for at in rule.places(mapping.entity_type, side)]
    named = (str(event.row[at]) for event in events for at in places if at != side.at(side.actor))
    return Step(
        side=name,
        at=iso(events[0].time),
        until=iso(events[-1].time),
        kinds=dict(Counter(event.kind for event in events).most_common()),
        of=list(_first_few(filter(None, named))),
    )


def _first_few(values: Iterable[str]) -> Iterator[str]:
    return (value for value, _ in zip(dict.fromkeys(values), range(NAMED + 1), strict=False))


def _line(step: Step, side: Side) -> str:
    of = ", ".join(map(inert, step.of[:NAMED])) + (" and more" if len(step.of) > NAMED else "")
    return f"{_when(step)}  {in_words(step.kinds, side)}" + (f" ({of})" if of else "")


def _when(step: Step) -> str:
    """The stretch of a step, to the second; of one day the day stands once."""
    begin, end = (datetime.fromisoformat(text) for text in (step.at, step.until))
    first, last = (f"{moment:%d %b %H:%M:%S}" for moment in (begin, end))
    if last == first:
        return first
    return f"{first} to {end:%H:%M:%S}" if end.date() == begin.date() else f"{first} to {last}"
