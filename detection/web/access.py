"""Who asks, and whether an act is meant. Pure.

entra   App Service has signed them in, and says who they are in headers that it takes out of every request from
        outside. A browser adds their cookie to whatever any site makes it send, so forms carry a token, and the
        browser's word about where they were sent from counts.
key     The host has checked a key. It is in the address, and in every address on the page: no other site knows it.
link    Somebody got a message. They look at one incident, and do nothing.
"""

from dataclasses import dataclass

from detection.web.exchange import Refused, Request, origin_of

NAME = 200  # characters
PRINCIPAL = ("x-ms-client-principal-name", "x-ms-client-principal-id")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: the name that App Service gives, or none; the key that they have in the address, if any.

    One who only looks may sign in to act, where App Service signs people in.
    """

    name: str = ""
    code: str = ""
    acts: bool = True
    signs_in: bool = False


def visitor(request: Request) -> Visitor:
    """Who asks. Raises Refused."""
    if request.door == "link":
        return Visitor(acts=False, signs_in=request.signs_in)
    if request.door == "key":
        return Visitor(code=request.query.get("code", ""))
    name = next(filter(None, (request.headers.get(one, "").strip() for one in PRINCIPAL)), "")
    if not name:
        raise Refused(401, "Sign in first.")
    return Visitor(name=name[:NAME])


def check_source(request: Request, own: str | None) -> None:
    """Refuses what another site made a browser send; `own` is the page's address, where it is known.

    Browsers say where a request comes from in Sec-Fetch-Site; older ones in Origin, which is null under our
    Referrer-Policy and then says nothing (Fetch, "append a request Origin header"). What is no browser says neither.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "null")
    ours = {request.origin, *([origin_of(own)] if own else [])}
    if (site is not None and site != "same-origin") or (site is None and origin not in {*ours, "null"}):
        raise Refused(403, "That was sent from another site.")


def is_form(request: Request) -> bool:
    """Whether any site could make a browser send this; JSON it sends only to who allows it, and we allow nobody."""
    return not request.headers.get("content-type", "").lower().startswith("application/json")
