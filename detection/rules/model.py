"""The model of a rule folder: rule.yaml, changes.kql, signals.kql.

rule.yaml keeps the fields of a Sentinel scheduled rule under their own names and adds `sequence`. An unknown
key is an error, and so is a value that this job cannot honour; docs/rules.md explains each field. The ranges
of fields are those of Sentinel's own validator (Azure-Sentinel, detectionTemplateSchemaValidation: frequency
and period 5 minutes to 14 days, look-back to 7 days).
"""

from datetime import timedelta
from functools import cached_property
from typing import Annotated, Literal, Protocol, Self, TypeVar, get_args
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from detection.base.timestamps import iso_duration
from detection.rules.identity import EXACT, EmailsByUser, MatchingOption, option_problems, parse_option
from detection.rules.silences import ENTITIES, Silence

KqlType = Literal["string", "datetime", "dynamic", "bool", "int", "long", "real"]
Severity = Literal["Informational", "Low", "Medium", "High"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)  # in ascending order


class Named(Protocol):
    """Has a name."""

    @property
    def name(self) -> str:
        """The name."""


NamedType = TypeVar("NamedType", bound=Named)


def require_unique_names(named: tuple[NamedType, ...]) -> tuple[NamedType, ...]:
    """Validates that no two have the same name."""
    positions: dict[str, int] = {}
    for position, entry in enumerate(named):
        if positions.setdefault(entry.name, position) != position:
            raise ValueError(f"[{positions[entry.name]}] and [{position}] have the same name; rename one")
    return named


def _iso_duration(value: object) -> object:
    """Refuses the bare number and `1:00`, which pydantic would accept as durations in YAML."""
    duration = iso_duration(value) if isinstance(value, str) else value
    if not isinstance(duration, timedelta) and not (isinstance(duration, str) and duration.startswith("P")):
        raise ValueError("must be a duration such as 8h, 30m or 2d, or ISO 8601 such as PT1H or P1D")
    return duration


Duration = Annotated[timedelta, BeforeValidator(_iso_duration)]
Within = Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=14))]
Period = Annotated[Duration, Field(ge=timedelta(minutes=5), le=timedelta(days=14))]
Lookback = Annotated[Duration, Field(ge=timedelta(minutes=5), le=timedelta(days=7))]


class _RulePart(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=False,
        hide_input_in_errors=True,
        defer_build=True,  # only the model of a whole file needs a validator
    )


class _ProjectPart(_RulePart):
    """A part that this project adds. Its keys are written as the fields are named here."""

    model_config = ConfigDict(alias_generator=None)


class LogTable(_ProjectPart):
    """A log table of a connector: its columns with their KQL types.

    An event's id is the first column of `key` that is not empty.
    """

    stamped: str
    key: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    optional: bool = False
    columns: dict[str, KqlType]


class ChangeType(_ProjectPart):
    """The words for a type of change whose object the log names, and how to undo the change.

    `target` is the member of the event's details that names the object. In the texts, `{target}` is that
    name, `{id}` the object's id, `{project}` the id of its project; `undo` and `calls` may name any other
    member. `words` replaces the label of the change.
    """

    target: str = "id"
    words: Annotated[str, Field(pattern=r"\{target\}", max_length=100)]
    undo: Annotated[str, Field(max_length=200)] = ""
    calls: tuple[Annotated[str, Field(max_length=300)], ...] = ()


class Connector(_ProjectPart):
    """A data connector: its tables, parser functions over them as KQL, and the changes that it reports.

    `changes` are by type in lower case. `command` precedes each of their `calls`.
    """

    parsers: dict[str, str]
    tables: dict[str, LogTable]
    command: str = ""
    changes: dict[str, ChangeType] = {}


class DataConnector(_RulePart):
    """A connector the rule needs: `connectors/<connectorId>.yaml`."""

    connector_id: str
    data_types: tuple[str, ...]


class FieldMapping(_RulePart):
    """An identifier of an entity, and the result column that fills it."""

    identifier: str
    column_name: str


class EntityMapping(_RulePart):
    """A Sentinel entity and its identifiers (at most 3)."""

    entity_type: str
    field_mappings: Annotated[tuple[FieldMapping, ...], Field(min_length=1, max_length=3)]


class EventGrouping(_RulePart):
    """One alert per grouping key and run. Per-row alerts are not supported."""

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
            raise ValueError("matchingMethod Selected needs groupByEntities")
        return self


class IncidentConfiguration(_RulePart):
    """Incidents are always created here."""

    create_incident: Literal[True] = True
    grouping_configuration: Grouping = Grouping()


class Metadata(_ProjectPart):
    """The metadata that callers send: KQL over the side's source, and the result column that holds it."""

    source: str
    column: str


class CutBag(_ProjectPart):
    """The dynamic column of a side's source that holds the actor as its member `key`.

    Log Analytics cuts values at 64 KB. A cut bag is text that is not JSON.
    """

    column: Annotated[str, Field(pattern=r"^\w+$")]
    key: Annotated[str, Field(pattern=r"^\w+$")]


class ObjectColumns(_ProjectPart):
    """The result columns that name the object of a change.

    They hold the event's details and its project, as JSON text, the client, a user agent or an API key, and
    the name of the organization.
    """

    details: str
    project: str
    client: str
    organization: str


class Side(_ProjectPart):
    """One of the two queries, and the roles of its result columns."""

    source: str
    query: str
    names_actor: str
    actor_expression: str | None = None
    metadata: Metadata | None = None
    cut: CutBag | None = None
    object: ObjectColumns | None = None
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
        """The kind in words for people; the kind itself if the rule has no label for it."""
        return self.labels.get(kind.lower(), kind)

    @model_validator(mode="after")
    def _roles_are_columns(self) -> Self:
        roles = {self.id: "string", self.time: "datetime", self.stamped: "datetime", self.actor: "string"}
        roles |= {self.kind: "string", self.full_row: "dynamic"} | (
            {self.beyond: "dynamic"} if self.beyond else {}
        )
        roles |= dict.fromkeys(self.object.model_dump().values(), "string") if self.object else {}
        for column, kql_type in roles.items():
            if self.columns.get(column) != kql_type:
                raise ValueError(f"{column} must be one of columns, as {kql_type}")
        if self.metadata and self.metadata.column in self.columns:
            raise ValueError(f"metadata: {self.metadata.column} must not be in columns: it is not read")
        return self


class Published(_ProjectPart):
    """The published rule that this rule derives from, and the reason for a pair outside its windows."""

    rule: str
    beyond: str


class EventSequence(_ProjectPart):
    """A signal after a change by the same actor: both sides, and how far apart they may be.

    `threshold` is, by kind of signal, the number of signals that a change must reach before they count.
    """

    within: Within
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
        return {"changes": self.changes, "signals": self.signals}

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        problems = list(option_problems(self.identity))
        if any(option.kind == "metadata" for option in self.identity) and self.signals.metadata is None:
            problems.append("identity: metadata needs signals.metadata, the place of the metadata")
        if shared_columns := self.changes.columns.keys() & self.signals.columns.keys():
            names = ", ".join(sorted(shared_columns))
            problems.append(f"columns of changes and signals must differ; both have {names}")
        if unknown := [name for name in self.output if name not in self.columns]:
            problems.append(f"output: {', '.join(unknown)} is not a column of changes or signals")
        if unlabelled := self.threshold.keys() - self.signals.labels.keys():
            problems.append(f"threshold: {', '.join(sorted(unlabelled))} is not a kind in signals.labels")
        if untimed := [side.time for side in self.sides.values() if side.time not in self.output]:
            problems.append(f"output: {', '.join(untimed)} is missing; an alert shows how long it took")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def columns(self) -> dict[str, KqlType]:
        return self.changes.columns | self.signals.columns

    @property
    def exact(self) -> bool:
        """Whether a signal belongs only to the actor that it names."""
        return self.identity == (EXACT,)

    def key_columns(self, number: int) -> tuple[str, str]:
        """The columns with the keys of an option, of changes and of signals."""
        option = self.identity[number]
        change_column, signal_column = (f"{side}Key{number + 1}" for side in ("Change", "Signal"))
        return (
            change_column if option.change_key_steps(change_column, "") else self.changes.actor,
            signal_column if option.signal_key("", "") else self.signals.actor,
        )

    def with_key_columns(self) -> Self:
        """The sequence with the key columns of its options among the columns that are read."""
        pairs = [self.key_columns(number) for number, _ in enumerate(self.identity)]
        sides: dict[str, Side] = {}
        for (name, side), keys in zip(self.sides.items(), zip(*pairs, strict=True), strict=True):
            key_types: dict[str, KqlType] = dict.fromkeys(keys, "string")
            sides[name] = side.model_copy(update={"columns": side.columns | key_types})
        return self.model_copy(update=sides)


class SeverityCondition(_ProjectPart):
    """The severity that an alert rises to if its evidence meets all conditions that are set.

    The conditions: a pair with one of these kinds of change (`changes`) and of signal (`signals`), all in
    lower case; an address that is new for the actor.
    """

    severity: Severity
    changes: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    new_address: bool = False

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        if not (self.changes or self.signals or self.new_address):
            raise ValueError("needs changes, signals or new_address: without them it would cover every alert")
        return self


class OnCall(_ProjectPart):
    """How the rule reaches the on-call. `observe` only keeps incidents; `runbook` has the first steps, in
    words, with `{undo}` where the steps that undo the alert's changes follow.
    """

    mode: Literal["page", "observe"] = "page"
    severity: tuple[SeverityCondition, ...] = ()
    runbook: Annotated[tuple[Annotated[str, Field(max_length=300)], ...], Field(max_length=10)] = ()
    runbook_url: Annotated[str, Field(pattern=r"^https://[^\s<>\"|]+$", max_length=500)] | None = None


class Exclusions(_ProjectPart):
    """exclusions.yaml, an optional file next to rule.yaml: pairs that do not alert."""

    exclusions: Annotated[tuple[Silence, ...], AfterValidator(require_unique_names)]


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
    def _fields_agree(self) -> Self:
        problems: list[str] = []
        if self.query_frequency > self.query_period:
            problems.append("queryFrequency must not be longer than queryPeriod")
        group_entities = self.incident_configuration.grouping_configuration.group_by_entities
        signal_actor = self.sequence.signals.actor
        for mapping in self.entity_mappings:
            columns = [field.column_name for field in mapping.field_mappings]
            if mapping.entity_type in group_entities and signal_actor in columns and not self.sequence.exact:
                problems.append(
                    f"identity: {mapping.entity_type}, by which alerts are grouped, must not be "
                    f"{signal_actor}: signals name the changer differently"
                )
        mapped = {mapping.entity_type for mapping in self.entity_mappings}
        problems += [
            f"groupByEntities: {entity} is not in entityMappings"
            for entity in group_entities
            if entity not in mapped
        ]
        problems += [
            f"entityMappings: {field.column_name} is not a string column of changes or signals"
            for mapping in self.entity_mappings
            for field in mapping.field_mappings
            if self.sequence.columns.get(field.column_name) != "string"
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self


class Rule(RuleFile):
    """A rule folder as the job uses it: rule.yaml, the two queries, and the tables that they read."""

    model_config = ConfigDict(validate_by_name=True)

    folder: str
    changes_kql: str
    signals_kql: str
    parsers: dict[str, str]
    saved_parsers: bool = False  # as functions in the workspace: then queries do not contain them
    tables: dict[str, LogTable]
    emails_by_user: EmailsByUser = Field(default={}, repr=False)
    exclusions: tuple[Silence, ...] = ()
    change_types: dict[str, ChangeType] = {}

    @property
    def lateness(self) -> timedelta:
        """The least allowed lateness of a row: the part of queryPeriod before the last run."""
        return self.query_period - self.query_frequency

    def allowed_lateness(self, lateness: timedelta | None) -> timedelta:
        """The allowed lateness where the settings have `lateness`: never less than the rule's own."""
        return max(lateness or self.lateness, self.lateness)

    @property
    def grouping(self) -> Grouping:
        """How this rule's alerts become incidents."""
        return self.incident_configuration.grouping_configuration

    def entity_columns(self, entity: str, side: Side) -> list[str]:
        """The columns of a side that fill entities of a type, such as IP."""
        mappings = [mapping for mapping in self.entity_mappings if mapping.entity_type == entity]
        columns = [field.column_name for mapping in mappings for field in mapping.field_mappings]
        return [name for name in columns if name in side.columns]

    def entity_places(self, entity: str, side: Side) -> list[int]:
        """The positions in a side's row that fill entities of a type."""
        return [side.place_of(name) for name in self.entity_columns(entity, side)]

    def unmapped_criteria(self, silence: Silence) -> list[str]:
        """The criteria of a silence that this rule has no column for."""
        sides = self.sequence.sides.values()
        entities = {name: ENTITIES[name] for name in silence.criteria if name in ENTITIES}
        return [
            name
            for name, entity in entities.items()
            if not any(self.entity_places(entity, side) for side in sides)
        ]
