"""The actor page: a week of an actor in the incident table, and on demand in the logs.

The address has a digest of the actor's name, for addresses are logged. The page is for people who may read
every incident: the link of a message, which shows one incident, never leads here.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from detection.app import Job
from detection.desk import IncidentDetail, NoIncident
from detection.incidents.silencing import matches_alert
from detection.rules.patterns import pattern_matcher
from detection.rules.silences import Silence
from detection.store.incident_list import Selection
from detection.store.layout import DamagedRow, OnDamage
from detection.store.table import PAGE
from detection.web.actor_logs import ActorQuery, answered_queries, queries_of_actor
from detection.web.incident_view import incident_view
from detection.web.listing import (
    STATUSES,
    IncidentRow,
    RowFault,
    SilenceRow,
    incident_row,
    row_faults,
    silence_row,
)

WEEK = timedelta(days=7)
PAGES = 5  # of the week's incidents that are searched for the actor
READ = 20  # incidents whose alerts are read, the latest first
NAMED = 20  # other actors from the same addresses, and their incidents
ADDRESSES = 20  # addresses of a query, the latest first
HOUR = 3_600


class NoActor(NoIncident):
    """No incident of the week is of an actor with that id."""


@dataclass(frozen=True, slots=True)
class ActorHour:
    """The signals of an hour, which begins at `hour` (UTC), by kind."""

    hour: datetime
    kinds: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class OtherActor:
    """Another actor with an incident of the week and one of the same addresses."""

    id: str
    name: str
    incident: str
    addresses: Sequence[str]


@dataclass(frozen=True, slots=True)
class ActorPage:
    """A week of an actor, from `since` to now (UTC).

    `changes` are in words, the latest first; `more_changes` counts the others. `signals` are by hour, the
    latest first. `matched_by` counts the signals of the alerts by the identity matching option that assigned
    them. `other_incidents` are those of other actors from the same addresses, the latest first. `more_actors`
    and `more_incidents` count the others beyond NAMED. `is_complete` is false
    if the week has more incidents than were searched, `unread` counts the actor's incidents whose alerts were
    not read. `queries` are for what the table does not have. `row_faults` are the damaged rows that the page
    leaves out.
    """

    id: str
    name: str
    since: datetime
    incidents: Sequence[IncidentRow]
    changes: Sequence[str]
    more_changes: int
    signals: Sequence[ActorHour]
    matched_by: Mapping[str, int]
    silences: Sequence[SilenceRow]
    addresses: Sequence[str]
    other_actors: Sequence[OtherActor]
    more_actors: int
    other_incidents: Sequence[IncidentRow]
    more_incidents: int
    is_complete: bool
    unread: int
    queries: Sequence[ActorQuery]
    row_faults: Sequence[RowFault]


def actor_id(name: str) -> str:
    """The id of an actor in addresses: the SHA-256 of the name in hexadecimal digits."""
    return _digest(name)


def _digest(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def actor_page(
    job: Job, name_digest: str, now: datetime, incident: str = "", *, ask: bool = False
) -> ActorPage:
    """The page of an actor by the id of `actor_id`. `incident` is the id of an incident of the actor, which
    may be older than the week. With `ask` the logs are asked, for ASK_FOR seconds at most.

    Raises NoActor and ServiceError.
    """
    since = now - WEEK
    damages: list[DamagedRow] = []
    week, is_complete = _incidents_since(job, since, damages.append)
    if incident and all(detail.incident.id != incident for detail in week):
        week = [*week, job.desk.incident(incident)]
    own = [detail for detail in week if actor_id(detail.incident.actor) == name_digest]
    if not own:
        raise NoActor("there is no incident of this actor in the last week; open the page from an incident")
    details = [job.desk.incident(detail.incident.id, damages.append) for detail in own[:READ]]
    addresses = list(dict.fromkeys(address for detail in own for address in detail.incident.addresses))
    name = own[0].incident.actor
    neighbours = [
        detail
        for detail in week
        if detail.incident.actor not in ("", name) and set(detail.incident.addresses) & set(addresses)
    ]
    other_actors = list(_other_actors(neighbours, addresses))
    rules = {rule.folder: rule for rule in job.rules}
    views = [incident_view(detail, rules[detail.rule]) for detail in details if detail.rule in rules]
    queries = queries_of_actor(job, name_digest, [*map(_digest, addresses[:ADDRESSES])], since, now)
    return ActorPage(
        id=name_digest,
        name=name,
        since=since,
        incidents=[incident_row(detail, job.desk) for detail in own],
        changes=[text for view in views for text in view.changed[::-1]],
        more_changes=sum(view.more_changes for view in views if view.changed),
        signals=_signals(details, since),
        matched_by=_matched_by(details),
        silences=[
            silence_row(rule_silence, now)
            for rule_silence in job.desk.silences(damages.append)
            if not rule_silence.silence.has_ended(since) and _covers(rule_silence.silence, name, details)
        ],
        addresses=addresses,
        other_actors=other_actors[:NAMED],
        more_actors=len(other_actors[NAMED:]),
        other_incidents=[incident_row(detail, job.desk) for detail in neighbours[:NAMED]],
        more_incidents=len(neighbours[NAMED:]),
        is_complete=is_complete,
        unread=len(own) - len(details),
        queries=answered_queries(job, queries) if ask else queries,
        row_faults=row_faults(damages),
    )


def _incidents_since(job: Job, since: datetime, on_damage: OnDamage) -> tuple[list[IncidentDetail], bool]:
    """The incidents with an alert since a moment, and whether these are all."""
    details: list[IncidentDetail] = []
    position: str | None = ""
    for _ in range(PAGES):
        selection = Selection(STATUSES["all"], since=since)
        page = job.desk.incident_page(selection, PAGE, position or "", on_damage=on_damage)
        details += page.incidents
        position = page.end
        if position is None:
            break
    details.sort(key=lambda detail: detail.incident.updated, reverse=True)
    return details, position is None


def _matched_by(details: Sequence[IncidentDetail]) -> Mapping[str, int]:
    counts = Counter[str]()
    for detail in details:
        for alert in detail.alerts:
            counts.update(alert.matched_by)
    return counts


def _signals(details: Sequence[IncidentDetail], since: datetime) -> list[ActorHour]:
    """The signals of incidents by hour, the latest hour first."""
    hours: dict[int, Counter[str]] = {}
    for detail in details:
        for alert in detail.alerts:
            if not alert.evidence:
                continue
            signals = alert.evidence.signals
            begin = int(signals.begin.timestamp())
            for kind, counts in signals.kinds.items():
                for quarter, number in counts.items():
                    hour = (begin + quarter * HOUR // 4) // HOUR
                    hours.setdefault(hour, Counter())[kind] += number
    return [
        ActorHour(time, dict(hours[hour]))
        for hour in sorted(hours, reverse=True)
        if (time := datetime.fromtimestamp(hour * HOUR, since.tzinfo)) >= since - timedelta(hours=1)
    ]


def _covers(silence: Silence, name: str, details: Sequence[IncidentDetail]) -> bool:
    """Whether a silence names the actor, or its criteria match an alert of the actor."""
    is_named = bool(silence.actor) and pattern_matcher(silence.actor)(name)
    return is_named or any(matches_alert(silence, alert) for detail in details for alert in detail.alerts)


def _other_actors(neighbours: Sequence[IncidentDetail], addresses: Sequence[str]) -> Iterator[OtherActor]:
    names = set[str]()
    for detail in neighbours:
        incident = detail.incident
        shared = [address for address in incident.addresses if address in addresses]
        if incident.actor not in names:
            names.add(incident.actor)
            yield OtherActor(actor_id(incident.actor), incident.actor, incident.id, shared)
