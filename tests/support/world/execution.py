"""Executes the runs of a world on the real store, and notes what the table took."""

import json
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from detection.base.deadlines import LONGEST_RUN
from detection.base.errors import ConfigurationError, Incomplete, ServiceError
from detection.base.timestamps import MAX_CLOCK_LEAD
from detection.correlation.detection import Detection
from detection.incidents.decide import Verdict
from detection.incidents.floods import Flood
from detection.incidents.key_state import KeyState
from detection.incidents.keys import Key
from detection.logs.window import Window
from detection.messages.context import DigestEntry
from detection.runs.commit import RunOptions
from detection.runs.run import read_gap, run
from detection.store.gaps import Gap, GapList
from detection.store.incident_list import IncidentList
from detection.store.incident_store import IncidentStore
from detection.store.outbox import Delivery
from detection.store.silence_list import SilenceList
from tests.support.builders import closed_at_start
from tests.support.world.checks import incident_problems, problems_of
from tests.support.world.commit_witness import CommitWitness
from tests.support.world.doubles import Crash, FaultyTable, LogStore, row_of
from tests.support.world.history import CommittedFlood, History, WrittenAlert
from tests.support.world.scenario import Plan, World, rule_with
from tests.support.world.views import EVER, Execution, Part, marks_from_after


class WitnessedStore(CommitWitness):
    """The real store, and a witness of what the table really took: an answer may be lost, the row is there."""

    page = 3  # so that the rows of a few keys come in several pages

    def __init__(
        self, table: FaultyTable, token: str, history: History, execution: Execution, log_store: LogStore
    ) -> None:
        super().__init__(table, execution.plan.folder, token)
        self._history = history
        self._ledger = history.ledgers[execution.plan.folder]
        self.execution = execution
        self._log_store = log_store
        self._floods: dict[Key, tuple[Flood, ...]] = {}  # as they were loaded
        table.on_write = self._note_write

    def watermark(self) -> datetime | None:
        has_begun = self.service_time is not None
        watermark = super().watermark()
        if not has_begun:
            self.execution.watermark = self._ledger.watermark
            self.execution.marks_from = self._ledger.marks_from
            self.execution.service_time = self._history.latest_moment
        part = self.execution.part
        if part or not has_begun:
            gaps = [gap for gap in self.open_gaps if not part or gap.id != part.gap]
            self.execution.open_gaps = [Window(gap.read_until or gap.after, gap.until) for gap in gaps]
        for gap in self.open_gaps:
            if part and part.gap == gap.id:
                self.begin_part(gap)  # another run may have read parts of it since it was listed
        return watermark

    def load(self, keys: Iterable[Key]) -> dict[Key, KeyState]:
        states = super().load(keys)
        self._floods |= {key: state.floods for key, state in states.items()}
        return states

    def _note_write(self, rows: Collection[str]) -> None:
        """A run is complete when the table took its record, whatever the run hears of that."""
        execution, ledger = self.execution, self._ledger
        if execution.part or not any(row.startswith("r|") for row in rows):
            return
        for gap in GapList(self._history.table, self.rule).gaps():
            marks_from = max(execution.marks_from, gap.after - execution.configuration.within)
            ledger.gap_marks_from.setdefault(gap.id, marks_from)
        watermark = min(execution.plan.now, execution.service_time)
        ledger.marks_from = max(ledger.marks_from, marks_from_after(execution))
        ledger.watermark = max(watermark, ledger.watermark or EVER)

    def finish_part(self, gap: Gap, now: datetime, record: bytes) -> None:
        before = self.faulty_table.effects
        try:
            super().finish_part(gap, now, record)
        finally:
            if self.faulty_table.effects > before:
                self.end_part(is_finished=True)
                self._history.figures["gap parts"] += 1
                # The next part follows the gap's row: another reading may have come further, or closed it.
                gaps = GapList(self._history.table, self.rule).gaps()
                self.begin_part(next(stored for stored in gaps if stored.id == gap.id))

    def begin_part(self, gap: Gap) -> None:
        """The execution is from now on the reading of the next part of a gap."""
        execution, ledger = self.execution, self._ledger
        if execution.ended:
            plan, configuration = execution.plan, execution.configuration
            execution = Execution(plan, configuration, next(self._history.numbers))
            ledger.executions.append(execution)
        after = gap.read_until or gap.after
        until = min(gap.until, after + execution.configuration.max_catch_up)
        execution.watermark, execution.marks_from = ledger.watermark, ledger.marks_from
        execution.service_time = self._history.latest_moment
        execution.part = Part(gap.id, after, until, ledger.gap_marks_from[gap.id])
        self.execution = execution

    def end_part(self, *, is_finished: bool) -> None:
        """Notes what the execution read."""
        execution = self.execution
        self._history.note_read(self._log_store)
        execution.readings, self._log_store.readings = self._log_store.readings, []
        execution.ended = next(self._history.numbers)
        execution.finished = is_finished

    def has_written(self, prefix: str) -> bool:
        """Whether the table took rows of the rule with this prefix, in the last commit or after it."""
        rows = self.faulty_table.rows_written
        return any(partition == self.rule and row.startswith(prefix) for partition, row in rows)

    def note_commit(self, verdict: Verdict) -> None:
        ledger, state, alert = self._ledger, verdict.state, verdict.alert
        execution, reading = self.execution, self._log_store.readings[-1]
        execution.commits += 1
        self._history.note_read(self._log_store)
        pairs = [(change.id, signal.id) for chain in verdict.new_pairs for change, signal in chain.pairs()]
        ledger.alerted_pairs.update(pairs)
        if alert and state.incident:
            alert_id, time = alert.alert, state.incident.updated
            number, configuration = alert.counts.pairs, execution.configuration
            ledger.alerts.append(
                WrittenAlert(alert_id, alert.incident, state.key, pairs, number, time, configuration)
            )
        former, number = self._floods.get(state.key, ()), next(self._history.numbers)
        for flood in set(state.floods) - set(former):
            ledger.floods.append(CommittedFlood(flood, state.key, execution, reading, number))
            begins = {earlier.begin for earlier in former if earlier.subject == flood.subject}
            if flood.begin <= reading.windows.signals.after and flood.begin not in begins:
                self._history.problems.append(f"a flood of {state.key} begins before its reading: {flood}")


def live(world: World) -> History:
    """Executes every run of a world, and checks the incidents on the way and the promise at the end."""
    history = History(world)
    before = 0
    for number, plan in enumerate(world.plans):
        _execute(history, plan, f"run {number}")
        alerts = sum(len(ledger.alerts) for ledger in history.ledgers.values())
        if alerts > before:
            before = alerts
            history.problems += incident_problems(history, plan.folder)
        if plan.close is not None:
            _close(history, plan.folder, plan.close)
    history.figures["skipped"] += world.skipped
    history.problems += problems_of(history)
    return history


def _execute(history: History, plan: Plan, token: str) -> None:
    def race() -> None:
        assert plan.race is not None
        history.figures["races"] += 1
        _execute(history, plan.race, f"{token} race")

    world, ledger = history.world, history.ledgers[plan.folder]
    _apply_silencings(history, plan.moment)
    open_gaps = GapList(history.table, plan.folder).open_gaps()
    gap = open_gaps[plan.gap % len(open_gaps)] if plan.gap is not None and open_gaps else None
    if plan.gap is not None and gap is None:
        return
    configuration = world.configuration_at(plan.moment, plan.folder)
    execution = Execution(plan, configuration, next(history.numbers))
    ledger.executions.append(execution)
    table = FaultyTable(history.table, plan.faults, race if plan.race else None, plan.race_at)
    if configuration.identity not in history.rows:
        rows = [(arrival, row_of(arrival, configuration)) for arrival in world.rows]
        history.rows[configuration.identity] = rows
    rows = history.rows[configuration.identity]
    log_store = LogStore(plan, rows, lambda: history.latest_read, world.flood, configuration)
    store = WitnessedStore(table, token, history, execution, log_store)
    history.figures["gap readings" if gap else "runs"] += 1
    history.latest_moment = max(history.latest_moment, plan.moment)
    if gap:
        store.begin_part(gap)
    try:
        _run(history, store, log_store, gap, token)
    finally:
        history.figures.update(table.figures)
        store.end_part(is_finished=gap is None and store.has_written("r|"))
        for current in GapList(history.table, plan.folder).gaps():
            ledger.gaps[current.id] = current


def _run(history: History, store: "WitnessedStore", log_store: LogStore, gap: Gap | None, token: str) -> None:
    """The run itself. A run that nothing is wrong with must complete."""
    plan, configuration, world = store.execution.plan, store.execution.configuration, history.world
    is_refused = plan.now - history.latest_moment >= MAX_CLOCK_LEAD
    if not is_refused:
        history.latest_clock = max(history.latest_clock, plan.now)
    options = RunOptions(
        _render_alert,
        _render_digest,
        world.storm,
        configuration.lateness,
        configuration.max_catch_up,
        world.retention,
        events_per_part=plan.limit,
        flood_signals=world.flood,
    )
    rule = rule_with(configuration, plan.folder)
    try:
        if gap:
            deque(read_gap(rule, gap, lambda: plan.now, log_store, store, options), maxlen=0)
        else:
            run(rule, plan.now, log_store, store, options)
    except Crash:
        history.figures["crashes"] += 1
    except ConfigurationError:
        history.figures["refused"] += 1
        if not is_refused:
            raise
    except Incomplete:
        history.figures["incomplete"] += 1
    except ServiceError as error:
        _note_service_error(history, store.execution, error, token)
    else:
        if not gap:
            history.complete.append(plan.now)
        store.execution.complete = True
        if is_refused:
            history.problems.append(f"{token} ran by a clock that is {plan.now - plan.moment} ahead")


def _note_service_error(history: History, execution: Execution, error: ServiceError, token: str) -> None:
    """A run that nothing is wrong with may only be refused next to a run with another grouping, before its
    first commit.
    """
    plan = execution.plan
    if "groups alerts" not in str(error):
        history.figures["gave up"] += 1
        if plan.clean:
            history.problems.append(f"{token} gave up: {error}")
        return
    history.figures["refused for another grouping"] += 1
    grouping = execution.configuration.grouping
    if execution.commits:
        history.problems.append(f"{token} was refused for another grouping after {execution.commits} commits")
    if not any(
        rival.configuration.grouping != grouping
        and (rival.plan.now > plan.now - LONGEST_RUN or rival.begun > execution.begun)
        for rival in history.ledgers[plan.folder].executions
    ):
        history.problems.append(f"{token} was refused for another grouping, and there was no such run")


def _apply_silencings(history: History, moment: datetime) -> None:
    """Adds and lifts the silences that are due."""
    for silencing in history.world.silencings[history.silencings_done :]:
        if silencing.moment > moment:
            return
        history.silencings_done += 1
        history.figures["silences lifted" if silencing.lifts else "silences added"] += 1
        ledger, mute = history.ledgers[silencing.folder], silencing.mute
        silences = SilenceList(history.table, silencing.folder)
        mutes = {current.name: current for current in ledger.mutes[-1][1]}
        if silencing.lifts:
            silences.lift(mute.silence(), "soc", silencing.moment)
            mutes[mute.name] = replace(mute, expires=silencing.moment)
        else:
            silences.add(mute.silence())
            mutes[mute.name] = mute
        ledger.mutes.append((next(history.numbers), tuple(mutes.values())))


def _render_alert(verdict: Verdict, detection: Detection) -> list[Delivery]:
    """The message of one alert: in this world, its name."""
    assert verdict.alert
    now, alert = detection.windows.now, verdict.alert
    return [_message(alert.incident, verdict.state.commits, [alert.alert], now)]


def _render_digest(draft_id: str, began: datetime, entries: Sequence[DigestEntry]) -> list[Delivery]:
    """The message of several alerts: their names."""
    return [_message(f"digest {draft_id}", 1, [entry.alert for entry in entries], began)]


def _message(queue_key: str, commit: int, alerts: Sequence[str], now: datetime) -> Delivery:
    return Delivery(f"{queue_key} {commit}", "soc", queue_key, commit, json.dumps(alerts).encode(), now, now)


def _close(history: History, folder: str, number: int) -> None:
    """A person closes the newest incident of a key."""
    stored = IncidentList(history.table, folder).incidents()
    newest = dict(sorted(stored, key=lambda keyed_incident: keyed_incident[1].number))
    if not newest:
        return
    incident = newest[sorted(newest)[number % len(newest)]]
    IncidentStore(history.table, folder, "looking").update(incident.id, closed_at_start)
    history.ledgers[folder].closed[incident.id] = closed_at_start(incident)
