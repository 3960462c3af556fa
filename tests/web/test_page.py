"""The incident page: what it answers to whom, and that only what is meant is done."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode, urljoin

import pytest
from jsonschema import Draft202012Validator

from benchmarks.volume import CountingTable
from detection.base.errors import ConfigurationError
from detection.cli.summary import incident_lines
from detection.delivery.deliver import SCHEDULE
from detection.delivery.signed_links import FORM_LIFETIME as FORM_LIFE
from detection.incidents.changed_object import OBJECTS
from detection.incidents.incident import HISTORY_LIMIT, Incident
from detection.logs.events import Event
from detection.logs.window import Window
from detection.rules.silences import Silence, parse_silence
from detection.store.azure_table import open_table
from detection.store.gaps import Gap, GapList
from detection.store.incident_list import HEAD_ROWS
from detection.store.incident_store import IncidentStore
from detection.store.layout import delete_rows, incident_operations
from detection.store.outbox import Outbox
from detection.store.silence_list import SilenceList
from detection.store.table import PAGE, Entity, MemoryTable, Put
from detection.web.actor import actor_id
from detection.web.exchange import BODY, AccessMode, Response, make_request
from detection.web.html import POLICY
from detection.web.listing import PER_PAGE, list_query, listing
from detection.web.respond import respond
from tests.incidents.test_grouping import HOSTILE
from tests.regenerate import SCHEMAS
from tests.support.azurite import connection_string, free_port
from tests.support.builders import ALICE, DAY, HOUR, RULE, START, change, closed_at_start, signal
from tests.support.page_world import (
    API,
    FORM,
    HTML,
    JSON,
    ORIGIN,
    SIGNED_IN,
    PageWorld,
    ParsedPage,
    parse_page,
)
from tests.support.retention import expire
from tests.support.world import Faults, FaultyTable

MINUTE = timedelta(minutes=1)
ENTRA = {**SIGNED_IN, "sec-fetch-site": "same-origin"}
NUMBERS = [
    "253402300800",
    "9" * 12,
    "9" * 13,
    "9" * 5_000,
    "-1",
    "1e999",
    "nan",
    "\N{ARABIC-INDIC DIGIT THREE}",
]
BOTH_DOORS = pytest.mark.parametrize("door", ["key", "entra"])


@pytest.fixture
def world() -> PageWorld:
    return PageWorld()


def history(world: PageWorld, name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = world.json(f"incidents/{name}")["incident"]["history"]
    return entries


def assert_valid(name: str, value: object) -> None:
    Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))).validate(value)


# --------------------------------------------------------------------------------------------------------- an incident


def test_page_says_who_did_what_and_how_bad(world: PageWorld) -> None:
    page = parse_page(world.get(f"incidents/{world.incident()}"))
    title = f"{ALICE} created an API key, then hit the content filter 3 times within 2 h"
    assert title in page.text
    assert "High" in page.text
    assert {"203.0.113.7", "gpt-4o-2024-08-06"} <= set(re.split(r"\s+", page.text))


def test_page_tells_all_alerts_as_one(world: PageWorld) -> None:
    name = world.incident(signals=2)
    world.commit_new(
        [change(f"audit-{ALICE}", START - 3 * HOUR)],
        [signal("later", START)],
        START + 20 * timedelta(minutes=1),
    )
    text = parse_page(world.get(f"incidents/{name}")).text
    assert "created an API key, then hit the content filter 3 times within 3 h" in text
    assert "3 pairs" in text
    assert "in 2 alerts" in text


def test_alert_that_tells_of_earlier_events_makes_the_span_longer(world: PageWorld) -> None:
    name = world.commit_new([change("c", START - 2 * HOUR)], [signal("s", START - HOUR)])
    world.commit_new([change("late", START - 9 * HOUR)], [signal("t", START - 8 * HOUR)])
    page = parse_page(world.get(f"incidents/{name}"))
    assert "created an API key twice, then hit the content filter twice within 8 h" in page.text
    assert "from 2026-03-02 01:00:00" in page.text


def test_change_told_by_two_alerts_is_one_change(world: PageWorld) -> None:
    name = world.incident(signals=1)
    world.commit_new([change(f"audit-{ALICE}", START - 3 * HOUR)], [signal("later", START - HOUR)])
    assert "1 change between" in parse_page(world.get(f"incidents/{name}")).text


def test_pair_beyond_the_published_rule_is_marked(world: PageWorld) -> None:
    name = world.commit_new([change("c", START - 30 * HOUR)], [signal("s", START - 7 * HOUR)])
    assert "beyond: outside_published_window" in parse_page(world.get(f"incidents/{name}")).text


def test_page_shows_the_newest_pairs_and_says_how_many_more(world: PageWorld) -> None:
    changes = [change("c", START - 3 * HOUR)]
    signals = [signal(f"chat-{n}-", START - 2 * HOUR + n * timedelta(seconds=1)) for n in range(70)]
    name = world.commit_new(changes, signals)
    page = parse_page(world.get(f"incidents/{name}"))
    assert "The alerts keep 50 of 70 pairs: 50 signals, the latest first" in page.text
    assert len(set(re.findall(r"chat-[0-9]+-", page.text))) == 50


def test_signal_after_many_changes_is_a_row_that_unfolds_them(world: PageWorld) -> None:
    changes = [change(f"audit-{n}", START - 3 * HOUR + n * timedelta(minutes=1)) for n in range(5)]
    name = world.commit_new(changes, [signal(f"chat-{n}-", START - HOUR) for n in range(4)])
    page = parse_page(world.get(f"incidents/{name}"))
    assert "All 20 pairs: 4 signals, the latest first" in page.text
    assert len(set(re.findall(r"chat-[0-9]+-", page.text))) == 4
    assert page.text.count("2 earlier changes") == 4


def test_all_evidence_that_the_alerts_keep_is_on_pages_by_signal(world: PageWorld) -> None:
    name = ""
    for hour in range(3):
        changes = [change("c", START - 3 * HOUR)]
        signals = [
            signal(f"chat-{hour}-{n}-", START - 2 * HOUR + hour * HOUR + n * timedelta(seconds=1))
            for n in range(40)
        ]
        name = world.commit_new(changes, signals, START + hour * HOUR) or name
    link = signed_link(world, name)
    doors: list[tuple[str, AccessMode]] = [(f"incidents/{name}?code=k%26y", "key"), (link, "link")]
    for path, door in doors:
        url, ids = urljoin(f"{API}/", path), list[str]()
        while url:
            page = parse_page(world.get(url, door))
            ids += dict.fromkeys(re.findall(r"chat-[0-9]-[0-9]+-", page.text))
            urls = [link["href"] for link in page.attributes_of("a") if "evidence=" in link.get("href", "")]
            url = urljoin(url, urls[-1]) if len(ids) < 120 else ""
        assert ids == [f"chat-{hour}-{n}-" for hour in (2, 1, 0) for n in reversed(range(40))]


@pytest.mark.parametrize("number", ["0", "99", "9999", "-1", "x", "%D9%A3", ""])
def test_page_of_evidence_that_is_not_there_is_the_nearest(world: PageWorld, number: str) -> None:
    name = world.incident()
    answer = world.get(f"incidents/{name}?evidence={number}")
    assert (answer.status, answer.body) == (200, world.get(f"incidents/{name}").body)


def test_thousands_of_signals_are_drawn_as_few_bars(world: PageWorld) -> None:
    name = world.commit_new(
        [change("c", START - 20 * HOUR)],
        [signal(f"s{n}", START - 19 * HOUR + n * timedelta(seconds=10)) for n in range(5_000)],
    )
    answer = world.get(f"incidents/{name}")
    bars = [
        attributes
        for attributes in parse_page(answer).attributes_of("rect")
        if "signal" in attributes["class"]
    ]
    assert len(bars) == 2 * 56  # quarters of an hour, for a wide and for a narrow window
    assert len(answer.body) < 200_000


def test_timeline_is_there_as_a_table_too(world: PageWorld) -> None:
    text = parse_page(world.get(f"incidents/{world.incident()}")).text
    assert "2 Mar 08:00" in text
    assert "hit the content filter 3 times" in text


def test_page_shows_the_kql_that_found_it(world: PageWorld) -> None:
    text = parse_page(world.get(f"incidents/{world.incident()}")).text
    assert "let signals_after = datetime(2026-03-01T10:00:00Z);" in text


def test_incident_whose_alerts_are_gone_is_still_shown(world: PageWorld) -> None:
    name = world.incident()
    rows = [row.row for row in world.table.scan(RULE.folder, "a|", "a}")]
    delete_rows(world.table, RULE.folder, rows)
    answer = world.get(f"incidents/{name}")
    assert answer.status == 200
    assert "alerts of this incident have expired" in parse_page(answer).text


def test_incident_that_has_expired_is_not_found(world: PageWorld) -> None:
    name = world.incident()
    expire(world.table, RULE.folder, START + DAY)
    assert world.get(f"incidents/{name}").status == 404


def test_table_that_a_setting_makes_unusable_is_a_503_that_says_where_to_look(world: PageWorld) -> None:
    class RefusingTable(MemoryTable):
        def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
            raise ConfigurationError("the table service refuses hunter2")

    world.table = RefusingTable()
    answer = world.get("incidents")
    assert answer.status == 503
    assert "`health`" in parse_page(answer).text
    assert "hunter2" not in parse_page(answer).text


def test_json_is_what_show_prints(world: PageWorld) -> None:
    detail = world.json(f"incidents/{world.incident()}")
    assert_valid("incident", detail)
    assert detail["incident"]["severity"] == "High"


@pytest.mark.parametrize(
    "accept, kind",
    [
        ("", "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/json;q=0.5, text/html", "text/html; charset=utf-8"),
        ("text/html;q=0.2, Application/JSON;q=0.7", "application/json"),
        ("application/json;q=0", "text/html; charset=utf-8"),
        ("application/json;q=much", "text/html; charset=utf-8"),
    ],
)
def test_accept_decides_between_html_and_json(world: PageWorld, accept: str, kind: str) -> None:
    assert world.get("incidents", accept=accept).headers["content-type"] == kind


def test_history_says_whose_name_is_only_what_they_said(world: PageWorld) -> None:
    name = world.incident()
    world.post(f"incidents/{name}/acknowledge", {"by": "mallory", "note": "on  it\r\nnow"})
    world.post(f"incidents/{name}/acknowledge", {}, "entra", ENTRA)
    text = " ".join(parse_page(world.get(f"incidents/{name}")).text.split())
    assert "acknowledged by mallory self-declared on it now" in text
    assert "acknowledged by carol@example.com" in text
    assert text.count("self-declared") == 2  # the other is the form's


# --------------------------------------------------------------------------------------------------------- deliveries


def test_deliveries_say_what_waits_what_was_given_up_and_what_was_sent() -> None:
    webhooks = [{"name": name, "url": f"https://{name}.example/"} for name in ("calm", "dead", "slow")]
    webhooks.append({"name": "picky", "url": "https://p.example/", "minimum_severity": "High"})
    world = PageWorld({"WEBHOOKS": json.dumps(webhooks)})
    name = world.incident()
    outbox = Outbox(world.table, RULE.folder)
    for calm in (queued for destination in ("calm", "picky") for queued in outbox.waiting(destination)):
        outbox.sent(calm)
    (dead,), (slow,) = list(outbox.waiting("dead")), list(outbox.waiting("slow"))
    outbox.dead_letter(dead, "HTTP 410 <b>")
    outbox.reschedule(outbox.claim(slow, START + HOUR), START + 2 * HOUR)

    text = " ".join(parse_page(world.get(f"incidents/{name}")).text.split())

    assert "dead dead given up: HTTP 410 <b>" in text
    assert "waiting slow tried 1 time, next 2026-03-02T12:00:00Z" in text
    assert "sent calm no message waits" in text
    assert "sent picky no message waits" in text


def test_page_of_a_rule_that_only_observes_says_that_it_sends_no_messages() -> None:
    world = PageWorld({"WEBHOOKS": '[{"name": "calm", "url": "https://calm.example/"}]'})
    world.rule = RULE.model_copy(update={"on_call": RULE.on_call.model_copy(update={"mode": "observe"})})
    name = world.incident()
    assert "it sends no messages" in parse_page(world.get(f"incidents/{name}")).text


def test_page_leads_to_the_portal_where_the_workspace_is_known() -> None:
    workspace = "/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w"
    world = PageWorld({"LOG_ANALYTICS_RESOURCE_ID": workspace})
    page = parse_page(world.get(f"incidents/{world.incident()}"))
    assert (
        len(
            [link for link in page.attributes_of("a") if link["href"].startswith("https://portal.azure.com/")]
        )
        == 1
    )


# ------------------------------------------------------------------------------------------------------------ the list


def ids(world: PageWorld, path: str) -> list[str]:
    """The ids of the incidents on a page of the list."""
    return [incident["id"] for incident in world.json(path)["incidents"]]


def test_list_shows_open_incidents_first_the_latest_alert_on_top(world: PageWorld) -> None:
    first_id, second_id, third_id = (
        world.incident(f"{n}@example.com", now=START + n * HOUR) for n in range(3)
    )
    world.post(f"incidents/{second_id}/close", {"by": "eve", "classification": "benign"})
    assert ids(world, "incidents") == [third_id, first_id]
    assert ids(world, "incidents?status=all") == [third_id, first_id, second_id]
    assert ids(world, "incidents?status=closed") == [second_id]


def test_list_has_the_title_and_the_size_of_the_incident_and_not_of_its_newest_alert(
    world: PageWorld,
) -> None:
    name = world.incident(signals=40)
    changes = [change(f"audit-{ALICE}", START - 3 * HOUR), change("role", START - HOUR, kind="role.updated")]
    world.commit_new(changes, [signal("more", START)], START + HOUR)
    (row,) = world.json("incidents")["incidents"]
    assert row["title"].endswith("then hit the content filter 41 times within 3 h")
    assert (row["alerts"], row["changes"], row["signals"]) == (2, 2, 41)
    page = parse_page(world.get(f"incidents/{name}"))
    assert row["title"] in page.text


def test_list_counts_by_status_and_severity(world: PageWorld) -> None:
    first_id, second_id, _ = (world.incident(f"{n}@example.com") for n in range(3))
    world.post(f"incidents/{first_id}/acknowledge", {"by": "eve"})
    world.post(f"incidents/{second_id}/close", {"by": "eve", "classification": "benign"})
    listing = world.json("incidents")
    assert_valid("incidents", listing)
    assert listing["status_counts"] == exact(open=2, new=1, acknowledged=1, closed=1, all=3)
    assert listing["severity_counts"] == exact(High=2, Medium=0, Low=0, Informational=0)
    assert ids(world, "incidents?severity=Low") == []


def exact(**counts: int) -> dict[str, dict[str, object]]:
    return {name: {"number": number, "exact": True} for name, number in counts.items()}


def test_list_comes_in_pages_with_links_to_the_next_and_to_the_first(world: PageWorld) -> None:
    names = [
        world.incident(f"{n}@example.com", 1, START + n * timedelta(minutes=1)) for n in range(PER_PAGE + 7)
    ]
    world.now = START + DAY
    first_page = parse_page(world.get("incidents?status=all&code=k%26y"))
    (following,) = page_links(first_page)
    assert f"Open {PER_PAGE + 7}" in " ".join(first_page.text.split())
    assert (following["rel"], "code=k%26y" in following["href"]) == ("next", True)
    assert ids(world, following["href"]) == list(reversed(names[:7]))
    (back,) = page_links(parse_page(world.get(following["href"])))
    assert back == {"href": "incidents?status=all&code=k%26y", "rel": "first"}

    listing = world.json(f"incidents?after={quote(world.json('incidents')['next'])}")
    assert_valid("incidents", listing)
    assert [incident["id"] for incident in listing["incidents"]] == list(reversed(names[:7]))
    assert listing["next"] is None


def page_links(page: ParsedPage) -> list[dict[str, str]]:
    """The links to other pages of the list."""
    return [link for link in page.attributes_of("a") if link.get("rel") in {"first", "next"}]


def add_to_list(world: PageWorld, incidents: int) -> None:
    """Adds incidents that no run made, the later ones with later alerts."""
    for n in range(incidents):
        time = START + n * timedelta(seconds=1)
        actor = f"actor-{n}@example.com"
        title = f"{actor} created an API key, then hit the content filter 3 times"
        incident = Incident(f"in_{n}", 1, time, time, 1, 1, None, severity="High", title=title, actor=actor)
        world.table.write(RULE.folder, list(incident_operations((), incident, None)))


def test_list_of_20_000_incidents_comes_in_small_pages(world: PageWorld) -> None:
    add_to_list(world, 20_000)
    world.now = START + DAY
    answers = [world.get("incidents?status=all")]
    for _ in range(2):
        (following,) = [link for link in page_links(parse_page(answers[-1])) if link["rel"] == "next"]
        answers.append(world.get(following["href"]))
    assert [answer.status for answer in answers] == [200] * 3
    assert max(len(answer.body) for answer in answers) < 80_000
    texts = [parse_page(answer).text for answer in answers]
    shown = [f"in_{n}" for n in range(19_999, 19_999 - 3 * PER_PAGE, -1)]
    assert [name for name in shown if not any(f"{name}\n" in text for text in texts)] == []


def test_counts_beyond_a_thousand_end_in_plus_or_are_left_out(world: PageWorld) -> None:
    add_to_list(world, 1_001)
    page = parse_page(world.get("incidents?status=open"))
    text = " ".join(page.text.split())
    assert "Open 1,000+ New 1,000+ Acknowledged Closed All 1,000+ Any severity High 1,000+" in text
    assert "Medium Low Informational" in text  # there may be some
    assert world.json("incidents")["status_counts"]["closed"] == {"number": 0, "exact": False}


def test_page_without_a_query_counts_the_rows_of_its_request(world: PageWorld) -> None:
    add_to_list(world, HEAD_ROWS)
    assert world.json("incidents")["status_counts"]["open"] == {"number": HEAD_ROWS, "exact": True}
    add_to_list(world, HEAD_ROWS + 1)
    assert world.json("incidents")["status_counts"]["open"] == {"number": HEAD_ROWS + 1, "exact": False}
    exact = {"number": HEAD_ROWS + 1, "exact": True}
    assert world.json("incidents?status=open")["status_counts"]["open"] == exact


def test_page_without_a_query_takes_one_request_of_each_rule(world: PageWorld) -> None:
    add_to_list(world, 1_001)
    add_gap_and_silence(world)
    table = CountingTable(world.table)
    page = listing(replace(world.job.desk, table=table), list_query({}, world.job.desk, world.now), world.now)
    assert (len(page.incidents), len(page.silences), len(page.gaps)) == (PER_PAGE, 1, 1)
    assert table.requests == len(world.job.desk.folders)


class RowCountingTable(CountingTable):
    """Counts the rows that scans return; names are no rows."""

    rows = 0

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        for entity in super().scan(partition, start, end, page):
            self.rows += 1
            yield entity

    def names(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[str]:
        return self._table.names(partition, start, end, page)


def test_later_page_reads_no_incident_of_the_first_page(world: PageWorld) -> None:
    add_to_list(world, 1_001)
    position = str(world.json("incidents")["next"])
    table = RowCountingTable(world.table)
    query = list_query({"after": position}, world.job.desk, world.now)
    page = listing(replace(world.job.desk, table=table), query, world.now)
    assert len(page.incidents) == PER_PAGE
    assert table.rows == PER_PAGE + 1


def test_page_without_an_incident_says_whether_more_follow(world: PageWorld) -> None:
    add_to_list(world, 1_001)
    first_page = parse_page(world.get("incidents?status=acknowledged"))
    assert "None of these incidents is acknowledged. More follow on the next page." in first_page.text
    (following,) = page_links(first_page)
    second_page = parse_page(world.get(following["href"]))
    assert "No more incidents follow." in second_page.text
    assert [link["rel"] for link in page_links(second_page)] == ["first"]


@pytest.mark.parametrize(
    "query",
    [
        "after=0|0",
        "after=l|0|0|0000000000000000|in_1|new",
        "after=0|0|0000000000000000|in_1|new%0A",
        "after=0|0|%D9%A3000000000000000|in_1|new",
        "after=0|0|0000000000000000|in_1' or true|new",
        "after=" + "9" * 5_000,
        "page=2",
        "status=lost",
        "severity=x&after=-1",
    ],
)
def test_field_that_is_not_valid_is_ignored_for_people_and_refused_for_programs(
    world: PageWorld, query: str
) -> None:
    world.incident()
    assert world.get(f"incidents?{query}").body == world.get("incidents").body
    answer = world.get(f"incidents?{query}", accept="application/json")
    assert (answer.status, query.partition("=")[0] in json.loads(answer.body)["error"]) == (422, True)


@pytest.mark.parametrize("after", ["1|9|9999999999999999|x|z", "0|9|0000000000000000|-|lost"])
def test_position_that_no_row_has_is_a_place_in_the_list(world: PageWorld, after: str) -> None:
    world.incident()
    assert ids(world, f"incidents?status=all&after={quote(after)}") == []
    assert ids(world, "incidents?after=0|0|0000000000000000|in_1|new") == ids(world, "incidents")


def test_list_without_incidents_says_so(world: PageWorld) -> None:
    assert "There are no incidents." in parse_page(world.get("incidents")).text


def test_key_of_the_address_is_in_every_address_of_the_page(world: PageWorld) -> None:
    name = world.incident()
    add_silence(world)
    for path in ("incidents", f"incidents/{name}"):
        page = parse_page(world.get(f"{path}?code=k%26y"))
        addresses = [attributes["href"] for attributes in page.attributes_of("a")] + [
            attributes["action"] for attributes in page.attributes_of("form")
        ]
        addresses += [
            attributes["formaction"]
            for attributes in page.attributes_of("button")
            if "formaction" in attributes
        ]
        assert [
            address for address in addresses if "code=k%26y" not in address and not address.startswith("#")
        ] == []
        assert [address for address in addresses if not address.startswith("#")] != []


# --------------------------------------------------------------------------------------------------------------- links


def signed_link(world: PageWorld, name: str, age: timedelta = timedelta(0)) -> str:
    return world.job.link_signer().link_to(name, world.now - age) or ""


def test_link_shows_its_incident_and_nothing_to_act_with(world: PageWorld) -> None:
    name = world.incident()
    answer = world.get(signed_link(world, name), "link")
    page = parse_page(answer)
    assert answer.status == 200
    assert "created an API key" in page.text
    assert [tag for tag, _ in page.elements if tag in {"form", "button", "input", "textarea"}] == []
    assert {str(link["href"])[0] for link in page.attributes_of("a")} == {"#"}  # within the page


@pytest.mark.parametrize("signs_in", [True, False])
def test_link_leads_on_to_act_where_people_can_sign_in(world: PageWorld, signs_in: bool) -> None:
    name = world.incident()
    link_request = make_request("GET", signed_link(world, name), HTML, b"", "link", sign_in_offered=signs_in)
    page = parse_page(respond(link_request, world.job, world.now))
    assert (f"../incidents/{name}" in [link["href"] for link in page.attributes_of("a")]) is signs_in


def test_link_shows_it_as_json_too(world: PageWorld) -> None:
    name = world.incident()
    assert world.json(signed_link(world, name), "link")["incident"]["id"] == name


@pytest.mark.parametrize("late, status", [(SCHEDULE, 200), (SCHEDULE + timedelta(seconds=1), 404)])
def test_link_is_good_for_a_while(world: PageWorld, late: timedelta, status: int) -> None:
    assert world.get(signed_link(world, world.incident(), late), "link").status == status


@pytest.mark.parametrize(
    "query", ["", "?until=99999999999", "?until=99999999999&signature=x", "?signature=x"]
)
def test_look_without_a_signature_is_refused(world: PageWorld, query: str) -> None:
    answer = world.get(f"look/{world.incident()}{query}", "link")
    assert answer.status == 404
    assert ALICE not in parse_page(answer).text


@pytest.mark.parametrize("number", NUMBERS)
def test_number_in_an_address_is_never_our_error(world: PageWorld, number: str) -> None:
    name = world.incident()
    assert signed_link(world, name)  # there is a key to check signatures with
    assert world.get(f"look/{name}?until={quote(number)}&signature=x", "link").status == 404
    assert world.get(f"incidents?after={quote(number)}").body == world.get("incidents").body
    assert world.get(f"incidents?after={quote(number)}", accept="application/json").status == 422
    assert world.get(f"incidents/{quote(number)}").status == 404


def test_link_of_one_incident_opens_no_other(world: PageWorld) -> None:
    incident_id, other_id = world.incident(), world.incident("bob@example.com")
    assert world.get(signed_link(world, incident_id).replace(incident_id, other_id), "link").status == 404


@pytest.mark.parametrize("path", ["incidents", "incidents/in_1", "incidents/in_1/close"])
def test_door_of_links_leads_nowhere_else(world: PageWorld, path: str) -> None:
    assert world.get(path, "link").status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_link_only_looks(world: PageWorld, method: str) -> None:
    answer = world.get(signed_link(world, world.incident()), "link", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


# ---------------------------------------------------------------------------------------------------------------- acts


@BOTH_DOORS
def test_acknowledging_is_kept_and_leads_back_to_the_page(world: PageWorld, door: AccessMode) -> None:
    name = world.incident()
    headers = ENTRA if door == "entra" else {"sec-fetch-site": "same-origin"}
    answer = world.post(f"incidents/{name}/acknowledge", {"by": "eve", "note": "mine"}, door, headers)
    (entry,) = history(world, name)
    assert (answer.status, answer.headers["location"]) == (303, f"../{name}?done={entry['request']}")
    author = {"key": ("eve", True), "entra": ("carol@example.com", False)}[door]
    assert (entry["action"], entry["author"], entry["self_declared"], entry["note"]) == (
        "acknowledged",
        *author,
        "mine",
    )


def test_closing_keeps_the_judgement(world: PageWorld) -> None:
    name = world.incident()
    assert world.post(f"incidents/{name}/close", {"by": "eve", "classification": "benign"}).status == 303
    incident = world.json(f"incidents/{name}")["incident"]
    assert (incident["status"], incident["classification"]) == ("closed", "benign")


def test_key_goes_along_when_an_act_leads_back(world: PageWorld) -> None:
    name = world.incident()
    body = world.form(name) | {"by": "eve"}
    url = f"{API}/incidents/{name}/acknowledge?code=k%26y"
    content = "&".join(f"{key}={value}" for key, value in body.items()).encode()
    answer = respond(make_request("POST", url, {**HTML, **FORM}, content, "key"), world.job, world.now)
    assert answer.headers["location"].startswith(f"../{name}?done=")
    assert answer.headers["location"].endswith("&code=k%26y")


def test_json_acts_without_a_form(world: PageWorld) -> None:
    name = world.incident()
    headers = {**JSON, "content-type": "application/json; charset=utf-8"}
    body = b'{"by": "runbook bot", "note": null}'
    answer = world.post(f"incidents/{name}/acknowledge", {}, headers=headers, content=body)
    assert_valid("incident", json.loads(answer.body))
    assert (answer.status, history(world, name)[0]["author"]) == (200, "runbook bot")


def test_name_is_what_app_service_says_and_not_the_form(world: PageWorld) -> None:
    name = world.incident()
    world.post(f"incidents/{name}/acknowledge", {"by": "the boss"}, "entra", ENTRA)
    assert history(world, name)[0]["author"] == "carol@example.com"


def test_principal_without_a_name_is_known_by_its_id(world: PageWorld) -> None:
    name = world.incident()
    headers = {**JSON, "x-ms-client-principal-id": "0b1c", "content-type": "application/json"}
    world.post(f"incidents/{name}/acknowledge", {}, "entra", headers, b"{}")
    assert history(world, name)[0]["author"] == "0b1c"


def test_headers_of_app_service_are_not_believed_where_it_signs_nobody_in(world: PageWorld) -> None:
    name = world.incident()
    world.post(f"incidents/{name}/acknowledge", {"by": "mallory"}, "key", ENTRA)
    assert (history(world, name)[0]["author"], history(world, name)[0]["self_declared"]) == ("mallory", True)


@pytest.mark.parametrize("path", ["incidents", "incidents/in_1"])
def test_nobody_gets_in_whom_app_service_does_not_name(world: PageWorld, path: str) -> None:
    assert world.get(path, "entra").status == 401


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"classification": "benign"}, "Enter your name"),
        ({"by": " ", "classification": "benign"}, "Enter your name"),
        ({"by": "x" * 201, "classification": "benign"}, "at most 200"),
        ({"by": "eve"}, "Choose a classification"),
        ({"by": "eve", "classification": "fine"}, "Choose a classification"),
        ({"by": "eve", "classification": "benign", "note": "x" * 2_001}, "at most 2,000"),
    ],
)
def test_act_that_says_too_little_or_too_much_is_not_done(
    world: PageWorld, fields: dict[str, str], says: str
) -> None:
    name = world.incident()
    answer = world.post(f"incidents/{name}/close", fields)
    assert answer.status == 422
    assert says in parse_page(answer).text
    assert history(world, name) == []


def test_what_came_after_the_page_was_shown_is_not_judged_unseen(world: PageWorld) -> None:
    name = world.incident()
    form = world.form(name)
    world.commit_new([change(f"audit-{ALICE}", START - 3 * HOUR)], [signal("later", START)])
    answer = world.post(f"incidents/{name}/close", {**form, "by": "eve", "classification": "benign"})
    assert answer.status == 409
    assert "there are 2 now" in parse_page(answer).text
    assert history(world, name) == []


def test_incident_that_another_has_followed_can_still_be_closed(world: PageWorld) -> None:
    first_id = world.incident()
    second_id = world.commit_new(
        [change("d", START + 2 * DAY)], [signal("t", START + 2 * DAY)], START + 2 * DAY
    )
    assert world.post(f"incidents/{first_id}/close", {"by": "eve", "classification": "benign"}).status == 303
    assert [incident["id"] for incident in world.json("incidents")["incidents"]] == [second_id]
    assert [incident["id"] for incident in world.json("incidents?status=closed")["incidents"]] == [first_id]


def test_closing_an_earlier_incident_leaves_the_newest_accepting(world: PageWorld) -> None:
    first_id = world.incident()
    second_id = world.commit_new(
        [change("d", START + 2 * DAY)], [signal("t", START + 2 * DAY)], START + 2 * DAY
    )
    world.post(f"incidents/{first_id}/close", {"by": "eve", "classification": "benign"})
    latest_id = world.commit_new(
        [change("e", START + 2 * DAY)], [signal("u", START + 2 * DAY)], START + 2 * DAY + HOUR
    )
    assert latest_id == second_id


@pytest.mark.parametrize("race_at", range(1, 25))
def test_of_two_acts_at_once_none_is_lost_in_silence(world: PageWorld, race_at: int) -> None:
    name, table = world.incident(), world.table
    body = "&".join(f"{key}={value}" for key, value in (world.form(name) | {"by": "eve"}).items()).encode()

    def close_meanwhile() -> None:
        IncidentStore(table, RULE.folder, "somebody").update(name, closed_at_start)

    world.table = FaultyTable(table, Faults(), close_meanwhile, race_at)
    answer = world.post(f"incidents/{name}/acknowledge", {}, content=body)

    world.table = table
    authors = tuple(sorted(entry["author"] for entry in history(world, name)))
    assert (answer.status, authors) in {
        (303, ("eve", "somebody")),
        (303, ("eve",)),  # the other was not so fast
        (409, ("somebody",)),
    }


# --------------------------------------------------------------------------------------------- acts that nobody meant


@BOTH_DOORS
@pytest.mark.parametrize(
    "headers, status",
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": ORIGIN}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "https://app.example.evil.example"}, 403),
        ({"origin": "http://app.example"}, 403),
        ({"origin": ORIGIN}, 303),
        ({"origin": "null"}, 303),  # a browser that knows no Sec-Fetch-Site, under our Referrer-Policy
        ({"sec-fetch-site": "same-origin", "origin": "null"}, 303),
        ({}, 303),
    ],
)
def test_what_another_site_sends_is_refused(
    world: PageWorld, door: AccessMode, headers: dict[str, str], status: int
) -> None:
    name = world.incident()
    sent_headers = {**SIGNED_IN, **headers} if door == "entra" else headers
    answer = world.post(f"incidents/{name}/acknowledge", {"by": "eve"}, door, sent_headers)
    assert answer.status == status
    assert len(history(world, name)) == (status == 303)


def test_page_behind_another_address_is_no_other_site() -> None:
    world = PageWorld({"PAGE_URL": "https://soc.example/openai"})
    name = world.incident()
    answer = world.post(
        f"incidents/{name}/acknowledge", {"by": "eve"}, headers={"origin": "https://soc.example"}
    )
    assert answer.status == 303


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "field, status", [("form", 404), ("seen", 422), ("acts", 422), ("for", 422), ("classification", 422)]
)
def test_number_in_a_form_is_never_our_error(world: PageWorld, number: str, field: str, status: int) -> None:
    name, verb = world.incident(), "close" if field == "classification" else "silence"
    value = {"form": f"{number}.x", "for": f"P{number}D"}.get(field, number)
    fields = {"by": "eve", "note": "why", "for": "P1D", field: value}
    assert world.post(f"incidents/{name}/{verb}", fields).status == status
    assert history(world, name) == []


@pytest.mark.parametrize("number, status", [("1e999", 200), ("NaN", 200), ("9" * 5_000, 400)])
def test_number_in_json_is_never_our_error(world: PageWorld, number: str, status: int) -> None:
    name = world.incident()
    body = f'{{"by": "eve", "note": {number}}}'.encode()
    headers = {**JSON, "content-type": "application/json"}
    assert world.post(f"incidents/{name}/acknowledge", {}, headers=headers, content=body).status == status


@BOTH_DOORS
@pytest.mark.parametrize("form", ["", "x", "99999999999.x", None])
def test_form_that_we_did_not_show_is_refused(world: PageWorld, door: AccessMode, form: str | None) -> None:
    name, other_id = world.incident(), world.incident("bob@example.com")
    signed_in = SIGNED_IN if door == "entra" else {}
    token = world.form(other_id, door, **signed_in)["form"] if form is None else form
    answer = world.post(f"incidents/{name}/acknowledge", {"by": "eve", "form": token}, door, ENTRA)
    assert answer.status == 404
    assert history(world, name) == []


def test_form_shown_to_somebody_else_is_refused(world: PageWorld) -> None:
    name = world.incident()
    foreign_token = world.form(name, "entra", x_ms_client_principal_name="mallory@example.com")["form"]
    assert world.post(f"incidents/{name}/acknowledge", {"form": foreign_token}, "entra", ENTRA).status == 404


def test_form_that_lay_about_too_long_is_refused(world: PageWorld) -> None:
    name = world.incident()
    form = world.form(name)
    world.now += FORM_LIFE + timedelta(seconds=1)
    assert world.post(f"incidents/{name}/acknowledge", {**form, "by": "eve"}).status == 404


def test_json_from_another_site_is_refused(world: PageWorld) -> None:
    name = world.incident()
    headers = {**SIGNED_IN, "content-type": "application/json", "sec-fetch-site": "cross-site"}
    assert world.post(f"incidents/{name}/acknowledge", {}, "entra", headers, b"{}").status == 403


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data", "application/jsonx", "text/json"])
def test_other_bodies_are_refused(world: PageWorld, kind: str) -> None:
    name = world.incident()
    answer = world.post(f"incidents/{name}/acknowledge", {}, headers={"content-type": kind}, content=b"{}")
    assert answer.status == 415


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_body_has_a_largest_size(world: PageWorld, kind: str) -> None:
    name = world.incident()
    answer = world.post(
        f"incidents/{name}/acknowledge", {}, headers={"content-type": kind}, content=b"x" * (BODY + 1)
    )
    assert answer.status == 413


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"1", b"\xff", b"[" * 9_000])
def test_json_that_is_no_object_is_refused(world: PageWorld, body: bytes) -> None:
    name = world.incident()
    headers = {"content-type": "application/json"}
    assert world.post(f"incidents/{name}/close", {}, headers=headers, content=body).status == 400


@pytest.mark.parametrize(
    "path",
    ["incidents", "incidents?after=0|0", "incidents/{}", "incidents/{}/acknowledge", "incidents/{}/close"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "BREW"])
def test_only_post_changes_anything(world: PageWorld, path: str, method: str) -> None:
    name = world.incident()
    before = world.rows()
    query = "" if "?" in path else "?by=eve&classification=benign"
    world.get(path.format(name) + query, "key", method)
    world.get(signed_link(world, name), "link", method)
    assert world.rows() == before


# ------------------------------------------------------------------------------------------------------- every answer


def answers(world: PageWorld) -> Iterator[Any]:
    name = world.incident()
    yield world.get("incidents")
    yield world.get("incidents", accept="application/json")
    yield world.get(f"incidents/{name}")
    yield world.get(f"incidents/{name}", accept="application/json")
    yield world.get(signed_link(world, name), "link")
    yield world.get("look/x", "link")
    yield world.get("nowhere")
    yield world.get("incidents", "entra")
    yield world.get("incidents", "key", "DELETE")
    yield world.post(f"incidents/{name}/acknowledge", {"by": "eve"})
    yield world.post(f"incidents/{name}/acknowledge", {}, headers=JSON)


def test_every_answer_lets_nothing_be_loaded_framed_stored_or_guessed(world: PageWorld) -> None:
    for answer in answers(world):
        headers = answer.headers
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        if answer.body:
            assert headers["content-security-policy"].startswith("default-src 'none'; ")
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers.get("content-security-policy", "")
        assert "access-control-allow-origin" not in headers


def test_pages_allow_their_own_style_and_forms_and_nothing_else() -> None:
    allowed = dict(part.split(" ", 1) for part in POLICY.split("; "))
    assert allowed.pop("style-src").startswith("'sha256-")
    assert allowed == {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }


def test_head_is_get_without_a_body(world: PageWorld) -> None:
    get, head = (world.get("incidents", "key", method) for method in ("GET", "HEAD"))
    assert head == replace(get, body=b"")


@pytest.mark.parametrize(
    "path, method, status, allow",
    [
        ("incidents", "POST", 405, "GET, HEAD"),
        ("incidents/in_1", "POST", 405, "GET, HEAD"),
        ("incidents/in_1/close", "GET", 405, "POST"),
        ("incidents", "OPTIONS", 405, "GET, HEAD"),
        ("incidents/in_1", "GET", 404, None),
        ("incidents/in_1/forget", "POST", 404, None),
        ("incidents//", "GET", 404, None),
        ("incidents/in_1/close/now", "POST", 404, None),
        ("incidents/..%2f", "GET", 404, None),
        ("look/in_1", "GET", 404, None),
        ("other", "GET", 404, None),
    ],
)
def test_what_is_not_there_is_said(
    world: PageWorld, path: str, method: str, status: int, allow: str | None
) -> None:
    answer = world.get(path, "key", method)
    assert (answer.status, answer.headers.get("allow")) == (status, allow)


@pytest.mark.parametrize("path", ["incidents", "incidents/in_1", "incidents/in_1/close", "look/in_1"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("query", ["", "?status=all&code=k%26y", "?path=x&location=y"])
def test_slash_at_the_end_leads_to_the_address_without_it(
    world: PageWorld, path: str, method: str, query: str
) -> None:
    for door in ("key", "entra"):
        answer = world.get(f"{path}/{query}", door, method)
        leads = urljoin(f"{API}/{path}/", answer.headers["location"])
        assert (answer.status, leads) == (308, f"{API}/{path}{query}")


def test_signed_link_with_a_slash_at_the_end_leads_to_the_incident(world: PageWorld) -> None:
    link = signed_link(world, world.incident())
    slashed = link.replace("?", "/?")
    answer = world.get(slashed, "link")
    assert (answer.status, urljoin(slashed, answer.headers["location"])) == (308, link)
    assert world.get(slashed.replace("signature=", "signature=x"), "link").status == 404


def test_query_of_too_many_fields_is_refused(world: PageWorld) -> None:
    assert world.get("incidents?" + "&".join(f"f{n}=1" for n in range(99))).status == 400


def test_address_that_is_none_is_refused(world: PageWorld) -> None:
    assert world.get("https://[/incidents").status == 400


def test_refusal_is_json_for_who_wants_json(world: PageWorld) -> None:
    answer = world.get("incidents/in_none", accept="application/json")
    assert (answer.status, json.loads(answer.body)) == (
        404,
        {"error": "There is no incident in_none. Check the address."},
    )


def test_table_that_does_not_answer_is_said_without_its_address(
    world: PageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("azure.core.pipeline.transport.RequestsTransport.sleep", lambda *_: None)
    world.table = open_table(connection_string(free_port()), "incidents", None)
    answer = world.get("incidents")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert "AccountKey" not in parse_page(answer).text


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_values_are_text_and_nothing_else(world: PageWorld, value: str) -> None:
    actor = f"eve{value}"
    name = world.commit_new(
        [change("c", START - HOUR, actor, ip=value)],
        [signal(f"s{value}", START - HOUR / 2, actor, model=value)],
    )
    world.post(f"incidents/{name}/acknowledge", {"by": f"eve{value}"[:200], "note": value[:2_000]})
    for path in ("incidents", f"incidents/{name}"):
        answer = world.get(path)
        page = parse_page(answer)
        assert answer.status == 200
        assert [tag for tag, _ in page.elements if tag in {"script", "iframe", "object", "img", "base"}] == []
        assert [
            attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)
        ] == []
        assert not re.search(
            r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", answer.body.decode()
        )
        assert len(answer.body) < 150_000
        assert world.get(path, accept="application/json").body.isascii()


def test_history_counts_the_acts_that_it_no_longer_has(world: PageWorld) -> None:
    name = world.incident()
    for n in range(HISTORY_LIMIT + 2):
        world.post(f"incidents/{name}/comment", {"by": "eve", "note": f"note {n}"})
    text = parse_page(world.get(f"incidents/{name}")).text
    assert "2 earlier acts not kept" in text
    assert ('note 1"' in text, "note 2" in text) == (False, True)


# ---------------------------------------------------------------------------------------------------------------- gaps


def test_list_shows_open_gaps_with_the_command_that_reads_them(world: PageWorld) -> None:
    gap = Gap(START - 9 * DAY, START - 5 * DAY, Window(START - 10 * DAY, START - 4 * DAY), START)
    gaps = GapList(world.table, RULE.folder)
    gaps.write(gap)
    listing = world.json("incidents")
    assert_valid("incidents", listing)
    [row] = listing["gaps"]
    command = f"python -m detection run --gap {gap.id}"
    assert (row["rule"], row["command"]) == (RULE.folder, command)
    assert command in parse_page(world.get("incidents")).text

    gaps.write(gaps.open_gaps()[0].close("read", START))
    assert world.json("incidents")["gaps"] == []


# -------------------------------------------------------------------------------------------------------- damaged rows


def add_gap_and_silence(world: PageWorld) -> None:
    window = Window(START - 10 * DAY, START - 4 * DAY)
    GapList(world.table, RULE.folder).write(Gap(START - 9 * DAY, START - 5 * DAY, window, START))
    silence = Silence(name="leave", owner="eve", reason="test", expires=world.now + DAY, actor="bob")
    SilenceList(world.table, RULE.folder).add(silence)


def damage(world: PageWorld, kind: str, healthy: str = "-") -> list[str]:
    """Damages all rows of a kind but those of a healthy incident; returns their names."""
    rows = [row for row in world.table.scan(RULE.folder, f"{kind}|", f"{kind}}}") if healthy not in row.row]
    world.table.write(RULE.folder, [Put(row.row, {"b0": b"{"}) for row in rows])
    return [row.row for row in rows]


@pytest.mark.parametrize("kind", ["l", "k", "j"])
def test_damaged_row_costs_the_list_only_itself_and_is_named(world: PageWorld, kind: str) -> None:
    world.incident()
    healthy = world.incident("bob@example.com")
    add_gap_and_silence(world)
    (row,) = damage(world, kind, healthy)

    listing, answer = world.json("incidents"), world.get("incidents")
    assert_valid("incidents", listing)
    assert [(fault["rule"], fault["row"]) for fault in listing["row_faults"]] == [(RULE.folder, row)]
    sizes = (len(listing["incidents"]), len(listing["silences"]), len(listing["gaps"]))
    assert sizes == {"l": (1, 1, 1), "k": (2, 0, 1), "j": (2, 1, 0)}[kind]
    text = parse_page(answer).text
    assert answer.status == 200
    assert healthy in text
    assert "Not on this page: 1 damaged row of the incident table." in text
    assert f"row {row} in the partition {RULE.folder} of the incident table cannot be read" in text


def test_list_names_a_few_damaged_rows_and_counts_the_others(world: PageWorld) -> None:
    for n in range(8):
        world.incident(f"a{n}@example.com")
    names = damage(world, "l")
    text = parse_page(world.get("incidents")).text
    assert sum(name in text for name in names) == 5
    assert "and 3 more" in text
    assert len(world.json("incidents")["row_faults"]) == 8


def test_damaged_row_between_two_pages_of_the_list_is_skipped(world: PageWorld) -> None:
    names = [world.incident(f"a{n}@example.com", now=START - n * MINUTE) for n in range(PER_PAGE + 2)]
    rows = [row.row for row in world.table.scan(RULE.folder, "l|", "l}")]
    world.table.write(RULE.folder, [Put(rows[PER_PAGE], {}), Put("l|0|strange", {})])
    page = world.json("incidents")
    pages = [page, world.json(f"incidents?after={quote(page['next'])}")]
    ids = [incident["id"] for page in pages for incident in page["incidents"]]
    assert ids == [*names[:PER_PAGE], names[-1]]
    assert "l|0|strange" in [fault["row"] for page in pages for fault in page["row_faults"]]


def test_export_for_spreadsheets_without_a_damaged_row_would_hide_it_and_is_refused(world: PageWorld) -> None:
    world.incident()
    (row,) = damage(world, "l")
    answer = world.get("incidents?format=csv")
    assert answer.status == 503
    assert row in answer.body.decode()
    assert world.json("incidents?format=json")["row_faults"][0]["row"] == row


def damaged_alert(world: PageWorld, alerts: int) -> tuple[str, str]:
    """An incident of some alerts, of which the first is damaged; returns its id and the row."""
    name = world.incident()
    if alerts > 1:
        world.commit_new([change("audit-2", START + HOUR)], [signal("chat-2", START + HOUR)], START + HOUR)
    row = next(iter(world.table.scan(RULE.folder, f"a|{name}|", f"a|{name}}}"))).row
    world.table.write(RULE.folder, [Put(row, {})])
    return name, row


@pytest.mark.parametrize("alerts", [1, 2])
def test_damaged_alert_is_named_on_the_page_of_its_incident_and_of_its_actor(
    world: PageWorld, alerts: int
) -> None:
    name, row = damaged_alert(world, alerts)
    for path in (f"incidents/{name}", f"incidents/actors/{actor_id(ALICE)}"):
        answer = world.get(path)
        text = parse_page(answer).text
        assert (answer.status, f"row {row} in the partition" in text, name in text) == (200, True, True)
    assert ("No alert of this incident can be read." in parse_page(world.get(f"incidents/{name}")).text) is (
        alerts == 1
    )
    assert world.get(f"incidents/{name}", accept=JSON["accept"]).status == 503


@pytest.mark.parametrize("media_type", [FORM["content-type"], JSON["accept"]])
def test_incident_with_a_damaged_alert_is_closed(world: PageWorld, media_type: str) -> None:
    name, _ = damaged_alert(world, 2)
    fields = {"by": "eve", "classification": "benign"}
    if media_type == FORM["content-type"]:
        assert world.post(f"incidents/{name}/close", fields).status == 303
    else:
        headers = {**JSON, "content-type": media_type}
        answer = world.post(
            f"incidents/{name}/close", {}, headers=headers, content=json.dumps(fields).encode()
        )
        assert (answer.status, json.loads(answer.body)["incident"]["status"]) == (200, "closed")
    assert "closed as benign" in parse_page(world.get(f"incidents/{name}")).text


def test_damaged_incident_stops_neither_the_page_nor_the_acts_of_the_next_incident(world: PageWorld) -> None:
    former = world.incident()
    world.post(f"incidents/{former}/close", {"by": "eve", "classification": "benign"})
    events = [change("audit-2", START + 20 * HOUR)], [signal("chat-2", START + 21 * HOUR)]
    name = world.commit_new(*events, START + DAY)
    damage(world, "l", name)
    world.table.write(RULE.folder, [Put(f"i|{former}", {})])
    assert former in parse_page(world.get(f"incidents/{name}")).text
    assert world.post(f"incidents/{name}/close", {"by": "eve", "classification": "benign"}).status == 303
    assert world.json(f"incidents/{name}")["incident"]["status"] == "closed"


# ------------------------------------------------------------------------------------------------------------ silences


@BOTH_DOORS
def test_silence_of_an_incidents_actor_is_kept_with_who_and_why(world: PageWorld, door: AccessMode) -> None:
    name = world.incident()
    headers = ENTRA if door == "entra" else {"sec-fetch-site": "same-origin"}
    answer = world.post(
        f"incidents/{name}/silence", {"by": "eve", "note": "load test", "for": "PT4H"}, door, headers
    )
    assert answer.status == 303
    (silence,) = (entry.silence for entry in world.job.desk.silences())
    author = {"key": ("eve", True), "entra": ("carol@example.com", False)}[door]
    assert (silence.actor, silence.owner, silence.reason, silence.expires) == (
        ALICE,
        author[0],
        "load test",
        world.now + 4 * HOUR,
    )
    (entry,) = history(world, name)
    assert (entry["action"], entry["author"], entry["self_declared"]) == ("silenced", *author)
    assert "load test (its criteria match 1 of 1 alert of the last 7 days" in entry["note"]


def test_page_counts_what_was_silenced(world: PageWorld) -> None:
    name = world.incident()
    world.post(f"incidents/{name}/silence", {"by": "eve", "note": "load test", "for": "P1D"})
    world.commit_new(
        [change(f"audit-{ALICE}", START - 3 * HOUR)],
        [signal(f"later {n}", START + HOUR) for n in range(2)],
        world.now,
    )
    assert "2 more silenced" in parse_page(world.get(f"incidents/{name}")).text


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"note": "", "for": "P1D"}, "Enter the reason"),
        ({"note": "x" * 501, "for": "P1D"}, "at most 500"),
        ({"note": "why", "for": ""}, "Choose the period"),
        ({"note": "why", "for": "a while"}, "Choose the period"),
        ({"note": "why", "for": "-P1D"}, "Choose the period"),
        ({"note": "why", "for": "P31D"}, "at most 30 days"),
    ],
)
def test_silence_that_says_too_little_or_too_much_is_not_made(
    world: PageWorld, fields: dict[str, str], says: str
) -> None:
    name = world.incident()
    answer = world.post(f"incidents/{name}/silence", {"by": "eve", **fields})
    assert answer.status == 422
    assert says in parse_page(answer).text
    assert world.job.desk.silences() == []
    assert history(world, name) == []


def add_silence(world: PageWorld, name: str = "nightly", **fields: object) -> None:
    silence = {"owner": "carol", "reason": "<b>a move</b>", "actor": "ann*", "begins": START, **fields}
    world.job.desk.silence(RULE, parse_silence({"name": name, "expires": START + DAY, **silence}))


def lift_values(page: ParsedPage) -> list[str]:
    """The silences that the list's buttons lift."""
    return [button["value"] for button in page.attributes_of("button") if "value" in button]


def lift_form(world: PageWorld, door: AccessMode = "key", **headers: str) -> dict[str, str]:
    """The fields that the button of the list's first silence sends."""
    page = parse_page(world.get("incidents", door, **headers))
    (token,) = [field["value"] for field in page.attributes_of("input") if field["name"] == "form"]
    return {"form": token, "silence": lift_values(page)[0]}


def lift(
    world: PageWorld, fields: dict[str, str], door: AccessMode = "key", headers: dict[str, str] | None = None
) -> Response:
    return world.post(
        "incidents/silences/lift",
        {},
        door,
        headers or {"sec-fetch-site": "same-origin"},
        content=urlencode(fields).encode(),
    )


def test_list_shows_the_silences_and_exclusions_that_have_not_ended(world: PageWorld) -> None:
    exclusion = parse_silence({"name": "terraform", "owner": "ops", "reason": "roles", "change": "role.*"})
    world.rule = RULE.model_copy(update={"exclusions": (exclusion,)})
    add_silence(world)
    add_silence(world, "planned", begins=world.now + HOUR)
    add_silence(world, "over", expires=world.now)
    listing = world.json("incidents")
    assert_valid("incidents", listing)
    assert [(row["name"], row["kind"], row["state"]) for row in listing["silences"]] == [
        ("nightly", "silence", "in force"),
        ("planned", "silence", "scheduled"),
        ("terraform", "exclusion", "in force"),
    ]
    answer = world.get("incidents")
    page = parse_page(answer)
    assert "Silences and exclusions in force or scheduled: 3" in page.text
    for text in ("<b>a move</b>", "ann*", "from 2026-03-02 10:00 until 2026-03-03 10:00 UTC"):
        assert text in page.text
    assert lift_values(page) == [
        f"{RULE.folder}/nightly",
        f"{RULE.folder}/planned",
    ]
    assert b"<b>a move" not in answer.body


@BOTH_DOORS
def test_silence_is_lifted_on_the_list(world: PageWorld, door: AccessMode) -> None:
    add_silence(world)
    headers = ENTRA if door == "entra" else {"sec-fetch-site": "same-origin"}
    fields = lift_form(world, door, **(SIGNED_IN if door == "entra" else {}))
    answer = lift(world, {**fields, "by": "eve"}, door, headers)
    assert (answer.status, urljoin(f"{API}/incidents/silences/lift", answer.headers["location"])) == (
        303,
        f"{API}/incidents?lifted={quote(fields['silence'], safe='')}",
    )
    (silence,) = (entry.silence for entry in world.job.desk.silences())
    author = {"key": "eve", "entra": "carol@example.com"}[door]
    assert (silence.lifted_by, silence.expires) == (author, world.now)
    assert world.json("incidents")["silences"] == []


def test_program_lifts_a_silence_with_json(world: PageWorld) -> None:
    add_silence(world)
    content = json.dumps({"by": "bot", "silence": f"{RULE.folder}/nightly"}).encode()
    headers = {**JSON, "content-type": "application/json"}
    answer = world.post("incidents/silences/lift", {}, "key", headers, content)
    assert (answer.status, json.loads(answer.body)["silences"]) == (200, [])


@pytest.mark.parametrize(
    "fields, headers, status",
    [
        ({"form": ""}, {"sec-fetch-site": "same-origin"}, 404),
        ({}, {"sec-fetch-site": "cross-site"}, 403),
        ({"by": ""}, {"sec-fetch-site": "same-origin"}, 422),
        ({"silence": f"{RULE.folder}/other"}, {"sec-fetch-site": "same-origin"}, 409),
        ({"silence": "other-rule/nightly"}, {"sec-fetch-site": "same-origin"}, 409),
        ({"silence": ""}, {"sec-fetch-site": "same-origin"}, 409),
    ],
)
def test_silence_is_lifted_only_by_the_form_that_shows_it(
    world: PageWorld, fields: dict[str, str], headers: dict[str, str], status: int
) -> None:
    add_silence(world)
    assert lift(world, {**lift_form(world), "by": "eve", **fields}, headers=headers).status == status
    assert [entry.silence.lifted_by for entry in world.job.desk.silences()] == [""]


def test_visitor_with_a_link_lifts_no_silence(world: PageWorld) -> None:
    add_silence(world)
    assert lift(world, lift_form(world), "link").status == 404


def test_token_of_an_incidents_form_lifts_no_silence(world: PageWorld) -> None:
    add_silence(world)
    fields = lift_form(world) | {"form": world.form(world.incident())["form"]}
    assert lift(world, {**fields, "by": "eve"}).status == 404


# ----------------------------------------------------------------------------------------------------- mixed scripts

CYRILLIC_ALICE = "\N{CYRILLIC SMALL LETTER A}lice@example.com"
MARK = "mixed scripts: Cyrillic, Latin"


def test_actor_who_looks_like_another_is_marked_for_people_and_not_for_machines(world: PageWorld) -> None:
    name = world.incident(CYRILLIC_ALICE)
    add_silence(world, actor=CYRILLIC_ALICE)
    page = parse_page(world.get(f"incidents/{name}"))
    assert page.text.count(MARK) == 4  # in the title, its heading, the facts and the link to the actor
    assert parse_page(world.get("incidents")).text.count(MARK) == 2  # of the incident and of the silence
    detail = world.json(f"incidents/{name}")
    assert (detail["key"], detail["alerts"][0]["actor"]) == ([["Account", CYRILLIC_ALICE]], CYRILLIC_ALICE)
    assert MARK not in parse_page(world.get(f"incidents/{world.incident()}")).text


def test_author_who_looks_like_another_is_marked(world: PageWorld) -> None:
    name = world.incident()
    world.post(f"incidents/{name}/acknowledge", {"by": CYRILLIC_ALICE})
    assert f"{CYRILLIC_ALICE} {MARK}" in parse_page(world.get(f"incidents/{name}")).text


@pytest.mark.parametrize("path", ["incidents", "incidents/{}"])
def test_name_in_a_title_is_isolated_and_the_title_is_not(world: PageWorld, path: str) -> None:
    actor = "\N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET}@example.com"
    body = world.get(path.format(world.incident(actor))).body.decode()
    assert f"<bdi>{actor}</bdi> created an API key, then" in body


# ------------------------------------------------------------------------------------------- the changed object


def key_change(ident: str, *, hours_ago: int, key: str, ip: str = "203.0.113.7") -> Event:
    details = json.dumps({"id": key, "data": {"scopes": ["api.model.request"]}})
    return change(
        ident, START - hours_ago * HOUR, ip=ip, details=details, project='{"id":"proj_1","name":"Payments"}'
    )


def test_page_names_the_changed_objects_of_all_alerts(world: PageWorld) -> None:
    world.commit_new(
        [key_change("a1", hours_ago=3, key="key_1")], [signal("s1", START - 2 * HOUR)], START - 2 * HOUR
    )
    name = world.commit_new(
        [
            key_change("a1", hours_ago=3, key="key_1"),
            key_change("a2", hours_ago=1, key="key_2", ip="198.51.100.9"),
        ],
        [signal("s1", START - 2 * HOUR), signal("s2", START)],
    )
    text = parse_page(world.get(f"incidents/{name}")).text
    assert "created an API key twice (key_1, key_2), then hit the content filter twice" in text
    assert "High: created an API key twice, then hit the content filter twice; address new" in text
    scopes = "(scopes: api.model.request) in project Payments"
    assert f"created API key key_1 {scopes}, from 203.0.113.7" in text
    assert f"created API key key_2 {scopes}, from 198.51.100.9 (new for this actor)" in text
    assert "Revoke key_1: Organization settings" in text
    assert "-X DELETE https://api.openai.com/v1/organization/projects/proj_1/api_keys/key_2" in text
    assert "{undo}" not in text


def test_page_and_summary_say_of_how_many_changes_no_object_is_kept(world: PageWorld) -> None:
    changes = [key_change(f"a{n}", hours_ago=3, key=f"key_{n}") for n in range(OBJECTS + 2)]
    name = world.commit_new(changes, [signal("s", START)])
    note = "no object kept of 2 changes: see the logs"
    text = " ".join(parse_page(world.get(f"incidents/{name}")).text.split())
    assert f"and 2 more changes ({note})" in text
    assert note in "\n".join(incident_lines(world.job.desk.incident(name), world.rule))
    few = PageWorld()
    name = few.commit_new(changes[:OBJECTS], [signal("s", START)])
    assert "no object kept" not in parse_page(few.get(f"incidents/{name}")).text


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_object_is_text_and_nothing_else(world: PageWorld, value: str) -> None:
    usual_name = world.commit_new([key_change("a", hours_ago=3, key="key_1")], [signal("s", START)])
    usual = parse_page(world.get(f"incidents/{usual_name}"))
    details = json.dumps({"id": value, "data": {"scopes": [value]}})
    hostile = change(
        "b",
        START - HOUR,
        "eve@example.org",
        details=details,
        project=json.dumps({"name": value}),
        client=value,
    )
    name = world.commit_new([hostile], [signal("t", START, "eve@example.org")], START + HOUR)
    page = parse_page(world.get(f"incidents/{name}"))
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in usual.elements}
