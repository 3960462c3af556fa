"""Settings become parts, and parts a run: the only place that builds clients."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

import requests
from pydantic import TypeAdapter

from detection.deliver import Attempt, Destination, drain
from detection.errors import ConfigurationError
from detection.incidents.alert import Alert
from detection.incidents.grouping import Classification, Incident, Verdict
from detection.incidents.index import Index
from detection.incidents.keys import Key
from detection.incidents.outbox import Delivery, Outbox
from detection.incidents.table import MemoryTable, Table
from detection.matches import Matches
from detection.messages.native import native
from detection.messages.slack import slack
from detection.messages.telling import Telling, telling
from detection.rule import Rule, load_rule
from detection.run import Record, Render, Terms, run, run_gap
from detection.settings import MessageFormat, Settings, Webhook
from detection.sources import Source
from detection.webhook import WebhookDestination
from detection.window import Window

LOG = logging.getLogger("detection")
FORMATS: Mapping[MessageFormat, Callable[[Telling], bytes]] = {"native": native, "slack": slack}
PATIENCE = timedelta(seconds=60)  # for the messages that a run has just written
HEARTBEAT_DEADLINE = 10  # seconds
_RECORD = TypeAdapter(Record)

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
    """All parts of the job, for one run or many. `clock` is the one clock."""

    settings: Settings
    rules: Sequence[Rule]
    table: Table
    clock: Clock

    def detect(self, now: datetime | None = None) -> list[Record]:
        """One run of every rule, and the messages that came of it; returns the records.

        Raises ConfigurationError, DataError or ServiceError; rules that ran before are complete.
        """
        started = self.clock()
        records = [self._run(rule, now or started) for rule in self.rules]
        for attempt in self.deliver(PATIENCE):
            log_attempt(attempt)
        return records

    def detect_gap(self, gap: Window) -> list[Record]:
        """Every rule over a stretch that was recorded as a gap; returns the records."""
        now = self.clock()
        records = [
            run_gap(rule, gap, now, open_source(self.settings, rule), self.index(rule, now), self._terms())
            for rule in self.rules
        ]
        for attempt in self.deliver(PATIENCE):
            log_attempt(attempt)
        return records

    def deliver(self, patience: timedelta = timedelta(0)) -> Iterator[Attempt]:
        """Sends what is due in every rule's outbox."""
        destinations: dict[str, Destination] = {
            webhook.name: WebhookDestination(webhook) for webhook in self.settings.destinations
        }
        for rule in self.rules:
            outbox = Outbox(self.table, rule.folder)
            yield from drain(outbox, destinations, self.clock, time.sleep, patience)

    def revive(self) -> int:
        """Puts every dead letter back into its outbox; returns how many."""
        outboxes = [Outbox(self.table, rule.folder) for rule in self.rules]
        dead = [(outbox, one) for outbox in outboxes for one in outbox.dead()]
        for outbox, one in dead:
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

    def incident(self, name: str) -> KnownIncident:
        """An incident by its id, with its alerts. Raises ConfigurationError when there is none of that id."""
        known = next((one for one in self.incidents() if one.incident.id == name), None)
        if known is None:
            raise ConfigurationError(f"there is no incident {name}; see `incidents list`")
        index = Index(self.table, known.rule, "")
        return replace(known, alerts=[alert for alert in index.alerts() if alert.incident == name])

    def close(self, known: KnownIncident, classification: Classification, note: str) -> None:
        """Closes an incident. Raises ConfigurationError when it is not its key's newest, and so closed to alerts."""
        index = Index(self.table, known.rule, f"close {self.clock().isoformat()}")
        newest = index.recall(known.key).incident
        if newest is None or newest.id != known.incident.id:
            raise ConfigurationError(
                f"{known.incident.id} takes no more alerts: a later incident has followed it"
            )
        index.close(known.key, classification, note)

    def records(self, last: int) -> list[Record]:
        """The last run records of every rule, the newest first."""
        found = [
            _RECORD.validate_json(text) for rule in self.rules for text in self.index(rule).records()[-last:]
        ]
        return sorted(found, key=lambda record: record.windows.now, reverse=True)

    def ages(self, now: datetime) -> dict[str, timedelta | None]:
        """How long ago each rule's last complete run was; None where there was none."""
        marks = {rule.folder: self.index(rule).watermark() for rule in self.rules}
        return {name: now - mark if mark else None for name, mark in marks.items()}

    def index(self, rule: Rule, now: datetime | None = None) -> Index:
        """The incident index of a rule, for a run at a moment or for a look."""
        return Index(self.table, rule.folder, now.isoformat() if now else "look")

    def _run(self, rule: Rule, now: datetime) -> Record:
        source = open_source(self.settings, rule)
        record, _ = run(rule, now, source, self.index(rule, now), terms=self._terms())
        LOG.info("detection.run %s", _RECORD.dump_json(record).decode())
        return record

    def _terms(self) -> Terms:
        settings = self.settings
        return Terms(render_for(settings.destinations), settings.ALLOWED_LATENESS, settings.MAX_CATCH_UP)


def render_for(webhooks: Sequence[Webhook]) -> Render:
    """Writes the messages that tell a verdict, one for each destination, in its format."""

    def render(verdict: Verdict, found: Matches) -> list[Delivery]:
        if verdict.alert is None or not webhooks:
            return []
        told, now = telling(verdict, found.rule, found.windows), found.windows.now
        return [
            Delivery(
                id=f"{verdict.alert.alert}_{webhook.name}",
                destination=webhook.name,
                incident=verdict.alert.incident,
                commit=verdict.memory.commits,
                body=FORMATS[webhook.message_format](told),
                created=now,
                due=now,
            )
            for webhook in webhooks
        ]

    return render


def plain(value: object) -> Any:  # noqa: ANN401  # JSON has no narrower type
    """A record or an incident as plain JSON values."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def open_job(settings: Settings, clock: Clock) -> Job:
    """The parts that the settings name. Raises ConfigurationError."""
    rules = [rule for name in settings.rules if (rule := load_rule(name)).enabled]
    return Job(settings, rules, open_table(settings), clock)


def open_source(settings: Settings, rule: Rule) -> Source:
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

    return open_log_analytics(
        settings.LOG_ANALYTICS_WORKSPACE_ID,
        settings.LOG_ANALYTICS_ENDPOINT,
        settings.AZURE_CLIENT_ID,
        inline=settings.PARSERS == "inline",
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
        LOG.warning("heartbeat failed: %s", type(error).__name__)


def log_attempt(attempt: Attempt) -> None:
    """One line for an attempt that failed; no URL, no body."""
    outcome, delivery = attempt.outcome, attempt.delivery
    if not outcome.sent:
        LOG.log(
            logging.WARNING if attempt.next_due else logging.ERROR,
            "detection.delivery %s to %s, attempt %d: %s; %s",
            delivery.id,
            delivery.destination,
            delivery.attempt,
            outcome.dead or outcome.reason,
            f"again at {attempt.next_due:%H:%M:%S}" if attempt.next_due else "given up",
        )
