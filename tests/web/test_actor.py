"""The actor page: a week of an actor in the table and in the logs, for people who may read every incident."""

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from urllib.parse import urljoin

import pytest
from jsonschema import Draft202012Validator

from detection.incidents.incident import HISTORY_LIMIT
from detection.rules.silences import parse_silence
from detection.web import actor, actor_logs
from detection.web.actor import WEEK, actor_id
from detection.web.html import outcome
from tests.regenerate import LOGS, SCHEMAS
from tests.support.builders import ALICE, DAY, HOUR, RULE, START, change, signal
from tests.support.contexts import incident_opened_at
from tests.support.page_world import API, PageWorld, parse_page
from tests.support.query_api import ApiRequest, QueryApi, Reply, query_api, tables_of

BOB, HOSTILE = "bob@example.com", "<script>\u202e\x1b'\"@example.com"
PAGE = f"incidents/actors/{actor_id(ALICE)}"


@pytest.fixture
def world() -> PageWorld:
    return PageWorld(now=START + DAY)


def text_of(world: PageWorld, path: str = PAGE) -> str:
    return " ".join(parse_page(world.get(path)).text.split())


def test_page_has_the_week_of_the_actor(world: PageWorld) -> None:
    changes = [change("c", START - 3 * HOUR, details='{"id": "key_1"}')]
    name = world.commit_new(changes, [signal(f"s{n}", START - 2 * HOUR) for n in range(4)])
    world.incident(BOB)
    page = world.json(PAGE)
    Draft202012Validator(json.loads((SCHEMAS / "actor.json").read_text())).validate(page)
    assert (page["name"], [incident["id"] for incident in page["incidents"]]) == (ALICE, [name])
    assert page["changes"] == ["created API key key_1, from 203.0.113.7"]
    assert page["signals"] == [{"hour": "2026-03-02T08:00:00Z", "kinds": {"content_filter": 4}}]
    assert page["matched_by"] == {"exact": 4}
    text = text_of(world)
    assert ALICE in text
    assert "Matched to the actor by exact (4 signals)." in text
    assert "created API key key_1" in text
    assert "2026-03-02 08:00:00" in text


def test_page_counts_the_changes_that_it_does_not_show(world: PageWorld) -> None:
    changes = [change(f"c{n}", START - 3 * HOUR, details=f'{{"id": "key_{n}"}}') for n in range(12)]
    world.commit_new(changes, [signal("s", START - 2 * HOUR)])
    page = world.json(PAGE)
    assert (len(page["changes"]), page["more_changes"]) == (10, 2)
    assert "and 2 more changes" in text_of(world)


def test_page_names_other_actors_from_the_same_addresses(world: PageWorld) -> None:
    world.incident()
    bob = world.incident(BOB)
    changes = [change("far", START - 3 * HOUR, "far@example.com", ip="198.51.100.1")]
    world.commit_new(changes, [signal("far", START - HOUR, "far@example.com")])
    (neighbour,) = world.json(PAGE)["other_actors"]
    assert (neighbour["name"], neighbour["incident"], neighbour["addresses"]) == (BOB, bob, ["203.0.113.7"])
    links = [link["href"] for link in parse_page(world.get(f"{PAGE}?code=k%26y")).attributes_of("a")]
    assert f"{actor_id(BOB)}?incident={bob}&code=k%26y" in links
    assert "far@example.com" not in text_of(world)


def test_page_has_the_incidents_of_other_actors_from_the_same_addresses(
    world: PageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = world.incident()
    bob, carl = world.incident(BOB), world.incident("carl@example.com", now=START + HOUR)
    changes = [change("far", START - 3 * HOUR, "far@example.com", ip="198.51.100.1")]
    world.commit_new(changes, [signal("far", START - HOUR, "far@example.com")])
    page = world.json(PAGE)
    assert [incident["id"] for incident in page["other_incidents"]] == [carl, bob]
    assert [incident["id"] for incident in page["incidents"]] == [own]
    links = [link["href"] for link in parse_page(world.get(f"{PAGE}?code=k%26y")).attributes_of("a")]
    assert f"../{bob}?code=k%26y" in links
    monkeypatch.setattr(actor, "NAMED", 1)
    assert "and 1 earlier incident" in text_of(world)


def test_page_counts_the_other_actors_that_it_does_not_name(
    world: PageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "NAMED", 1)
    for name in (ALICE, BOB, "carl@example.com", "dan@example.com"):
        world.incident(name)
    page = world.json(PAGE)
    assert (len(page["other_actors"]), page["more_actors"]) == (1, 2)
    assert "and 2 more actors" in text_of(world)


def test_silences_that_match_the_actor_are_on_the_page(world: PageWorld) -> None:
    world.incident()
    fields = {"owner": "eve", "reason": "a move", "expires": START + 2 * DAY}
    for name in ("alice", "bob"):
        world.job.desk.silence(RULE, parse_silence({"name": name, "actor": f"{name}@*", **fields}))
    assert [silence["name"] for silence in world.json(PAGE)["silences"]] == ["alice"]


def test_incident_leads_to_its_actor_and_an_older_incident_too(world: PageWorld) -> None:
    name = world.incident()
    world.now = START + 2 * WEEK
    assert world.get(PAGE).status == 404
    links = [
        link["href"] for link in parse_page(world.get(f"incidents/{name}?code=k%26y")).attributes_of("a")
    ]
    (link,) = [link for link in links if "actors/" in link]
    answer = world.get(urljoin(f"{API}/incidents/{name}", link))
    assert answer.status == 200
    assert name in parse_page(answer).text
    assert world.json(f"{PAGE}?incident={world.incident(BOB)}").keys() == {"error"}


@pytest.mark.parametrize("digest", ["0" * 64, "x" * 64, "0" * 63, actor_id(ALICE).upper(), "..", "%00"])
def test_address_of_no_actor_is_not_found(world: PageWorld, digest: str) -> None:
    world.incident()
    assert world.get(f"incidents/actors/{digest}").status == 404


def test_link_of_a_message_leads_to_no_actor(world: PageWorld) -> None:
    name = world.incident()
    link = (world.job.link_signer().link_to(name, world.now) or "").partition("/api/")[2]
    page = parse_page(world.get(link, "link"))
    assert "actors" not in " ".join(link["href"] for link in page.attributes_of("a"))
    query = link.partition("?")[2]
    for path in (PAGE, f"look/actors/{actor_id(ALICE)}", f"look/{name}/actors/{actor_id(ALICE)}"):
        assert world.get(f"{path}?{query}", "link").status == 404


def test_actor_page_needs_a_name_where_people_sign_in(world: PageWorld) -> None:
    world.incident()
    assert world.get(PAGE, "entra").status == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_actor_page_is_only_read(world: PageWorld, method: str) -> None:
    assert world.get(PAGE, method=method).status == 405


def test_hostile_actor_is_text_and_in_no_address_or_query(world: PageWorld) -> None:
    name = world.incident(HOSTILE)
    answer = world.get(f"incidents/actors/{actor_id(HOSTILE)}")
    body = answer.body.decode()
    assert answer.status == 200
    assert not {"\u202e", "\x1b"} & set(body)
    assert "<script>" not in body
    page = parse_page(answer)
    addresses = [link["href"] for link in page.attributes_of("a")]
    assert not [address for address in addresses if "script" in address]
    assert HOSTILE[-12:] not in " ".join(
        query["query"] for query in world.json(f"incidents/actors/{actor_id(HOSTILE)}")["queries"]
    )
    assert name in body


# --------------------------------------------------------------------------------------------------------------- logs


@pytest.fixture(scope="module")
def golden_logs() -> Iterator[QueryApi]:
    with tables_of(LOGS, RULE.tables) as tables, query_api(tables) as api:
        yield api


@pytest.fixture
def asking(golden_logs: QueryApi) -> PageWorld:
    golden_logs.reset()
    workspace = "/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w"
    return PageWorld(
        {
            "LOG_ANALYTICS_WORKSPACE_ID": "6a8e5b3e-0000-4000-8000-000000000000",
            "LOG_ANALYTICS_RESOURCE_ID": workspace,
            "LOG_ANALYTICS_ENDPOINT": golden_logs.endpoint,
        },
        now=START + DAY,
    )


def test_logs_are_asked_only_on_demand_and_the_query_is_linked(
    asking: PageWorld, golden_logs: QueryApi
) -> None:
    asking.incident()
    page = asking.json(PAGE)
    assert golden_logs.requests == []
    assert [(query["subject"], query["side"]) for query in page["queries"]] == [
        ("actor", "changes"),
        ("actor", "signals"),
        ("addresses", "changes"),  # no signal has an address
    ]
    assert all(query["portal"].startswith("https://portal.azure.com/") for query in page["queries"])
    assert [actor_id(ALICE) in query["query"] for query in page["queries"]] == [True, True, False]
    assert "203.0.113.7" not in page["queries"][2]["query"]
    assert sha256(b"203.0.113.7").hexdigest() in page["queries"][2]["query"]
    assert "Ask the logs now" in text_of(asking)


def asked_page(asking: PageWorld, actor: str = "carol@example.com") -> str:
    """The page of an actor with an incident from the address that carol has in the logs."""
    asking.now = START.replace(year=2026, month=6, day=10, hour=13)
    moment = asking.now - DAY
    changes = [change("c", moment - 3 * HOUR, actor, ip="203.0.113.24")]
    asking.commit_new(changes, [signal("s", moment - 2 * HOUR, actor)], moment)
    return f"incidents/actors/{actor_id(actor)}?logs=1"


def test_answers_of_the_logs_are_by_kind_and_hour(asking: PageWorld) -> None:
    path = asked_page(asking)
    page = asking.json(path)
    assert [query["reason"] for query in page["queries"]] == [None] * 3
    changes, signals, _ = (query["answer"] for query in page["queries"])
    assert sum(row["events"] for row in changes) > 0
    assert sum(row["events"] for row in signals) > 0
    assert changes[0].keys() == {"hour", "kind", "events"}
    assert "No changes." not in text_of(asking, path)


def test_logs_answer_for_all_actors_from_the_addresses(asking: PageWorld) -> None:
    path = asked_page(asking, "eve@example.com")  # the changes in the logs are carol's
    own, _, of_addresses = (query["answer"] for query in asking.json(path)["queries"])
    assert own == []
    assert "created an API key" in [row["kind"] for row in of_addresses]
    assert "changes from the addresses" in text_of(asking, path)


def test_answers_of_the_logs_count_the_rows_that_the_page_does_not_show(
    asking: PageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor_logs, "ROWS", 0)
    path = asked_page(asking)
    rows = [query["more_rows"] for query in asking.json(path)["queries"]]
    assert min(rows) > 0
    assert f"and {rows[0]} earlier row" in text_of(asking, path)


def test_logs_that_do_not_answer_are_said_and_the_page_is_shown(
    asking: PageWorld, golden_logs: QueryApi
) -> None:
    asking.incident()
    golden_logs.fault = refused
    page = asking.json(f"{PAGE}?logs=1")
    assert all("403" in query["reason"] or "refuse" in query["reason"] for query in page["queries"])
    assert page["incidents"]
    assert asking.get(f"{PAGE}?logs=1").status == 200


def refused(_request: ApiRequest) -> Reply:
    return Reply(403, b'{"error": {"code": "InsufficientAccessError", "message": "no access"}}')


def test_logs_are_not_asked_after_the_deadline(
    asking: PageWorld, golden_logs: QueryApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking.incident()
    monkeypatch.setattr(actor_logs, "ASK_FOR", 0.0)
    page = asking.json(f"{PAGE}?logs=1")
    assert {query["reason"] for query in page["queries"]} == {"not asked: the 0 s for this page are over"}
    assert golden_logs.requests == []


def test_exported_logs_are_not_asked_for_an_actor(world: PageWorld) -> None:
    world = replace(world, environment={"LOGS_DIR": str(LOGS)})
    world.incident()
    reasons = {query["reason"] for query in world.json(f"{PAGE}?logs=1")["queries"]}
    assert reasons == {"only a Log Analytics workspace is asked for an actor; LOGS_DIR is set"}


# ------------------------------------------------------------------------------------------------------ neighbours


def test_incidents_of_a_key_name_each_other_in_words(world: PageWorld) -> None:
    older_id = world.incident()
    world.post(f"incidents/{older_id}/close", {"by": "Ann", "classification": "benign"})
    world.now = START + 2 * DAY
    newer_id = world.commit_new(
        [change("d", START + DAY)], [signal("later", START + DAY + HOUR)], START + DAY + 2 * HOUR
    )
    text = text_of(world, f"incidents/{newer_id}")
    assert f"Incident 2 of this actor. The incident before, {older_id}, was closed as benign by Ann." in text
    assert f"The next incident, {newer_id}, is new." in text_of(world, f"incidents/{older_id}")
    for number in range(HISTORY_LIMIT + 1):
        world.post(f"incidents/{older_id}/comment", {"by": "Bob", "note": f"note {number}"})
    assert f"{older_id}, was closed as benign by Ann." in text_of(world, f"incidents/{newer_id}")
    link = (world.job.link_signer().link_to(newer_id, world.now) or "").partition("/api/")[2]
    assert "was closed as benign" not in " ".join(parse_page(world.get(link, "link")).text.split())


def test_incident_without_its_acts_says_its_status() -> None:
    closed = replace(incident_opened_at(START), status="closed", classification="benign")
    assert outcome(closed) == "was closed as benign"
    assert outcome(replace(closed, status="acknowledged", classification=None)) == "was acknowledged"
