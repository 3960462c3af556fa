"""What happens in every scenario of the chaos tests: six hours, five people, and the pairs that must be told.

The rows arrive up to three hours late, out of order, now and then twice. What must be told is a nested loop over
the events by their own time, and knows nothing of windows, runs or memory.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.raw_logs import audit, completion, write

FIRST_RUN = datetime(2026, 6, 9, 10, 5, tzinfo=UTC)  # of the hourly runs
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
WITHIN = timedelta(hours=24)

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event: when it happened, and when its row, or rows, arrived."""

    id: str
    actor: str
    time: datetime
    arrival_times: tuple[datetime, ...]


def _event(ident: str, actor: str, hours: float, *delays: timedelta) -> LoggedEvent:
    time = FIRST_RUN + timedelta(seconds=round(hours * 3600))
    return LoggedEvent(
        ident, f"{actor}@example.com", time, tuple(time + delay for delay in delays or (MINUTE,))
    )


CHANGES = (
    _event("audit_alice_1", "alice", -20.5),
    _event("audit_alice_2", "alice", 1.5, MINUTE, 2 * HOUR),  # delivered twice
    _event("audit_bob_1", "bob", 1.2, 90 * MINUTE),  # after the signals that follow it
    _event("audit_carol_1", "carol", 1.4),
    _event("audit_dave_1", "dave", 2.0),
    _event("audit_erin_1", "erin", -1.0, 3 * HOUR),
    _event("audit_erin_2", "erin", 2.2),
    _event("audit_frank_1", "frank", 0.5),  # nothing follows
)
SIGNALS = (
    _event("chatcmpl-alice_1", "alice", -10.0),
    _event("chatcmpl-alice_2", "alice", 0.5),
    _event(
        "chatcmpl-alice_3", "alice", 3.0, MINUTE, 61 * MINUTE
    ),  # 23.5 h after the first change, delivered twice
    _event("chatcmpl-alice_4", "alice", 3.6),  # more than 24 h after it, but after the second
    _event("chatcmpl-bob_1", "bob", 1.3),
    _event("chatcmpl-bob_2", "bob", 1.1),  # before the change
    _event("chatcmpl-bob_3", "bob", 1.8, 100 * MINUTE),
    *(_event(f"chatcmpl-carol_{number:02}", "carol", 1.45 + number / 50) for number in range(12)),
    _event("chatcmpl-dave_1", "dave", 2.0),  # in the same second
    _event("chatcmpl-erin_1", "erin", 0.2),
    _event("chatcmpl-erin_2", "erin", 2.5, 2 * HOUR),
    _event("chatcmpl-grace_1", "grace", 1.0),  # nothing came before
)


def expected() -> dict[Pair, str]:
    """The pairs that must be told, each with its actor."""
    return {
        (change.id, signal.id): change.actor
        for change in CHANGES
        for signal in SIGNALS
        if change.actor == signal.actor and change.time <= signal.time <= change.time + WITHIN
    }


def write_logs(folder: Path) -> None:
    """The rows as the workspace holds them."""
    write(
        folder,
        [
            audit(change.id, change.actor, change.time, arrived=arrival)
            for change in CHANGES
            for arrival in change.arrival_times
        ],
        [
            completion(signal.id, signal.actor, signal.time, arrived=arrival)
            for signal in SIGNALS
            for arrival in signal.arrival_times
        ],
    )
