"""The incident page, asked from outside with a forged sign-in; not deployed.

App Service sets the headers that name a visitor and, by its documentation, lets no outside request set them.
The documentation contradicts itself for Flex Consumption, and no signed token reaches an app without a token
store.
"""

from collections.abc import Iterator

from detection.base.errors import ConfigurationError
from detection.base.sessions import Session
from detection.check.checklist import Finding, green, red, yellow
from detection.check.context import CheckContext

TIMEOUT = 30  # seconds; the app may have to start
REFUSED = (301, 302, 307, 308, 401, 403)
FORGED = {
    "accept": "application/json",
    "x-ms-client-principal": "eyJhdXRoX3R5cCI6ImFhZCIsImNsYWltcyI6W119",
    "x-ms-client-principal-id": "00000000-0000-0000-0000-000000000000",
    "x-ms-client-principal-idp": "aad",
    "x-ms-client-principal-name": "admin",
}


def check_page(context: CheckContext) -> Iterator[Finding]:
    """Whether the page at PAGE_URL refuses a forged sign-in. Without PAGE_URL there is no finding."""
    if not context.settings.PAGE_URL:
        return
    name = "page"
    try:
        with (
            Session(TIMEOUT) as session,
            session.get(
                f"{context.settings.PAGE_URL}/incidents",
                headers=FORGED,
                timeout=TIMEOUT,
                allow_redirects=False,
                stream=True,
            ) as answer,
        ):
            status = answer.status_code
    except (OSError, ValueError, ConfigurationError):  # those of `requests`, and of Session
        yield yellow(
            name, "The page does not answer from here.", "Check PAGE_URL, and the network to the app."
        )
        return
    if status in REFUSED:
        yield green(name, f"Refuses a forged sign-in (HTTP {status}).")
    elif status < 300:
        yield red(
            name,
            f"Accepts a forged sign-in (HTTP {status}): anyone can read and close incidents.",
            "Turn sign-in off: `azd env set PAGE_CLIENT_ID ''`, then `azd provision`.",
        )
    else:
        yield yellow(name, f"Answers with HTTP {status}.", "Check PAGE_URL: it ends before /incidents.")
