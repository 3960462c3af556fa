"""What is new is told: judged key by key, and committed key by key with the messages that tell it.

More alerts than anybody can read one by one are told together: each commit then leaves a share in a batch
instead of its messages, and one digest for each destination is made of the batch.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from detection.correlate import Chain
from detection.incidents.batch import Batch, RenderDigest
from detection.incidents.evidence import evidence
from detection.incidents.flood import FLOOD, after_flood, flooded, is_flood
from detection.incidents.grouping import EVENTS_PER_PART, Memory, Sift, Verdict, group
from detection.incidents.index import Index
from detection.incidents.keys import Key, by_key, grouping_of
from detection.incidents.outbox import Delivery, queue
from detection.incidents.regrouped import Regrouped
from detection.incidents.severity import Changes, by_actor, weighed
from detection.incidents.silencing import sifted
from detection.incidents.table import Conflict, Operation
from detection.matches import Matches
from detection.messages.share import share
from detection.messages.text import title
from detection.rule import SEVERITIES, Rule
from detection.silences import Silence
from detection.window import MAX_CATCH_UP

# Writes the messages of a verdict, one for each destination.
Render = Callable[[Verdict, Matches], Sequence[Delivery]]

# Longer than a run can take and clocks can differ: a key judged longer ago was judged before this run read.
LONGEST_RUN = timedelta(minutes=15)
TITLE = 500  # characters of an incident's


def _no_messages(*_told: object) -> Sequence[Delivery]:
    return ()


@dataclass(frozen=True, slots=True)
class Terms:
    """What the settings say of a run: how messages are written, how late rows may be, how far it catches up.

    More than `storm` alerts in a run are told in one digest; None: never. A part of a key marks at most `part`
    events, and a key keeps at most `flood` marks of signals. `clock` says how long a run took.
    """

    render: Render = _no_messages
    digest: RenderDigest = _no_messages
    storm: int | None = None
    lateness: timedelta | None = None
    max_catch_up: timedelta = MAX_CATCH_UP
    retention: timedelta = timedelta(days=90)
    part: int = EVENTS_PER_PART
    flood: int = FLOOD
    clock: Callable[[], datetime] | None = None


class Overtaken(Exception):
    """Another run has judged a key since this one read the logs; `by` is the memory that it left.

    It may have marked events which this run has not seen: their pairs with what this run would mark
    would never be told. What it saw, a new reading up to its moment sees too.
    """

    def __init__(self, by: Memory) -> None:
        super().__init__(by.writer)
        self.by = by


@dataclass(slots=True)
class Teller:
    """Tells for one run, and says what it told. `known` are the writers whose commits the run has read behind."""

    index: Index
    terms: Terms
    known: set[str] = field(default_factory=set)
    told: list[Verdict] = field(default_factory=list)
    silenced: Counter[str] = field(default_factory=Counter)
    batch: Batch | None = None
    former: Regrouped | None = None
    silences: Sequence[Silence] | None = None

    def __post_init__(self) -> None:
        self.known.add(self.index.writer)

    def tell(self, found: Matches) -> None:
        """Commits all that is new in a reading. Raises Overtaken."""
        read = by_actor(found.logs.changes.inside)
        judges = {
            key: partial(self._judge, key, chains, found, read)
            for key, chains in by_key(found.chains, found.rule).items()
        }
        new = {key: verdict for key, judge in judges.items() if (verdict := judge())}
        alerts = len(self.told) + sum(1 for verdict in new.values() if verdict.alert or verdict.more)
        if self.terms.storm is not None and alerts > self.terms.storm:
            self.batch = self.batch or self.index.batch(found.windows.now)
        for key, verdict in new.items():
            self._commit(verdict, judges[key], found)

    def close(self) -> None:
        """The last step: what is told together goes into the outbox."""
        if self.batch:
            self.batch.seal(self.terms.digest)

    def _judge(self, key: Key, chains: Sequence[Chain], found: Matches, read: Changes) -> Verdict | None:
        memory, sift = self.index.recall(key), self._sift(found)
        chains = after_flood(chains, memory.flood, found.rule)
        if found.logs.piece or is_flood(chains, memory, self.terms.flood):
            verdict = flooded(chains, memory, found.rule, found.windows, sift)
        else:
            verdict = group(chains, memory, found.rule, found.windows, self.terms.part, sift)
        if verdict and memory.writer not in self.known and self._may_have_seen_more(memory, found):
            raise Overtaken(memory)
        return weighed(verdict, found.rule, read) if verdict else None

    def _sift(self, found: Matches) -> Sift:
        """Of new pairs, what was told before the rule's grouping was edited is left out; then what somebody silenced."""
        rule, regrouped, silences = found.rule, self._regrouped(found.rule), self._silences(found)

        def sift(chains: Iterable[Chain]) -> tuple[list[Chain], Mapping[str, int]]:
            untold = (part for one in chains for part in regrouped.untold(one)) if regrouped else chains
            return sifted(untold, silences, rule)

        return sift

    def _regrouped(self, rule: Rule) -> Regrouped | None:
        former = self.index.grouping
        if former is None or former == grouping_of(rule):
            return None
        self.former = self.former or Regrouped(self.index.recall, former, rule)
        return self.former

    def _silences(self, found: Matches) -> Sequence[Silence]:
        """What pages nobody at this moment; read once, and only where there is something to judge."""
        if self.silences is None:
            self.silences = [*found.rule.exclusions, *self.index.silences()]
        return [one for one in self.silences if one.holds_at(found.windows.now)]

    def _commit(self, new: Verdict, judge: Callable[[], Verdict | None], found: Matches) -> None:
        """Commits what is new for a key, part by part; where another run came before it, judges again."""
        verdict: Verdict | None = new
        while verdict:
            verdict = _for_the_page(verdict, found)
            try:
                self.index.commit(verdict, self._telling(verdict, found))
            except Conflict:
                self._renew(found)
                verdict = judge()
                continue
            self.silenced.update(verdict.silenced)
            if verdict.alert:
                self._took(verdict if found.whole else verdict.without_events())
            verdict = judge() if verdict.more else None

    def _took(self, verdict: Verdict) -> None:
        self.told.append(verdict)
        if self.batch:
            self.batch.took()

    def _telling(self, verdict: Verdict, found: Matches) -> list[Operation]:
        """What tells a verdict, as it is committed with it; nothing for one without an alert."""
        if verdict.alert is None:
            return []
        if self.batch:
            return [self.batch.operation(share(verdict.alert, found.rule))]
        return [queue(delivery) for delivery in self.terms.render(verdict, found)]

    def _renew(self, found: Matches) -> None:
        """Another run, which took this one for dead, may have told its batch so far."""
        if self.batch and self.batch.is_sealed():
            self.batch = self.index.batch(found.windows.now)

    def _may_have_seen_more(self, memory: Memory, found: Matches) -> bool:
        """Whether the key's last writer may have read the logs after this run did: it began when no more runs
        were complete, or, by a clock, it could still have been at work when this one began.
        """
        late = memory.judged is not None and memory.judged > found.windows.now - LONGEST_RUN
        return memory.run >= self.index.run or late


def _for_the_page(verdict: Verdict, found: Matches) -> Verdict:
    """The verdict, its alert with evidence, its incident with a title and as severe as its worst alert."""
    alert, incident, rule = verdict.alert, verdict.memory.incident, found.rule
    if alert is None or incident is None:
        return verdict
    worst = max(alert.severity, incident.severity or alert.severity, key=SEVERITIES.index)
    incident = replace(incident, title=title(alert, rule)[:TITLE], severity=worst)
    alert = replace(alert, evidence=evidence(verdict.told, rule, found.windows))
    return replace(verdict, memory=replace(verdict.memory, incident=incident), alert=alert)
