"""The check of the incident page: a forged sign-in from outside is refused, or the check is red."""

from datetime import UTC, datetime

import pytest
import responses

from detection.check.checklist import Finding
from detection.check.checks import all_checks
from detection.check.context import CheckContext
from detection.check.page import check_page

PAGE = "https://app.example/api"
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)


def findings(url: str = PAGE) -> list[Finding]:
    return list(check_page(CheckContext({"PAGE_URL": url}, lambda: NOON)))


@pytest.mark.parametrize(
    "status, level",
    [
        (401, "green"),
        (403, "green"),
        (302, "green"),
        (200, "red"),
        (204, "red"),
        (404, "yellow"),
        (503, "yellow"),
    ],
)
def test_page_that_lets_a_forged_sign_in_in_is_red(status: int, level: str) -> None:
    with responses.RequestsMock() as web:
        web.get(f"{PAGE}/incidents", status=status, headers={"location": "https://login.example"})
        (finding,) = findings()
        headers = web.calls[0].request.headers
    assert finding.level == level
    assert headers["x-ms-client-principal-name"]
    assert "x-functions-key" not in headers


def test_page_that_does_not_answer_is_yellow() -> None:
    with responses.RequestsMock() as web:
        web.get(f"{PAGE}/incidents", body=ConnectionError())
        (finding,) = findings()
    assert finding.level == "yellow"


def test_page_without_an_address_is_not_asked() -> None:
    assert findings(url="") == []


def test_check_of_the_keyboard_includes_the_page() -> None:
    assert "page" in {check.name for check in all_checks(CheckContext({}, lambda: NOON))}
