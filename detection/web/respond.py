"""The incident page answers a request: shows incidents, and takes what people do with them.

    GET  incidents                               the list
    GET  incidents/ID                            an incident
    POST incidents/ID/acknowledge|silence|close  what somebody did with it, a form or JSON
    GET  look/ID?until=…&signature=…             an incident, for whoever has the link

An address with a slash at its end leads to the one without it.
GET changes nothing, whoever asks: programs follow links in messages too.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import get_args

from detection.app import Job
from detection.base.errors import ConfigurationError, ServiceError
from detection.base.json_types import json_values
from detection.base.timestamps import parse_duration
from detection.desk import IncidentDetail
from detection.incidents.grouping import Classification
from detection.store.table import Conflict
from detection.web.access import NAME, Visitor, check_source, is_form, visitor_of
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
REASON = 500  # characters of why something is silenced
SILENCE = timedelta(days=30)
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
READ_METHODS = ("GET", "HEAD")


def respond(request: Request, job: Job, now: datetime) -> Response:
    """The answer to a request; only a bug raises."""
    try:
        answer = _answer(request, job, now)
    except RequestRefused as refusal:
        answer = _refusal(request, refusal)
    except ServiceError as error:
        answer = _refusal(request, RequestRefused(503, f"{error}. Try again.", {"retry-after": "5"}))
    body = b"" if request.method == "HEAD" else answer.body
    return replace(answer, headers={**COMMON_HEADERS, **answer.headers}, body=body)


def _answer(request: Request, job: Job, now: datetime) -> Response:
    match request.path.split("/"):
        case ["incidents" | "look", *_, ""] as names if ID.fullmatch(names[-2]):
            return _without_slash(request, names[-2])
        case ["incidents"] if request.access_mode != "link":
            return _list(_require_read(request), job, now)
        case ["incidents", name] if request.access_mode != "link" and ID.fullmatch(name):
            return _show(_require_read(request), job, name, now)
        case ["incidents", name, verb] if (
            request.access_mode != "link" and ID.fullmatch(name) and verb in ACTIONS
        ):
            return _act(_require_method(request, "POST"), job, name, verb, now)
        case ["look", name] if request.access_mode == "link" and ID.fullmatch(name):
            return _look(_require_read(request), job, name, now)
    raise RequestRefused(404, "There is no such page.")


def _without_slash(request: Request, name: str) -> Response:
    """Redirects to the address without the slash at its end: links of a page are relative to that one."""
    return Response(308, headers={"location": with_query(f"../{name}", **request.query)})


def _list(request: Request, job: Job, now: datetime) -> Response:
    page = listing(job.desk.summaries(), request.query, {rule.folder: rule.severity for rule in job.rules})
    if request.wants_json:
        return json_response(json_values(page))
    return list_page(page, visitor_of(request), now)


def _show(request: Request, job: Job, name: str, now: datetime, status: int = 200) -> Response:
    visitor, detail = visitor_of(request), _incident_detail(job, name)
    if request.wants_json:
        return json_response(json_values(detail), status)
    form = job.link_signer().form_token(name, visitor.name, now) if visitor.can_act else ""
    return incident_page(job, detail, visitor, form, now)


def _look(request: Request, job: Job, name: str, now: datetime) -> Response:
    until, signature = request.query.get("until", ""), request.query.get("signature", "")
    if not job.link_signer().verify(name, until, signature, now):
        raise RequestRefused(
            403, "This link is not good, or no longer. Incidents are still there for those who may sign in."
        )
    return _show(request, job, name, now)


def _act(request: Request, job: Job, name: str, verb: str, now: datetime) -> Response:
    visitor, fields = visitor_of(request), request.fields()
    check_source(request, job.settings.PAGE_URL)
    if is_form(request) and not job.link_signer().verify_form_token(
        fields.get("form", ""), name, visitor.name, now
    ):
        raise RequestRefused(
            403, "This form is too old, or was not shown to you. Go back, load the page again, and repeat it."
        )
    detail = _incident_detail(job, name)
    _check_current(detail, fields)
    try:
        ACTIONS[verb](job, detail, fields, visitor)
    except ConfigurationError as error:
        raise RequestRefused(409, f"{error}.") from None
    except Conflict:
        raise RequestRefused(
            409, "Something came between, a run or somebody else. Look again, and repeat it."
        ) from None
    if request.wants_json:
        return json_response(json_values(_incident_detail(job, name)))
    return Response(303, headers={"location": with_query(f"../{name}", code=visitor.access_key)})


def _acknowledge(job: Job, detail: IncidentDetail, fields: Mapping[str, str], visitor: Visitor) -> None:
    author, self_declared = _author(fields, visitor)
    job.desk.acknowledge(detail, author, _note(fields), self_declared=self_declared)


def _close(job: Job, detail: IncidentDetail, fields: Mapping[str, str], visitor: Visitor) -> None:
    author, self_declared = _author(fields, visitor)
    classification = next(
        (choice for choice in CLASSIFICATIONS if choice == fields.get("classification")), None
    )
    if classification is None:
        raise RequestRefused(422, f"Say what it turned out to be: {', '.join(CLASSIFICATIONS)}.")
    job.desk.close(detail, classification, author, _note(fields), self_declared=self_declared)


def _silence(job: Job, detail: IncidentDetail, fields: Mapping[str, str], visitor: Visitor) -> None:
    author, self_declared = _author(fields, visitor)
    reason = _note(fields)
    if not 0 < len(reason) <= REASON:
        raise RequestRefused(422, f"Say why it is silenced, in at most {REASON} characters.")
    try:
        length = parse_duration(fields.get("for", ""))
    except ConfigurationError as error:
        raise RequestRefused(422, f"Say for how long: {error}.") from None
    if length > SILENCE:
        raise RequestRefused(422, f"It can be silenced for at most {SILENCE.days} days.")
    job.desk.silence_incident(detail, job.clock() + length, author, reason, self_declared=self_declared)


CLASSIFICATIONS: tuple[Classification, ...] = get_args(Classification)
ACTIONS: Mapping[str, Callable[[Job, IncidentDetail, Mapping[str, str], Visitor], None]] = {
    "acknowledge": _acknowledge,
    "silence": _silence,
    "close": _close,
}


def _author(fields: Mapping[str, str], visitor: Visitor) -> tuple[str, bool]:
    """Who acts, and whether that is only what they say."""
    if visitor.name:
        return visitor.name, False
    name = fields.get("by", "").strip()
    if not 0 < len(name) <= NAME:
        raise RequestRefused(422, f"Say who you are, in at most {NAME} characters.")
    return name, True


def _note(fields: Mapping[str, str]) -> str:
    note = " ".join(fields.get("note", "").split())
    if len(note) > NOTE:
        raise RequestRefused(422, f"Say why in at most {NOTE:,} characters.")
    return note


def _check_current(detail: IncidentDetail, fields: Mapping[str, str]) -> None:
    """Refuses to judge what was not looked at: alerts that came after the page was shown."""
    alerts_seen, alerts = fields.get("seen", ""), detail.incident.alerts
    if alerts_seen and alerts_seen != str(alerts):
        raise RequestRefused(
            409, f"New alerts came since you looked: there are {alerts} now. Look again, and repeat it."
        )


def _incident_detail(job: Job, name: str) -> IncidentDetail:
    try:
        return job.desk.incident(name)
    except ConfigurationError:
        raise RequestRefused(404, f"There is no incident {name}.") from None


def _require_read(request: Request) -> Request:
    return _require_method(request, *READ_METHODS)


def _require_method(request: Request, *methods: str) -> Request:
    if request.method not in methods:
        raise RequestRefused(405, f"Here it is {' or '.join(methods)}.", {"allow": ", ".join(methods)})
    return request


def _refusal(request: Request, refusal: RequestRefused) -> Response:
    if request.wants_json:
        answer = json_response({"error": refusal.reason}, refusal.status)
    else:
        answer = failure_page(refusal.status, refusal.reason, request.access_mode)
    return replace(answer, headers={**answer.headers, **refusal.headers})
