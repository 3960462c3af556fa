"""The incident page: shows incidents, and takes what people do with them.

    GET  incidents                               the list, with the silences in force
    GET  incidents/ID                            an incident
    POST incidents/ID/VERB                       acts on an incident: a form or JSON
         VERB: acknowledge, assign, comment, close, reopen, silence
    POST incidents/silences/lift                 lifts a silence: a form or JSON
    POST incidents/silences/add                  adds a silence: JSON
    POST incidents/messages/retry                sends dead letters again: JSON
    POST incidents/selected/close                closes several incidents: a form or JSON
    GET  incidents/actors/ID                     a week of an actor; with logs=1 the logs are asked
    GET  look/ID?until=…&signature=…             an incident, for a visitor with a link

An address that ends in a slash redirects to the address without it.
GET changes nothing: programs follow links in messages too.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from hashlib import sha256
from http import HTTPStatus
from typing import Any

from detection.app import Job
from detection.base.errors import ConfigurationError, DetectionError, ServiceError
from detection.base.json_types import json_values
from detection.base.timestamps import iso, parse_duration, parse_moment
from detection.desk import IncidentDetail, NoIncident
from detection.incidents.acts import (
    AssignAct,
    CloseAct,
    CommentAct,
    IncidentAct,
    IncidentVersion,
    InvalidAct,
    LiftAct,
    SilenceAct,
)
from detection.messages.cells import csv_lines
from detection.messages.text import escape_name
from detection.rules.loading import default_rule
from detection.rules.silences import CRITERIA, Silence, end_of_silence, parse_silence
from detection.store.layout import DamagedRow, OnDamage, raise_damage
from detection.store.table import Conflict
from detection.web.access import ID_LENGTH, author_of, check_form, check_source, request_id, visitor_of
from detection.web.actor import actor_page
from detection.web.exchange import (
    COMMON_HEADERS,
    MAX_SELECTED,
    Request,
    RequestRefused,
    Response,
    json_response,
    with_query,
)
from detection.web.html import Notice, actor_html, failure_page, incident_page, list_page
from detection.web.listing import (
    CLASSIFICATIONS,
    EXPORT_COLUMNS,
    EXPORTED,
    FILTER_FIELDS,
    ListQuery,
    export_rows,
    list_query,
    listing,
    row_faults,
)

ACTOR_ID = re.compile(r"[0-9a-f]{64}")
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
SILENCES = "silences"  # the subject of the form that lifts silences; no incident has this id
SELECTED = "selected"  # the subject of the form that closes incidents; as above
WRONG_SETTING = (
    "A setting of this app is wrong, so it cannot show incidents. The app's function `health`, `python -m "
    "detection check` and the app's log name the setting and its remedy."
)
NUMBER = re.compile(r"[0-9]{1,9}")
ACTS = ("acknowledge", "assign", "comment", "close", "reopen", "silence")
ACT_ID = "act-id"  # the header with the id that an act has in the incident's history
ACT_FIELDS = ("by", "note", "seen", "acts", "request", "form", "classification", "for", "from", "assignee")
SILENCE_FIELDS = ("by", "note", "silence", "for", "from", *CRITERIA)
LIFT_FIELDS = ("by", "silence", "request", "form")
CLOSE_FIELDS = ("by", "note", "classification", "incidents", "request", "form")
# An incident that is selected to be closed, with the numbers of alerts and acts that the author has seen.
SELECTED_INCIDENT = re.compile(r"(?P<id>[A-Za-z0-9_-]{1,64})(:(?P<seen>[0-9]{1,9}):(?P<acts>[0-9]{1,9}))?")


def respond(request: Request, job: Job, now: datetime) -> Response:
    """The response to a request. Raises nothing that a visitor, a setting or a service can cause."""
    try:
        return _complete(request, _route(request, job, now))
    except RequestRefused as refusal:
        return _complete(request, _refusal(request, refusal))
    except DetectionError as error:
        return _unavailable(request, error)


def load_and_respond(request: Request, load_job: Callable[[], Job], now: datetime) -> Response:
    """As `respond`, by the job that `load_job` loads, which may raise the errors of this project."""
    try:
        job = load_job()
    except DetectionError as error:
        return _unavailable(request, error)
    return respond(request, job, now)


def _unavailable(request: Request, error: DetectionError) -> Response:
    """The response to a request that no job can answer, because of a service or a setting.

    The text of a wrong setting is for the log: the visitor may be anyone with a link.
    """
    if isinstance(error, ServiceError):
        refusal = RequestRefused(503, f"{error}. Try again.", {"retry-after": "5"})
    else:
        refusal = RequestRefused(503, WRONG_SETTING)
    return _complete(request, _refusal(request, refusal))


def _complete(request: Request, response: Response) -> Response:
    body = b"" if request.method == "HEAD" else response.body
    return replace(response, headers={**COMMON_HEADERS, **response.headers}, body=body)


def _route(request: Request, job: Job, now: datetime) -> Response:
    names, home = request.path.split("/"), "look" if request.access_mode == "link" else "incidents"
    if request.access_mode == "link":
        # Before anything else: a visitor without a link learns nothing.
        name = names[1] if names[0] == home and len(names) > 1 else ""
        until, signature = request.query.get("until", ""), request.query.get("signature", "")
        if not job.link_signer().verify(name, until, signature, now):
            raise RequestRefused(
                404,
                "This page does not exist, or its link is invalid or has expired. "
                "Open the link of a newer message, or sign in.",
            )
    list_acts = {
        ("silences", "lift"): _lift,
        ("silences", "add"): _add_silence,
        ("messages", "retry"): _retry,
        ("selected", "close"): _close_selected,
    }
    match names:
        case ["incidents" | "look", *_, ""] if ID.fullmatch(names[-2]):
            # Links on a page are relative to its address without the slash.
            return Response(308, headers={"location": with_query(f"../{names[-2]}", **request.query)})
        case ["incidents"]:
            _require_method(request, "GET", "HEAD")
            return _list(request, job, now)
        case ["incidents", subject, verb] if (subject, verb) in list_acts:
            _require_method(request, "POST")
            return list_acts[subject, verb](request, job, now)
        case ["incidents", "actors", name] if ACTOR_ID.fullmatch(name):
            _require_method(request, "GET", "HEAD")
            return _show_actor(request, job, name, now)
        case [folder, name] if folder == home and ID.fullmatch(name):
            _require_method(request, "GET", "HEAD")
            return _show(request, job, name, now)
        case ["incidents", name, verb] if ID.fullmatch(name) and verb in ACTS:
            _require_method(request, "POST")
            return _act(request, job, name, verb, now)
    raise RequestRefused(404, "This page does not exist. Check the address.")


def _list(request: Request, job: Job, now: datetime, notice: Notice | None = None) -> Response:
    is_post, visitor = request.method == "POST", visitor_of(request)
    query = list_query(request.query, job.desk, now)
    if request.wants_json or (query.export and not is_post):
        if query.problems and not is_post:
            text = "; ".join(f"{name} {problem}" for name, problem in query.problems.items())
            raise RequestRefused(422, f"{text}.")
        if query.export:
            return _export(query, job, now)
        return json_response(json_values(listing(job.desk, query, now)))
    page, signer = listing(job.desk, query, now), job.link_signer()
    tokens = {subject: signer.form_token(subject, visitor.name, now) for subject in (SILENCES, SELECTED)}
    problems = [f"{name} {problem}" for name, problem in query.problems.items() if name in FILTER_FIELDS]
    if problems and not notice:
        notice = Notice(f"{'; '.join(problems)}. All other filters apply.", is_refusal=True)
    if lifted := request.query.get("lifted"):
        for entry in job.desk.silences(lambda _: None):  # the page names damaged rows
            silence = entry.silence
            if silence.lifted_by and lifted in (silence.name, f"{entry.rule}/{silence.name}"):
                notice = Notice(f"The silence {silence.name} is {silence.state(now)}.")
    response = list_page(page, query, job.desk.folders, visitor, tokens, now, request.path, notice)
    if query.refresh and not is_post:
        # A header, not an element: readers who cannot follow in time turn it off with the link on the page.
        response = replace(response, headers={**response.headers, "refresh": str(query.refresh)})
    return response


def _export(query: ListQuery, job: Job, now: datetime) -> Response:
    """Up to EXPORTED selected incidents as a file. If more may follow, its name says so, and JSON has their
    position as `next`.
    """
    page = listing(job.desk, query, now, EXPORTED)
    if page.row_faults and query.export == "csv":
        raise RequestRefused(503, f"{page.row_faults[0].text}. The JSON export has all other incidents.")
    if query.export == "json":
        response = json_response(json_values(page))
    else:
        body = "".join(csv_lines(export_rows(page), EXPORT_COLUMNS)).encode(errors="replace")
        response = Response(200, body, {"content-type": "text/csv; charset=utf-8"})
    part = "-part" if page.next else ""
    name = f"incidents-{now:%Y%m%dT%H%M%SZ}{part}.{query.export}"
    return replace(
        response, headers={**response.headers, "content-disposition": f'attachment; filename="{name}"'}
    )


def _close_selected(request: Request, job: Job, now: datetime) -> Response:
    """Closes the selected incidents, each in a transaction of its own."""
    visitor = visitor_of(request)
    check_source(request, job.settings.PAGE_URL)
    fields = _fields(request, CLOSE_FIELDS)
    closed: list[str] = []
    refused: dict[str, str] = {}
    try:
        check_form(request, SELECTED, visitor, job.link_signer(), now)
        act_id = request_id(request, visitor, fields)
        for name, incident_fields in _selected(fields).items():
            incident_id = sha256(f"{act_id} {name} {incident_fields}".encode()).hexdigest()[:ID_LENGTH]
            try:
                author = author_of(visitor, fields)
                _carry_out(job, name, "close", {**fields, **incident_fields}, author, incident_id)
            except InvalidAct:
                raise
            except (ConfigurationError, Conflict) as error:
                refused[name] = _refusal_of(error).reason
            else:
                closed.append(name)
    except (RequestRefused, InvalidAct) as error:
        refusal = _refusal_of(error)
        if request.wants_json:
            raise refusal from None
        notice = Notice(refusal.reason, is_refusal=True, typed=fields)
        return replace(_list(request, job, now, notice), status=refusal.status)
    status = HTTPStatus.CONFLICT if refused else HTTPStatus.OK
    if request.wants_json:
        return json_response({"closed": closed, "refused": refused}, status)
    text = " ".join([f"Closed: {', '.join(closed) or 'none'}.", *refused.values()])
    return replace(_list(request, job, now, Notice(text, is_refusal=bool(refused))), status=status)


def _selected(fields: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The fields `seen` and `acts` of each selected incident. Raises InvalidAct."""
    texts = fields.get("incidents", "").split()
    matches = [match for text in texts if (match := SELECTED_INCIDENT.fullmatch(text))]
    if not texts or len(texts) > MAX_SELECTED or len(matches) < len(texts):
        raise InvalidAct(f"Select 1 to {MAX_SELECTED} incidents, by their ids")
    return {match["id"]: {"seen": match["seen"] or "", "acts": match["acts"] or ""} for match in matches}


def _show(request: Request, job: Job, name: str, now: datetime, notice: Notice | None = None) -> Response:
    visitor, damages = visitor_of(request), list[DamagedRow]()
    detail = _incident_detail(job, name, raise_damage if request.wants_json else damages.append)
    if request.wants_json:
        return json_response(json_values(detail))
    done = request.query.get("done")
    for entry in detail.incident.history:
        if done and entry.request == done:
            act = f"{escape_name(entry.action_text)} by {escape_name(entry.author)}"
            notice = Notice(f"Recorded at {iso(entry.time)}: {act}.")
    form = job.link_signer().form_token(name, visitor.name, now) if visitor.can_act else ""
    return incident_page(job, detail, visitor, form, now, request, row_faults(damages), notice)


def _show_actor(request: Request, job: Job, name: str, now: datetime) -> Response:
    visitor, query = visitor_of(request), request.query
    incident = query.get("incident", "")
    try:
        page = actor_page(
            job, name, now, incident if ID.fullmatch(incident) else "", ask=query.get("logs") == "1"
        )
    except NoIncident as error:
        raise _refusal_of(error) from None
    return json_response(json_values(page)) if request.wants_json else actor_html(page, visitor, now, query)


def _act(request: Request, job: Job, name: str, verb: str, now: datetime) -> Response:
    visitor = visitor_of(request)
    check_source(request, job.settings.PAGE_URL)
    fields = _fields(request, ACT_FIELDS)
    try:
        check_form(request, name, visitor, job.link_signer(), now)
        if request.media_type == "application/json":  # a form names the incident that it was shown for
            name = job.desk.id_by_prefix(name)
        act_id = request_id(request, visitor, fields)
        _carry_out(job, name, verb, fields, author_of(visitor, fields), act_id)
    except (RequestRefused, ConfigurationError, Conflict) as error:
        refusal = _refusal_of(error)
        if request.wants_json or isinstance(error, NoIncident):
            raise refusal from None
        page = _show(request, job, name, now, Notice(refusal.reason, is_refusal=True, typed=fields))
        return replace(page, status=refusal.status)
    if request.wants_json:
        # The act is done, so a damaged alert is no failure here; the incident's own address names it.
        response = json_response(json_values(_incident_detail(job, name, lambda _: None)))
        return replace(response, headers={**response.headers, ACT_ID: act_id})
    location = with_query(f"../{name}", done=act_id, code=visitor.access_key)
    return Response(303, headers={"location": location})


def _carry_out(
    job: Job, name: str, verb: str, fields: Mapping[str, str], author: tuple[str, bool], act_id: str
) -> None:
    """Makes the act of a verb out of fields, and has the desk carry it out."""
    by, self_declared = author
    values: Any = {
        "incident": name,
        "author": by,
        "self_declared": self_declared,
        "note": " ".join(fields.get("note", "").split()),
        "request": act_id,
        "version": IncidentVersion(_number(fields, "seen"), _number(fields, "acts")),
    }
    match verb:
        case "acknowledge":
            job.desk.acknowledge(IncidentAct(**values))
        case "assign":
            assignee = " ".join(fields.get("assignee", "").split())
            job.desk.assign(AssignAct(**values, assignee=assignee))
        case "comment":
            job.desk.comment(CommentAct(**values))
        case "reopen":
            job.desk.reopen(IncidentAct(**values))
        case "close":
            classification = next(
                (name for name in CLASSIFICATIONS if name == fields.get("classification")), None
            )
            if classification is None:
                raise InvalidAct(f"Choose a classification: {', '.join(CLASSIFICATIONS)}")
            job.desk.close(CloseAct(**values, classification=classification))
        case _:
            begins, duration = _period(fields, job.clock())
            job.desk.silence_incident(SilenceAct(**values, begins=begins, duration=duration))


def _lift(request: Request, job: Job, now: datetime) -> Response:
    visitor = visitor_of(request)
    check_source(request, job.settings.PAGE_URL)
    fields = _fields(request, LIFT_FIELDS)
    by, self_declared = author_of(visitor, fields)
    rule_name, _, name = fields.get("silence", "").rpartition("/")
    try:
        check_form(request, SILENCES, visitor, job.link_signer(), now)
        job.desk.lift(
            LiftAct(
                author=by,
                self_declared=self_declared,
                request=request_id(request, visitor, fields),
                silence=name,
                rule=rule_name or None,
            )
        )
    except (RequestRefused, ConfigurationError, Conflict) as error:
        refusal = _refusal_of(error)
        if request.wants_json:
            raise refusal from None
        return replace(
            _list(request, job, now, Notice(refusal.reason, is_refusal=True, typed=fields)),
            status=refusal.status,
        )
    if request.wants_json:
        return _list(request, job, now)
    location = with_query("../../incidents", lifted=fields["silence"], code=visitor.access_key)
    return Response(303, headers={"location": location})


def _add_silence(request: Request, job: Job, now: datetime) -> Response:
    fields = _fields_of_program(request, job, SILENCE_FIELDS)
    try:
        rule = job.desk.rule(fields.get("silence", "").rpartition("/")[0] or default_rule())
        silence = _silence(fields, author_of(visitor_of(request), fields)[0], now)
        matches = job.desk.silence(rule, silence)
    except (ConfigurationError, Conflict) as error:
        raise _refusal_of(error) from None
    return json_response({"silence": silence.model_dump(mode="json"), "matches": asdict(matches)})


def _silence(fields: Mapping[str, str], owner: str, now: datetime) -> Silence:
    begins, duration = _period(fields, now)
    try:
        return parse_silence(
            {
                "name": fields.get("silence", "").rpartition("/")[2],
                "owner": owner,
                "reason": fields.get("note", ""),
                "created": now,
                "begins": begins or now,
                "expires": end_of_silence(begins or now, duration),
                **{name: fields[name] for name in CRITERIA if name in fields},
            }
        )
    except ConfigurationError as error:
        raise InvalidAct(str(error)) from None


def _period(fields: Mapping[str, str], now: datetime) -> tuple[datetime | None, timedelta]:
    """The begin of a silence, None for now, and its length."""
    try:
        begins = parse_moment(fields["from"], now) if fields.get("from") else None
        return begins, parse_duration(fields.get("for", ""))
    except ConfigurationError as error:
        raise InvalidAct(f"Choose the period of the silence: {error}") from None


def _retry(request: Request, job: Job, _now: datetime) -> Response:
    """Requeues the dead letters. The next delivery of the app sends them."""
    _fields_of_program(request, job, ())
    try:
        return json_response({"requeued": job.requeue()})
    except (ConfigurationError, Conflict) as error:
        raise _refusal_of(error) from None


def _fields_of_program(request: Request, job: Job, names: Collection[str]) -> dict[str, str]:
    """The fields of an act that no page has a form for: a visitor's, from no other site, as JSON."""
    visitor_of(request)
    check_source(request, job.settings.PAGE_URL)
    if request.media_type != "application/json":
        raise RequestRefused(415, "Send JSON.")
    return _fields(request, names)


def _fields(request: Request, names: Collection[str]) -> dict[str, str]:
    """The fields of an act. A misspelt field of a program is refused, for without it the act is another."""
    fields = request.fields()
    unknown = [name for name in fields if name not in names]
    if unknown and request.media_type == "application/json":
        raise RequestRefused(422, f"Not known: {', '.join(unknown)}. The fields are {', '.join(names)}.")
    return fields


def _number(fields: Mapping[str, str], name: str) -> int | None:
    if not (text := fields.get(name, "")):
        return None
    if not NUMBER.fullmatch(text):
        raise InvalidAct(f"{name} must be a whole number")
    return int(text)


def _refusal_of(error: Exception) -> RequestRefused:
    """The refusal of an act that the desk did not carry out."""
    if isinstance(error, RequestRefused):
        return error
    if isinstance(error, Conflict):
        return RequestRefused(409, "Runs changed this incident again and again. Send it again.")
    status = 422 if isinstance(error, InvalidAct) else 404 if isinstance(error, NoIncident) else 409
    return RequestRefused(status, f"{error}.")


def _incident_detail(job: Job, name: str, on_damage: OnDamage = raise_damage) -> IncidentDetail:
    try:
        return job.desk.incident(name, on_damage)
    except NoIncident:
        raise RequestRefused(404, f"There is no incident {name}. Check the address.") from None


def _require_method(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise RequestRefused(405, f"Use {' or '.join(methods)} here.", {"allow": ", ".join(methods)})


def _refusal(request: Request, refusal: RequestRefused) -> Response:
    if request.wants_json:
        response = json_response({"error": refusal.reason}, refusal.status)
    else:
        # A form that met a service's failure is sent again as it is: no act happens twice.
        is_repeatable = refusal.status == HTTPStatus.SERVICE_UNAVAILABLE and request.method == "POST"
        response = failure_page(request, refusal, request.fields() if is_repeatable else {})
    return replace(response, headers={**response.headers, **refusal.headers})
