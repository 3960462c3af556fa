"""The two edits of the pairing that docs/rules.md names as limits, and the backtest that shows their pairs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from detection.backtest.simulation import simulate
from detection.logs.events import Logs
from detection.logs.window import Windows
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.run import run
from detection.store.incident_store import IncidentStore
from detection.store.table import MemoryTable
from tests.support.builders import ALICE, HOUR, RULE, START, change_row, logs, signal_row
from tests.support.matching_rules import rule_with_options
from tests.support.world import PairIds

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class HourlyEvents:
    """Changes and signals, each with the hour after START at which it happened; a change may arrive later."""

    changes: Sequence[tuple[str, int, int]]  # with the hour of its arrival
    signals: Sequence[tuple[str, int, str, str]]  # with the user and the kind

    def read(self, rule: Rule, windows: Windows) -> Logs:
        changes = [
            (*change_row(ident, START + hour * HOUR), ALICE.partition("@")[0])  # the key of `local-part`
            for ident, hour, arrival in self.changes
            if START + arrival * HOUR <= windows.now
        ]
        signals = [
            signal_row(ident, START + hour * HOUR, user, kind=kind)
            for ident, hour, user, kind in self.signals
        ]
        return logs(changes, signals, windows, rule)


def hourly_pairs(events: HourlyEvents, rules: Sequence[Rule]) -> set[PairIds]:
    """The pairs that hourly runs alert, each with the next rule; none twice."""
    table, pairs = MemoryTable(), Counter[PairIds]()
    for hour, rule in enumerate(rules):
        store = IncidentStore(table, RULE.folder, f"run {hour}")
        _, verdicts = run(rule, START + hour * HOUR + MINUTE, events, store)
        chains = (chain for verdict in verdicts for chain in verdict.new_pairs)
        pairs.update((change.id, signal.id) for chain in chains for change, signal in chain.pairs())
    assert set(pairs.values()) <= {1}
    return set(pairs)


def backtest_pairs(events: HourlyEvents, rule: Rule, runs: int) -> int:
    """How many pairs a backtest of the rule at the same times shows."""
    times = [START + hour * HOUR + MINUTE for hour in range(runs)]
    return simulate(rule, events, times, RunOptions(), "the rule").pairs


def test_longer_within_does_not_alert_what_was_marked_with_others_and_a_backtest_shows_it() -> None:
    sequence = RULE.sequence.model_copy(update={"within": 2 * HOUR})
    short_rule = RULE.model_copy(update={"sequence": sequence})
    events = HourlyEvents(
        [("c1", 0, 0), ("c2", 4, 4)],
        [
            ("s1", 1, ALICE, "content_filter"),
            ("s2", 5, ALICE, "content_filter"),  # in reach of c1 by the longer `within`: both are marked
            ("s3", 5, ALICE, "length"),  # c1 has no mark of this kind
        ],
    )

    pairs = hourly_pairs(events, [*[short_rule] * 6, RULE, RULE])

    assert pairs == {("c1", "s1"), ("c2", "s2"), ("c2", "s3"), ("c1", "s3")}
    assert backtest_pairs(events, RULE, 8) == len(pairs | {("c1", "s2")})


def test_matching_switched_off_and_on_does_not_alert_what_was_marked_between_and_a_backtest_shows_it(
    tmp_path: Path,
) -> None:
    matching_rule = rule_with_options(tmp_path, "[exact, local-part]")
    events = HourlyEvents(
        [("c1", 0, 0), ("c2", 2, 5)],  # c2 arrives, and is marked with s2, while the option is off
        [
            ("s1", 3, "alice", "content_filter"),
            ("s2", 6, ALICE, "content_filter"),
            ("s3", 7, "alice", "content_filter"),  # without a mark when the option is on again
        ],
    )

    pairs = hourly_pairs(events, [*[matching_rule] * 4, *[RULE] * 4, matching_rule, matching_rule])

    assert pairs == {("c1", "s1"), ("c1", "s2"), ("c2", "s2"), ("c1", "s3"), ("c2", "s3")}
    assert backtest_pairs(events, matching_rule, 10) == len(pairs | {("c2", "s1")})
