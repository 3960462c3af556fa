"""Made-up logs to try the rules on: demo_data.yaml, expanded row by row. The same seed writes the same files."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from string import ascii_letters, digits
from typing import Annotated

import yaml
from pydantic import ConfigDict, Field, JsonValue, TypeAdapter

from detection.base.timestamps import iso
from detection.logs.files.loading import ARRIVED

SCENARIO_FILE = Path(__file__).with_name("demo_data.yaml")

Values = dict[str, JsonValue]

_STRICT = ConfigDict(extra="forbid")
_ALPHABETS = {"letters": ascii_letters + digits, "hex": digits + "abcdef"}
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_RANDOM_TEXT = re.compile(rf"\{{({'|'.join(_ALPHABETS)}):(\d+)\}}")


@dataclass(frozen=True)
class IntegerRange:
    """A whole number between two, both inclusive."""

    __pydantic_config__ = _STRICT
    bounds: tuple[int, int]


# What stands for a value: one of a list, a number of a range, or the value itself.
Choices = dict[str, Annotated[IntegerRange | JsonValue, Field(union_mode="left_to_right")]]


@dataclass(frozen=True)
class RowTemplate:
    """What the rows of a table look like, and the values they have where nobody says otherwise."""

    __pydantic_config__ = _STRICT
    table: str
    row: Values
    values: Choices


@dataclass(frozen=True)
class Action:
    """Something that people do: it leaves one row of a shape."""

    __pydantic_config__ = _STRICT
    template: str
    values: Choices


@dataclass(frozen=True)
class Habit:
    """What each of some people does every day, about so many times, spread over its hours."""

    __pydantic_config__ = _STRICT
    people: tuple[str, ...]
    action: str
    per_day: int
    hour_profile: str


@dataclass(frozen=True)
class Activity:
    """What one person does: once, or several times from `at` until `until`."""

    __pydantic_config__ = _STRICT
    person: str
    action: str
    begin: timedelta
    end: timedelta | None = None
    count: int = 1
    extra_delay: timedelta = timedelta(0)
    copy_after: timedelta | None = None


@dataclass(frozen=True)
class Scenario:
    """demo_data.yaml as written."""

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


@dataclass(frozen=True, order=True)
class LogLine:
    """A row of a table, as one line of JSON, and when it arrives."""

    arrival_time: datetime
    table: str = field(compare=False)
    text: str = field(compare=False)


def write_logs(folder: Path, begin: datetime, seed: int = 7) -> datetime:
    """Writes each table's rows to `<table>.jsonl`, in the order of their arrival; returns the end of the story."""
    scenario = load_scenario()
    lines_by_table: dict[str, list[str]] = {template.table: [] for template in scenario.templates.values()}
    for line in sorted(log_lines(scenario, begin, seed)):
        lines_by_table[line.table].append(line.text + "\n")
    for table, rows in lines_by_table.items():
        (folder / f"{table}.jsonl").write_text("".join(rows), encoding="utf-8")
    return begin + scenario.duration


def load_scenario(path: Path = SCENARIO_FILE) -> Scenario:
    """The story as it is written."""
    return TypeAdapter(Scenario).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))


def log_lines(scenario: Scenario, begin: datetime, seed: int) -> Iterator[LogLine]:
    """The rows of the whole story, in no particular order."""
    random = Random(seed)  # noqa: S311  # made-up logs that are the same every time, no secrets
    for activity in (*daily_activities(scenario, random), *scenario.activities):
        for offset in _offsets(activity, random):
            yield from _action_lines(scenario, activity, begin + offset, random)


def daily_activities(scenario: Scenario, random: Random) -> Iterator[Activity]:
    """The habits as scenes, day by day."""
    for habit in scenario.habits:
        weights = scenario.hour_profiles[habit.hour_profile]
        for day in range(scenario.duration.days):
            for person in habit.people:
                count = round(habit.per_day * random.uniform(0.7, 1.3))
                for hour in random.choices(range(24), weights, k=count):
                    begin = timedelta(days=day, hours=hour, seconds=random.randrange(3600))
                    yield Activity(person, habit.action, begin)


def _offsets(activity: Activity, random: Random) -> list[timedelta]:
    return [
        activity.begin,
        *(
            _random_duration(activity.begin, activity.end or activity.begin, random)
            for _ in range(activity.count - 1)
        ),
    ]


def _random_duration(shortest: timedelta, longest: timedelta, random: Random) -> timedelta:
    """A whole number of seconds, as the logs have them."""
    return timedelta(seconds=random.randint(int(shortest.total_seconds()), int(longest.total_seconds())))


def _action_lines(
    scenario: Scenario, activity: Activity, time: datetime, random: Random
) -> Iterator[LogLine]:
    """The row that an act leaves, and its second copy if there is one."""
    action = scenario.actions[activity.action]
    template = scenario.templates[action.template]
    arrival_time = time + activity.extra_delay + _random_duration(*scenario.arrival_delay, random)
    stamp = arrival_time if arrival_time - time > scenario.restamped_after else time
    choices = template.values | scenario.people[activity.person] | action.values
    values = {name: _draw(choice, random) for name, choice in choices.items()}
    values |= {"time": iso(time), "stamp": iso(stamp)}
    row = {column: _fill(cell, values, random) for column, cell in template.row.items()}
    for arrival in (
        [arrival_time] if activity.copy_after is None else [arrival_time, arrival_time + activity.copy_after]
    ):
        yield LogLine(arrival, template.table, json.dumps(row | {ARRIVED: iso(arrival)}))


def _draw(choice: IntegerRange | JsonValue, random: Random) -> JsonValue:
    if isinstance(choice, IntegerRange):
        return random.randint(*choice.bounds)
    return random.choice(choice) if isinstance(choice, list) else choice


def _fill(template: JsonValue, values: Values, random: Random) -> JsonValue:
    """The part with values for its placeholders; one that stands alone keeps the type of its value."""
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
