"""A request and a response, independent of the server.

The headers of every response forbid to load, frame, store or sniff anything (OWASP, "HTTP Headers Cheat
Sheet").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from pydantic_core import from_json, to_json

BODY = 16 * 2**10  # bytes of a request: a name, a classification and a note
FIELDS = 20  # of a query or a form, apart from the selected incidents
SELECTED = "incidents"  # the field that a form may repeat, and a list in JSON
MAX_SELECTED = 50

# App Service has signed the visitor in, the host has checked a key, or the visitor has a link from a message.
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
    """A request that gets a status and a sentence that says what is wrong and what to do."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Request:
    """A request. Header names are in lower case. `sign_in_offered` says that App Service signs people in.

    Every property and method may raise RequestRefused.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    access_mode: AccessMode
    sign_in_offered: bool = False

    @property
    def path(self) -> str:
        """The path from `incidents` or `look` on. The host chooses the part before."""
        path = _split(self.url).path
        return path[max(path.find(f"/{name}") for name in ("incidents", "look")) + 1 :]

    @property
    def query(self) -> dict[str, str]:
        """The fields of the query. The last of several fields of a name counts."""
        return _parse_fields(_split(self.url).query)

    @property
    def access_key(self) -> str:
        """The function's key in the address, which every address on a page has; empty if there is none."""
        return self.query.get("code", "") if self.access_mode == "key" else ""

    @property
    def origin(self) -> str:
        """Scheme and host, as browsers write them."""
        return origin_of(self.url)

    @property
    def wants_json(self) -> bool:
        """Whether the client prefers JSON (RFC 9110, 12.5.1). A client without a preference gets HTML."""
        weights: dict[str, float] = {}
        for part in self.headers.get("accept", "").split(",")[:FIELDS]:
            media_type, *parameters = (segment.strip().lower() for segment in part.split(";"))
            qualities = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
            try:
                weight = float(qualities[0]) if qualities else 1.0
            except ValueError:
                weight = 0.0
            if media_type and weight > 0:
                weights[media_type] = weight
        html = max(weights.get(media_type, 0.0) for media_type in ("text/html", "text/*", "*/*"))
        json = max(weights.get(media_type, 0.0) for media_type in ("application/json", "application/*"))
        return json > html or ("application/json" in weights and "text/html" not in weights)

    @property
    def media_type(self) -> str:
        """The type of the body, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def fields(self) -> dict[str, str]:
        """The fields of a form or a JSON object. The values of SELECTED are joined by spaces."""
        if len(self.body) > BODY:
            raise RequestRefused(413, f"Send at most {BODY:,} bytes.")
        if self.media_type == "application/x-www-form-urlencoded":
            return _parse_fields(self.body.decode(errors="replace"), FIELDS + MAX_SELECTED)
        if self.media_type != "application/json":
            raise RequestRefused(415, "Send a form or JSON.")
        try:
            document = from_json(self.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise RequestRefused(400, "Send a JSON object.")
        selected = document.get(SELECTED)
        if isinstance(selected, list) and all(isinstance(name, str) for name in selected):
            document[SELECTED] = " ".join(selected)
        if nested := [name for name, value in document.items() if isinstance(value, dict | list)]:
            raise RequestRefused(422, f"{', '.join(nested)}: send text or a number.")
        return {name: str(value) for name, value in document.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `respond` adds COMMON_HEADERS."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def make_request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    access_mode: AccessMode,
    *,
    sign_in_offered: bool = False,
) -> Request:
    """A request from the parts that a server has."""
    lower = {name.lower(): value for name, value in headers.items()}
    return Request(method.upper(), url, lower, body, access_mode, sign_in_offered)


def origin_of(url: str) -> str:
    """Scheme and host of an address, as browsers write them. Raises RequestRefused."""
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc}"


def with_query(path: str, /, **fields: object) -> str:
    """A relative address with a query. Empty fields are left out."""
    query = urlencode({name: value for name, value in fields.items() if value}, errors="replace")
    return f"{path}?{query}" if query else path


def json_response(document: object, status: int = 200) -> Response:
    """A response in JSON."""
    return Response(
        status,
        to_json(document, ensure_ascii=True),  # a terminal obeys control characters above U+0080
        {"content-type": "application/json", "content-security-policy": JSON_POLICY},
    )


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise RequestRefused(400, "The address is not valid. Correct it.") from None


def _parse_fields(text: str, limit: int = FIELDS) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=limit)
    except ValueError:
        raise RequestRefused(400, f"Send at most {limit} fields.") from None
    selected = [value for name, value in pairs if name == SELECTED]
    return dict(pairs) | ({SELECTED: " ".join(selected)} if selected else {})
