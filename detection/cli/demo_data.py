"""Made-up logs for the demo, from the scenario in demo_data.yaml. The same seed writes the same files."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from string import ascii_letters, digits
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter

from detection.base.timestamps import iso
from detection.base.yaml_documents import read_document
from detection.incidents.incident import Classification
from detection.logs.files.loading import ARRIVED

SCENARIO_FILE = Path(__file__).with_name("demo_data.yaml")

Values = dict[str, JsonValue]

_STRICT = ConfigDict(extra="forbid")
_ALPHABETS = {"letters": ascii_letters + digits, "hex": digits + "abcdef"}
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_RANDOM_TEXT = re.compile(rf"\{{({'|'.join(_ALPHABETS)}):(\d+)\}}")


@dataclass(frozen=True)
class IntegerRange:
    """A random integer between two bounds, both inclusive."""

    __pydantic_config__ = _STRICT
    bounds: tuple[int, int]


# How a row gets a value: a random element of a list, a random integer of a range, or the value itself.
Choices = dict[str, Annotated[IntegerRange | JsonValue, Field(union_mode="left_to_right")]]


@dataclass(frozen=True)
class RowTemplate:
    """A row of a table with placeholders, and the default values of the placeholders."""

    __pydantic_config__ = _STRICT
    table: str
    row: Values
    values: Choices


@dataclass(frozen=True)
class Action:
    """An action of a person. It leaves one row of a template."""

    __pydantic_config__ = _STRICT
    template: str
    values: Choices


@dataclass(frozen=True)
class Habit:
    """An action that each person does about `per_day` times a day, at hours weighted by a profile."""

    __pydantic_config__ = _STRICT
    people: tuple[str, ...]
    action: str
    per_day: int
    hour_profile: str


@dataclass(frozen=True)
class Activity:
    """An action of a person at `begin`, or `count` times from `begin` to `end`.

    Both are offsets from the first midnight. `extra_delay` is added to the arrival delay. `copy_after` is the
    delay of a second copy of the row. Several `people` take the action at random times, each with a `number`.
    """

    __pydantic_config__ = _STRICT
    person: str
    action: str
    begin: timedelta
    end: timedelta | None = None
    count: int = 1
    extra_delay: timedelta = timedelta(0)
    copy_after: timedelta | None = None
    people: int = 1


@dataclass(frozen=True)
class OnCallAct:
    """An act of the on-call at a time, an offset, on the newest incident of a person."""

    __pydantic_config__ = _STRICT
    person: str
    time: timedelta
    act: Literal["acknowledge", "close", "silence"]
    note: str
    classification: Classification = "undetermined"  # of a closed incident
    duration: timedelta = timedelta(0)  # of a silence


@dataclass(frozen=True)
class Scenario:
    """The content of demo_data.yaml."""

    __pydantic_config__ = _STRICT
    duration: timedelta
    arrival_delay: tuple[timedelta, timedelta]
    restamped_after: timedelta
    templates: Mapping[str, RowTemplate]
    actions: Mapping[str, Action]
    people: Mapping[str, Choices]
    hour_profiles: Mapping[str, Sequence[int]]
    habits: Sequence[Habit]
    activities: Sequence[Activity]
    acts: Sequence[OnCallAct]


@dataclass(frozen=True, order=True)
class LogLine:
    """A row of a table as a line of JSON, with its time of arrival."""

    arrival_time: datetime
    table: str = field(compare=False)
    text: str = field(compare=False)


def write_logs(folder: Path, begin: datetime, seed: int = 7, scenario: Scenario | None = None) -> datetime:
    """Writes each table to `<table>.jsonl`, in the order of arrival. Returns the end of the scenario; without
    a scenario, it is that of SCENARIO_FILE.
    """
    scenario = scenario or load_scenario()
    lines_by_table: dict[str, list[str]] = {template.table: [] for template in scenario.templates.values()}
    for line in sorted(log_lines(scenario, begin, seed)):
        lines_by_table[line.table].append(line.text + "\n")
    for table, rows in lines_by_table.items():
        (folder / f"{table}.jsonl").write_text("".join(rows), encoding="utf-8")
    return begin + scenario.duration


def load_scenario(path: Path = SCENARIO_FILE) -> Scenario:
    """The scenario of a file."""
    return TypeAdapter(Scenario).validate_python(read_document(path))


def log_lines(scenario: Scenario, begin: datetime, seed: int) -> Iterator[LogLine]:
    """The rows of the whole scenario, in no particular order."""
    random = Random(seed)  # noqa: S311  # made-up logs that are the same every time, no secrets
    activities = (*daily_activities(scenario, random), *scenario.activities)
    for activity, number in _numbered(activities):
        action = scenario.actions[activity.action]
        template = scenario.templates[action.template]
        choices = template.values | scenario.people[activity.person] | action.values
        is_first_exact = activity.people == 1
        random_offsets = [
            _random_duration(activity.begin, activity.end or activity.begin, random)
            for _ in range(activity.count - is_first_exact)
        ]
        for offset in (*([activity.begin] if is_first_exact else []), *random_offsets):
            time = begin + offset
            arrival_time = time + activity.extra_delay + _random_duration(*scenario.arrival_delay, random)
            stamp = arrival_time if arrival_time - time > scenario.restamped_after else time
            values = {
                name: random.randint(*choice.bounds)
                if isinstance(choice, IntegerRange)
                else random.choice(choice)
                if isinstance(choice, list)
                else choice
                for name, choice in choices.items()
            }
            values |= {"time": iso(time), "stamp": iso(stamp), "number": number}
            row = {column: _fill(cell, values, random) for column, cell in template.row.items()}
            copy_delays = [] if activity.copy_after is None else [activity.copy_after]
            for copy_delay in (timedelta(0), *copy_delays):
                arrival = arrival_time + copy_delay
                yield LogLine(arrival, template.table, json.dumps(row | {ARRIVED: iso(arrival)}))


def _numbered(activities: Sequence[Activity]) -> Iterator[tuple[Activity, int]]:
    return ((activity, number) for activity in activities for number in range(1, activity.people + 1))


def daily_activities(scenario: Scenario, random: Random) -> Iterator[Activity]:
    """The habits as activities, day by day."""
    for habit in scenario.habits:
        weights = scenario.hour_profiles[habit.hour_profile]
        for day in range(scenario.duration.days):
            for person in habit.people:
                count = round(habit.per_day * random.uniform(0.7, 1.3))
                for hour in random.choices(range(24), weights, k=count):
                    begin = timedelta(days=day, hours=hour, seconds=random.randrange(3600))
                    yield Activity(person, habit.action, begin)


def _random_duration(shortest: timedelta, longest: timedelta, random: Random) -> timedelta:
    """A duration in whole seconds: the logs have no fractions."""
    return timedelta(seconds=random.randint(int(shortest.total_seconds()), int(longest.total_seconds())))


def _fill(template: JsonValue, values: Values, random: Random) -> JsonValue:
    """Replaces placeholders by values. A string that is only a placeholder keeps the value's type."""
    if isinstance(template, dict):
        return {name: _fill(inner, values, random) for name, inner in template.items()}
    if isinstance(template, list):
        return [_fill(inner, values, random) for inner in template]
    if not isinstance(template, str):
        return template
    if placeholder := _PLACEHOLDER.fullmatch(template):
        return _fill(values[placeholder[1]], values, random)
    text = _PLACEHOLDER.sub(lambda match: str(_fill(values[match[1]], values, random)), template)
    return _RANDOM_TEXT.sub(
        lambda match: "".join(random.choices(_ALPHABETS[match[1]], k=int(match[2]))), text
    )
