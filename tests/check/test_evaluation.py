"""How the checks evaluate their measurements: each level of each finding."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from detection.base.errors import ServiceError
from detection.check.checklist import Check, Finding, Level, run_checks
from detection.check.evaluation import (
    MAX_COUNTED,
    SourceArrivals,
    duration_text,
    evaluate_age,
    evaluate_clock,
    evaluate_delay,
    evaluate_last_run,
    evaluate_missing_table,
    evaluate_operators,
    evaluate_outbox,
    evaluate_table,
    token_identity,
    usable_lateness,
)
from detection.logs.window import plan_windows
from detection.rules.loading import load_rule
from detection.rules.model import KqlType
from detection.store.outbox import DeadLetter, Delivery, Queued

RULE = load_rule("openai-config-to-abuse")
NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
COLUMNS: dict[str, KqlType] = {"Id": "string", "Session": "dynamic", "Count": "int"}


@pytest.mark.parametrize(
    "length, text",
    [
        (timedelta(0), "0 s"),
        (-SECOND, "0 s"),
        (0.2 * SECOND, "1 s"),
        (119 * SECOND, "119 s"),
        (2 * MINUTE, "2 min"),
        (2 * MINUTE + SECOND, "3 min"),
        (2 * HOUR, "2 h"),
        (47 * HOUR, "47 h"),
        (3 * DAY, "3 d"),
    ],
)
def test_span_is_never_less_than_it_is(length: timedelta, text: str) -> None:
    assert duration_text(length) == text


# --------------------------------------------------------------------------------------------------- identity


def jwt(**claims: str) -> str:
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "none"}, claims)
    )
    return f"{head}.{body}.signature"


@pytest.mark.parametrize(
    "token, text",
    [
        (jwt(appid="11", oid="22", tid="33"), "Signed in as appid 11, tenant 33."),
        (jwt(upn="ann@example.com", appid="11", tid="33"), "Signed in as upn ann@example.com, tenant 33."),
        (jwt(oid="22"), "Signed in as oid 22."),
        (jwt(upn="\x1b[31mann"), r"Signed in as upn \u001b[31mann."),
        (jwt(), "Signed in as an unnamed identity."),
        ("emulator", "The token comes from an emulator and names no identity."),
        ("a.b.c", "The token comes from an emulator and names no identity."),
    ],
)
def test_token_says_whose_it_is(token: str, text: str) -> None:
    assert token_identity(token) == text


# ----------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize(
    "column_types, optional, level, text",
    [
        (COLUMNS | {"More": "real"}, False, "green", "Has 3 of 3 needed columns."),
        (COLUMNS | {"Count": "long"}, False, "green", "Has 3 of 3 needed columns."),
        ({"Id": "string"}, False, "red", "Lacks Session, Count."),
        ({"Id": "string"}, True, "green", "Has 1 of 3 needed columns; the others are optional."),
        (COLUMNS | {"Session": "string"}, False, "red", "Session is string instead of dynamic"),
    ],
    ids=["whole", "another number", "lacking", "optional", "wrong type"],
)
def test_table_is_evaluated_by_the_columns_that_are_needed(
    column_types: dict[str, str], optional: bool, level: Level, text: str
) -> None:
    finding = evaluate_table("table T", COLUMNS, column_types, optional=optional)
    assert (finding.level, text in finding.message) == (level, True)


@pytest.mark.parametrize(
    "optional, elsewhere, level", [(True, False, "green"), (False, True, "yellow"), (False, False, "red")]
)
def test_table_that_is_not_there(optional: bool, elsewhere: bool, level: Level) -> None:
    assert evaluate_missing_table("table T", optional=optional, elsewhere=elsewhere).level == level


# ---------------------------------------------------------------------------------------------------- sources


@pytest.mark.parametrize(
    "newest, level",
    [(NOW - MINUTE, "green"), (NOW - DAY, "green"), (NOW - DAY - SECOND, "yellow"), (None, "red")],
)
def test_newest_row_is_evaluated_by_its_age(newest: datetime | None, level: Level) -> None:
    assert evaluate_age("newest row", SourceArrivals(1, newest), NOW, 7 * DAY).level == level


@pytest.mark.parametrize(
    "longest, level",
    [
        (11 * HOUR, "green"),
        (12 * HOUR, "yellow"),
        (23 * HOUR - SECOND, "yellow"),
        (23 * HOUR, "red"),
        (None, "yellow"),
    ],
)
def test_arrival_is_compared_with_the_allowed_lateness(longest: timedelta | None, level: Level) -> None:
    assert evaluate_delay("arrival", SourceArrivals(1, NOW, longest, longest), 23 * HOUR).level == level


def test_lateness_that_would_do_is_named() -> None:
    finding = evaluate_delay("arrival", SourceArrivals(1, NOW, 30 * HOUR + MINUTE, MINUTE), 23 * HOUR)
    assert "ALLOWED_LATENESS=PT32H" in finding.remedy
    assert (
        "Slowest row took 31 h to arrive, 99 of 100 rows at most 60 s; the limit is 23 h." in finding.message
    )


@pytest.mark.parametrize("rows, text", [(0, "no rows"), (5, "does not report arrival times")])
def test_arrival_that_cannot_be_measured_says_why(rows: int, text: str) -> None:
    assert text in evaluate_delay("arrival", SourceArrivals(rows, None), 23 * HOUR).message


@pytest.mark.parametrize(
    "lateness, usable",
    [(None, 23 * HOUR), (HOUR, 23 * HOUR), (40 * HOUR, 40 * HOUR), (20 * DAY, 20 * DAY)],
    ids=["by default", "too little", "as set", "longer than what a run catches up"],
)
def test_lateness_is_what_the_windows_really_reach_back(
    lateness: timedelta | None, usable: timedelta
) -> None:
    signals = plan_windows(NOW, NOW - HOUR, RULE, lateness).signals
    assert usable_lateness(RULE, lateness) == usable == NOW - HOUR - signals.after


def test_rule_that_reads_its_query_period_allows_no_more_than_that() -> None:
    published = load_rule("openai-config-to-abuse-sentinel")
    assert usable_lateness(published, 40 * HOUR) == 23 * HOUR


# ---------------------------------------------------------------------------------------- operators and clock


def test_operators_that_answer_otherwise_are_named() -> None:
    finding = evaluate_operators("operators", ["a is False", "b is True", "c is True", "d is True"], 9)
    assert finding.level == "red"
    assert finding.message.startswith("4 of 9 lines of the truth table are wrong: a is False;")
    assert evaluate_operators("operators", [], 9).level == "green"


@pytest.mark.parametrize(
    "offset, level",
    [(MINUTE, "green"), (MINUTE + SECOND, "yellow"), (10 * MINUTE - SECOND, "yellow"), (10 * MINUTE, "red")],
)
@pytest.mark.parametrize("sign, word", [(1, "ahead of"), (-1, "behind")])
def test_clock_is_evaluated_either_way(offset: timedelta, level: Level, sign: int, word: str) -> None:
    finding = evaluate_clock("clock", sign * offset)
    assert finding.level == level
    assert level == "green" or word in finding.message


# --------------------------------------------------------------------------------------------- incident table


@pytest.mark.parametrize(
    "age, level",
    [
        (None, "yellow"),
        (90 * MINUTE, "green"),
        (91 * MINUTE, "yellow"),
        (150 * MINUTE, "yellow"),
        (151 * MINUTE, "red"),
    ],
)
def test_last_run_is_evaluated_by_how_often_the_rule_runs(age: timedelta | None, level: Level) -> None:
    assert evaluate_last_run("last run", age, RULE).level == level


def test_last_run_of_a_slower_rule_may_be_older() -> None:
    slower = RULE.model_copy(update={"query_frequency": DAY})
    assert evaluate_last_run("last run", 30 * HOUR, slower).level == "green"


def delivery(minutes: int) -> Delivery:
    created = NOW - minutes * MINUTE
    return Delivery("al_1_soc", "soc", "in_1", 1, b"{}", created=created, due=NOW)


def test_dead_letter_is_red_and_says_for_whom_and_why() -> None:
    finding = evaluate_outbox("outbox", [DeadLetter("rule", delivery(5), "HTTP 404")], [], NOW, ["soc"])
    assert (finding.level, finding.message) == ("red", "1 dead letter for soc, the first: HTTP 404.")
    assert "--retry-dead" in finding.remedy


def test_count_says_that_there_may_be_more() -> None:
    letters = [DeadLetter("rule", delivery(5), "HTTP 404")] * MAX_COUNTED
    message = evaluate_outbox("outbox", letters, [], NOW, ["soc"]).message
    assert message.startswith("at least 1,000 dead letters for soc")


@pytest.mark.parametrize("minutes, level", [(30, "green"), (31, "yellow")])
def test_message_that_has_waited_for_long_is_yellow(minutes: int, level: Level) -> None:
    finding = evaluate_outbox("outbox", [], [Queued("rule", delivery(minutes), "row", "v1")], NOW, ["soc"])
    assert finding.level == level


def test_message_to_a_destination_that_the_settings_do_not_name_is_red() -> None:
    finding = evaluate_outbox("outbox", [], [Queued("rule", delivery(1), "row", "v1")], NOW, ["pager"])
    assert (finding.level, finding.message) == (
        "red",
        "1 message waiting for soc, which the settings do not name.",
    )


# ------------------------------------------------------------------------------------------------------ order


def make_findings(name: str, *levels: Level) -> Callable[[], Iterator[Finding]]:
    return lambda: (Finding(f"{name} {level}", level, "") for level in levels)


def broken() -> Iterator[Finding]:
    raise ServiceError("the service is away")


def test_check_that_fails_stops_only_those_that_need_it() -> None:
    planned = [
        Check("token", broken),
        Check("tables", make_findings("tables", "green"), ("token",)),
        Check("sources", make_findings("sources", "green"), ("tables",)),
        Check("outbox", make_findings("outbox", "green")),
    ]
    assert [(finding.name, finding.level, finding.message) for finding in run_checks(planned)] == [
        ("token", "red", "the service is away"),
        ("tables", "yellow", "Not tried because token failed."),
        (
            "sources",
            "yellow",
            "Not tried because token failed.",
        ),  # the root cause, not the check in between
        ("outbox green", "green", ""),
    ]


def test_check_has_not_failed_where_something_of_it_is_well() -> None:
    planned = [
        Check("workspace", make_findings("workspace", "red", "green")),
        Check("tables", make_findings("tables", "green"), ("workspace",)),
    ]
    assert [finding.level for finding in run_checks(planned)] == ["red", "green", "green"]


def test_findings_before_an_error_are_kept() -> None:
    def half() -> Iterator[Finding]:
        yield Finding("one", "green", "")
        raise ServiceError("the service is away")

    assert [finding.name for finding in run_checks([Check("both", half)])] == ["one", "both"]


def test_each_check_is_announced_before_it_is_tried_and_none_that_is_not() -> None:
    announced_names: list[str] = []
    planned = [Check("token", broken), Check("tables", broken, ("token",)), Check("outbox", broken)]
    for finding in run_checks(planned, announced_names.append):
        assert finding.name == "tables" or announced_names[-1] == finding.name
    assert announced_names == ["token", "outbox"]
