"""docs/reliability.md: its tables are what the code makes, and the models of others do what is known of them."""

from collections.abc import Callable

import pytest

from tests.chaos.page import TABLES
from tests.chaos.peers import (
    FAULTS,
    SENDERS,
    ReceiverModel,
    ReceiverResponse,
    SendResult,
    alertmanager,
    elastalert,
    streamalert,
    this_job,
)
from tests.chaos.scenarios import chaos_only
from tests.regenerate import RELIABILITY_PAGE
from tests.support.marked import tables_in

RETRIED = [name for name in FAULTS if "301" not in name and name not in ("410", "413")]


@pytest.mark.parametrize("name", ["deliveries", pytest.param("published", marks=chaos_only)])
def test_table_is_what_the_code_makes(name: str) -> None:
    page_text = RELIABILITY_PAGE.read_text(encoding="utf-8")
    assert tables_in(page_text)[name] == TABLES[name](), "run `make schemas`"


@pytest.mark.parametrize("fault", RETRIED)
def test_this_job_loses_nothing_that_can_pass(fault: str) -> None:
    result = this_job(FAULTS[fault])
    assert result.accepted_at
    assert result.ending == "sent"


@pytest.mark.parametrize("fault", ["301 to another address", "410", "413"])
def test_what_cannot_pass_is_a_dead_letter_after_one_attempt(fault: str) -> None:
    result = this_job(FAULTS[fault])
    assert (result.accepted_at, result.requests, result.ending) == ([], 1, "dead")


def test_alertmanager_tries_about_fifteen_times_in_a_flush() -> None:
    """14 to 18 by its backoff with jitter, 15.4 in the mean."""
    times = _request_times(alertmanager)
    assert 14 <= sum(time < 330 for time in times) <= 18


def test_elastalert_gives_up_after_two_days() -> None:
    result = elastalert(FAULTS["410"])
    assert (result.requests, result.accepted_at) == (2 * 24 * 60, [])


def test_streamalert_tries_five_times_every_two_minutes() -> None:
    assert sum(time < 140 for time in _request_times(streamalert)) == 5


@pytest.mark.parametrize("sender", [name for name in SENDERS if name != "this job"])
def test_others_follow_a_redirect_and_believe_it_sent(sender: str) -> None:
    result = SENDERS[sender](FAULTS["301 to another address"])
    assert (result.accepted_at, result.ending) == ([], "sent")


def _request_times(sender: Callable[[ReceiverModel], SendResult]) -> list[float]:
    """When a sender asks a receiver that says 500 for an hour."""
    times: list[float] = []

    def receiver(time: float, number: int) -> ReceiverResponse:
        times.append(time)
        return FAULTS["500 for an hour"](time, number)

    sender(receiver)
    return times
