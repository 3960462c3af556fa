"""The incident store without commits: what a complete run leaves to the next run."""

from detection.store.incident_store import IncidentStore
from detection.store.layout import whole_from
from detection.store.table import MemoryTable
from tests.support.builders import DAY, HOUR, START

RULE = "some-rule"


def started(table: MemoryTable) -> IncidentStore:
    """The store of a run that has read the watermark."""
    store = IncidentStore(table, RULE, "run")
    store.watermark()
    return store


def test_first_run_finds_no_moments() -> None:
    store = started(MemoryTable())
    assert (store.kept_since, store.threshold_until, store.run) == (None, None, 1)
    assert (store.gaps, store.groupings, store.has_backlog) == ([], [], False)


def test_next_run_finds_the_moments_of_the_last_run() -> None:
    table = MemoryTable()
    started(table).finish(START, b"record", START - DAY, has_threshold=True)
    store = started(table)
    assert (store.kept_since, store.threshold_until, store.run) == (whole_from(START - DAY), START, 2)


def test_run_without_a_threshold_keeps_the_moment_of_the_last_run_with_one() -> None:
    table = MemoryTable()
    started(table).finish(START, b"record", has_threshold=True)
    started(table).finish(START + HOUR, b"record")
    store = started(table)
    assert (store.threshold_until, store.run) == (START, 3)


def test_marks_that_an_earlier_run_purged_stay_purged() -> None:
    table = MemoryTable()
    started(table).finish(START, b"record", START)
    started(table).finish(START + HOUR, b"record", START - DAY)
    assert started(table).kept_since == whole_from(START)


def test_backlog_is_noted_until_the_next_complete_run() -> None:
    table = MemoryTable()
    started(table).finish(START, b"record")
    started(table).note_backlog()
    assert started(table).has_backlog
    started(table).finish(START + HOUR, b"record")
    assert not started(table).has_backlog
