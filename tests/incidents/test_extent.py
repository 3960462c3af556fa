"""The extent of an incident: the events of all its alerts, each change once."""

from detection.incidents.alert import AlertIdentity, make_alert
from detection.incidents.evidence import KINDS, OTHER_KINDS, evidence
from detection.incidents.extent import CHANGES, Extent, extended, merged, newest_objects, totals_by_kind
from detection.logs.events import Event
from tests.support.builders import HOUR, RULE, START, account, chains, change, first_windows, signal


def extent_of(*alerts: tuple[list[Event], list[Event]]) -> Extent:
    """The extent of an incident with alerts for these changes and signals."""
    extent = None
    for changes, signals in alerts:
        pairs, windows = chains(changes, signals), first_windows(START)
        alert = make_alert(AlertIdentity("al_1", "in_1", "opened", account()), pairs, RULE, windows)
        extent = extended(extent, alert, evidence(pairs, RULE, windows), RULE)
    assert extent
    return extent


def test_change_of_two_alerts_counts_once_and_their_signals_add_up() -> None:
    key = change("c", START - 5 * HOUR)
    extent = extent_of(
        ([key], [signal("1", START - 4 * HOUR)]),
        ([key, change("d", START - 3 * HOUR)], [signal("2", START - 2 * HOUR), signal("3", START - HOUR)]),
    )
    assert sum(extent.change_kinds.values()) == 2
    assert sum(extent.signals.values()) == 3
    assert (extent.began, extent.ended) == (START - 5 * HOUR, START - HOUR)


def test_alert_with_earlier_events_makes_the_extent_longer() -> None:
    extent = extent_of(
        ([change("c", START - 3 * HOUR)], [signal("1", START - HOUR)]),
        ([change("d", START - 9 * HOUR)], [signal("2", START - 8 * HOUR)]),
    )
    assert (extent.began, extent.ended) == (START - 9 * HOUR, START - HOUR)


def test_extent_has_as_many_kinds_as_an_alert_and_counts_all_events() -> None:
    events = merged([{f"kind{n}": {0: 1}} for n in range(99)], max)
    assert len(events) == KINDS + 1
    added = merged([{f"kind{n}": {0: 1}} for n in range(99)], lambda former, number: former + number)
    assert totals_by_kind(added)[OTHER_KINDS] == 99 - KINDS


def test_extent_keeps_the_objects_of_the_newest_changes() -> None:
    changes = [change("c", START - HOUR, details='{"id": "key_1"}')]
    (changed,) = extent_of((changes, [signal("1", START)]), (changes, [signal("2", START)])).changed_objects
    assert len(newest_objects([changed] * 99)) == CHANGES
