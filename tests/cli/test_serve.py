"""`incidents serve`: reachable only from this machine and with its key, even through a hostile page."""

import socket
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from detection.cli.serve import Server
from detection.web.exchange import BODY, Response
from tests.support.page_world import PageWorld, parse_page
from tests.support.pages import serving

HANG = 60  # seconds to wait for a response


@pytest.fixture
def world() -> PageWorld:
    return PageWorld()


@pytest.fixture
def server(world: PageWorld) -> Iterator[Server]:
    with serving(world.job) as running:
        yield running


def test_printed_address_shows_the_incidents(world: PageWorld, server: Server) -> None:
    name = world.incident()
    answer = requests.get(server.url, timeout=HANG)
    assert (answer.status_code, name in answer.text) == (200, True)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_list_with_a_slash_at_the_end_has_working_links(world: PageWorld, server: Server) -> None:
    name = world.incident()
    list_response = requests.get(f"{server.origin}/api/incidents/?code={server.key}", timeout=HANG)
    assert (list_response.status_code, list_response.url) == (200, server.url)
    (link,) = [
        attributes["href"]
        for attributes in parse_page(Response(200, list_response.content)).attributes_of("a")
        if name in attributes["href"]
    ]
    assert requests.get(urljoin(list_response.url, link), timeout=HANG).status_code == 200


def test_post_with_a_slash_at_the_end_is_redirected_and_done(world: PageWorld, server: Server) -> None:
    name = world.incident()
    form = world.form(name) | {"by": "eve"}
    url = f"{server.origin}/api/incidents/{name}/acknowledge/?code={server.key}"
    answer = requests.post(url, form, headers={"sec-fetch-site": "same-origin"}, timeout=HANG)
    assert [response.status_code for response in (*answer.history, answer)] == [308, 303, 200]
    assert world.json(f"incidents/{name}")["incident"]["status"] == "acknowledged"


def test_server_listens_on_loopback_only(server: Server) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("query", ["", "?code=", "?code=x", "?code=%C3%A9"])
def test_request_without_the_key_gets_401(world: PageWorld, server: Server, query: str) -> None:
    name = world.incident()
    for path in ("incidents", f"incidents/{name}"):
        answer = requests.get(f"{server.origin}/api/{path}{query}", timeout=HANG)
        assert (answer.status_code, name in answer.text) == (401, False)


def test_header_with_the_key_is_accepted(server: Server) -> None:
    headers = {"x-functions-key": server.key, "accept": "application/json"}
    listing = requests.get(f"{server.origin}/api/incidents", headers=headers, timeout=HANG).json()
    assert listing["incidents"] == []


def test_every_start_makes_a_new_key(world: PageWorld) -> None:
    with Server(world.job, world.job.clock) as server, Server(world.job, world.job.clock) as other_server:
        assert server.key != other_server.key


@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1", ""])
def test_other_host_name_gets_401(server: Server, host: str) -> None:
    assert requests.get(server.url, headers={"host": host}, timeout=HANG).status_code == 401


def test_signed_link_shows_its_incident_without_the_key(world: PageWorld, server: Server) -> None:
    link = world.job.link_signer().link_to(world.incident(), world.now) or ""
    path = urlsplit(link)
    assert requests.get(f"{server.origin}{path.path}?{path.query}", timeout=HANG).status_code == 200
    assert requests.get(f"{server.origin}{path.path}", timeout=HANG).status_code == 404


def test_closing_is_stored_and_redirects_back(world: PageWorld, server: Server) -> None:
    name = world.incident()
    form = world.form(name) | {"by": "eve", "classification": "benign"}
    url = f"{server.origin}/api/incidents/{name}/close?code={server.key}"
    answer = requests.post(url, form, headers={"sec-fetch-site": "same-origin"}, timeout=HANG)
    assert (answer.status_code, answer.history[0].status_code) == (200, 303)
    assert "closed as benign" in answer.text
    assert world.json(f"incidents/{name}")["incident"]["status"] == "closed"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(server: Server, method: str) -> None:
    answer = requests.request(method, server.url, timeout=HANG)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_head_has_no_body(server: Server) -> None:
    answer = requests.head(server.url, timeout=HANG)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("length", [str(BODY + 1), "-1", "99999999999999999999", "9" * 5_000, "x"])
def test_too_long_body_gets_413(world: PageWorld, server: Server, length: str) -> None:
    name = world.incident()
    head = (
        f"POST /api/incidents/{name}/close?code={server.key} HTTP/1.1\r\n"
        f"Host: {server.origin.removeprefix('http://')}\r\nContent-Length: {length}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.server_port), HANG) as raw:
        raw.sendall(head.encode() + b"x" * (BODY + 1))
        assert raw.recv(64).split(b" ")[1] == b"413"


@pytest.mark.parametrize("target", ["[", "@evil.example/", "//[", "http://[/api/incidents"])
def test_request_target_that_is_not_a_path_gets_401(server: Server, target: str) -> None:
    host = server.origin.removeprefix("http://")
    with socket.create_connection(("127.0.0.1", server.server_port), HANG) as raw:
        raw.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert raw.makefile("rb").read().split(b" ")[1] == b"401"
