"""Made-up logs to try the rules on: story.yaml, expanded row by row. The same seed writes the same files."""

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

from detection.sources.loading import ARRIVED
from detection.timestamps import iso

STORY = Path(__file__).with_name("story.yaml")

Values = dict[str, JsonValue]

_STRICT = ConfigDict(extra="forbid")
_ALPHABETS = {"letters": ascii_letters + digits, "hex": digits + "abcdef"}
_NAMED = re.compile(r"\{([a-z_]+)\}")
_RANDOM = re.compile(rf"\{{({'|'.join(_ALPHABETS)}):(\d+)\}}")


@dataclass(frozen=True)
class Range:
    """A whole number between two, both inclusive."""

    __pydantic_config__ = _STRICT
    between: tuple[int, int]


# What stands for a value: one of a list, a number of a range, or the value itself.
Choices = dict[str, Annotated[Range | JsonValue, Field(union_mode="left_to_right")]]


@dataclass(frozen=True)
class Shape:
    """What the rows of a table look like, and the values they have where nobody says otherwise."""

    __pydantic_config__ = _STRICT
    table: str
    row: Values
    values: Choices


@dataclass(frozen=True)
class Act:
    """Something that people do: it leaves one row of a shape."""

    __pydantic_config__ = _STRICT
    shape: str
    values: Choices


@dataclass(frozen=True)
class Habit:
    """What each of some people does every day, about so many times, spread over its hours."""

    __pydantic_config__ = _STRICT
    who: tuple[str, ...]
    does: str
    per_day: int
    hours: str


@dataclass(frozen=True)
class Scene:
    """What one person does: once, or several times from `at` until `until`."""

    __pydantic_config__ = _STRICT
    who: str
    does: str
    at: timedelta
    until: timedelta | None = None
    times: int = 1
    delay: timedelta = timedelta(0)
    again: timedelta | None = None


@dataclass(frozen=True)
class Story:
    """story.yaml as written."""

    __pydantic_config__ = _STRICT
    lasts: timedelta
    arrival: tuple[timedelta, timedelta]
    restamped_after: timedelta
    shapes: Mapping[str, Shape]
    acts: Mapping[str, Act]
    people: Mapping[str, Choices]
    hours: Mapping[str, Sequence[int]]
    habits: Sequence[Habit]
    plot: Sequence[Scene]


@dataclass(frozen=True, order=True)
class Line:
    """A row of a table, as one line of JSON, and when it arrives."""

    arrives: datetime
    table: str = field(compare=False)
    text: str = field(compare=False)


def write_logs(folder: Path, begin: datetime, seed: int = 7) -> datetime:
    """Writes each table's rows to `<table>.jsonl`, in the order of their arrival; returns the end of the story."""
    story = read_story()
    written: dict[str, list[str]] = {shape.table: [] for shape in story.shapes.values()}
    for line in sorted(lines(story, begin, seed)):
        written[line.table].append(line.text + "\n")
    for table, rows in written.items():
        (folder / f"{table}.jsonl").write_text("".join(rows), encoding="utf-8")
    return begin + story.lasts


def read_story(path: Path = STORY) -> Story:
    """The story as it is written."""
    return TypeAdapter(Story).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))


def lines(story: Story, begin: datetime, seed: int) -> Iterator[Line]:
    """The rows of the whole story, in no particular order."""
    chance = Random(seed)  # noqa: S311  # made-up logs that are the same every time, no secrets
    for scene in (*everyday(story, chance), *story.plot):
        for moment in _moments(scene, chance):
            yield from _lines(story, scene, begin + moment, chance)


def everyday(story: Story, chance: Random) -> Iterator[Scene]:
    """The habits as scenes, day by day."""
    for habit in story.habits:
        weights = story.hours[habit.hours]
        for day in range(story.lasts.days):
            for who in habit.who:
                times = round(habit.per_day * chance.uniform(0.7, 1.3))
                for hour in chance.choices(range(24), weights, k=times):
                    at = timedelta(days=day, hours=hour, seconds=chance.randrange(3600))
                    yield Scene(who, habit.does, at)


def _moments(scene: Scene, chance: Random) -> list[timedelta]:
    return [scene.at, *(_between(scene.at, scene.until or scene.at, chance) for _ in range(scene.times - 1))]


def _between(first: timedelta, last: timedelta, chance: Random) -> timedelta:
    """A whole number of seconds, as the logs have them."""
    return timedelta(seconds=chance.randint(int(first.total_seconds()), int(last.total_seconds())))


def _lines(story: Story, scene: Scene, time: datetime, chance: Random) -> Iterator[Line]:
    """The row that an act leaves, and its second copy if there is one."""
    act = story.acts[scene.does]
    shape = story.shapes[act.shape]
    arrives = time + scene.delay + _between(*story.arrival, chance)
    stamp = arrives if arrives - time > story.restamped_after else time
    choices = shape.values | story.people[scene.who] | act.values
    values = {name: _drawn(choice, chance) for name, choice in choices.items()}
    values |= {"time": iso(time), "stamp": iso(stamp)}
    row = {column: _filled(part, values, chance) for column, part in shape.row.items()}
    for moment in [arrives] if scene.again is None else [arrives, arrives + scene.again]:
        yield Line(moment, shape.table, json.dumps(row | {ARRIVED: iso(moment)}))


def _drawn(choice: Range | JsonValue, chance: Random) -> JsonValue:
    if isinstance(choice, Range):
        return chance.randint(*choice.between)
    return chance.choice(choice) if isinstance(choice, list) else choice


def _filled(part: JsonValue, values: Values, chance: Random) -> JsonValue:
    """The part with values for its placeholders; one that stands alone keeps the type of its value."""
    if isinstance(part, dict):
        return {name: _filled(inner, values, chance) for name, inner in part.items()}
    if isinstance(part, list):
        return [_filled(inner, values, chance) for inner in part]
    if not isinstance(part, str):
        return part
    if alone := _NAMED.fullmatch(part):
        return _filled(values[alone[1]], values, chance)
    named = _NAMED.sub(lambda found: str(_filled(values[found[1]], values, chance)), part)
    return _RANDOM.sub(lambda found: "".join(chance.choices(_ALPHABETS[found[1]], k=int(found[2]))), named)
