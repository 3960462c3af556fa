"""What one key gets: its grouping key, its alerts in parts, its incidents, and what memory keeps of it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.correlation.correlate import Chain
from detection.incidents.decide import EVENTS_PER_PART, Circumstances, Verdict, decide, next_incident
from detection.incidents.incident import ALERTS_PER_INCIDENT, ActRefused, Incident
from detection.incidents.key_state import KeyState
from detection.incidents.keys import Key, group_by_key
from detection.logs.events import Event
from detection.rules.model import Rule
from detection.store.incident_list import IncidentList
from detection.store.incident_store import IncidentStore
from detection.store.table import OPERATIONS, Conflict, MemoryTable
from tests.support.builders import (
    ALICE,
    DAY,
    HOUR,
    RULE,
    START,
    TICK,
    account,
    act,
    chains,
    change,
    closed_at_start,
    first_windows,
    grouped,
    grouped_by,
    signal,
)
from tests.support.retention import purge_marks
from tests.support.world import Faults, FaultyTable

BOB = "bob@example.com"
SECOND = timedelta(seconds=1)
HOSTILE = {
    "slashes": "../..\\a/b?c#d%2f",
    "quotes": "\"'`; drop table x; --",
    "separators": "h|i|m|000001",
    "control": "a\x00b\x01\r\n\t\x1b[31m\x7f\x9f",
    "right to left": "alice\u202emoc.elpmaxe@\u2066\u200b",
    "beyond ASCII": "ключ 🔑 é e\u0301",
    "markup": "<!channel> <script>alert(1)</script> [x](javascript:1)",
    "long": "x" * 60_000,
    "long and wide": "🔑" * 15_000,
    "empty": "",
}
WIDE = "\x01" * 32_000  # as long as Log Analytics lets a value be, and six times as long in JSON


class Job:
    """The part of a run after reading, on a table of its own."""

    def __init__(self, rule: Rule = RULE, token: str = "run", table: MemoryTable | None = None) -> None:
        self.rule = rule
        self.table = table or MemoryTable()
        self.store = IncidentStore(self.table, rule.folder, token)

    def commit_new(
        self,
        now: datetime,
        changes: Sequence[Event],
        signals: Sequence[Event],
        limit: int = EVENTS_PER_PART,
    ) -> list[Verdict]:
        """What a run at `now` commits when it finds these events."""
        return [
            verdict
            for key, part in group_by_key(chains(changes, signals), self.rule).items()
            for verdict in commit_chains(part, key, self.store, self.rule, now, limit)
        ]

    def signals_at(self, *moments: datetime) -> list[str]:
        """A new signal of Alice's at each moment, told at once; returns the incidents they went into."""
        verdicts = [
            verdict
            for now in moments
            for verdict in self.commit_new(now, [change("c", now)], [signal(f"s {now}", now)])
        ]
        return [verdict.alert.incident for verdict in verdicts if verdict.alert]

    @property
    def incidents(self) -> list[Incident]:
        """The incidents of all keys."""
        return sorted(
            (incident for _, incident in IncidentList(self.store.table, self.store.rule).incidents()),
            key=lambda incident: incident.number,
        )


def commit_chains(
    chains: Sequence[Chain],
    key: Key,
    store: IncidentStore,
    rule: Rule = RULE,
    now: datetime = START,
    limit: int = EVENTS_PER_PART,
) -> list[Verdict]:
    """What a run at `now` that found these chains commits for a key, part by part."""
    verdicts: list[Verdict] = []
    while verdict := decide(
        chains, Circumstances(rule, first_windows(now), events_per_part=limit), store.load([key])[key]
    ):
        store.commit([store.prepare(verdict)])
        verdicts.append(verdict)
        if not verdict.has_more:
            break
    return verdicts


def pair_counts(verdicts: Iterable[Verdict]) -> Counter[tuple[str, str]]:
    return Counter(
        (change.id, signal.id)
        for verdict in verdicts
        for chain in verdict.new_pairs
        for change, signal in chain.pairs()
    )


def many_signals(number: int) -> list[Event]:
    """Signals in time order."""
    first_signal = signal("s", START)
    return [
        first_signal._replace(id=f"s{place:07}", time=START + place * timedelta(milliseconds=1))
        for place in range(number)
    ]


# --------------------------------------------------------------------------------------------------- the grouping key


def test_the_default_rule_groups_by_account() -> None:
    signals = [signal("s1", START, model="gpt-4o"), signal("s2", START, model="o3")]
    changes = [change("c1", START, ip="203.0.113.1"), change("c2", START, ip="203.0.113.2")]

    job = Job()
    job.commit_new(START, changes, signals)
    job.commit_new(START, [change("c3", START, BOB)], [signal("s3", START, BOB)])

    assert {key for key, _ in IncidentList(job.store.table, job.store.rule).incidents()} == {
        account(ALICE),
        account(BOB),
    }


def test_several_chosen_entities_make_the_key_together() -> None:
    rule = grouped_by("Selected", "Account", "IP")
    changes = [change("c1", START, ip="203.0.113.1"), change("c2", START, ip="203.0.113.2")]

    keys = group_by_key(chains(changes, [signal("s", START)]), rule)

    assert set(keys) == {
        (("Account", ALICE), ("IP", "203.0.113.1")),
        (("Account", ALICE), ("IP", "203.0.113.2")),
    }


def test_all_entities_separate_whatever_differs_on_either_side() -> None:
    changes = [change("c1", START, ip="203.0.113.1"), change("c2", START, ip="203.0.113.2")]
    signals = [signal("s1", START, model="gpt-4o"), signal("s2", START, model="o3")]

    keys = group_by_key(chains(changes, signals), grouped_by("AllEntities"))

    assert Counter(tuple(sorted(key)) for key in keys) == Counter(
        (("Account", ALICE), ("CloudApplication", model), ("IP", f"203.0.113.{ip}"))
        for model in ("gpt-4o", "o3")
        for ip in (1, 2)
    )
    assert [sum(chain.count() for chain in part) for part in keys.values()] == [1, 1, 1, 1]


def test_any_alert_puts_every_actor_into_one_incident() -> None:
    job = Job(grouped_by("AnyAlert"))

    verdicts = job.commit_new(
        START,
        [change("c1", START), change("c2", START, BOB)],
        [signal("s1", START), signal("s2", START, BOB)],
    )

    assert [verdict.state.key for verdict in verdicts] == [()]
    assert pair_counts(verdicts) == {("c1", "s1"): 1, ("c2", "s2"): 1}
    assert len(job.incidents) == 1


def test_an_entity_without_a_value_is_a_value_of_its_own() -> None:
    changes = [change("c1", START, ip=""), change("c2", START, ip="203.0.113.2")]

    keys = group_by_key(chains(changes, [signal("s", START)]), grouped_by("Selected", "IP"))

    assert set(keys) == {(("IP", ""),), (("IP", "203.0.113.2"),)}


@pytest.mark.parametrize(
    "rule", [RULE, grouped_by("AllEntities"), grouped_by("AnyAlert")], ids=["selected", "all", "any"]
)
def test_no_pair_is_lost_or_doubled_by_grouping(rule: Rule) -> None:
    changes = [
        change(f"c{number}", START + number * HOUR, actor, ip=f"203.0.113.{number % 2}")
        for number, actor in enumerate([ALICE, BOB] * 4)
    ]
    signals = [
        signal(f"s{number}", START + number * 3 * HOUR, actor, model=f"model {number % 3}")
        for number, actor in enumerate([ALICE, ALICE, BOB] * 4)
    ]

    verdicts = Job(rule).commit_new(START, changes, signals)

    all_chains = chains(changes, signals)
    assert pair_counts(verdicts) == Counter(
        (change.id, signal.id) for chain in all_chains for change, signal in chain.pairs()
    )


# --------------------------------------------------------------------------------------------------- what is new


def test_nothing_is_told_twice() -> None:
    job = Job()
    job.commit_new(START, [change("c", START)], [signal("s", START)])

    assert job.commit_new(START + HOUR, [change("c", START)], [signal("s", START)]) == []


def test_a_new_signal_of_a_known_change_is_told_alone() -> None:
    job = Job()
    job.commit_new(START, [change("c", START)], [signal("s1", START)])

    verdicts = job.commit_new(START + HOUR, [change("c", START)], [signal("s1", START), signal("s2", START)])

    assert pair_counts(verdicts) == {("c", "s2"): 1}


def test_a_late_change_is_told_with_the_known_signals_it_reaches() -> None:
    job = Job()
    job.commit_new(START, [change("c1", START)], [signal("s1", START)])

    verdicts = job.commit_new(START + HOUR, [change("c1", START), change("c2", START)], [signal("s1", START)])

    assert pair_counts(verdicts) == {("c2", "s1"): 1}


def test_the_same_event_is_new_to_another_key() -> None:
    job = Job(grouped_by("Selected", "IP"))
    job.commit_new(START, [change("c1", START, ip="203.0.113.1")], [signal("s", START)])

    verdicts = job.commit_new(START, [change("c2", START, ip="203.0.113.2")], [signal("s", START)])

    assert pair_counts(verdicts) == {("c2", "s"): 1}


# ------------------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 100])
def test_parts_together_tell_every_pair_once(limit: int) -> None:
    changes = [change(f"c{hour}", START + hour * HOUR) for hour in (0, 10, 20, 40)]
    signals = [signal(f"s{hour}", START + hour * HOUR) for hour in (0, 5, 15, 30, 44, 60)]
    (chain,) = chains(changes, signals)

    verdicts = Job().commit_new(START, changes, signals, limit)

    assert pair_counts(verdicts) == Counter((change.id, signal.id) for change, signal in chain.pairs())


def test_only_the_last_part_says_that_no_more_follows() -> None:
    verdicts = Job().commit_new(START, [change("c", START)], many_signals(5), limit=2)

    assert [verdict.has_more for verdict in verdicts] == [True, True, False]


def test_parts_tell_the_signals_in_time_order() -> None:
    verdicts = Job().commit_new(START, [change("c", START)], many_signals(7)[::-1], limit=2)

    assert [signal_id for _, signal_id in pair_counts(verdicts)] == [event.id for event in many_signals(7)]


def test_a_part_without_a_pair_is_remembered_without_an_alert() -> None:
    job = Job()

    verdict, *_ = job.commit_new(
        START, [change(f"c{number}", START) for number in range(3)], many_signals(1), limit=2
    )

    assert (verdict.alert, verdict.new_pairs, verdict.pairs) == (None, [], 0)
    assert len(verdict.change_marks) == 2


def test_the_alerts_of_parts_are_of_one_incident() -> None:
    job = Job()

    verdicts = job.commit_new(START, [change("c", START)], many_signals(9), limit=2)

    alerts = [verdict.alert for verdict in verdicts if verdict.alert]
    assert [alert.action for alert in alerts] == ["opened", *["updated"] * 4]
    assert [(incident.alerts, incident.pairs) for incident in job.incidents] == [(5, 9)]
    assert list(IncidentList(job.store.table, job.store.rule).alerts()) == alerts


@pytest.mark.parametrize("days", [1, 16, 40])
def test_the_marks_of_the_largest_part_fit_into_one_transaction(days: int) -> None:
    job = Job()
    apart = days * DAY / EVENTS_PER_PART
    first_signal = signal("s", START)
    marks = {
        number.to_bytes(8): first_signal._replace(time=START + number * apart)
        for number in range(EVENTS_PER_PART)
    }

    job.store.commit([job.store.prepare(Verdict(KeyState(account(), commits=1), [], signal_marks=marks))])

    assert job.store.load([account()])[account()].signals.keys() == marks.keys()


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=1, max_size=30),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
)
def test_however_events_arrive_and_parts_are_cut_each_pair_is_told_once(
    arriving: list[tuple[bool, int]], limits: list[int]
) -> None:
    job = Job()
    changes: list[Event] = []
    signals: list[Event] = []
    verdicts: list[Verdict] = []
    for number, (is_change, place) in enumerate(arriving):
        time = START + place * 6 * HOUR
        if is_change:
            changes.append(change(f"c{number}", time))
        else:
            signals.append(signal(f"s{number}", time))
        verdicts += job.commit_new(START, changes, signals, limits[number % len(limits)])

    wanted = [
        (change.id, signal.id)
        for change in changes
        for signal in signals
        if change.time <= signal.time <= change.time + DAY
    ]
    assert pair_counts(verdicts) == Counter(wanted)


# --------------------------------------------------------------------------------------------------------- incidents


def test_the_first_alert_opens_an_incident() -> None:
    job = Job()

    (verdict,) = job.commit_new(START, [change("c", START)], [signal("s1", START), signal("s2", START)])

    assert verdict.alert is not None
    assert verdict.alert.action == "opened"
    assert job.incidents == [
        Incident(
            id=verdict.alert.incident,
            number=1,
            opened=START,
            updated=START,
            alerts=1,
            pairs=2,
            predecessor=None,
        )
    ]


def test_an_alert_exactly_24_hours_after_the_first_is_of_the_same_incident() -> None:
    job = Job()

    first_id, second_id = job.signals_at(START, START + DAY)

    assert first_id == second_id
    assert [
        (incident.opened, incident.updated, incident.alerts, incident.pairs) for incident in job.incidents
    ] == [(START, START + DAY, 2, 2)]


def test_an_alert_a_microsecond_later_opens_the_next_incident() -> None:
    job = Job()

    first_id, second_id = job.signals_at(START, START + DAY + TICK)

    assert [(incident.id, incident.predecessor) for incident in job.incidents] == [
        (first_id, None),
        (second_id, first_id),
    ]


def test_the_24_hours_do_not_slide_with_later_alerts() -> None:
    job = Job()

    first_id, second_id, third_id = job.signals_at(START, START + 20 * HOUR, START + 25 * HOUR)

    assert first_id == second_id != third_id


def test_the_next_incident_has_24_hours_of_its_own() -> None:
    job = Job()

    first_id, second_id, third_id = job.signals_at(START, START + 30 * HOUR, START + 54 * HOUR)

    assert first_id != second_id == third_id


def test_the_look_back_is_the_rules() -> None:
    job = Job(grouped(lookback_duration=5 * HOUR))

    first_id, second_id, third_id = job.signals_at(START, START + 5 * HOUR, START + 5 * HOUR + TICK)

    assert first_id == second_id != third_id


def test_the_150th_alert_is_of_the_incident_and_the_151st_opens_the_next() -> None:
    job = Job()

    incident_ids = job.signals_at(*(START + minute * 60 * SECOND for minute in range(151)))

    assert Counter(incident_ids) == {incident_ids[0]: ALERTS_PER_INCIDENT, incident_ids[150]: 1}
    assert [(incident.alerts, incident.predecessor) for incident in job.incidents] == [
        (150, None),
        (1, incident_ids[0]),
    ]


def test_parts_beyond_150_go_into_the_next_incident() -> None:
    job = Job()

    job.commit_new(START, [change("c", START)], many_signals(160), limit=1)

    assert [(incident.number, incident.alerts) for incident in job.incidents] == [(1, 150), (2, 10)]


def test_new_evidence_opens_the_next_incident_after_a_closed_one() -> None:
    job = Job()
    (first_id,) = job.signals_at(START)
    job.store.update(job.incidents[-1].id, closed_at_start)

    (second_id,) = job.signals_at(START + HOUR)

    assert [
        (incident.id, incident.status, incident.alerts, incident.predecessor) for incident in job.incidents
    ] == [
        (first_id, "closed", 1, None),
        (second_id, "new", 1, first_id),
    ]


def test_an_acknowledged_incident_goes_on_taking_alerts_and_keeps_its_history() -> None:
    job = Job()
    job.signals_at(START)
    job.store.update(
        job.incidents[-1].id, lambda incident: act(incident, "acknowledged", "carol", START, "on it")
    )

    job.signals_at(START + HOUR)

    (incident,) = job.incidents
    assert (incident.status, incident.alerts) == ("acknowledged", 2)
    assert [(entry.author, entry.note) for entry in incident.history] == [("carol", "on it")]


def test_old_evidence_opens_nothing_after_a_closed_incident() -> None:
    job = Job()
    job.signals_at(START)
    job.store.update(job.incidents[-1].id, closed_at_start)
    before = job.incidents

    job.signals_at(START)

    assert job.incidents == before


def test_closing_again_corrects_the_judgement_and_opens_nothing() -> None:
    job = Job()
    job.signals_at(START)
    job.store.update(job.incidents[-1].id, closed_at_start)
    job.store.update(
        job.incidents[-1].id,
        lambda incident: act(incident, "closed", "carol", START, classification="true-positive"),
    )

    (incident,) = job.incidents
    assert (incident.status, incident.classification) == ("closed", "true-positive")
    assert len(incident.history) == 2


def test_acknowledging_a_closed_incident_does_not_open_it() -> None:
    job = Job()
    job.signals_at(START)
    job.store.update(job.incidents[-1].id, closed_at_start)
    with pytest.raises(ActRefused):
        job.store.update(job.incidents[-1].id, lambda incident: act(incident, "acknowledged", "carol", START))

    assert [incident.status for incident in job.incidents] == ["closed"]


def test_an_incident_is_never_updated_before_it_was_opened() -> None:
    # A clock that went back between two runs.
    job = Job()
    job.signals_at(START, START - HOUR)

    assert all(incident.opened <= incident.updated for incident in job.incidents)


def test_another_keys_incident_is_not_touched() -> None:
    job = Job()
    job.signals_at(START)
    before = job.incidents

    job.commit_new(START + HOUR, [change("c", START, BOB)], [signal("s", START, BOB)])

    assert set(job.incidents) > set(before)


# --------------------------------------------------------------------------------------------------------------- ids


def history(job: Job) -> list[tuple[str, str]]:
    """The ids of a history with parts, a closed incident and a day's end."""
    job.commit_new(START, [change("c", START)], many_signals(5), limit=2)
    job.signals_at(START + HOUR)
    job.store.update(job.incidents[-1].id, closed_at_start)
    job.signals_at(START + 2 * HOUR, START + 3 * DAY)
    return [(alert.alert, alert.incident) for alert in IncidentList(job.store.table, job.store.rule).alerts()]


def test_the_same_history_gives_the_same_ids() -> None:
    assert history(Job(token="one")) == history(Job(token="two"))


def test_every_alert_has_an_id_of_its_own() -> None:
    alerts = [alert for alert, _ in history(Job())]

    assert len(set(alerts)) == len(alerts) == 6


def test_ids_of_alerts_and_incidents_name_their_kind() -> None:
    assert {(alert[:3], incident[:3]) for alert, incident in history(Job())} == {("al_", "in_")}


def test_another_rule_gives_other_ids() -> None:
    other_rule = RULE.model_copy(update={"folder": "another"})

    assert not set(map(str, history(Job()))) & set(map(str, history(Job(other_rule))))


def test_another_key_gives_other_ids() -> None:
    def incident_id(key: Key) -> str:
        return next_incident(KeyState(key), 1, RULE, START)[1].id

    keys: list[Key] = [(), account("a"), account("b"), (("IP", "a"),), (("Account", "a"), ("IP", "a"))]

    assert len({incident_id(key) for key in keys}) == len(keys)


def test_an_id_does_not_depend_on_the_evidence() -> None:
    job, other_job = Job(), Job()
    (verdict,) = job.commit_new(START, [change("c1", START)], [signal("s1", START)])
    (other_verdict,) = other_job.commit_new(
        START, [change("c2", START)], [signal("s2", START), signal("s3", START)]
    )

    assert verdict.alert is not None
    assert other_verdict.alert is not None
    assert (verdict.alert.alert, verdict.alert.incident) == (
        other_verdict.alert.alert,
        other_verdict.alert.incident,
    )


# ------------------------------------------------------------------------------------------------------- hostile text


@pytest.mark.parametrize("actor", HOSTILE.values(), ids=HOSTILE.keys())
def test_any_text_can_be_a_key(actor: str) -> None:
    job = Job()

    job.commit_new(START, [change("c", START, actor)], [signal("s1", START, actor)])
    job.commit_new(START + HOUR, [change("c", START, actor)], [signal("s2", START, actor)])

    ((key, incident),) = IncidentList(job.store.table, job.store.rule).incidents()
    assert key == account(actor)
    assert incident.alerts == len(list(IncidentList(job.store.table, job.store.rule).alerts())) == 2
    assert job.commit_new(START + HOUR, [change("c", START, actor)], [signal("s2", START, actor)]) == []


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_any_text_can_be_an_events_id(text: str) -> None:
    job = Job()
    events = [change(text or "c", START)], [signal(text or "s", START)]

    assert job.commit_new(START, *events)
    assert not job.commit_new(START + HOUR, *events)


def test_keys_that_look_alike_stay_apart() -> None:
    actors = ["a", "a ", "A", "á", "a\u0301", "a\x00", "a|h", '["a"]']
    job = Job()

    for actor in actors:
        job.commit_new(START, [change("c", START, actor)], [signal("s", START, actor)])

    assert {key for key, _ in IncidentList(job.store.table, job.store.rule).incidents()} == {
        account(actor) for actor in actors
    }


def test_an_alert_of_as_many_long_entities_as_it_may_name_fits_the_table() -> None:
    # Each of its characters takes six in JSON.
    signals = [signal(f"s{number}", START, model=f"{number}{WIDE}") for number in range(600)]

    assert Job().commit_new(START, [change("c", START)], signals)


def test_an_alert_of_the_longest_values_that_a_log_holds_fits_the_table() -> None:
    events = [change("c", START, WIDE, ip=WIDE)], [signal("s", START, WIDE, model=WIDE)]

    assert Job().commit_new(START, *events)


# ------------------------------------------------------------------------------------------------------------- memory


def test_of_two_runs_that_judge_a_key_at_once_one_commits() -> None:
    first_job = Job(token="one")
    second_job = Job(token="two", table=first_job.table)
    actor_chains = chains([change("c", START)], [signal("s", START)])
    verdicts = [
        decide(actor_chains, Circumstances(RULE, first_windows()), job.store.load([account()])[account()])
        for job in (first_job, second_job)
    ]
    first_verdict, second_verdict = verdicts
    assert first_verdict is not None
    assert second_verdict is not None

    first_job.store.commit([first_job.store.prepare(first_verdict)])

    with pytest.raises(Conflict):
        second_job.store.commit([second_job.store.prepare(second_verdict)])
    assert len(list(IncidentList(first_job.store.table, first_job.store.rule).alerts())) == 1


def test_a_commit_whose_answer_was_lost_counts_as_done() -> None:
    job = Job()
    # The first write puts the rule on the list of rules, the second is the commit.
    faulty_table = FaultyTable(job.table, Faults(lost=frozenset({2})))
    actor_chains = chains([change("c", START)], [signal("s", START)])

    verdicts = commit_chains(actor_chains, account(), IncidentStore(faulty_table, RULE.folder, "run"))

    assert pair_counts(verdicts) == {("c", "s"): 1}
    assert faulty_table.figures["unheard"] == 1


def test_closing_an_incident_makes_a_run_judge_again() -> None:
    job = Job()
    job.signals_at(START)
    actor_chains = chains([change("c", START)], [signal("new", START)])
    verdict = decide(
        actor_chains, Circumstances(RULE, first_windows()), job.store.load([account()])[account()]
    )
    assert verdict is not None

    IncidentStore(job.table, RULE.folder, "somebody").update(job.incidents[-1].id, closed_at_start)

    with pytest.raises(Conflict):
        job.store.commit([job.store.prepare(verdict)])


def test_memory_comes_back_as_it_was_committed() -> None:
    job = Job()

    *_, last_verdict = job.commit_new(START, [change("c", START - HOUR)], many_signals(20_000), limit=15_000)

    state = job.store.load([account()])[account()]
    loaded = replace(state, version=None, stored_incident=None)
    assert loaded == replace(last_verdict.state, version=None, stored_incident=None)
    assert len(state.signals) == 20_000


def test_an_unknown_key_has_no_memory() -> None:
    assert Job().store.load([account()])[account()] == KeyState(account())


def test_rules_do_not_share_memory() -> None:
    table = MemoryTable()
    Job(table=table).commit_new(START, [change("c", START)], [signal("s", START)])
    other_rule = RULE.model_copy(update={"folder": "another"})

    assert Job(other_rule, table=table).commit_new(START, [change("c", START)], [signal("s", START)])


def test_the_watermark_is_where_the_last_complete_run_ended() -> None:
    store = Job().store
    assert store.watermark() is None

    store.finish(START, b"{}")
    store.finish(START + HOUR, b"{}")

    assert store.watermark() == START + HOUR


def test_the_watermark_only_moves_forward() -> None:
    store = Job().store
    store.finish(START, b"{}")

    store.finish(START - HOUR, b"{}")

    assert store.watermark() == START


def test_purge_removes_the_marks_of_days_that_are_over_and_one_day_more() -> None:
    job = Job()
    days = [START.replace(hour=0) + day * DAY for day in range(4)]
    for day in days:
        job.commit_new(day, [change(f"c{day}", day)], [signal(f"s{day}", day)])

    removed = purge_marks(job.store.table, job.store.rule, days[3])

    state = job.store.load([account()])[account()]
    assert removed == 2  # those of the first two days
    assert (len(state.changes), len(state.signals)) == (2, 2)


def test_purge_goes_on_where_its_limit_stopped_it() -> None:
    job = Job()
    job.commit_new(START, [change("c", START)], many_signals(120), limit=1)

    removed = [purge_marks(job.store.table, job.store.rule, START + 9 * DAY, limit=1) for _ in range(4)]

    assert sum(removed) == 121
    assert 0 < removed[1] <= removed[0] < 2 * OPERATIONS
    assert removed[3] == 0
    assert not job.store.load([account()])[account()].signals


def test_purge_leaves_alerts_and_incidents() -> None:
    job = Job()
    job.commit_new(START, [change("c", START)], [signal("s", START)])

    purge_marks(job.store.table, job.store.rule, START + 90 * DAY)

    assert len(list(IncidentList(job.store.table, job.store.rule).alerts())) == len(job.incidents) == 1
