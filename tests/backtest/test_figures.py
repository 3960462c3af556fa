"""What runs told, counted by kind without looking at every pair."""

from collections import Counter
from random import Random

import pytest

from detection.backtest.charts import bar_percent, chart_by_day
from detection.backtest.figures import _pairs_by_kind
from detection.correlation.correlate import Chain
from tests.correlation.test_pairs import random_chains
from tests.support.builders import HOUR, START, chains, change, signal


def with_kinds(chain: Chain, chance: Random) -> Chain:
    changes = [change._replace(kind=chance.choice("ab")) for change in chain.changes]
    signals = [signal._replace(kind=chance.choice("xyz")) for signal in chain.signals]
    return Chain(chain.actor, changes, signals, chain.spans, chain.once)


@pytest.mark.parametrize("seed", range(10))
def test_pairs_by_kind_are_those_of_every_pair(seed: int) -> None:
    chance = Random(seed)
    alerted_chains = [with_kinds(chain, chance) for chain in random_chains(chance, 50)]
    pairs = [pair for chain in alerted_chains for pair in chain.pairs()]

    assert _pairs_by_kind(alerted_chains, "change") == Counter(change.kind for change, _ in pairs)
    assert _pairs_by_kind(alerted_chains, "signal") == Counter(signal.kind for _, signal in pairs)


def test_an_event_that_stands_twice_counts_once() -> None:
    alerted_chains = chains([change("c", START)], [signal("s", START + HOUR), signal("s", START + 2 * HOUR)])

    assert _pairs_by_kind(alerted_chains, "signal") == {"content_filter": 1}


def test_bars_stand_on_the_ground_and_the_highest_is_below_the_top_line() -> None:
    chart = chart_by_day([("2026-06-08", 0), ("2026-06-09", 7), ("2026-06-10", 3)], "alerts")

    ground = chart.lines[0].position
    assert [round(bar.y + bar.height, 2) for bar in chart.bars] == [ground] * 3
    assert [line.text for line in chart.lines] == ["0", "2", "4", "6", "8"]
    assert chart.lines[-1].position <= chart.bars[1].y < chart.bars[2].y
    assert chart.bars[1].title == "2026-06-09: 7 alerts"


@pytest.mark.parametrize("days", [0, 1, 30, 400])
def test_no_more_days_are_named_than_fit(days: int) -> None:
    chart = chart_by_day([("2026-06-08", 1)] * days, "alerts")

    assert len(chart.bars) == days
    assert len(chart.labels) <= 6
    assert all(chart.left_margin <= bar.x and bar.x + bar.width <= chart.width for bar in chart.bars)


def test_what_is_little_can_still_be_seen() -> None:
    assert (bar_percent(0, 10_000), bar_percent(1, 10_000), bar_percent(10_000, 10_000)) == (0.0, 0.5, 100.0)
