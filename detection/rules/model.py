"""A rule folder, loaded and validated: rule.yaml, changes.kql, signals.kql.

rule.yaml keeps the fields of a Sentinel scheduled rule under their own names and adds `sequence`.
An unknown key is an error, and so is a value this job cannot honour; docs/rules.md says which field
does what. Field ranges are those of Sentinel's own validator (Azure-Sentinel,
detectionTemplateSchemaValidation: frequency and period 5 minutes to 14 days, look-back to 7 days).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar, get_args
from uuid import UUID

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from detection.base.errors import ConfigurationError, problems_of
from detection.rules.identity import (
    EXACT,
    EmailsByUser,
    MatchingOption,
    option_problems,
    parse_option,
    read_mapping,
)
from detection.rules.silences import ENTITIES, Silence

CONTENT = Path(__file__).parents[1] / "content"
RULES = CONTENT / "rules"
CONNECTORS = CONTENT / "connectors"

# libyaml reads several times as fast; PyYAML has it wherever it comes as a wheel.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Model = TypeVar("Model", bound=BaseModel)
Transform = Callable[[object], object]
KqlType = Literal["string", "datetime", "dynamic", "bool", "int", "long", "real"]
Severity = Literal["Informational", "Low", "Medium", "High"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)  # from the mildest

# Functions that the local engine (duckdb-kql 1.1.2) is known to answer differently from Kusto: a rule that
# used one could not be trusted at home. tests/test_local_engine.py shows each of them being wrong.
REFUSED_FUNCTIONS = {
    "array_concat": "its text is not always JSON",
    "array_sort_asc": "numbers are sorted as text",
    "array_sort_desc": "numbers are sorted as text",
    "base64_decode_tostring": "bytes that are not UTF-8 come out as text",
    "base64_decodestring": "bytes that are not UTF-8 come out as text",
    "coalesce": "a JSON null counts as a value; use iff(isempty(...), ...)",
    "datetime_diff": "weeks are counted differently",
    "dcount": "exact here, an estimate in the cloud",
    "dcountif": "exact here, an estimate in the cloud",
    "make_list": "its limit is ignored and a JSON null is kept",
    "make_set": "its limit is ignored and a JSON null is kept",
    "parse_json": "text that is no JSON becomes null instead of a string",
    "todatetime": "it reads words and years that Kusto does not",
    "todynamic": "text that is no JSON becomes null instead of a string",
    "toupper": "some letters have another upper case; use tolower on both sides",
}


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


def rule_names(root: Path = RULES) -> list[str]:
    """The names of the rule folders, sorted."""
    return sorted(path.parent.name for path in root.glob("*/rule.yaml"))


def default_rule(root: Path = RULES) -> str:
    """The name of the rule that runs when none is chosen."""
    return (root / "DEFAULT").read_text(encoding="utf-8").strip()


def _unchanged(document: object) -> object:
    return document


def load_rule(name: str, root: Path = RULES, transform: Transform = _unchanged) -> Rule:
    """The rule in folder `name`; `amend` may change what stands in rule.yaml before it is looked at.

    Raises ConfigurationError naming file and key when anything about it is wrong.
    """
    folder = root / name
    if name not in rule_names(root):
        msg = f"unknown rule {name!r}; there are: {', '.join(rule_names(root))}"
        raise ConfigurationError(msg)
    written = read_yaml(folder / "rule.yaml", RuleFile, transform)
    connectors = [_connector(data_connector, folder) for data_connector in written.required_data_connectors]
    rule = Rule.model_validate(
        dict(written)
        | {
            "folder": name,
            "sequence": written.sequence.with_key_columns(),
            "emails_by_user": _read_mapping(folder, written.sequence.identity),
            "changes_kql": _query(folder / written.sequence.changes.query),
            "signals_kql": _query(folder / written.sequence.signals.query),
            "parsers": {
                key: text.strip() for connector in connectors for key, text in connector.parsers.items()
            },
            "tables": {key: table for connector in connectors for key, table in connector.tables.items()},
        }
    )
    rule = rule.model_copy(update={"exclusions": _exclusions(folder / "exclusions.yaml", rule)})
    for side_name, side in rule.sequence.sides.items():
        if side.source not in rule.parsers.keys() | rule.tables.keys():
            msg = f"{folder / 'rule.yaml'}: sequence.{side_name}.source: {side.source} is no parser or table of its connectors"
            raise ConfigurationError(msg)
    return rule


def _read_mapping(folder: Path, options: tuple[MatchingOption, ...]) -> EmailsByUser:
    """What the file of a bridge says, if there is one."""
    return next(
        (read_mapping(folder / option.parameter) for option in options if option.kind == "mapping"), {}
    )


def _exclusions(path: Path, rule: Rule) -> tuple[Silence, ...]:
    """What the file beside the rule excludes, if there is one."""
    if not path.is_file():
        return ()
    exclusions = read_yaml(path, Exclusions).exclusions
    for exclusion in exclusions:
        if unmapped := rule.unmapped_criteria(exclusion):
            msg = f"{path}: {exclusion.name}: the rule maps no column for {', '.join(unmapped)}"
            raise ConfigurationError(msg)
    return exclusions


def connector_file(folder: Path, name: str) -> Path | None:
    """A connector's file for a rule folder: in `connectors` beside the folder of rules, or else a shipped one."""
    places = [root / name for root in (folder.parent.parent / "connectors", CONNECTORS)]
    return next((path for path in places if path.is_file()), None)


def _connector(data_connector: DataConnector, folder: Path) -> Connector:
    location = f"{folder / 'rule.yaml'}: requiredDataConnectors"
    name = f"{data_connector.connector_id}.yaml"
    path = connector_file(folder, name)
    if not re.fullmatch(r"\w+", data_connector.connector_id) or path is None:
        msg = f"{location}: there is no connectors/{name}"
        raise ConfigurationError(msg)
    connector = read_yaml(path, Connector)
    missing = [table for table in data_connector.data_types if table not in connector.tables]
    if missing:
        msg = f"{location}: connectors/{path.name} has no table {', '.join(missing)}"
        raise ConfigurationError(msg)
    return connector


def read_yaml(path: Path, model: type[Model], transform: Transform = _unchanged) -> Model:
    """A YAML file as a model. Raises ConfigurationError naming file and key."""
    try:
        return model.model_validate(transform(yaml.load(path.read_text(encoding="utf-8"), _LOADER)))  # noqa: S506, a safe loader
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read as YAML: {error}"
        raise ConfigurationError(msg) from error
    except ValidationError as error:
        msg = f"{path}: {problems_of(error)}"
        raise ConfigurationError(msg) from error


def _query(path: Path) -> str:
    if not path.is_file():
        msg = f"{path}: the rule names this query file, but it is not there"
        raise ConfigurationError(msg)
    text = path.read_text(encoding="utf-8").strip()
    refused = [
        name for name in REFUSED_FUNCTIONS if re.search(rf"\b{re.escape(name)}\s*\(", without_comments(text))
    ]
    if refused:
        reasons = "; ".join(f"{name}: {REFUSED_FUNCTIONS[name]}" for name in refused)
        msg = f"{path}: uses what the local engine does not answer as Kusto does: {reasons}"
        raise ConfigurationError(msg)
    return text


def without_comments(kql: str) -> str:
    """The query without its comments; two slashes inside a text are none."""
    return re.sub(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|//[^\n]*""", lambda token: token[1] or "", kql)


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """A rule folder at a glance; `problem` says what is wrong with one that is not valid."""

    rule: str
    valid: bool
    default: bool
    name: str
    severity: str
    problem: str


def statuses(root: Path = RULES) -> list[RuleStatus]:
    """Every rule folder, loaded if it can be."""
    return [_status(name, root) for name in rule_names(root)]


def _status(name: str, root: Path) -> RuleStatus:
    default = (root / "DEFAULT").is_file() and name == default_rule(root)
    try:
        rule = load_rule(name, root)
    except ConfigurationError as error:
        return RuleStatus(name, valid=False, default=default, name="", severity="", problem=str(error))
    return RuleStatus(name, valid=True, default=default, name=rule.name, severity=rule.severity, problem="")
