"""What happens in every scenario of the chaos tests: six hours, five people, and the pairs that must be told.

The rows arrive up to three hours late, out of order, now and then twice. What must be told is a nested loop over
the events by their own time, and knows nothing of windows, runs or memory.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.raw_logs import audit, completion, write

FIRST = datetime(2026, 6, 9, 10, 5, tzinfo=UTC)  # of the hourly runs
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
WITHIN = timedelta(hours=24)

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Happening:
    """An event: when it happened, and when its row, or rows, arrived."""

    id: str
    actor: str
    at: datetime
    arrived: tuple[datetime, ...]


def _at(ident: str, actor: str, hours: float, *late: timedelta) -> Happening:
    at = FIRST + timedelta(seconds=round(hours * 3600))
    return Happening(ident, f"{actor}@example.com", at, tuple(at + one for one in late or (MINUTE,)))


CHANGES = (
    _at("audit_alice_1", "alice", -20.5),
    _at("audit_alice_2", "alice", 1.5, MINUTE, 2 * HOUR),  # delivered twice
    _at("audit_bob_1", "bob", 1.2, 90 * MINUTE),  # after the signals that follow it
    _at("audit_carol_1", "carol", 1.4),
    _at("audit_dave_1", "dave", 2.0),
    _at("audit_erin_1", "erin", -1.0, 3 * HOUR),
    _at("audit_erin_2", "erin", 2.2),
    _at("audit_frank_1", "frank", 0.5),  # nothing follows
)
SIGNALS = (
    _at("chatcmpl-alice_1", "alice", -10.0),
    _at("chatcmpl-alice_2", "alice", 0.5),
    _at(
        "chatcmpl-alice_3", "alice", 3.0, MINUTE, 61 * MINUTE
    ),  # 23.5 h after the first change, delivered twice
    _at("chatcmpl-alice_4", "alice", 3.6),  # more than 24 h after it, but after the second
    _at("chatcmpl-bob_1", "bob", 1.3),
    _at("chatcmpl-bob_2", "bob", 1.1),  # before the change
    _at("chatcmpl-bob_3", "bob", 1.8, 100 * MINUTE),
    *(_at(f"chatcmpl-carol_{number:02}", "carol", 1.45 + number / 50) for number in range(12)),
    _at("chatcmpl-dave_1", "dave", 2.0),  # in the same second
    _at("chatcmpl-erin_1", "erin", 0.2),
    _at("chatcmpl-erin_2", "erin", 2.5, 2 * HOUR),
    _at("chatcmpl-grace_1", "grace", 1.0),  # nothing came before
)


def expected() -> dict[Pair, str]:
    """The pairs that must be told, each with its actor."""
    return {
        (change.id, signal.id): change.actor
        for change in CHANGES
        for signal in SIGNALS
        if change.actor == signal.actor and change.at <= signal.at <= change.at + WITHIN
    }


def write_logs(folder: Path) -> None:
    """The rows as the workspace holds them."""
    write(
        folder,
        [audit(one.id, one.actor, one.at, arrived=then) for one in CHANGES for then in one.arrived],
        [completion(one.id, one.actor, one.at, arrived=then) for one in SIGNALS for then in one.arrived],
    )
