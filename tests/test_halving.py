"""Halving alone: a service that cuts its answers at a limit, and now and then gives up when it need not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.errors import Incomplete
from detection.sources.halving import AHEAD, NARROWEST, Unfinished, in_halves
from detection.window import Window
from tests.builders import DAY, HOUR, START

NOW = START
WHOLE = Window(NOW - DAY, None)
MICROSECOND = timedelta(microseconds=1)


def content(_window: Window) -> bool:
    """A service without whims."""
    return False


@dataclass
class Service:
    """Holds moments, and finishes only what has fewer than `limit` of them."""

    moments: Sequence[datetime]
    limit: int
    gives_up: Callable[[Window], bool] = content
    asked: list[Window] = field(default_factory=list)

    def __call__(self, window: Window) -> list[datetime]:
        self.asked.append(window)
        until = window.until or datetime.max.replace(tzinfo=NOW.tzinfo)
        found = [moment for moment in self.moments if window.after < moment <= until]
        if len(found) >= self.limit or self.gives_up(window):
            raise Unfinished(Incomplete("cut off"))
        return found

    def read(self) -> list[list[datetime]]:
        return list(in_halves(self, WHOLE, NOW, few=self.limit // 4))


def wide(window: Window) -> bool:
    """Whether a window can still be cut."""
    return (window.until is None and window.after < NOW + AHEAD) or bool(
        window.until and window.until - window.after > NARROWEST
    )


def spread(number: int, over: timedelta = DAY) -> list[datetime]:
    return [WHOLE.after + over * (at + 1) / number for at in range(number)]


# Moments in clusters of a second at most, so that hardly any fits into one answer.
CLUSTERS = st.lists(
    st.tuples(st.integers(1, 2 * 86_400 - 1), st.integers(1, 6)), max_size=12
).map(
    lambda chosen: [
        WHOLE.after + timedelta(seconds=second) + timedelta(milliseconds=150 * number)
        for second, size in chosen
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
        read = service.read()
    except Incomplete:
        second = [one for one in moments if sum(abs(one - other) < NARROWEST for other in moments) >= limit]
        assert second, "gave up, although no second has too many rows"
        return
    assert [moment for answer in read for moment in answer] == sorted(moments)


def test_what_fits_into_one_answer_is_asked_once() -> None:
    service = Service(spread(10), limit=11)
    assert service.read() == [spread(10)]
    assert service.asked == [WHOLE]


def test_answers_come_in_order_of_time() -> None:
    assert list(chain.from_iterable(Service(spread(100), limit=20).read())) == spread(100)


def test_width_that_was_answered_is_not_exceeded_again() -> None:
    # 64 windows: without learning, every second question would be in vain.
    service = Service(spread(6_400), limit=110)
    read = service.read()
    assert len(service.asked) <= len(read) + 7


def test_windows_widen_again_behind_a_burst() -> None:
    burst = [WHOLE.after + timedelta(seconds=number) for number in range(1, 400)]
    service = Service([*burst, NOW - HOUR], limit=50)
    read = service.read()
    assert sum(map(len, read)) == 400
    assert len(service.asked) < 60


def test_a_second_is_the_narrowest() -> None:
    service = Service([NOW - HOUR + MICROSECOND * number for number in range(20)], limit=10)
    with pytest.raises(Incomplete, match="cut off"):
        service.read()
    narrowest = min(one.until - one.after for one in service.asked if one.until)
    assert NARROWEST / 2 <= narrowest <= NARROWEST


def test_rows_that_are_stamped_in_the_future_are_halved_too() -> None:
    ahead = [NOW + AHEAD * number / 40 for number in range(1, 41)]
    service = Service([*ahead, NOW + 3 * DAY], limit=12)
    assert list(chain.from_iterable(service.read())) == [*ahead, NOW + 3 * DAY]
