"""What there is to tell of made-up alerts, for the tests of messages."""

from datetime import datetime

from detection.incidents.batch import Share
from detection.incidents.grouping import Incident, Memory, group
from detection.messages.digest import Digest, digest
from detection.messages.leads import Leads
from detection.messages.telling import Telling, telling
from detection.rule import Rule, Severity
from tests.builders import ALICE, HOUR, RULE, START, TICK, account, chains, change, signal, stretch

# As a run in the cloud has them.
LINKS = Leads(
    page="https://func.example/api/look/in_1?until=1&signature=2",
    portal="https://portal.azure.com/#blade/Microsoft_Azure_Monitoring_Logs/LogsBlade/and/so/on",
)


def told(
    pairs: int = 3,
    actor: str = ALICE,
    *,
    ip: str = "203.0.113.7",
    model: str = "gpt-4o-2024-08-06",
    incident: Incident | None = None,
    links: Leads = LINKS,
    rule: Rule = RULE,
) -> Telling:
    """An alert of one change and so many signals after it, told of an actor who may have an incident already."""
    found = chains(
        [change("audit_log-1", START - 2 * HOUR, actor, ip=ip)],
        [signal(f"chatcmpl-{n}", START - HOUR + n * TICK, actor, model=model) for n in range(pairs)],
    )
    verdict = group(found, Memory(account(actor), incident=incident), RULE, stretch())
    assert verdict is not None
    return telling(verdict, rule, stretch(), links)


def known(opened: datetime) -> Incident:
    """An incident opened at a moment, with one alert of two pairs."""
    return Incident("in_1", 1, opened, opened, 1, 2, None)


def plain() -> Telling:
    """The alert of the golden messages: it opens an incident after one that is too old to be updated."""
    return told(3, incident=known(START - 30 * HOUR))


def shared(number: int, severity: Severity = "High", pairs: int = 1, title: str = "") -> Share:
    """What a digest is told of the alert of an incident of that number."""
    words = (
        title or f"actor-{number}@example.com created an API key, then hit the content filter within a minute"
    )
    return Share(f"al_{number}", f"in_{number:04}", number % 3 > 0, severity, words, 1, pairs, pairs)


def storm(shares: int = 23) -> Digest:
    """The digest of the golden messages: mostly small incidents, one of them with three alerts."""
    told = [
        shared(number, "High" if number % 7 == 3 else "Medium", 1 + number % 5) for number in range(shares)
    ]
    return digest("dg_1", START, [*told, shared(5, pairs=40), shared(5, pairs=2)], RULE)
