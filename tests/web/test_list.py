"""The list to work from: filters in the address, times, export, refreshing, several incidents closed at once."""

import csv
import io
import json
from urllib.parse import urlencode

import pytest

from detection.incidents.incident import Incident
from detection.store.layout import incident_operations
from detection.web import respond
from detection.web.exchange import Response
from detection.web.listing import EXPORT_COLUMNS
from tests.support.builders import ALICE, DAY, HOUR, RULE, START
from tests.support.page_world import JSON, PageWorld, parse_page

BOB, EVIL = "bob@example.com", '=HYPERLINK("http://evil.example";"x")@example.com'


@pytest.fixture
def world() -> PageWorld:
    return PageWorld(now=START + DAY)


@pytest.fixture
def pair(world: PageWorld) -> tuple[str, str]:
    """An incident of ALICE, and one of BOB an hour later."""
    return world.incident(ALICE), world.incident(BOB, now=START + HOUR)


def ids(world: PageWorld, query: str) -> list[str]:
    return [incident["id"] for incident in world.json(f"incidents?{query}")["incidents"]]


def text_of(world: PageWorld, query: str) -> str:
    return " ".join(parse_page(world.get(f"incidents?{query}")).text.split())


# ------------------------------------------------------------------------------------------------------------- filters


def test_filters_of_the_address_select_incidents(world: PageWorld, pair: tuple[str, str]) -> None:
    alice, bob = pair
    world.post(f"incidents/{bob}/acknowledge", {"by": "Ann Ops"})
    assert ids(world, "actor=BOB") == [bob]
    assert ids(world, "actor=example.com") == [bob, alice]
    assert ids(world, f"q={alice}") == [alice]
    assert ids(world, "q=content+ann") == [bob]
    assert ids(world, "q=content+nothing") == []
    assert ids(world, f"rule={RULE.folder}") == [bob, alice]
    assert ids(world, "since=2026-03-02T10:30:00Z") == [bob]
    assert ids(world, "until=2026-03-02T10:30:00Z") == [alice]
    assert ids(world, "since=2026-03-02&until=2026-03-02") == [bob, alice]
    assert ids(world, "since=now-1h") == []
    assert ids(world, "status=&severity=&q=") == [bob, alice]


def test_time_of_the_latest_alert_is_from_since_and_before_until(
    world: PageWorld, pair: tuple[str, str]
) -> None:
    alice, bob = pair
    assert ids(world, "since=2026-03-02T10:00:00Z&until=2026-03-02T11:00:00Z") == [alice]
    assert ids(world, "since=2026-03-02T11:00:00Z") == [bob]


def test_classification_selects_closed_incidents(world: PageWorld, pair: tuple[str, str]) -> None:
    alice, bob = pair
    world.post(f"incidents/{alice}/close", {"by": "eve", "classification": "benign"})
    world.post(f"incidents/{bob}/close", {"by": "eve", "classification": "true-positive"})
    assert ids(world, "classification=benign") == [alice]
    assert ids(world, "classification=benign&status=open") == []


def test_date_means_a_day_of_the_time_zone(world: PageWorld, pair: tuple[str, str]) -> None:
    alice, bob = pair
    # 11:00 UTC is midnight in Auckland.
    assert ids(world, "since=2026-03-03&tz=Pacific/Auckland") == [bob]
    assert ids(world, "until=2026-03-02&tz=Pacific/Auckland") == [alice]
    assert ids(world, "since=2026-03-02&until=2026-03-02&tz=Pacific/Kiritimati") == []
    assert ids(world, "since=2026-03-03&tz=Pacific/Kiritimati") == [bob, alice]


def test_filters_count_what_the_names_of_rows_say_and_nothing_else(
    world: PageWorld, pair: tuple[str, str]
) -> None:
    counts = world.json("incidents?since=2026-03-02T10:30:00Z")["status_counts"]
    assert counts["open"] == {"number": 1, "exact": True}
    assert world.json("incidents?actor=bob")["status_counts"]["open"] == {"number": 0, "exact": False}


def test_filters_go_along_to_other_tabs_and_pages(world: PageWorld, pair: tuple[str, str]) -> None:
    page = parse_page(world.get("incidents?actor=bob&tz=Europe/Berlin&code=k%26y"))
    tabs = [link["href"] for link in page.attributes_of("a") if "status=closed" in link.get("href", "")]
    assert tabs == ["incidents?actor=bob&tz=Europe%2FBerlin&status=closed&code=k%26y"]
    fields = {field.get("name"): field.get("value") for field in page.attributes_of("input")}
    assert (fields["actor"], fields["tz"], fields["code"]) == ("bob", "Europe/Berlin", "k&y")


def test_page_of_a_rare_match_says_that_it_stopped(world: PageWorld) -> None:
    for n in range(1_001):
        time = START + n * HOUR / 1_000
        name = "rare" if n == 0 else "frequent"
        incident = Incident(f"in_{n}", 1, time, time, 1, 1, None, severity="High", title=name, actor=name)
        world.table.write(RULE.folder, list(incident_operations((), incident, None)))
    page = parse_page(world.get("incidents?actor=rare"))
    assert "None of the 1,000 incidents that this page looked through matches." in page.text
    (following,) = [link for link in page.attributes_of("a") if link.get("rel") == "next"]
    assert ids(world, following["href"].partition("?")[2]) == ["in_0"]


@pytest.mark.parametrize(
    "query, reason",
    [
        ("since=yesterday", "since must be a date"),
        ("until=2026-13-01", "until must be a date"),
        ("since=now-999999999d", "since must be a date"),
        ("until=0001-01-01", "until must be a date"),
        ("since=9999-12-31", "since must be a date"),
        ("tz=../../etc/passwd", "tz must be a name"),
        ("tz=Europe", "tz must be a name"),
        ("tz=Mars/Phobos", "tz must be a name"),
        ("tz=%00", "tz must be a name"),
        ("refresh=0", "refresh must be a number of seconds"),
        ("refresh=-5", "refresh must be a number of seconds"),
        ("refresh=%D9%A3%D9%A3", "refresh must be a number of seconds"),
        ("q=" + "x" * 201, "q must have at most 200 characters"),
        ("rule=none", "rule must be one of"),
        ("classification=bad", "classification must be one of"),
    ],
)
def test_wrong_filter_is_said_to_people_and_refused_for_programs(
    world: PageWorld, query: str, reason: str
) -> None:
    world.incident()
    answer = world.get(f"incidents?{query}")
    assert answer.status == 200
    assert reason in parse_page(answer).text
    assert "refresh" not in answer.headers
    refusal = world.get(f"incidents?{query}", accept="application/json")
    assert (refusal.status, reason in json.loads(refusal.body)["error"]) == (422, True)


def test_times_are_in_utc_and_in_the_zone_of_the_address(world: PageWorld, pair: tuple[str, str]) -> None:
    assert "2026-03-02 11:00:00 UTC" in text_of(world, "")
    assert "2026-03-02 11:00:00 UTC · 2026-03-02 12:00 CET" in text_of(world, "tz=Europe/Berlin")


def test_page_refreshes_only_where_the_address_asks_for_it_and_has_no_forms_to_type_into_then(
    world: PageWorld, pair: tuple[str, str]
) -> None:
    assert "refresh" not in world.get("incidents").headers
    answer = world.get("incidents?refresh=60")
    assert answer.headers["refresh"] == "60"
    page = parse_page(answer)
    assert "Stop refreshing" in page.text
    assert [form["method"] for form in page.attributes_of("form")] == ["get"]


# -------------------------------------------------------------------------------------------------------------- export


def test_export_as_csv_has_inert_cells(world: PageWorld) -> None:
    name = world.incident(EVIL)
    answer = world.get("incidents?format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="incidents-20260303T100000Z.csv"'
    (row,) = csv.DictReader(io.StringIO(answer.body.decode()))
    assert list(row) == EXPORT_COLUMNS
    assert (row["id"], row["actor"], row["updated"]) == (name, f"'{EVIL}", "2026-03-02T10:00:00Z")


def test_export_has_the_filtered_incidents_beyond_a_page(world: PageWorld) -> None:
    for n in range(60):
        world.incident(f"{n}@example.com", 1)
    assert len(world.get("incidents?format=csv").body.splitlines()) == 61
    assert len(json.loads(world.get("incidents?format=json").body)["incidents"]) == 60
    assert len(world.get("incidents?format=csv&actor=7@").body.splitlines()) == 7


def test_name_of_an_export_says_that_more_incidents_may_follow(
    world: PageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(respond, "EXPORTED", 2)
    for n in range(3):
        world.incident(f"{n}@example.com", 1)
    answer = world.get("incidents?format=csv")
    assert len(answer.body.splitlines()) == 3
    assert answer.headers["content-disposition"].endswith('Z-part.csv"')


def test_export_with_a_wrong_filter_is_refused(world: PageWorld) -> None:
    assert world.get("incidents?format=csv&since=x").status == 422
    assert world.get("incidents?format=xml", accept="application/json").status == 422


# --------------------------------------------------------------------------------------------- several closed at once

PATH = "incidents/selected/close"


def close_form(world: PageWorld, names: list[str], **fields: str) -> Response:
    """The answer to the form of the list with the boxes of these incidents ticked."""
    page = parse_page(world.get("incidents"))
    boxes = [
        box["value"] for box in page.attributes_of("input") if box.get("value", "").split(":")[0] in names
    ]
    token = world.job.link_signer().form_token("selected", "", world.now)
    pairs = [*(("incidents", box) for box in boxes), ("form", token), ("by", "eve"), *fields.items()]
    return world.post(PATH, {}, content=urlencode(pairs).encode())


def statuses(world: PageWorld) -> list[str]:
    return sorted(incident["status"] for incident in world.json("incidents?status=all")["incidents"])


def test_selected_incidents_are_closed_each_with_its_history(world: PageWorld, pair: tuple[str, str]) -> None:
    answer = close_form(world, list(pair), classification="benign", note="a drill")
    assert answer.status == 200
    assert f"Closed: {pair[1]}, {pair[0]}." in parse_page(answer).text
    for name in pair:
        (entry,) = world.json(f"incidents/{name}")["incident"]["history"]
        assert (entry["author"], entry["classification"], entry["note"]) == ("eve", "benign", "a drill")


def test_selected_incident_that_has_changed_stays_and_the_others_are_closed(
    world: PageWorld, pair: tuple[str, str]
) -> None:
    alice, bob = pair
    token = world.job.link_signer().form_token("selected", "", world.now)
    world.post(f"incidents/{bob}/comment", {"by": "ann", "note": "wait"})
    pairs = [("incidents", f"{alice}:1:0"), ("incidents", f"{bob}:1:0"), ("incidents", "in_none:1:0")]
    pairs += [("form", token), ("by", "eve"), ("classification", "benign")]
    answer = world.post(PATH, {}, content=urlencode(pairs).encode())
    assert answer.status == 409
    text = parse_page(answer).text
    assert f"Closed: {alice}." in text
    assert f"{bob} has changed since you saw it: ann commented" in text
    assert "there is no incident in_none" in text
    assert statuses(world) == ["closed", "new"]


def test_form_that_closes_several_acts_once(world: PageWorld, pair: tuple[str, str]) -> None:
    token = world.job.link_signer().form_token("selected", "", world.now)
    pairs = [*(("incidents", f"{name}:1:0") for name in pair), ("form", token), ("by", "eve")]
    body = urlencode([*pairs, ("classification", "benign")]).encode()
    assert [world.post(PATH, {}, content=body).status for _ in range(2)] == [200, 200]
    assert len(world.json(f"incidents/{pair[0]}")["incident"]["history"]) == 1


def test_program_closes_several_with_json(world: PageWorld, pair: tuple[str, str]) -> None:
    fields = {"by": "bot", "classification": "benign", "incidents": [*pair, "in_none"]}
    headers = {**JSON, "content-type": "application/json"}
    answer = world.post(PATH, {}, headers=headers, content=json.dumps(fields).encode())
    assert answer.status == 409
    result = json.loads(answer.body)
    assert (result["closed"], list(result["refused"])) == (list(pair), ["in_none"])


@pytest.mark.parametrize(
    "names, fields",
    [
        ([], {"classification": "benign"}),
        (["in_1/../x"], {"classification": "benign"}),
        ([f"in_{n}" for n in range(51)], {"classification": "benign"}),
        (["in_1"], {}),
        (["in_1"], {"classification": "bad"}),
    ],
)
def test_selection_that_is_not_valid_changes_nothing(
    world: PageWorld, names: list[str], fields: dict[str, str]
) -> None:
    world.incident()
    headers = {**JSON, "content-type": "application/json"}
    body = json.dumps({"by": "bot", **fields, "incidents": names}).encode()
    assert world.post(PATH, {}, headers=headers, content=body).status == 422
    assert statuses(world) == ["new"]


def test_list_refused_to_close_keeps_what_was_typed_and_its_links_lead_where_they_say(
    world: PageWorld, pair: tuple[str, str]
) -> None:
    answer = close_form(world, [], classification="benign", note="a drill")
    assert answer.status == 422
    page = parse_page(answer)
    assert [area for area in page.attributes_of("textarea") if area["name"] == "note"]
    assert "a drill" in page.text
    assert f"../../incidents/{pair[0]}" in [link["href"] for link in page.attributes_of("a")]


def test_form_of_another_subject_closes_nothing(world: PageWorld, pair: tuple[str, str]) -> None:
    token = world.job.link_signer().form_token("silences", "", world.now)
    fields = {"incidents": pair[0], "form": token, "by": "eve", "classification": "benign"}
    assert world.post(PATH, {}, content=urlencode(fields).encode()).status == 404
    assert statuses(world) == ["new", "new"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_closing_several_needs_post(world: PageWorld, method: str) -> None:
    assert world.get(PATH, method=method).status == 405
