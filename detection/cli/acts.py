"""The acts of people from the command line, in the JSON of the incident page.

They go to the app at PAGE_URL, with the person's own sign-in or with the function's key. With `--direct` this
process carries them out on the incident table, for the case that the app is down.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from getpass import getuser
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import requests
from pydantic_core import from_json, to_json

from detection.base.errors import ConfigurationError, ServiceError, Unreachable
from detection.base.json_types import type_adapter
from detection.base.sessions import Session
from detection.base.sign_in import PUBLIC_CLOUD, sign_in
from detection.cli.options import clock, environment_job, environment_settings
from detection.cli.output import write_remark
from detection.incidents.incident import HistoryEntry
from detection.logs.log_analytics.answers import AUTHORITIES
from detection.settings import Settings
from detection.web.exchange import Request, Response, make_request
from detection.web.respond import ACT_ID, respond

DEADLINE = 30.0  # seconds; an app that is not running starts first
ATTEMPTS = 2  # the acts are idempotent
HEADERS = {"accept": "application/json", "content-type": "application/json"}
HERE = "http://localhost/api"  # the address of a request that this process answers
NO_WAY = (
    "settings: PAGE_URL is missing; set it to the address of the app, https://….azurewebsites.net/api, or "
    "write to the incident table with --direct"
)


@dataclass(frozen=True, slots=True)
class ActAnswer:
    """The answer to an act, the id that it has in a history, and the way that its request went, in words."""

    document: Mapping[str, Any]
    act_id: str
    way: str


def act_on_incident(
    prefix: str, verb: str, fields: Mapping[str, str], *, direct: bool
) -> tuple[str, HistoryEntry]:
    """Acts on the incident whose id has a beginning; returns its id and the entry in its history. Writes a
    remark and raises as `act` does.
    """
    fields = {**fields, "by": fields["by"] or getuser(), "request": uuid4().hex}
    answer = _send(f"{quote(prefix, safe='')}/{verb}", fields, direct=direct)
    incident = answer.document["incident"]
    history = type_adapter(tuple[HistoryEntry, ...]).validate_python(incident["history"])
    # An app of another version, or a proxy, may not name the entry.
    entry = next((entry for entry in history if entry.request == answer.act_id), history[-1])
    write_remark(f"by {entry.author}{' (self-declared)' if entry.self_declared else ''}, {answer.way}")
    return incident["id"], entry


def act(path: str, fields: Mapping[str, str | None], *, direct: bool) -> Mapping[str, Any]:
    """Carries out the act at a path below `incidents/`, and returns the answer. Fields of None are left out.
    Writes a remark which way the act went.

    Raises ConfigurationError if the act is refused or a setting is missing, and ServiceError if the app or
    the table fails.
    """
    answer = _send(path, {name: text for name, text in fields.items() if text is not None}, direct=direct)
    write_remark(answer.way)
    return answer.document


def _send(path: str, fields: Mapping[str, str], *, direct: bool) -> ActAnswer:
    if direct:
        job = environment_job()
        request = _request(HERE, path, fields)
        response = respond(request, job, clock())
        way = f"directly in the table {job.settings.INCIDENT_TABLE}"
    else:
        settings = environment_settings()
        if settings.PAGE_URL is None:
            raise ConfigurationError(NO_WAY)
        request = _request(settings.PAGE_URL, path, fields)
        response = _post(request, settings)
        way = f"through {settings.PAGE_URL}"
    return ActAnswer(_document(response), response.headers.get(ACT_ID, ""), way)


def _request(base_url: str, path: str, fields: Mapping[str, str]) -> Request:
    return make_request("POST", f"{base_url}/incidents/{path}", HEADERS, to_json(fields), "key")


def _post(request: Request, settings: Settings) -> Response:
    """Posts a request to the app, and again if no answer came."""
    headers, error = {**request.headers, **_credential(settings)}, ""
    for _ in range(ATTEMPTS):
        try:
            with Session(DEADLINE) as session:
                answer = session.post(request.url, request.body, headers=headers, timeout=DEADLINE)
        except requests.RequestException as failure:
            error = type(failure).__name__
        else:
            act_headers = {ACT_ID: answer.headers.get(ACT_ID, "")}
            return Response(answer.status_code, answer.content, act_headers)
    raise Unreachable(
        f"the app at {settings.PAGE_URL} does not answer ({error}), and may have carried out the act; "
        "check that, then repeat it, or write to the incident table with --direct"
    )


def _credential(settings: Settings) -> dict[str, str]:
    """The header that admits a person to the page. Raises ConfigurationError without a way to sign in."""
    if settings.PAGE_KEY:
        return {"x-functions-key": settings.PAGE_KEY.get_secret_value()}
    if settings.PAGE_CLIENT_ID is None:
        raise ConfigurationError(
            "settings: PAGE_CLIENT_ID and PAGE_KEY are missing; set the first if the page signs people in, "
            "and else the second to the key of the function `incidents`"
        )
    authority = AUTHORITIES.get(settings.LOG_ANALYTICS_ENDPOINT, PUBLIC_CLOUD)
    token = sign_in(settings.AZURE_CLIENT_ID, authority).get_token(
        f"api://{settings.PAGE_CLIENT_ID}/.default"
    )
    return {"authorization": f"Bearer {token.token}"}


def _document(response: Response) -> Mapping[str, Any]:
    """The object in a response. Raises ConfigurationError for a refusal, ServiceError for a failure."""
    try:
        document = from_json(response.body)
    except ValueError:
        document = None
    content: Mapping[str, Any] = document if isinstance(document, dict) else {}
    status, reason = response.status, content.get("error")
    if status < 300 and content:
        return content
    if status >= 500 or status == 429:
        raise ServiceError(reason or f"the app failed (HTTP {status}); try again")
    if reason:
        raise ConfigurationError(reason)
    if status in (401, 403):
        raise ConfigurationError(
            f"the app refuses the sign-in (HTTP {status}); PAGE_KEY must be the key of the function "
            "`incidents`, or PAGE_CLIENT_ID the registration of the page, to which you are assigned"
        )
    if status in (301, 302, 303, 307, 308):
        raise ConfigurationError(
            f"the app redirects (HTTP {status}); set PAGE_CLIENT_ID if it signs people in, and PAGE_URL to "
            "its final address"
        )
    raise ConfigurationError(
        f"the incident page is not at PAGE_URL (HTTP {status}); set its address, up to /incidents"
    )
