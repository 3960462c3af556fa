"""A rule folder, loaded and validated: rule.yaml, changes.kql, signals.kql.

rule.yaml keeps the fields of a Sentinel scheduled rule under their own names and adds `sequence`.
An unknown key is an error, and so is a value this job cannot honour; docs/rules.md says which field
does what. Field ranges are those of Sentinel's own validator (Azure-Sentinel,
detectionTemplateSchemaValidation: frequency and period 5 minutes to 14 days, look-back to 7 days).
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Literal, Self, get_args
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from detection.rules.identity import EXACT, EmailsByUser, MatchingOption, option_problems, parse_option
from detection.rules.silences import ENTITIES, Silence

KqlType = Literal["string", "datetime", "dynamic", "bool", "int", "long", "real"]
Severity = Literal["Informational", "Low", "Medium", "High"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)  # from the mildest


def _iso_duration(value: object) -> object:
    """In YAML only ISO 8601 text is a duration: a bare number or `1:00` would be read in silence."""
    if not isinstance(value, timedelta) and not (isinstance(value, str) and value.startswith("P")):
        msg = "must be an ISO 8601 duration such as PT1H or P1D"
        raise ValueError(msg)
    return value


def _between(shortest: timedelta, longest: timedelta) -> object:
    return Field(ge=shortest, le=longest)


Duration = Annotated[timedelta, BeforeValidator(_iso_duration)]
Period = Annotated[Duration, _between(timedelta(minutes=5), timedelta(days=14))]
Lookback = Annotated[Duration, _between(timedelta(minutes=5), timedelta(days=7))]


class _RulePart(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=False,
        hide_input_in_errors=True,
        defer_build=True,  # most are only parts of others: what is read from a file builds them all at once
    )


class _ProjectPart(_RulePart):
    """A part that this project adds: its keys are written as they are here."""

    model_config = ConfigDict(alias_generator=None)


class LogTable(_ProjectPart):
    """A log table of a connector: its columns with their KQL types. The first of `key` that is not empty names an event."""

    stamped: str
    key: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    optional: bool = False
    columns: dict[str, KqlType]


class Connector(_ProjectPart):
    """What a data connector provides: tables, and parser functions over them as KQL."""

    parsers: dict[str, str]
    tables: dict[str, LogTable]


class DataConnector(_RulePart):
    """A connector the rule needs: `connectors/<connectorId>.yaml`."""

    connector_id: str
    data_types: tuple[str, ...]


class FieldMapping(_RulePart):
    """One identifier of an entity and the result column that fills it."""

    identifier: str
    column_name: str


class EntityMapping(_RulePart):
    """A Sentinel entity and its identifiers (at most 3)."""

    entity_type: str
    field_mappings: Annotated[tuple[FieldMapping, ...], Field(min_length=1, max_length=3)]


class EventGrouping(_RulePart):
    """One alert per grouping key and run; per-row alerts are not honoured."""

    aggregation_kind: Literal["SingleAlert"] = "SingleAlert"


class Grouping(_RulePart):
    """How alerts become incidents; a closed incident is never reopened."""

    enabled: Literal[True] = True
    reopen_closed_incident: Literal[False] = False
    lookback_duration: Lookback = timedelta(hours=5)
    matching_method: Literal["AllEntities", "AnyAlert", "Selected"] = "AllEntities"
    group_by_entities: tuple[str, ...] = ()
    group_by_alert_details: Annotated[tuple[str, ...], Field(max_length=0)] = ()
    group_by_custom_details: Annotated[tuple[str, ...], Field(max_length=0)] = ()

    @model_validator(mode="after")
    def _selected_names_something(self) -> Self:
        if self.matching_method == "Selected" and not self.group_by_entities:
            msg = "matchingMethod Selected needs groupByEntities"
            raise ValueError(msg)
        return self


class IncidentConfiguration(_RulePart):
    """Incidents are always created here."""

    create_incident: Literal[True] = True
    grouping_configuration: Grouping = Grouping()


class Metadata(_ProjectPart):
    """Where a side keeps what its callers say of themselves: KQL over `source`, and the result column of it."""

    source: str
    column: str


class Side(_ProjectPart):
    """One of the two queries, and which of its result columns mean what."""

    source: str
    query: str
    names_actor: str
    actor_expression: str | None = None
    metadata: Metadata | None = None
    id: str
    full_row: str
    time: str
    stamped: str
    actor: str
    kind: str
    beyond: str | None = None
    columns: dict[str, KqlType]
    labels: dict[str, str]

    @cached_property
    def places(self) -> dict[str, int]:
        """The position of each result column in a row."""
        return {name: place for place, name in enumerate(self.columns)}

    def place_of(self, column: str) -> int:
        """The position of a result column in a row."""
        return self.places[column]

    def label(self, kind: str) -> str:
        """The kind in words for people; the kind itself where the rule has no words for it."""
        return self.labels.get(kind.lower(), kind)

    @model_validator(mode="after")
    def _roles_are_columns(self) -> Self:
        roles = {self.id: "string", self.time: "datetime", self.stamped: "datetime", self.actor: "string"}
        roles |= {self.kind: "string", self.full_row: "dynamic"} | (
            {self.beyond: "dynamic"} if self.beyond else {}
        )
        for column, kql_type in roles.items():
            if self.columns.get(column) != kql_type:
                msg = f"{column} must be one of columns, as {kql_type}"
                raise ValueError(msg)
        if self.metadata and self.metadata.column in self.columns:
            msg = f"metadata: {self.metadata.column} must be none of columns: it is not read"
            raise ValueError(msg)
        return self


class Published(_ProjectPart):
    """The rule this one derives from, and the reason given where a pair lies outside its windows."""

    rule: str
    beyond: str


class EventSequence(_ProjectPart):
    """A signal after a change by the same actor: both sides, and how far apart they may be.

    `threshold` says of a kind of signal how many a change must reach before they count.
    """

    within: Duration
    windows: Literal["watermark", "query-period"]
    duplicates: Literal["once", "keep"]
    threshold: dict[str, Annotated[int, Field(ge=1, le=1_000)]] = {}
    published: Published | None = None
    identity: Annotated[
        tuple[Annotated[MatchingOption, BeforeValidator(parse_option)], ...],
        BeforeValidator(lambda written: written if isinstance(written, list | tuple) else [written]),
        Field(min_length=1),
    ] = (EXACT,)
    changes: Side
    signals: Side
    output: tuple[str, ...]

    @property
    def sides(self) -> dict[str, Side]:
        """Both sides by name."""
        return {"changes": self.changes, "signals": self.signals}

    @model_validator(mode="after")
    def _options_are_sound(self) -> Self:
        problems = list(option_problems(self.identity))
        if any(option.kind == "metadata" for option in self.identity) and self.signals.metadata is None:
            problems.append("identity: metadata needs signals.metadata, which says where it is")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @model_validator(mode="after")
    def _columns_are_unique(self) -> Self:
        shared_columns = self.changes.columns.keys() & self.signals.columns.keys()
        if shared_columns:
            msg = f"columns of changes and signals must differ; both have {', '.join(sorted(shared_columns))}"
            raise ValueError(msg)
        unknown = [name for name in self.output if name not in self.columns]
        if unknown:
            msg = f"output: {', '.join(unknown)} is no column of changes or signals"
            raise ValueError(msg)
        unlabelled = self.threshold.keys() - self.signals.labels.keys()
        if unlabelled:
            msg = f"threshold: {', '.join(sorted(unlabelled))} is no kind in signals.labels"
            raise ValueError(msg)
        untimed = [side.time for side in self.sides.values() if side.time not in self.output]
        if untimed:
            msg = f"output: {', '.join(untimed)} must be in it, for an alert says how long it took"
            raise ValueError(msg)
        return self

    @property
    def columns(self) -> dict[str, KqlType]:
        """The result columns of both sides with their KQL types."""
        return self.changes.columns | self.signals.columns

    @property
    def exact(self) -> bool:
        """Whether a signal is of the actor that it names, and of nobody else."""
        return self.identity == (EXACT,)

    def key_columns(self, number: int) -> tuple[str, str]:
        """The columns in which the changes and the signals have their keys of a bridge."""
        option = self.identity[number]
        change_column, signal_column = (f"{side}Bridge{number + 1}" for side in ("Change", "Signal"))
        return (
            change_column if option.change_key_steps(change_column, "") else self.changes.actor,
            signal_column if option.signal_key("", "") else self.signals.actor,
        )

    def with_key_columns(self) -> Self:
        """The same with the keys of its bridges among the columns that are read."""
        pairs = [self.key_columns(number) for number, _ in enumerate(self.identity)]
        sides = {
            name: side.model_copy(update={"columns": side.columns | _strings(keys)})
            for (name, side), keys in zip(self.sides.items(), zip(*pairs, strict=True), strict=True)
        }
        return self.model_copy(update=sides)


def _strings(columns: Iterable[str]) -> dict[str, KqlType]:
    return dict.fromkeys(columns, "string")


class SeverityCondition(_ProjectPart):
    """A severity that an alert rises to when its evidence has all that is asked for here.

    A pair of one of these kinds of change and one of these kinds of signal, all lower-case; a new address for the actor.
    """

    severity: Severity
    changes: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    new_address: bool = False

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        if not (self.changes or self.signals or self.new_address):
            msg = "needs changes, signals or new_address: severity itself is what every alert has"
            raise ValueError(msg)
        return self


class OnCall(_ProjectPart):
    """What reaches the on-call. `observe` keeps incidents and pages nobody; `runbook` are the first steps, in words."""

    mode: Literal["page", "observe"] = "page"
    severity: tuple[SeverityCondition, ...] = ()
    runbook: Annotated[tuple[Annotated[str, Field(max_length=300)], ...], Field(max_length=10)] = ()
    runbook_url: Annotated[str, Field(pattern=r"^https://[^\s<>\"|]+$", max_length=500)] | None = None


class Exclusions(_ProjectPart):
    """exclusions.yaml, beside rule.yaml where there is one: what pages nobody, for good or until a day."""

    exclusions: tuple[Silence, ...]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({exclusion.name for exclusion in self.exclusions}) < len(self.exclusions):
            msg = "two have the same name"
            raise ValueError(msg)
        return self


class RuleFile(_RulePart):
    """rule.yaml as written; field names and meaning are Sentinel's."""

    id: UUID
    name: Annotated[str, Field(min_length=1)]
    description: str
    severity: Severity
    required_data_connectors: Annotated[tuple[DataConnector, ...], Field(min_length=1)]
    query_frequency: Period
    query_period: Period
    trigger_operator: Literal["gt"]
    trigger_threshold: Literal[0]
    enabled: bool = True
    tactics: tuple[str, ...] = ()
    relevant_techniques: tuple[str, ...] = ()
    entity_mappings: Annotated[tuple[EntityMapping, ...], Field(max_length=10)] = ()
    event_grouping_settings: EventGrouping = EventGrouping()
    incident_configuration: IncidentConfiguration = IncidentConfiguration()
    suppression_enabled: Literal[False] = False
    suppression_duration: Duration | None = None
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$", max_length=20)]
    kind: Literal["Scheduled"]
    tags: tuple[str, ...] = ()
    sequence: EventSequence
    on_call: OnCall = Field(OnCall(), alias="on_call")

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        problems = "; ".join(self._problems())
        if problems:
            raise ValueError(problems)
        return self

    def _problems(self) -> Iterator[str]:
        if self.query_frequency > self.query_period:
            yield "queryFrequency must not be longer than queryPeriod"
        mapped = {mapping.entity_type for mapping in self.entity_mappings}
        if not self.sequence.exact:
            yield from self._grouping_problems()
        for entity in self.incident_configuration.grouping_configuration.group_by_entities:
            if entity not in mapped:
                yield f"groupByEntities: {entity} is not in entityMappings"
        for mapping in self.entity_mappings:
            for field in mapping.field_mappings:
                if self.sequence.columns.get(field.column_name) != "string":
                    yield f"entityMappings: {field.column_name} is no string column of changes or signals"

    def _grouping_problems(self) -> Iterator[str]:
        """Over a bridge only the change's side says whose key it is."""
        actor = self.sequence.signals.actor
        group_entities = self.incident_configuration.grouping_configuration.group_by_entities
        for mapping in self.entity_mappings:
            columns = [field.column_name for field in mapping.field_mappings]
            if mapping.entity_type in group_entities and actor in columns:
                yield f"identity: {mapping.entity_type}, by which alerts are grouped, must not be {actor}: signals name the changer otherwise"


class Rule(RuleFile):
    """A rule folder as the job uses it: rule.yaml, the two queries, and the tables they read."""

    model_config = ConfigDict(validate_by_name=True)

    folder: str
    changes_kql: str
    signals_kql: str
    parsers: dict[str, str]
    tables: dict[str, LogTable]
    emails_by_user: EmailsByUser = Field(default={}, repr=False)
    exclusions: tuple[Silence, ...] = ()

    @property
    def lateness(self) -> timedelta:
        """How late a row may arrive and still be read: the part of queryPeriod before the last run."""
        return self.query_period - self.query_frequency

    @property
    def grouping(self) -> Grouping:
        """How this rule's alerts become incidents."""
        return self.incident_configuration.grouping_configuration

    def entity_places(self, entity: str, side: Side) -> list[int]:
        """The positions in a side's row that fill an entity of a type, such as IP."""
        mappings = [mapping for mapping in self.entity_mappings if mapping.entity_type == entity]
        columns = [field.column_name for mapping in mappings for field in mapping.field_mappings]
        return [side.place_of(name) for name in columns if name in side.columns]

    def unmapped_criteria(self, silence: Silence) -> list[str]:
        """The criteria of a silence that this rule has no column for."""
        sides = self.sequence.sides.values()
        entities = {name: ENTITIES[name] for name in silence.criteria if name in ENTITIES}
        return [
            name
            for name, entity in entities.items()
            if not any(self.entity_places(entity, side) for side in sides)
        ]
