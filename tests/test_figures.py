"""What runs told, counted by kind without looking at every pair."""

from collections import Counter
from random import Random

import pytest

from detection.backtest.charts import by_day, share
from detection.backtest.figures import _pairs_by
from detection.correlate import Chain
from tests.builders import HOUR, START, chains, change, signal
from tests.test_pairs import some_chains


def with_kinds(chain: Chain, chance: Random) -> Chain:
    changes = [one._replace(kind=chance.choice("ab")) for one in chain.changes]
    signals = [one._replace(kind=chance.choice("xyz")) for one in chain.signals]
    return Chain(chain.actor, changes, signals, chain.spans, chain.once)


@pytest.mark.parametrize("seed", range(10))
def test_pairs_by_kind_are_those_of_every_pair(seed: int) -> None:
    chance = Random(seed)
    told = [with_kinds(chain, chance) for chain in some_chains(chance, 50)]
    pairs = [pair for chain in told for pair in chain.pairs()]

    assert _pairs_by(told, "change") == Counter(change.kind for change, _ in pairs)
    assert _pairs_by(told, "signal") == Counter(signal.kind for _, signal in pairs)


def test_an_event_that_stands_twice_counts_once() -> None:
    told = chains([change("c", START)], [signal("s", START + HOUR), signal("s", START + 2 * HOUR)])

    assert _pairs_by(told, "signal") == {"content_filter": 1}


def test_bars_stand_on_the_ground_and_the_highest_is_below_the_top_line() -> None:
    chart = by_day([("2026-06-08", 0), ("2026-06-09", 7), ("2026-06-10", 3)], "alerts")

    ground = chart.lines[0].at
    assert [round(bar.y + bar.height, 2) for bar in chart.bars] == [ground] * 3
    assert [line.text for line in chart.lines] == ["0", "2", "4", "6", "8"]
    assert chart.lines[-1].at <= chart.bars[1].y < chart.bars[2].y
    assert chart.bars[1].title == "2026-06-09: 7 alerts"


@pytest.mark.parametrize("days", [0, 1, 30, 400])
def test_no_more_days_are_named_than_fit(days: int) -> None:
    chart = by_day([("2026-06-08", 1)] * days, "alerts")

    assert len(chart.bars) == days
    assert len(chart.labels) <= 6
    assert all(chart.left <= bar.x and bar.x + bar.width <= chart.width for bar in chart.bars)


def test_what_is_little_can_still_be_seen() -> None:
    assert (share(0, 10_000), share(1, 10_000), share(10_000, 10_000)) == (0.0, 0.5, 100.0)
