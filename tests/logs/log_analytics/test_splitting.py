"""Halving alone: a service that cuts its answers at a limit, and now and then gives up when it need not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.base.errors import Incomplete
from detection.logs.log_analytics.splitting import (
    MAX_FUTURE,
    MIN_LENGTH,
    QueryUnfinished,
    UnreadableAnswer,
    split_query,
)
from detection.logs.window import Window
from tests.support.builders import DAY, HOUR, START

NOW = START
WHOLE = Window(NOW - DAY, None)
MICROSECOND = timedelta(microseconds=1)


def never_gives_up(_window: Window) -> bool:
    """A service without whims."""
    return False


@dataclass
class Service:
    """Holds moments, and finishes only what has fewer than `limit` of them."""

    moments: Sequence[datetime]
    limit: int
    gives_up: Callable[[Window], bool] = never_gives_up
    requested_windows: list[Window] = field(default_factory=list)

    def __call__(self, window: Window) -> list[datetime]:
        self.requested_windows.append(window)
        until = window.until or datetime.max.replace(tzinfo=NOW.tzinfo)
        answer = [moment for moment in self.moments if window.after < moment <= until]
        if len(answer) >= self.limit or self.gives_up(window):
            raise QueryUnfinished(Incomplete("cut off"))
        return answer

    def read(self) -> list[list[datetime]]:
        return list(split_query(self, WHOLE, NOW, small_answer=self.limit // 4))


def wide(window: Window) -> bool:
    """Whether a window can still be cut."""
    return (window.until is None and window.after < NOW + MAX_FUTURE) or bool(
        window.until and window.until - window.after > MIN_LENGTH
    )


def spread(number: int, over: timedelta = DAY) -> list[datetime]:
    return [WHOLE.after + over * (position + 1) / number for position in range(number)]


# Moments in clusters of a second at most, so that hardly any fits into one answer.
CLUSTERS = st.lists(
    st.tuples(st.integers(1, 2 * 86_400 - 1), st.integers(1, 6)), max_size=12
).map(
    lambda clusters: [
        WHOLE.after + timedelta(seconds=second) + timedelta(milliseconds=150 * number)
        for second, size in clusters
        for number in range(size)
    ]
)  # fmt: skip


@given(CLUSTERS, st.integers(2, 8), st.integers(0, 2**32))
def test_every_row_is_in_exactly_one_answer_wherever_the_service_gives_up(
    moments: list[datetime], limit: int, seed: int
) -> None:
    whims = Random(seed)
    service = Service(sorted(moments), limit, gives_up=lambda window: wide(window) and whims.random() < 0.3)
    try:
        answers = service.read()
    except Incomplete:
        crowded_moments = [
            moment
            for moment in moments
            if sum(abs(moment - neighbour) < MIN_LENGTH for neighbour in moments) >= limit
        ]
        assert crowded_moments, "gave up, although no second has too many rows"
        return
    assert [moment for answer in answers for moment in answer] == sorted(moments)


def test_what_fits_into_one_answer_is_asked_once() -> None:
    service = Service(spread(10), limit=11)
    assert service.read() == [spread(10)]
    assert service.requested_windows == [WHOLE]


def test_answers_come_in_order_of_time() -> None:
    assert list(chain.from_iterable(Service(spread(100), limit=20).read())) == spread(100)


def test_width_that_was_answered_is_not_exceeded_again() -> None:
    # 64 windows: without learning, every second question would be in vain.
    service = Service(spread(6_400), limit=110)
    answers = service.read()
    assert len(service.requested_windows) <= len(answers) + 7


def test_windows_widen_again_behind_a_burst() -> None:
    burst = [WHOLE.after + timedelta(seconds=number) for number in range(1, 400)]
    service = Service([*burst, NOW - HOUR], limit=50)
    answers = service.read()
    assert sum(map(len, answers)) == 400
    assert len(service.requested_windows) < 60


def test_a_second_is_the_narrowest() -> None:
    service = Service([NOW - HOUR + MICROSECOND * number for number in range(20)], limit=10)
    with pytest.raises(Incomplete, match="cut off"):
        service.read()
    narrowest = min(window.until - window.after for window in service.requested_windows if window.until)
    assert MIN_LENGTH / 2 <= narrowest <= MIN_LENGTH


def test_rows_that_are_stamped_in_the_future_are_halved_too() -> None:
    future_moments = [NOW + MAX_FUTURE * number / 40 for number in range(1, 41)]
    service = Service([*future_moments, NOW + 3 * DAY], limit=12)
    assert list(chain.from_iterable(service.read())) == [*future_moments, NOW + 3 * DAY]


@given(
    st.sets(st.integers(1, 86_400_000_000), max_size=20), st.sets(st.integers(1, 20), min_size=1), st.data()
)
def test_unreadable_rows_are_skipped_and_no_other(
    far: set[int], adjoining: set[int], data: st.DataObject
) -> None:
    moments = [WHOLE.after + MICROSECOND * number for number in sorted(far | adjoining)]
    unreadable = data.draw(st.sets(st.sampled_from(moments)))
    requests, skipped = 0, list[Window]()

    def query(window: Window) -> list[datetime]:
        nonlocal requests
        requests += 1
        until = window.until or datetime.max.replace(tzinfo=NOW.tzinfo)
        answer = [moment for moment in moments if window.after < moment <= until]
        if unreadable & set(answer):
            raise UnreadableAnswer(Incomplete("not JSON"))
        return answer

    answers = split_query(query, WHOLE, NOW, 1_000, skipped.append)
    assert list(chain.from_iterable(answers)) == [moment for moment in moments if moment not in unreadable]
    assert [window.until for window in skipped] == sorted(unreadable)
    assert requests <= 1 + 80 * len(unreadable)


@pytest.mark.parametrize("unreadable_hours", [24, 12])
def test_service_whose_answers_are_all_unreadable_fails_without_a_skipped_window(
    unreadable_hours: int,
) -> None:
    requests, skipped = 0, list[Window]()

    def query(window: Window) -> list[datetime]:
        nonlocal requests
        requests += 1
        if (window.until or NOW) > NOW - unreadable_hours * HOUR:
            raise UnreadableAnswer(Incomplete("not JSON"))
        return []

    with pytest.raises(Incomplete, match="not JSON"):
        list(split_query(query, WHOLE, NOW, 1_000, skipped.append))
    assert skipped == []
    assert requests < 60


def test_unreadable_answer_that_may_not_be_skipped_is_a_failure() -> None:
    def query(window: Window) -> list[datetime]:
        if window.after < NOW - HOUR <= (window.until or NOW):
            raise UnreadableAnswer(Incomplete("not JSON"))
        return []

    with pytest.raises(Incomplete, match="not JSON"):
        list(split_query(query, WHOLE, NOW, 1_000))
