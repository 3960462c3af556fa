"""The cases of scale.py: the rows of a table, and the work that a process does over them.

Two processes make a measurement. `serve` makes the rows by simulated runs in memory, then serves them with the
latency of table_double.py. `work` does the work through the real client, and prints its seconds and result.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from benchmarks.processes import MeasurementFailed
from benchmarks.table_double import SortedTable, serve
from benchmarks.volume import HOUR, NOW, WEBHOOKS, RowSource, many_actors
from detection.app import DRAIN_FOR, Job
from detection.base.errors import ConfigurationError
from detection.delivery.deliver import Destination, deliver
from detection.delivery.rendering import digest_renderer, message_renderer
from detection.delivery.webhook import WebhookDestination
from detection.desk import Desk
from detection.logs.window import Window
from detection.runs.commit import RunOptions
from detection.runs.record import RunRecord
from detection.runs.run import run
from detection.settings import Settings, settings_from
from detection.store.azure_table import open_table
from detection.store.gaps import Gap
from detection.store.incident_store import IncidentStore
from detection.store.outbox import table_outbox
from detection.store.table import Table
from detection.web.exchange import make_request
from detection.web.respond import respond
from tests.support.azurite import connection_string
from tests.support.builders import RULE

DAY = timedelta(days=1)
SERVICE_TIME = NOW + DAY  # the clock of the table stands still after every run
IN_VIEW = 1_000  # actors in view next to the keys out of view
DAILY = 20  # actors with an alert each day
ACTORS_OF_RUN = 2_000  # most new actors of a simulated run
STORM_ALERTS = 20
EMPTY = RowSource([], [])


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The ports of the double, and the id of an incident in its table."""

    table: int
    receiver: int
    incident: str


@dataclass(frozen=True, slots=True)
class Case:
    """`prepare` writes the rows for an amount, and returns the id of an incident. `work` is measured; it returns
    its result in words, and raises MeasurementFailed if the result is wrong.
    """

    prepare: Callable[[Table, int], str]
    work: Callable[[Table, int, Endpoint], str]


# ------------------------------------------------------------------------------------------------------------ the rows


def simulate(table: Table, source: RowSource, now: timedelta, *, messages: bool = False) -> str:
    """One run at NOW plus `now`, in memory. Returns the id of an incident that it alerted, if there is one."""
    options = RunOptions(message_renderer(WEBHOOKS)) if messages else RunOptions()
    store = IncidentStore(table, RULE.folder, f"run at {now}")
    _, verdicts = run(RULE, NOW + now, source, store, options)
    alerts = [verdict.alert for verdict in verdicts if verdict.alert]
    return alerts[len(alerts) // 2].incident if alerts else ""


def history(table: Table, actors: int, until: timedelta) -> str:
    """Runs with new actors, an hour apart, the last at NOW plus `until`. Returns the id of an old incident."""
    runs = -(-actors // ACTORS_OF_RUN)
    incidents = []
    for number in range(runs):
        now = until - (runs - 1 - number) * HOUR
        new_actors = min(ACTORS_OF_RUN, actors - number * ACTORS_OF_RUN)
        incidents.append(simulate(table, many_actors(new_actors, NOW + now, prefix=f"new-{number}"), now))
    return incidents[0]


def _actors_in_view(table: Table, amount: int) -> str:
    return simulate(table, many_actors(amount), -HOUR)


def _quiet(table: Table, _: int) -> str:
    return simulate(table, EMPTY, -HOUR)


def _out_of_view(table: Table, amount: int) -> str:
    """Keys with an alert of ten days ago, whose marks clean-up has removed since, and actors in view."""
    history(table, amount, -10 * DAY)
    for half_days in range(19, 0, -1):
        simulate(table, EMPTY, -half_days * DAY / 2)
    return _actors_in_view(table, min(IN_VIEW, amount))


def _incidents(table: Table, amount: int) -> str:
    return history(table, amount, -HOUR)


def _messages(table: Table, amount: int) -> str:
    return simulate(table, many_actors(amount), -HOUR, messages=True)


def _days(table: Table, amount: int) -> str:
    """The same actors alert each day, and an open gap keeps the marks of all days."""
    begin = -amount * DAY - HOUR
    simulate(table, EMPTY, begin)
    hour_before = Window(NOW + begin - 2 * HOUR, NOW + begin - HOUR)
    gap = Gap(hour_before.after, hour_before.until or NOW, Window(hour_before.after, NOW + DAY), NOW + begin)
    store = IncidentStore(table, RULE.folder, "gap")
    store.watermark()
    store.finish(NOW + begin + HOUR / 2, b"{}", gap=gap)
    for days in range(amount - 1, -1, -1):
        simulate(table, many_actors(DAILY, NOW - days * DAY), -days * DAY - HOUR)
    return ""


# ------------------------------------------------------------------------------------------------------------ the work


def _settings(receiver: int) -> Settings:
    return settings_from({"WEBHOOK_URL": f"http://127.0.0.1:{receiver}/hook"})


def _run(table: Table, source: RowSource, alerts: int) -> str:
    """A run at NOW that must raise so many alerts."""
    options = RunOptions(message_renderer(WEBHOOKS), digest_renderer(WEBHOOKS, RULE), STORM_ALERTS)
    record: RunRecord = run(RULE, NOW, source, IncidentStore(table, RULE.folder, "measured run"), options)[0]
    if record.alerts != alerts:
        raise MeasurementFailed(f"the run raised {record.alerts} alerts and not {alerts}")
    return f"{alerts:,} alerts"


def _run_over_known(table: Table, amount: int, _: Endpoint) -> str:
    return _run(table, many_actors(amount), 0)


def _run_over_new(table: Table, amount: int, _: Endpoint) -> str:
    return _run(table, many_actors(amount), amount)


def _run_in_view(table: Table, amount: int, _: Endpoint) -> str:
    return _run(table, many_actors(min(IN_VIEW, amount)), 0)


def _run_of_day(table: Table, _amount: int, _: Endpoint) -> str:
    return _run(table, many_actors(DAILY), 0)


def _quiet_hour(table: Table, amount: int, endpoint: Endpoint) -> str:
    """A run without logs, and the look into the outbox after it."""
    result = _run(table, EMPTY, 0)
    return f"{result}, {_deliver(table, amount, endpoint)}"


def _deliver(table: Table, _: int, endpoint: Endpoint) -> str:
    began = time.monotonic()
    destinations: dict[str, Destination] = {
        webhook.name: WebhookDestination(webhook) for webhook in _settings(endpoint.receiver).destinations
    }
    attempts = deliver(
        table_outbox(table, [RULE.folder]),
        destinations,
        lambda: NOW + timedelta(seconds=time.monotonic() - began),
        time.sleep,
        DRAIN_FOR,
        lambda _: None,
    )
    return f"{sum(attempt.outcome.sent for attempt in attempts):,} sent"


def _list_page(table: Table, _: int, endpoint: Endpoint) -> str:
    job = Job(_settings(endpoint.receiver), [RULE], table, lambda: NOW)
    headers = {"accept": "text/html"}
    response = respond(
        make_request("GET", "https://app.example/api/incidents", headers, b"", "key"), job, NOW
    )
    if response.status != 200:
        raise MeasurementFailed(f"the list responded with {response.status}")
    return f"{len(response.body) / 1000:.0f} kB of HTML"


def _incident(table: Table, _: int, endpoint: Endpoint) -> str:
    detail = Desk([RULE], table, (), lambda: NOW).incident(endpoint.incident)
    return f"{len(detail.alerts)} alert"


def _unknown_incident(table: Table, _: int, endpoint: Endpoint) -> str:
    unknown = endpoint.incident.translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
    try:
        Desk([RULE], table, (), lambda: NOW).incident(unknown)
    except ConfigurationError:
        return "no incident"
    raise MeasurementFailed(f"there is an incident {unknown}")


CASES: Mapping[str, Case] = {
    "known": Case(_actors_in_view, _run_over_known),
    "new": Case(_quiet, _run_over_new),
    "out-of-view": Case(_out_of_view, _run_in_view),
    "quiet": Case(_quiet, _quiet_hour),
    "list": Case(_incidents, _list_page),
    "id": Case(_incidents, _incident),
    "unknown-id": Case(_incidents, _unknown_incident),
    "messages": Case(_messages, _deliver),
    "days": Case(_days, _run_of_day),
}


def main() -> None:
    """Serves the table of a case, or does its work."""
    role, name, amount, *endpoint = sys.argv[1:]
    case = CASES[name]
    if role == "serve":
        gc.disable()  # it would look through millions of rows, which are no garbage
        table = SortedTable(SERVICE_TIME)
        incident = case.prepare(table, int(amount))
        serve(table, lambda *ports: print(json.dumps([*ports, incident]), flush=True))
    else:
        parts = Endpoint(*json.loads(endpoint[0]))
        azure_table = open_table(connection_string(parts.table), "incidents", None)
        began, cpu = time.perf_counter(), time.process_time()
        result = case.work(azure_table, int(amount), parts)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        print(json.dumps({"seconds": seconds, "cpu": cpu_seconds, "result": result}))


if __name__ == "__main__":
    main()
