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
from detection.messages import native, pagerduty, slack, teams
from detection.messages.context import DigestEntry
from detection.messages.text import decreasing_counts, first_that_fits, plural
from detection.rules.model import SEVERITIES, Rule, Severity

INCIDENTS_SHOWN = 50  # incidents in a digest, at most
LIST_COMMAND = "python -m detection incidents list"


@dataclass(frozen=True, slots=True)
class DigestIncident:
    """An incident in a digest: the title and severity of its worst alert, and the sums of all its alerts."""

    incident: str
    opened: bool
    severity: Severity
    title: str
    alerts: int
    changes: int
    signals: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Digest:
    """The alerts of one run in one message: their numbers, and the incidents by severity and size.

    `time` is the moment (UTC) at which the digest began. `more_incidents` counts the incidents that are not
    listed; `full_list` is the command or the address that shows all.
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


@dataclass(frozen=True, slots=True)
class NativeDigest:
    """The message, in the shape that Standard Webhooks recommends."""

    type: Literal["detection.alert.digest"]
    timestamp: datetime
    data: Digest


def make_digest(
    name: str, time: datetime, entries: Sequence[DigestEntry], rule: Rule, full_list: str = LIST_COMMAND
) -> Digest:
    """The digest of some alerts, at least one: the incidents by severity and then by pairs, highest first."""
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
                title=worst.title,
                alerts=len(incident_entries),
                changes=sum(entry.changes for entry in incident_entries),
                signals=sum(entry.signals for entry in incident_entries),
                pairs=sum(entry.pairs for entry in incident_entries),
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
        full_list=full_list,
    )


def as_native(digest: Digest) -> bytes:
    """The digest as this project's own JSON."""
    message = NativeDigest("detection.alert.digest", digest.time, digest)
    return type_adapter(NativeDigest).dump_json(message, ensure_ascii=True)


def as_slack(digest: Digest) -> bytes:
    """The digest as a Slack message. Its lines fill as few sections as the limit of a section allows."""

    def render(shortened: Digest) -> slack.Block:
        texts: list[str] = []
        for line in _lines(shortened):
            if texts and len(texts[-1]) + len(line) < slack.SECTION:
                texts[-1] += f"\n{line}"
            else:
                texts.append(line)
        blocks: list[slack.Block] = [
            {"type": "section", "text": slack.plain(text, slack.SECTION)} for text in texts
        ]
        return slack.message(f"{slack.ICONS[digest.severity]} {digest.title}", blocks, _origin(digest))

    return _render_to_fit(digest, render, slack.MESSAGE_BYTES)


def as_teams(digest: Digest) -> bytes:
    """The digest as an Adaptive Card."""

    def render(shortened: Digest) -> teams.Element:
        blocks = [teams.text_block(line) for line in _lines(shortened)]
        return teams.card(digest.title, digest.severity, blocks, _origin(digest))

    return _render_to_fit(digest, render, teams.MESSAGE_BYTES)


def as_pagerduty(digest: Digest) -> bytes:
    """The digest as a PagerDuty event, which opens an incident of its own there."""

    def render(shortened: Digest) -> pagerduty.Event:
        details = {"Incidents": "\n".join(_lines(shortened)), "From": _origin(digest)}
        return pagerduty.trigger(
            digest.digest, digest.title, digest.severity, digest.rule.name, digest.time, details
        )

    return _render_to_fit(digest, render, pagerduty.MESSAGE_BYTES)


def _render_to_fit(digest: Digest, render: Callable[[Digest], Mapping[str, object]], limit: int) -> bytes:
    """The message as JSON bytes. A message that is too long lists fewer incidents."""
    listed = digest.listed_incidents
    digests = (
        replace(digest, listed_incidents=listed[:count], more_incidents=digest.incidents - count)
        for count in decreasing_counts(len(listed))
    )
    messages = (to_json(render(shortened), ensure_ascii=True) for shortened in digests)
    return first_that_fits(messages, limit)


def _lines(digest: Digest) -> list[str]:
    lines = []
    for incident in digest.listed_incidents:
        size = f"{'opened' if incident.opened else 'updated'}, {plural(incident.pairs, 'pair')}"
        lines.append(f"{slack.ICONS[incident.severity]} {incident.title} ({size}) {incident.incident}")
    if digest.more_incidents:
        lines.append(f"and {plural(digest.more_incidents, 'incident')} more: {digest.full_list}")
    return lines


def _origin(digest: Digest) -> str:
    return f"{digest.rule.name} · run of {iso(digest.time)} · {digest.digest} · full list: {digest.full_list}"
