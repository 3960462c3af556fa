"""What pages nobody: which pairs a silence takes, that they are decided and counted, and what an exclusion may say."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.base.errors import ConfigurationError
from detection.correlation.correlate import Chain, correlate
from detection.correlation.output import truncate
from detection.incidents.decide import Circumstances, Verdict, decide
from detection.incidents.key_state import KeyState
from detection.incidents.silencing import drop_silenced, matches_alert
from detection.logs.events import Event, Logs, Row
from detection.logs.source import Source
from detection.logs.window import Windows
from detection.rules.loading import load_rule
from detection.rules.model import Rule
from detection.rules.patterns import MAX_COMPARED, literal_pattern
from detection.rules.silences import CRITERIA as SILENCE_CRITERIA
from detection.rules.silences import Silence, parse_silence
from detection.runs.record import CoveredBySilences, RunRecord
from detection.runs.run import run
from detection.store.incident_list import IncidentList
from detection.store.incident_store import IncidentStore
from detection.store.silence_list import SilenceList
from detection.store.table import Conflict, MemoryTable
from tests.rules.test_model import folder
from tests.support.builders import (
    ALICE,
    DAY,
    HOUR,
    RULE,
    START,
    account,
    chains,
    change,
    change_row,
    first_windows,
    logs,
    signal,
    signal_row,
)
from tests.support.retention import expire

__all__ = ["folder"]  # a fixture
BOB = "bob@example.com"
WITHIN = RULE.sequence.within


def silence(name: str = "quiet", **criteria: object) -> Silence:
    return parse_silence({"name": name, "owner": "carol", "reason": "a deployment", **criteria})


def remaining_and_silenced(
    *silences: Silence, chains: Sequence[Chain]
) -> tuple[set[tuple[str, str]], Counter[str]]:
    """The pairs that are left, by id, and how many each silence took."""
    remaining, counts, _ = drop_silenced(chains, silences, RULE)
    return {(change.id, signal.id) for chain in remaining for change, signal in chain.pairs()}, Counter(
        counts
    )


def two_by_two() -> list[Chain]:
    """Two changes that differ in all that can be named, each before two signals that do."""
    return chains(
        [
            change("c1", START, ip="203.0.113.7", kind="api_key.created"),
            change("c2", START, ip="2001:db8::1", kind="role.updated"),
        ],
        [
            signal("s1", START + HOUR, model="gpt-4o", kind="content_filter"),
            signal("s2", START + HOUR, model="o3", kind="length"),
        ],
    )


ALL = {("c1", "s1"), ("c1", "s2"), ("c2", "s1"), ("c2", "s2")}
CRITERIA = {
    "actor": ({"actor": ALICE}, ALL),
    "actor in other case": ({"actor": "ALICE@Example.com"}, ALL),
    "actor by pattern": ({"actor": "*@example.com"}, ALL),
    "another actor": ({"actor": BOB}, set()),
    "address": ({"address": "203.0.113.7"}, {("c1", "s1"), ("c1", "s2")}),
    "network": ({"address": "203.0.113.0/24"}, {("c1", "s1"), ("c1", "s2")}),
    "network, loosely written": ({"address": "203.0.113.9/24"}, {("c1", "s1"), ("c1", "s2")}),
    "network of IPv6": ({"address": "2001:db8::/32"}, {("c2", "s1"), ("c2", "s2")}),
    "address by pattern": ({"address": "203.0.*"}, {("c1", "s1"), ("c1", "s2")}),
    "kind of change": ({"change": "role.*"}, {("c2", "s1"), ("c2", "s2")}),
    "kind of signal": ({"signal": "length"}, {("c1", "s2"), ("c2", "s2")}),
    "model": ({"model": "gpt-4?"}, {("c1", "s1"), ("c2", "s1")}),
    "type of the entity": ({"model": "CloudApplication"}, set()),
    "all of it": ({"actor": ALICE, "change": "role.updated", "model": "o3"}, {("c2", "s2")}),
    "all of it but one": ({"actor": BOB, "change": "role.updated", "model": "o3"}, set()),
}


@pytest.mark.parametrize("criteria, taken", CRITERIA.values(), ids=CRITERIA)
def test_silence_takes_the_pairs_that_have_all_it_names(
    criteria: dict[str, str], taken: set[tuple[str, str]]
) -> None:
    remaining, counts = remaining_and_silenced(silence(**criteria), chains=two_by_two())
    assert remaining == ALL - taken
    assert counts == Counter(quiet=len(taken))


def test_criterion_that_the_rule_maps_no_column_for_takes_no_pair() -> None:
    rule = RULE.model_copy(update={"entity_mappings": RULE.entity_mappings[:1]})
    silences = [silence(model="o3"), silence(address="203.0.113.7"), silence(model="o3", signal="length")]
    assert drop_silenced(two_by_two(), silences, rule)[1] == {}


@pytest.mark.parametrize("criteria, taken", CRITERIA.values(), ids=CRITERIA)
def test_alert_matches_a_silence_that_takes_pairs_of_it(
    criteria: dict[str, str], taken: set[tuple[str, str]]
) -> None:
    verdict = decide(two_by_two(), Circumstances(RULE, first_windows(START + DAY)), KeyState(account()))
    assert verdict
    assert verdict.alert
    assert matches_alert(silence(**criteria), verdict.alert) is bool(taken)


def test_pair_that_two_silences_name_counts_for_the_first() -> None:
    remaining, counts = remaining_and_silenced(
        silence("keys", change="api_key.created"), silence("lengths", signal="length"), chains=two_by_two()
    )
    assert remaining == {("c2", "s1")}
    assert counts == Counter(keys=2, lengths=1)


def test_actor_with_a_star_is_silenced_alone() -> None:
    hostile = "*"
    all_chains = [*chains([change("c", START, hostile)], [signal("s", START, hostile)]), *two_by_two()]
    remaining, counts = remaining_and_silenced(silence(actor=literal_pattern(hostile)), chains=all_chains)
    assert (remaining, counts) == (ALL, Counter(quiet=1))


def test_actor_of_any_length_is_silenced_by_what_an_alert_shows_of_it() -> None:
    endless = "a*" * 30_000
    endless_chains = chains([change("c", START, endless)], [signal("s", START, endless)])
    assert remaining_and_silenced(
        silence(actor=literal_pattern(truncate(endless))), chains=endless_chains
    ) == (set(), Counter(quiet=1))
    assert len(literal_pattern(endless)) <= 2 * MAX_COMPARED


KINDS, ADDRESSES, MODELS = ("api_key.created", "role.updated"), ("192.0.2.1", "192.0.2.2"), ("gpt-4o", "o3")
moments = st.integers(0, 40).map(lambda hours: START + hours * HOUR)


def maybe(values: tuple[str, ...]) -> st.SearchStrategy[str | None]:
    """One of some values, or none."""
    return st.none() | st.sampled_from(values)


@st.composite
def silences(draw: st.DrawFn) -> Silence:
    """A silence of anything that the events below can have."""
    criteria = {
        "actor": draw(maybe((ALICE, BOB))),
        "address": draw(maybe(ADDRESSES)),
        "change": draw(maybe(KINDS)),
        "signal": draw(maybe(("content_filter", "length"))),
        "model": draw(maybe(MODELS)),
    }
    return silence(
        f"s{draw(st.integers(0, 9))}", **(criteria if any(criteria.values()) else {"actor": ALICE})
    )


@st.composite
def events(draw: st.DrawFn) -> list[Chain]:
    """Chains of two actors."""
    actors = st.sampled_from((ALICE, BOB))
    changes = [
        change(
            f"c{n}",
            draw(moments),
            draw(actors),
            ip=draw(st.sampled_from(ADDRESSES)),
            kind=draw(st.sampled_from(KINDS)),
        )
        for n in range(draw(st.integers(0, 6)))
    ]
    signals = [
        signal(
            f"s{n}",
            draw(moments),
            draw(actors),
            model=draw(st.sampled_from(MODELS)),
            kind=draw(st.sampled_from(("content_filter", "length"))),
        )
        for n in range(draw(st.integers(0, 8)))
    ]
    return correlate(changes, signals, WITHIN, once=True)


@given(events(), st.lists(silences(), max_size=3))
def test_every_pair_is_left_or_silenced_as_a_plain_reading_says(
    chains: list[Chain], silences: list[Silence]
) -> None:
    pairs = [pair for chain in chains for pair in chain.pairs()]
    expected = {
        (change.id, signal.id)
        for change, signal in pairs
        if not any(_names(silence, change, signal) for silence in silences)
    }
    remaining, counts = remaining_and_silenced(*silences, chains=chains)
    assert remaining == expected
    assert counts.total() == len(pairs) - len(expected)


def _names(silence: Silence, change: Event, signal: Event) -> bool:
    """Whether a silence names a pair, read without patterns."""
    changes, signals = RULE.sequence.changes, RULE.sequence.signals
    values = {
        "actor": change.actor,
        "address": change.row[changes.place_of("ConfigIp")],
        "change": change.kind,
        "signal": signal.kind,
        "model": signal.row[signals.place_of("ModelName")],
    }
    return all(values[name] == wanted for name, wanted in silence.criteria.items())


# ------------------------------------------------------------------------------------------------------------- runs


class Log:
    """One change of Alice's and a signal an hour later, every hour."""

    def read(self, rule: Rule, windows: Windows) -> Logs:  # the port's
        """What had happened by then."""
        hours = range(int((windows.now - START) // HOUR) + 1)
        signals: Iterator[Row] = (signal_row(f"s{n}", START + n * HOUR) for n in hours)
        return logs([change_row("c", START)], signals, windows)


class Hours:
    """Hourly runs of a rule over the log, on one table."""

    def __init__(self, rule: Rule = RULE) -> None:
        self.rule, self.table, self.now = rule, MemoryTable(), START

    @property
    def store(self) -> IncidentStore:
        return IncidentStore(self.table, self.rule.folder, f"run of {self.now}")

    def run(self) -> tuple[RunRecord, list[Verdict]]:
        outcome = run(self.rule, self.now, Log(), self.store)
        self.now += HOUR
        return outcome


def test_silenced_pair_is_counted_and_never_told_later() -> None:
    hours = Hours()
    SilenceList(hours.store.table, hours.store.rule).add(silence(actor=ALICE, expires=START + HOUR))

    record, verdicts = hours.run()
    assert (dict(record.silenced), record.new_pairs, verdicts) == ({"quiet": 1}, 0, [])

    later_record, [verdict] = hours.run()
    assert (dict(later_record.silenced), later_record.new_pairs, later_record.already_alerted) == ({}, 1, 1)
    assert {signal.id for chain in verdict.new_pairs for _, signal in chain.pairs()} == {"s1"}


def test_silence_covers_signals_from_its_start_up_to_its_end() -> None:
    minutes = (-1, 0, 59, 60)
    hour_silence = silence(actor=ALICE, begins=START, expires=START + HOUR)
    one_change = [change("c", START - HOUR)]
    one_signal = [signal(f"s{minute}", START + minute * HOUR / 60) for minute in minutes]
    remaining, counts = remaining_and_silenced(hour_silence, chains=chains(one_change, one_signal))
    assert (remaining, counts) == ({("c", "s-1"), ("c", "s60")}, Counter(quiet=2))
    assert [hour_silence.state(START + minute * HOUR / 60) for minute in minutes] == [
        "scheduled",
        "in force",
        "in force",
        "ended",
    ]


def run_hourly(source: Source, *silences: Silence, begin: int, end: int) -> Counter[str]:
    """Runs the rule from one hour after START to another; how often a silence, or an alert (""), had a pair."""
    table, outcomes = MemoryTable(), Counter[str]()
    for quiet in silences:
        SilenceList(table, RULE.folder).add(quiet)
    for hour in range(begin, end + 1):
        now = START + hour * HOUR
        record, _ = run(RULE, now, source, IncidentStore(table, RULE.folder, f"run of {now}"))
        outcomes.update(record.silenced)
        outcomes[""] += record.new_pairs
    return +outcomes


def test_silence_takes_no_pair_of_the_day_before_whose_row_arrives_while_it_is_in_force() -> None:
    arriving_late = ArrivingLogs([LateEvent(0, 0)], [LateEvent(1, 20, "length")])
    maintenance = silence(actor=ALICE, begins=START + 21 * HOUR, expires=START + 22 * HOUR)
    assert run_hourly(arriving_late, maintenance, begin=20, end=23) == {"": 1}


def test_signal_in_a_silence_stays_silenced_when_a_run_after_the_end_reads_it() -> None:
    arriving_late = ArrivingLogs([LateEvent(0, 0)], [LateEvent(1, 20, "length")])
    maintenance = silence(actor=ALICE, begins=START + HOUR, expires=START + 2 * HOUR)
    assert run_hourly(arriving_late, maintenance, begin=20, end=23) == {"quiet": 1}


def test_lifted_silence_still_covers_the_signals_from_before() -> None:
    arriving_late = ArrivingLogs([LateEvent(0, 0)], [LateEvent(1, 20, "length"), LateEvent(2, 20, "length")])
    table = MemoryTable()
    day = silence(actor=ALICE, begins=START, expires=START + DAY)
    SilenceList(table, RULE.folder).add(day)
    SilenceList(table, RULE.folder).lift(day, "dave", START + 2 * HOUR)
    [lifted] = SilenceList(table, RULE.folder).silences()
    assert run_hourly(arriving_late, lifted, begin=20, end=23) == {"quiet": 1, "": 1}


def test_exclusion_with_an_end_covers_the_signals_before_it() -> None:
    rule = RULE.model_copy(update={"exclusions": (silence("terraform", actor=ALICE, expires=START + HOUR),)})
    hours = Hours(rule)
    hours.now = START + 2 * HOUR  # signals at each hour from START on
    record, [verdict] = hours.run()
    assert dict(record.silenced) == {"terraform": 1}
    assert {signal.id for chain in verdict.new_pairs for _, signal in chain.pairs()} == {"s1", "s2"}


def test_incident_counts_what_was_silenced_while_it_was_the_newest() -> None:
    hours = Hours()
    hours.run()
    SilenceList(hours.store.table, hours.store.rule).add(
        silence(signal="content_filter", expires=START + DAY)
    )
    for _ in range(2):
        hours.run()
    [(_, incident)] = IncidentList(hours.store.table, hours.store.rule).incidents()
    assert (incident.alerts, incident.pairs, incident.silenced) == (1, 1, 2)


def test_exclusion_of_the_rule_silences_too() -> None:
    rule = RULE.model_copy(update={"exclusions": (silence("terraform", change="api_key.*"),)})
    record, verdicts = Hours(rule).run()
    assert (dict(record.silenced), verdicts) == ({"terraform": 1}, [])


def test_record_counts_the_actors_of_silences_but_not_of_exclusions() -> None:
    """A digest tells the actors of several runs apart, and is too short to name a person."""

    class TwoActors:
        def read(self, rule: Rule, windows: Windows) -> Logs:  # the port's
            rows = [
                (change_row(f"c {actor}", START, actor), signal_row(f"s {actor}", START, actor))
                for actor in (ALICE, BOB)
            ]
            changes, signals = zip(*rows, strict=True)
            return logs(changes, signals, windows)

    def covered(rule: Rule, *silences: Silence) -> CoveredBySilences:
        table = MemoryTable()
        for quiet in silences:
            SilenceList(table, RULE.folder).add(quiet)
        record, _ = run(rule, START, TwoActors(), IncidentStore(table, RULE.folder, "run"))
        assert sum(record.silenced.values()) == 2
        return record.covered_by_silences

    wide = silence("wide", actor="*@example.com")
    both = covered(RULE, wide)
    assert (both.pairs, len(both.actors), {len(digest) for digest in both.actors}) == (2, 2, {4})
    excluding = RULE.model_copy(update={"exclusions": (silence("bob", actor=BOB),)})
    with_exclusion = covered(excluding, wide)
    assert (with_exclusion.pairs, len(with_exclusion.actors)) == (1, 1)
    assert set(with_exclusion.actors) < set(both.actors)
    assert covered(RULE.model_copy(update={"exclusions": (wide,)})) == CoveredBySilences(0, [])


def test_two_silences_of_one_name_cannot_be() -> None:
    store = Hours().store
    SilenceList(store.table, store.rule).add(silence(actor=ALICE))
    with pytest.raises(Conflict):
        SilenceList(store.table, store.rule).add(silence(actor=BOB))


def test_lifted_silence_is_kept_with_who_lifted_it() -> None:
    store = Hours().store
    alice_silence = silence(actor=ALICE, expires=START + DAY)
    SilenceList(store.table, store.rule).add(alice_silence)
    SilenceList(store.table, store.rule).lift(alice_silence, "dave", START + HOUR)
    [stored_silence] = SilenceList(store.table, store.rule).silences()
    assert (stored_silence.state(START), stored_silence.state(START + HOUR)) == (
        "lifted by dave",
        "lifted by dave",
    )
    assert stored_silence.has_ended(START + HOUR)


def test_ended_silence_goes_with_the_records_of_its_time() -> None:
    store = Hours().store
    SilenceList(store.table, store.rule).add(silence("old", actor=ALICE, expires=START))
    SilenceList(store.table, store.rule).add(silence("young", actor=ALICE, expires=START + 2 * HOUR))
    SilenceList(store.table, store.rule).add(silence("endless", actor=ALICE))
    expire(store.table, store.rule, START + HOUR)
    assert {stored_silence.name for stored_silence in SilenceList(store.table, store.rule).silences()} == {
        "young",
        "endless",
    }


class LateEvent(NamedTuple):
    """An event of Alice's: after so many hours, and so many later it could be read; a signal is of a kind."""

    hour: int
    delay: int
    kind: str = ""


class ArrivingLogs:
    """Events as they arrive."""

    def __init__(self, changes: Sequence[LateEvent], signals: Sequence[LateEvent]) -> None:
        self.changes, self.signals = changes, signals

    def read(self, rule: Rule, windows: Windows) -> Logs:  # the port's
        """What has arrived by then, of what is in the windows."""

        def arrived(
            events: Sequence[LateEvent], after: datetime
        ) -> Iterator[tuple[int, datetime, LateEvent]]:
            moments = ((number, START + event.hour * HOUR, event) for number, event in enumerate(events))
            return (
                arrival
                for arrival in moments
                if after < arrival[1] and arrival[1] + arrival[2].delay * HOUR <= windows.now
            )

        return logs(
            [
                change_row(f"c{number}", time)
                for number, time, _ in arrived(self.changes, windows.changes.after)
            ],
            [
                signal_row(f"s{number}", time, kind=event.kind)
                for number, time, event in arrived(self.signals, windows.signals.after)
            ],
            windows,
        )

    def pairs(self) -> set[tuple[str, str]]:
        """Every pair, by a nested loop."""
        return {
            (f"c{change_number}", f"s{signal_number}")
            for change_number, change in enumerate(self.changes)
            for signal_number, signal in enumerate(self.signals)
            if timedelta(0) <= (signal.hour - change.hour) * HOUR <= DAY
        }


late_changes = st.builds(LateEvent, st.integers(0, 30), st.integers(0, 22))
late_signals = st.builds(
    LateEvent, st.integers(0, 50), st.integers(0, 22), st.sampled_from(("content_filter", "length"))
)


@given(
    st.lists(late_changes, max_size=4),
    st.lists(late_signals, max_size=8),
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(1, 30), st.sampled_from(("content_filter", "length"))),
        max_size=3,
    ),
)
@settings(deadline=None, max_examples=60)
def test_a_pair_is_silenced_exactly_when_its_signals_own_time_lies_in_a_silence_of_its_kind(
    changes: list[LateEvent], signals: list[LateEvent], silenced: list[tuple[int, int, str]]
) -> None:
    source, table = ArrivingLogs(changes, signals), MemoryTable()
    alerted_pairs: Counter[tuple[str, str]] = Counter()
    silenced_count = 0
    for hour in range(75):
        now = START + hour * HOUR
        store = IncidentStore(table, RULE.folder, f"run of {now}")
        for number, (begin, length, kind) in enumerate(silenced):
            if begin == hour:
                SilenceList(store.table, store.rule).add(
                    silence(f"s{number}", signal=kind, begins=now, expires=now + length * HOUR)
                )
        record, verdicts = run(RULE, now, source, store)
        silenced_count += sum(record.silenced.values())
        alerted_pairs.update(
            (change.id, signal.id)
            for verdict in verdicts
            for chain in verdict.new_pairs
            for change, signal in chain.pairs()
        )

    assert max(alerted_pairs.values(), default=1) == 1
    assert alerted_pairs.keys() == {
        (change_id, signal_id)
        for change_id, signal_id in source.pairs()
        if not any(
            begin <= event.hour < begin + length and event.kind == kind
            for begin, length, kind in silenced
            for event in [signals[int(signal_id.removeprefix("s"))]]
        )
    }
    assert alerted_pairs.total() + silenced_count == len(source.pairs())


# ------------------------------------------------------------------------------------------------------- what it says


def test_silence_of_everything_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="needs at least one of actor, address, change, signal, model"
    ):
        silence()


EVERYTHING: dict[str, dict[str, str]] = {
    "a star": {"actor": "*"},
    "two stars": {"model": "**"},
    "any text but none": {"actor": "?*"},
    "any e-mail": {"actor": "*@*"},
    "any e-mail, closer": {"actor": "?*@?*.*"},
    "any account of a domain": {"actor": r"*\\*"},
    "all of IPv4": {"address": "0.0.0.0/0"},
    "half of IPv4": {"address": "128.0.0.0/1"},
    "all of IPv4 in IPv6": {"address": "::ffff:0:0/96"},
    "all of IPv6": {"address": "::/0"},
    "all of IPv6 that is assigned": {"address": "2000::/3"},
    "any address": {"address": "*.*"},
    "every criterion": dict.fromkeys(SILENCE_CRITERIA, "*"),
    "a star and all of IPv4": {"actor": "*", "address": "0.0.0.0/0"},
}


@pytest.mark.parametrize("criteria", EVERYTHING.values(), ids=EVERYTHING)
def test_silence_and_exclusion_that_match_every_pair_are_refused(
    folder: Path, criteria: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError, match="matches every pair"):
        silence(**criteria)
    with pytest.raises(ConfigurationError, match=r"exclusions\.yaml: exclusions\.0: .*matches every pair"):
        rule_with_exclusions(folder, {"name": "a", "owner": "b", "reason": "c", **criteria})


NARROW: dict[str, dict[str, str]] = {
    "a domain": {"actor": "*@example.com"},
    "a star that is one": {"actor": r"\*"},
    "an at sign that is one": {"actor": "@"},
    "a letter of another script": {"actor": "*я*"},
    "a private network": {"address": "10.0.0.0/8"},
    "any actor with a kind": {"actor": "*", "signal": "length"},
}


@pytest.mark.parametrize("criteria", NARROW.values(), ids=NARROW)
def test_silence_that_names_something_is_made(criteria: dict[str, str]) -> None:
    assert silence(**criteria).criteria == criteria


def test_silence_says_what_is_wrong_with_it_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="name: ") as caught:
        silence("no spaces hunter2", actor=ALICE)
    assert "hunter2" not in str(caught.value)


def rule_with_exclusions(folder: Path, *exclusions: dict[str, object]) -> Rule:
    (folder / "exclusions.yaml").write_text(
        yaml.safe_dump({"exclusions": list(exclusions)}), encoding="utf-8"
    )
    return load_rule(folder.name, folder.parent)


TERRAFORM: dict[str, object] = {
    "name": "terraform",
    "owner": "platform",
    "reason": "applies roles",
    "actor": "svc-*",
}


def test_exclusions_stand_beside_the_rule(folder: Path) -> None:
    [exclusion] = rule_with_exclusions(folder, TERRAFORM).exclusions
    assert (exclusion.name, exclusion.criteria, exclusion.expires) == ("terraform", {"actor": "svc-*"}, None)


def test_exclusion_may_end_on_a_day(folder: Path) -> None:
    [exclusion] = rule_with_exclusions(
        folder, TERRAFORM | {"expires": datetime(2027, 1, 1, tzinfo=UTC).date()}
    ).exclusions
    assert exclusion.expires == datetime(2027, 1, 1, tzinfo=UTC)
    assert exclusion.state(datetime(2026, 12, 31, 23, tzinfo=UTC)) == "in force"


WRONG = {
    "no owner": ({"name": "a", "reason": "b", "actor": "c"}, "exclusions.0.owner: "),
    "nothing named": ({"name": "a", "owner": "b", "reason": "c"}, "exclusions.0: "),
    "unknown key": (TERRAFORM | {"user": "x"}, "exclusions.0.user: "),
    "unknown day": (TERRAFORM | {"expires": "soon"}, "exclusions.0.expires: "),
}


@pytest.mark.parametrize("exclusion, location", WRONG.values(), ids=WRONG)
def test_wrong_exclusion_names_file_and_key(
    folder: Path, exclusion: dict[str, object], location: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        rule_with_exclusions(folder, exclusion)
    assert str(caught.value).startswith(f"{folder / 'exclusions.yaml'}: {location}")


def test_two_exclusions_of_one_name_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"exclusions: \[0\] and \[1\] have the same name"):
        rule_with_exclusions(folder, TERRAFORM, TERRAFORM)


def test_exclusion_of_what_the_rule_does_not_map_is_refused() -> None:
    rule = RULE.model_copy(update={"entity_mappings": RULE.entity_mappings[:1]})
    assert rule.unmapped_criteria(silence(address="203.0.113.7", model="o3", actor=ALICE)) == [
        "address",
        "model",
    ]


def test_silence_can_last_no_longer_than_a_moment_says() -> None:
    short_silence = silence(actor=ALICE, begins=START, expires=START + timedelta(seconds=1))
    assert [short_silence.state(START + timedelta(seconds=second)) for second in (0, 1)] == [
        "in force",
        "ended",
    ]
