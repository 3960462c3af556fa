"""The steps of an alert in order: a step is a series of changes without a signal between, or the reverse."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice

from detection.base.timestamps import iso
from detection.correlation.correlate import Chain
from detection.incidents.changed_object import changed_object
from detection.logs.events import without_duplicates
from detection.messages.text import changes_in_words, escape_name, in_words, targets_by_kind
from detection.rules.model import Rule

STEPS_SHOWN = 12  # in a message; of more steps, the middle is omitted
LEADING_STEPS = 2  # shown of many steps, because they show how it began
VALUES_SHOWN = 3  # addresses or models of a step


@dataclass(frozen=True, slots=True)
class Step:
    """Consecutive events of one side: from `begin` to `end` (UTC), counted by kind.

    `targets` are the names of the objects of its first changes, by kind.
    `entity_values` are the values of the rule's entities other than the actor, such as addresses or models.
    """

    side: str
    begin: datetime
    end: datetime
    kinds: Mapping[str, int]
    targets: Mapping[str, Sequence[str]]
    entity_values: Sequence[str]


def steps(chains: Sequence[Chain], rule: Rule) -> list[Step]:
    """The steps of the chains in order of time; a change precedes a signal of the same time."""
    changes = without_duplicates([event for chain in chains for event in chain.changes])
    signals = without_duplicates([event for chain in chains for event in chain.signals])
    events = [("changes", event) for event in changes] + [("signals", event) for event in signals]
    events.sort(key=lambda side_event: (side_event[1].time, side_event[0]))
    all_steps = []
    for name, side_events in groupby(events, key=lambda side_event: side_event[0]):
        side, step_events = rule.sequence.sides[name], [event for _, event in side_events]
        places = [
            place
            for mapping in rule.entity_mappings
            for place in rule.entity_places(mapping.entity_type, side)
            if place != side.place_of(side.actor)
        ]
        values = (str(event.row[place]) for event in step_events for place in places)
        first_changes = step_events[:VALUES_SHOWN] if side is rule.sequence.changes else []
        objects = filter(None, (changed_object(change, rule) for change in first_changes))
        step = Step(
            side=name,
            begin=step_events[0].time,
            end=step_events[-1].time,
            kinds=dict(Counter(event.kind for event in step_events).most_common()),
            targets=targets_by_kind(objects),
            entity_values=list(islice(dict.fromkeys(filter(None, values)), VALUES_SHOWN + 1)),
        )
        all_steps.append(step)
    return all_steps


def step_lines(all_steps: Sequence[Step], rule: Rule) -> list[str]:
    """The steps, a line each, with times to the second (UTC). Over STEPS_SHOWN, a line counts the others."""
    lines = []
    for step in all_steps:
        begin, end = (iso(moment.replace(microsecond=0)) for moment in (step.begin, step.end))
        span = begin if end == begin else f"{begin} to {end}"
        side = rule.sequence.sides[step.side]
        is_change = side is rule.sequence.changes
        words = changes_in_words(step.kinds, step.targets, rule) if is_change else in_words(step.kinds, side)
        line = f"{span}  {words}"
        if step.entity_values:
            shown = ", ".join(map(escape_name, step.entity_values[:VALUES_SHOWN]))
            line += f" ({shown} and more)" if len(step.entity_values) > VALUES_SHOWN else f" ({shown})"
        lines.append(line)
    omitted_count = len(all_steps) - STEPS_SHOWN
    if omitted_count <= 0:
        return lines
    omission = f"… {omitted_count:,} steps between …"
    return [*lines[:LEADING_STEPS], omission, *lines[LEADING_STEPS + omitted_count :]]
