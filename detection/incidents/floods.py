"""Floods: intervals of time in which all signals of an actor count as alerted in a key, marked or not.

A key with more signals than are marked one by one keeps intervals instead. A flood covers the time from the
first to the last signal that it alerts. Its run has read all of that time and alerts it, so a flood covers no
gap.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from detection.correlation.correlate import Chain
from detection.logs.window import Window, holds
from detection.rules.model import Rule

FLOODS_PER_KEY = 20_000  # 24 bytes each: half of the 1 MiB that the key's head may have
_by_time = attrgetter("time")


class Flood(NamedTuple):
    """Signals of an actor from `begin` to `end` (own time, UTC, both inclusive) count as alerted in a key,
    also those whose rows arrive later. `actor` is the digest of the actor.
    """

    actor: bytes
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


def floods_of(actor: str, chains: Sequence[Chain], windows: Sequence[Window]) -> list[Flood]:
    """The floods that alert these chains of an actor: for each window, the latest first, from the first to
    the last signal in it, if there are any.

    Each signal outside, which an earlier run marked, is a flood of its own. Around these lies time that
    another reading alerts: that of a gap, or of another part of it.
    """
    digest = actor_digest(actor)
    begin = min(chain.signals[0].time for chain in chains)
    end = max(chain.signals[-1].time for chain in chains)
    if any(holds(window, begin) and holds(window, end) for window in windows):
        return [Flood(digest, begin, end)]
    times = sorted({signal.time for chain in chains for signal in chain.signals})
    times_by_window = [[time for time in times if holds(window, time)] for window in reversed(windows)]
    floods = [Flood(digest, inside[0], inside[-1]) for inside in times_by_window if inside]
    alone = [time for time in times if not any(holds(window, time) for window in windows)]
    return [*floods, *(Flood(digest, time, time) for time in alone)]


def merge_floods(floods: Iterable[Flood], limit: int = FLOODS_PER_KEY) -> tuple[Flood, ...]:
    """The floods by actor and time, those that overlap as one.

    Beyond `limit` the floods of an actor that are closest to each other become one, too: a head without an
    end could not be written.
    """
    ordered = sorted(floods)
    merged = _merge_near(ordered, timedelta())
    if len(merged) <= limit:
        return merged
    pauses = sorted(
        later.begin - flood.end for flood, later in pairwise(merged) if later.actor == flood.actor
    )
    return _merge_near(merged, pauses[min(len(merged) - limit, len(pauses)) - 1]) if pauses else merged


def _merge_near(floods: Iterable[Flood], pause: timedelta) -> tuple[Flood, ...]:
    """Merges floods of an actor with at most this pause between them."""
    merged: list[Flood] = []
    for flood in floods:
        previous = merged[-1] if merged else None
        if previous and previous.actor == flood.actor and flood.begin - previous.end <= pause:
            merged[-1] = previous._replace(end=max(previous.end, flood.end))
        else:
            merged.append(flood)
    return tuple(merged)


def after_flood(chains: Sequence[Chain], floods: Sequence[Flood], rule: Rule) -> Sequence[Chain]:
    """The pairs of a key's chains whose signals lie in no flood of the chain's actor."""
    if not floods:
        return chains
    by_actor: dict[bytes, list[Flood]] = {}
    for flood in floods:
        by_actor.setdefault(flood.actor, []).append(flood)
    parts = (_outside(chain, by_actor.get(actor_digest(chain.actor), ()), rule) for chain in chains)
    return [part for part in parts if part.spans]


def _outside(chain: Chain, floods: Sequence[Flood], rule: Rule) -> Chain:
    signals = chain.signals
    for flood in floods:
        start = bisect_left(signals, flood.begin, key=_by_time)
        stop = bisect_right(signals, flood.end, key=_by_time)
        if start < stop:
            signals = [*signals[:start], *signals[stop:]]
    return chain.part(chain.changes, signals, rule.sequence.within)
