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

from detection.base.errors import ConfigurationError, problems_of
from detection.base.timestamps import iso, parse_duration
from detection.correlation.output import output_columns
from detection.rules.loading import read_yaml
from detection.rules.model import Rule
from detection.ruletests.case_time import CaseTime, resolve_time
from detection.ruletests.objects import ApiObject, ReceivedObject, Values, complete_fields, merge
from detection.runs.replay import run_times

DEFAULT_NOW = datetime(2026, 6, 8, 12, tzinfo=UTC)  # when a case's run is, where its file does not say
EVENT_KEYS = ("at", "arrives", "row")  # beside the object itself


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class CaseFile(_StrictModel):
    """A test file as written; `shapes` are events that its cases refer to by name."""

    about: str = ""
    now: AwareDatetime = DEFAULT_NOW
    shapes: dict[str, dict[str, Any]] = {}
    cases: Annotated[list[dict[str, Any]], Field(min_length=1)]


class RunSchedule(_StrictModel):
    """Runs one after the other, up to the case's moment; the rule's queryFrequency apart, if not said otherwise."""

    begin: Annotated[CaseTime, Field(alias="from")]
    every: Annotated[timedelta | None, BeforeValidator(lambda text: parse_duration(str(text)))] = None
    skip: list[CaseTime] = []


class ExpectedAlert(_StrictModel):
    """An alert as a case speaks of it: what it does not say may be anything. `incident` counts from 1."""

    time: CaseTime | None = None
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
    matched_by: dict[str, int] | None = None


class ExpectedIncident(_StrictModel):
    """An incident as a case speaks of it, in the order in which they were opened."""

    key: dict[str, str] | None = None
    number: int | None = None
    opened: CaseTime | None = None
    updated: CaseTime | None = None
    alerts: int | None = None
    pairs: int | None = None


def _expand_number(value: object) -> object:
    """A number stands for so many of which nothing is said."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return [{}] * value
    return value


class CaseDefinition(_StrictModel):
    """A case as written, its moments taken by its run's."""

    name: Annotated[str, Field(min_length=1)]
    now: AwareDatetime
    runs: RunSchedule | None = None
    events: list[dict[str, Any]]
    rows: Annotated[list[dict[str, Any]] | None, BeforeValidator(_expand_number)] = None
    alerts: Annotated[list[ExpectedAlert] | None, BeforeValidator(_expand_number)] = None
    incidents: Annotated[list[ExpectedIncident] | None, BeforeValidator(_expand_number)] = None


@dataclass(frozen=True, slots=True)
class Case:
    """What the logs hold, when the rule runs on them, and what has to come of it. None: nothing is expected."""

    file: Path
    name: str
    now: datetime
    runs: Sequence[datetime]
    objects: Sequence[ReceivedObject]
    rows: Sequence[Values] | None
    alerts: Sequence[Values] | None
    incidents: Sequence[Values] | None

    @property
    def needs_runs(self) -> bool:
        """Whether the runs have to be made, beyond the question to the logs."""
        return self.alerts is not None or self.incidents is not None


def read_cases(path: Path, rule: Rule, kinds: Mapping[str, ApiObject]) -> list[Case]:
    """The cases of a test file. Raises ConfigurationError naming file, case and key."""
    file = read_yaml(path, CaseFile)
    reader = _CaseReader(path, rule, kinds, file.shapes)
    cases = [
        reader.read({"now": file.now} | case) for raw_case in file.cases for case in expand_each(raw_case)
    ]
    names = [case.name for case in cases]
    if duplicate := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(
            f"{path}: two cases are called {duplicate!r}; what `each` names can stand in it"
        )
    return cases


def expand_each(case: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The cases that one stands for: itself, or one for each of the values in `each`."""
    variants = case.get("each")
    rest = {name: value for name, value in case.items() if name != "each"}
    if isinstance(variants, Mapping) and len(variants) == 1:
        ((name, values),) = variants.items()
        variants = [{name: value} for value in values] if isinstance(values, list) else None
    elif variants is None:
        variants = [{}]
    if not isinstance(variants, list) or not all(isinstance(variant, Mapping) for variant in variants):
        yield rest | {"each": case.get("each")}  # an unknown key, and refused as such
        return
    for values in variants:
        yield _substitute(rest, values)


def _substitute(value: Any, values: Values) -> Any:  # noqa: ANN401  # whatever YAML holds
    """The value with {name} replaced: a text that is nothing else becomes the value itself."""
    if isinstance(value, Mapping):
        return {_substitute(name, values): _substitute(member, values) for name, member in value.items()}
    if isinstance(value, list):
        return [_substitute(member, values) for member in value]
    if not isinstance(value, str):
        return value
    if (placeholder := re.fullmatch(r"\{(\w+)\}", value)) and placeholder[1] in values:
        return values[placeholder[1]]
    return re.sub(
        r"\{(\w+)\}", lambda match: _as_text(values[match[1]]) if match[1] in values else match[0], value
    )


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


@dataclass(frozen=True, slots=True)
class _CaseReader:
    """Reads the cases of one file."""

    path: Path
    rule: Rule
    kinds: Mapping[str, ApiObject]
    shapes: Mapping[str, Values]

    def read(self, raw_case: Values) -> Case:
        name = raw_case.get("name", "without a name")
        try:
            now = resolve_time(raw_case["now"], DEFAULT_NOW)
            definition = CaseDefinition.model_validate(raw_case, context={"now": now})
            return self._build_case(definition)
        except ValidationError as error:
            raise ConfigurationError(f"{self.path}: case {name!r}: {problems_of(error)}") from error
        except (ValueError, ConfigurationError) as error:
            raise ConfigurationError(f"{self.path}: case {name!r}: {error}") from error

    def _build_case(self, definition: CaseDefinition) -> Case:
        if definition.rows is None and definition.alerts is None and definition.incidents is None:
            raise ValueError("expects nothing: say rows, alerts or incidents")
        objects = [
            received_object
            for number, event in enumerate(definition.events, 1)
            for received_object in self._received_objects(event, number, definition.now)
        ]
        return Case(
            self.path,
            definition.name,
            definition.now,
            self._run_times(definition),
            objects,
            self._expected_rows(definition),
            _expectations(definition.alerts),
            _expectations(definition.incidents),
        )

    def _run_times(self, definition: CaseDefinition) -> list[datetime]:
        if definition.runs is None:
            return [definition.now]
        every = definition.runs.every or self.rule.query_frequency
        return run_times(definition.runs.begin, definition.now, every, definition.runs.skip)

    def _expected_rows(self, definition: CaseDefinition) -> list[Values] | None:
        if definition.rows is None:
            return None
        column_names = output_columns(self.rule)
        for number, row in enumerate(definition.rows):
            if unknown := [name for name in row if name not in column_names]:
                raise ValueError(
                    f"rows.{number}.{unknown[0]}: there is no such column; there are: {', '.join(column_names)}"
                )
        times = {name for name, kind in self.rule.sequence.columns.items() if kind == "datetime"}
        return [_format_times(row, times, definition.now) for row in definition.rows]

    def _received_objects(self, event: Values, number: int, now: datetime) -> Iterator[ReceivedObject]:
        """The event as often as it arrives."""
        kind, event_values = self._complete_event(event, f"events.{number - 1}")
        api_object = self.kinds[kind]
        table = self.rule.tables[api_object.table]
        try:
            event_time = (
                resolve_time(event_values["at"], now) if "at" in event_values else now + api_object.offset
            )
            fields = complete_fields(api_object, _as_values(event_values[kind]), number, event_time, now)
            times = {name for name, column in table.columns.items() if column == "datetime"}
            row = _format_times(_as_values(event_values.get("row")), times, now)
            arrivals = event_values.get("arrives", event_time)
            received = [
                resolve_time(arrival, now)
                for arrival in (arrivals if isinstance(arrivals, list) else [arrivals])
            ]
        except ValueError as error:
            raise ValueError(f"events.{number - 1}.{kind}: {error}") from error
        if unknown := row.keys() - table.columns.keys():
            raise ValueError(f"events.{number - 1}.row.{min(unknown)}: {api_object.table} has no such column")
        yield from (ReceivedObject(kind, fields, row, arrival_time) for arrival_time in received)

    def _complete_event(self, event: Values, key_path: str) -> tuple[str, dict[str, Any]]:
        """The kind of object that an event is of, and the event, completed by the shape that it names."""
        name = _event_name(event, [*self.shapes, *self.kinds], key_path)
        if name not in self.shapes:
            return name, dict(event)
        shape = self.shapes[name]
        kind = _event_name(shape, [*self.kinds], f"shapes.{name}")
        rest = {key: value for key, value in event.items() if key in EVENT_KEYS}
        return kind, merge(shape, {kind: merge(_as_values(shape[kind]), _as_values(event[name]))} | rest)


def _event_name(event: Values, allowed_names: Sequence[str], key_path: str) -> str:
    """The one name in an event that is not of every event's."""
    names = [name for name in event if name not in EVENT_KEYS]
    if len(names) == 1 and names[0] in allowed_names:
        return names[0]
    wrong = [name for name in names if name not in allowed_names] or names
    raise ValueError(
        f"{key_path}.{', '.join(map(str, wrong))}: an event is one of {', '.join(allowed_names)}, "
        f"and beside it {', '.join(EVENT_KEYS)}"
    )


def _as_values(written: object) -> Values:
    """The values of an object or a row; nothing written is none."""
    if written is None:
        return {}
    if not isinstance(written, Mapping):
        raise ValueError("must be values by their names")  # noqa: TRY004  # caught with the others
    return written


def _format_times(row: Values, times: set[str], now: datetime) -> dict[str, Any]:
    """The row with its moments as the engine writes them."""
    return {
        name: iso(resolve_time(value, now)) if name in times and value is not None else value
        for name, value in row.items()
    }


def _expectations(expected: Sequence[_StrictModel] | None) -> list[Values] | None:
    """What is expected, without what is not said."""
    if expected is None:
        return None
    return [
        {name: iso(value) if isinstance(value, datetime) else value for name, value in fields}
        for fields in (model.model_dump(exclude_unset=True).items() for model in expected)
    ]
