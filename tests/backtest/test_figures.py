"""What runs told, counted by kind without looking at every pair."""

from collections import Counter
from datetime import date, timedelta
from random import Random
from xml.etree import ElementTree as ET

import pytest

from detection.backtest.charts import chart_by_day, count_bars
from detection.backtest.figures import NamedCount, TopCounts, _pairs_by_kind
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


def test_bars_stand_on_the_base_line_under_the_top_grid_line() -> None:
    chart = ET.fromstring(
        chart_by_day([(date(2026, 6, 8), 0), (date(2026, 6, 9), 7), (date(2026, 6, 10), 3)], "alerts")
    )
    grid = [float(line.attrib["y1"]) for line in chart.iter("line")]
    bars = [(float(bar.attrib["y"]), float(bar.attrib["height"])) for bar in chart.iter("rect")]
    assert [y + height for y, height in bars] == [grid[0]] * 3
    assert grid[-1] < bars[1][0] < bars[2][0] < bars[0][0]
    assert [text.text for text in chart.findall("text[@class='amount']")] == ["0", "2", "4", "6", "8"]
    assert [title.text for title in chart.iter("title")][1] == "2026-06-09: 7 alerts"


@pytest.mark.parametrize("days", [0, 1, 30, 400])
def test_chart_labels_no_more_days_than_fit(days: int) -> None:
    counts = [(date(2026, 6, 8) + timedelta(days=number), 1) for number in range(days)]
    chart = ET.fromstring(chart_by_day(counts, "alerts"))
    bars = [(float(bar.attrib["x"]), float(bar.attrib["width"])) for bar in chart.iter("rect")]
    assert len(bars) == days
    assert len(chart.findall("text[@class='day']")) <= 6
    assert all(x >= 44 and x + width <= 440 for x, width in bars)


def test_small_count_in_a_row_is_visible() -> None:
    rows = [NamedCount("a", 10_000, 10_000), NamedCount("b", 1, 0)]
    row = ET.fromstring(count_bars(rows[1], TopCounts(2, rows)))
    assert [bar.attrib["width"] for bar in row.iter("rect")] == ["0.5", "0"]
