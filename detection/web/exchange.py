"""A request and an answer, as far as the incident page knows them.

Every answer says that nothing may be loaded, framed, stored or guessed (OWASP, "HTTP Headers Cheat Sheet").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from pydantic_core import from_json, to_json

BODY = 16 * 2**10  # bytes of a request: a name, a judgement and a reason
FIELDS = 20  # of a query or a form

# How somebody got in: App Service has signed them in, the host has checked a key, or they have a link from a message.
AccessMode = Literal["entra", "key", "link"]
COMMON_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex, nofollow",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "vary": "accept",
}
JSON_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class RequestRefused(Exception):
    """A request that is not answered as it asks: the status, and one sentence for whoever asked."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. Names of headers are in lower case. `signs_in` says that App Service does, where somebody asks it to."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    access_mode: AccessMode
    sign_in_offered: bool = False

    @property
    def path(self) -> str:
        """From `incidents` or `look` on: what lies before is the host's affair. Raises Refused."""
        path = _split(self.url).path
        return path[max(path.find(f"/{name}") for name in ("incidents", "look")) + 1 :]

    @property
    def query(self) -> dict[str, str]:
        """The fields of the query. Raises Refused when there are too many."""
        return parse_fields(_split(self.url).query)

    @property
    def origin(self) -> str:
        """Scheme and host, as browsers write them. Raises Refused."""
        return origin_of(self.url)

    @property
    def wants_json(self) -> bool:
        """Whether the one who asks would rather have JSON; a browser would not, and who does not care gets HTML."""
        accepted = _weights(self.headers.get("accept", ""))
        weight = max(accepted.get("text/html", 0.0), accepted.get("text/*", 0.0), accepted.get("*/*", 0.0))
        return max(accepted.get("application/json", 0.0), accepted.get("application/*", 0.0)) > weight or (
            "application/json" in accepted and "text/html" not in accepted
        )

    def fields(self) -> dict[str, str]:
        """What a form or a JSON object says. Raises Refused when it is too long, or neither."""
        if len(self.body) > BODY:
            raise RequestRefused(413, f"That is more than {BODY:,} bytes.")
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/x-www-form-urlencoded":
            return parse_fields(self.body.decode(errors="replace"))
        if kind == "application/json":
            return _json_fields(self.body)
        raise RequestRefused(415, "Send a form or JSON.")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. Its headers are those of every answer, and its own."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def make_request(  # a server has as many things to say
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    access_mode: AccessMode,
    *,
    sign_in_offered: bool = False,
) -> Request:
    """What was asked, from what a server has."""
    lower = {name.lower(): value for name, value in headers.items()}
    return Request(method.upper(), url, lower, body, access_mode, sign_in_offered)


def origin_of(url: str) -> str:
    """Scheme and host of an address, as browsers write them. Raises Refused."""
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc}"


def parse_fields(text: str) -> dict[str, str]:
    """The fields of a query or a form; of one that is given twice, the last. Raises Refused when there are too many."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS))
    except ValueError:
        raise RequestRefused(400, f"That is more than {FIELDS} fields.") from None


def with_query(path: str, /, **values: object) -> str:
    """A relative address with a query; empty values are left out."""
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{path}?{query}" if query else path


def json_response(value: object, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(
        status, to_json(value), {"content-type": "application/json", "content-security-policy": JSON_POLICY}
    )


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise RequestRefused(400, "That is no address.") from None


def _json_fields(body: bytes) -> dict[str, str]:
    try:
        document = from_json(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise RequestRefused(400, "That is no JSON object.")
    return {name: str(value) for name, value in document.items() if value is not None}


def _weights(accept: str) -> dict[str, float]:
    """The media types of an Accept header with their weights (RFC 9110, 12.5.1); one that is not to be had is left out."""
    weights: dict[str, float] = {}
    for part in accept.split(",")[:FIELDS]:
        kind, *parameters = (segment.strip().lower() for segment in part.split(";"))
        qualities = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
        try:
            weight = float(qualities[0]) if qualities else 1.0
        except ValueError:
            weight = 0.0
        if kind and weight > 0:
            weights[kind] = weight
    return weights
