"""What people do with an incident, and how a rule stands by the incidents that were closed."""

from dataclasses import replace

import pytest

from detection.incidents.incident import (
    HISTORY_LIMIT,
    ActRefused,
    Classification,
    HistoryEntry,
    Incident,
    RulePrecision,
    acknowledged,
    assigned,
    closed,
    commented,
    reopened,
    rule_precision,
    silenced,
)
from tests.support.builders import HOUR, START

INCIDENT = Incident("in_1", 1, START, START, 2, 3, None)
NOON = START + HOUR


def test_each_action_is_an_entry_of_the_history_and_only_closing_classifies() -> None:
    incident = acknowledged(INCIDENT, "carol", START, "on it")
    incident = silenced(incident, "dave", NOON, "a deployment", self_declared=False)
    incident = closed(incident, "benign", "erin", NOON, "planned", self_declared=False)
    assert incident == replace(
        INCIDENT,
        status="closed",
        classification="benign",
        history=(
            HistoryEntry("acknowledged", "carol", START, "on it", self_declared=True),
            HistoryEntry("silenced", "dave", NOON, "a deployment", self_declared=False),
            HistoryEntry("closed", "erin", NOON, "planned", self_declared=False, classification="benign"),
        ),
        acts=3,
        acknowledged_by="carol",
    )


def test_silence_leaves_an_incident_closed_and_closing_ends_an_acknowledged_one() -> None:
    ended = closed(acknowledged(INCIDENT, "carol", START), "benign", "carol", START)
    assert silenced(ended, "dave", NOON).status == "closed"
    assert silenced(INCIDENT, "dave", NOON).status == "new"
    assert acknowledged(INCIDENT, "dave", NOON).status == "acknowledged"


def test_action_without_a_note_is_self_declared() -> None:
    incident = closed(
        silenced(acknowledged(INCIDENT, "carol", START), "carol", START), "benign", "carol", NOON
    )
    reopened_entry = HistoryEntry(
        "reopened", "carol", NOON, "", self_declared=True, former_classification="benign"
    )
    assert reopened(incident, "carol", NOON).history[-1] == reopened_entry
    assert incident.history == (
        HistoryEntry("acknowledged", "carol", START, "", self_declared=True),
        HistoryEntry("silenced", "carol", START, "", self_declared=True),
        HistoryEntry("closed", "carol", NOON, "", self_declared=True, classification="benign"),
    )


def test_assigning_and_commenting_change_nothing_else() -> None:
    incident = assigned(INCIDENT, "dave", "carol", START, "her shift", self_declared=False, request="1")
    incident = commented(incident, "dave", NOON, "looking", self_declared=False, request="2")
    assert incident == replace(
        INCIDENT,
        assignee="dave",
        history=(
            HistoryEntry(
                "assigned", "carol", START, "her shift", self_declared=False, request="1", assignee="dave"
            ),
            HistoryEntry("commented", "dave", NOON, "looking", self_declared=False, request="2"),
        ),
        acts=2,
    )


def test_history_keeps_the_latest_entries() -> None:
    incident = INCIDENT
    for number in range(HISTORY_LIMIT - 1):
        incident = acknowledged(incident, f"a{number}", START)
    for latest in (
        acknowledged(incident, "last", NOON),
        silenced(incident, "last", NOON),
        closed(incident, "benign", "last", NOON),
    ):
        assert len(latest.history) == HISTORY_LIMIT
        for following in (
            silenced(latest, "more", NOON),
            closed(latest, "benign", "more", NOON),
        ):
            authors = [entry.author for entry in following.history]
            assert (len(authors), authors[0], authors[-2:]) == (HISTORY_LIMIT, "a1", ["last", "more"])
            assert following.acts == HISTORY_LIMIT + 1


def test_closed_incident_is_not_acknowledged_and_only_a_closed_incident_is_reopened() -> None:
    with pytest.raises(ActRefused, match="in_1 is closed: reopen it"):
        acknowledged(closed(INCIDENT, "benign", "carol", START), "dave", NOON)
    with pytest.raises(ActRefused, match="in_1 is not closed"):
        reopened(INCIDENT, "dave", NOON)


def test_reopened_incident_is_acknowledged_has_no_classification_and_takes_no_alerts() -> None:
    incident = reopened(closed(INCIDENT, "benign", "carol", START), "dave", NOON, "it was not")
    assert (incident.status, incident.classification, incident.takes_alerts) == ("acknowledged", None, False)
    assert incident.history[-1].action_text == "reopened, before: benign"
    assert not closed(incident, "true-positive", "dave", NOON).takes_alerts


def test_history_says_as_what_an_incident_was_closed_and_what_that_replaced() -> None:
    incident = closed(closed(INCIDENT, "benign", "ann", START), "true-positive", "bob", NOON)
    assert [entry.action_text for entry in incident.history] == [
        "closed as benign",
        "closed as true-positive, before: benign",
    ]


def closed_as(classification: Classification, number: int) -> list[Incident]:
    return [closed(INCIDENT, classification, "carol", START)] * number


@pytest.mark.parametrize(
    "incidents, expected",
    [
        ([], RulePrecision("rule", 0, 0, 0, 0, 0, 0, None)),
        (
            [INCIDENT, acknowledged(INCIDENT, "carol", START), *closed_as("undetermined", 1)],
            RulePrecision("rule", 3, 2, 0, 0, 0, 1, None),
        ),
        (
            [
                *closed_as("true-positive", 2),
                *closed_as("benign", 3),
                *closed_as("false-positive", 1),
                *closed_as("undetermined", 4),
            ],
            RulePrecision("rule", 10, 0, 2, 3, 1, 4, 0.333),
        ),
    ],
    ids=["none", "none decided", "all kinds"],
)
def test_precision_counts_true_positives_among_the_decided(
    incidents: list[Incident], expected: RulePrecision
) -> None:
    assert rule_precision("rule", incidents) == expected
