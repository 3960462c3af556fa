"""Rows on disk: nothing lost, nothing twice, and what is of one actor together."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.logs.events import Row
from detection.logs.log_analytics import spill
from detection.logs.log_analytics.spill import Slice, SpillFile, collect
from tests.support.builders import RULE, START, TICK, signal_row

SIDE = RULE.sequence.signals
ACTOR = SIDE.place_of(SIDE.actor)
actors = st.sampled_from(["alice", "bob", "carol", "dave", "Ann é", "x' | drop"])
ids = st.text(max_size=5)
row_lists = st.lists(
    st.builds(signal_row, ids, st.integers(0, 40).map(lambda tick: START + tick * TICK), actors), max_size=60
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows are many."""
    monkeypatch.setattr(spill, "SLICE", 10)
    monkeypatch.setattr(spill, "BATCH", 7)


def spilled_slices(rows: Sequence[Row], max_signals_per_actor: int = 1_000) -> list[Slice]:
    spill_file = SpillFile(SIDE, max_signals_per_actor, itemgetter(SIDE.place_of(SIDE.actor)))
    spill_file.add(list(rows))
    return list(spill_file.slices())


def rows_of(actor: str, number: int) -> list[Row]:
    """An actor's rows, one after the other."""
    return [signal_row(f"{position}", START + position * TICK, actor) for position in range(number)]


def ordered_by_time(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: datetime.fromisoformat(row[SIDE.place_of(SIDE.time)]))


@given(row_lists, st.integers(1, 30))
def test_every_row_comes_out_once_and_an_actors_rows_in_order_of_time(
    rows: list[Row], max_signals_per_actor: int
) -> None:
    spilled_rows = [row for slice_ in spilled_slices(rows, max_signals_per_actor) for row in slice_.rows]
    assert Counter(spilled_rows) == Counter(rows)
    for actor in {row[ACTOR] for row in rows}:
        assert [row for row in spilled_rows if row[ACTOR] == actor] == ordered_by_time(
            row for row in rows if row[ACTOR] == actor
        )


@given(row_lists)
def test_an_actor_is_in_one_slice(rows: list[Row]) -> None:
    slices = Counter(
        actor for slice_ in spilled_slices(rows) for actor in {row[ACTOR] for row in slice_.rows}
    )
    assert set(slices.values()) <= {1}


@given(row_lists, st.integers(1, 10))
def test_pieces_do_not_cut_a_moment_in_two(rows: list[Row], max_signals_per_actor: int) -> None:
    slices = spilled_slices(rows, max_signals_per_actor)
    chunks = [
        (slice_.rows[0][ACTOR], {row[SIDE.place_of(SIDE.time)] for row in slice_.rows})
        for slice_ in slices
        if slice_.is_chunk
    ]
    for (actor, moments), (next_actor, next_moments) in pairwise(chunks):
        assert actor != next_actor or not moments & next_moments


def test_small_buckets_share_a_slice() -> None:
    rows = [row for number in range(20) for row in rows_of(f"user{number}", 2)]
    sizes = [len(slice_.rows) for slice_ in spilled_slices(rows)]
    assert max(sizes) <= 10
    assert len(sizes) < 10


def test_a_slice_is_filled_to_its_limit_and_no_further() -> None:
    for carol_rows, sizes in ((5, [10]), (6, [5, 6])):
        slices = spilled_slices([*rows_of("alice", 5), *rows_of("carol", carol_rows)])
        assert sorted(len(slice_.rows) for slice_ in slices) == sizes


def test_an_actor_with_too_many_rows_comes_in_chunks() -> None:
    slices = spilled_slices([*rows_of("alice", 50), *rows_of("bob", 3)], max_signals_per_actor=20)
    alice_slices = [slice_ for slice_ in slices if slice_.rows[0][ACTOR] == "alice"]
    assert [(len(slice_.rows), slice_.is_chunk) for slice_ in alice_slices] == [
        (20, True),
        (20, True),
        (10, True),
    ]


def test_as_many_as_allowed_are_no_crowd() -> None:
    assert [slice_.is_chunk for slice_ in spilled_slices(rows_of("alice", 20), max_signals_per_actor=20)] == [
        False
    ]


def test_few_rows_stay_in_memory() -> None:
    assert collect([rows_of("alice", 5), rows_of("bob", 5)], SIDE, 1_000) == [
        *rows_of("alice", 5),
        *rows_of("bob", 5),
    ]


def test_many_rows_go_to_disk() -> None:
    spill_file = collect([rows_of("alice", 5), rows_of("bob", 6), rows_of("carol", 1)], SIDE, 1_000)
    assert isinstance(spill_file, SpillFile)
    assert sorted(row for slice_ in spill_file.slices() for row in slice_.rows) == sorted(
        [*rows_of("alice", 5), *rows_of("bob", 6), *rows_of("carol", 1)]
    )
