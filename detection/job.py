"""Settings become parts, and parts a run: the only place that builds clients."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any
from uuid import uuid4

import requests

from detection.adapter import adapter
from detection.deliver import Attempt, Destination, deliver
from detection.errors import ConfigurationError, ServiceError, kind_of, sentence
from detection.incidents.alert import Alert
from detection.incidents.batch import Share
from detection.incidents.grouping import Classification, Incident, Verdict, acknowledged, closed, silenced
from detection.incidents.index import Index
from detection.incidents.keys import Key
from detection.incidents.outbox import Dead, Delivery, Outbox, Queued
from detection.incidents.standing import Standing, standing
from detection.incidents.table import Conflict, MemoryTable, Table
from detection.links import Links
from detection.matches import Matches
from detection.messages.leads import Leads, portal_link
from detection.record import REASON, RECORD, Failure, Record, moment_of
from detection.report import log_attempt, log_heartbeat, log_run
from detection.rule import Rule, load_rule
from detection.run import run, run_gap
from detection.settings import Settings, Webhook, settings_from
from detection.silences import Silence, literally
from detection.sources import Source
from detection.tell import Terms
from detection.timestamps import iso
from detection.webhook import WebhookDestination
from detection.window import Window

PATIENCE = timedelta(seconds=60)  # for the messages that a run has just written
HEARTBEAT_DEADLINE = 10  # seconds

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class KnownIncident:
    """An incident with the rule and the key it is of; `alerts` where they were asked for."""

    rule: str
    key: Key
    incident: Incident
    alerts: Sequence[Alert] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """All parts of the job, for one run or many. `clock` is the one clock, and `sleep` waits by it."""

    settings: Settings
    rules: Sequence[Rule]
    table: Table
    clock: Clock
    sleep: Callable[[float], None] = time.sleep  # noqa: TID251  # to pass the time, not to tell it

    def detect(self, now: datetime | None = None) -> list[Record]:
        """One run of every rule, and the messages that came of it; returns the records.

        A rule that fails keeps neither the others from running nor messages from being sent. Its failure is
        recorded and logged, and then raised, the first of several: ConfigurationError, DataError or ServiceError.
        """
        at = now or self.clock()
        return self._each(
            lambda rule, index: run(rule, at, self._source(rule), index, self._terms(rule))[0], at
        )

    def detect_gap(self, gap: Window) -> list[Record]:
        """Every rule over a stretch that was recorded as a gap, like `detect`; the watermark stays."""
        at = self.clock()
        return self._each(
            lambda rule, index: run_gap(rule, gap, at, self._source(rule), index, self._terms(rule)), at
        )

    def deliver(
        self, patience: timedelta = timedelta(0), report: Callable[[Attempt], object] = log_attempt
    ) -> list[Attempt]:
        """Sends what is due in every rule's outbox."""
        destinations: dict[str, Destination] = {
            webhook.name: WebhookDestination(webhook) for webhook in self.settings.destinations
        }
        return deliver(self._outbox(), destinations, self.clock, self.sleep, patience, report)

    def revive(self) -> int:
        """Puts every dead letter back into its outbox; returns how many."""
        outbox = self._outbox()
        dead = list(outbox.dead())
        for one in dead:
            outbox.revive(one, self.clock())
        return len(dead)

    def incidents(self) -> list[KnownIncident]:
        """Every rule's incidents, those opened last first."""
        known = [
            KnownIncident(rule.folder, key, incident)
            for rule in self.rules
            for key, incident in self.index(rule).incidents()
        ]
        return sorted(known, key=lambda one: one.incident.opened, reverse=True)

    def listed(self) -> list[KnownIncident]:
        """Every rule's incidents, those opened last first, without history and with long keys cut: for lists."""
        known = [
            KnownIncident(rule.folder, one.key, one.incident)
            for rule in self.rules
            for one in self.index(rule).listed()
        ]
        return sorted(known, key=lambda one: one.incident.opened, reverse=True)

    def incident(self, name: str) -> KnownIncident:
        """An incident by its id, with its alerts. Raises ConfigurationError when there is none of that id."""
        for rule in self.rules:
            if found := self.index(rule).incident(name):
                return KnownIncident(rule.folder, *found)
        raise ConfigurationError(f"there is no incident {name}; see `incidents list`")

    def deliveries(self, name: str) -> list[Queued | Dead]:
        """The messages of an incident that wait to be sent or were given up."""
        return self._outbox().of(name)

    def acknowledge(
        self, known: KnownIncident, by: str, note: str = "", *, self_declared: bool = True
    ) -> None:
        """Takes an incident on. Raises Conflict when a run, or somebody else, came between."""
        now = self.clock()
        self._amend(known, lambda one: acknowledged(one, by, now, note, self_declared=self_declared))

    def close(
        self,
        known: KnownIncident,
        classification: Classification,
        by: str,
        note: str = "",
        *,
        self_declared: bool = True,
    ) -> None:
        """Closes an incident, also one that another has followed. Raises Conflict as `acknowledge` does."""
        now = self.clock()
        self._amend(
            known, lambda one: closed(one, classification, by, now, note, self_declared=self_declared)
        )

    def links(self) -> Links:
        """What makes and opens the links in messages: `links().to(incident, now)` is the link, or None."""
        return Links(self.table, self.settings.PAGE_URL)

    def silence(self, rule: Rule, one: Silence) -> None:
        """Keeps a silence of a rule. Raises ConfigurationError when the rule cannot honour it, or has one of its name."""
        if unmapped := rule.unmapped(one):
            raise ConfigurationError(f"{rule.folder} maps no column for {', '.join(unmapped)}")
        try:
            self.index(rule).silence(one)
        except Conflict:
            raise ConfigurationError(f"there is a silence {one.name} already; see `silences list`") from None

    def silence_incident(
        self, known: KnownIncident, until: datetime, by: str, reason: str, *, self_declared: bool = True
    ) -> Silence:
        """Silences what an incident tells of, its actor, until a moment; its history says so.

        Raises ConfigurationError when it has several actors, or as `silence` does.
        """
        now = self.clock()
        one = of_incident(known, until, by, reason, now)
        self.silence(self.rule(known.rule), one)
        note = f"until {iso(until)}: {reason}"
        self._amend(known, lambda incident: silenced(incident, by, now, note, self_declared=self_declared))
        return one

    def silences(self) -> list[tuple[Rule, Silence]]:
        """Every rule's exclusions, and its silences, ended ones too."""
        return [
            (rule, one) for rule in self.rules for one in (*rule.exclusions, *self.index(rule).silences())
        ]

    def lift(self, name: str, by: str) -> None:
        """Ends the silences of a name now. Raises ConfigurationError when there is none in force."""
        now = self.clock()
        known = [(rule, one) for rule in self.rules for one in self.index(rule).silences()]
        ending = [(rule, one) for rule, one in known if one.name == name and one.holds_at(now)]
        if not ending:
            raise ConfigurationError(f"no silence {name} is in force; see `silences list`")
        for rule, one in ending:
            self.index(rule).lift(one, by, now)

    def records(self, last: int) -> list[Record | Failure]:
        """The last run records of every rule, failed runs too, the newest first."""
        found = [
            RECORD.validate_json(text) for rule in self.rules for text in self.index(rule).records()[-last:]
        ]
        return sorted(found, key=moment_of, reverse=True)

    def ages(self, now: datetime) -> dict[str, timedelta | None]:
        """How long ago each rule's last complete run was; None where there was none."""
        marks = {rule.folder: self.index(rule).watermark() for rule in self.rules}
        return {name: now - mark if mark else None for name, mark in marks.items()}

    def rule(self, folder: str) -> Rule:
        """A rule that runs, by its folder. Raises ConfigurationError when it does not."""
        known = {rule.folder: rule for rule in self.rules}
        if folder not in known:
            raise ConfigurationError(f"{folder} is not among the rules that run: {', '.join(known)}")
        return known[folder]

    def index(self, rule: Rule, now: datetime | None = None) -> Index:
        """The incident index of a rule, for a run at a moment or for a look. No two runs have one name."""
        return Index(self.table, rule.folder, f"{now.isoformat()} {uuid4().hex[:12]}" if now else "look")

    def _each(self, run_one: Callable[[Rule, Index], Record], now: datetime) -> list[Record]:
        records: list[Record] = []
        failures: list[Exception] = []
        for rule in self.rules:
            try:
                records.append(self._reported(rule, run_one, now))
            except Exception as error:  # noqa: BLE001  # it is logged by now, and raised below
                failures.append(error)
        try:
            self.deliver(PATIENCE)
        finally:
            if failures:
                raise failures[0]
        return records

    def _reported(self, rule: Rule, run_one: Callable[[Rule, Index], Record], now: datetime) -> Record:
        began, index = self.clock(), self.index(rule, now)
        try:
            record = run_one(rule, index)
        except Exception as error:
            self._failed(error, rule, index, now, began)
            raise
        log_run(record)
        return record

    def _failed(self, error: Exception, rule: Rule, index: Index, now: datetime, began: datetime) -> None:
        """Logs a failed run, and records it where the table can be reached: it may be what failed."""
        try:
            failure = _failure(error, rule.folder, now, index.watermark(), self.clock() - began)
            index.note(now, RECORD.dump_json(failure), "failed")
        except (ConfigurationError, ServiceError):
            failure = _failure(error, rule.folder, now, None, self.clock() - began)
        log_run(failure)

    def _amend(self, known: KnownIncident, amended: Callable[[Incident], Incident]) -> None:
        now = self.clock()
        index = Index(self.table, known.rule, f"amended {now.isoformat()} {uuid4().hex[:12]}")
        index.amend(
            known.key,
            amended,
            partial(self._amended, now),
            known.incident.number,
        )

    def _leads(self, links: Links, verdict: Verdict, found: Matches) -> Leads:
        """Where a message leads."""
        settings, incident = self.settings, verdict.memory.incident
        workspace, inline = settings.LOG_ANALYTICS_RESOURCE_ID, settings.PARSERS == "inline"
        return Leads(
            page=links.to(incident.id, found.windows.now) if incident else None,
            portal=portal_link(
                workspace, settings.LOG_ANALYTICS_ENDPOINT, found.rule, found.windows, inline=inline
            )
            if workspace
            else None,
        )

    def _outbox(self) -> Outbox:
        return Outbox(self.table, *(rule.folder for rule in self.rules))

    def _source(self, rule: Rule) -> Source:
        return open_source(self.settings, rule, self.clock)

    def _terms(self, rule: Rule) -> Terms:
        settings = self.settings
        return Terms(
            render=partial(self._render, rule, self.links()),
            digest=partial(self._digest, rule),
            storm=settings.STORM_ALERTS if self._paged(rule) else None,
            lateness=settings.ALLOWED_LATENESS,
            max_catch_up=settings.MAX_CATCH_UP,
            flood=settings.FLOOD_SIGNALS,
            clock=self.clock,
        )

    def _paged(self, rule: Rule) -> Sequence[Webhook]:
        """Who is told: a rule that only observes keeps its incidents, and pages nobody."""
        return self.settings.destinations if rule.on_call.mode == "page" else ()

    # What writes messages is loaded when there is one to write: most hours are quiet, and every one is a cold start.

    def _render(self, rule: Rule, links: Links, verdict: Verdict, found: Matches) -> Sequence[Delivery]:
        from detection.rendering import render_for  # noqa: PLC0415  # as above

        return render_for(self._paged(rule), partial(self._leads, links))(verdict, found)

    def _digest(self, rule: Rule, batch: str, began: datetime, shares: Sequence[Share]) -> Sequence[Delivery]:
        from detection.rendering import digest_for  # noqa: PLC0415  # as above

        return digest_for(self._paged(rule), rule, self.settings.PAGE_URL)(batch, began, shares)

    def _amended(self, now: datetime, incident: Incident, commit: int) -> Sequence[Delivery]:
        from detection.rendering import amended_for  # noqa: PLC0415  # as above

        return amended_for(self.settings.destinations, incident, commit, now)


def standings(known: Sequence[KnownIncident]) -> list[Standing]:
    """What each rule's incidents turned out to be."""
    rules = dict.fromkeys(one.rule for one in known)
    return [standing(rule, [one.incident for one in known if one.rule == rule]) for rule in rules]


def of_incident(known: KnownIncident, until: datetime, by: str, reason: str, now: datetime) -> Silence:
    """A silence of an incident's actor. Raises ConfigurationError when it has several, or the end has passed."""
    actors = {alert.actor for alert in known.alerts}
    if len(actors) != 1:
        raise ConfigurationError(
            f"{known.incident.id} has {len(actors)} actors: name what to silence with `silences add`"
        )
    if until <= now:
        raise ConfigurationError("a silence ends after now")
    return Silence(
        name=f"{known.incident.id}-{now:%Y%m%dT%H%M%S}",
        owner=by,
        reason=reason,
        made=now,
        expires=until,
        actor=literally(actors.pop()),
    )


def plain(value: object) -> Any:  # noqa: ANN401  # JSON has no narrower type
    """A record or an incident as plain JSON values."""
    return adapter(type(value)).dump_python(value, mode="json")


def open_job(settings: Settings, clock: Clock) -> Job:
    """The parts that the settings name. Raises ConfigurationError."""
    rules = [rule for name in settings.rules if (rule := load_rule(name)).enabled]
    return Job(settings, rules, open_table(settings), clock)


def start(environment: Mapping[str, str], clock: Clock) -> Job:
    """The job that an environment describes; where it describes none, the log says why no rule ran.

    Raises ConfigurationError.
    """
    began = clock()
    try:
        return open_job(settings_from(environment), clock)
    except Exception as error:
        log_run(_failure(error, "", began, None, clock() - began))
        raise


def open_source(settings: Settings, rule: Rule, clock: Clock) -> Source:
    """Where the logs come from. The engine for files belongs to the keyboard and is loaded only when asked for."""
    if settings.LOGS_DIR:
        files = import_module("detection.sources.files")
        source: Source = files.Files(settings.LOGS_DIR, rule.tables)
        return source
    if not settings.LOG_ANALYTICS_WORKSPACE_ID:
        raise ConfigurationError(
            "settings: LOG_ANALYTICS_WORKSPACE_ID (or LOGS_DIR) is not set: there are no logs to read"
        )
    from detection.sources.log_analytics import open_log_analytics  # noqa: PLC0415  # as above
    from detection.sources.reading import Limits  # noqa: PLC0415  # as above

    return open_log_analytics(
        settings.LOG_ANALYTICS_WORKSPACE_ID,
        settings.LOG_ANALYTICS_ENDPOINT,
        settings.AZURE_CLIENT_ID,
        clock,
        inline=settings.PARSERS == "inline",
        limits=Limits(crowd=settings.FLOOD_SIGNALS),
    )


def open_table(settings: Settings) -> Table:
    """Where incidents are kept."""
    storage = settings.INCIDENT_STORAGE.get_secret_value()
    if storage == "memory":
        return MemoryTable()
    from detection.incidents import azure_table  # noqa: PLC0415  # not for those who keep nothing

    return azure_table.open_table(storage, settings.INCIDENT_TABLE, settings.AZURE_CLIENT_ID)


def beat(settings: Settings) -> None:
    """Tells the outside that a run was fully complete; a failure here is logged, and is no failure of the run."""
    if settings.HEARTBEAT_URL is None:
        return
    try:
        requests.get(settings.HEARTBEAT_URL.get_secret_value(), timeout=HEARTBEAT_DEADLINE).raise_for_status()
    except requests.RequestException as error:
        log_heartbeat(error)


def _failure(
    error: Exception, rule: str, now: datetime, last_complete: datetime | None, took: timedelta
) -> Failure:
    reason = sentence(error)[:REASON]
    return Failure(rule, now, kind_of(error), reason, last_complete, took.total_seconds())
