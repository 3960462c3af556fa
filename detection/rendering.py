"""What is told, written for each destination in its format. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from detection.incidents.batch import RenderDigest, Share
from detection.incidents.grouping import Incident, Verdict
from detection.incidents.keys import identity
from detection.incidents.outbox import Delivery
from detection.matches import Matches
from detection.messages.digest import LIST, Digest, as_native, as_pagerduty, as_slack, as_teams, digest
from detection.messages.leads import Leads
from detection.messages.native import native
from detection.messages.pagerduty import acknowledge, pagerduty, resolve
from detection.messages.slack import slack
from detection.messages.teams import teams
from detection.messages.telling import Telling, telling
from detection.rule import Rule
from detection.settings import MessageFormat, Webhook
from detection.tell import Render

FORMATS: Mapping[MessageFormat, Callable[[Telling], bytes]] = {
    "native": native,
    "slack": slack,
    "teams": teams,
    "pagerduty": pagerduty,
}
DIGESTS: Mapping[MessageFormat, Callable[[Digest], bytes]] = {
    "native": as_native,
    "slack": as_slack,
    "teams": as_teams,
    "pagerduty": as_pagerduty,
}


def nowhere(*_told: object) -> Leads:
    """It leads nowhere."""
    return Leads()


def render_for(webhooks: Sequence[Webhook], leads: Callable[[Verdict, Matches], Leads] = nowhere) -> Render:
    """Writes the messages that tell a verdict, one for each destination that takes its severity, in its format."""

    def render(verdict: Verdict, found: Matches) -> list[Delivery]:
        if not webhooks or verdict.alert is None:
            return []
        taking = [webhook for webhook in webhooks if webhook.takes(verdict.alert.severity)]
        now = found.windows.now
        told = telling(verdict, found.rule, found.windows, leads(verdict, found))
        return [
            Delivery(
                id=f"{verdict.alert.alert}_{webhook.name}",
                destination=webhook.name,
                incident=verdict.alert.incident,
                commit=verdict.memory.commits,
                body=FORMATS[webhook.message_format](told),
                created=now,
                due=now,
            )
            for webhook in taking
        ]

    return render


def digest_for(webhooks: Sequence[Webhook], rule: Rule, page: str | None = None) -> RenderDigest:
    """Writes the message that tells many alerts of a rule, one for each destination, in its format. `page` is the pages' address."""
    see = f"{page}/incidents" if page else LIST

    def render(batch: str, began: datetime, shares: Sequence[Share]) -> list[Delivery]:
        name = identity("dg", rule, (), batch)
        told = digest(name, began, shares, rule, see)
        return [
            Delivery(
                id=f"{name}_{webhook.name}",
                destination=webhook.name,
                incident=name,
                commit=1,
                body=DIGESTS[webhook.message_format](told),
                created=began,
                due=began,
            )
            for webhook in webhooks
            if webhook.takes(told.severity)
        ]

    return render


def amended_for(
    webhooks: Sequence[Webhook], incident: Incident, commit: int, now: datetime
) -> list[Delivery]:
    """Says where pages are answered what was done with an incident here."""
    body = resolve(incident.id) if incident.status == "closed" else acknowledge(incident.id)
    return [
        Delivery(f"{incident.id}_{commit}_{webhook.name}", webhook.name, incident.id, commit, body, now, now)
        for webhook in webhooks
        if webhook.message_format == "pagerduty"
    ]
