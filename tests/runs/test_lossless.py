"""The promise: every pair is told exactly once, for rows that arrive up to the lateness late.

The runs may be skipped, cut short, killed, raced, unheard or early: tests/support/world/ has the model.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from detection.runs.commit import RunOptions
from detection.runs.run import run
from detection.store.incident_store import IncidentStore
from detection.store.table import MemoryTable
from tests.support.builders import ALICE, DAY, HOUR, RULE, START, TICK
from tests.support.clock import Clock
from tests.support.examples import examples, many
from tests.support.world import (
    Arrival,
    Configuration,
    Faults,
    History,
    LogStore,
    Mute,
    Plan,
    SideName,
    Silencing,
    World,
    expected,
    live,
    published,
    random_world,
    row_of,
)

WORLDS = examples(40, many=500)
FLOODED_WORLDS = examples(15, many=100)
BOB = "bob@example.com"
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
TROUBLES = (
    "skipped",
    "incomplete",
    "crashes",
    "races",
    "conflicts",
    "unheard",
    "purged",
    "late",
    "digests",
    "refused",
    "silences added",
    "silences lifted",
    "silenced",
    "floods",
    "gap readings",
    "gaps read",
)
EDITS = ("threshold", "within", "identity", "mapping", "exclusions", "lateness", "catch-up", "grouping")


def event(
    side: SideName, ident: str, time: datetime, actor: str = ALICE, delay: timedelta = timedelta()
) -> Arrival:
    return Arrival(side, ident, actor, time, stamped=time, arrived=time + delay)


def quiet_hours(begin: datetime, end: datetime) -> list[Plan]:
    """Clean runs, hour by hour."""
    hours = int((end - begin) / HOUR) + 1
    return [Plan(begin + HOUR * hour, begin + HOUR * hour) for hour in range(hours)]


def hours_around(plan: Plan) -> list[Plan]:
    """One run as planned, after a clean first one and before two clean ones."""
    return [*quiet_hours(START, START), plan, *quiet_hours(plan.moment + HOUR, plan.moment + 2 * HOUR)]


def hourly_runs_around(plan: Plan) -> list[Plan]:
    """Clean runs every hour, and one of them as planned."""
    before = quiet_hours(START, plan.moment - HOUR)
    return [*before, plan, *quiet_hours(plan.moment + HOUR, plan.moment + 2 * HOUR)]


def small_story() -> list[Arrival]:
    """Two actors, three changes, six signals: eight pairs within the hour after START."""
    minute = timedelta(minutes=1)
    return [
        event("changes", "c1", START + minute),
        event("signals", "s1", START + 2 * minute),
        event("changes", "c2", START + 3 * minute),
        *(event("signals", f"s{number}", START + number * minute) for number in (4, 5)),
        event("changes", "c3", START + 5 * minute, BOB),
        *(event("signals", f"s{number}", START + number * minute, BOB) for number in (6, 7, 8)),
    ]


def story_with_a_late_change() -> list[Arrival]:
    """Of the second change's two signals one is told early, and one happens later."""
    return [
        event("changes", "c1", START + TICK),
        event("signals", "s1", START + 2 * TICK),
        event("changes", "c2", START + 3 * TICK, delay=2 * HOUR),
        event("signals", "s2", START + HOUR + TICK),
    ]


def assert_no_problems(history: History) -> None:
    problems = history.problems[:5]
    assert not problems, history.world.name


# ----------------------------------------------------------------------------------------------------- random worlds


@pytest.fixture(scope="module")
def histories() -> list[History]:
    return [live(random_world(seed)) for seed in range(WORLDS)]


@many
def test_every_pair_is_told_exactly_once_in_random_worlds(histories: Sequence[History]) -> None:
    broken = [
        f"{history.world.name}: {'; '.join(history.problems[:3])}"
        for history in histories
        if history.problems
    ]
    assert not broken, f"{len(broken)} of {WORLDS} worlds; {broken[:5]}"


@many
def test_the_random_worlds_hold_every_trouble(histories: Sequence[History]) -> None:
    total = sum((history.figures for history in histories), Counter[str]())
    missing = [trouble for trouble in TROUBLES if total[trouble] < WORLDS / 4]
    missing += ["refused for another grouping"] * (not total["refused for another grouping"])
    missing += [kind for kind in EDITS if total[f"edits of {kind}"] < WORLDS / 10]
    assert not missing, total


@many
def test_the_published_rule_loses_and_repeats_pairs_in_the_same_worlds(histories: Sequence[History]) -> None:
    total = sum((_figures(history) for history in histories), Counter[str]())
    assert total["published lost"] > 0
    assert total["published again"] > 0


@many
def test_a_flood_tells_every_pair_that_was_there_once_in_random_worlds() -> None:
    worlds = [
        replace(random_world(seed, 2), configuration=Configuration(), edits=(), flood=2 + seed % 7)
        for seed in range(FLOODED_WORLDS)
    ]
    histories = [live(world) for world in worlds]
    broken = [
        f"{history.world.name}: {'; '.join(history.problems[:3])}"
        for history in histories
        if history.problems
    ]
    assert not broken, f"{len(broken)} of {FLOODED_WORLDS} worlds; {broken[:5]}"
    total = sum((history.figures for history in histories), Counter[str]())
    assert total["floods"] > FLOODED_WORLDS
    assert total["covered by a flood"] < total["pairs"] / 2, total


def _figures(history: History) -> Counter[str]:
    """The history's figures beside those of the published rule in the same world."""
    times_by_pair = published(history.world, history.complete)
    lost = len(expected(history.world) - {pair for pair, times in times_by_pair.items() if times})
    again = sum(max(0, times - 1) for times in times_by_pair.values())
    return history.figures + Counter({"published lost": lost, "published again": again})


# ---------------------------------------------------------------------------------------------------- one at a time


def test_a_quiet_day_is_told_once() -> None:
    history = live(World("quiet", small_story(), quiet_hours(START, START + DAY)))

    assert_no_problems(history)
    assert history.alerted_pairs.total() == 8


def test_rows_that_are_delivered_again_under_a_new_time_alert_once() -> None:
    # Rows without the vendor's own time get a new stamp. The marks of the first day are purged on the sixth,
    # while the second rows are in the window.
    rows = [event("changes", "c", START), event("signals", "s", START + HOUR)]
    later_rows = [event(row.side, row.id, row.time + 90 * HOUR) for row in rows]

    history = live(World("delivered again", [*rows, *later_rows], quiet_hours(START, START + 5 * DAY)))

    assert history.alerted_pairs == {("c", "s"): 1}
    assert history.figures["purged"] > 0


@pytest.mark.parametrize("silent_hours, alerts", [(2, 1), (20, 0)])
def test_silenced_signal_of_a_flood_alerts_by_a_new_time_only_outside_the_silence(
    silent_hours: int, alerts: int
) -> None:
    # A flood covers both signals while they are silenced. After a day only the second row of s1 is read.
    rows = [
        event("changes", "c", START),
        event("signals", "s1", START + MINUTE),
        event("signals", "s2", START + 2 * MINUTE),
        event("signals", "s1", START + 10 * HOUR),
    ]
    mute = Mute("busy", (("actor", ALICE),), expires=START + silent_hours * HOUR)
    runs = quiet_hours(START, START + 40 * HOUR)

    history = live(World("retimed", rows, runs, flood=1, silencings=[Silencing(START, mute)]))

    assert_no_problems(history)
    assert history.alerted_pairs == Counter({("c", "s1"): 1} if alerts else {})
    assert history.figures["alerted after a silence by a new time"] == alerts


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 7))
def test_a_crash_at_any_write_loses_and_repeats_nothing(write: int, after: bool) -> None:
    dying = Plan(START + HOUR, START + HOUR, limit=2, faults=Faults(crash=write, crash_after=after))

    history = live(World("crash", small_story(), hours_around(dying)))

    assert history.figures["crashes"] == 1
    assert_no_problems(history)


@pytest.mark.parametrize("write", range(1, 7))
def test_a_run_recognises_its_own_write_when_the_answer_is_lost(write: int) -> None:
    unheard = Plan(START + HOUR, START + HOUR, limit=2, faults=Faults(lost=frozenset({write})))

    history = live(World("lost answer", small_story(), hours_around(unheard)))

    assert history.figures["unheard"] == 1
    assert_no_problems(history)


@pytest.mark.parametrize("minutes", [0, 7, -7])
@pytest.mark.parametrize("access", range(1, 25))
def test_another_run_at_any_access_to_the_table_repeats_nothing(access: int, minutes: int) -> None:
    moment = START + HOUR
    rival = Plan(moment, moment + timedelta(minutes=minutes), limit=3)
    raced = Plan(moment, moment, limit=2, race=rival, race_at=access)

    assert_no_problems(live(World("race", small_story(), hours_around(raced))))


@pytest.mark.parametrize("access", range(1, 25))
def test_another_run_that_dies_on_the_way_loses_nothing(access: int) -> None:
    moment = START + HOUR
    rival = Plan(moment, moment, limit=1, faults=Faults(crash=3, crash_after=True))
    raced = Plan(moment, moment, limit=2, race=rival, race_at=access)

    assert_no_problems(live(World("race with a crash", small_story(), hours_around(raced))))


@pytest.mark.parametrize("access", range(1, 12))
def test_a_catch_up_run_that_is_overtaken_repeats_nothing(access: int) -> None:
    # The other run completes, so the watermark leaves the outage behind, and memory may be purged;
    # but the overtaken run still holds what it read of the days before.
    clean_runs = quiet_hours(START, START + HOUR)
    back = START + 4 * DAY
    superseded = Plan(back, back, race=Plan(back, back), race_at=access)

    history = live(
        World(
            "overtaken", small_story(), [*clean_runs, superseded, *quiet_hours(back + HOUR, back + 2 * HOUR)]
        )
    )

    assert_no_problems(history)


@pytest.mark.parametrize("crash", range(1, 5))
@pytest.mark.parametrize("access", range(1, 9))
def test_a_catch_up_run_finishes_what_a_racing_one_began(access: int, crash: int) -> None:
    # What lies days back is read this one time: taking the other's first parts for all would lose the rest.
    back = START + 4 * DAY
    dying = Plan(back, back, limit=1, faults=Faults(crash=crash, crash_after=True))
    raced = Plan(back, back, race=dying, race_at=access)

    history = live(
        World("began", small_story(), [Plan(START, START), raced, *quiet_hours(back + HOUR, back + 2 * HOUR)])
    )

    assert_no_problems(history)


@pytest.mark.parametrize("behind", [timedelta(), HOUR], ids=["same clock", "clock an hour behind"])
@pytest.mark.parametrize("access", range(1, 9))
def test_a_run_does_not_mark_beside_what_only_a_dying_run_saw(access: int, behind: timedelta) -> None:
    # The other run marks a change that came late, and dies. This one has not seen that change: were it to
    # mark the new signal nevertheless, the pair of the two would never be new again.
    moment = START + 2 * HOUR
    late = moment + timedelta(minutes=1)
    rival = Plan(late, late - behind, limit=1, faults=Faults(crash=1, crash_after=True))
    raced = Plan(moment, moment, race=rival, race_at=access)

    assert_no_problems(live(World("late change", story_with_a_late_change(), hourly_runs_around(raced))))


@pytest.mark.parametrize("access", range(1, 9))
def test_runs_whose_readings_interleave_lose_nothing(access: int) -> None:
    # One reads the signals last, the other the changes: each sees one event that the other does not.
    moment = START + 2 * HOUR
    minute = timedelta(minutes=1)
    rows = [
        *story_with_a_late_change(),
        event("signals", "s3", START + 4 * TICK, delay=2 * HOUR),
        event("signals", "s4", START + 5 * TICK, delay=2 * HOUR + minute),
    ]
    rival = Plan(moment, moment, changes_later=minute)
    raced = Plan(moment, moment, signals_later=2 * minute, race=rival, race_at=access)

    assert_no_problems(live(World("interleaved", rows, hourly_runs_around(raced))))


@pytest.mark.parametrize("dies_at", [None, 3])
@pytest.mark.parametrize("access", range(1, 9))
def test_a_run_that_follows_another_one_reads_up_to_its_time(access: int, dies_at: int | None) -> None:
    # The other run is later and marks s2. This one reads a change that came after that: were it to read up to
    # its own time only, it would mark the change, and the pair of the change and s2 would never be new.
    moment = START + HOUR
    minute = timedelta(minutes=1)
    rows = [
        event("changes", "c1", moment - 30 * minute),
        event("signals", "s1", moment - 20 * minute),
        event("changes", "c2", moment - 25 * minute, delay=28 * minute),
        event("signals", "s2", moment + minute),
    ]
    later = moment + 2 * minute
    rival = Plan(later, later, limit=2, faults=Faults(crash=dies_at, crash_after=True))
    delay = 3 * minute
    raced = Plan(moment, moment, changes_later=delay, signals_later=delay, race=rival, race_at=access)

    assert_no_problems(live(World("later", rows, hourly_runs_around(raced))))


@pytest.mark.parametrize("dies_at", [None, 1, 2])
@pytest.mark.parametrize("access", range(1, 25))
def test_a_run_in_a_storm_that_was_taken_for_dead_tells_nothing_twice(
    access: int, dies_at: int | None
) -> None:
    # It stands still for two hours in the middle of its batch, which the next run then seals over its head,
    # and dies of it or not.
    moment = START + HOUR
    rival = Plan(moment + 2 * HOUR, moment + 2 * HOUR, faults=Faults(crash=dies_at, crash_after=True))
    stopped = Plan(moment, moment, limit=1, race=rival, race_at=access)
    later = quiet_hours(moment + 3 * HOUR, moment + 4 * HOUR)

    history = live(World("stopped", small_story(), [Plan(START, START), stopped, *later], storm=0))

    assert_no_problems(history)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 7))
def test_a_crash_at_any_write_of_a_storm_loses_and_repeats_no_message(write: int, after: bool) -> None:
    dying = Plan(START + HOUR, START + HOUR, limit=2, faults=Faults(crash=write, crash_after=after))

    history = live(World("storm", small_story(), hours_around(dying), storm=1))

    assert history.figures["crashes"] == 1
    assert history.figures["digests"] > 0
    assert_no_problems(history)


def test_a_lateness_that_is_raised_does_not_repeat_what_memory_has_let_go() -> None:
    table, rows = MemoryTable(), [(arrival, row_of(arrival, Configuration())) for arrival in small_story()]
    pairs = 0
    for hours in range(24 * 8):
        now = START + hours * HOUR
        lateness = RULE.lateness if hours < 24 * 7 else 7 * DAY
        record, _ = run(
            RULE,
            now,
            LogStore(Plan(now, now), rows, lambda: START),
            IncidentStore(table, RULE.folder, f"run {hours}"),
            RunOptions(lateness=lateness),
        )
        pairs += record.new_pairs

    assert pairs == 8


def test_a_clock_that_went_back_does_not_hide_what_is_marked() -> None:
    # A signal of the last minutes is marked; then the clock goes back behind it, and a change before it
    # arrives late: the pair of the two must be told, now or later.
    moment = START + 2 * HOUR
    rows = [
        event("changes", "c1", moment - 40 * SECOND),
        event("changes", "c2", moment - 30 * SECOND, delay=HOUR),
        event("signals", "s1", moment - 20 * SECOND),
        event("signals", "s2", moment - 5 * SECOND),
    ]
    back = Plan(moment + HOUR, moment - 10 * SECOND)

    assert_no_problems(
        live(
            World(
                "back",
                rows,
                [*quiet_hours(START, moment), back, *quiet_hours(moment + 2 * HOUR, moment + 3 * HOUR)],
            )
        )
    )


def test_clock_eight_minutes_ahead_does_not_lose_a_row_that_comes_almost_too_late() -> None:
    # By the clock of the run at `moment`, the row is past the lateness at the next run; by its own time it is not.
    moment = START + 2 * HOUR
    happened = moment - HOUR + TICK
    rows = [
        event("changes", "c1", happened - TICK),
        event("signals", "s1", happened, delay=RULE.lateness + HOUR - SECOND),
    ]
    hours = quiet_hours(START, START + 30 * HOUR)
    ahead = [replace(plan, now=plan.now + 8 * MINUTE) for plan in hours[1:]]

    history = live(World("ahead", rows, [hours[0], *ahead]))

    assert_no_problems(history)
    assert history.alerted_pairs.total() == 1


def test_run_whose_clock_is_days_ahead_is_refused_and_changes_nothing() -> None:
    ahead = Plan(START + HOUR, START + HOUR + 3 * DAY)

    history = live(World("days ahead", small_story(), hours_around(ahead)))

    assert_no_problems(history)
    assert history.figures["refused"] == 1
    assert history.alerted_pairs.total() == 8


def test_watermark_that_lies_days_ahead_is_replaced_by_the_time_of_its_write() -> None:
    clock = Clock(START)
    table, rows = (
        MemoryTable(clock),
        [(arrival, row_of(arrival, Configuration())) for arrival in small_story()],
    )
    IncidentStore(table, RULE.folder, "by a version that trusted its clock").finish(START + 3 * DAY, b"{}")
    pairs = 0
    for hours in (1, 2):
        clock.now = START + hours * HOUR
        store = IncidentStore(table, RULE.folder, f"run {hours}")
        record, _ = run(RULE, clock.now, LogStore(Plan(clock.now, clock.now), rows, lambda: START), store)
        pairs += record.new_pairs
        assert record.windows.now == clock.now

    assert pairs == 8
    assert IncidentStore(table, RULE.folder, "look").watermark() == START + 2 * HOUR


def test_nothing_is_told_from_half_an_answer() -> None:
    cut = Plan(START + HOUR, START + HOUR, incomplete=True)

    history = live(World("half an answer", small_story(), [Plan(START, START), cut]))

    assert history.figures["incomplete"] == 1
    assert not history.alerted_pairs
    assert history.store.watermark() == START


def test_an_outage_of_days_is_caught_up() -> None:
    back = START + 5 * DAY
    world = World("outage", small_story(), [Plan(START, START), *quiet_hours(back, back + HOUR)])

    assert_no_problems(live(world))


def test_a_clock_that_went_back_an_hour_loses_and_repeats_nothing() -> None:
    plans = quiet_hours(START, START + DAY)
    plans = [
        replace(plan, now=plan.now - HOUR) if index % 3 == 1 else plan for index, plan in enumerate(plans)
    ]

    assert_no_problems(live(World("clock", small_story(), plans)))


@pytest.mark.parametrize("side", ["changes", "signals"])
def test_a_row_exactly_the_lateness_late_is_told(side: SideName) -> None:
    # It happens just before a run's end and arrives just after the run that would still have been in time.
    changed = event("changes", "c", START + TICK, delay=RULE.lateness if side == "changes" else timedelta())
    signalled = event("signals", "s", START + TICK, delay=RULE.lateness if side == "signals" else timedelta())

    history = live(World("late", [changed, signalled], quiet_hours(START, START + 2 * DAY)))

    assert_no_problems(history)
    assert history.alerted_pairs.total() == 1


@pytest.mark.parametrize("days", [2, 3, 6])
def test_a_longer_lateness_is_kept_in_memory_too(days: int) -> None:
    lateness = days * DAY
    rows = [*small_story(), event("signals", "late", START + 9 * TICK + HOUR, delay=lateness)]

    history = live(
        World(
            "patient",
            rows,
            quiet_hours(START, START + 12 * DAY),
            configuration=Configuration(lateness=lateness),
        )
    )

    assert_no_problems(history)


def test_marks_are_removed_when_no_run_can_need_them() -> None:
    history = live(World("long", small_story(), quiet_hours(START, START + 6 * DAY)))

    assert history.figures["purged"] > 0
    assert not list(history.table.scan(RULE.folder, "p|", "p}"))
    state = history.store.load([(("Account", ALICE),)])[("Account", ALICE),]
    assert not state.changes
    assert not state.signals
    assert_no_problems(history)
