"""A rule whose grouping is edited between runs: every pair is told once, under its former key or its new one."""

from collections import Counter
from itertools import permutations

import pytest

from detection.logs.events import Logs
from detection.logs.window import Windows
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.run import run
from detection.store.incident_store import IncidentStore
from detection.store.table import MemoryTable
from tests.support.builders import HOUR, START, change_row, grouped_by, logs, signal_row

GROUPINGS = {
    "account": grouped_by("Selected", "Account"),
    "ip": grouped_by("Selected", "IP"),
    "both": grouped_by("Selected", "Account", "IP"),
    "all": grouped_by("AllEntities"),
    "none": grouped_by("AnyAlert"),
}
ACTORS, ADDRESSES, MODELS = ("a@example.com", "b@example.com"), ("192.0.2.1", "192.0.2.2"), ("gpt-4o", "o3")


class HourlyLogs:
    """Two actors, each with two changes from different addresses and signals of two models; every hour there is more."""

    def read(self, rule: Rule, windows: Windows) -> Logs:
        hours = int((windows.now - START) / HOUR)
        changes = [
            change_row(f"c{hour}{actor}", START + hour * HOUR, actor, ip=ADDRESSES[hour % 2])
            for hour in range(hours)
            for actor in ACTORS
        ]
        signals = [
            signal_row(f"s{hour}{actor}{model}", START + hour * HOUR + HOUR / 2, actor, model=model)
            for hour in range(hours)
            for actor in ACTORS
            for model in MODELS
        ]
        return logs(changes, signals, windows, rule)


def count_alerts(rules: list[Rule], events_per_part: int = 1_000) -> Counter[tuple[str, str]]:
    """How often each pair was told by hourly runs, each of a rule."""
    table, alert_counts = MemoryTable(), Counter[tuple[str, str]]()
    for hour, rule in enumerate(rules, 1):
        store = IncidentStore(table, rule.folder, f"run {hour}")
        _, verdicts = run(
            rule, START + hour * HOUR, HourlyLogs(), store, RunOptions(events_per_part=events_per_part)
        )
        alert_counts.update(
            (change.id, signal.id)
            for verdict in verdicts
            for chain in verdict.new_pairs
            for change, signal in chain.pairs()
        )
    return alert_counts


@pytest.mark.parametrize("events_per_part", [1_000, 1])
@pytest.mark.parametrize("before, after", list(permutations(GROUPINGS, 2)))
def test_each_pair_is_told_once_whatever_grouping_follows(
    before: str, after: str, events_per_part: int
) -> None:
    rules = [GROUPINGS[name] for name in (before, before, after, after, before)]
    alert_counts = count_alerts(rules, events_per_part)
    pairs = sum(range(1, 6)) * len(ACTORS) * len(MODELS)
    assert (len(alert_counts), set(alert_counts.values())) == (pairs, {1})
