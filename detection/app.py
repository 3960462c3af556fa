"""Settings become parts, and parts become runs: the only module that builds clients."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from uuid import uuid4

from detection.base.deadlines import LONGEST_RUN, RUN_TIME
from detection.base.errors import (
    ConfigurationError,
    ServiceError,
    Unreachable,
    error_kind,
    error_sentence,
)
from detection.base.timestamps import refuse_fast_clock
from detection.correlation.detection import Detection
from detection.delivery.deliver import DEADLINE, SEND_FOR, Attempt, deliver
from detection.delivery.signed_links import LinkSigner
from detection.delivery.webhook import open_destinations, request_heartbeat
from detection.desk import Desk
from detection.incidents.decide import Verdict
from detection.logs.source import Source
from detection.messages.context import DigestEntry
from detection.messages.links import MessageLinks, portal_link
from detection.rules.loading import RuleFault, load_rule, placeholder_rule
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.limits import require_commits_fit
from detection.runs.record import REASON, RECORD, RunFailure, RunRecord, run_time
from detection.runs.run import read_gap, run
from detection.settings import Settings, misspelt_settings, settings_from
from detection.store.digest_draft import RenderDigest, publish_abandoned_digests
from detection.store.gaps import Gap
from detection.store.guarded_table import GuardedTable, circuit_breaker, require_time, time_limit
from detection.store.incident_store import IncidentStore
from detection.store.layout import OnDamage, joined, parse_row, raise_damage, readable
from detection.store.outbox import Delivery, Outbox, table_outbox
from detection.store.table import Entity, Table
from detection.telemetry import (
    log_attempt,
    log_dead_letters,
    log_heartbeat,
    log_misspelt_setting,
    log_run,
)

DRAIN_FOR = timedelta(seconds=60)  # for the messages that a run has just written
# After the RUN_TIME, for the records of failed runs and for messages: then no call of the table begins. A
# call takes 45 s at worst, the message that it claims 15 s more, and the heartbeat 10 s.
GRACE = timedelta(seconds=25)
HEARTBEAT_DEADLINE = 10  # seconds

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Job:
    """All parts of the job, for one or many runs. Every time comes from `clock`, and `sleep` waits by it.
    `report` receives each attempt at a message.

    `rule_faults` are the rules that cannot run: every run of the job fails for them, and only for them.
    """

    settings: Settings
    rules: Sequence[Rule]
    table: Table
    clock: Clock
    sleep: Callable[[float], None] = time.sleep  # noqa: TID251  # to pass the time, not to tell it
    rule_faults: Sequence[RuleFault] = ()
    report: Callable[[Attempt], object] = log_attempt

    @property
    def folders(self) -> list[str]:
        """The folders of the rules that run, and of the rules that cannot run."""
        return self.desk.folders

    def detect(self, now: datetime | None = None, run_time: timedelta | None = None) -> list[RunRecord]:
        """Runs every rule at `now`, and sends the messages that come of it; returns the records.

        A rule that fails, or cannot be loaded, stops neither the other rules nor the messages, unless a
        service does not answer at all. Its failure is recorded and logged, and so is a rule that is not
        complete within `run_time`.
        With a `run_time` the rules take turns at running first, so a rule that always uses it up delays each
        other rule for some hours at most.
        The first failure is raised at the end: ConfigurationError, DataError or ServiceError. A job without a
        rule that runs fails, too.
        """
        began = self.clock()
        time, deadline = now or began, began + run_time if run_time else None

        def run_rule(rule: Rule, store: IncidentStore) -> Iterator[RunRecord]:
            source = open_source(self.settings, rule, self.clock, deadline)
            yield run(rule, time, source, store, self._run_options(rule))[0]

        def fail(fault: RuleFault, _store: IncidentStore) -> Iterator[RunRecord]:
            # The error outlives the run: without this, its traceback would grow with every run.
            raise fault.error.with_traceback(None)

        rules = in_turn(self.rules, time) if deadline else self.rules
        runs = [(rule.folder, partial(run_rule, rule)) for rule in rules]
        failing_runs = [(fault.folder, partial(fail, fault)) for fault in self.rule_faults]
        records = self._run_all([*failing_runs, *runs], time, deadline)
        if not self.folders:
            error = ConfigurationError(
                "every rule is disabled, so nothing is detected; set `enabled: true` in a rule, or name "
                "another in RULES"
            )
            log_run(_failure(error, "", time, None, self.clock() - began))
            raise error
        return records

    def read_gaps(
        self,
        gaps: Sequence[tuple[str, Gap]],
        report: Callable[[Gap, RunRecord], object] = lambda *_: None,
    ) -> list[RunRecord]:
        """Reads open gaps, each for its rule, like `detect`; the watermarks stay. A gap is read in parts, and
        `report` receives the record of each part.
        """

        def read_rule(folder: str, gap: Gap, store: IncidentStore) -> Iterator[RunRecord]:
            rule = self.desk.rule(folder)
            source, options = open_source(self.settings, rule, self.clock), self._run_options(rule)
            for record in read_gap(rule, gap, self.clock, source, store, options):
                report(gap, record)
                yield record

        runs = [(folder, partial(read_rule, folder, gap)) for folder, gap in gaps]
        return self._run_all(runs, self.clock())

    def deliver(self, drain_for: timedelta = timedelta(0), send_for: timedelta = SEND_FOR) -> list[Attempt]:
        """Sends the messages that are due in the outbox of the table, also those of rules that no longer run,
        and publishes the digests that such rules left unpublished.

        No message is sent after `send_for`, or after `drain_for` if that is longer. A digest that cannot be
        published stops no message; its error is raised at the end.

        Raises ConfigurationError, and sends nothing, if the clock is ahead of the table service's: a claim or
        a wait for the next attempt would last too long.
        """
        outbox = self._outbox()
        failures: list[Exception] = []
        for folder in sorted({*outbox.rules} - {rule.folder for rule in self.rules}):
            render_digest = self._render_digest(partial(former_rule, folder))
            try:
                publish_abandoned_digests(self.table, folder, self.clock() - LONGEST_RUN, render_digest)
            except Unreachable:
                raise
            except Exception as error:  # noqa: BLE001  # raised below
                failures.append(error)
        with open_destinations(self.settings.destinations) as destinations:
            try:
                attempts = deliver(
                    outbox, destinations, self.clock, self.sleep, drain_for, self.report, send_for
                )
            finally:  # also if a lane fails, for the alarm goes by the latest count
                with suppress(ServiceError):  # such as no time left: the next delivery counts
                    if letters := outbox.count_dead_letters():
                        log_dead_letters(letters)
        if failures:
            raise failures[0]
        return attempts

    def deliver_logged(
        self,
        drain_for: timedelta = timedelta(0),
        reasons_logged: Collection[str] = (),
        deadline: datetime | None = None,
    ) -> list[Attempt]:
        """`deliver`, with a log line for its failure unless a line with that reason is written already.

        No call of the table begins after the deadline; without one, after as long as a run may take.
        """
        began = self.clock()
        end = deadline or began + RUN_TIME + GRACE
        timed = replace(self, table=GuardedTable(self.table, time_limit(end, self.clock)))
        remaining = max(end - began - DEADLINE, timedelta(0))  # a message that is sent is also settled
        try:
            return timed.deliver(min(drain_for, remaining), send_for=min(SEND_FOR, remaining))
        except Exception as error:
            failure = _failure(error, "", began, None, self.clock() - began)
            if failure.reason not in reasons_logged:
                reason = f"messages wait in the outbox, and the next delivery sends them: {failure.reason}"
                log_run(replace(failure, reason=reason[:REASON]))
            raise

    def waiting(self) -> list[Delivery]:
        """The messages that wait in the outbox of the table."""
        outbox = table_outbox(self.table, self.folders)
        return [queued.delivery for name in outbox.destinations() for queued in outbox.waiting(name)]

    def requeue(self) -> int:
        """Puts every dead letter back into the outbox; returns how many. Raises as `deliver` does."""
        outbox = self._outbox()
        dead_letters = list(outbox.dead_letters())
        for dead_letter in dead_letters:
            outbox.requeue(dead_letter, self.clock())
        return len(dead_letters)

    @property
    def desk(self) -> Desk:
        """What people do with the incidents of these rules."""
        return Desk(self.rules, self.table, self.settings.destinations, self.clock, self.rule_faults)

    def link_signer(self) -> LinkSigner:
        """Signs and verifies the links in messages."""
        return LinkSigner(self.settings.LINK_KEY, self.settings.PAGE_URL)

    def records(self, count: int, on_damage: OnDamage = raise_damage) -> list[RunRecord | RunFailure]:
        """The last records of every rule's runs, failed runs too, the newest first."""

        def record(row: Entity) -> RunRecord | RunFailure:
            return parse_row(row, lambda row: RECORD.validate_json(joined(row.values)))

        rows = [row for folder in self.folders for row in self.store(folder).record_rows()[-count:]]
        return sorted(readable(rows, record, on_damage), key=run_time, reverse=True)

    def ages(self, now: datetime) -> dict[str, timedelta | None]:
        """The time since each rule's last complete run; None before the first."""
        watermarks = {folder: self.store(folder).watermark() for folder in self.folders}
        return {name: now - watermark if watermark else None for name, watermark in watermarks.items()}

    def store(self, folder: str, now: datetime | None = None) -> IncidentStore:
        """The incident store of a rule, for a run at `now`, or for reading. Each run has its own name."""
        return IncidentStore(self.table, folder, f"{now.isoformat()} {uuid4().hex[:12]}" if now else "look")

    def _run_all(
        self,
        runs: Iterable[tuple[str, Callable[[IncidentStore], Iterator[RunRecord]]]],
        now: datetime,
        deadline: datetime | None = None,
    ) -> list[RunRecord]:
        records: list[RunRecord] = []
        failures: list[Exception] = []
        # A service that does not answer is asked once: then the other rules fail at once.
        breaker, job = circuit_breaker(), replace(self, table=GuardedTable(self.table, circuit_breaker()))
        timed = replace(job, table=GuardedTable(job.table, time_limit(deadline, self.clock)))
        end = deadline + GRACE if deadline else None
        ending = replace(job, table=GuardedTable(job.table, time_limit(end, self.clock)))
        for folder, run_rule in runs:
            began, store = self.clock(), timed.store(folder, now)
            try:
                with breaker():
                    for record in run_rule(store):
                        log_run(record)
                        records.append(record)
            except Exception as error:  # noqa: BLE001  # it is logged here, and raised below
                # The cause may also prevent these calls: the table, or a bug. The log line is written anyway.
                with suppress(Exception):
                    if store.last_complete is None:
                        store.watermark()
                # A record by a clock days ahead would be the latest record for days.
                run_at = min(now, store.service_time or now)
                failure = _failure(error, folder, run_at, store.last_complete, self.clock() - began)
                log_run(failure)
                with suppress(Exception):
                    ending.store(folder).note_failure(run_at, RECORD.dump_json(failure))
                failures.append(error)
        try:
            job.deliver_logged(DRAIN_FOR, [error_sentence(error)[:REASON] for error in failures], end)
        finally:
            if failures:
                raise failures[0]
        return records

    def _outbox(self) -> Outbox:
        outbox = table_outbox(self.table, self.folders)
        refuse_fast_clock(self.clock(), self.table.date())
        return outbox

    def _render_digest(self, load: Callable[[], Rule]) -> RenderDigest:
        # Also of a rule that only observes by now: its run of the digest notified.
        def render_digest(draft: str, began: datetime, entries: Sequence[DigestEntry]) -> Sequence[Delivery]:
            from detection.delivery.rendering import digest_renderer  # noqa: PLC0415  # as in _run_options

            settings, link_to = self.settings, self.link_signer().link_to
            render = digest_renderer(settings.destinations, load(), settings.PAGE_URL, link_to)
            return render(draft, began, entries)

        return render_digest

    def _run_options(self, rule: Rule) -> RunOptions:
        settings, signer = self.settings, self.link_signer()
        # A rule that only observes keeps its incidents and sends no message.
        destinations = settings.destinations if rule.on_call.mode == "page" else ()

        # Rendering is imported with the first message: most hours are quiet, and every hour is a cold start.
        def render(verdict: Verdict, detection: Detection) -> Sequence[Delivery]:
            from detection.delivery.rendering import message_renderer  # noqa: PLC0415  # as above

            return message_renderer(destinations, links)(verdict, detection)

        def links(verdict: Verdict, detection: Detection) -> MessageLinks:
            incident, windows = verdict.state.incident, detection.windows
            workspace, endpoint = settings.LOG_ANALYTICS_RESOURCE_ID, settings.LOG_ANALYTICS_ENDPOINT
            return MessageLinks(
                page=signer.link_to(incident.id, windows.now) if incident else None,
                portal=portal_link(workspace, endpoint, rule, windows) if workspace else None,
            )

        return RunOptions(
            render=render,
            render_digest=self._render_digest(lambda: rule),
            storm_alerts=settings.STORM_ALERTS if destinations else None,
            lateness=settings.ALLOWED_LATENESS,
            max_catch_up=settings.MAX_CATCH_UP,
            flood_signals=settings.FLOOD_SIGNALS,
            clock=self.clock,
        )


def in_turn(rules: Sequence[Rule], now: datetime) -> Sequence[Rule]:
    """The rules, beginning with the rule whose turn it is at `now` (UTC).

    The turn moves on by a rule every hour, and by one more every day: so it also moves if the job runs every
    two hours or once a day.
    """
    hours = int(now.timestamp()) // 3600
    turn = (hours + hours // 24) % len(rules) if rules else 0
    return [*rules[turn:], *rules[:turn]]


def former_rule(folder: str) -> Rule:
    """A rule that does not run, for its messages. If it cannot be loaded, messages name the folder only."""
    try:
        return load_rule(folder)
    except Exception:  # noqa: BLE001  # its messages are sent even so
        return placeholder_rule(folder)


def open_job(settings: Settings, clock: Clock, table: Table | None = None) -> Job:
    """The job of the settings, on their incident table or on the table passed. Raises ConfigurationError."""
    for webhook in settings.destinations:
        if webhook.template:
            from detection.delivery.templates import require_template  # noqa: PLC0415  # it needs Jinja

            require_template(webhook.template, webhook.name)
    rules, faults = load_rules(settings)
    return Job(settings, rules, table or open_table(settings), clock, rule_faults=faults)


def load_rules(settings: Settings) -> tuple[list[Rule], list[RuleFault]]:
    """The rules that run, and those that cannot run: their folder is not valid, or the settings do not fit
    them. Disabled rules are left out.
    """
    rules: list[Rule] = []
    faults: list[RuleFault] = []
    for name in settings.rules:
        try:
            rule = load_rule(name)
            if rule.enabled:
                require_commits_fit(rule, settings.ALLOWED_LATENESS, settings.MAX_CATCH_UP)
                rules.append(rule.model_copy(update={"saved_parsers": settings.has_saved_parsers}))
        except Exception as error:  # noqa: BLE001  # the other rules have to run; runs record this error
            faults.append(RuleFault(name, error))
    return rules, faults


def start(environment: Mapping[str, str], clock: Clock) -> Job:
    """The job that an environment describes. Logs why no rule runs, and raises, if the settings are wrong.
    Logs a warning for a variable that is probably a misspelt setting.

    Raises ConfigurationError.
    """
    began = clock()
    for variable, setting in misspelt_settings(environment).items():
        log_misspelt_setting(variable, setting)
    try:
        return open_job(settings_from(environment), clock)
    except Exception as error:
        log_run(_failure(error, "", began, None, clock() - began))
        raise


def run_rules(job: Job) -> None:
    """Runs every rule within the time of an invocation, then sends the heartbeat. Raises as `detect` does."""
    job.detect(run_time=RUN_TIME)
    send_heartbeat(job.settings)


def open_source(settings: Settings, rule: Rule, clock: Clock, deadline: datetime | None = None) -> Source:
    """The source of the logs. A reading of a workspace ends by the deadline.

    The engine for files is not deployed: imported only for LOGS_DIR. Raises ServiceError if no time is left.
    """
    if settings.LOGS_DIR:
        files = import_module("detection.logs.files.source")
        source: Source = files.FileSource(settings.LOGS_DIR, rule.tables)
        return source
    if not settings.LOG_ANALYTICS_WORKSPACE_ID:
        raise ConfigurationError(
            "settings: there are no logs to read; set LOG_ANALYTICS_WORKSPACE_ID, or LOGS_DIR for exports"
        )
    from detection.logs.log_analytics.client import LONGEST_REQUEST, open_log_analytics  # noqa: PLC0415  # as above
    from detection.logs.log_analytics.reading import BUDGET, Limits  # noqa: PLC0415  # as above

    budget: float = BUDGET
    if deadline:
        send_until = deadline - timedelta(seconds=LONGEST_REQUEST)
        require_time(send_until, clock)
        budget = min(BUDGET, (send_until - clock()).total_seconds())
    return open_log_analytics(
        settings.LOG_ANALYTICS_WORKSPACE_ID,
        settings.LOG_ANALYTICS_ENDPOINT,
        settings.AZURE_CLIENT_ID,
        clock,
        limits=Limits(seconds=budget, max_signals_per_actor=settings.FLOOD_SIGNALS),
    )


def open_table(settings: Settings) -> Table:
    """The incident table. Raises ConfigurationError if INCIDENT_STORAGE is missing or invalid."""
    if settings.INCIDENT_STORAGE is None:
        raise ConfigurationError(
            "settings: INCIDENT_STORAGE is missing; set it to the storage account that has the incident table"
        )
    from detection.store import azure_table  # noqa: PLC0415  # a table in memory needs no client

    storage = settings.INCIDENT_STORAGE.get_secret_value()
    return azure_table.open_table(storage, settings.INCIDENT_TABLE, settings.AZURE_CLIENT_ID)


def send_heartbeat(settings: Settings) -> None:
    """Requests HEARTBEAT_URL after a run in which every rule was complete; logs a failure."""
    if settings.HEARTBEAT_URL is None:
        return
    if reason := request_heartbeat(settings.HEARTBEAT_URL, HEARTBEAT_DEADLINE):
        log_heartbeat(reason)


def _failure(
    error: Exception, rule: str, now: datetime, last_complete: datetime | None, duration: timedelta
) -> RunFailure:
    reason = error_sentence(error)[:REASON]
    return RunFailure(rule, now, error_kind(error), reason, last_complete, duration.total_seconds())
