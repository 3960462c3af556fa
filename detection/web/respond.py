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

from detection.errors import ConfigurationError, ServiceError
from detection.incidents.grouping import Classification
from detection.incidents.table import Conflict
from detection.job import Job, KnownIncident, plain
from detection.timestamps import duration
from detection.web.access import NAME, Visitor, check_source, is_form, visitor
from detection.web.exchange import ALWAYS, Refused, Request, Response, as_json, with_query
from detection.web.html import failure_page, incident_page, list_page
from detection.web.listing import listing

NOTE = 2_000  # characters
REASON = 500  # characters of why something is silenced
SILENCE = timedelta(days=30)
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
LOOKING = ("GET", "HEAD")


def respond(request: Request, job: Job, now: datetime) -> Response:
    """The answer to a request; only a bug raises."""
    try:
        answer = _answer(request, job, now)
    except Refused as refused:
        answer = _refusal(request, refused)
    except ServiceError as error:
        answer = _refusal(request, Refused(503, f"{error}. Try again.", {"retry-after": "5"}))
    body = b"" if request.method == "HEAD" else answer.body
    return replace(answer, headers={**ALWAYS, **answer.headers}, body=body)


def _answer(request: Request, job: Job, now: datetime) -> Response:
    match request.path.split("/"):
        case ["incidents" | "look", *_, ""] as names if ID.fullmatch(names[-2]):
            return _without_slash(request, names[-2])
        case ["incidents"] if request.door != "link":
            return _list(_looking(request), job, now)
        case ["incidents", name] if request.door != "link" and ID.fullmatch(name):
            return _show(_looking(request), job, name, now)
        case ["incidents", name, verb] if request.door != "link" and ID.fullmatch(name) and verb in ACTS:
            return _act(_only(request, "POST"), job, name, verb, now)
        case ["look", name] if request.door == "link" and ID.fullmatch(name):
            return _look(_looking(request), job, name, now)
    raise Refused(404, "There is no such page.")


def _without_slash(request: Request, name: str) -> Response:
    """Redirects to the address without the slash at its end: links of a page are relative to that one."""
    return Response(308, headers={"location": with_query(f"../{name}", **request.query)})


def _list(request: Request, job: Job, now: datetime) -> Response:
    shown = listing(job.listed(), request.query, {rule.folder: rule.severity for rule in job.rules})
    if request.wants_json:
        return as_json(plain(shown))
    return list_page(shown, visitor(request), now)


def _show(request: Request, job: Job, name: str, now: datetime, status: int = 200) -> Response:
    who, known = visitor(request), _known(job, name)
    if request.wants_json:
        return as_json(plain(known), status)
    form = job.links().form(name, who.name, now) if who.acts else ""
    return incident_page(job, known, who, form, now)


def _look(request: Request, job: Job, name: str, now: datetime) -> Response:
    until, signature = request.query.get("until", ""), request.query.get("signature", "")
    if not job.links().opens(name, until, signature, now):
        raise Refused(
            403, "This link is not good, or no longer. Incidents are still there for those who may sign in."
        )
    return _show(request, job, name, now)


def _act(request: Request, job: Job, name: str, verb: str, now: datetime) -> Response:
    who, given = visitor(request), request.fields()
    check_source(request, job.settings.PAGE_URL)
    if is_form(request) and not job.links().takes(given.get("form", ""), name, who.name, now):
        raise Refused(
            403, "This form is too old, or was not shown to you. Go back, load the page again, and repeat it."
        )
    known = _known(job, name)
    _check_seen(known, given)
    try:
        ACTS[verb](job, known, given, who)
    except ConfigurationError as error:
        raise Refused(409, f"{error}.") from None
    except Conflict:
        raise Refused(
            409, "Something came between, a run or somebody else. Look again, and repeat it."
        ) from None
    if request.wants_json:
        return as_json(plain(_known(job, name)))
    return Response(303, headers={"location": with_query(f"../{name}", code=who.code)})


def _acknowledge(job: Job, known: KnownIncident, given: Mapping[str, str], who: Visitor) -> None:
    by, declared = _name(given, who)
    job.acknowledge(known, by, _note(given), self_declared=declared)


def _close(job: Job, known: KnownIncident, given: Mapping[str, str], who: Visitor) -> None:
    by, declared = _name(given, who)
    chosen = next((one for one in CLASSIFICATIONS if one == given.get("classification")), None)
    if chosen is None:
        raise Refused(422, f"Say what it turned out to be: {', '.join(CLASSIFICATIONS)}.")
    job.close(known, chosen, by, _note(given), self_declared=declared)


def _silence(job: Job, known: KnownIncident, given: Mapping[str, str], who: Visitor) -> None:
    by, declared = _name(given, who)
    reason = _note(given)
    if not 0 < len(reason) <= REASON:
        raise Refused(422, f"Say why it is silenced, in at most {REASON} characters.")
    try:
        length = duration(given.get("for", ""))
    except ConfigurationError as error:
        raise Refused(422, f"Say for how long: {error}.") from None
    if length > SILENCE:
        raise Refused(422, f"It can be silenced for at most {SILENCE.days} days.")
    job.silence_incident(known, job.clock() + length, by, reason, self_declared=declared)


CLASSIFICATIONS: tuple[Classification, ...] = get_args(Classification)
ACTS: Mapping[str, Callable[[Job, KnownIncident, Mapping[str, str], Visitor], None]] = {
    "acknowledge": _acknowledge,
    "silence": _silence,
    "close": _close,
}


def _name(given: Mapping[str, str], who: Visitor) -> tuple[str, bool]:
    """Who acts, and whether that is only what they say."""
    if who.name:
        return who.name, False
    name = given.get("by", "").strip()
    if not 0 < len(name) <= NAME:
        raise Refused(422, f"Say who you are, in at most {NAME} characters.")
    return name, True


def _note(given: Mapping[str, str]) -> str:
    note = " ".join(given.get("note", "").split())
    if len(note) > NOTE:
        raise Refused(422, f"Say why in at most {NOTE:,} characters.")
    return note


def _check_seen(known: KnownIncident, given: Mapping[str, str]) -> None:
    """Refuses to judge what was not looked at: alerts that came after the page was shown."""
    seen, alerts = given.get("seen", ""), known.incident.alerts
    if seen and seen != str(alerts):
        raise Refused(
            409, f"New alerts came since you looked: there are {alerts} now. Look again, and repeat it."
        )


def _known(job: Job, name: str) -> KnownIncident:
    try:
        return job.incident(name)
    except ConfigurationError:
        raise Refused(404, f"There is no incident {name}.") from None


def _looking(request: Request) -> Request:
    return _only(request, *LOOKING)


def _only(request: Request, *methods: str) -> Request:
    if request.method not in methods:
        raise Refused(405, f"Here it is {' or '.join(methods)}.", {"allow": ", ".join(methods)})
    return request


def _refusal(request: Request, refused: Refused) -> Response:
    if request.wants_json:
        answer = as_json({"error": refused.reason}, refused.status)
    else:
        answer = failure_page(refused.status, refused.reason, request.door)
    return replace(answer, headers={**answer.headers, **refused.headers})
