"""What is new is told: judged key by key, and committed key by key with the messages that tell it.

More alerts than anybody can read one by one are told together: each commit then leaves a share in a batch
instead of its messages, and one digest for each destination is made of the batch.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from detection.correlation.correlate import Chain
from detection.correlation.detection import Detection
from detection.incidents.evidence import evidence
from detection.incidents.flood import FLOOD, after_flood, decide_flooded, is_flood
from detection.incidents.grouping import EVENTS_PER_PART, KeyState, PairFilter, Verdict, group
from detection.incidents.keys import Key, group_by_key, grouping_of
from detection.incidents.regrouping import Regrouping
from detection.incidents.severity import ChangesByActor, group_by_actor, with_severity
from detection.incidents.silencing import drop_silenced
from detection.logs.window import MAX_CATCH_UP
from detection.messages.context import digest_entry
from detection.messages.text import title
from detection.rules.model import SEVERITIES, Rule
from detection.rules.silences import Silence
from detection.store.digest_draft import DigestDraft, RenderDigest
from detection.store.incident_store import IncidentStore
from detection.store.outbox import Delivery, queue
from detection.store.silence_list import SilenceList
from detection.store.table import Conflict, Operation

# Writes the messages of a verdict, one for each destination.
Render = Callable[[Verdict, Detection], Sequence[Delivery]]

# Longer than a run can take and clocks can differ: a key judged longer ago was judged before this run read.
LONGEST_RUN = timedelta(minutes=15)
TITLE = 500  # characters of an incident's


def _no_messages(*_context: object) -> Sequence[Delivery]:
    return ()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the settings say of a run: how messages are written, how late rows may be, how far it catches up.

    More than `storm_alerts` alerts in a run go out in one digest; None: never. A part of a key marks at most `events_per_part`
    events, and a key keeps at most `flood_signals` marks of signals. `clock` says how long a run took.
    """

    render: Render = _no_messages
    render_digest: RenderDigest = _no_messages
    storm_alerts: int | None = None
    lateness: timedelta | None = None
    max_catch_up: timedelta = MAX_CATCH_UP
    retention: timedelta = timedelta(days=90)
    events_per_part: int = EVENTS_PER_PART
    flood_signals: int = FLOOD
    clock: Callable[[], datetime] | None = None


class Superseded(Exception):
    """Another run has judged a key since this one read the logs; `winner` is the state that it left.

    It may have marked events which this run has not seen: their pairs with what this run would mark
    would never be told. What it saw, a new reading up to its moment sees too.
    """

    def __init__(self, winner: KeyState) -> None:
        super().__init__(winner.writer)
        self.by = winner


@dataclass(slots=True)
class Committer:
    """Tells for one run, and says what it told. `known_writers` are those whose commits the run has read behind."""

    store: IncidentStore
    options: RunOptions
    known_writers: set[str] = field(default_factory=set)
    verdicts: list[Verdict] = field(default_factory=list)
    silenced: Counter[str] = field(default_factory=Counter)
    draft: DigestDraft | None = None
    regrouping: Regrouping | None = None
    silences: Sequence[Silence] | None = None

    def __post_init__(self) -> None:
        self.known_writers.add(self.store.writer)

    def commit_new(self, detection: Detection) -> None:
        """Commits all that is new in a reading. Raises Superseded."""
        changes_by_actor = group_by_actor(detection.logs.changes.in_window)
        decisions = {
            key: partial(self._decide, key, chains, detection, changes_by_actor)
            for key, chains in group_by_key(detection.chains, detection.rule).items()
        }
        new = {key: verdict for key, decide in decisions.items() if (verdict := decide())}
        alerts = len(self.verdicts) + sum(1 for verdict in new.values() if verdict.alert or verdict.has_more)
        if self.options.storm_alerts is not None and alerts > self.options.storm_alerts:
            self.draft = self.draft or self.store.new_draft(detection.windows.now)
        for key, verdict in new.items():
            self._commit(verdict, decisions[key], detection)

    def publish_digest(self) -> None:
        """The last step: what is told together goes into the outbox."""
        if self.draft:
            self.draft.publish(self.options.render_digest)

    def _decide(
        self, key: Key, chains: Sequence[Chain], detection: Detection, changes_by_actor: ChangesByActor
    ) -> Verdict | None:
        state, pair_filter = self.store.load(key), self._pair_filter(detection)
        chains = after_flood(chains, state.flood_until, detection.rule)
        if detection.logs.is_chunk or is_flood(chains, state, self.options.flood_signals):
            verdict = decide_flooded(chains, state, detection.rule, detection.windows, pair_filter)
        else:
            verdict = group(
                chains, state, detection.rule, detection.windows, self.options.events_per_part, pair_filter
            )
        if verdict and state.writer not in self.known_writers and self._may_have_read_later(state, detection):
            raise Superseded(state)
        return with_severity(verdict, detection.rule, changes_by_actor) if verdict else None

    def _pair_filter(self, detection: Detection) -> PairFilter:
        """Of new pairs, what was told before the rule's grouping was edited is left out; then what somebody silenced."""
        rule, regrouping, silences = (
            detection.rule,
            self._regrouping(detection.rule),
            self._active_silences(detection),
        )

        def drop_suppressed(chains: Iterable[Chain]) -> tuple[list[Chain], Mapping[str, int]]:
            not_yet_alerted = (
                (part for chain in chains for part in regrouping.not_yet_alerted(chain))
                if regrouping
                else chains
            )
            return drop_silenced(not_yet_alerted, silences, rule)

        return drop_suppressed

    def _regrouping(self, rule: Rule) -> Regrouping | None:
        former = self.store.grouping
        if former is None or former == grouping_of(rule):
            return None
        self.regrouping = self.regrouping or Regrouping(self.store.load, former, rule)
        return self.regrouping

    def _active_silences(self, detection: Detection) -> Sequence[Silence]:
        """What pages nobody at this moment; read once, and only where there is something to judge."""
        if self.silences is None:
            self.silences = [
                *detection.rule.exclusions,
                *SilenceList(self.store.table, self.store.rule).silences(),
            ]
        return [silence for silence in self.silences if silence.is_in_force(detection.windows.now)]

    def _commit(self, new: Verdict, decide: Callable[[], Verdict | None], detection: Detection) -> None:
        """Commits what is new for a key, part by part; where another run came before it, judges again."""
        verdict: Verdict | None = new
        while verdict:
            verdict = _with_evidence(verdict, detection)
            try:
                self.store.commit(verdict, self._message_operations(verdict, detection))
            except Conflict:
                self._renew_draft(detection)
                verdict = decide()
                continue
            self.silenced.update(verdict.silenced)
            if verdict.alert:
                self._add_alert(verdict if detection.is_whole else verdict.without_events())
            verdict = decide() if verdict.has_more else None

    def _add_alert(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        if self.draft:
            self.draft.entry_committed()

    def _message_operations(self, verdict: Verdict, detection: Detection) -> list[Operation]:
        """What tells a verdict, as it is committed with it; nothing for one without an alert."""
        if verdict.alert is None:
            return []
        if self.draft:
            return [self.draft.operation(digest_entry(verdict.alert, detection.rule))]
        return [queue(delivery) for delivery in self.options.render(verdict, detection)]

    def _renew_draft(self, detection: Detection) -> None:
        """Another run, which took this one for dead, may have told its batch so far."""
        if self.draft and self.draft.is_published():
            self.draft = self.store.new_draft(detection.windows.now)

    def _may_have_read_later(self, state: KeyState, detection: Detection) -> bool:
        """Whether the key's last writer may have read the logs after this run did: it began when no more runs
        were complete, or, by a clock, it could still have been at work when this one began.
        """
        late = state.decided_at is not None and state.decided_at > detection.windows.now - LONGEST_RUN
        return state.run >= self.store.run or late


def _with_evidence(verdict: Verdict, detection: Detection) -> Verdict:
    """The verdict, its alert with evidence, its incident with a title and as severe as its worst alert."""
    alert, incident, rule = verdict.alert, verdict.state.incident, detection.rule
    if alert is None or incident is None:
        return verdict
    worst = max(alert.severity, incident.severity or alert.severity, key=SEVERITIES.index)
    incident = replace(incident, title=title(alert, rule)[:TITLE], severity=worst)
    alert = replace(alert, evidence=evidence(verdict.new_pairs, rule, detection.windows))
    return replace(verdict, state=replace(verdict.state, incident=incident), alert=alert)
