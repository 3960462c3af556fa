"""The evidence of an alert: bounded, and in one transaction with the alert."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from pydantic_core import to_json

from detection.base.errors import ConfigurationError
from detection.correlation.correlate import correlate
from detection.correlation.detection import Detection
from detection.delivery.rendering import message_renderer
from detection.incidents.alert import Alert
from detection.incidents.changed_object import OBJECTS
from detection.incidents.decide import EVENTS_PER_PART, Verdict, decisions
from detection.incidents.evidence import (
    KINDS,
    OTHER_KINDS,
    PAIRS,
    PAIRS_BYTES,
    VALUE,
    Evidence,
    evidence,
    histogram,
    newest_pairs,
)
from detection.logs.events import Event, Events, Logs
from detection.logs.window import MAX_CATCH_UP, Windows, plan_windows
from detection.rules.model import Rule
from detection.runs.commit import Committer, RunOptions
from detection.runs.limits import require_commits_fit
from detection.settings import DESTINATIONS, Webhook
from detection.store.incident_list import IncidentList
from detection.store.incident_store import IncidentStore
from detection.store.outbox import Delivery
from detection.store.table import MemoryTable
from tests.messages.test_formats import HOSTILE
from tests.support.builders import DAY, HOUR, RULE, START, TICK, chains, change, first_windows, signal

MINUTE = timedelta(minutes=1)


def evidence_of(changes: Sequence[Event], signals: Sequence[Event]) -> Evidence:
    return evidence(chains(changes, signals), RULE, first_windows())


def test_events_are_counted_by_kind_and_quarter_of_an_hour() -> None:
    events = [signal(f"s{n}", START + n * 7 * MINUTE) for n in range(5)]  # 0, 7, 14, 21, 28
    length_signal = signal("t", START + 31 * MINUTE)._replace(kind="length")

    counts = histogram([*events, length_signal])

    assert counts.begin == START
    assert counts.kinds == {"content_filter": {0: 3, 1: 2}, "length": {2: 1}}


def test_first_quarter_is_a_whole_one() -> None:
    counts = histogram([signal("s", START + 29 * MINUTE), signal("t", START + 30 * MINUTE)])
    assert (counts.begin, counts.kinds) == (START + 15 * MINUTE, {"content_filter": {0: 1, 1: 1}})


def test_kinds_beyond_the_most_common_are_counted_together() -> None:
    events = [
        signal(f"s{kind}-{n}", START)._replace(kind=f"kind-{kind:02}")
        for kind in range(KINDS + 3)
        for n in range(KINDS + 3 - kind)
    ]
    counts_by_kind = histogram(events).kinds
    assert len(counts_by_kind) == KINDS + 1
    assert counts_by_kind[OTHER_KINDS] == {0: 3 + 2 + 1}


@pytest.mark.parametrize("once, times", [(True, [3]), (False, [3, 2, 1, 0])])
def test_pair_of_equal_ids_is_shown_once_where_it_counts_once(*, once: bool, times: Sequence[int]) -> None:
    signals = [signal("s", START + number * HOUR) for number in range(4)]
    parts = correlate([change("c", START)], signals, DAY, once=once)
    assert [(pair[1].time - START) // HOUR for pair in newest_pairs(parts, PAIRS)] == times


def test_newest_pairs_are_kept_the_latest_first() -> None:
    stored_evidence = evidence_of(
        [change("c", START)], [signal(f"s{n:03}", START + n * TICK) for n in range(PAIRS + 9)]
    )
    assert [row["AbuseId"] for row in stored_evidence.pairs] == [
        f"s{n:03}" for n in reversed(range(9, PAIRS + 9))
    ]


def test_pair_beyond_the_published_rule_says_why() -> None:
    late = evidence_of([change("c", START - 30 * HOUR)], [signal("s", START - 7 * HOUR)])
    usual = evidence_of([change("c", START - 3 * HOUR)], [signal("s", START - 2 * HOUR)])
    assert [stored_evidence.pairs[0]["Beyond"] for stored_evidence in (late, usual)] == [
        ["outside_published_window"],
        [],
    ]


@pytest.mark.parametrize("value", HOSTILE)
def test_values_are_cut_and_pairs_left_out_until_they_fit(value: str) -> None:
    changes = [change(f"c{n}", START, value, ip=value) for n in range(10)]
    signals = [signal(f"s{n}{value}", START, value, model=value) for n in range(10)]

    stored_evidence = evidence(chains(changes, signals), RULE, first_windows())

    assert stored_evidence.pairs
    assert len(to_json(stored_evidence.pairs)) <= PAIRS_BYTES
    assert max(len(str(cell)) for row in stored_evidence.pairs for cell in row.values()) <= VALUE + 1


# --------------------------------------------------------------------------------------------- with its alert


def make_detection(
    changes: Sequence[Event], signals: Sequence[Event], windows: Windows, rule: Rule = RULE
) -> Detection:
    chains_of_rule = correlate(changes, signals, rule.sequence.within, once=True)
    return Detection(rule, windows, Logs(Events(changes), Events(signals)), chains_of_rule)


def stored_alert(detection: Detection, options: RunOptions = RunOptions()) -> Alert:  # noqa: B008  # frozen
    """The alert that is in the table after a run with this detection."""
    store = IncidentStore(MemoryTable(), RULE.folder, "run")
    committer = Committer(detection.rule, detection.windows.now, store, options)
    committer.commit(decisions(detection, committer.circumstances(detection)), detection)
    (alert,) = IncidentList(store.table, store.rule).alerts()
    return alert


def test_alert_in_the_table_has_its_evidence() -> None:
    changes, signals = [change("c", START - HOUR)], [signal("s", START - MINUTE)]
    assert stored_alert(make_detection(changes, signals, first_windows())).evidence == evidence_of(
        changes, signals
    )


def test_no_message_has_the_evidence() -> None:
    rendered: list[tuple[Verdict, Detection]] = []

    def listen(verdict: Verdict, detection: Detection) -> list[Delivery]:
        rendered.append((verdict, detection))
        return []

    stored_alert(
        make_detection([change("c", START - HOUR)], [signal("s", START - MINUTE)], first_windows()),
        RunOptions(listen),
    )

    ((verdict, detection),) = rendered
    assert verdict.alert
    assert verdict.alert.evidence
    without = replace(verdict, alert=replace(verdict.alert, evidence=None))
    render = message_renderer(_webhooks())
    assert [delivery.body for delivery in render(verdict, detection)] == [
        delivery.body for delivery in render(without, detection)
    ]


def _webhooks() -> list[Webhook]:
    """As many destinations as may be, with the largest messages: in every format, as none is set."""
    urls = [SecretStr(f"https://r.logic.azure.com/{n}") for n in range(DESTINATIONS)]
    return [Webhook(name=f"n{n}", url=url) for n, url in enumerate(urls)]


@pytest.mark.parametrize(
    "within, threshold, lateness, max_catch_up",
    [
        (DAY, {}, None, 37 * DAY),
        (DAY, {}, 24 * DAY, MAX_CATCH_UP),
        (14 * DAY, {}, None, 24 * DAY),
        (11 * DAY, {"content_filter": 1}, None, 27 * DAY),
    ],
    ids=["longest catch-up", "longest lateness", "longest within", "with a threshold"],
)
def test_what_spans_the_widest_catch_up_fits_into_one_transaction_with_messages_to_all(
    within: timedelta, threshold: dict[str, int], lateness: timedelta | None, max_catch_up: timedelta
) -> None:
    sequence = RULE.sequence.model_copy(update={"within": within, "threshold": threshold})
    rule = RULE.model_copy(update={"sequence": sequence})
    require_commits_fit(rule, lateness, max_catch_up)
    with pytest.raises(ConfigurationError, match=r"`within` .* MAX_CATCH_UP .* ALLOWED_LATENESS"):
        require_commits_fit(rule, lateness, max_catch_up + DAY)
    now = datetime(2026, 6, 30, 12, tzinfo=UTC)
    widest = plan_windows(now, now - 90 * DAY, rule, lateness, max_catch_up)
    changes = [*_daily(change, widest.changes.after, now), change("last", now - MINUTE)]
    signals = [*_daily(signal, widest.signals.after, now), signal("last", now)]

    detection = make_detection(changes, signals, widest, rule)
    alert = stored_alert(detection, RunOptions(message_renderer(_webhooks())))

    assert alert.counts.changes == len(changes) == -((widest.changes.after - now) // DAY) + 1


@pytest.mark.parametrize("value", ["\x01" * 32_000, pytest.param("🔑" * 16_000, marks=pytest.mark.slow)])
def test_largest_part_of_hostile_events_fits_into_one_transaction_with_messages_to_all(value: str) -> None:
    hostile_signal = signal("s", START, value, model=value)
    signals = [hostile_signal._replace(id=f"{n:07}") for n in range(EVENTS_PER_PART - OBJECTS)]
    details = json.dumps({"id": value, **{f"{value[:50]}{number}": value for number in range(9)}})
    project = json.dumps({"id": value, "name": value})
    changes = [
        change(f"c{n}", START, value, ip=value, details=details, project=project, client=value)
        for n in range(OBJECTS)
    ]

    alert = stored_alert(
        make_detection(changes, signals, first_windows()), RunOptions(message_renderer(_webhooks()))
    )

    assert alert.counts.signals == EVENTS_PER_PART - OBJECTS
    assert len(alert.changed_objects) == OBJECTS


def _daily(make: object, after: datetime, until: datetime) -> list[Event]:
    return [
        make(f"e{n}", after + TICK + n * DAY)  # type: ignore[operator]
        for n in range((until - after) // DAY + 1)
        if after + TICK + n * DAY <= until
    ]
