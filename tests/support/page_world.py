"""Incidents to look at: a job over a table of its own, and what its page answers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from detection.app import Job
from detection.correlation.detection import Detection
from detection.delivery.rendering import message_renderer
from detection.incidents.decide import decisions
from detection.logs.events import Event, Events, Logs
from detection.rules.model import Rule
from detection.runs.commit import Committer, RunOptions, Superseded
from detection.settings import settings_from
from detection.store.incident_store import IncidentStore
from detection.store.table import MemoryTable, Table
from detection.web.exchange import AccessMode, Response, make_request
from detection.web.respond import respond
from tests.support.builders import ALICE, HOUR, RULE, START, chains, change, first_windows, signal

ORIGIN = "https://app.example"
API = f"{ORIGIN}/api"
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
JSON = {"accept": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
LINK_KEY = "k" * 32
SIGNED_IN = {"x-ms-client-principal-name": "carol@example.com"}
MINUTE = timedelta(minutes=1)


@dataclass(slots=True)
class PageWorld:
    """A job whose page is asked at `now`, through one door or another."""

    environment: Mapping[str, str] = field(default_factory=dict)
    table: Table = field(default_factory=MemoryTable)
    now: datetime = START + HOUR
    rule: Rule = RULE

    @property
    def job(self) -> Job:
        settings = settings_from({"PAGE_URL": API, "LINK_KEY": LINK_KEY, **self.environment})
        return Job(settings, [self.rule], self.table, lambda: self.now)

    def commit_new(self, changes: Sequence[Event], signals: Sequence[Event], now: datetime = START) -> str:
        """Tells what is new in these events at a moment; returns the id of the incident that was opened last."""
        windows = first_windows(now)
        destinations = self.job.settings.destinations if self.rule.on_call.mode == "page" else ()
        detection = Detection(RULE, windows, Logs(Events(changes), Events(signals)), chains(changes, signals))
        committer = Committer(
            RULE,
            now,
            IncidentStore(self.table, RULE.folder, "run"),
            RunOptions(message_renderer(destinations)),
        )
        try:
            commit_detection(detection, committer)
        except Superseded as superseded:  # by a person who updated an incident: read again
            committer.restart(superseded)
            commit_detection(detection, committer)
        return (
            [verdict.alert.incident for verdict in committer.verdicts if verdict.alert][-1]
            if committer.verdicts
            else ""
        )

    def incident(self, actor: str = ALICE, signals: int = 3, now: datetime = START) -> str:
        """Opens an incident of an actor: a change, and so many signals after it."""
        return self.commit_new(
            [change(f"audit-{actor}", now - 3 * HOUR, actor)],
            [signal(f"chat-{n}-{actor}", now - 2 * HOUR + n * MINUTE, actor) for n in range(signals)],
            now,
        )

    def get(self, path: str, door: AccessMode = "key", method: str = "GET", **headers: str) -> Response:
        """What is answered at an address under `/api/`, or at a whole address."""
        request_headers = {**HTML, **{name.replace("_", "-"): value for name, value in headers.items()}}
        url = path if path.startswith("http") else f"{API}/{path}"
        return respond(make_request(method, url, request_headers, b"", door), self.job, self.now)

    def json(self, path: str, door: AccessMode = "key", **headers: str) -> Any:  # noqa: ANN401  # a JSON value
        """The same as JSON."""
        return json.loads(self.get(path, door, **JSON, **headers).body)

    def form(self, name: str, door: AccessMode = "key", **headers: str) -> dict[str, str]:
        """The hidden fields that the page of an incident has for its form."""
        page = parse_page(self.get(f"incidents/{name}", door, **headers))
        return {
            attributes["name"]: attributes["value"]
            for tag, attributes in page.elements
            if attributes.get("type") == "hidden"
        }

    def post(
        self,
        path: str,
        fields: Mapping[str, str],
        door: AccessMode = "key",
        headers: Mapping[str, str] = {"sec-fetch-site": "same-origin"},
        content: bytes | None = None,
    ) -> Response:
        """What is answered to a form; its hidden fields are filled in unless they are given."""
        signed_in = {name: value for name, value in headers.items() if name in SIGNED_IN}
        name = path.split("/")[1]
        body = (
            content
            if content is not None
            else urlencode({**self.form(name, door, **signed_in), **fields}).encode()
        )
        return respond(
            make_request("POST", f"{API}/{path}", {**HTML, **FORM, **headers}, body, door), self.job, self.now
        )

    def rows(self) -> dict[str, object]:
        """Everything in the table that belongs to the rule."""
        return {
            entity.row: (entity.version, entity.values) for entity in self.table.scan(RULE.folder, " ", "~")
        }


class ParsedPage(HTMLParser):
    """A page as a browser's parser takes it apart: elements with their attributes, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes_of(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def parse_page(answer: Response) -> ParsedPage:
    """An answer taken apart."""
    page = ParsedPage()
    page.feed(answer.body.decode())
    page.close()
    return page


def commit_detection(detection: Detection, committer: Committer) -> None:
    """Decides and commits, as a run does with each slice."""
    committer.commit(decisions(detection, committer.circumstances(detection)), detection)
