"""Rows of the incident table over simulated days: new actors alert every hour, and one gap stays open.

Every hour commits an alert for each of its actors, who are new, to a table in memory, and then cleans up as a run does,
with the windows of the default rule. It reads no logs and sends no messages, so that 60 days of 100 actors an hour
take a few minutes; 1,000 actors take about half an hour of CPU. The bound of a clean-up is in proportion. The output
has a line for each day with its rows by kind. The exit code is 1 if rows grow after the first days, or if an alert
outlives its retention.
"""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from time import monotonic

from benchmarks.table_double import SortedTable
from benchmarks.volume import CountingTable
from detection.incidents.decide import Circumstances, decide
from detection.incidents.keys import group_by_key
from detection.logs.window import Window, plan_windows
from detection.store.incident_store import Commit, IncidentStore, fit_together
from detection.store.retention import REQUESTS_PER_COMMIT, delete_old_rows
from detection.store.table import Table
from tests.support.builders import RULE, chains, change, signal

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GAP = Window(BEGIN + 2 * DAY, BEGIN + 3 * DAY)  # keeps its marks, and the heads of the keys that have them
TOLERANCE = 1.02  # of the rows, which differ a little from day to day
KINDS = {
    "alerts": "a",
    "incidents": "i",
    "heads": "h",
    "mark rows": "m",
    "mark pointers": "p",
    "commit pointers": "e",
    "list": "l",
}
COLUMNS = ("day", "rows", *KINDS, "days kept", "most requests", "seconds")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the rows of every simulated day. Returns the exit code."""
    parser = ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--actors", type=int, default=100, help="new actors with an alert, each hour")
    parser.add_argument("--days", type=int, default=60, help="days to simulate")
    parser.add_argument("--retention", type=int, default=5, help="days that alerts and incidents are kept")
    options = parser.parse_args(arguments)
    print(
        f"{options.actors:,} new actors an hour, {options.days} days, retention {options.retention} days, "
        f"a gap of a day open from day {(GAP.after - BEGIN) // DAY} on; days kept: age of the oldest alert; "
        "most requests: of a clean-up in that day"
    )
    print("  ".join(COLUMNS))
    table, sizes, longest = SortedTable(), list[int](), 0
    for day in range(options.days):
        began = monotonic()
        requests = max(
            run_hour(table, BEGIN + day * DAY + hour * HOUR, options.actors, options.retention * DAY)
            for hour in range(24)
        )
        counts = rows_by_kind(table)
        age = oldest_alert(table, (BEGIN + day * DAY).date())
        sizes.append(counts.total())
        longest = max(longest, age)
        figures = (day + 1, sizes[-1], *(counts[kind] for kind in KINDS.values()), age, requests)
        cells = [*(f"{figure:,}" for figure in figures), f"{monotonic() - began:.1f}"]
        print("  ".join(cell.rjust(len(name)) for cell, name in zip(cells, COLUMNS, strict=True)), flush=True)
    # By then the first days have gone, with their marks and with their alerts.
    settled = sizes[options.retention + 5 :]
    is_flat = not settled or max(settled) <= TOLERANCE * settled[0]
    is_kept = longest <= options.retention + 1
    print(f"rows are {'flat' if is_flat else 'GROWING'}; retention is {'kept' if is_kept else 'EXCEEDED'}")
    return 0 if is_flat and is_kept else 1


def run_hour(table: Table, now: datetime, actors: int, retention: timedelta) -> int:
    """Commits an alert for each of the new actors, and cleans up; returns the requests of the clean-up."""
    store = IncidentStore(table, RULE.folder, f"run {now}")
    watermark = store.watermark()
    names = [f"{now:%d%H%m}-{number}@example.com" for number in range(actors)]
    events = chains(
        [change(f"c {name}", now - 3 * HOUR, name) for name in names],
        [signal(f"s {name}", now - HOUR, name) for name in names],
    )
    circumstances = Circumstances(RULE, plan_windows(now, watermark, RULE))
    chains_by_key, group = group_by_key(events, RULE), list[Commit]()
    for key, state in store.load(chains_by_key).items():
        if verdict := decide(chains_by_key[key], circumstances, state):
            commit = store.prepare(verdict)
            if not fit_together([*group, commit]):
                store.commit(group)
                group = []
            group.append(commit)
    store.commit(group)
    unread_before = plan_windows(watermark, watermark, RULE).changes.after if watermark else None
    store.finish(now, b"{}", unread_before)
    if watermark is None or unread_before is None:
        return 0
    counting_table = CountingTable(table)
    delete_old_rows(
        counting_table,
        RULE.folder,
        unread_before,
        watermark - retention,
        [GAP] if now > GAP.after else (),
        REQUESTS_PER_COMMIT * actors,  # in proportion to the bound of a run with 1,000 actors
        daily=watermark.date() < now.date(),
    )
    return counting_table.requests


def rows_by_kind(table: Table) -> Counter[str]:
    """The number of rows of each kind, which is the first letter of their names."""
    return Counter(entity.row[0] for entity in table.scan(RULE.folder, "", "~"))


def oldest_alert(table: Table, today: date) -> int:
    """The age of the oldest alert in days; its pointer has its day."""
    pointers = (entity.row.split("|") for entity in table.scan(RULE.folder, "e|", "e}"))
    days = (date.fromisoformat(day) for _, day, _, _, incident in pointers if incident)
    return (today - min(days, default=today)).days


if __name__ == "__main__":
    sys.exit(main())
