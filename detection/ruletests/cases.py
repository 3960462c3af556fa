"""A test file, read: every case complete, with the moments it speaks of.

What is wrong is said by file, case and key. docs/rules.md describes the format.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from detection.errors import ConfigurationError, problems_of
from detection.replay import moments
from detection.rows import columns
from detection.rule import Rule, read_yaml
from detection.ruletests.objects import ApiObject, Seen, Values, completed, merged
from detection.ruletests.when import When, when
from detection.timestamps import duration, iso

NOON = datetime(2026, 6, 8, 12, tzinfo=UTC)  # when a case's run is, where its file does not say
OF_AN_EVENT = ("at", "arrives", "row")  # beside the object itself


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class CaseFile(_Strict):
    """A test file as written; `shapes` are events that its cases refer to by name."""

    about: str = ""
    now: AwareDatetime = NOON
    shapes: dict[str, dict[str, Any]] = {}
    cases: Annotated[list[dict[str, Any]], Field(min_length=1)]


class Runs(_Strict):
    """Runs one after the other, up to the case's moment; the rule's queryFrequency apart, if not said otherwise."""

    begin: Annotated[When, Field(alias="from")]
    every: Annotated[timedelta | None, BeforeValidator(lambda text: duration(str(text)))] = None
    skip: list[When] = []


class ExpectedAlert(_Strict):
    """An alert as a case speaks of it: what it does not say may be anything. `incident` counts from 1."""

    at: When | None = None
    action: str | None = None
    incident: int | None = None
    actor: str | None = None
    severity: str | None = None
    changes: int | None = None
    signals: int | None = None
    pairs: int | None = None
    change_kinds: dict[str, int] | None = None
    signal_kinds: dict[str, int] | None = None
    key: dict[str, str] | None = None
    entities: list[dict[str, str]] | None = None
    bridges: dict[str, int] | None = None


class ExpectedIncident(_Strict):
    """An incident as a case speaks of it, in the order in which they were opened."""

    key: dict[str, str] | None = None
    number: int | None = None
    opened: When | None = None
    updated: When | None = None
    alerts: int | None = None
    pairs: int | None = None


def _so_many(value: object) -> object:
    """A number stands for so many of which nothing is said."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return [{}] * value
    return value


class CaseText(_Strict):
    """A case as written, its moments taken by its run's."""

    name: Annotated[str, Field(min_length=1)]
    now: AwareDatetime
    runs: Runs | None = None
    events: list[dict[str, Any]]
    rows: Annotated[list[dict[str, Any]] | None, BeforeValidator(_so_many)] = None
    alerts: Annotated[list[ExpectedAlert] | None, BeforeValidator(_so_many)] = None
    incidents: Annotated[list[ExpectedIncident] | None, BeforeValidator(_so_many)] = None


@dataclass(frozen=True, slots=True)
class Case:
    """What the logs hold, when the rule runs on them, and what has to come of it. None: nothing is expected."""

    file: Path
    name: str
    now: datetime
    runs: Sequence[datetime]
    seen: Sequence[Seen]
    rows: Sequence[Values] | None
    alerts: Sequence[Values] | None
    incidents: Sequence[Values] | None

    @property
    def tells(self) -> bool:
        """Whether the runs have to be made, beyond the question to the logs."""
        return self.alerts is not None or self.incidents is not None


def read_cases(path: Path, rule: Rule, kinds: Mapping[str, ApiObject]) -> list[Case]:
    """The cases of a test file. Raises ConfigurationError naming file, case and key."""
    file = read_yaml(path, CaseFile)
    reader = _Reader(path, rule, kinds, file.shapes)
    cases = [reader.case({"now": file.now} | each) for one in file.cases for each in expanded(one)]
    names = [one.name for one in cases]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(f"{path}: two cases are called {twice!r}; what `each` names can stand in it")
    return cases


def expanded(case: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The cases that one stands for: itself, or one for each of the values in `each`."""
    each = case.get("each")
    rest = {name: value for name, value in case.items() if name != "each"}
    if isinstance(each, Mapping) and len(each) == 1:
        ((name, values),) = each.items()
        each = [{name: value} for value in values] if isinstance(values, list) else None
    elif each is None:
        each = [{}]
    if not isinstance(each, list) or not all(isinstance(one, Mapping) for one in each):
        yield rest | {"each": case.get("each")}  # an unknown key, and refused as such
        return
    for values in each:
        yield _filled(rest, values)


def _filled(value: Any, values: Values) -> Any:  # noqa: ANN401  # whatever YAML holds
    """The value with {name} replaced: a text that is nothing else becomes the value itself."""
    if isinstance(value, Mapping):
        return {_filled(name, values): _filled(one, values) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, values) for one in value]
    if not isinstance(value, str):
        return value
    if (whole := re.fullmatch(r"\{(\w+)\}", value)) and whole[1] in values:
        return values[whole[1]]
    return re.sub(r"\{(\w+)\}", lambda one: _as_text(values[one[1]]) if one[1] in values else one[0], value)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the cases of one file."""

    path: Path
    rule: Rule
    kinds: Mapping[str, ApiObject]
    shapes: Mapping[str, Values]

    def case(self, written: Values) -> Case:
        name = written.get("name", "without a name")
        try:
            now = when(written["now"], NOON)
            text = CaseText.model_validate(written, context={"now": now})
            return self._case(text)
        except ValidationError as error:
            raise ConfigurationError(f"{self.path}: case {name!r}: {problems_of(error)}") from error
        except (ValueError, ConfigurationError) as error:
            raise ConfigurationError(f"{self.path}: case {name!r}: {error}") from error

    def _case(self, text: CaseText) -> Case:
        if text.rows is None and text.alerts is None and text.incidents is None:
            raise ValueError("expects nothing: say rows, alerts or incidents")
        seen = [
            one for number, event in enumerate(text.events, 1) for one in self._seen(event, number, text.now)
        ]
        return Case(
            self.path,
            text.name,
            text.now,
            self._runs(text),
            seen,
            self._rows(text),
            _said(text.alerts),
            _said(text.incidents),
        )

    def _runs(self, text: CaseText) -> list[datetime]:
        if text.runs is None:
            return [text.now]
        every = text.runs.every or self.rule.query_frequency
        return moments(text.runs.begin, text.now, every, text.runs.skip)

    def _rows(self, text: CaseText) -> list[Values] | None:
        if text.rows is None:
            return None
        known = columns(self.rule)
        for number, row in enumerate(text.rows):
            if unknown := [name for name in row if name not in known]:
                raise ValueError(
                    f"rows.{number}.{unknown[0]}: there is no such column; there are: {', '.join(known)}"
                )
        times = {name for name, kind in self.rule.sequence.columns.items() if kind == "datetime"}
        return [_with_moments(row, times, text.now) for row in text.rows]

    def _seen(self, event: Values, number: int, now: datetime) -> Iterator[Seen]:
        """The event as often as it arrives."""
        kind, said = self._object(event, f"events.{number - 1}")
        one = self.kinds[kind]
        table = self.rule.tables[one.table]
        try:
            at = when(said["at"], now) if "at" in said else now + one.at
            fields = completed(one, _values(said[kind]), number, at, now)
            times = {name for name, column in table.columns.items() if column == "datetime"}
            row = _with_moments(_values(said.get("row")), times, now)
            arrivals = said.get("arrives", at)
            received = [when(each, now) for each in (arrivals if isinstance(arrivals, list) else [arrivals])]
        except ValueError as error:
            raise ValueError(f"events.{number - 1}.{kind}: {error}") from error
        if unknown := row.keys() - table.columns.keys():
            raise ValueError(f"events.{number - 1}.row.{min(unknown)}: {one.table} has no such column")
        yield from (Seen(kind, fields, row, each) for each in received)

    def _object(self, event: Values, where: str) -> tuple[str, dict[str, Any]]:
        """The kind of object that an event is of, and the event, completed by the shape that it names."""
        name = _named(event, [*self.shapes, *self.kinds], where)
        if name not in self.shapes:
            return name, dict(event)
        shape = self.shapes[name]
        kind = _named(shape, [*self.kinds], f"shapes.{name}")
        rest = {key: value for key, value in event.items() if key in OF_AN_EVENT}
        return kind, merged(shape, {kind: merged(_values(shape[kind]), _values(event[name]))} | rest)


def _named(event: Values, known: Sequence[str], where: str) -> str:
    """The one name in an event that is not of every event's."""
    names = [name for name in event if name not in OF_AN_EVENT]
    if len(names) == 1 and names[0] in known:
        return names[0]
    wrong = [name for name in names if name not in known] or names
    raise ValueError(
        f"{where}.{', '.join(map(str, wrong))}: an event is one of {', '.join(known)}, "
        f"and beside it {', '.join(OF_AN_EVENT)}"
    )


def _values(written: object) -> Values:
    """The values of an object or a row; nothing written is none."""
    if written is None:
        return {}
    if not isinstance(written, Mapping):
        raise ValueError("must be values by their names")  # noqa: TRY004  # caught with the others
    return written


def _with_moments(row: Values, times: set[str], now: datetime) -> dict[str, Any]:
    """The row with its moments as the engine writes them."""
    return {
        name: iso(when(value, now)) if name in times and value is not None else value
        for name, value in row.items()
    }


def _said(expected: Sequence[_Strict] | None) -> list[Values] | None:
    """What is expected, without what is not said."""
    if expected is None:
        return None
    return [
        {name: iso(value) if isinstance(value, datetime) else value for name, value in one}
        for one in (model.model_dump(exclude_unset=True).items() for model in expected)
    ]
