"""Commits the decisions of a run, key by key, each with the messages about it.

More alerts than a person can read one by one become a digest: each commit then adds an entry to a draft
instead of its messages, and one message for each destination is made of the draft.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from detection.base.deadlines import LONGEST_RUN
from detection.base.errors import ServiceError
from detection.base.timestamps import iso
from detection.correlation.correlate import Chain
from detection.correlation.detection import Detection
from detection.incidents.alert import addresses_of
from detection.incidents.decide import EVENTS_PER_PART, FLOOD, Circumstances, Decision, Verdict
from detection.incidents.evidence import evidence
from detection.incidents.extent import extended
from detection.incidents.incident import ADDRESSES
from detection.incidents.key_state import GroupingMarks, KeyState
from detection.incidents.keys import Grouping, Key, describe_grouping, grouping_of, split_by, stable_id
from detection.incidents.severity import group_by_actor
from detection.logs.window import MAX_CATCH_UP
from detection.messages.context import digest_entry
from detection.messages.text import incident_title, plural
from detection.rules.model import SEVERITIES, Rule
from detection.rules.silences import Silence
from detection.store.digest_draft import DigestDraft, RenderDigest
from detection.store.gaps import Gap
from detection.store.incident_store import Commit, IncidentStore, fit_together
from detection.store.layout import chunks, head_row
from detection.store.outbox import Delivery, queue
from detection.store.silence_list import SilenceList
from detection.store.table import MAX_CONFLICTS, Conflict, ConflictCount

# Writes the messages of a verdict, one for each destination.
Render = Callable[[Verdict, Detection], Sequence[Delivery]]

TITLE = 500  # characters of an incident's
KEYS_NAMED = 5  # in an error
KEYS_AT_ONCE = 4_000  # whose marks are in memory before it is known which have new events


def _no_messages(*_context: object) -> Sequence[Delivery]:
    return ()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run: how messages are written, how late rows may be, how far it catches up.

    More than `storm_alerts` alerts in a run go out in one digest; None: never. A part of a key marks at most
    `events_per_part` events, and a key keeps at most `flood_signals` marks of signals. `clock` measures the
    duration.
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
    """Another run has decided a key since this run read the logs; `winner` is the state that it left.

    It may have marked events which this run has not seen: their pairs with events that this run would mark
    would never be alerted. What the other run saw, a new reading up to its time sees too.
    """

    def __init__(self, winner: KeyState) -> None:
        super().__init__(winner.writer)
        self.winner = winner


class _LoadedStates:
    """States of keys that decisions consult, each loaded once. They are never committed."""

    def __init__(self, store: IncidentStore) -> None:
        self._store = store
        self._states: dict[Key, KeyState] = {}

    def load(self, keys: AbstractSet[Key]) -> None:
        self._states.update(self._store.load(keys - self._states.keys()))

    def state(self, key: Key) -> KeyState:
        """The state of a key, as it was when it was first consulted."""
        if key not in self._states:
            self.load({key})
        return self._states[key]


class Committer:
    """Commits for one run. `verdicts` are those with an alert, `silenced` counts pairs by their silence,
    `silenced_by_actor` those of silences by actor, `commits` counts all commits.
    """

    def __init__(self, rule: Rule, now: datetime, store: IncidentStore, options: RunOptions) -> None:
        self.verdicts: list[Verdict] = []
        self.silenced = Counter[str]()
        self.commits = 0
        self.silenced_by_actor = Counter[str]()
        self.draft: DigestDraft | None = None  # in a storm
        self._rule = rule
        self._now = now
        self._store = store
        self._options = options
        self._known_writers = store.writers  # whose commits were there before the logs were read
        self._unresolved = set[Key]()  # keys whose commit conflicts with no other run
        self._silences: Sequence[Silence] | None = None
        self._consulted = _LoadedStates(store)
        self._is_grouping_named = False

    def restart(self, superseded: Superseded) -> None:
        """The run reads again what the winner may have read."""
        self._known_writers |= {superseded.winner.writer, self._store.restart()}
        self._unresolved.clear()

    def circumstances(self, detection: Detection, open_gaps: Sequence[Gap] = ()) -> Circumstances:
        """The basis of decisions on these chains, from the table. Other readings read `open_gaps`."""
        rule, store = self._rule, self._store
        if self._silences is None and (detection.chains or detection.below):
            self._silences = [*rule.exclusions, *SilenceList(store.table, store.rule).silences()]
        groupings = [named.grouping for named in store.groupings]
        self._consulted = _LoadedStates(store)
        self._consulted.load(_keys_of(detection.below, groupings, rule))
        return Circumstances(
            rule,
            detection.windows,
            group_by_actor(detection.logs.changes.in_window),
            self._silences or (),
            [GroupingMarks(grouping, self._consulted.state) for grouping in groupings],
            detection.logs.is_chunk,
            self._options.events_per_part,
            self._options.flood_signals,
            [gap.unread for gap in open_gaps],
        )

    def commit(self, decisions: Mapping[Key, Decision], detection: Detection) -> None:
        """Commits all decisions. Raises Superseded, before or after it has committed some of them.

        Raises ServiceError, before the first commit, if a run with another grouping may be at work.
        """
        verdicts = self._verdicts(decisions, detection)
        if verdicts and not self._is_grouping_named:
            self._name_grouping(detection.windows.now)
        alerts = sum(1 for verdict in verdicts.values() if verdict.alert or verdict.has_more)
        storm_alerts = self._options.storm_alerts
        if storm_alerts is not None and len(self.verdicts) + alerts > storm_alerts:
            self.draft = self.draft or self._store.new_draft(self._now)
        group: list[Commit] = []  # for one transaction
        for key, verdict in verdicts.items():
            if verdict.has_more:
                self._commit_group(group, decisions, detection)
                group = []
                self._commit_parts(key, verdict, decisions[key], detection)
                continue
            commit = self._prepare(verdict, detection)
            if not fit_together([*group, commit]):
                self._commit_group(group, decisions, detection)
                group = []
            group.append(commit)
        self._commit_group(group, decisions, detection)

    def _verdicts(self, decisions: Mapping[Key, Decision], detection: Detection) -> dict[Key, Verdict]:
        """The verdicts on the keys with new events, which are few in most hours: their marks show them."""
        store, own = self._store, grouping_of(self._rule)
        former = [named.grouping for named in store.groupings if named.grouping != own]
        verdicts: dict[Key, Verdict] = {}
        for keys in chunks(list(decisions), KEYS_AT_ONCE):
            new_keys = [
                key
                for key, state in store.marked(keys).items()
                if not (state.changes or state.signals) or decisions[key].has_new_events(state)
            ]
            new_chains = (chain for key in new_keys for chain in decisions[key].chains)
            self._consulted.load(_keys_of(new_chains, former, self._rule))
            for key, state in store.load(new_keys).items():
                if verdict := self._decide(decisions[key], state, detection):
                    verdicts[key] = verdict
        return verdicts

    def _commit_group(
        self, group: Sequence[Commit], decisions: Mapping[Key, Decision], detection: Detection
    ) -> None:
        """Commits keys in one transaction, or each by itself where one of them conflicts."""
        if not group:
            return
        try:
            self._write(group, detection)
        except Conflict:
            for commit in group:
                key = commit.verdict.state.key
                self._commit_parts(key, commit.verdict, decisions[key], detection)

    def _commit_parts(
        self, key: Key, verdict: Verdict | None, decision: Decision, detection: Detection
    ) -> None:
        """Commits the decision on a key, part by part, or leaves it out if its conflicts do not end."""
        conflicts = ConflictCount(verdict and verdict.state.version)
        while verdict:
            try:
                self._write([self._prepare(verdict, detection)], detection)
            except Conflict:  # another run came first: decide again
                if self.draft and self.draft.is_published():  # by a run that took this one for dead
                    self.draft = self._store.new_draft(self._now)
                verdict = self._decide_again(key, decision, detection)
                if verdict and conflicts.is_exceeded(verdict.state.version):
                    self._unresolved.add(key)
                    return
                continue
            verdict = self._decide_again(key, decision, detection) if verdict.has_more else None

    def _prepare(self, verdict: Verdict, detection: Detection) -> Commit:
        """The commit of a verdict, with its messages if the run makes no digest."""
        verdict = _with_evidence(verdict, detection, self.draft)
        messages = self._options.render(verdict, detection) if verdict.alert and not self.draft else ()
        return self._store.prepare(verdict, map(queue, messages))

    def _write(self, commits: Sequence[Commit], detection: Detection) -> None:
        """Writes commits in one transaction, and counts them. Raises Conflict."""
        alerts = [commit.verdict.alert for commit in commits if commit.verdict.alert]
        entries = [digest_entry(alert, self._rule) for alert in alerts] if self.draft else []
        self._store.commit(commits, [self.draft.operation(entries)] if self.draft and entries else [])
        if self.draft and entries:
            self.draft.row_committed()
        for verdict, *_ in commits:
            self.commits += 1
            self.silenced.update(verdict.silenced)
            self.silenced_by_actor.update(verdict.silenced_by_actor)
            if verdict.alert:
                self.verdicts.append(verdict.without_events() if detection.logs.is_slice else verdict)

    def _decide_again(self, key: Key, decision: Decision, detection: Detection) -> Verdict | None:
        return self._decide(decision, self._store.load([key])[key], detection)

    def _decide(self, decision: Decision, state: KeyState, detection: Detection) -> Verdict | None:
        verdict = decision.verdict(state)
        if verdict is None or state.writer in self._known_writers:
            return verdict
        # The key's last writer may have read the logs after this run did: it began when no more runs were
        # complete, or, by a clock, it could still have been at work when this run began. A key decided longer
        # ago was decided before this run read.
        late = state.decided_at is not None and state.decided_at > detection.windows.now - LONGEST_RUN
        if state.run >= self._store.run or late:
            raise Superseded(state)
        return verdict

    def _name_grouping(self, now: datetime) -> None:
        """Names the grouping of this run, and refuses to commit next to a run with another grouping.

        A reading that follows another run's commit goes up to the time at which that run named it.
        """
        own, consulted = grouping_of(self._rule), self._store.groupings
        for named in self._store.name_grouping(own, now):
            is_recent = named.time > self._now - LONGEST_RUN
            if named.grouping != own and (is_recent or named not in consulted):
                raise ServiceError(
                    f"this run groups alerts {describe_grouping(own)}; the run of {iso(named.time)}, which "
                    f"may still be at work, groups them {describe_grouping(named.grouping)}. Nothing was "
                    "committed, and the next run tries again; do not run two versions of a rule at once"
                )
        self._is_grouping_named = True

    def refuse_unresolved(self) -> None:
        """Raises ServiceError if a key could not be committed although no other run changed it."""
        if self._unresolved:
            heads = sorted(map(head_row, self._unresolved))
            rest = f" and {len(heads) - KEYS_NAMED} more" if len(heads) > KEYS_NAMED else ""
            raise ServiceError(
                f"{plural(len(heads), 'grouping key')} conflicted {MAX_CONFLICTS} times with no other run: "
                "the rows in the incident table contradict each other, as after a partial restore. All other "
                "alerts of this run are committed. Delete these rows of the partition "
                f"{self._rule.folder}, and the next run writes them again. The next alert of such a key "
                "opens another incident, and what high volume covered alerts again. The rows: "
                f"{', '.join(heads[:KEYS_NAMED])}{rest}"
            )

    def publish_digest(self) -> None:
        """Puts the digest, if there is one, into the outbox."""
        if self.draft:
            self.draft.publish(self._options.render_digest)


def _keys_of(chains: Iterable[Chain], groupings: Sequence[Grouping], rule: Rule) -> set[Key]:
    """The keys of chains in other groupings."""
    return {key for chain in chains for grouping in groupings for key, _ in split_by(chain, grouping, rule)}


def _with_evidence(verdict: Verdict, detection: Detection, draft: DigestDraft | None) -> Verdict:
    """The verdict, its alert with evidence, its incident with a title, the digest of the draft, and as severe
    as its worst alert.

    Made right before its commit: the evidence of all keys of a slice at once would be hundreds of megabytes.
    """
    alert, incident, rule = verdict.alert, verdict.state.incident, detection.rule
    if alert is None or incident is None:
        return verdict
    worst = max(alert.severity, incident.severity or alert.severity, key=SEVERITIES.index)
    alert_evidence = evidence(verdict.new_pairs, rule, detection.windows)
    extent = extended(incident.extent, alert, alert_evidence, rule)
    digests = (stable_id("dg", rule, (), draft.name),) if draft else ()
    incident = replace(
        incident,
        title=incident_title(extent, rule)[:TITLE],
        severity=worst,
        changes=sum(extent.change_kinds.values()),
        signals=sum(extent.signals.values()),
        actor=alert.actor,
        addresses=tuple(dict.fromkeys([*addresses_of(alert), *incident.addresses]))[:ADDRESSES],
        extent=extent,
        digests=(*incident.digests, *(digest for digest in digests if digest not in incident.digests)),
    )
    alert = replace(alert, evidence=alert_evidence)
    return replace(verdict, state=replace(verdict.state, incident=incident), alert=alert)
