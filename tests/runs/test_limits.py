"""Settings and rules that would fail only in a run are refused together, before the first run."""

import re
from datetime import timedelta

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from detection.app import load_rules
from detection.backtest.backtest import make_plan
from detection.base.errors import ConfigurationError
from detection.check.context import CheckContext
from detection.check.health import check_rules
from detection.logs.window import plan_windows
from detection.rules.loading import load_rule, rule_names
from detection.runs.limits import MARK_ROWS, require_commits_fit
from detection.settings import settings_from
from tests.support.builders import DAY, HOUR, RULE, START, TICK

TOO_LONG = {"ALLOWED_LATENESS": "P20D", "MAX_CATCH_UP": "P20D"}
NAMES_ALL = r"`within` \(PT?\d+[DH]\), MAX_CATCH_UP \(P20D\) and ALLOWED_LATENESS \(P20D"


@pytest.mark.parametrize("name", rule_names())
@pytest.mark.parametrize("environment", [{}, {"MAX_CATCH_UP": "P25D"}, {"ALLOWED_LATENESS": "P12D"}], ids=str)
def test_shipped_rules_fit_the_documented_values(name: str, environment: dict[str, str]) -> None:
    rules, faults = load_rules(settings_from({"RULES": name, **environment}))
    assert ([rule.folder for rule in rules], faults) == ([name], [])


def test_rule_does_not_run_with_a_lateness_and_a_catch_up_that_no_run_could_commit() -> None:
    rules, [fault] = load_rules(settings_from(TOO_LONG))
    assert rules == []
    assert re.search(NAMES_ALL, fault.text)


def test_check_names_the_settings_that_do_not_fit_the_rule() -> None:
    finding = next(check_rules(CheckContext(TOO_LONG, lambda: START)))
    assert finding.level == "red"
    assert re.search(NAMES_ALL, finding.message)


def test_backtest_refuses_a_within_that_does_not_fit_the_settings() -> None:
    with pytest.raises(ConfigurationError, match=r"P14D.*P25D.*ALLOWED_LATENESS"):
        make_plan(RULE.folder, START, START + DAY, ["within=P14D", "MAX_CATCH_UP=P25D"], {})


def test_the_lateness_of_the_rule_itself_counts() -> None:
    slow = RULE.model_copy(update={"query_period": 14 * DAY, "query_frequency": HOUR})
    with pytest.raises(ConfigurationError, match=r"ALLOWED_LATENESS \(P13DT23H, at least queryPeriod"):
        require_commits_fit(slow, None, 25 * DAY)
    require_commits_fit(slow, None, 24 * DAY)


def test_a_rule_that_reads_its_query_period_fits_any_settings() -> None:
    require_commits_fit(load_rule("openai-config-to-abuse-sentinel"), 25 * DAY, 25 * DAY)


@given(
    st.timedeltas(timedelta(), 40 * DAY),
    st.timedeltas(timedelta(), 60 * DAY),
    st.timedeltas(HOUR, 25 * DAY),
    st.timedeltas(DAY, 25 * DAY),
    st.timedeltas(timedelta(), 14 * DAY),
    st.booleans(),
)
def test_whatever_is_accepted_has_few_enough_days_of_marks_at_any_time(
    since_start: timedelta,
    behind: timedelta,
    lateness: timedelta,
    max_catch_up: timedelta,
    within: timedelta,
    has_threshold: bool,
) -> None:
    threshold = {"length": 2} if has_threshold else {}
    sequence = RULE.sequence.model_copy(update={"within": within, "threshold": threshold})
    rule = RULE.model_copy(update={"sequence": sequence})
    try:
        require_commits_fit(rule, lateness, max_catch_up)
    except ConfigurationError:
        reject()
    now = START + since_start
    windows = plan_windows(now, now - behind, rule, lateness, max_catch_up)

    first_day = min(windows.changes.after, windows.signals.after) + TICK
    days = (now.date() - first_day.date()).days + 1
    assert 2 * days <= MARK_ROWS
