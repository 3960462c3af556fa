"""Which change reaches which signals."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.correlation.correlate import Chain, correlate, make_chain
from detection.logs.events import Event
from tests.support.builders import ALICE, DAY, HOUR, START, TICK, change, signal

BOB = "bob@example.com"
# Times that meet at the edges of the reach, and in between.
times = st.builds(
    lambda halves, ticks: START + halves * DAY / 2 + ticks * TICK, st.integers(0, 6), st.integers(-1, 1)
)
actors = st.sampled_from((ALICE, BOB))
idents = st.sampled_from("abcdef")
changes_ = st.lists(st.builds(change, idents, times, actors), max_size=12)
signals_ = st.lists(st.builds(signal, idents, times, actors), max_size=12)


def reaches(change: Event, signal: Event) -> bool:
    return change.actor == signal.actor and change.time <= signal.time <= change.time + DAY


def one_chain(changes: Sequence[Event], signals: Sequence[Event], *, once: bool = True) -> Chain:
    (chain,) = correlate(changes, signals, DAY, once=once)
    return chain


def ids(chain: Chain) -> list[tuple[str, str]]:
    return [(change.id, signal.id) for change, signal in chain.pairs()]


@pytest.mark.parametrize("after", [timedelta(), TICK, HOUR, DAY - TICK, DAY])
def test_a_signal_from_the_change_to_exactly_a_day_after_it_is_reached(after: timedelta) -> None:
    assert ids(one_chain([change("c", START)], [signal("s", START + after)])) == [("c", "s")]


@pytest.mark.parametrize("after", [-DAY, -TICK, DAY + TICK, 2 * DAY])
def test_a_signal_before_the_change_or_more_than_a_day_after_it_is_not(after: timedelta) -> None:
    assert correlate([change("c", START)], [signal("s", START + after)], DAY, once=True) == []


def test_another_actors_signal_is_not_reached() -> None:
    assert correlate([change("c", START)], [signal("s", START, BOB)], DAY, once=True) == []


def test_there_is_a_chain_for_every_actor() -> None:
    changes = [change("c1", START, ALICE), change("c2", START, BOB)]
    signals = [signal("s1", START, BOB), signal("s2", START, ALICE)]

    chains = correlate(changes, signals, DAY, once=True)

    assert {chain.actor: ids(chain) for chain in chains} == {ALICE: [("c1", "s2")], BOB: [("c2", "s1")]}


def test_several_changes_reach_their_own_signals() -> None:
    changes = [change("c1", START), change("c2", START + 12 * HOUR), change("c3", START + 30 * HOUR)]
    signals = [signal("s1", START + HOUR), signal("s2", START + DAY), signal("s3", START + 36 * HOUR)]

    chain = one_chain(changes, signals)

    assert ids(chain) == [("c1", "s1"), ("c1", "s2"), ("c2", "s2"), ("c2", "s3"), ("c3", "s3")]
    assert chain.spans == [range(2), range(1, 3), range(2, 3)]


def test_the_order_of_the_rows_does_not_matter() -> None:
    changes = [change(f"c{hour}", START + hour * HOUR) for hour in (0, 5, 30)]
    signals = [signal(f"s{hour}", START + hour * HOUR) for hour in (1, 6, 31)]

    pair_lists = {
        tuple(ids(one_chain(shuffled_changes, signals[::-1]))) for shuffled_changes in permutations(changes)
    }

    assert len(pair_lists) == 1


def test_changes_and_signals_without_a_pair_are_left_out() -> None:
    changes = [change("idle", START - 3 * DAY), change("c", START)]
    signals = [signal("early", START - TICK), signal("s", START), signal("late", START + DAY + TICK)]

    chain = one_chain(changes, signals)

    assert [event.id for event in chain.changes] == ["c"]
    assert [event.id for event in chain.signals] == ["s"]


def test_first_and_last_are_the_earliest_and_the_latest_pair_by_the_signals_time() -> None:
    changes = [change("c2", START + 2 * HOUR), change("c1", START)]
    signals = [signal("s3", START + 25 * HOUR), signal("s1", START + HOUR), signal("s2", START + 3 * HOUR)]

    chain = one_chain(changes, signals)

    assert [event.id for event in chain.first_pair] == ["c1", "s1"]
    assert [event.id for event in chain.last_pair] == ["c2", "s3"]


def test_a_pair_of_the_same_two_ids_counts_once() -> None:
    chain = one_chain([change("c", START)], [signal("s", START), signal("s", START + HOUR)])

    assert ids(chain) == [("c", "s")]
    assert chain.count() == 1


def test_a_pair_that_counts_once_has_the_rows_of_its_earlier_events() -> None:
    earlier, later = signal("s", START), signal("s", START + HOUR)

    (pair,) = one_chain([change("c", START)], [earlier, later]).pairs()

    assert (pair[0].copies, pair[1].row, pair[1].copies) == ((), later.row, (earlier.row,))


def test_a_row_that_stands_twice_pairs_twice_where_duplicates_are_kept() -> None:
    twice = [signal("s", START), signal("s", START)]

    chain = one_chain([change("c", START)], twice, once=False)

    assert ids(chain) == [("c", "s"), ("c", "s")]
    assert chain.count() == 2


def test_one_actors_events_without_a_pair_are_a_chain_without_spans() -> None:
    assert not make_chain(ALICE, [change("c", START)], [signal("s", START - TICK)], DAY, once=True).spans


@given(changes_, signals_)
def test_spans_cover_exactly_the_pairs_of_a_nested_loop(changes: list[Event], signals: list[Event]) -> None:
    wanted = [(change, signal) for change in changes for signal in signals if reaches(change, signal)]

    pairs = [pair for chain in correlate(changes, signals, DAY, once=False) for pair in chain.pairs()]

    assert sorted(pairs, key=_moments) == sorted(wanted, key=_moments)


@given(changes_, signals_)
def test_once_gives_every_two_ids_of_an_actor_a_single_pair(
    changes: list[Event], signals: list[Event]
) -> None:
    wanted = {
        (change.actor, change.id, signal.id)
        for change in changes
        for signal in signals
        if reaches(change, signal)
    }

    pairs = [
        (chain.actor, *pair) for chain in correlate(changes, signals, DAY, once=True) for pair in ids(chain)
    ]

    assert sorted(pairs) == sorted(wanted)


@given(changes_, signals_, st.booleans())
def test_the_count_is_the_number_of_pairs(changes: list[Event], signals: list[Event], once: bool) -> None:
    for chain in correlate(changes, signals, DAY, once=once):
        assert chain.count() == len(list(chain.pairs())) > 0


@given(changes_, signals_)
def test_a_chain_is_in_time_order_and_every_event_in_it_has_a_pair(
    changes: list[Event], signals: list[Event]
) -> None:
    for chain in correlate(changes, signals, DAY, once=False):
        paired = list(chain.pairs())
        assert list(chain.changes) == sorted(chain.changes, key=_moment)
        assert list(chain.signals) == sorted(chain.signals, key=_moment)
        assert {change for change, _ in paired} == set(chain.changes)
        assert {signal for _, signal in paired} == set(chain.signals)


def _moment(event: Event) -> datetime:
    return event.time


def _moments(pair: tuple[Event, Event]) -> tuple[str, datetime, str, datetime, str]:
    change, signal = pair
    return change.actor, change.time, change.id, signal.time, signal.id
