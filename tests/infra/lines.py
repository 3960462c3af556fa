"""Lines as the job logs them, for the alarms to be tried on.

They are written out here by hand. This is the one place to change when they are to be the job's real output.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 6, 9, 14, 20, tzinfo=UTC)
RULE = "openai-config-to-abuse"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One log record: when it was written, and its whole message."""

    at: datetime
    message: str


def complete(at: datetime, **changes: object) -> Line:
    """The line of a complete run. `changes` replaces fields, those of a nested object by another mapping."""
    plain: Json = {
        "event": "detection.run",
        "outcome": "complete",
        "rule": RULE,
        "windows": {
            "now": _iso(at),
            "changes": {"after": _iso(at - timedelta(hours=48)), "until": _iso(at)},
            "signals": {"after": _iso(at - timedelta(hours=24)), "until": _iso(at)},
            "gap": None,
        },
        "previous": _iso(at - timedelta(hours=1)),
        "changes": 3,
        "signals": 12,
        "chains": 1,
        "pairs": 9,
        "new_pairs": 9,
        "told_before": 0,
        "held_back": {},
        "health": {
            "changes": {"rows": 84, "named": 77, "newest": _iso(at - timedelta(minutes=50))},
            "signals": {"rows": 1668, "named": 1582, "newest": _iso(at - timedelta(minutes=2))},
        },
        "rejected": {},
        "alerts": ["al_1"],
        "seconds": 4.2,
    }
    return _line(at, _merged(plain, changes))


def failed(at: datetime, **changes: object) -> Line:
    """The line of a failed run."""
    plain: Json = {
        "event": "detection.run",
        "outcome": "failed",
        "rule": RULE,
        "now": _iso(at),
        "error": "service",
        "reason": "the query API did not answer",
        "last_complete": None,
        "seconds": 1.3,
    }
    return _line(at, _merged(plain, changes))


def delivery(at: datetime, created: datetime, due: datetime | None, **changes: object) -> Line:
    """The line of an attempt that failed; given up, if no other is due."""
    plain: Json = {
        "event": "detection.delivery",
        "outcome": "again" if due else "dead",
        "id": "al_1_soc",
        "destination": "soc",
        "incident": "in_1",
        "attempt": 3,
        "status": 500,
        "reason": "HTTP 500",
        "created": _iso(created),
        "due": _iso(due) if due else None,
    }
    return _line(at, _merged(plain, changes))


def hourly(hours: int, until: datetime = NOW) -> list[Line]:
    """The lines of complete runs at five past every hour, the last ones before a moment."""
    last = until.replace(minute=5)
    return [complete(last - timedelta(hours=n)) for n in range(hours)]


def _line(at: datetime, fields: Json) -> Line:
    return Line(at, json.dumps(fields, separators=(",", ":")))


def _merged(plain: Json, changes: Mapping[str, object]) -> Json:
    merged = copy.deepcopy(plain)
    for name, value in changes.items():
        inner = isinstance(value, Mapping) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if inner else value  # type: ignore[arg-type]
    return merged


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
