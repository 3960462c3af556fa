"""How severe an alert is: as its rule says, or as its evidence makes it, where the rule says that it may."""

import pytest

from detection.correlation.detection import Detection
from detection.delivery.rendering import message_renderer
from detection.incidents.decide import Circumstances, Verdict, decide
from detection.incidents.key_state import KeyState
from detection.incidents.severity import group_by_actor
from detection.logs.events import Event
from detection.rules.model import Rule, SeverityCondition
from detection.settings import settings_from
from tests.support.builders import HOUR, RULE, START, account, chains, change, first_windows, logs, signal

KEY_THEN_FILTER: dict[str, object] = {
    "severity": "High",
    "changes": ["api_key.created"],
    "signals": ["content_filter"],
}
NEW_ADDRESS: dict[str, object] = {"severity": "Medium", "new_address": True}
EARLIER = change("c0", START - 9 * HOUR, ip="198.51.100.1")


def low_severity_rule(*raises: dict[str, object]) -> Rule:
    """The default rule as one of low severity, which some evidence raises."""
    on_call = RULE.on_call.model_copy(
        update={"severity": tuple(map(SeverityCondition.model_validate, raises))}
    )
    return RULE.model_copy(update={"severity": "Low", "on_call": on_call})


def weighed_by(
    rule: Rule, *earlier: Event, change_kind: str = "api_key.created", kind: str = "content_filter"
) -> Verdict:
    """The verdict on a change and a signal after it, beside earlier changes."""
    actor_chains = chains(
        [change("c", START - 2 * HOUR, kind=change_kind)], [signal("s", START - HOUR, kind=kind)]
    )
    changes_by_actor = group_by_actor([*earlier, *actor_chains[0].changes])
    verdict = decide(
        actor_chains, Circumstances(rule, first_windows(), changes_by_actor), KeyState(account())
    )
    assert verdict is not None
    return verdict


def severity(verdict: Verdict) -> tuple[str, bool]:
    assert verdict.alert is not None
    return verdict.alert.severity, verdict.alert.severity_raised


def test_severity_is_the_rules_own_by_default() -> None:
    assert severity(weighed_by(low_severity_rule())) == ("Low", False)


def test_pair_of_the_kinds_named_raises_it() -> None:
    assert severity(weighed_by(low_severity_rule(KEY_THEN_FILTER))) == ("High", True)


@pytest.mark.parametrize(
    "change_kind, kind", [("role.updated", "content_filter"), ("api_key.created", "length")]
)
def test_one_kind_alone_does_not(change_kind: str, kind: str) -> None:
    assert severity(weighed_by(low_severity_rule(KEY_THEN_FILTER), change_kind=change_kind, kind=kind)) == (
        "Low",
        False,
    )


def test_kinds_that_never_pair_do_not() -> None:
    actor_chains = chains(
        [
            change("key", START, kind="api_key.created"),
            change("role", START - 30 * HOUR, kind="role.updated"),
        ],
        [signal("filter", START - 29 * HOUR), signal("length", START, kind="length")],
    )
    rule = low_severity_rule(KEY_THEN_FILTER)
    verdict = decide(actor_chains, Circumstances(rule, first_windows()), KeyState(account()))
    assert verdict is not None
    assert severity(verdict) == ("Low", False)


def test_new_address_raises_it() -> None:
    assert severity(weighed_by(low_severity_rule(NEW_ADDRESS), EARLIER)) == ("Medium", True)


def test_known_address_does_not() -> None:
    assert severity(weighed_by(low_severity_rule(NEW_ADDRESS), change("c0", START - 9 * HOUR))) == (
        "Low",
        False,
    )


def test_of_several_the_worst_counts() -> None:
    assert severity(weighed_by(low_severity_rule(KEY_THEN_FILTER, NEW_ADDRESS), EARLIER)) == ("High", True)


def test_nothing_lowers_it() -> None:
    rule = low_severity_rule(NEW_ADDRESS).model_copy(update={"severity": "High"})
    assert severity(weighed_by(rule, EARLIER)) == ("High", False)


def test_raised_alert_goes_where_its_severity_is_taken() -> None:
    pager = settings_from(
        {"WEBHOOKS": '[{"name": "pager", "url": "https://pager.example/x", "minimum_severity": "High"}]'}
    ).destinations
    rule = low_severity_rule(KEY_THEN_FILTER)
    detection = Detection(rule, first_windows(), logs([], [], first_windows()), [])
    message_counts = [
        len(message_renderer(pager)(weighed_by(rule, kind=kind), detection))
        for kind in ("content_filter", "length")
    ]
    assert message_counts == [1, 0]
