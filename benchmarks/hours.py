"""Whole runs of the job on real parts: clients, the query API's double, Azurite, a webhook. Every run is a
cold start.

Each hour has its own tenant. A run one hour earlier processes the day before it.
"""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from uuid import UUID

from benchmarks.answers import RULE
from benchmarks.figures import FigureTable
from benchmarks.processes import Measurement, MeasurementFailed, measure
from benchmarks.size import Size
from detection.base.timestamps import iso
from tests.support import azurite
from tests.support.query_api import QueryApi, query_api, tables_of
from tests.support.receiver import receiving

NOW = datetime(2026, 6, 9, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SERVICES = ("query API", "table", "webhook")
BACKGROUND = 2_000  # signals of the day before, from actors without a change


@dataclass(frozen=True, slots=True)
class Hour:
    """The events of an hour: actors, the changes of each, and then the signals of each."""

    name: str
    actors: int
    changes: int
    signals: int


HOURS = (
    Hour("quiet", 0, 0, 0),
    Hour("100 pairs", 1, 1, 100),
    Hour("100,000 pairs", 10, 10, 1_000),
    Hour("500 actors", 500, 1, 4),
)


def hours(size: Size) -> list[Hour]:
    """The hours within the size."""
    return [hour for hour in HOURS if hour.actors * (hour.changes + hour.signals) <= size.max_rows]


def tables(size: Size) -> dict[str, FigureTable]:
    """A whole run over each hour."""
    rows = []
    for hour in hours(size):
        process = run(hour, size)
        record, requests = process.result, process.result["requests"]
        counts = (record["new_pairs"], record["alerts"])
        times = (f"{process.wall:.1f}", f"{process.cpu:.1f}", f"{process.peak:.0f}")
        request_counts = (requests.get(name, 0) for name in SERVICES)
        rows.append([hour.name, *map(_count_text, counts), *times, *map(_count_text, request_counts)])
    columns = ("hour", "pairs", "alerts", "wall s", "CPU s", "peak MiB", *SERVICES)
    return {"hours": FigureTable("one whole run, cold start included; requests per service", columns, rows)}


def _count_text(count: int) -> str:
    return f"{count:,}"


@cache  # `cost` uses the same runs
def run(hour: Hour, size: Size) -> Measurement:
    """The run over an hour. A run one hour earlier goes first, except at toy size."""
    with tempfile.TemporaryDirectory() as name, azurite.running() as port, receiving() as receiver:
        folder = write(hour, Path(name))
        with tables_of(folder, RULE.tables) as tables, query_api(tables) as api:
            settings = {
                "LOG_ANALYTICS_WORKSPACE_ID": str(UUID(int=1)),
                "LOG_ANALYTICS_ENDPOINT": api.endpoint,
                "INCIDENT_STORAGE": azurite.connection_string(port),
                "WEBHOOK_URL": receiver.url,
            }
            ports = [str(port), api.endpoint.rpartition(":")[2], str(receiver.server_port)]
            if not size.toy:
                _run_at(NOW - HOUR, api, ports, settings)
            process = _run_at(NOW, api, ports, settings)
    if not process.result["coverage"]:
        raise MeasurementFailed(f"{hour.name}: the run has no coverage")
    return process


def _run_at(moment: datetime, api: QueryApi, ports: list[str], settings: dict[str, str]) -> Measurement:
    api.moment = moment
    return measure(["-m", "benchmarks.hours", iso(moment), *ports], settings)


# -------------------------------------------------------------------------------------------------------------- logs


def write(hour: Hour, folder: Path) -> Path:
    """Writes the logs of a tenant: a day of background, and the events of the hour at its end."""
    actors = [f"user{number}@example.com" for number in range(hour.actors)]
    begin, second = NOW - HOUR + timedelta(minutes=1), timedelta(seconds=1)
    changes = [
        _change(actor, begin + number * second, f"{actor} {number}")
        for actor in actors
        for number in range(hour.changes)
    ]
    signals = [
        _signal(actor, begin + timedelta(minutes=5) + number * second, f"{actor} {number}")
        for actor in actors
        for number in range(hour.signals)
    ]
    minute = timedelta(minutes=1)
    signals += [
        _signal(f"other{number % 50}@example.com", NOW - HOUR - number % 1_300 * minute, f"other {number}")
        for number in range(BACKGROUND)
    ]
    changes += [
        _change("admin@example.com", NOW - (number + 2) * HOUR, f"admin {number}") for number in range(20)
    ]
    _lines(folder / "OpenAIAuditLogs_CL.jsonl", changes)
    _lines(folder / "ASimAgentEventLogs.jsonl", signals)
    return folder


def _lines(path: Path, rows: Sequence[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _change(actor: str, time: datetime, ident: str) -> dict[str, object]:
    session = {"user": {"email": actor}, "ip_address": "203.0.113.9"}
    return {
        "TimeGenerated": iso(time),
        "_ingested": iso(time),
        "Id": f"audit_log-{ident}",
        "EventType": "api_key.created",
        "ActorSession": session,
    }


def _signal(actor: str, time: datetime, ident: str) -> dict[str, object]:
    return {
        "TimeGenerated": iso(time),
        "_ingested": iso(time),
        "EventVendor": "OpenAI",
        "EventProduct": "OpenAI API Platform",
        "EventType": "ChatCompletion",
        "EventUid": f"chatcmpl-{ident}",
        "EventRequestId": f"req_{ident}",
        "ModelName": "gpt-4o-2024-08-06",
        "EventFinishReasons": ["content_filter"],
        "AdditionalFields": {"input_user": actor},
    }


# --------------------------------------------------------------------------------------------------------------- job


def main() -> None:
    """Starts the app as the host does, makes one run, and prints its record and requests to each service."""
    import os
    import time

    import requests
    from pydantic_core import to_json

    import function_app  # noqa: F401  # what the host loads
    from detection.app import start
    from detection.base.json_types import json_values

    moment, ports = (
        datetime.fromisoformat(sys.argv[1]),
        dict(zip(sys.argv[2:], ("table", "query API", "webhook"), strict=True)),
    )
    request_counts = Counter[str]()
    send = requests.Session.send

    def counting(
        self: requests.Session, request: requests.PreparedRequest, **options: object
    ) -> requests.Response:
        request_counts[ports[str(request.url).split("/")[2].rpartition(":")[2]]] += 1
        return send(self, request, **options)  # type: ignore[arg-type]

    requests.Session.send = counting  # type: ignore[method-assign]
    began = time.monotonic()
    job = start(os.environ, lambda: moment + timedelta(seconds=time.monotonic() - began))
    (record,) = job.detect(moment)
    print(to_json({**json_values(record), "requests": request_counts}).decode())


if __name__ == "__main__":
    main()
