"""Addresses: how they are read is how `requests` sends to them."""

import re

import pytest
import responses

from detection.base.network import is_loopback, parse_address
from detection.base.sessions import Session


@pytest.mark.parametrize(
    "url, host",
    [
        ("https://a.example\\@localhost/x", "a.example"),
        ("https://a.example#@localhost/", "a.example"),
        ("https://%61.example/", "a.example"),
        ("https://münchen.example/", "xn--mnchen-3ya.example"),
    ],
)
def test_host_is_the_host_that_gets_the_request(url: str, host: str) -> None:
    with responses.RequestsMock() as web, Session(60) as session:
        web.get(re.compile(rf"https://{re.escape(host)}/"))
        session.get(url)
    assert parse_address(url).host == host


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "https://localhost:7071/x", "http://[::1]:1/"])
def test_services_on_this_machine_are_recognised(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example\\@localhost/",
        "http://localhost.a.example/",
        "ftp://localhost/",
        "localhost",
        "https://[",
    ],
)
def test_other_addresses_are_not_on_this_machine(url: str) -> None:
    assert not is_loopback(url)
