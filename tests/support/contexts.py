"""What there is to tell of made-up alerts, for the tests of messages."""

from datetime import datetime

from detection.incidents.alert import Alert
from detection.incidents.decide import Circumstances, decide
from detection.incidents.incident import Incident
from detection.incidents.key_state import KeyState
from detection.logs.events import Event
from detection.messages.context import AlertContext, DigestEntry, alert_context
from detection.messages.digest import Digest, make_digest
from detection.messages.links import MessageLinks
from detection.rules.model import Rule, Severity
from tests.support.builders import (
    ALICE,
    HOUR,
    RULE,
    START,
    TICK,
    account,
    chains,
    change,
    first_windows,
    signal,
)

CHROME = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/137.0.0.0 Safari/537.36"
)
# As a run in the cloud has them.
LINKS = MessageLinks(
    page="https://func.example/api/look/in_1?until=1&signature=2",
    portal="https://portal.azure.com/#blade/Microsoft_Azure_Monitoring_Logs/LogsBlade/and/so/on",
)


def made_up_context(
    pairs: int = 3,
    actor: str = ALICE,
    *,
    ip: str = "203.0.113.7",
    model: str = "gpt-4o-2024-08-06",
    incident: Incident | None = None,
    links: MessageLinks = LINKS,
    rule: Rule = RULE,
    details: str = "",
    project: str = "",
    client: str = "",
    organization: str = "",
) -> AlertContext:
    """An alert of one change and so many signals after it, told of an actor who may have an incident already."""
    actor_chains = chains(
        [
            change(
                "audit_log-1",
                START - 2 * HOUR,
                actor,
                ip=ip,
                details=details,
                project=project,
                client=client,
                organization=organization,
            )
        ],
        [signal(f"chatcmpl-{n}", START - HOUR + n * TICK, actor, model=model) for n in range(pairs)],
    )
    verdict = decide(
        actor_chains, Circumstances(RULE, first_windows()), KeyState(account(actor), incident=incident)
    )
    assert verdict is not None
    return alert_context(verdict, rule, first_windows(), links)


def alert_of(*changes: Event) -> Alert:
    """The alert for these changes of an actor and a signal after them."""
    actor_chains = chains(changes, [signal("s", START - HOUR)])
    verdict = decide(actor_chains, Circumstances(RULE, first_windows()), KeyState(account()))
    assert verdict is not None
    assert verdict.alert is not None
    return verdict.alert


def incident_opened_at(opened: datetime) -> Incident:
    """An incident opened at a moment, with one alert of two pairs."""
    return Incident("in_1", 1, opened, opened, 1, 2, None)


def golden_context() -> AlertContext:
    """The alert of the golden messages: it opens an incident after one that is too old to be updated."""
    return made_up_context(
        3,
        incident=incident_opened_at(START - 30 * HOUR),
        details='{"id":"key_Vn3Qy8LsTz0KdWc5","data":{"scopes":["api.model.request"]}}',
        project='{"id":"proj_Kq7ZtW2mYd8RfLp1","name":"Payments"}',
        client=CHROME,
        organization="example-org",
    )


def digest_entry(number: int, severity: Severity = "High", pairs: int = 1, title: str = "") -> DigestEntry:
    """What a digest is told of the alert of an incident of that number."""
    words = (
        title or f"actor-{number}@example.com created an API key, then hit the content filter within a minute"
    )
    reason = f"{severity}: created an API key, then hit the content filter"
    return DigestEntry(
        f"al_{number}",
        f"in_{number:04}",
        number % 3 > 0,
        severity,
        words,
        1,
        pairs,
        pairs,
        "example-org",
        reason,
    )


def golden_digest(entry_count: int = 23) -> Digest:
    """The digest of the golden messages: mostly small incidents, one of them with three alerts."""
    entries = [
        digest_entry(number, "High" if number % 7 == 3 else "Medium", 1 + number % 5)
        for number in range(entry_count)
    ]
    return make_digest(
        "dg_1",
        START,
        [*entries, digest_entry(5, pairs=40), digest_entry(5, pairs=2)],
        RULE,
        "https://func.example/api/incidents",
        link_to,
    )


def link_to(incident: str) -> str:
    """The link to an incident, as long as that of a run in the cloud."""
    return f"https://func.example/api/look/{incident}?until=1773043200&signature={'s' * 43}"
