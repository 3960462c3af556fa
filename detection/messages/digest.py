"""Many alerts of a run as one message, a digest: their incidents by severity and size.

A digest is made of the entries that the commits of the alerts left in its draft. The incident store has every
incident with all its alerts.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from pydantic_core import to_json

from detection.base.json_types import type_adapter
from detection.base.timestamps import iso
from detection.messages import native, ocsf, pagerduty, slack, teams
from detection.messages.context import DigestEntry
from detection.messages.text import decreasing_counts, escape_name, first_that_fits, plural
from detection.rules.model import SEVERITIES, Rule, Severity

INCIDENTS_SHOWN = 50  # incidents in a digest, at most
LIST_COMMAND = "python -m detection incidents list"
LIST_LABEL = "All incidents"


@dataclass(frozen=True, slots=True)
class DigestIncident:
    """An incident in a digest: the title and severity of its worst alert, and the sums of all its alerts.

    `severity_text` is the severity with its reason. `page` is the link to the page of the incident; None
    without an address of the pages.
    """

    incident: str
    opened: bool
    severity: Severity
    severity_text: str
    title: str
    alerts: int
    changes: int
    signals: int
    pairs: int
    page: str | None


@dataclass(frozen=True, slots=True)
class Digest:
    """The alerts of one run in one message: their numbers, and the incidents by severity and size.

    `time` is the moment (UTC) at which the digest began. `more_incidents` counts the incidents that are not
    listed; `full_list` is the command or the address that shows all, `page` that address or None.
    `organizations` are the names of the organizations whose logs have the changes.
    """

    digest: str
    title: str
    severity: Severity
    time: datetime
    rule: native.RulePayload
    alerts: int
    incidents: int
    pairs: int
    severity_counts: Mapping[Severity, int]
    listed_incidents: Sequence[DigestIncident]
    more_incidents: int
    full_list: str
    page: str | None
    organizations: Sequence[str]


@dataclass(frozen=True, slots=True)
class NativeDigest:
    """The message, in the shape that Standard Webhooks recommends."""

    type: Literal["detection.alert.digest"]
    timestamp: datetime
    data: Digest


def make_digest(
    name: str,
    time: datetime,
    entries: Sequence[DigestEntry],
    rule: Rule,
    page: str | None = None,
    link_to: Callable[[str], str | None] = lambda _: None,
) -> Digest:
    """The digest of some alerts, at least one: the incidents by severity and then by pairs, highest first.

    `page` is the address of the list of incidents, `link_to` returns the link to an incident by its id.
    """
    entries_by_incident: dict[str, list[DigestEntry]] = {}
    for entry in entries:
        entries_by_incident.setdefault(entry.incident, []).append(entry)
    incidents = []
    for incident_id, incident_entries in entries_by_incident.items():
        worst = max(incident_entries, key=lambda entry: SEVERITIES.index(entry.severity))
        incidents.append(
            DigestIncident(
                incident=incident_id,
                opened=any(entry.opened for entry in incident_entries),
                severity=worst.severity,
                severity_text=worst.severity_text or worst.severity,
                title=worst.title,
                alerts=len(incident_entries),
                changes=sum(entry.changes for entry in incident_entries),
                signals=sum(entry.signals for entry in incident_entries),
                pairs=sum(entry.pairs for entry in incident_entries),
                page=link_to(incident_id),
            )
        )
    incidents.sort(
        key=lambda incident: (SEVERITIES.index(incident.severity), incident.pairs, incident.incident),
        reverse=True,
    )
    pairs = sum(entry.pairs for entry in entries)
    size = f"{plural(len(entries), 'alert')} in {plural(len(incidents), 'incident')}"
    return Digest(
        digest=name,
        title=f"Alert storm: {size}, {plural(pairs, 'pair')} in one run",
        severity=incidents[0].severity,
        time=time,
        rule=native.rule_payload(rule),
        alerts=len(entries),
        incidents=len(incidents),
        pairs=pairs,
        severity_counts=dict(Counter(incident.severity for incident in incidents)),
        listed_incidents=incidents[:INCIDENTS_SHOWN],
        more_incidents=max(len(incidents) - INCIDENTS_SHOWN, 0),
        full_list=page or LIST_COMMAND,
        page=page,
        organizations=sorted({entry.organization for entry in entries if entry.organization}),
    )


def as_native(digest: Digest) -> bytes:
    message = NativeDigest("detection.alert.digest", digest.time, digest)
    return type_adapter(NativeDigest).dump_json(message, ensure_ascii=True)


def as_slack(digest: Digest) -> bytes:
    """The digest as a Slack message: a section for each incident, with its link."""

    def render(shortened: Digest) -> slack.Block:
        blocks: list[slack.Block] = []
        for incident in shortened.listed_incidents:
            block: slack.Block = {"type": "section", "text": slack.plain(_line(incident), slack.SECTION)}
            if incident.page:
                block["fields"] = [slack.link(f"Open {incident.incident}", incident.page)]
            blocks.append(block)
        if remainder := _remainder(shortened):
            blocks.append({"type": "section", "text": slack.plain(remainder, slack.SECTION)})
        if digest.page:
            blocks.append({"type": "section", "text": slack.link(LIST_LABEL, digest.page)})
        return slack.message(f"{slack.ICONS[digest.severity]} {digest.title}", blocks, _origin(digest))

    return _render_to_fit(digest, render, slack.MESSAGE_BYTES, slack.INCIDENTS)


def as_teams(digest: Digest) -> bytes:
    def render(shortened: Digest) -> teams.Element:
        blocks = []
        for incident in shortened.listed_incidents:
            links = {f"Open {incident.incident}": incident.page} if incident.page else {}
            blocks.append(teams.text_block(_line(incident), links))
        if remainder := _remainder(shortened):
            blocks.append(teams.text_block(remainder))
        return teams.card(digest.title, digest.severity, blocks, _origin(digest), _list_link(digest))

    return _render_to_fit(digest, render, teams.MESSAGE_BYTES)


def as_pagerduty(digest: Digest) -> bytes:
    """The digest as a PagerDuty event, which opens an incident of its own there."""
    source = ", ".join(map(escape_name, digest.organizations)) or digest.rule.name

    def render(shortened: Digest) -> pagerduty.Event:
        incidents = shortened.listed_incidents
        lines = [*map(_line, incidents), *filter(None, [_remainder(shortened)])]
        details = {"Incidents": "\n".join(lines), "From": _origin(digest)}
        links = _list_link(digest) | {
            f"Open {incident.incident}": incident.page for incident in incidents if incident.page
        }
        return pagerduty.trigger(
            digest.digest, digest.title, digest.severity, source, digest.time, details, links
        )

    return _render_to_fit(digest, render, pagerduty.MESSAGE_BYTES)


def as_ocsf(digest: Digest) -> bytes:
    """The digest as a Detection Finding, which names the findings of its incidents as related events."""

    def render(shortened: Digest) -> ocsf.Attributes:
        rule = digest.rule
        info: ocsf.Attributes = {
            "uid": digest.digest,
            "title": digest.title,
            "analytic": ocsf.analytic(rule.id, rule.name, rule.version),
            "related_events": [_related_event(incident) for incident in shortened.listed_incidents],
            "related_events_count": digest.incidents,
            **({"src_url": digest.page} if digest.page else {}),
        }
        return ocsf.finding(digest.digest, "opened", digest.severity, digest.time, digest.title, info)

    return _render_to_fit(digest, render, native.MESSAGE_BYTES)


def _related_event(incident: DigestIncident) -> ocsf.Attributes:
    return {
        "uid": incident.incident,
        "title": incident.title,
        "type_uid": ocsf.CLASS * 100 + (1 if incident.opened else 2),
        "severity_id": ocsf.SEVERITY_IDS[incident.severity],
        "severity": incident.severity,
        "desc": incident.severity_text,
        "count": incident.alerts,
        **({"tags": [{"name": "page", "value": incident.page}]} if incident.page else {}),
    }


def _render_to_fit(
    digest: Digest,
    render: Callable[[Digest], Mapping[str, object]],
    limit: int,
    most_incidents: int = INCIDENTS_SHOWN,
) -> bytes:
    """The message as JSON bytes. A message that is too long lists fewer incidents."""
    listed = digest.listed_incidents[:most_incidents]
    digests = (
        replace(digest, listed_incidents=listed[:count], more_incidents=digest.incidents - count)
        for count in decreasing_counts(len(listed))
    )
    messages = (to_json(render(shortened), ensure_ascii=True) for shortened in digests)
    return first_that_fits(messages, limit)


def _line(incident: DigestIncident) -> str:
    size = f"{'opened' if incident.opened else 'updated'}, {plural(incident.pairs, 'pair')}"
    title = f"{slack.ICONS[incident.severity]} {incident.title}"
    return f"{title} ({size}) {incident.incident} · {incident.severity_text}"


def _remainder(digest: Digest) -> str:
    if not digest.more_incidents:
        return ""
    return f"and {plural(digest.more_incidents, 'incident')} more: {digest.full_list}"


def _list_link(digest: Digest) -> dict[str, str]:
    return {LIST_LABEL: digest.page} if digest.page else {}


def _origin(digest: Digest) -> str:
    return f"{digest.rule.name} · run of {iso(digest.time)} · {digest.digest} · full list: {digest.full_list}"
