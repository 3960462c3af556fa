"""Acts of several people, acts repeated, acts while a run commits: none is lost or happens twice, and pages say so."""

import json
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import pytest

from detection import desk
from detection.incidents.acts import LiftAct
from detection.incidents.incident import ActRefused
from detection.rules.silences import parse_silence
from detection.store.guarded_table import GuardedTable, time_limit
from detection.store.outbox import table_outbox
from detection.store.silence_list import SilenceList
from detection.store.table import Conflict, Delete, Operation, Put
from detection.web.exchange import Response, make_request
from detection.web.respond import respond
from tests.support.builders import ALICE, DAY, HOUR, RULE, START, change, close_act, incident_act, signal
from tests.support.page_world import API, FORM, HTML, JSON, SIGNED_IN, PageWorld, parse_page
from tests.support.world import Faults, FaultyTable

ACCESSES = range(1, 40)  # of the table by one act, and some more
SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def world() -> PageWorld:
    return PageWorld()


def incident_of(world: PageWorld, name: str) -> dict[str, Any]:
    incident: dict[str, Any] = world.json(f"incidents/{name}")["incident"]
    return incident


def send(world: PageWorld, path: str, fields: dict[str, str]) -> Response:
    """The answer to a form with exactly these fields."""
    return world.post(path, {}, content=urlencode(fields).encode())


def send_json(world: PageWorld, path: str, **fields: object) -> tuple[int, Any]:
    headers = {**JSON, "content-type": "application/json"}
    answer = world.post(path, {}, headers=headers, content=json.dumps(fields).encode())
    return answer.status, json.loads(answer.body)


def more_evidence(world: PageWorld) -> str:
    """Commits another alert of ALICE; returns its incident."""
    return world.commit_new([change(f"audit-{ALICE}", START - 3 * HOUR)], [signal("later", START)])


# --------------------------------------------------------------------------------------------------------- two people


def test_page_that_another_person_has_overtaken_changes_nothing_and_says_who_did_what_when(
    world: PageWorld,
) -> None:
    name = world.incident()
    anns, bobs = world.form(name), world.form(name)
    send(world, f"incidents/{name}/close", {**anns, "by": "ann", "classification": "benign"})
    fields = {**bobs, "by": "bob", "classification": "true-positive", "note": "not benign"}
    answer = send(world, f"incidents/{name}/close", fields)
    assert answer.status == 409
    assert "ann closed as benign at 2026-03-02T11:00:00Z; decide again." in parse_page(answer).text
    incident = incident_of(world, name)
    assert (incident["classification"], [entry["author"] for entry in incident["history"]]) == (
        "benign",
        ["ann"],
    )


@pytest.mark.parametrize("verb", ["acknowledge", "close", "reopen", "silence"])
def test_program_that_says_what_it_has_seen_is_refused_when_that_has_changed(
    world: PageWorld, verb: str
) -> None:
    name = world.incident()
    fields = {"by": "bot", "note": "why", "for": "P1D", "classification": "benign"}
    world.post(f"incidents/{name}/acknowledge", {"by": "ann"})
    status, answer = send_json(world, f"incidents/{name}/{verb}", **fields, seen=1, acts=0)
    assert (status, "ann acknowledged at" in answer["error"]) == (409, True)
    assert [entry["author"] for entry in incident_of(world, name)["history"]] == ["ann"]
    assert world.job.desk.silences() == []


def test_history_keeps_both_classifications_where_the_second_person_had_seen_the_first(
    world: PageWorld,
) -> None:
    name = world.incident()
    world.post(f"incidents/{name}/close", {"by": "ann", "classification": "benign"})
    world.post(f"incidents/{name}/close", {"by": "bob", "classification": "true-positive"})
    text = " ".join(parse_page(world.get(f"incidents/{name}")).text.split())
    assert "closed as benign by ann" in text
    assert "closed as true-positive, before: benign by bob" in text


def test_closed_incident_is_not_acknowledged(world: PageWorld) -> None:
    name = world.incident()
    world.post(f"incidents/{name}/close", {"by": "ann", "classification": "benign"})
    status, answer = send_json(world, f"incidents/{name}/acknowledge", by="bob")
    assert (status, answer["error"]) == (409, f"{name} is closed: reopen it before you acknowledge it.")
    buttons = [button.get("formaction", "") for button in page_buttons(world, name)]
    assert [url.rpartition("/")[2] for url in buttons] == ["comment", "assign", "close", "reopen", "silence"]


def page_buttons(world: PageWorld, name: str) -> list[dict[str, str]]:
    return parse_page(world.get(f"incidents/{name}")).attributes_of("button")


def test_reopened_incident_is_open_again_and_new_evidence_opens_the_next(world: PageWorld) -> None:
    name = world.incident()
    world.post(f"incidents/{name}/close", {"by": "ann", "classification": "benign"})
    assert world.post(f"incidents/{name}/reopen", {"by": "bob", "note": "it was not"}).status == 303
    incident = incident_of(world, name)
    assert (incident["status"], incident["classification"]) == ("acknowledged", None)
    assert [row["id"] for row in world.json("incidents")["incidents"]] == [name]

    next_id = more_evidence(world)

    assert next_id != name
    assert (incident_of(world, name)["alerts"], incident_of(world, next_id)["predecessor"]) == (1, name)


def test_assigning_and_commenting_keep_the_status_and_are_in_the_list(world: PageWorld) -> None:
    name = world.incident()
    world.post(f"incidents/{name}/acknowledge", {"by": "ann"})
    world.post(f"incidents/{name}/assign", {"by": "eve", "assignee": "  dan   ops "})
    world.post(f"incidents/{name}/comment", {"by": "bob", "note": "asked them"})
    incident = incident_of(world, name)
    assert [(entry["action"], entry["assignee"]) for entry in incident["history"]] == [
        ("acknowledged", ""),
        ("assigned", "dan ops"),
        ("commented", ""),
    ]
    (row,) = world.json("incidents")["incidents"]
    assert (row["status"], row["acknowledged_by"], row["assignee"]) == ("acknowledged", "ann", "dan ops")
    text = " ".join(parse_page(world.get("incidents")).text.split())
    assert "assigned to dan ops" in text


@pytest.mark.parametrize(
    "verb, fields",
    [
        ("assign", {}),
        ("assign", {"assignee": " "}),
        ("assign", {"assignee": "x" * 201}),
        ("assign", {"assignee": "dan\u202eops"}),
        ("comment", {}),
        ("comment", {"note": " "}),
    ],
)
def test_assignment_without_a_name_and_comment_without_a_note_are_refused(
    world: PageWorld, verb: str, fields: dict[str, str]
) -> None:
    name = world.incident()
    assert send_json(world, f"incidents/{name}/{verb}", by="eve", **fields)[0] == 422
    assert incident_of(world, name)["history"] == []


def test_open_incident_is_not_reopened(world: PageWorld) -> None:
    assert send_json(world, f"incidents/{world.incident()}/reopen", by="bob")[0] == 409


def test_lifting_a_silence_that_another_person_has_lifted_says_who_did(world: PageWorld) -> None:
    add_silence(world)
    world.job.desk.lift(LiftAct(author="ann", request="1", silence="nightly"))
    with pytest.raises(ActRefused, match="nightly is lifted by ann"):
        world.job.desk.lift(LiftAct(author="bob", request="2", silence="nightly"))


def add_silence(world: PageWorld) -> None:
    silence = {"name": "nightly", "owner": "carol", "reason": "a move", "actor": "ann*"}
    world.job.desk.silence(RULE, parse_silence({**silence, "begins": START, "expires": START + DAY}))


# ------------------------------------------------------------------------------------------------------ acts repeated


@pytest.mark.parametrize("verb", ["acknowledge", "assign", "comment", "close", "silence"])
def test_form_that_is_sent_twice_acts_once(world: PageWorld, verb: str) -> None:
    name = world.incident()
    fields = {**world.form(name), "by": "eve", "note": "why", "for": "P1D", "classification": "benign"}
    fields["assignee"] = "dan"
    answers = [send(world, f"incidents/{name}/{verb}", fields) for _ in range(2)]
    assert [answer.status for answer in answers] == [303, 303]
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert len(incident_of(world, name)["history"]) == 1
    assert len(world.job.desk.silences()) == (verb == "silence")


def test_reopening_form_that_is_sent_twice_reopens_once(world: PageWorld) -> None:
    name = world.incident()
    world.post(f"incidents/{name}/close", {"by": "ann", "classification": "benign"})
    fields = {**world.form(name), "by": "eve"}
    assert [send(world, f"incidents/{name}/reopen", fields).status for _ in range(2)] == [303, 303]
    assert len(incident_of(world, name)["history"]) == 2


def test_form_that_is_sent_again_with_another_choice_is_another_act(world: PageWorld) -> None:
    name = world.incident()
    fields = {**world.form(name), "by": "eve", "classification": "benign"}
    path = f"incidents/{name}/close"
    assert send(world, path, fields).status == 303
    assert send(world, path, {**fields, "classification": "true-positive"}).status == 409


def test_json_with_the_same_request_acts_once(world: PageWorld) -> None:
    name = world.incident()
    for _ in range(2):
        assert send_json(world, f"incidents/{name}/acknowledge", by="bot", request="r-1")[0] == 200
    assert len(incident_of(world, name)["history"]) == 1
    send_json(world, f"incidents/{name}/acknowledge", by="bot", request="r-2")
    assert len(incident_of(world, name)["history"]) == 2


def test_json_with_a_request_that_another_act_had_is_another_act(world: PageWorld) -> None:
    name = world.incident()
    for by, classification in (("bot", "benign"), ("bot", "true-positive"), ("other bot", "true-positive")):
        fields = {"by": by, "classification": classification, "request": "r-1"}
        assert send_json(world, f"incidents/{name}/close", **fields)[0] == 200
    entries = incident_of(world, name)["history"]
    assert [(entry["author"], entry["classification"]) for entry in entries] == [
        ("bot", "benign"),
        ("bot", "true-positive"),
        ("other bot", "true-positive"),
    ]


def test_lifting_form_that_is_sent_twice_lifts_once(world: PageWorld) -> None:
    add_silence(world)
    token = world.job.link_signer().form_token("silences", "", world.now)
    fields = {"form": token, "by": "eve", "silence": f"{RULE.folder}/nightly"}
    assert send(world, "incidents/silences/lift", fields).status == 303
    world.now += HOUR
    assert send(world, "incidents/silences/lift", fields).status == 303
    (silence,) = (entry.silence for entry in world.job.desk.silences())
    assert (silence.lifted_by, silence.expires) == ("eve", START + HOUR)


def test_act_whose_answer_was_lost_happens_once_and_succeeds(world: PageWorld) -> None:
    name, table = world.incident(), world.table
    world.table = FaultyTable(table, Faults(lost=frozenset({1})))
    assert world.job.desk.close(close_act(name, "benign", "eve")).acts == 1
    assert incident_of(world, name)["acts"] == 1


def test_silence_whose_answer_was_lost_is_added(world: PageWorld) -> None:
    world.table = FaultyTable(world.table, Faults(lost=frozenset({1})))
    add_silence(world)
    assert [entry.silence.name for entry in world.job.desk.silences()] == ["nightly"]


# ------------------------------------------------------------------------------------------- acts of programs alone

SILENCE = {"by": "eve", "note": "a move", "silence": "nightly", "for": "P1D", "actor": "ann*"}


def test_program_adds_a_silence(world: PageWorld) -> None:
    world.incident()
    status, answer = send_json(world, "incidents/silences/add", **SILENCE)
    (entry,) = world.job.desk.silences()
    silence = entry.silence
    assert (status, answer["matches"]) == (200, {"matching": 0, "compared": 1, "exact": True})
    assert answer["silence"] == silence.model_dump(mode="json")
    assert (entry.rule, silence.owner, silence.reason, silence.actor) == (
        RULE.folder,
        "eve",
        "a move",
        "ann*",
    )
    assert (silence.created, silence.begins, silence.expires) == (world.now, world.now, world.now + DAY)


@pytest.mark.parametrize("damage", ["", "a|", "e|"])
def test_count_of_alerts_that_a_silence_matches_says_that_there_may_be_more(
    world: PageWorld, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    if not damage:
        monkeypatch.setattr(desk, "MAX_ALERTS", 2)
    for name in ("ann", "bob", "cat"):
        world.incident(f"{name}@example.com", 1)
    if damage:
        row = next(iter(world.table.scan(RULE.folder, damage, damage + "}"))).row
        rows: list[Operation] = (
            [Put(row, {})] if damage == "a|" else [Delete(row), Put(row.rpartition("|")[0], {})]
        )
        world.table.write(RULE.folder, rows)
    _, answer = send_json(world, "incidents/silences/add", **{**SILENCE, "actor": "*@example.com"})
    assert answer["matches"] == {"matching": 2, "compared": 2, "exact": False}
    text = "its criteria match 2+ of 2+ alerts of the last 7 days, in part or as a whole"
    assert desk.SilenceMatches(**answer["matches"]).text == text


def test_silence_added_again_with_its_begin_is_the_same_and_with_another_is_refused(world: PageWorld) -> None:
    fields = {**SILENCE, "from": "2026-03-01T12:00:00Z"}
    statuses = []
    for later in (fields, fields, {**fields, "from": "2026-03-01"}):
        statuses.append(send_json(world, "incidents/silences/add", **later)[0])
        world.now += HOUR
    assert statuses == [200, 200, 409]
    assert len(world.job.desk.silences()) == 1


def test_signed_in_person_owns_the_silence_whatever_the_request_says(world: PageWorld) -> None:
    headers = {**JSON, **SIGNED_IN, "content-type": "application/json"}
    content = json.dumps(SILENCE).encode()
    assert world.post("incidents/silences/add", {}, "entra", headers, content).status == 200
    (silence,) = (entry.silence for entry in world.job.desk.silences())
    assert silence.owner == "carol@example.com"


@pytest.mark.parametrize(
    "fields, status, text",
    [
        ({"for": "soon"}, 422, "Choose the period of the silence"),
        ({"for": "P31D"}, 422, "at most 30 days"),
        ({"from": "then"}, 422, "then"),
        ({"actor": "*"}, 422, "matches every pair"),
        ({"silence": "a b"}, 422, "name: "),
        ({"by": ""}, 422, "owner: "),
        ({"silence": "other/nightly"}, 409, "other is not among the rules that run"),
        ({"user": "ann"}, 422, "Not known: user"),
    ],
)
def test_silence_that_cannot_be_added_is_refused_with_a_sentence(
    world: PageWorld, fields: dict[str, str], status: int, text: str
) -> None:
    answer = send_json(world, "incidents/silences/add", **{**SILENCE, **fields})
    assert (answer[0], text in answer[1]["error"]) == (status, True)
    assert world.job.desk.silences() == []


@pytest.mark.parametrize("path", ["incidents/silences/add", "incidents/messages/retry"])
def test_no_form_and_no_other_site_makes_an_act_of_programs(world: PageWorld, path: str) -> None:
    assert send(world, path, {**SILENCE, "form": "x"}).status == 415
    headers = {**JSON, "content-type": "application/json", "sec-fetch-site": "cross-site"}
    assert world.post(path, {}, headers=headers, content=b"{}").status == 403
    assert world.post(path, {}, "entra", {**JSON, "content-type": "application/json"}, b"{}").status == 401
    assert world.get(path).status == 405
    assert world.job.desk.silences() == []


def test_dead_letters_wait_to_be_sent_again() -> None:
    world = PageWorld({"WEBHOOK_URL": "https://hooks.example/hunter2"})
    world.incident()
    outbox = table_outbox(world.table, [RULE.folder])
    (queued,) = outbox.waiting("webhook")
    outbox.dead_letter(queued, "HTTP 410")
    assert send_json(world, "incidents/messages/retry") == (200, {"requeued": 1})
    assert send_json(world, "incidents/messages/retry") == (200, {"requeued": 0})
    assert [waiting.delivery.id for waiting in outbox.waiting("webhook")] == [queued.delivery.id]


# ----------------------------------------------------------------------------------------------- while a run commits


@pytest.mark.parametrize("race_at", ACCESSES)
def test_silence_of_an_incident_is_in_force_and_in_the_history_or_neither(
    world: PageWorld, race_at: int
) -> None:
    name, table = world.incident(), world.table
    fields = {**world.form(name), "by": "eve", "note": "why", "for": "P1D"}
    world.table = FaultyTable(table, Faults(), lambda: more_evidence(PageWorld(table=table)), race_at)
    answer = send(world, f"incidents/{name}/silence", fields)
    world.table = table
    silences, entries = world.job.desk.silences(), incident_of(world, name)["history"]
    assert (answer.status, len(silences), len(entries)) in {(303, 1, 1), (409, 0, 0)}


@pytest.mark.parametrize("race_at", ACCESSES)
@pytest.mark.parametrize("verb", ["acknowledge", "close", "silence"])
def test_program_that_has_not_said_what_it_saw_acts_also_while_a_run_commits(
    world: PageWorld, race_at: int, verb: str
) -> None:
    name, table = world.incident(), world.table
    fields = {"by": "bot", "note": "why", "for": "P1D", "classification": "benign"}
    world.table = FaultyTable(table, Faults(), lambda: more_evidence(PageWorld(table=table)), race_at)
    assert send_json(world, f"incidents/{name}/{verb}", **fields)[0] == 200
    world.table = table
    assert len(incident_of(world, name)["history"]) == 1
    assert len(world.job.desk.silences()) == (verb == "silence")


@pytest.mark.parametrize("race_at", range(1, 8))
def test_of_two_people_who_lift_a_silence_at_once_the_first_has_lifted_it(
    world: PageWorld, race_at: int
) -> None:
    add_silence(world)
    table, lifters = world.table, list[str]()

    def lift_meanwhile() -> None:
        with suppress(ActRefused):  # bob has lifted it
            PageWorld(table=table).job.desk.lift(LiftAct(author="ann", request="1", silence="nightly"))
            lifters.append("ann")

    world.table = FaultyTable(table, Faults(), lift_meanwhile, race_at)
    with suppress(ActRefused):
        world.job.desk.lift(LiftAct(author="bob", request="2", silence="nightly"))
    (silence,) = SilenceList(table, RULE.folder).silences()
    assert [silence.lifted_by] == (lifters or ["bob"])


def test_incident_that_runs_change_again_and_again_is_a_conflict(world: PageWorld) -> None:
    name, table = world.incident(), world.table
    before = table.get(RULE.folder, f"i|{name}")
    world.table = ContendedTable(table, nullcontext)
    with pytest.raises(Conflict):
        world.job.desk.acknowledge(incident_act(name, "eve"))
    assert table.get(RULE.folder, f"i|{name}") == before


class ContendedTable(GuardedTable):
    """A table in which another writer always comes first."""

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        raise Conflict("a row has changed")


# --------------------------------------------------------------------------------------------- pages after an act


def follow(world: PageWorld, path: str, answer: Response) -> Response:
    return world.get(urljoin(f"{API}/{path}", answer.headers["location"]))


@pytest.mark.parametrize(
    "verb, says",
    [
        ("acknowledge", "acknowledged by eve."),
        ("close", "closed as benign by eve."),
        ("silence", "silenced by eve."),
        ("assign", "assigned to dan by eve."),
        ("comment", "commented by eve."),
    ],
)
def test_page_says_that_an_act_is_recorded(world: PageWorld, verb: str, says: str) -> None:
    path = f"incidents/{world.incident()}/{verb}"
    fields = {"by": "eve", "note": "why", "for": "P1D", "classification": "benign", "assignee": "dan"}
    page = parse_page(follow(world, path, world.post(path, fields)))
    assert f"Recorded at 2026-03-02T11:00:00Z: {says}" in page.text
    assert [element for _, element in page.elements if element.get("role") == "status"] != []


def test_page_says_of_no_act_that_it_is_recorded_unless_the_history_has_it(world: PageWorld) -> None:
    assert "Recorded at" not in parse_page(world.get(f"incidents/{world.incident()}?done=made-up")).text


def test_list_says_that_a_silence_is_lifted(world: PageWorld) -> None:
    add_silence(world)
    assert "is lifted" not in parse_page(world.get(f"incidents?lifted={RULE.folder}/nightly")).text
    path = "incidents/silences/lift"
    token = world.job.link_signer().form_token("silences", "", world.now)
    answer = send(world, path, {"form": token, "by": "eve", "silence": f"{RULE.folder}/nightly"})
    assert "The silence nightly is lifted by eve." in parse_page(follow(world, path, answer)).text


REFUSED = {
    "a missing choice": ({}, 422),
    "an expired form": ({"form": "x", "classification": "benign"}, 404),
    "a stale page": ({"acts": "7", "classification": "benign"}, 409),
}


@pytest.mark.parametrize("fields, status", REFUSED.values(), ids=REFUSED)
def test_page_of_a_refused_act_keeps_what_was_typed_and_sends_it_again(
    world: PageWorld, fields: dict[str, str], status: int
) -> None:
    name = world.incident()
    typed = {"by": "eve <b>", "note": 'a "long" story', "for": "P7D"}
    path = f"incidents/{name}/close"
    answer = world.post(f"{path}?code=k%26y", {**typed, **fields})
    page = parse_page(answer)
    assert answer.status == status
    assert [element for _, element in page.elements if element.get("role") == "alert"] != []
    assert 'a "long" story' in page.text
    inputs = {
        element["name"]: element["value"] for element in page.attributes_of("input") if "value" in element
    }
    assert inputs["by"] == "eve <b>"
    assert [option["value"] for option in page.attributes_of("option") if "selected" in option] == ["P7D"]
    chosen = [element["value"] for element in page.attributes_of("input") if "checked" in element]
    assert chosen == ([fields["classification"]] if "classification" in fields else [])

    (button,) = [
        button for button in page.attributes_of("button") if "/close" in button.get("formaction", "")
    ]
    url = urljoin(f"{API}/{path}", button["formaction"])
    assert (urlsplit(url).path, urlsplit(url).query) == (f"/api/{path}", "code=k%26y")
    body = urlencode({**inputs, "note": typed["note"], "classification": "benign"}).encode()
    again = respond(
        make_request("POST", url, {**HTML, **FORM, **SAME_ORIGIN}, body, "key"), world.job, world.now
    )
    assert (again.status, incident_of(world, name)["classification"]) == (303, "benign")


def test_links_of_the_page_of_a_refused_act_lead_where_they_say(world: PageWorld) -> None:
    name = world.incident()
    path = f"incidents/{name}/close"
    page = parse_page(world.post(path, {"by": "eve"}))
    urls = [urljoin(f"{API}/{path}", link["href"]) for link in page.attributes_of("a")]
    assert f"{API}/incidents" in urls
    assert all(world.get(url).status == 200 for url in urls if "#" not in url)


def test_list_of_a_refused_act_keeps_the_name_and_its_links_lead_where_they_say(world: PageWorld) -> None:
    add_silence(world)
    name, path = world.incident(), "incidents/silences/lift"
    answer = send(world, path, {"form": "x", "by": "eve", "silence": f"{RULE.folder}/nightly"})
    page = parse_page(answer)
    assert (answer.status, "This form has expired or is not yours." in page.text) == (404, True)
    (by,) = [element["value"] for element in page.attributes_of("input") if element.get("id") == "by"]
    urls = [urljoin(f"{API}/{path}", link["href"]) for link in page.attributes_of("a")]
    actions = [urljoin(f"{API}/{path}", form["action"]) for form in page.attributes_of("form")]
    assert (by, actions) == (
        "eve",
        [f"{API}/incidents", f"{API}/incidents/selected/close", f"{API}/{path}"],
    )
    assert f"{API}/incidents/{name}" in urls
    assert all(world.get(url).status == 200 for url in urls if "#" not in url)


@pytest.mark.parametrize(
    "path, leads",
    [
        ("incidents/in_1/close?code=k", ["incidents/in_1?code=k", "incidents?code=k"]),
        ("incidents/silences/lift?code=k", ["incidents?code=k"]),
        ("incidents/in_1?code=k", ["incidents?code=k"]),
        ("incidents/a/b/c/d", ["incidents"]),
        ("nowhere", []),
    ],
)
def test_failure_leads_back(world: PageWorld, path: str, leads: list[str]) -> None:
    page = parse_page(world.get(path, method="PUT"))
    urls = [urljoin(f"{API}/{path}", link["href"]) for link in page.attributes_of("a")]
    assert [url for url in urls if "#" not in url] == [f"{API}/{lead}" for lead in leads]


def test_form_that_met_a_failing_service_is_sent_again_as_it_is(world: PageWorld) -> None:
    name, table = world.incident(), world.table
    path = f"incidents/{name}/acknowledge"
    fields = {**world.form(name), "by": "eve", "note": "<mine>"}
    world.table = GuardedTable(table, time_limit(START, lambda: world.now))
    answer = send(world, path, fields)
    world.table = table
    hidden = {
        element["name"]: element["value"]
        for element in parse_page(answer).attributes_of("input")
        if element["type"] == "hidden"
    }
    assert (answer.status, hidden) == (503, fields)
    assert send(world, path, hidden).status == 303


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"classificaton": "benign"}, "classificaton"),
        ({"classification": "benign", "seen_acts": 1}, "seen_acts"),
        ({"classification": "benign", "note": ["a"]}, "note: send text"),
        ({"classification": "benign", "by": {"name": "eve"}}, "by: send text"),
    ],
)
def test_field_that_an_act_does_not_have_is_refused_for_programs(
    world: PageWorld, fields: dict[str, object], says: str
) -> None:
    name = world.incident()
    status, answer = send_json(world, f"incidents/{name}/close", **{"by": "bot", **fields})
    assert (status, says in answer["error"]) == (422, True)
    assert incident_of(world, name)["history"] == []


@pytest.mark.parametrize("path", ["silences/lift", "silences/add", "messages/retry", "selected/close"])
def test_refused_act_on_no_incident_leads_back_to_the_list_alone(world: PageWorld, path: str) -> None:
    answer = world.get(f"incidents/{path}")
    assert (answer.status, "All incidents" in answer.body.decode()) == (405, True)
    assert "Back to the incident" not in answer.body.decode()
