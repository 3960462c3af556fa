"""Rendering: the messages of an alert, a digest or an update, for each destination in its format."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from detection.correlation.detection import Detection
from detection.delivery.webhook import body_in_every_format
from detection.incidents.decide import Verdict
from detection.incidents.incident import Incident
from detection.incidents.keys import stable_id
from detection.messages.context import NO_LINKS, AlertContext, DigestEntry, alert_context
from detection.messages.digest import (
    Digest,
    as_native,
    as_ocsf,
    as_pagerduty,
    as_slack,
    as_teams,
    make_digest,
)
from detection.messages.links import MessageLinks
from detection.messages.native import native
from detection.messages.ocsf import ocsf
from detection.messages.pagerduty import acknowledge, pagerduty, resolve
from detection.messages.slack import slack
from detection.messages.teams import teams
from detection.rules.model import Rule
from detection.runs.commit import Render
from detection.settings import MessageFormat, Webhook
from detection.store.digest_draft import RenderDigest
from detection.store.outbox import Delivery

FORMATS: Mapping[MessageFormat, Callable[[AlertContext], bytes]] = {
    "native": native,
    "slack": slack,
    "teams": teams,
    "pagerduty": pagerduty,
    "ocsf": ocsf,
}
DIGESTS: Mapping[MessageFormat, Callable[[Digest], bytes]] = {
    "native": as_native,
    "slack": as_slack,
    "teams": as_teams,
    "pagerduty": as_pagerduty,
    "ocsf": as_ocsf,
}

Content = TypeVar("Content")


def message_renderer(
    webhooks: Sequence[Webhook],
    links_for: Callable[[Verdict, Detection], MessageLinks] = lambda *_: NO_LINKS,
) -> Render:
    """Renders a verdict's alert for each destination that accepts its severity, in its format."""

    def render(verdict: Verdict, detection: Detection) -> list[Delivery]:
        if not webhooks or verdict.alert is None:
            return []
        now = detection.windows.now
        context = alert_context(verdict, detection.rule, detection.windows, links_for(verdict, detection))
        return [
            Delivery(
                id=f"{verdict.alert.alert}_{webhook.name}",
                destination=webhook.name,
                incident=verdict.alert.incident,
                commit=verdict.state.commits,
                body=_body(webhook, FORMATS, context),
                created=now,
                due=now,
            )
            for webhook in webhooks
            if webhook.accepts(verdict.alert.severity)
        ]

    return render


def digest_renderer(
    webhooks: Sequence[Webhook],
    rule: Rule,
    page: str | None = None,
    link_to: Callable[[str, datetime], str | None] = lambda *_: None,
) -> RenderDigest:
    """Renders a digest for each destination that accepts its severity.

    `page` is the address of the pages, `link_to` returns the link to an incident by its id and the time of
    the message.
    """
    list_page = f"{page}/incidents" if page else None

    def render(draft_id: str, began: datetime, entries: Sequence[DigestEntry]) -> list[Delivery]:
        name = stable_id("dg", rule, (), draft_id)
        digest = make_digest(name, began, entries, rule, list_page, lambda incident: link_to(incident, began))
        return [
            Delivery(
                id=f"{name}_{webhook.name}",
                destination=webhook.name,
                incident=name,
                commit=1,
                body=_body(webhook, DIGESTS, digest),
                created=began,
                due=began,
            )
            for webhook in webhooks
            if webhook.accepts(digest.severity)
        ]

    return render


def _body(
    webhook: Webhook, renderers: Mapping[MessageFormat, Callable[[Content], bytes]], content: Content
) -> bytes:
    if webhook.message_format:
        return renderers[webhook.message_format](content)
    # The format is set later. PagerDuty would need a routing key, which names the format.
    return body_in_every_format(
        {name: render(content) for name, render in renderers.items() if name != "pagerduty"}
    )


def update_messages(
    webhooks: Sequence[Webhook],
    incident: Incident,
    commit: int,
    now: datetime,
    closed_digests: Collection[str] = (),
) -> list[Delivery]:
    """Acknowledges or resolves the incident in PagerDuty, if its latest act acknowledged or closed it, and
    resolves the digests whose incidents are all closed.

    A silence takes no incident on, and a resolved incident cannot be reopened there.
    """
    updates = {"acknowledged": acknowledge, "closed": resolve}
    if (action := incident.history[-1].action) not in updates:
        return []
    # The messages of a digest are numbered by the time: acts on several incidents may resolve it.
    messages = [(incident.id, commit, updates[action])]
    messages += [(digest, int(now.timestamp()), resolve) for digest in closed_digests]
    return [
        Delivery(f"{name}_{number}_{webhook.name}", webhook.name, name, number, render(name), now, now)
        for name, number, render in messages
        for webhook in webhooks
        if webhook.message_format == "pagerduty"
    ]
