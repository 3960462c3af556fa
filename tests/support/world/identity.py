"""Whose a signal is: the model's own reading of the identity matching options of docs/rules.md."""

from base64 import b64encode
from functools import lru_cache
from hashlib import sha256

from tests.support.world.scenario import Arrival, Configuration, OptionName


@lru_cache(maxsize=10_000)
def name_of(actor: str, option: OptionName) -> str:
    """How a signal names an actor under an option that makes a name of the e-mail."""
    digest = sha256(actor.encode())
    match option:
        case "sha256":
            return digest.hexdigest()
        case "base64":
            return b64encode(digest.digest()).decode().lower().rstrip("=")
        case "local-part":
            return actor.rpartition("@")[0]
        case _:
            return actor


def belongs(signal: Arrival, actor: str, configuration: Configuration) -> bool:
    """Whether a signal belongs to the actor of a change."""
    return any(_matches(option, signal, actor, configuration) for option in configuration.identity)


def _matches(option: OptionName, signal: Arrival, actor: str, configuration: Configuration) -> bool:
    match option:
        case "none":
            return True
        case "metadata":
            return signal.employee == actor
        case "mapping":
            return (actor, signal.actor) in configuration.mapping
        case _:
            return signal.actor == name_of(actor, option)
