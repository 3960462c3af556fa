"""Read the cases of a test file. docs/rules.md describes the format.

Errors name the file, the case and the key.
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
from detection.messages.text import escape_control
from detection.rules.loading import read_yaml
from detection.rules.model import Rule
from detection.ruletests.case_time import CaseTime, resolve_time
from detection.ruletests.objects import ApiObject, ReceivedObject, Values, complete_fields, merge
from detection.runs.replay import run_times

DEFAULT_NOW = datetime(2026, 6, 8, 12, tzinfo=UTC)  # the time of a case's run, unless its file sets another
EVENT_KEYS = ("at", "arrives", "row")  # of an event, besides its object


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class CaseFile(_StrictModel):
    """A test file as written. Its cases refer to the events in `shapes` by name."""

    about: str = ""
    now: AwareDatetime = DEFAULT_NOW
    shapes: dict[str, dict[str, Any]] = {}
    cases: Annotated[list[dict[str, Any]], Field(min_length=1)]


class RunSchedule(_StrictModel):
    """Runs at regular intervals up to the time of the case, by default at the rule's queryFrequency."""

    begin: Annotated[CaseTime, Field(alias="from")]
    every: Annotated[timedelta | None, BeforeValidator(lambda text: parse_duration(str(text)))] = None
    skip: list[CaseTime] = []


class ExpectedAlert(_StrictModel):
    """An alert that a case expects. Fields that are not set are not compared. `incident` counts from 1."""

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
    """An incident that a case expects. Incidents are in the order in which they were opened."""

    key: dict[str, str] | None = None
    number: int | None = None
    opened: CaseTime | None = None
    updated: CaseTime | None = None
    alerts: int | None = None
    pairs: int | None = None


def _expand_number(value: object) -> object:
    """A number means as many entries without any expected field."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return [{}] * value
    return value


class CaseDefinition(_StrictModel):
    """A case as written, with its times resolved relative to its run."""

    name: Annotated[str, Field(min_length=1)]
    now: AwareDatetime
    runs: RunSchedule | None = None
    unlisted: bool = False
    events: list[dict[str, Any]]
    rows: Annotated[list[dict[str, Any]] | None, BeforeValidator(_expand_number)] = None
    alerts: Annotated[list[ExpectedAlert] | None, BeforeValidator(_expand_number)] = None
    incidents: Annotated[list[ExpectedIncident] | None, BeforeValidator(_expand_number)] = None


@dataclass(frozen=True, slots=True)
class Case:
    """The objects in the logs, the times of the runs, and the expected results. None means: not compared."""

    file: Path
    name: str
    now: datetime
    runs: Sequence[datetime]
    objects: Sequence[ReceivedObject]
    rows: Sequence[Values] | None
    alerts: Sequence[Values] | None
    incidents: Sequence[Values] | None

    @property
    def label(self) -> str:
        """The case with its file, as errors name it."""
        return escape_control(f"{self.file}: case {self.name!r}")

    @property
    def needs_runs(self) -> bool:
        """Whether the case expects alerts or incidents, which only complete runs make."""
        return self.alerts is not None or self.incidents is not None


def read_cases(path: Path, rule: Rule, kinds: Mapping[str, ApiObject]) -> list[Case]:
    """The cases of a test file. Raises ConfigurationError naming the file, the case and the key."""
    file = read_yaml(path, CaseFile)
    reader = _CaseReader(path, rule, kinds, file.shapes)
    cases = [
        reader.read({"now": file.now} | case) for raw_case in file.cases for case in expand_each(raw_case)
    ]
    names = [case.name for case in cases]
    if duplicate := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(
            f"{path}: two cases are named {duplicate!r}; put a {{placeholder}} of `each` into the name"
        )
    return cases


def expand_each(case: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The case itself, or a case for each entry of `each`."""
    variants = case.get("each")
    rest = {name: value for name, value in case.items() if name != "each"}
    if isinstance(variants, Mapping) and len(variants) == 1:
        ((name, values),) = variants.items()
        variants = [{name: value} for value in values] if isinstance(values, list) else None
    elif variants is None:
        variants = [{}]
    if not isinstance(variants, list) or not all(isinstance(variant, Mapping) for variant in variants):
        yield rest | {"each": case.get("each")}  # refused as an unknown key
        return
    for values in variants:
        yield _substitute(rest, values)


def _substitute(written: Any, values: Values) -> Any:  # noqa: ANN401  # any YAML value
    """Replace {name} in all texts. A text that consists of one placeholder becomes the value itself."""
    if isinstance(written, Mapping):
        return {_substitute(name, values): _substitute(member, values) for name, member in written.items()}
    if isinstance(written, list):
        return [_substitute(member, values) for member in written]
    if not isinstance(written, str):
        return written
    if (placeholder := re.fullmatch(r"\{(\w+)\}", written)) and placeholder[1] in values:
        return values[placeholder[1]]
    texts = {
        name: value if isinstance(value, str) else json.dumps(value, default=str)
        for name, value in values.items()
    }
    return re.sub(r"\{(\w+)\}", lambda match: texts.get(match[1], match[0]), written)


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
            return self._build_case(CaseDefinition.model_validate(raw_case, context={"now": now}))
        except ValidationError as error:
            raise ConfigurationError(f"{self.path}: case {name!r}: {problems_of(error)}") from error
        except (ValueError, ConfigurationError) as error:
            raise ConfigurationError(f"{self.path}: case {name!r}: {error}") from error

    def _build_case(self, definition: CaseDefinition) -> Case:
        now, schedule, rows = definition.now, definition.runs, definition.rows
        if rows is None and definition.alerts is None and definition.incidents is None:
            raise ValueError("the case expects nothing; add rows, alerts or incidents")
        column_names = output_columns(self.rule)
        for number, row in enumerate(rows or ()):
            if unknown := [name for name in row if name not in column_names]:
                raise ValueError(
                    f"rows.{number}.{unknown[0]}: there is no such column; "
                    f"the rule returns {', '.join(column_names)}"
                )
        times = {name for name, kind in self.rule.sequence.columns.items() if kind == "datetime"}
        runs = [now]
        if schedule:
            every = schedule.every or self.rule.query_frequency
            runs = run_times(schedule.begin, now, every, schedule.skip)
        objects = [
            received_object
            for number, event in enumerate(definition.events, 1)
            for received_object in self._received_objects(event, number, now, unlisted=definition.unlisted)
        ]
        return Case(
            self.path,
            definition.name,
            now,
            runs,
            objects,
            None if rows is None else [_format_times(row, times, now) for row in rows],
            _expectations(definition.alerts),
            _expectations(definition.incidents),
        )

    def _received_objects(
        self, event: Values, number: int, now: datetime, *, unlisted: bool
    ) -> Iterator[ReceivedObject]:
        """The object of an event, completed by its shape, once for each time at which it arrives.

        `unlisted` permits values that the vendor does not list.
        """
        path = f"events.{number - 1}"
        kind = _object_name(event, [*self.shapes, *self.kinds], path)
        if kind in self.shapes:
            shape, overrides = self.shapes[kind], _as_values(event[kind])
            kind = _object_name(shape, [*self.kinds], f"shapes.{kind}")
            rest = {key: event[key] for key in EVENT_KEYS if key in event}
            event = merge(shape, {kind: merge(_as_values(shape[kind]), overrides)} | rest)
        api_object = self.kinds[kind]
        table = self.rule.tables[api_object.table]
        try:
            event_time = resolve_time(event["at"], now) if "at" in event else now + api_object.offset
            fields = complete_fields(api_object, _as_values(event[kind]), number, event_time, now)
            if not unlisted:
                api_object.require_listed({**_as_values(event[kind]), **_as_values(event.get("row"))})
            times = {name for name, column in table.columns.items() if column == "datetime"}
            row = _format_times(_as_values(event.get("row")), times, now)
            arrivals = event.get("arrives", event_time)
            received = [
                resolve_time(arrival, now)
                for arrival in (arrivals if isinstance(arrivals, list) else [arrivals])
            ]
        except ValueError as error:
            raise ValueError(f"{path}.{kind}: {error}") from error
        if unknown := row.keys() - table.columns.keys():
            raise ValueError(
                f"{path}.row.{min(unknown)}: there is no such column; "
                f"{api_object.table} has {', '.join(table.columns)}"
            )
        yield from (ReceivedObject(kind, fields, row, arrival_time) for arrival_time in received)


def _object_name(event: Values, allowed_names: Sequence[str], path: str) -> str:
    """The key of an event that names its object or shape."""
    names = [name for name in event if name not in EVENT_KEYS]
    if len(names) == 1 and names[0] in allowed_names:
        return names[0]
    wrong = [name for name in names if name not in allowed_names] or names
    raise ValueError(
        f"{path}.{', '.join(map(str, wrong))}: an event has one of {', '.join(allowed_names)}, "
        f"and may have {', '.join(EVENT_KEYS)}"
    )


def _as_values(written: object) -> Values:
    """The values of an object or a row; empty if nothing is written."""
    if written is None:
        return {}
    if not isinstance(written, Mapping):
        raise ValueError("must be a mapping of names to values")  # noqa: TRY004  # caught as the other errors
    return written


def _format_times(row: Values, times: set[str], now: datetime) -> dict[str, Any]:
    """The row with its times as the engine formats them."""
    return {
        name: iso(resolve_time(value, now)) if name in times and value is not None else value
        for name, value in row.items()
    }


def _expectations(expected: Sequence[_StrictModel] | None) -> list[Values] | None:
    """The fields that are set in each expectation."""
    if expected is None:
        return None
    return [
        {name: iso(value) if isinstance(value, datetime) else value for name, value in fields}
        for fields in (model.model_dump(exclude_unset=True).items() for model in expected)
    ]
