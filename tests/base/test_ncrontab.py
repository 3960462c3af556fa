"""Schedules mean to the job what they mean to the Functions host, which refuses others without a word to the job."""

import pytest

from detection.base.ncrontab import parse_schedule, schedule_problem

FIELDS = ["seconds", "minutes", "hours", "days", "months", "weekdays"]


def values(text: str, field: str) -> list[int]:
    return sorted(parse_schedule(text)[FIELDS.index(field)])


@pytest.mark.parametrize(
    "text, field, expected",
    [
        ("0 0 9-17 * * *", "hours", [*range(9, 18)]),
        ("0 0 17-9 * * *", "hours", [*range(9, 18)]),
        ("0 2/5 * * * *", "minutes", [*range(2, 60, 5)]),
        ("*/20 * * * * *", "seconds", [0, 20, 40]),
        ("0 10-20/5,59 * * * *", "minutes", [10, 15, 20, 59]),
        ("0 */0 * * * *", "minutes", [*range(60)]),
        ("0  5 * * * * ", "minutes", [5]),
        ("5 * * * *", "minutes", [5]),
        ("5 * * * *", "seconds", [0]),
        ("0 0 0 * * Mon-Fri", "weekdays", [1, 2, 3, 4, 5]),
        ("0 0 0 * * sunday,SAT", "weekdays", [0, 6]),
        ("0 0 0 * jan,JUL,m *", "months", [1, 3, 7]),
        ("0 0 0 31 2/5 *", "months", [2, 7, 12]),
    ],
)
def test_schedule_means(text: str, field: str, expected: list[int]) -> None:
    assert values(text, field) == expected


@pytest.mark.parametrize(
    "text, reason",
    [
        pytest.param("", "five or six fields", id="empty"),
        pytest.param("5 * * *", "five or six fields", id="four fields"),
        pytest.param("0 5 * * * * *", "five or six fields", id="seven fields"),
        pytest.param("0 5 *\t* * * *", "hours must be numbers", id="tab"),
        pytest.param("@hourly", "five or six fields", id="a word of cron"),
        pytest.param("01:00:00", "an interval needs an App Service plan", id="interval"),
        pytest.param("60 5 * * * *", "seconds must be within 0 to 59", id="second 60"),
        pytest.param("0 60 * * * *", "minutes must be within 0 to 59", id="minute 60"),
        pytest.param("0 0 24 * * *", "hours must be within 0 to 23", id="hour 24"),
        pytest.param("0 5 * 0 * *", "days must be within 1 to 31", id="day 0"),
        pytest.param("0 5 * * 13 *", "months must be within 1 to 12", id="month 13"),
        pytest.param("0 5 * * * 7", "weekdays must be within 0 to 6", id="weekday 7"),
        pytest.param("0 5 * * 7", "weekdays must be within 0 to 6", id="weekday 7 of five fields"),
        pytest.param("0 5 * * * someday", "weekdays must be numbers or names", id="no weekday"),
        pytest.param("0 Mon * * * *", "minutes must be numbers", id="name in minutes"),
        pytest.param("0 -5 * * * *", "minutes must be numbers", id="negative"),
        pytest.param("0 5, * * * *", "minutes must be numbers", id="comma at the end"),
        pytest.param("0 *-10 * * * *", "minutes must be numbers", id="range from a star"),
        pytest.param("0 1-2-3 * * * *", "minutes must be numbers", id="range of three"),
        pytest.param("0 5/ * * * *", "step of its minutes", id="empty step"),
        pytest.param("0 ? * * * *", "minutes must be numbers", id="question mark"),
        pytest.param("0 70/5 * * * *", "minutes must be within", id="step from 70"),
    ],
)
def test_schedule_that_the_host_refuses_has_a_reason_without_its_text(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        parse_schedule(text)
    assert "someday" not in str(error.value)
    assert schedule_problem(text).startswith("The host refuses this schedule")


@pytest.mark.parametrize("text", ["0 5 * * * *", "5 * * * *", "*/10 * * * *", "59 59 */1 * * 0-6"])
def test_hourly_schedule_has_no_problem(text: str) -> None:
    assert schedule_problem(text) == ""


@pytest.mark.parametrize(
    "text, part",
    [
        ("0 5 */2 * * *", "some hours"),
        ("0 5 0-22 * * *", "some hours"),
        ("0 5 * 1 * *", "some days"),
        ("0 5 * * * mon-fri", "some weekdays"),
        ("5 0 * 1 *", "some hours, months"),
    ],
)
def test_schedule_with_more_than_an_hour_between_runs_is_a_problem(text: str, part: str) -> None:
    assert part in schedule_problem(text)
