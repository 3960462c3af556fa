"""Acts of the command line through the app: a server of the incident page on this machine."""

from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from detection.base.errors import ConfigurationError, ServiceError, Unreachable
from detection.cli import acts
from detection.cli.main import app
from detection.cli.serve import Server
from detection.settings import Settings
from detection.store.outbox import table_outbox
from detection.store.table import Operation, Table
from tests.support.azurite import free_port
from tests.support.builders import ALICE, HOUR, RULE
from tests.support.page_world import PageWorld
from tests.support.pages import serving
from tests.support.receiver import HIDDEN

KEY = f"{HIDDEN}-function-key"
CLIENT_ID = "66666666-6666-6666-6666-666666666666"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def world() -> PageWorld:
    return PageWorld({"WEBHOOK_URL": f"https://hooks.example/{HIDDEN}", "RULES": RULE.folder})


@pytest.fixture
def server(world: PageWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(world.job) as running:
        running.key = KEY
        monkeypatch.setenv("PAGE_URL", f"{running.origin}/api")
        monkeypatch.setenv("PAGE_KEY", KEY)
        yield running


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refusal(*arguments: str) -> str:
    """The text of the error of a refused act."""
    result = command(*arguments)
    assert isinstance(result.exception, ConfigurationError), result.exception
    assert result.stdout == ""
    return str(result.exception)


def history(world: PageWorld, name: str) -> list[tuple[str, str, str]]:
    entries = world.job.desk.incident(name).incident.history
    return [(entry.action_text, entry.author, entry.note) for entry in entries]


# --------------------------------------------------------------------------------------------------- through the app


def test_acts_on_an_incident_go_to_the_app_and_say_so(world: PageWorld, server: Server) -> None:
    name = world.incident()
    outputs = [
        command("incidents", verb, name, *options, "--by", "eve")
        for verb, *options in (
            ("ack", "--note", "on it"),
            ("close", "--as", "benign", "--note", "load test"),
            ("reopen",),
        )
    ]
    assert [result.stdout for result in outputs] == [
        f"{name} is acknowledged\n",
        f"{name} is closed as benign\n",
        f"{name} is reopened, before: benign\n",
    ]
    assert {result.stderr for result in outputs} == {f"by eve (self-declared), through {server.origin}/api\n"}
    assert history(world, name) == [
        ("acknowledged", "eve", "on it"),
        ("closed as benign", "eve", "load test"),
        ("reopened, before: benign", "eve", ""),
    ]


def test_incident_is_assigned_and_commented(world: PageWorld, server: Server) -> None:
    name = world.incident()
    assigned = command("incidents", "assign", name, "bob", "--note", "knows Alice", "--by", "eve")
    commented = command("incidents", "comment", name, "called Alice", "--by", "eve")
    assert (assigned.stdout, commented.stdout) == (
        f"{name} is assigned to bob\n",
        f"{name} has a new comment\n",
    )
    assert commented.stderr == f"by eve (self-declared), through {server.origin}/api\n"
    assert history(world, name) == [
        ("assigned to bob", "eve", "knows Alice"),
        ("commented", "eve", "called Alice"),
    ]
    assert world.job.desk.incident(name).incident.assignee == "bob"


ACTS = [
    ("ack",),
    ("assign", "bob"),
    ("comment", "why"),
    ("close", "--as", "benign"),
    ("silence", "--for", "1h", "--reason", "x"),
]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("act", ACTS, ids=lambda act: str(act[0]))
def test_act_takes_the_beginning_of_an_id_and_names_the_incident(
    world: PageWorld, act: tuple[str, ...]
) -> None:
    bob, name = world.incident("bob@example.com"), world.incident()
    verb, *options = act
    for prefix in (name[:6], name.removeprefix("in_")[:5]):
        result = command("incidents", verb, prefix, *options, "--by", "eve")
        assert result.stdout.startswith(f"{name} ")
    assert (len(history(world, name)), history(world, bob)) == (2, [])


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("act", ACTS, ids=lambda act: str(act[0]))
def test_act_on_a_beginning_that_several_incidents_have_changes_none(
    world: PageWorld, act: tuple[str, ...]
) -> None:
    names = sorted(world.incident(f"{n}@example.com", 1) for n in range(2))
    verb, *options = act
    assert f"several incidents begin with in_: {', '.join(names)}" in refusal(
        "incidents", verb, "in_", *options
    )
    assert [history(world, name) for name in names] == [[], []]


def test_author_is_by_default_the_name_that_the_machine_knows(
    world: PageWorld, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = world.incident()
    monkeypatch.setattr(acts, "getuser", lambda: "carol")
    assert command("incidents", "ack", name).exit_code == 0
    assert history(world, name) == [("acknowledged", "carol", "")]


@pytest.mark.usefixtures("server")
def test_silence_of_an_incident_has_the_period_and_reason_that_were_asked_for(world: PageWorld) -> None:
    name = world.incident()
    options = ("--for", "8h", "--from", "2026-06-09T10:00:00Z", "--reason", "load test", "--by", "eve")
    result = command("incidents", "silence", name, *options)
    (silence,) = (entry.silence for entry in world.job.desk.silences())
    assert (silence.owner, silence.reason) == ("eve", "load test")
    assert silence.period == "from 2026-06-09 10:00 until 2026-06-09 18:00 UTC"
    assert result.stdout.startswith(f"{name} is silenced {silence.period}: load test (its criteria match ")


@pytest.mark.usefixtures("server")
def test_silence_is_added_and_lifted(world: PageWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.incident()
    monkeypatch.setattr("detection.cli.silences.clock", lambda: world.now)
    options = ("--for", "PT10H", "--reason", "on leave", "--by", "eve", "--actor", "alice@*")
    added = command("silences", "add", "leave", *options)
    (silence,) = (entry.silence for entry in world.job.desk.silences())
    assert added.stdout.startswith(
        f"leave silences signals {silence.period}\nits criteria match 1 of 1 alert"
    )
    assert (silence.owner, silence.criteria, silence.state(world.now)) == (
        "eve",
        {"actor": "alice@*"},
        "in force",
    )
    assert command("silences", "lift", "leave", "--by", "dave").stdout == "leave is lifted\n"
    (silence,) = (entry.silence for entry in world.job.desk.silences())
    assert silence.lifted_by == "dave"


@pytest.mark.usefixtures("server")
def test_dead_letters_are_requeued_by_the_app_and_not_sent_from_here(world: PageWorld) -> None:
    world.incident()
    outbox = table_outbox(world.table, [RULE.folder])
    (queued,) = outbox.waiting("webhook")
    outbox.dead_letter(queued, "HTTP 410")
    result = command("deliver", "--retry-dead")
    assert (result.exit_code, result.stdout, "1 dead letter requeued" in result.stderr) == (0, "", True)
    assert (len(list(outbox.waiting("webhook"))), list(outbox.dead_letters())) == (1, [])
    assert "0 dead letters requeued" in command("deliver", "--retry-dead").stderr


def test_own_token_goes_to_an_app_that_signs_people_in(
    world: PageWorld, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes: list[str] = []

    class SignedIn:
        def get_token(self, scope: str) -> Any:  # noqa: ANN401  # a token
            scopes.append(scope)
            return type("Token", (), {"token": f"{HIDDEN}.token"})

    sent: list[str] = []
    answer = server.answer

    def answer_signed_in(request: Any) -> Any:  # noqa: ANN401  # as the base
        sent.append(request.headers["authorization"])
        assert "x-functions-key" not in request.headers
        headers = {
            **request.headers,
            "x-functions-key": KEY,
            "x-ms-client-principal-name": "carol@example.com",
        }
        return answer(replace(request, headers=headers, access_mode="entra"))

    monkeypatch.setattr(server, "answer", answer_signed_in)
    monkeypatch.setattr(acts, "sign_in", lambda *_: SignedIn())
    monkeypatch.delenv("PAGE_KEY")
    monkeypatch.setenv("PAGE_CLIENT_ID", CLIENT_ID)
    name = world.incident()
    result = command("incidents", "ack", name, "--by", "eve")
    assert (scopes, sent) == ([f"api://{CLIENT_ID}/.default"], [f"Bearer {HIDDEN}.token"])
    assert result.stderr.startswith("by carol@example.com, through ")
    assert history(world, name) == [("acknowledged", "carol@example.com", "")]


def test_act_is_reported_also_where_the_app_does_not_name_its_entry(world: PageWorld, server: Server) -> None:
    name, answer = world.incident(), server.answer
    server.answer = lambda request: replace(answer(request), headers={})  # type: ignore[method-assign]
    assert command("incidents", "close", name, "--as", "benign").stdout == f"{name} is closed as benign\n"


# ------------------------------------------------------------------------------------------------------ refused


@pytest.mark.usefixtures("server")
def test_wrong_key_is_refused_with_the_setting_to_correct(
    world: PageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGE_KEY", f"{HIDDEN}-former-key")
    name = world.incident()
    text = refusal("incidents", "ack", name)
    assert text.startswith("the app refuses the sign-in (HTTP 401); PAGE_KEY must be the key of the function")
    assert HIDDEN not in text
    assert history(world, name) == []


class ContendedTable:
    """A table in which another person acts before the first write."""

    def __init__(self, table: Table, world: PageWorld, name: str) -> None:
        self._table, self._world, self._name, self._is_quiet = table, world, name, False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # as the table
        return getattr(self._table, name)

    def write(self, partition: str, operations: list[Operation]) -> None:
        if not self._is_quiet:
            self._is_quiet = True
            self._world.post(f"incidents/{self._name}/close", {"by": "ann", "classification": "benign"})
        self._table.write(partition, operations)


@pytest.mark.parametrize("act", ACTS, ids=lambda act: str(act[0]))
def test_act_on_an_incident_that_another_person_just_closed_says_who_did_what(
    world: PageWorld, server: Server, act: tuple[str, ...]
) -> None:
    name = world.incident()
    contended: Any = ContendedTable(world.table, world, name)
    server.job = replace(world.job, table=contended)
    verb, *options = act
    text = refusal("incidents", verb, name, *options, "--by", "bob")
    assert f"{name} has changed since you saw it: ann closed as benign at 2026" in text
    assert [entry[:2] for entry in history(world, name)] == [("closed as benign", "ann")]


@pytest.mark.usefixtures("server")
def test_refusal_of_the_app_is_the_error_of_the_command(world: PageWorld) -> None:
    name = world.incident()
    assert "there is no incident in_nothing" in refusal("incidents", "ack", "in_nothing")
    assert "Enter the name of the person to assign" in refusal("incidents", "assign", name, " ")
    assert "Enter the comment as the note" in refusal("incidents", "comment", name, "")
    assert "This page does not exist" in refusal("incidents", "ack", "../silences/lift")
    assert "Shorten the note" in refusal("incidents", "ack", name, "--note", "x" * 2_001)
    assert "needs at least one of" in refusal("silences", "add", "a", "--for", "PT1H", "--reason", "x")
    command("incidents", "close", name, "--as", "benign")
    assert "is closed: reopen it" in refusal("incidents", "ack", name)


@pytest.mark.parametrize(
    "settings, text",
    [
        ({}, "PAGE_URL is missing; set it to the address of the app"),
        ({"PAGE_URL": "https://app.example/api"}, "PAGE_CLIENT_ID and PAGE_KEY are missing"),
        ({"PAGE_KEY": f"{HIDDEN} {HIDDEN}"}, "PAGE_KEY: must have no space"),
        (
            {"PAGE_KEY": KEY, "PAGE_CLIENT_ID": CLIENT_ID},
            "PAGE_KEY: cannot be set together with PAGE_CLIENT_ID",
        ),
    ],
)
def test_missing_or_wrong_way_to_the_app_is_named(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], text: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    error = refusal("incidents", "ack", "in_1")
    assert text in error
    assert HIDDEN not in error


# ------------------------------------------------------------------------------------------------- an app that fails


def test_app_that_does_not_answer_is_a_failing_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGE_URL", f"http://127.0.0.1:{free_port()}/api")
    monkeypatch.setenv("PAGE_KEY", KEY)
    result = command("incidents", "ack", "in_1")
    assert isinstance(result.exception, Unreachable)
    assert "does not answer (ConnectionError)" in str(result.exception)
    assert "--direct" in str(result.exception)
    assert HIDDEN not in str(result.exception)


def test_act_whose_answer_is_lost_is_sent_again_and_happens_once(world: PageWorld, server: Server) -> None:
    name, answer = world.incident(), server.answer
    bodies: list[bytes] = []

    def lose_the_first_answer(request: Any) -> Any:  # noqa: ANN401  # as the base
        bodies.append(request.body)
        response = answer(request)
        if len(bodies) == 1:
            raise ConnectionAbortedError
        return response

    server.answer = lose_the_first_answer  # type: ignore[method-assign]
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    result = command("incidents", "silence", name, "--for", "1h", "--reason", "x", "--by", "eve")
    assert (result.exit_code, len(bodies), len(set(bodies))) == (0, 2, 1)
    assert [entry[0] for entry in history(world, name)] == ["silenced"]
    assert len(world.job.desk.silences()) == 1


def test_silence_whose_answer_is_lost_is_added_once(world: PageWorld, server: Server) -> None:
    answer, moments = server.answer, [world.now, world.now + HOUR]

    def lose_the_first_answer(request: Any) -> Any:  # noqa: ANN401  # as the base
        world.now = moments.pop(0)
        response = answer(request)
        if moments:
            raise ConnectionAbortedError
        return response

    server.answer = lose_the_first_answer  # type: ignore[method-assign]
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    options = ("--for", "10h", "--reason", "x", "--actor", ALICE, "--from", "2026-06-09")
    assert command("silences", "add", "leave", *options).exit_code == 0
    assert (moments, len(world.job.desk.silences())) == ([], 1)


@pytest.fixture
def foreign_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, bytes]]]:
    """A server that is not the incident page, with its answer."""
    answers: list[tuple[int, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status, body = answers[0]
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", f"http://127.0.0.1:1/{HIDDEN}")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        monkeypatch.setenv("PAGE_URL", f"http://127.0.0.1:{running.server_port}/api")
        monkeypatch.setenv("PAGE_KEY", KEY)
        yield answers
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "status, body, kind, text",
    [
        (302, b"", ConfigurationError, "redirects (HTTP 302); set PAGE_CLIENT_ID"),
        (404, b"<html>", ConfigurationError, "not at PAGE_URL (HTTP 404)"),
        (200, b"<html>", ConfigurationError, "not at PAGE_URL (HTTP 200)"),
        (403, b"", ConfigurationError, "refuses the sign-in (HTTP 403)"),
        (503, b"Service Unavailable", ServiceError, "the app failed (HTTP 503); try again"),
        (
            503,
            b'{"error": "the table service does not answer. Try again."}',
            ServiceError,
            "the table service",
        ),
        (429, b"", ServiceError, "HTTP 429"),
    ],
)
def test_answer_that_is_no_act_is_an_error(
    foreign_server: list[tuple[int, bytes]],
    status: int,
    body: bytes,
    kind: type[Exception],
    text: str,
) -> None:
    foreign_server.append((status, body))
    result = command("incidents", "ack", "in_1")
    assert isinstance(result.exception, kind)
    assert text in str(result.exception)
    assert (result.stdout, HIDDEN in str(result.exception)) == ("", False)


# ------------------------------------------------------------------------------------------------------- directly


def test_direct_act_uses_neither_the_app_nor_its_key(
    world: PageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGE_URL", f"http://127.0.0.1:{free_port()}/api")
    monkeypatch.setattr(acts, "environment_job", lambda: world.job)
    monkeypatch.setattr(acts, "clock", lambda: world.now)
    name = world.incident()
    result = command("incidents", "ack", name, "--by", "eve", "--direct")
    assert (result.stdout, result.stderr) == (
        f"{name} is acknowledged\n",
        "by eve (self-declared), directly in the table incidents\n",
    )
    assert history(world, name) == [("acknowledged", "eve", "")]
