"""Which change reaches which signals."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.correlate import Chain, chain, correlate
from detection.events import Event
from tests.builders import ALICE, DAY, HOUR, START, TICK, change, signal

BOB = "bob@example.com"
# Times that meet at the edges of the reach, and in between.
times = st.builds(
    lambda halves, ticks: START + halves * DAY / 2 + ticks * TICK, st.integers(0, 6), st.integers(-1, 1)
)
actors = st.sampled_from((ALICE, BOB))
idents = st.sampled_from("abcdef")
changes_ = st.lists(st.builds(change, idents, times, actors), max_size=12)
signals_ = st.lists(st.builds(signal, idents, times, actors), max_size=12)


def reaches(left: Event, right: Event) -> bool:
    return left.actor == right.actor and left.time <= right.time <= left.time + DAY


def one_chain(changes: Sequence[Event], signals: Sequence[Event], *, once: bool = True) -> Chain:
    (only,) = correlate(changes, signals, DAY, once=once)
    return only


def ids(chain: Chain) -> list[tuple[str, str]]:
    return [(left.id, right.id) for left, right in chain.pairs()]


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

    found = correlate(changes, signals, DAY, once=True)

    assert {one.actor: ids(one) for one in found} == {ALICE: [("c1", "s2")], BOB: [("c2", "s1")]}


def test_several_changes_reach_their_own_signals() -> None:
    changes = [change("c1", START), change("c2", START + 12 * HOUR), change("c3", START + 30 * HOUR)]
    signals = [signal("s1", START + HOUR), signal("s2", START + DAY), signal("s3", START + 36 * HOUR)]

    found = one_chain(changes, signals)

    assert ids(found) == [("c1", "s1"), ("c1", "s2"), ("c2", "s2"), ("c2", "s3"), ("c3", "s3")]
    assert found.spans == [range(2), range(1, 3), range(2, 3)]


def test_the_order_of_the_rows_does_not_matter() -> None:
    changes = [change(f"c{hour}", START + hour * HOUR) for hour in (0, 5, 30)]
    signals = [signal(f"s{hour}", START + hour * HOUR) for hour in (1, 6, 31)]

    found = {tuple(ids(one_chain(some, signals[::-1]))) for some in permutations(changes)}

    assert len(found) == 1


def test_changes_and_signals_without_a_pair_are_left_out() -> None:
    changes = [change("idle", START - 3 * DAY), change("c", START)]
    signals = [signal("early", START - TICK), signal("s", START), signal("late", START + DAY + TICK)]

    found = one_chain(changes, signals)

    assert [one.id for one in found.changes] == ["c"]
    assert [one.id for one in found.signals] == ["s"]


def test_first_and_last_are_the_earliest_and_the_latest_pair_by_the_signals_time() -> None:
    changes = [change("c2", START + 2 * HOUR), change("c1", START)]
    signals = [signal("s3", START + 25 * HOUR), signal("s1", START + HOUR), signal("s2", START + 3 * HOUR)]

    found = one_chain(changes, signals)

    assert [one.id for one in found.first] == ["c1", "s1"]
    assert [one.id for one in found.last] == ["c2", "s3"]


def test_a_pair_of_the_same_two_ids_counts_once() -> None:
    found = one_chain([change("c", START)], [signal("s", START), signal("s", START + HOUR)])

    assert ids(found) == [("c", "s")]
    assert found.count() == 1


def test_a_row_that_stands_twice_pairs_twice_where_duplicates_are_kept() -> None:
    twice = [signal("s", START), signal("s", START)]

    found = one_chain([change("c", START)], twice, once=False)

    assert ids(found) == [("c", "s"), ("c", "s")]
    assert found.count() == 2


def test_one_actors_events_without_a_pair_are_a_chain_without_spans() -> None:
    assert not chain(ALICE, [change("c", START)], [signal("s", START - TICK)], DAY, once=True).spans


@given(changes_, signals_)
def test_spans_cover_exactly_the_pairs_of_a_nested_loop(changes: list[Event], signals: list[Event]) -> None:
    wanted = [(left, right) for left in changes for right in signals if reaches(left, right)]

    found = [pair for one in correlate(changes, signals, DAY, once=False) for pair in one.pairs()]

    assert sorted(found, key=_moments) == sorted(wanted, key=_moments)


@given(changes_, signals_)
def test_once_gives_every_two_ids_of_an_actor_a_single_pair(
    changes: list[Event], signals: list[Event]
) -> None:
    wanted = {
        (left.actor, left.id, right.id) for left in changes for right in signals if reaches(left, right)
    }

    found = [(one.actor, *pair) for one in correlate(changes, signals, DAY, once=True) for pair in ids(one)]

    assert sorted(found) == sorted(wanted)


@given(changes_, signals_, st.booleans())
def test_the_count_is_the_number_of_pairs(changes: list[Event], signals: list[Event], once: bool) -> None:
    for one in correlate(changes, signals, DAY, once=once):
        assert one.count() == len(list(one.pairs())) > 0


@given(changes_, signals_)
def test_a_chain_is_in_time_order_and_every_event_in_it_has_a_pair(
    changes: list[Event], signals: list[Event]
) -> None:
    for one in correlate(changes, signals, DAY, once=False):
        paired = list(one.pairs())
        assert list(one.changes) == sorted(one.changes, key=_moment)
        assert list(one.signals) == sorted(one.signals, key=_moment)
        assert {left for left, _ in paired} == set(one.changes)
        assert {right for _, right in paired} == set(one.signals)


def _moment(event: Event) -> datetime:
    return event.time


def _moments(pair: tuple[Event, Event]) -> tuple[str, datetime, str, datetime, str]:
    left, right = pair
    return left.actor, left.time, left.id, right.time, right.id
