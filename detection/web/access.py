"""Who asks, and whether an act is meant.

entra   App Service has signed them in, and says who they are in headers that it takes out of every request from
        outside. A browser adds their cookie to whatever any site makes it send, so forms carry a token, and the
        browser's word about where they were sent from counts.
key     The host has checked a key. It is in the address, and in every address on the page: no other site knows it.
link    Somebody got a message. They look at one incident, and do nothing.
"""

from dataclasses import dataclass

from detection.web.exchange import Request, RequestRefused, origin_of

NAME = 200  # characters
PRINCIPAL_HEADERS = ("x-ms-client-principal-name", "x-ms-client-principal-id")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: the name that App Service gives, or none; the key that they have in the address, if any.

    One who only looks may sign in to act, where App Service signs people in.
    """

    name: str = ""
    access_key: str = ""
    can_act: bool = True
    sign_in_offered: bool = False


def visitor_of(request: Request) -> Visitor:
    """Who asks. Raises Refused."""
    if request.access_mode == "link":
        return Visitor(can_act=False, sign_in_offered=request.sign_in_offered)
    if request.access_mode == "key":
        return Visitor(access_key=request.query.get("code", ""))
    name = next(filter(None, (request.headers.get(header, "").strip() for header in PRINCIPAL_HEADERS)), "")
    if not name:
        raise RequestRefused(401, "Sign in first.")
    return Visitor(name=name[:NAME])


def check_source(request: Request, page_url: str | None) -> None:
    """Refuses what another site made a browser send; `own` is the page's address, where it is known.

    Browsers say where a request comes from in Sec-Fetch-Site; older ones in Origin, which is null under our
    Referrer-Policy and then says nothing (Fetch, "append a request Origin header"). What is no browser says neither.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "null")
    own_origins = {request.origin, *([origin_of(page_url)] if page_url else [])}
    if (site is not None and site != "same-origin") or (
        site is None and origin not in {*own_origins, "null"}
    ):
        raise RequestRefused(403, "That was sent from another site.")


def is_form(request: Request) -> bool:
    """Whether any site could make a browser send this; JSON it sends only to who allows it, and we allow nobody."""
    return not request.headers.get("content-type", "").lower().startswith("application/json")
