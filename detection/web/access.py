"""Who asks, and whether they mean what their browser sends.

- entra: App Service has signed the visitor in. It names them in headers, and removes such headers from
  requests that come from outside. A browser adds the session cookie to requests from any site, so a form
  carries a token and the browser's headers about the source of the request are checked.
- key: The host has checked the function key. The key is in the address of every page; no other site knows it.
- link: The visitor has a signed link from a message. It shows one incident, read-only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import uuid4

from detection.delivery.signed_links import LinkSigner
from detection.incidents.acts import NAME
from detection.web.exchange import Request, RequestRefused, origin_of

ID_LENGTH = 16  # characters of the id of a request
PRINCIPAL_HEADERS = ("x-ms-client-principal-name", "x-ms-client-principal-id")


@dataclass(frozen=True, slots=True)
class Visitor:
    """The name from App Service and the key from the address; both are empty if there is none.

    `sign_in_offered` is true for a visitor with a link where App Service signs people in: they can sign in to
    act.
    """

    name: str = ""
    access_key: str = ""
    can_act: bool = True
    sign_in_offered: bool = False


def visitor_of(request: Request) -> Visitor:
    """The visitor behind a request. Raises RequestRefused if App Service does not name them."""
    if request.access_mode == "link":
        return Visitor(can_act=False, sign_in_offered=request.sign_in_offered)
    if request.access_mode == "key":
        return Visitor(access_key=request.access_key)
    name = next(filter(None, (request.headers.get(header, "").strip() for header in PRINCIPAL_HEADERS)), "")
    if not name:
        raise RequestRefused(401, "Sign in first.")
    return Visitor(name=name[:NAME])


def author_of(visitor: Visitor, fields: Mapping[str, str]) -> tuple[str, bool]:
    """The name of the visitor who acts, and whether it is self-declared."""
    return (visitor.name, False) if visitor.name else (fields.get("by", "").strip(), True)


def check_source(request: Request, page_url: str | None) -> None:
    """Refuses a request that another site made a browser send.

    Browsers name the source of a request in Sec-Fetch-Site. Older browsers name it in Origin, which is `null`
    under the Referrer-Policy of the pages and then tells nothing (Fetch, "append a request Origin header").
    Programs send neither. `page_url` is the page's public address, if the settings have it.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "null")
    origins = {"null", request.origin, *([origin_of(page_url)] if page_url else [])}
    if site != "same-origin" and (site is not None or origin not in origins):
        raise RequestRefused(
            403, "Another site sent this request. Open the incident page and repeat it there."
        )


def check_form(request: Request, subject: str, visitor: Visitor, signer: LinkSigner, now: datetime) -> None:
    """Refuses a form that this page did not show. `subject` is what the form acts on. As for a link, a token
    without a valid signature is answered 404.

    JSON needs no token: a browser sends it to another site only if that site allows it, and this site does
    not.
    """
    if request.media_type == "application/json":
        return
    if not signer.verify_form_token(request.fields().get("form", ""), subject, visitor.name, now):
        raise RequestRefused(404, "This form has expired or is not yours. Check it and send it again.")


def request_id(request: Request, visitor: Visitor, fields: Mapping[str, str]) -> str:
    """The id of an act's request: the same for a form, or JSON with a `request`, that is sent again. JSON
    without that field is a request of its own.
    """
    is_unique = request.media_type == "application/json" and not fields.get("request")
    parts = (request.path, visitor.name, *sorted(fields.items()), uuid4().hex if is_unique else "")
    return sha256(repr(parts).encode(errors="replace")).hexdigest()[:ID_LENGTH]
