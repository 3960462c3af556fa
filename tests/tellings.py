"""What there is to tell of made-up alerts, for the tests of messages."""

from datetime import datetime

from detection.incidents.grouping import Incident, Memory, group
from detection.messages.telling import Telling, telling
from tests.builders import ALICE, HOUR, RULE, START, TICK, account, chains, change, signal, stretch


def told(
    pairs: int = 3,
    actor: str = ALICE,
    *,
    ip: str = "203.0.113.7",
    model: str = "gpt-4o-2024-08-06",
    incident: Incident | None = None,
) -> Telling:
    """An alert of one change and so many signals after it, told of an actor who may have an incident already."""
    found = chains(
        [change("audit_log-1", START - 2 * HOUR, actor, ip=ip)],
        [signal(f"chatcmpl-{n}", START - HOUR + n * TICK, actor, model=model) for n in range(pairs)],
    )
    verdict = group(found, Memory(account(actor), incident=incident), RULE, stretch())
    assert verdict is not None
    return telling(verdict, RULE, stretch())


def known(opened: datetime) -> Incident:
    """An incident opened at a moment, with one alert of two pairs."""
    return Incident("in_1", 1, opened, opened, 1, 2, None)


def plain() -> Telling:
    """The alert of the golden messages: it opens an incident after one that is too old to be updated."""
    return told(3, incident=known(START - 30 * HOUR))
