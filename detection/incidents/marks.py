"""Marks: eight bytes for each event that a grouping key has alerted."""

from collections.abc import Mapping, Sequence
from datetime import date
from hashlib import blake2b
from typing import NamedTuple

from detection.correlation.correlate import Chain
from detection.logs.events import Event

Mark = bytes
Marks = Mapping[Mark, date]  # with the day (UTC) of the event: a mark is deleted with its day
NO_MARKS: Marks = {}


def change_marks(chain: Chain) -> list[Mark]:
    """Eight bytes for each change of a chain of one kind of signal; two of a million are equal with a chance
    of 3 in 10^8.

    The kind is part of it under every setting: so "both marked" means "was alerted", and thresholds can be
    edited.
    """
    return _digests(chain.changes, chain.actor, chain.kind)


def signal_marks(chain: Chain) -> list[Mark]:
    """Eight bytes for each signal of a chain and the actor that it belongs to: matching may find another
    actor for it later.
    """
    return _digests(chain.signals, chain.actor)


def _digests(events: Sequence[Event], *names: str) -> list[Mark]:
    """A digest for each event: of the names with their lengths, and of its id.

    The names are hashed once: a hostile name may be as long as a field of the logs.
    """
    named = blake2b(digest_size=8)
    for name in names:
        named.update(f"{len(name)}\0{name}".encode(errors="replace"))
    marks: list[Mark] = []
    for event in events:
        digest = named.copy()
        digest.update(event.id.encode(errors="replace"))
        marks.append(digest.digest())
    return marks


class MarkedChain(NamedTuple):
    """A chain of one kind, with a mark for each of its changes and signals: they are made once for a
    decision.
    """

    chain: Chain
    change_marks: Sequence[Mark]
    signal_marks: Sequence[Mark]


def with_marks(chain: Chain) -> MarkedChain:
    """A chain of one kind with its marks."""
    return MarkedChain(chain, change_marks(chain), signal_marks(chain))
