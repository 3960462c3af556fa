"""The incident table as a run sees it: the watermark, what is marked and alerted for each key, and the
commits.

Every transaction of a key writes the key's head, whose version is the lock: of two runs that decide one key
at the same time, one commits and the other decides again. The watermark is the last write of a run. layout.py
lists the rows.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from hashlib import sha256
from typing import NamedTuple

from detection.base.errors import ConfigurationError, ServiceError
from detection.base.timestamps import iso
from detection.incidents.decide import Verdict
from detection.incidents.incident import Incident
from detection.incidents.key_state import KeyState
from detection.incidents.keys import Grouping, Key
from detection.incidents.marks import Mark
from detection.logs.window import meets
from detection.store.digest_draft import FIRST_DRAFT, DigestDraft, RenderDigest, publish_abandoned_digests
from detection.store.gaps import Gap, GapList
from detection.store.groupings import FIRST_GROUPING, NamedGrouping, groupings_of, name_grouping
from detection.store.key_rows import rows_of_keys
from detection.store.layout import (
    SCHEMA,
    commit_operations,
    head_operation,
    head_row,
    incident_of,
    incident_operations,
    incident_row,
    joined,
    key_digest,
    keyed_incident,
    marks_of,
    newest_incident,
    parse_row,
    sortable,
    split,
    state_of,
    time_of,
    watermark_of,
    whole_from,
)
from detection.store.outbox import Delivery, list_rule, queue
from detection.store.table import (
    MAX_CONFLICTS,
    OPERATIONS,
    PAGE,
    REQUEST_BYTES,
    Conflict,
    ConflictCount,
    Entity,
    Insert,
    Operation,
    Put,
    Replace,
    Table,
    Value,
    size_of,
)

_ENTRY_BYTES = 8 * 2**10  # of an alert in a digest draft, generously


class Commit(NamedTuple):
    """A verdict, and the operations that write it with its messages."""

    verdict: Verdict
    operations: Sequence[Operation]
    size: int  # in a request, in bytes


def fit_together(commits: Sequence[Commit]) -> bool:
    """Whether a transaction can have all of these commits, and a row of a digest draft for them."""
    operations = sum(len(commit.operations) for commit in commits) + 1
    size = sum(commit.size + _ENTRY_BYTES for commit in commits)
    return operations <= OPERATIONS and size <= REQUEST_BYTES


class IncidentStore:
    """The rows of one rule, for one run. Every call may raise ServiceError.

    `token` names the run, and with a number the run's reading of the logs. Every commit carries it, so a
    commit whose answer was lost is recognised.
    """

    page = PAGE  # rows in a request

    def __init__(self, table: Table, rule: str, token: str) -> None:
        self.table = table
        self.rule = rule
        self._token = token
        self._readings = 1
        self._drafts = 0
        self._is_listed = False  # whether the table's list of rules is known to have this rule
        self._watermark_row: Entity | None = None  # as this run has seen it
        self._draft_rows: Sequence[Entity] = ()  # of digests
        self.service_time: datetime | None = None  # the table service's, when the run began; None: no clock
        self.kept_since: datetime | None = None  # marks are whole from here on; None: none were ever purged
        self.groupings: Sequence[NamedGrouping] = ()  # of the marks that were there when the run began
        self.gaps: list[Gap] = []  # the rule's, closed ones too
        self.threshold_until: datetime | None = None  # of the last complete run of the rule with a threshold
        self.has_backlog = False  # the last clean-up did not get to its end
        self.run = 1  # one more than the runs that were complete when this run began

    @property
    def writer(self) -> str:
        """The name of this run's present reading of the logs."""
        return f"{self._token}.{self._readings}"

    @property
    def writers(self) -> set[str]:
        """The names of all readings of this run so far."""
        return {f"{self._token}.{number + 1}" for number in range(self._readings)}

    @property
    def open_gaps(self) -> list[Gap]:
        """The gaps that are neither read nor abandoned, the oldest first."""
        return [gap for gap in self.gaps if gap.is_open]

    @property
    def last_complete(self) -> datetime | None:
        """The watermark as this run has last seen it. None if it has read none."""
        return watermark_of(self._watermark_row) if self._watermark_row else None

    def keeps_marks_of(self, begin: datetime, end: datetime) -> bool:
        """Whether a run or the reading of an open gap can still read events from `begin` to `end` (UTC)."""
        return (
            self.kept_since is None
            or end >= self.kept_since
            or any(meets(gap.marks, begin, end) for gap in self.open_gaps)
        )

    def restart(self) -> str:
        """Names the next reading of the logs, from which later commits come; returns the name."""
        self._readings += 1
        return self.writer

    def watermark(self) -> datetime | None:
        """The watermark (UTC) that the last complete run left, or None before the first: the earlier of its
        frozen `now` and the table service's time when it began.

        Raises ConfigurationError when a newer version of this job wrote the table.
        """
        # One request: the rows of digest drafts and of groupings lie right before the watermark's.
        rows = list(self.table.scan(self.rule, FIRST_DRAFT, "w~"))
        self._draft_rows = [entity for entity in rows if entity.row < FIRST_GROUPING]
        self.groupings = groupings_of(rows)
        self._watermark_row = next((entity for entity in rows if entity.row == "w"), None)
        self.service_time = self.service_time or self.table.date()
        if self._watermark_row is None:
            return None
        values = self._watermark_row.values
        schema, runs = parse_row(
            self._watermark_row, lambda row: (int(row.values["schema"]), int(row.values["runs"]))
        )
        if schema > SCHEMA:
            raise ConfigurationError(
                f"the incident table has schema {schema}, this version knows {SCHEMA}: update the job"
            )
        self._is_listed = self._is_listed or "listed" in values
        self.has_backlog = "backlog" in values
        self.gaps = GapList(self.table, self.rule).gaps() if "gaps" in values else []
        self.run = runs + 1
        self.kept_since, self.threshold_until = (
            time_of(self._watermark_row, name) if name in values else None for name in ("kept", "threshold")
        )
        return watermark_of(self._watermark_row)

    def load(self, keys: Iterable[Key]) -> dict[Key, KeyState]:
        """The states of keys, without the floods that no run can read again.

        Heads are read before marks and incidents: the head's version is the lock of both. If another run
        commits in between, what is read after the head is newer, and the commit of this run is a Conflict.
        """
        keys_by_digest = {key_digest(key): key for key in keys}
        states = {digest: KeyState(key) for digest, key in keys_by_digest.items()}
        newest: dict[str, str] = {}  # the ids of newest incidents, by the key's digest
        for entity in self._rows("h", keys_by_digest):
            digest = entity.row.split("|")[1]
            state = state_of(entity, keys_by_digest[digest])
            floods = tuple(flood for flood in state.floods if self.keeps_marks_of(flood.begin, flood.end))
            states[digest] = replace(state, floods=floods)
            newest[digest] = newest_incident(entity)
        rows = self._rows("i", filter(None, newest.values()))
        incidents = {incident.id: incident for incident in map(incident_of, rows)}
        marks = self._marks(keys_by_digest)
        loaded = {}
        for digest, state in states.items():
            incident = incidents.get(newest.get(digest, ""))
            changes, signals = marks[digest]
            loaded[state.key] = replace(
                state, incident=incident, stored_incident=incident, changes=changes, signals=signals
            )
        return loaded

    def marked(self, keys: Iterable[Key]) -> dict[Key, KeyState]:
        """States that have nothing but the marks of keys. They show that a key has nothing new: marks only
        grow. To commit a key, load it.
        """
        keys_by_digest = {key_digest(key): key for key in keys}
        return {
            keys_by_digest[digest]: KeyState(keys_by_digest[digest], changes=changes, signals=signals)
            for digest, (changes, signals) in self._marks(keys_by_digest).items()
        }

    def _rows(self, kind: str, digests: Iterable[str]) -> Iterator[Entity]:
        return rows_of_keys(partial(self.table.scan, self.rule), kind, digests, self.page)

    def _marks(self, digests: Collection[str]) -> dict[str, tuple[dict[Mark, date], dict[Mark, date]]]:
        """The marks of changes and of signals, by the digest of their key."""
        marks = {digest: (dict[Mark, date](), dict[Mark, date]()) for digest in digests}
        for entity in self._rows("m", digests):
            digest, day, *sides = marks_of(entity)
            for days, side in zip(marks[digest], sides, strict=True):
                days.update(
                    dict.fromkeys(side, day)
                )  # in the order of days, so the latest day of a mark stays
        return marks

    def prepare(self, verdict: Verdict, messages: Iterable[Operation] = ()) -> Commit:
        """The commit of a verdict with its messages."""
        state = replace(verdict.state, writer=self.writer, run=self.run)
        operations = [*commit_operations(verdict, state), *messages]
        return Commit(verdict, operations, sum(map(size_of, operations)))

    def commit(self, commits: Sequence[Commit], draft_rows: Sequence[Operation] = ()) -> None:
        """Commits in one transaction, with the row of a digest draft: all of it or nothing.

        Raises Conflict when a key has changed since it was loaded: load it and decide again.
        """
        self._list_rule()
        operations = [operation for commit in commits for operation in commit.operations]
        try:
            self.table.write(self.rule, [*operations, *draft_rows])
        except Conflict:
            # The transaction may have happened, and only its answer been lost. One commit then shows it for
            # all, also where other runs have committed the other keys since.
            if not any(self._is_committed(commit.verdict.state) for commit in commits):
                raise

    def _is_committed(self, state: KeyState) -> bool:
        """Whether the table has this commit of this run, and only the answer to it was lost."""
        head = self.table.get(self.rule, head_row(state.key))
        stored = state_of(head, state.key) if head else None
        return stored is not None and (stored.writer, stored.commits) == (self.writer, state.commits)

    def name_grouping(self, grouping: Grouping, now: datetime) -> Sequence[NamedGrouping]:
        """Names the grouping of a run at `now`, before its first commit; returns the groupings then."""
        self._list_rule()
        self.groupings = name_grouping(self.table, self.rule, grouping, now, self.groupings)
        return self.groupings

    def update(
        self,
        incident_id: str,
        change: Callable[[Incident], Incident],
        messages: Callable[[Incident, int], Sequence[Delivery]] = lambda *_: (),
        rows: Sequence[Operation] = (),
    ) -> Incident:
        """Changes an incident, with the messages about it and further rows, in one transaction; returns the
        incident. Writes nothing if `change` returns the incident itself.

        Raises Conflict when its key was committed in between, or the incident deleted.
        """
        key, _ = self._incident(incident_id)
        state = self.load([key])[key]  # before the incident is read, for the head is its lock
        _, current = self._incident(incident_id)
        incident = change(current)
        if incident is current:
            return current
        state = replace(state, commits=state.commits + 1, writer=self.writer)
        queued = map(queue, messages(incident, state.commits))
        operations = incident_operations(key, incident, current)
        self.table.write(self.rule, [head_operation(state), *operations, *queued, *rows])
        return incident

    def _incident(self, incident_id: str) -> tuple[Key, Incident]:
        entity = self.table.get(self.rule, incident_row(incident_id))
        if entity is None:
            raise Conflict(f"incident {incident_id} was deleted in between")
        return keyed_incident(entity)

    def new_draft(self, now: datetime) -> DigestDraft:
        """A new digest draft of this run."""
        self._drafts += 1
        token_hash = sha256(self._token.encode()).hexdigest()[:12]
        return DigestDraft(self.table, self.rule, f"{sortable(now)}-{token_hash}-{self._drafts}", now)

    def publish_abandoned_digests(self, before: datetime, render: RenderDigest) -> None:
        """Publishes the digest drafts of runs that began before a moment and died, as far as the watermark's
        reading saw them.
        """
        publish_abandoned_digests(self.table, self.rule, before, render, self._draft_rows)

    def finish(
        self,
        now: datetime,
        record: bytes,
        keep: datetime | None = None,
        gap: Gap | None = None,
        *,
        planned_from: datetime | None = None,
        has_threshold: bool = False,
    ) -> None:
        """The last write of a complete run up to `now`: its record, and the watermark, which only moves
        forward and never beyond the table service's time when the run began.

        `keep` is the moment up to which the run will purge marks. `gap` is what the run could not read.
        `has_threshold` says that the run's rule has one. `planned_from` is the watermark that the windows go
        by. Raises ServiceError if the table has an earlier watermark, which it denied when the run began.
        """
        self._list_rule()
        watermark = min(now, self.service_time or now)
        conflicts = ConflictCount(self._watermark_row)
        while True:
            kept_since = max(
                filter(None, (whole_from(keep) if keep else None, self.kept_since)), default=None
            )
            threshold_until = watermark if has_threshold else self.threshold_until
            values: dict[str, Value] = {
                "now": iso(watermark),
                "runs": self.run,
                "schema": SCHEMA,
                "listed": True,
                **({"kept": iso(kept_since)} if kept_since else {}),
                **({"threshold": iso(threshold_until)} if threshold_until else {}),
                **({"gaps": True} if self.gaps or gap else {}),  # without one, a run need not look for gaps
            }
            operations: list[Operation] = [Put(f"r|{sortable(now)}", split(record))]
            if self._watermark_row is None:
                operations.append(Insert("w", values))
            elif watermark_of(self._watermark_row) < watermark:
                operations.append(Replace("w", values, self._watermark_row.version))
                operations += [gap.operation()] if gap else []
            else:
                gap = None
            try:
                self.table.write(self.rule, operations)
            except Conflict:  # another run finished in between, and recorded the gap: read how far it came
                gap = None
                stored = self.watermark()
                if planned_from and stored and stored < planned_from:
                    raise ServiceError(
                        f"this run counted from {iso(planned_from)}, but the watermark is {iso(stored)}; the "
                        "table service did not return it when the run began. The next run reads from there"
                    ) from None
                if conflicts.is_exceeded(self._watermark_row):
                    raise ServiceError(
                        f"the last write of this run is refused {MAX_CONFLICTS} times, though no other run "
                        f"moves the watermark of {self.rule}: the rows of the table contradict each other"
                    ) from None
            else:
                self.gaps += [gap] if gap else []
                return

    def finish_part(self, gap: Gap, now: datetime, record: bytes) -> None:
        """The last write of a reading of a gap's next part: its record, and the gap as it is now.

        Raises Conflict if the gap was closed in between, and not read as far.
        """
        name = f"r|{sortable(now)}|gap"
        try:
            self.table.write(self.rule, [Put(name, split(record)), gap.operation()])
        except Conflict:  # another run read the same part, or the answer to this write was lost
            stored = next((row for row in GapList(self.table, self.rule).gaps() if row.id == gap.id), gap)
            if stored.read_until is None or gap.read_until is None or stored.read_until < gap.read_until:
                raise
            self.table.write(self.rule, [Put(name, split(record))])

    def note_backlog(self) -> None:
        """Notes in the watermark's row that clean-up has more to do: the next run goes on with it."""
        row = self.table.get(self.rule, "w")
        if row:
            with suppress(Conflict):  # another run finished in between, and notes its own
                self.table.write(self.rule, [Replace("w", {**row.values, "backlog": True}, row.version)])

    def _list_rule(self) -> None:
        """Lists the rule before its first row: its messages must be found when the rule no longer runs."""
        if not self._is_listed:
            list_rule(self.table, self.rule)
            self._is_listed = True

    def note_failure(self, now: datetime, record: bytes) -> None:
        """Writes the record of a failed run."""
        self.table.write(self.rule, [Put(f"r|{sortable(now)}|failed", split(record))])

    def records(self) -> list[bytes]:
        """The records of runs, the oldest first."""
        return [joined(row.values) for row in self.record_rows()]

    def record_rows(self) -> list[Entity]:
        """The rows of the records, the oldest first."""
        return list(self.table.scan(self.rule, "r|", "r}"))
