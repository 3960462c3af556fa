"""Which pairs of a rule must be alerted and which may be, by what its runs read and how they were configured.

A pair is promised if a finished run read both its events, in the windows that the design gives to that run, as
a pair by its configuration. It is allowed if any run read it as a pair. Between the two lie the pairs whose
treatment changed between two runs that read them: a person added or lifted a silence, for example.

Three kinds of pairs are neither promised nor forbidden, and counted as limits:
    covered  a flood of their key came before one of their events could be read;
    edited   an edit made them pairs when both their events were marked;
    gap      their signal lies in a gap that was not read to its end.
A flood forgets which signals it covered: a row of such a signal that comes with a time outside the flood may
alert again (`retimed`). So it may alert where a silence covered the pair that the flood decided (`unsilenced`).
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from detection.incidents.decide import FLOOD
from detection.incidents.keys import Key
from detection.logs.window import Window
from tests.support.world.history import CommittedFlood, Ledger
from tests.support.world.identity import belongs
from tests.support.world.scenario import Configuration, PairIds, World
from tests.support.world.views import (
    Candidate,
    Execution,
    Past,
    Reading,
    View,
    bounds_as_read,
    bounds_by_design,
    candidates_of,
    holds,
    is_own,
    key_of,
    pairs_in,
    past_of,
    signals_since,
)


@dataclass(slots=True)
class Promise:
    """The pairs of a rule: those that must be alerted, those that may be, and the limits by kind."""

    promised: set[PairIds] = field(default_factory=set)
    allowed: set[PairIds] = field(default_factory=set)
    covered: set[PairIds] = field(default_factory=set)
    edited: set[PairIds] = field(default_factory=set)
    silenced: set[PairIds] = field(default_factory=set)
    retimed: set[PairIds] = field(default_factory=set)
    unsilenced: set[PairIds] = field(default_factory=set)
    candidates: dict[PairIds, Candidate] = field(default_factory=dict)
    gap: dict[PairIds, datetime] = field(default_factory=dict)  # with the times of their signals


@dataclass(slots=True)
class Sight:
    """A reading of a run: the pairs that it may have seen by the product's windows, and those that it had to see.

    `read` are the pairs that reach their threshold without an earlier run and without a flood.
    `due` are the pairs that a finished run had to see by the windows of the design, `cut` those that an outage
    took out of these windows.
    """

    execution: Execution
    reading: Reading
    pairs: View
    read: View
    due: View
    cut: View


MarkedSignal = tuple[str, str, Key]


class PromiseMaker:
    """Makes the promise of one rule of a world from what its ledger says."""

    def __init__(self, world: World, ledger: Ledger) -> None:
        edits = [edit for edit in world.edits if edit.folder == ledger.folder]
        configurations = {world.configuration, *(edit.configuration for edit in edits)}
        self._groupings = {configuration.grouping: configuration for configuration in configurations}.values()
        self._ledger = ledger
        self._chunked = world.flood < FLOOD
        self._candidates = candidates_of(world.rows, configurations)
        self._has_thresholds = any(configuration.threshold > 1 for configuration in configurations)
        self._has_edits = len(configurations) > 1 or any(
            len(set(event.times)) > 1 for pair in self._candidates for event in (pair.change, pair.signal)
        )
        self._pairs_by_identity: dict[object, list[Candidate]] = {}
        self._marks_by_sight: dict[int, tuple[set[Past], set[MarkedSignal]]] = {}
        self.sights = self._all_sights()
        self._read_by_reading = {id(sight.reading): sight.read for sight in self.sights}

    def promise(self) -> Promise:
        """The promise, pair by pair."""
        promise = Promise()
        promise.candidates = {pair.ids: pair for pair in self._candidates}
        seen_by_pair: dict[PairIds, list[Sight]] = defaultdict(list)
        due_by_pair: dict[PairIds, Sight] = {}
        for sight in sorted(self.sights, key=lambda sight: sight.execution.ended):
            for ids in sight.pairs:
                seen_by_pair[ids].append(sight)
            for ids in sight.due:
                due_by_pair.setdefault(ids, sight)
        for pair in self._candidates:
            self._sort(promise, pair, seen_by_pair[pair.ids], due_by_pair.get(pair.ids))
        for sight in self.sights:
            promise.gap |= {ids: time for ids, time in sight.cut.items() if ids not in due_by_pair}
        return promise

    def _sort(self, promise: Promise, pair: Candidate, sights: list[Sight], due: Sight | None) -> None:
        """Puts a pair into its sets. `due` is the first finished run that had to see it."""
        deciding = [sight for sight in sights if not due or sight.execution.begun <= due.execution.ended]
        if due and due not in deciding:
            deciding.append(due)
        muted = [muted for sight in deciding for muted in self._muted(pair, sight)]
        if sights and not all(muted):
            promise.allowed.add(pair.ids)
        elif self._is_unsilenced(pair, sights):
            promise.allowed.add(pair.ids)
            promise.unsilenced.add(pair.ids)
        if self._is_retimed(pair):
            promise.retimed.add(pair.ids)
        if due is None:
            return
        if any(muted):
            promise.silenced.add(pair.ids)
        elif self._is_covered(pair, due):
            promise.covered.add(pair.ids)
        elif self._has_edits and self._is_edited(pair, due):
            promise.edited.add(pair.ids)
        else:
            promise.promised.add(pair.ids)

    def _all_sights(self) -> list[Sight]:
        """What each reading saw. A change that was marked for a kind stays past the kind's threshold."""
        readings = [
            (execution, reading) for execution in self._ledger.executions for reading in execution.readings
        ]
        sights = [self._sight(execution, reading) for execution, reading in readings]
        if not self._has_thresholds:
            return sights
        possible = [(sight.execution.begun, self._past(sight.pairs, sight)) for sight in sights]
        certain = [(sight.execution.ended, self._past(sight.due, sight)) for sight in sights]
        if self._ledger.floods:  # a flood marks nothing
            certain = []
        return [
            self._sight(
                execution,
                reading,
                set[Past]().union(*(past for begun, past in possible if begun <= execution.ended)),
                set[Past]().union(*(past for ended, past in certain if ended < execution.begun)),
            )
            for execution, reading in readings
        ]

    def _past(self, view: View, sight: Sight) -> set[Past]:
        configuration = sight.execution.configuration
        return {past_of(pair, configuration) for pair in self._pairs_of(configuration) if pair.ids in view}

    def _sight(
        self,
        execution: Execution,
        reading: Reading,
        possible: Collection[Past] = (),
        certain: Collection[Past] = (),
    ) -> Sight:
        configuration = execution.configuration
        candidates, read = self._pairs_of(configuration), bounds_as_read(reading)
        # A flood is enough of anything: thresholds do not apply to chunks.
        is_chunked = self._chunked and reading.is_sliced
        rule = replace(configuration, threshold=1) if is_chunked else configuration
        possible_changes = {(change, kind) for change, kind, _ in possible}  # a mark in another key may do
        pairs = pairs_in(
            candidates,
            rule,
            read,
            reading,
            lambda pair: (pair.change.arrival.id, pair.signal.arrival.kind) in possible_changes,
        )
        is_own_time = partial(is_own, execution, reading)
        sight = Sight(execution, reading, pairs, pairs_in(candidates, configuration, read, reading), {}, {})
        if not execution.finished or reading is not execution.readings[-1]:
            return sight
        design = bounds_by_design(execution)
        sight.due = pairs_in(
            candidates,
            configuration,
            design,
            reading,
            lambda pair: any(past_of(pair, former) in certain for former in self._groupings),
        )
        # Where the product reads further back, it may read an earlier row of an event.
        if read.changes <= design.changes and read.signals <= design.signals:
            sight.due = {ids: time for ids, time in sight.due.items() if ids in sight.pairs}
        sight.due = {ids: time for ids, time in sight.due.items() if is_own_time(sight.pairs.get(ids, time))}
        whole = bounds_by_design(execution, catches_up=False)
        if whole != design and not execution.part:
            sight.cut = pairs_in(candidates, configuration, whole, reading)
            # A threshold reads further back, but a gap does not begin there.
            gap = Window(signals_since(execution), design.own.after)
            sight.cut = {
                ids: time for ids, time in sight.cut.items() if ids not in sight.due and holds(gap, time)
            }
        return sight

    def _pairs_of(self, configuration: Configuration) -> list[Candidate]:
        """The candidates whose signal belongs to the change's actor under a configuration."""
        identity = configuration.identity, configuration.mapping
        if identity not in self._pairs_by_identity:
            self._pairs_by_identity[identity] = [
                pair
                for pair in self._candidates
                if belongs(pair.signal.arrival, pair.change.arrival.actor, configuration)
            ]
        return self._pairs_by_identity[identity]

    def _muted(self, pair: Candidate, sight: Sight) -> Iterator[bool]:
        """Whether a silence or an exclusion covered a pair, for each state of the silences during the run."""
        execution, states = sight.execution, self._ledger.mutes
        before = [mutes for number, mutes in states if number < execution.begun][-1]
        during = [mutes for number, mutes in states if execution.begun < number < execution.ended]
        time = sight.pairs.get(pair.ids) or sight.due[pair.ids]
        for mutes in (before, *during):
            yield any(
                mute.covers(pair.change.arrival, pair.signal.arrival, time)
                for mute in (*mutes, *execution.configuration.exclusions)
            )

    def _is_covered(self, pair: Candidate, due: Sight) -> bool:
        """Whether a flood in the pair's key came before a run could see the pair."""
        return any(
            self._is_covered_by(committed, pair)
            and committed.key == key_of(pair, committed.execution.configuration)
            and committed.number <= due.execution.ended
            for committed in self._ledger.floods
        )

    def _is_covered_by(self, committed: CommittedFlood, pair: Candidate) -> bool:
        """Whether a flood covers a pair that its reading did not see."""
        execution, reading = committed.execution, committed.reading
        time = self._read_by_reading[id(reading)].get(pair.ids)
        if committed.is_of(pair.change.arrival.actor):
            is_seen = time is not None and is_own(execution, reading, time)
            times = [time for time in pair.signal.times if is_own(execution, reading, time)]
        else:
            is_seen, times = time is not None, list(committed.times_of(pair))
        return not is_seen and any(map(committed.holds, times))

    def _is_retimed(self, pair: Candidate) -> bool:
        """Whether a flood covered a row of the pair's event, and another row of it has a time outside."""
        return any(
            any(map(committed.holds, times)) and not all(map(committed.holds, times))
            for committed in self._ledger.floods
            for times in [committed.times_of(pair)]
        )

    def _is_unsilenced(self, pair: Candidate, sights: Sequence[Sight]) -> bool:
        """Whether a reading saw the signal of a pair, which a flood had covered, at a new time that neither a
        flood nor a silence covered.
        """
        floods = [
            committed
            for committed in self._ledger.floods
            if committed.is_of(pair.change.arrival.actor)
            and any(map(committed.holds, pair.signal.times))
            and committed.key == key_of(pair, committed.execution.configuration)
        ]
        for sight in sights:
            execution, time = sight.execution, sight.pairs[pair.ids]
            at_time = [committed for committed in floods if committed.holds(time)]
            is_retimed = any(
                committed.number < execution.ended for committed in floods if committed not in at_time
            )
            is_covered = any(committed.number < execution.begun for committed in at_time)
            if is_retimed and not is_covered and not all(self._muted(pair, sight)):
                return True
        return False

    def _is_edited(self, pair: Candidate, due: Sight) -> bool:
        """Whether the second mark of a pair may come from a run that had both its rows, and not the pair."""
        sights = [sight for sight in self.sights if sight.execution.begun <= due.execution.ended]
        for sight in sights:
            reading, until = sight.reading, sight.execution.ended
            if (
                pair.ids in sight.pairs
                or not pair.change.has_arrived(reading.changes_at)
                or not pair.signal.has_arrived(reading.signals_at)
            ):
                continue
            grouping = sight.execution.configuration.grouping
            before = [
                earlier
                for earlier in sights
                if earlier.execution.begun <= until and earlier.execution.configuration.grouping == grouping
            ]
            own, marked = self._marks(pair, [sight]), self._marks(pair, before)
            if any(own) and all(marked):
                return True
        return False

    def _marks(self, pair: Candidate, sights: Sequence[Sight]) -> tuple[bool, bool]:
        """Whether runs may have marked the change of a pair for the signal's kind, and the signal."""
        has_change = has_signal = False
        for sight in sights:
            configuration = sight.execution.configuration
            pasts, signals = self._marks_of(sight)
            has_change |= past_of(pair, configuration) in pasts
            has_signal |= _signal_of(pair, configuration) in signals
        return has_change, has_signal

    def _marks_of(self, sight: Sight) -> tuple[set[Past], set[MarkedSignal]]:
        """The marks that a run may have made: of changes, and of signals."""
        if id(sight) not in self._marks_by_sight:
            configuration = sight.execution.configuration
            pairs = [pair for pair in self._pairs_of(configuration) if pair.ids in sight.pairs]
            self._marks_by_sight[id(sight)] = (
                {past_of(pair, configuration) for pair in pairs},
                {_signal_of(pair, configuration) for pair in pairs},
            )
        return self._marks_by_sight[id(sight)]


def _signal_of(pair: Candidate, configuration: Configuration) -> MarkedSignal:
    """The signal of a pair with its actor, for its grouping key."""
    return pair.ids[1], pair.change.arrival.actor, key_of(pair, configuration)
