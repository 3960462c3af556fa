"""Rows on disk: nothing lost, nothing twice, and what is of one actor together."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.events import Row
from detection.sources import hoard
from detection.sources.hoard import Hoard, Slice, gathered
from tests.builders import RULE, START, TICK, signal_row

SIDE = RULE.sequence.signals
ACTOR = SIDE.at(SIDE.actor)
actors = st.sampled_from(["alice", "bob", "carol", "dave", "Ann é", "x' | drop"])
ids = st.text(max_size=5)
rows_ = st.lists(
    st.builds(signal_row, ids, st.integers(0, 40).map(lambda at: START + at * TICK), actors), max_size=60
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows are many."""
    monkeypatch.setattr(hoard, "SLICE", 10)
    monkeypatch.setattr(hoard, "BATCH", 7)


def hoarded(rows: Sequence[Row], most: int = 1_000) -> list[Slice]:
    heap = Hoard(SIDE, most, itemgetter(SIDE.at(SIDE.actor)))
    heap.add(list(rows))
    return list(heap.slices())


def by(actor: str, number: int) -> list[Row]:
    """An actor's rows, one after the other."""
    return [signal_row(f"{at}", START + at * TICK, actor) for at in range(number)]


def in_time(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: datetime.fromisoformat(row[SIDE.at(SIDE.time)]))


@given(rows_, st.integers(1, 30))
def test_every_row_comes_out_once_and_an_actors_rows_in_order_of_time(rows: list[Row], most: int) -> None:
    out = [row for slice_ in hoarded(rows, most) for row in slice_.rows]
    assert Counter(out) == Counter(rows)
    for actor in {row[ACTOR] for row in rows}:
        assert [row for row in out if row[ACTOR] == actor] == in_time(
            row for row in rows if row[ACTOR] == actor
        )


@given(rows_)
def test_an_actor_is_in_one_slice(rows: list[Row]) -> None:
    slices = Counter(actor for slice_ in hoarded(rows) for actor in {row[ACTOR] for row in slice_.rows})
    assert set(slices.values()) <= {1}


@given(rows_, st.integers(1, 10))
def test_pieces_do_not_cut_a_moment_in_two(rows: list[Row], most: int) -> None:
    slices = hoarded(rows, most)
    pieces = [
        (one.rows[0][ACTOR], {row[SIDE.at(SIDE.time)] for row in one.rows}) for one in slices if one.piece
    ]
    for (actor, moments), (other, later) in pairwise(pieces):
        assert actor != other or not moments & later


def test_small_buckets_share_a_slice() -> None:
    rows = [row for number in range(20) for row in by(f"user{number}", 2)]
    sizes = [len(slice_.rows) for slice_ in hoarded(rows)]
    assert max(sizes) <= 10
    assert len(sizes) < 10


def test_an_actor_with_too_many_comes_in_pieces_of_which_the_last_is_none() -> None:
    slices = hoarded([*by("alice", 50), *by("bob", 3)], most=20)
    alice = [slice_ for slice_ in slices if slice_.rows[0][ACTOR] == "alice"]
    assert [(len(one.rows), one.piece) for one in alice] == [(20, True), (20, True), (10, False)]


def test_as_many_as_allowed_are_no_crowd() -> None:
    assert [one.piece for one in hoarded(by("alice", 20), most=20)] == [False]


def test_few_rows_stay_in_memory() -> None:
    assert gathered([by("alice", 5), by("bob", 5)], SIDE, 1_000) == [*by("alice", 5), *by("bob", 5)]


def test_many_rows_go_to_disk() -> None:
    heap = gathered([by("alice", 5), by("bob", 6), by("carol", 1)], SIDE, 1_000)
    assert isinstance(heap, Hoard)
    assert sorted(row for one in heap.slices() for row in one.rows) == sorted(
        [*by("alice", 5), *by("bob", 6), *by("carol", 1)]
    )
