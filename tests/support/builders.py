"""Small builders of rows, events, logs and rules for tests. Rows have the columns of the real default rule."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Literal
from uuid import uuid4

from detection.base.timestamps import iso
from detection.correlation.correlate import Chain, correlate
from detection.incidents.acts import CloseAct, IncidentAct
from detection.incidents.incident import Action, Classification, HistoryEntry, Incident
from detection.incidents.keys import Key
from detection.logs.events import Event, Events, Logs, Row, to_events
from detection.logs.window import Windows, plan_windows
from detection.rules.loading import default_rule, load_rule
from detection.rules.model import Rule, Side

RULE = load_rule(default_rule())
DAY = timedelta(hours=24)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
START = datetime(2026, 3, 2, 10, tzinfo=UTC)
ALICE = "alice@example.com"

Method = Literal["AllEntities", "AnyAlert", "Selected"]


def change_row(
    ident: str,
    time: datetime,
    actor: str = ALICE,
    *,
    stamped: datetime | None = None,
    ip: str = "203.0.113.7",
    kind: str = "api_key.created",
    details: str = "",
    project: str = "",
    client: str = "",
    organization: str = "",
) -> Row:
    """A row as the rule's query for changes returns it."""
    return _row(
        RULE.sequence.changes,
        ConfigId=ident,
        ConfigTime=iso(time),
        ConfigStamped=iso(stamped or time),
        ConfigEvent=kind,
        ActorEmail=actor,
        ConfigIp=ip,
        ConfigDetails=details,
        ConfigProject=project,
        ConfigClient=client,
        ConfigOrganization=organization,
        ConfigBeyond='["",""]',
    )


def signal_row(
    ident: str,
    time: datetime,
    actor: str = ALICE,
    *,
    stamped: datetime | None = None,
    model: str = "gpt-4o-2024-08-06",
    kind: str = "content_filter",
) -> Row:
    """A row as the rule's query for signals returns it."""
    return _row(
        RULE.sequence.signals,
        AbuseId=ident,
        AbuseTime=iso(time),
        AbuseStamped=iso(stamped or time),
        AbuseKind=kind,
        ActorUser=actor,
        ModelName=model,
        EventFinishReasons=f'["{kind}"]',
        EventRequestId=f"req_{ident}",
        AbuseBeyond='[""]',
    )


def change(
    ident: str,
    time: datetime,
    actor: str = ALICE,
    *,
    ip: str = "203.0.113.7",
    kind: str = "api_key.created",
    details: str = "",
    project: str = "",
    client: str = "",
    organization: str = "",
) -> Event:
    """A change, made from its row as a run would."""
    row = change_row(
        ident,
        time,
        actor,
        ip=ip,
        kind=kind,
        details=details,
        project=project,
        client=client,
        organization=organization,
    )
    return _event(row, RULE.sequence.changes)


def signal(
    ident: str,
    time: datetime,
    actor: str = ALICE,
    *,
    model: str = "gpt-4o-2024-08-06",
    kind: str = "content_filter",
) -> Event:
    """A signal, made from its row as a run would."""
    return _event(signal_row(ident, time, actor, model=model, kind=kind), RULE.sequence.signals)


def with_cells(row: Row, side: Side, **cells: object) -> Row:
    """The row with other values in some columns."""
    return tuple(cells.get(name, value) for name, value in zip(side.columns, row, strict=True))


def logs(changes: Iterable[Row], signals: Iterable[Row], windows: Windows, rule: Rule = RULE) -> Logs:
    """Both sides as a source hands them to a run."""
    sequence = rule.sequence
    once = sequence.duplicates == "once"
    return Logs(
        to_events(changes, sequence.changes, windows.changes, once=once),
        to_events(signals, sequence.signals, windows.signals, once=once),
    )


def sliced(
    whole: Logs, max_signals_per_actor: int = 1_000, group_of: Callable[[Event], str] = attrgetter("actor")
) -> Logs:
    """The same, as a source hands over what is too much for memory: a slice for every group of actors; of more
    than `max_signals_per_actor` signals, chunks in order of time.
    """
    groups = sorted({group_of(event) for event in whole.signals.all_events})
    slices = (
        Logs(_events_of(group, whole.changes, group_of), signals, is_chunk=is_chunk)
        for group in groups
        for signals, is_chunk in _chunks(_events_of(group, whole.signals, group_of), max_signals_per_actor)
    )
    return replace(whole, signals=Events(()), slices=slices)


def _chunks(events: Events, max_signals_per_actor: int) -> Iterator[tuple[Events, bool]]:
    moments = sorted({event.time for event in events.in_window})
    in_window: list[Event] = []
    for number, moment in enumerate(moments, 1):
        in_window += [event for event in events.in_window if event.time == moment]
        if len(in_window) >= max_signals_per_actor and number < len(moments):
            yield Events(in_window), True
            in_window = []
    yield replace(events, in_window=in_window), len(in_window) < len(events.in_window)


def _events_of(group: str, events: Events, group_of: Callable[[Event], str]) -> Events:
    parts = (events.in_window, events.too_late, events.in_future)
    return Events(*([event for event in part if group_of(event) == group] for part in parts))


def chains(changes: Sequence[Event], signals: Sequence[Event]) -> list[Chain]:
    """The chains of the events, with the default rule's reach."""
    return correlate(changes, signals, RULE.sequence.within, once=True)


def first_windows(now: datetime = START) -> Windows:
    """The windows of a first run."""
    return plan_windows(now, None, RULE)


def grouped_by(method: Method, *entities: str) -> Rule:
    """The default rule with another way of grouping."""
    return grouped(matching_method=method, group_by_entities=entities)


def grouped(**update: object) -> Rule:
    """The default rule with another grouping configuration."""
    grouping = RULE.grouping.model_copy(update=update)
    configuration = RULE.incident_configuration.model_copy(update={"grouping_configuration": grouping})
    return RULE.model_copy(update={"incident_configuration": configuration})


def incident_act(incident: str, author: str, note: str = "", *, self_declared: bool = True) -> IncidentAct:
    """An act on an incident, by a request of its own."""
    return IncidentAct(
        incident=incident, author=author, note=note, request=uuid4().hex, self_declared=self_declared
    )


def close_act(incident: str, classification: Classification, author: str, note: str = "") -> CloseAct:
    """Closing an incident, by a request of its own."""
    request = uuid4().hex
    return CloseAct(
        incident=incident, author=author, note=note, request=request, classification=classification
    )


def act(
    incident: Incident,
    action: Action,
    author: str,
    time: datetime,
    note: str = "",
    *,
    self_declared: bool = True,
    request: str = "",
    classification: Classification | None = None,
    assignee: str = "",
) -> Incident:
    """The incident after an act."""
    entry = HistoryEntry(action, author, time, note, self_declared, classification, None, request, assignee)
    return incident.with_act(entry)


def closed_at_start(incident: Incident) -> Incident:
    """An incident as somebody closes it who cannot say what it was."""
    return act(incident, "closed", "somebody", START, classification="undetermined")


def account(actor: str = ALICE) -> Key:
    """The default rule's grouping key of an actor."""
    return (("Account", actor),)


def _row(side: Side, **values: object) -> Row:
    unknown = values.keys() - side.columns.keys()
    assert not unknown, f"{side.query} has no column {unknown}"
    return tuple(values.get(name) for name in side.columns)


def _event(row: Row, side: Side) -> Event:
    window = first_windows(datetime(2100, 1, 1, tzinfo=UTC)).signals
    events: Events = to_events([row], side, window, once=True)
    (event,) = events.all_events
    return event
