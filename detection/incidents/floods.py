"""Floods: intervals of time in which all signals of an actor count as alerted in a key, marked or not.

A key with more signals than are marked one by one keeps intervals instead. A flood covers the time from the
first to the last signal that it alerts. Its run has read all of that time and alerts it, so a flood covers no
gap. Marked signals in a gap alert too, with changes that were new: each is a flood of its own, over the time
of these changes.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from detection.correlation.correlate import Chain
from detection.incidents.marks import signal_marks
from detection.logs.events import Event
from detection.logs.window import Window, holds
from detection.rules.model import Rule

FLOODS_PER_KEY = 20_000  # 24 bytes each: half of the 1 MiB that the key's head may have
SIGNALS_PER_KEY = FLOODS_PER_KEY // 2  # the part of these that are of a signal: they cannot be merged
_by_time = attrgetter("time")


class Flood(NamedTuple):
    """Pairs of a key that count as alerted, also those whose rows arrive later: of an actor with signals from
    `begin` to `end` (own time, UTC, both inclusive), or of a signal with changes from `begin` to `end`.

    `subject` is the digest of the actor, or the mark of the signal.
    """

    subject: bytes
    begin: datetime
    end: datetime


def actor_digest(actor: str) -> bytes:
    """Eight bytes for an actor: names are hostile text of any length, and a head has little space."""
    return blake2b(actor.encode(errors="replace"), digest_size=8).digest()


def chains_by_actor(chains: Iterable[Chain]) -> dict[str, list[Chain]]:
    """The chains by actor, in their order."""
    actors: dict[str, list[Chain]] = {}
    for chain in chains:
        actors.setdefault(chain.actor, []).append(chain)
    return actors


def floods_of(
    actor: str, chains: Sequence[Chain], windows: Sequence[Window], limit: int = SIGNALS_PER_KEY
) -> list[Flood]:
    """The floods that alert these chains of an actor: for each window, the latest first, from the first to
    the last signal in it, if there are any.

    Each signal outside, which an earlier run marked, is a flood of its own. Another reading, of a gap or of
    another part of it, alerts the unmarked signals around it, and its pairs with changes that only that one
    reads. More than `limit` such signals are floods of the actor, each of its moment.
    """
    digest = actor_digest(actor)
    begin = min(chain.signals[0].time for chain in chains)
    end = max(chain.signals[-1].time for chain in chains)
    if any(holds(window, begin) and holds(window, end) for window in windows):
        return [Flood(digest, begin, end)]
    times = sorted({signal.time for chain in chains for signal in chain.signals})
    times_by_window = [[time for time in times if holds(window, time)] for window in reversed(windows)]
    floods = [Flood(digest, inside[0], inside[-1]) for inside in times_by_window if inside]
    outside = {time for time in times if not any(holds(window, time) for window in windows)}
    if not outside:
        return floods
    signals = {flood for chain in chains for flood in _floods_of_signals(chain, outside)}
    if len(signals) > limit:
        return [*floods, *(Flood(digest, time, time) for time in sorted(outside))]
    return [*floods, *sorted(signals)]


def _floods_of_signals(chain: Chain, times: Collection[datetime]) -> Iterator[Flood]:
    """A flood for each signal at these times, from the first to the last change that reaches it."""
    for position, (signal, mark) in enumerate(zip(chain.signals, signal_marks(chain), strict=True)):
        if signal.time in times:
            start = bisect_right(chain.spans, position, key=attrgetter("stop"))
            stop = bisect_right(chain.spans, position, key=attrgetter("start"))
            yield Flood(mark, chain.changes[start].time, chain.changes[stop - 1].time)


def merge_floods(floods: Iterable[Flood], limit: int = FLOODS_PER_KEY) -> tuple[Flood, ...]:
    """The floods by subject and time, those that overlap as one.

    Beyond `limit` the floods of a subject that are closest to each other become one, too: a head without an
    end could not be written.
    """
    ordered = sorted(floods)
    merged = _merge_near(ordered, timedelta())
    if len(merged) <= limit:
        return merged
    pauses = sorted(
        later.begin - flood.end for flood, later in pairwise(merged) if later.subject == flood.subject
    )
    return _merge_near(merged, pauses[min(len(merged) - limit, len(pauses)) - 1]) if pauses else merged


def _merge_near(floods: Iterable[Flood], pause: timedelta) -> tuple[Flood, ...]:
    """Merges floods of a subject with at most this pause between them."""
    merged: list[Flood] = []
    for flood in floods:
        previous = merged[-1] if merged else None
        if previous and previous.subject == flood.subject and flood.begin - previous.end <= pause:
            merged[-1] = previous._replace(end=max(previous.end, flood.end))
        else:
            merged.append(flood)
    return tuple(merged)


def after_flood(chains: Sequence[Chain], floods: Sequence[Flood], rule: Rule) -> Sequence[Chain]:
    """The pairs of a key's chains that no flood covers."""
    if not floods:
        return chains
    by_subject: dict[bytes, list[Flood]] = {}
    for flood in floods:
        by_subject.setdefault(flood.subject, []).append(flood)
    parts = (part for chain in chains for part in _outside(chain, by_subject, rule))
    return [part for part in parts if part.spans]


def _outside(chain: Chain, floods: Mapping[bytes, Sequence[Flood]], rule: Rule) -> Iterator[Chain]:
    """The pairs that no flood covers: those of a signal with a flood of its own are a chain of their own."""
    within = rule.sequence.within
    of_actor = floods.get(actor_digest(chain.actor), ())
    chain = chain.part(chain.changes, _events_outside(chain.signals, of_actor), within)
    signals: list[Event] = []
    for signal, mark in zip(chain.signals, signal_marks(chain), strict=True):
        if of_signal := floods.get(mark):
            yield chain.part(_events_outside(chain.changes, of_signal), [signal], within)
        else:
            signals.append(signal)
    yield chain.part(chain.changes, signals, within)


def _events_outside(events: Sequence[Event], floods: Iterable[Flood]) -> Sequence[Event]:
    for flood in floods:
        start = bisect_left(events, flood.begin, key=_by_time)
        stop = bisect_right(events, flood.end, key=_by_time)
        if start < stop:
            events = [*events[:start], *events[stop:]]
    return events
