"""The incident page: shows incidents, and takes what people do with them.

    GET  incidents                               the list, with the silences in force
    GET  incidents/ID                            an incident
    POST incidents/ID/acknowledge|silence|close  acts on an incident: a form or JSON
    POST incidents/silences/lift                 lifts a silence: a form or JSON
    GET  look/ID?until=…&signature=…             an incident, for a visitor with a link

An address that ends in a slash redirects to the address without it.
GET changes nothing: programs follow links in messages too.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import get_args

from detection.app import Job
from detection.base.errors import ConfigurationError, DetectionError, ServiceError
from detection.base.json_types import json_values
from detection.base.timestamps import parse_duration
from detection.desk import IncidentDetail
from detection.incidents.incident import Classification
from detection.rules.silences import LONGEST_SILENCE
from detection.store.table import Conflict
from detection.web.access import author_of, check_intent, visitor_of
from detection.web.exchange import (
    COMMON_HEADERS,
    Request,
    RequestRefused,
    Response,
    json_response,
    with_query,
)
from detection.web.html import failure_page, incident_page, list_page
from detection.web.listing import listing

NOTE = 2_000  # characters
REASON = 500  # characters of the reason of a silence
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
SILENCES = "silences"  # the subject of the form that lifts silences; no incident has this id
WRONG_SETTING = (
    "A setting of this app is wrong, so it cannot show incidents. The app's function `health`, `python -m "
    "detection check` and the app's log name the setting and its remedy."
)
ACTS = ("acknowledge", "silence", "close")
CLASSIFICATIONS: tuple[Classification, ...] = get_args(Classification)


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
    has_link = request.access_mode == "link"
    match request.path.split("/"):
        case ["incidents" | "look", *_, ""] as names if ID.fullmatch(names[-2]):
            # Links on a page are relative to its address without the slash.
            return Response(308, headers={"location": with_query(f"../{names[-2]}", **request.query)})
        case ["incidents"] if not has_link:
            _require_method(request, "GET", "HEAD")
            page = listing(job.desk, request.query, now)
            if request.wants_json:
                return json_response(json_values(page))
            visitor = visitor_of(request)
            is_liftable = any(row.kind == "silence" for row in page.silences)
            form = job.link_signer().form_token(SILENCES, visitor.name, now) if is_liftable else ""
            return list_page(page, visitor, form, now)
        case ["incidents", "silences", "lift"] if not has_link:
            _require_method(request, "POST")
            return _lift(request, job, now)
        case ["incidents", name] if not has_link and ID.fullmatch(name):
            _require_method(request, "GET", "HEAD")
            return _show(request, job, name, now)
        case ["incidents", name, verb] if not has_link and ID.fullmatch(name) and verb in ACTS:
            _require_method(request, "POST")
            return _act(request, job, name, verb, now)
        case ["look", name] if has_link and ID.fullmatch(name):
            _require_method(request, "GET", "HEAD")
            until, signature = request.query.get("until", ""), request.query.get("signature", "")
            if not job.link_signer().verify(name, until, signature, now):
                raise RequestRefused(
                    403, "This link is invalid or has expired. Open the link of a newer message, or sign in."
                )
            return _show(request, job, name, now)
    raise RequestRefused(404, "This page does not exist. Check the address.")


def _show(request: Request, job: Job, name: str, now: datetime) -> Response:
    visitor, detail = visitor_of(request), _incident_detail(job, name)
    if request.wants_json:
        return json_response(json_values(detail))
    form = job.link_signer().form_token(name, visitor.name, now) if visitor.can_act else ""
    return incident_page(job, detail, visitor, form, now)


def _act(request: Request, job: Job, name: str, verb: str, now: datetime) -> Response:
    visitor, fields = visitor_of(request), request.fields()
    check_intent(request, name, visitor, job.settings.PAGE_URL, job.link_signer(), now)
    detail = _incident_detail(job, name)
    alerts = detail.incident.alerts
    if fields.get("seen", "") not in {"", str(alerts)}:
        raise RequestRefused(
            409, f"New alerts arrived: there are {alerts} now. Reload the page, then decide again."
        )
    author, self_declared = author_of(visitor, fields)
    note = " ".join(fields.get("note", "").split())
    if len(note) > NOTE:
        raise RequestRefused(422, f"Shorten the note to at most {NOTE:,} characters.")
    match verb:
        case "acknowledge":
            act: Callable[..., object] = partial(job.desk.acknowledge, detail, author, note)
        case "close":
            classification = next(
                (name for name in CLASSIFICATIONS if name == fields.get("classification")), None
            )
            if classification is None:
                raise RequestRefused(422, f"Choose a classification: {', '.join(CLASSIFICATIONS)}.")
            act = partial(job.desk.close, detail, classification, author, note)
        case _:
            if not 0 < len(note) <= REASON:
                raise RequestRefused(
                    422, f"Enter the reason for the silence, in at most {REASON} characters."
                )
            try:
                length = parse_duration(fields.get("for", ""))
            except ConfigurationError as error:
                raise RequestRefused(422, f"Choose the length of the silence: {error}.") from None
            if length > LONGEST_SILENCE:
                raise RequestRefused(422, f"Choose a silence of at most {LONGEST_SILENCE.days} days.")
            act = partial(job.desk.silence_incident, detail, length, author, note)
    try:
        act(self_declared=self_declared)
    except ConfigurationError as error:
        raise RequestRefused(409, f"{error}.") from None
    except Conflict:
        raise RequestRefused(
            409, "A run or another person changed this incident. Reload the page, then repeat your action."
        ) from None
    if request.wants_json:
        return json_response(json_values(_incident_detail(job, name)))
    return Response(303, headers={"location": with_query(f"../{name}", code=visitor.access_key)})


def _lift(request: Request, job: Job, now: datetime) -> Response:
    visitor, fields = visitor_of(request), request.fields()
    check_intent(request, SILENCES, visitor, job.settings.PAGE_URL, job.link_signer(), now)
    author, _ = author_of(visitor, fields)
    rule_name, _, name = fields.get("silence", "").rpartition("/")
    try:
        job.desk.lift(name, author, rule_name or None)
    except ConfigurationError:
        raise RequestRefused(409, "This silence is not in force. Reload the list.") from None
    if request.wants_json:
        return json_response(json_values(listing(job.desk, request.query, now)))
    return Response(303, headers={"location": with_query("../../incidents", code=visitor.access_key)})


def _incident_detail(job: Job, name: str) -> IncidentDetail:
    try:
        return job.desk.incident(name)
    except ConfigurationError:
        raise RequestRefused(404, f"There is no incident {name}. Check the address.") from None


def _require_method(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise RequestRefused(405, f"Use {' or '.join(methods)} here.", {"allow": ", ".join(methods)})


def _refusal(request: Request, refusal: RequestRefused) -> Response:
    if request.wants_json:
        response = json_response({"error": refusal.reason}, refusal.status)
    else:
        response = failure_page(refusal.status, refusal.reason, request.access_mode)
    return replace(response, headers={**response.headers, **refusal.headers})
