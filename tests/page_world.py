"""Incidents to look at: a job over a table of its own, and what its page answers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from detection.events import Event, Events, Logs
from detection.incidents.index import Index
from detection.incidents.table import MemoryTable, Table
from detection.job import Job
from detection.matches import Matches
from detection.rendering import render_for
from detection.rule import Rule
from detection.settings import settings_from
from detection.tell import Overtaken, Teller, Terms
from detection.web.exchange import Door, Response, request
from detection.web.respond import respond
from tests.builders import ALICE, HOUR, RULE, START, chains, change, signal, stretch

ORIGIN = "https://app.example"
API = f"{ORIGIN}/api"
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
JSON = {"accept": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
SIGNED_IN = {"x-ms-client-principal-name": "carol@example.com"}
MINUTE = timedelta(minutes=1)


@dataclass(slots=True)
class World:
    """A job whose page is asked at `now`, through one door or another."""

    environment: Mapping[str, str] = field(default_factory=dict)
    table: Table = field(default_factory=MemoryTable)
    now: datetime = START + HOUR
    rule: Rule = RULE

    @property
    def job(self) -> Job:
        settings = settings_from({"PAGE_URL": API, **self.environment})
        return Job(settings, [self.rule], self.table, lambda: self.now)

    def tell(self, changes: Sequence[Event], signals: Sequence[Event], now: datetime = START) -> str:
        """Tells what is new in these events at a moment; returns the id of the incident that was opened last."""
        windows = stretch(now)
        destinations = self.job.settings.destinations if self.rule.on_call.mode == "page" else ()
        found = Matches(RULE, windows, Logs(Events(changes), Events(signals)), chains(changes, signals))
        teller = Teller(Index(self.table, RULE.folder, "run"), Terms(render_for(destinations)))
        try:
            teller.tell(found)
        except Overtaken as overtaken:  # by somebody who has amended an incident; what was read is read again
            teller.known.add(overtaken.by.writer)
            teller.tell(found)
        return [one.alert.incident for one in teller.told if one.alert][-1] if teller.told else ""

    def incident(self, actor: str = ALICE, signals: int = 3, now: datetime = START) -> str:
        """Opens an incident of an actor: a change, and so many signals after it."""
        return self.tell(
            [change(f"audit-{actor}", now - 3 * HOUR, actor)],
            [signal(f"chat-{n}-{actor}", now - 2 * HOUR + n * MINUTE, actor) for n in range(signals)],
            now,
        )

    def get(self, path: str, door: Door = "key", method: str = "GET", **headers: str) -> Response:
        """What is answered at an address under `/api/`, or at a whole address."""
        given = {**HTML, **{name.replace("_", "-"): value for name, value in headers.items()}}
        url = path if path.startswith("http") else f"{API}/{path}"
        return respond(request(method, url, given, b"", door), self.job, self.now)

    def json(self, path: str, door: Door = "key", **headers: str) -> Any:  # noqa: ANN401  # a JSON value
        """The same as JSON."""
        return json.loads(self.get(path, door, **JSON, **headers).body)

    def form(self, name: str, door: Door = "key", **headers: str) -> dict[str, str]:
        """The hidden fields that the page of an incident has for its form."""
        page = read(self.get(f"incidents/{name}", door, **headers))
        return {one["name"]: one["value"] for tag, one in page.elements if one.get("type") == "hidden"}

    def post(
        self,
        path: str,
        fields: Mapping[str, str],
        door: Door = "key",
        headers: Mapping[str, str] = {"sec-fetch-site": "same-origin"},
        content: bytes | None = None,
    ) -> Response:
        """What is answered to a form; its hidden fields are filled in unless they are given."""
        who = {name: value for name, value in headers.items() if name in SIGNED_IN}
        name = path.split("/")[1]
        body = (
            content if content is not None else urlencode({**self.form(name, door, **who), **fields}).encode()
        )
        return respond(
            request("POST", f"{API}/{path}", {**HTML, **FORM, **headers}, body, door), self.job, self.now
        )

    def rows(self) -> dict[str, object]:
        """Everything in the table that belongs to the rule."""
        return {one.row: (one.version, one.values) for one in self.table.scan(RULE.folder, " ", "~")}


class Read(HTMLParser):
    """A page as a browser's parser takes it apart: elements with their attributes, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def read(answer: Response) -> Read:
    """An answer taken apart."""
    page = Read()
    page.feed(answer.body.decode())
    page.close()
    return page
