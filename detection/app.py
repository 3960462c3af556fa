"""Settings become parts, and parts a run: the only place that builds clients."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from uuid import uuid4

import requests

from detection.base.errors import ConfigurationError, ServiceError, error_kind, error_sentence
from detection.correlation.detection import Detection
from detection.delivery.deliver import Attempt, Destination, deliver
from detection.delivery.signed_links import LinkSigner
from detection.delivery.webhook import WebhookDestination
from detection.desk import Desk
from detection.incidents.grouping import Verdict
from detection.logs.source import Source
from detection.logs.window import Window
from detection.messages.context import DigestEntry
from detection.messages.links import MessageLinks, portal_link
from detection.rules.loading import load_rule
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.record import REASON, RECORD, RunFailure, RunRecord, run_time
from detection.runs.run import run, run_gap
from detection.settings import Settings, Webhook, settings_from
from detection.store.incident_store import IncidentStore
from detection.store.outbox import Delivery, Outbox
from detection.store.table import MemoryTable, Table
from detection.telemetry import log_attempt, log_heartbeat, log_run

DRAIN_FOR = timedelta(seconds=60)  # for the messages that a run has just written
HEARTBEAT_DEADLINE = 10  # seconds

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Job:
    """All parts of the job, for one run or many. `clock` is the one clock, and `sleep` waits by it."""

    settings: Settings
    rules: Sequence[Rule]
    table: Table
    clock: Clock
    sleep: Callable[[float], None] = time.sleep  # noqa: TID251  # to pass the time, not to tell it

    def detect(self, now: datetime | None = None) -> list[RunRecord]:
        """One run of every rule, and the messages that came of it; returns the records.

        A rule that fails keeps neither the others from running nor messages from being sent. Its failure is
        recorded and logged, and then raised, the first of several: ConfigurationError, DataError or
        ServiceError.
        """
        moment = now or self.clock()
        return self._run_all(
            lambda rule, store: run(rule, moment, self._source(rule), store, self._run_options(rule))[0],
            moment,
        )

    def detect_gap(self, gap: Window) -> list[RunRecord]:
        """Every rule over a stretch that was recorded as a gap, like `detect`; the watermark stays."""
        moment = self.clock()
        return self._run_all(
            lambda rule, store: run_gap(
                rule, gap, moment, self._source(rule), store, self._run_options(rule)
            ),
            moment,
        )

    def deliver(
        self, drain_for: timedelta = timedelta(0), report: Callable[[Attempt], object] = log_attempt
    ) -> list[Attempt]:
        """Sends what is due in every rule's outbox."""
        destinations: dict[str, Destination] = {
            webhook.name: WebhookDestination(webhook) for webhook in self.settings.destinations
        }
        return deliver(self._outbox(), destinations, self.clock, self.sleep, drain_for, report)

    def requeue(self) -> int:
        """Puts every dead letter back into its outbox; returns how many."""
        outbox = self._outbox()
        dead_letters = list(outbox.dead_letters())
        for dead_letter in dead_letters:
            outbox.requeue(dead_letter, self.clock())
        return len(dead_letters)

    @property
    def desk(self) -> Desk:
        """What people do with the incidents of these rules."""
        return Desk(self.rules, self.table, self.settings.destinations, self.clock)

    def link_signer(self) -> LinkSigner:
        """What makes and opens the links in messages: `links().to(incident, now)` is the link, or None."""
        return LinkSigner(self.table, self.settings.PAGE_URL)

    def records(self, count: int) -> list[RunRecord | RunFailure]:
        """The last run records of every rule, failed runs too, the newest first."""
        records = [
            RECORD.validate_json(text) for rule in self.rules for text in self.store(rule).records()[-count:]
        ]
        return sorted(records, key=run_time, reverse=True)

    def ages(self, now: datetime) -> dict[str, timedelta | None]:
        """How long ago each rule's last complete run was; None where there was none."""
        watermarks = {rule.folder: self.store(rule).watermark() for rule in self.rules}
        return {name: now - watermark if watermark else None for name, watermark in watermarks.items()}

    def rule(self, folder: str) -> Rule:
        """A rule that runs, by its folder. Raises ConfigurationError when it does not."""
        rules_by_folder = {rule.folder: rule for rule in self.rules}
        if folder not in rules_by_folder:
            raise ConfigurationError(
                f"{folder} is not among the rules that run: {', '.join(rules_by_folder)}"
            )
        return rules_by_folder[folder]

    def store(self, rule: Rule, now: datetime | None = None) -> IncidentStore:
        """The incident index of a rule, for a run at a moment or for a look. No two runs have one name."""
        return IncidentStore(
            self.table, rule.folder, f"{now.isoformat()} {uuid4().hex[:12]}" if now else "look"
        )

    def _run_all(self, run_one: Callable[[Rule, IncidentStore], RunRecord], now: datetime) -> list[RunRecord]:
        records: list[RunRecord] = []
        failures: list[Exception] = []
        for rule in self.rules:
            try:
                records.append(self._run_and_log(rule, run_one, now))
            except Exception as error:  # noqa: BLE001  # it is logged by now, and raised below
                failures.append(error)
        try:
            self.deliver(DRAIN_FOR)
        finally:
            if failures:
                raise failures[0]
        return records

    def _run_and_log(
        self, rule: Rule, run_one: Callable[[Rule, IncidentStore], RunRecord], now: datetime
    ) -> RunRecord:
        began, store = self.clock(), self.store(rule, now)
        try:
            record = run_one(rule, store)
        except Exception as error:
            self._record_failure(error, rule, store, now, began)
            raise
        log_run(record)
        return record

    def _record_failure(
        self, error: Exception, rule: Rule, store: IncidentStore, now: datetime, began: datetime
    ) -> None:
        """Logs a failed run, and records it where the table can be reached: it may be what failed."""
        try:
            failure = _failure(error, rule.folder, now, store.watermark(), self.clock() - began)
            store.note(now, RECORD.dump_json(failure), "failed")
        except (ConfigurationError, ServiceError):
            failure = _failure(error, rule.folder, now, None, self.clock() - began)
        log_run(failure)

    def _message_links(self, signer: LinkSigner, verdict: Verdict, detection: Detection) -> MessageLinks:
        """Where a message leads."""
        settings, incident = self.settings, verdict.state.incident
        workspace, inline = settings.LOG_ANALYTICS_RESOURCE_ID, settings.PARSERS == "inline"
        return MessageLinks(
            page=signer.link_to(incident.id, detection.windows.now) if incident else None,
            portal=portal_link(
                workspace, settings.LOG_ANALYTICS_ENDPOINT, detection.rule, detection.windows, inline=inline
            )
            if workspace
            else None,
        )

    def _outbox(self) -> Outbox:
        return Outbox(self.table, *(rule.folder for rule in self.rules))

    def _source(self, rule: Rule) -> Source:
        return open_source(self.settings, rule, self.clock)

    def _run_options(self, rule: Rule) -> RunOptions:
        settings = self.settings
        return RunOptions(
            render=partial(self._render, rule, self.link_signer()),
            render_digest=partial(self._render_digest, rule),
            storm_alerts=settings.STORM_ALERTS if self._destinations_of(rule) else None,
            lateness=settings.ALLOWED_LATENESS,
            max_catch_up=settings.MAX_CATCH_UP,
            flood_signals=settings.FLOOD_SIGNALS,
            clock=self.clock,
        )

    def _destinations_of(self, rule: Rule) -> Sequence[Webhook]:
        """Who is told: a rule that only observes keeps its incidents, and pages nobody."""
        return self.settings.destinations if rule.on_call.mode == "page" else ()

    # What writes messages is loaded when there is one to write: most hours are quiet, and every one is a cold
    # start.

    def _render(
        self, rule: Rule, signer: LinkSigner, verdict: Verdict, detection: Detection
    ) -> Sequence[Delivery]:
        from detection.delivery.rendering import message_renderer  # noqa: PLC0415  # as above

        return message_renderer(self._destinations_of(rule), partial(self._message_links, signer))(
            verdict, detection
        )

    def _render_digest(
        self, rule: Rule, draft_id: str, began: datetime, entries: Sequence[DigestEntry]
    ) -> Sequence[Delivery]:
        from detection.delivery.rendering import digest_renderer  # noqa: PLC0415  # as above

        return digest_renderer(self._destinations_of(rule), rule, self.settings.PAGE_URL)(
            draft_id, began, entries
        )


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
    """Where the logs come from. The engine for files belongs to the keyboard and is loaded only when asked
    for.
    """
    if settings.LOGS_DIR:
        files = import_module("detection.logs.files.source")
        source: Source = files.FileSource(settings.LOGS_DIR, rule.tables)
        return source
    if not settings.LOG_ANALYTICS_WORKSPACE_ID:
        raise ConfigurationError(
            "settings: LOG_ANALYTICS_WORKSPACE_ID (or LOGS_DIR) is not set: there are no logs to read"
        )
    from detection.logs.log_analytics.client import open_log_analytics  # noqa: PLC0415  # as above
    from detection.logs.log_analytics.reading import Limits  # noqa: PLC0415  # as above

    return open_log_analytics(
        settings.LOG_ANALYTICS_WORKSPACE_ID,
        settings.LOG_ANALYTICS_ENDPOINT,
        settings.AZURE_CLIENT_ID,
        clock,
        inline=settings.PARSERS == "inline",
        limits=Limits(max_signals_per_actor=settings.FLOOD_SIGNALS),
    )


def open_table(settings: Settings) -> Table:
    """Where incidents are kept."""
    storage = settings.INCIDENT_STORAGE.get_secret_value()
    if storage == "memory":
        return MemoryTable()
    from detection.store import azure_table  # noqa: PLC0415  # not for those who keep nothing

    return azure_table.open_table(storage, settings.INCIDENT_TABLE, settings.AZURE_CLIENT_ID)


def send_heartbeat(settings: Settings) -> None:
    """Tells the outside that a run was fully complete; a failure here is logged, and is no failure of the
    run.
    """
    if settings.HEARTBEAT_URL is None:
        return
    try:
        requests.get(settings.HEARTBEAT_URL.get_secret_value(), timeout=HEARTBEAT_DEADLINE).raise_for_status()
    except requests.RequestException as error:
        log_heartbeat(error)


def _failure(
    error: Exception, rule: str, now: datetime, last_complete: datetime | None, duration: timedelta
) -> RunFailure:
    reason = error_sentence(error)[:REASON]
    return RunFailure(rule, now, error_kind(error), reason, last_complete, duration.total_seconds())
