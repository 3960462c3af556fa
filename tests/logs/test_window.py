"""Which stretch of the logs a run reads."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.logs.events import to_events
from detection.logs.window import MAX_CATCH_UP, Window, Windows, holds, meets, plan_windows
from detection.rules.loading import load_rule
from tests.support.builders import DAY, HOUR, RULE, START, TICK, change_row

PUBLISHED = load_rule("openai-config-to-abuse-sentinel")
LATENESS = 23 * HOUR

spans = st.timedeltas(timedelta(), timedelta(days=40))
moments = spans.map(lambda span: START + span)


def is_read(window: Window, time: datetime) -> bool:
    """Whether an event of that time is loaded as inside the window."""
    return bool(to_events([change_row("c", time)], RULE.sequence.changes, window, once=True).in_window)


def test_a_window_holds_its_end_but_not_its_beginning() -> None:
    window = Window(START, START + HOUR)
    times = [START, START + TICK, START + HOUR, START + HOUR + TICK]

    assert [holds(window, time) for time in times] == [False, True, True, False]
    assert [is_read(window, time) for time in times] == [False, True, True, False]


def test_a_window_without_end_holds_all_that_follows() -> None:
    window = Window(START, None)

    assert (holds(window, START + 1000 * DAY), is_read(window, START + 1000 * DAY)) == (True, True)


@pytest.mark.parametrize(
    "begin, end, is_met",
    [
        (START - HOUR, START, False),
        (START - HOUR, START + TICK, True),
        (START + HOUR, START + DAY, True),
        (START + HOUR + TICK, START + DAY, False),
    ],
)
def test_a_window_meets_a_time_range_that_ends_after_its_beginning_and_begins_by_its_end(
    begin: datetime, end: datetime, is_met: bool
) -> None:
    assert meets(Window(START, START + HOUR), begin, end) is is_met


def test_a_window_without_end_meets_every_range_that_ends_after_its_beginning() -> None:
    window = Window(START, None)

    assert meets(window, START + 1000 * DAY, START + 1001 * DAY)
    assert not meets(window, START - HOUR, START)


def test_the_first_run_reads_a_day_of_signals_and_two_of_changes() -> None:
    first_windows = plan_windows(START, None, RULE)

    assert first_windows.signals == Window(START - DAY, START)
    assert first_windows.changes == Window(START - 2 * DAY, START)
    assert first_windows.gap is None


def test_an_hourly_run_reads_what_a_first_run_reads() -> None:
    assert plan_windows(START, START - HOUR, RULE) == plan_windows(START, None, RULE)


def test_a_run_soon_after_the_last_reads_no_less() -> None:
    assert plan_windows(START, START - timedelta(minutes=5), RULE) == plan_windows(START, None, RULE)


def test_a_late_run_reaches_back_to_the_last_complete_one_and_the_lateness_before_it() -> None:
    watermark = START - 5 * DAY

    late = plan_windows(START, watermark, RULE)

    assert late.signals == Window(watermark - LATENESS, START)
    assert late.changes == Window(watermark - LATENESS - DAY, START)
    assert late.gap is None


def test_lateness_is_the_part_of_the_query_period_before_the_last_run() -> None:
    assert RULE.lateness == LATENESS


def test_a_longer_lateness_reaches_further_back() -> None:
    assert plan_windows(START, None, RULE, lateness=3 * DAY).signals.after == START - HOUR - 3 * DAY


def test_a_shorter_lateness_than_the_rules_own_is_not_followed() -> None:
    assert plan_windows(START, None, RULE, lateness=HOUR) == plan_windows(START, None, RULE)


def test_catching_up_ends_at_the_cap_and_the_lateness_before_it() -> None:
    capped = plan_windows(START, START - MAX_CATCH_UP - 5 * DAY, RULE)

    assert capped.signals.after == START - MAX_CATCH_UP - LATENESS
    assert capped.changes.after == START - MAX_CATCH_UP - LATENESS - DAY


def test_the_cap_can_be_set() -> None:
    capped = plan_windows(START, START - 9 * DAY, RULE, max_catch_up=3 * DAY)

    assert capped.signals.after == START - 3 * DAY - LATENESS


def test_the_cap_is_never_less_than_the_query_frequency() -> None:
    daily = RULE.model_copy(update={"query_frequency": DAY, "query_period": 2 * DAY})
    windows = plan_windows(START, START - DAY, daily, max_catch_up=HOUR)

    assert (windows.signals.after, windows.gap) == (START - 2 * DAY, None)


@pytest.mark.parametrize("behind", [HOUR, 90 * timedelta(minutes=1), DAY])
def test_a_lateness_above_the_cap_is_read_in_full(behind: timedelta) -> None:
    windows = plan_windows(START, START - behind, RULE, lateness=3 * DAY, max_catch_up=DAY)

    assert windows.signals.after == START - behind - 3 * DAY
    assert windows.gap is None


def test_a_run_ninety_minutes_late_reads_a_row_that_was_almost_as_late_as_allowed() -> None:
    windows = plan_windows(START, START - timedelta(minutes=150), RULE, max_catch_up=DAY)
    arrived = START - timedelta(minutes=149)

    assert is_read(windows.signals, arrived - timedelta(hours=22, minutes=50))


def test_there_is_no_gap_while_the_last_complete_run_is_in_reach() -> None:
    assert plan_windows(START, START - MAX_CATCH_UP, RULE).gap is None


def test_beyond_the_cap_the_gap_is_the_lateness_before_what_no_run_can_read() -> None:
    watermark = START - MAX_CATCH_UP - TICK

    windows = plan_windows(START, watermark, RULE)

    assert windows.gap == Window(watermark - LATENESS, START - MAX_CATCH_UP - LATENESS)
    assert windows.signals.after == windows.gap.until


def test_a_row_from_before_an_outage_that_arrives_in_it_is_in_the_gap() -> None:
    watermark = START - MAX_CATCH_UP - 5 * DAY

    gap = plan_windows(START, watermark, RULE).gap

    assert gap
    assert is_read(gap, watermark - timedelta(minutes=10))


def test_a_raised_lateness_reads_back_to_where_the_marks_are_complete() -> None:
    kept_since = START - 3 * DAY

    windows = plan_windows(START, START - HOUR, RULE, lateness=7 * DAY, kept_since=kept_since)

    assert (windows.changes.after, windows.signals.after, windows.gap) == (kept_since, kept_since, None)


def test_a_longer_within_takes_no_signal_from_the_window() -> None:
    sequence = RULE.sequence.model_copy(update={"within": 9 * DAY})
    longer = RULE.model_copy(update={"sequence": sequence})
    kept_since = START - 4 * DAY

    windows = plan_windows(START, START - HOUR, longer, kept_since=kept_since)

    assert windows.signals == plan_windows(START, START - HOUR, RULE).signals
    assert (windows.changes.after, windows.gap) == (kept_since, None)


def test_a_run_whose_clock_went_back_stands_at_the_watermark() -> None:
    assert plan_windows(START - 3 * HOUR, START, RULE) == plan_windows(START, START, RULE)


@given(moments, moments)
def test_no_run_reads_what_memory_was_allowed_to_forget(now: datetime, watermark: datetime) -> None:
    kept_since = plan_windows(watermark, watermark, RULE).changes.after

    assert plan_windows(now, watermark, RULE).changes.after >= kept_since


@given(
    moments,
    spans,
    st.floats(0, 1),
    st.timedeltas(HOUR, 20 * DAY),
    st.floats(0, 1),
    st.timedeltas(DAY, 25 * DAY),
)
def test_a_row_is_in_the_windows_or_in_the_gap_of_the_first_complete_run_after_it_arrived(
    watermark: datetime,
    elapsed: timedelta,
    arrived_share: float,
    lateness: timedelta,
    delay_share: float,
    max_catch_up: timedelta,
) -> None:
    now = watermark + max(TICK, elapsed)
    arrived = watermark + max(TICK, arrived_share * elapsed)
    time = arrived - delay_share * max(lateness, LATENESS)

    windows = plan_windows(now, watermark, RULE, lateness, max_catch_up)

    in_gap = windows.gap is not None and is_read(windows.gap, time)
    assert is_read(windows.signals, time) is not in_gap
    assert not in_gap or now - watermark > max_catch_up


def test_a_query_period_rule_reads_the_same_past_day_on_both_sides_whatever_ran_before() -> None:
    day = Window(START - DAY, None)

    for watermark in (None, START - HOUR, START - 30 * DAY):
        published = plan_windows(START, watermark, PUBLISHED)
        assert published == Windows(START, day, day, None)
