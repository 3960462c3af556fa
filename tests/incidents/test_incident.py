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
    rule_precision,
)
from tests.support.builders import HOUR, START, act

INCIDENT = Incident("in_1", 1, START, START, 2, 3, None)
NOON = START + HOUR


def test_each_action_is_an_entry_of_the_history_and_only_closing_classifies() -> None:
    incident = act(INCIDENT, "acknowledged", "carol", START, "on it")
    incident = act(incident, "silenced", "dave", NOON, "a deployment", self_declared=False)
    incident = act(incident, "closed", "erin", NOON, "planned", self_declared=False, classification="benign")
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
    ended = act(
        act(INCIDENT, "acknowledged", "carol", START), "closed", "carol", START, classification="benign"
    )
    assert act(ended, "silenced", "dave", NOON).status == "closed"
    assert act(INCIDENT, "silenced", "dave", NOON).status == "new"
    assert act(INCIDENT, "acknowledged", "dave", NOON).status == "acknowledged"


def test_action_without_a_note_is_self_declared() -> None:
    incident = act(
        act(act(INCIDENT, "acknowledged", "carol", START), "silenced", "carol", START),
        "closed",
        "carol",
        NOON,
        classification="benign",
    )
    reopened_entry = HistoryEntry(
        "reopened", "carol", NOON, "", self_declared=True, former_classification="benign"
    )
    assert act(incident, "reopened", "carol", NOON).history[-1] == reopened_entry
    assert incident.history == (
        HistoryEntry("acknowledged", "carol", START, "", self_declared=True),
        HistoryEntry("silenced", "carol", START, "", self_declared=True),
        HistoryEntry("closed", "carol", NOON, "", self_declared=True, classification="benign"),
    )


def test_assigning_and_commenting_change_nothing_else() -> None:
    incident = act(
        INCIDENT, "assigned", "carol", START, "her shift", self_declared=False, request="1", assignee="dave"
    )
    incident = act(incident, "commented", "dave", NOON, "looking", self_declared=False, request="2")
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
        incident = act(incident, "acknowledged", f"a{number}", START)
    for latest in (
        act(incident, "acknowledged", "last", NOON),
        act(incident, "silenced", "last", NOON),
        act(incident, "closed", "last", NOON, classification="benign"),
    ):
        assert len(latest.history) == HISTORY_LIMIT
        for following in (
            act(latest, "silenced", "more", NOON),
            act(latest, "closed", "more", NOON, classification="benign"),
        ):
            authors = [entry.author for entry in following.history]
            assert (len(authors), authors[0], authors[-2:]) == (HISTORY_LIMIT, "a1", ["last", "more"])
            assert following.acts == HISTORY_LIMIT + 1


def test_full_history_drops_its_oldest_comment_and_never_an_act_before_it() -> None:
    incident = act(INCIDENT, "assigned", "ann", START, assignee="ann")
    incident = act(incident, "closed", "ann", START, classification="benign")
    for number in range(HISTORY_LIMIT + 1):
        incident = act(incident, "commented", f"a{number}", NOON)
    assert [entry.action for entry in incident.history[:3]] == ["assigned", "closed", "commented"]
    authors = [entry.author for entry in incident.history]
    assert (len(authors), authors[2], authors[-1]) == (HISTORY_LIMIT, "a3", f"a{HISTORY_LIMIT}")
    assert incident.acts == HISTORY_LIMIT + 3


def test_closed_incident_is_not_acknowledged_and_only_a_closed_incident_is_reopened() -> None:
    with pytest.raises(ActRefused, match="in_1 is closed: reopen it"):
        act(act(INCIDENT, "closed", "carol", START, classification="benign"), "acknowledged", "dave", NOON)
    with pytest.raises(ActRefused, match="in_1 is not closed"):
        act(INCIDENT, "reopened", "dave", NOON)


def test_reopened_incident_is_acknowledged_has_no_classification_and_takes_no_alerts() -> None:
    incident = act(
        act(INCIDENT, "closed", "carol", START, classification="benign"),
        "reopened",
        "dave",
        NOON,
        "it was not",
    )
    assert (incident.status, incident.classification, incident.takes_alerts) == ("acknowledged", None, False)
    assert incident.history[-1].action_text == "reopened, before: benign"
    assert not act(incident, "closed", "dave", NOON, classification="true-positive").takes_alerts


def test_history_says_as_what_an_incident_was_closed_and_what_that_replaced() -> None:
    incident = act(
        act(INCIDENT, "closed", "ann", START, classification="benign"),
        "closed",
        "bob",
        NOON,
        classification="true-positive",
    )
    assert [entry.action_text for entry in incident.history] == [
        "closed as benign",
        "closed as true-positive, before: benign",
    ]


def closed_as(classification: Classification, number: int) -> list[Incident]:
    return [act(INCIDENT, "closed", "carol", START, classification=classification)] * number


@pytest.mark.parametrize(
    "incidents, expected",
    [
        ([], RulePrecision("rule", 0, 0, 0, 0, 0, 0, None)),
        (
            [INCIDENT, act(INCIDENT, "acknowledged", "carol", START), *closed_as("undetermined", 1)],
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
