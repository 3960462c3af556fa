"""No secret in any output of the suite: a test whose output holds one fails, whatever it tests.

Everything is logged at its lowest level, and what the tests print and log is searched.
"""

from collections.abc import Iterable

from tests.chaos.stage import SECRET
from tests.support.azurite import KEY
from tests.support.page_world import LINK_KEY
from tests.support.receiver import HIDDEN

SECRETS = {
    "a webhook's URL": HIDDEN,
    "a signing secret": SECRET.removeprefix("whsec_"),
    "an account key": KEY,
    "a key of links": LINK_KEY,
}


def leaks(texts: Iterable[str]) -> list[str]:
    """The secrets that some output holds."""
    output = "\n".join(texts)
    return [name for name, secret in SECRETS.items() if secret in output]
