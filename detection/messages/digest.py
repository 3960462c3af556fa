"""Many alerts as one message: the incidents by severity and size.

It is made of the shares that the alerts' commits left. Every incident is in the table, with all its alerts.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Literal

from pydantic_core import to_json

from detection.base.json_types import type_adapter
from detection.base.timestamps import iso
from detection.messages import native, pagerduty, slack, teams
from detection.messages.context import DigestEntry
from detection.messages.text import decreasing_counts, plural, render_to_fit
from detection.rules.model import SEVERITIES, Rule, Severity

INCIDENTS_SHOWN = 50  # incidents in a digest, at most
LIST_COMMAND = "python -m detection incidents list"


@dataclass(frozen=True, slots=True)
class DigestIncident:
    """What a digest says of an incident: its worst and newest alert in words, and how large all of them are."""

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
    """The alerts of one run, told together: so many in all, the incidents that are named, and how many are not."""

    digest: str
    title: str
    severity: Severity
    time: str
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
    timestamp: str
    data: Digest


def make_digest(
    name: str, time: datetime, entries: Sequence[DigestEntry], rule: Rule, full_list: str = LIST_COMMAND
) -> Digest:
    """The digest of some alerts, at least one; the worst incidents first, among them the largest. `see` is where all are."""
    incidents = sorted(_incidents(entries), key=_weight, reverse=True)
    pairs = sum(entry.pairs for entry in entries)
    size = f"{plural(len(entries), 'alert')} in {plural(len(incidents), 'incident')}"
    return Digest(
        digest=name,
        title=f"Alert storm: {size}, {plural(pairs, 'pair')} in one run",
        severity=incidents[0].severity,
        time=iso(time),
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
    return type_adapter(NativeDigest).dump_json(
        NativeDigest("detection.alert.digest", digest.time, digest), ensure_ascii=True
    )


def as_slack(digest: Digest) -> bytes:
    """The digest as a Slack message."""
    return _render_to_fit(digest, _slack, slack.MESSAGE_BYTES)


def as_teams(digest: Digest) -> bytes:
    """The digest as an Adaptive Card."""
    return _render_to_fit(digest, _teams, teams.MESSAGE_BYTES)


def as_pagerduty(digest: Digest) -> bytes:
    """The digest as an event of PagerDuty, with an incident of its own there."""
    return _render_to_fit(digest, _pagerduty, pagerduty.MESSAGE_BYTES)


def _render_to_fit(digest: Digest, render: Callable[[Digest], Mapping[str, object]], limit: int) -> bytes:
    """The message; where it would be too long, it names fewer incidents."""

    def shortened(incident_count: int) -> bytes:
        shortened_digest = replace(
            digest,
            listed_incidents=digest.listed_incidents[:incident_count],
            more_incidents=digest.incidents - incident_count,
        )
        return to_json(render(shortened_digest), ensure_ascii=True)

    return render_to_fit(decreasing_counts(len(digest.listed_incidents)), shortened, limit)


def _lines(digest: Digest) -> list[str]:
    lines = [
        f"{slack.ICONS[incident.severity]} {incident.title} ({_size(incident)}) {incident.incident}"
        for incident in digest.listed_incidents
    ]
    more_incidents = digest.more_incidents
    return [
        *lines,
        *([f"and {plural(more_incidents, 'incident')} more: {digest.full_list}"] if more_incidents else []),
    ]


def _origin(digest: Digest) -> str:
    return f"{digest.rule.name} · run of {digest.time} · {digest.digest} · all of them: {digest.full_list}"


def _slack(digest: Digest) -> slack.Block:
    blocks: list[slack.Block] = [
        {"type": "section", "text": slack.plain(text, slack.SECTION)}
        for text in _section_texts(_lines(digest))
    ]
    return slack.message(f"{slack.ICONS[digest.severity]} {digest.title}", blocks, _origin(digest))


def _teams(digest: Digest) -> teams.Element:
    return teams.card(
        digest.title, digest.severity, [teams.text_block(line) for line in _lines(digest)], _origin(digest)
    )


def _pagerduty(digest: Digest) -> pagerduty.Event:
    details = {"Incidents": "\n".join(_lines(digest)), "From": _origin(digest)}
    return pagerduty.trigger(
        digest.digest, digest.title, digest.severity, digest.rule.name, digest.time, details
    )


def _section_texts(lines: Sequence[str]) -> Iterator[str]:
    """The lines in as many texts as a section's limit makes of them."""
    text = ""
    for line in lines:
        if text and len(text) + len(line) + 1 > slack.SECTION:
            yield text
            text = ""
        text = f"{text}\n{line}" if text else line
    yield text


def _size(incident: DigestIncident) -> str:
    return f"{'opened' if incident.opened else 'updated'}, {plural(incident.pairs, 'pair')}"


def _incidents(entries: Sequence[DigestEntry]) -> Iterator[DigestIncident]:
    by_incident = attrgetter("incident")
    for incident_id, group in groupby(sorted(entries, key=by_incident), key=by_incident):
        incident_entries = list(group)
        worst = max(incident_entries, key=lambda entry: SEVERITIES.index(entry.severity))
        yield DigestIncident(
            incident=incident_id,
            opened=any(entry.opened for entry in incident_entries),
            severity=worst.severity,
            title=worst.title,
            alerts=len(incident_entries),
            changes=sum(entry.changes for entry in incident_entries),
            signals=sum(entry.signals for entry in incident_entries),
            pairs=sum(entry.pairs for entry in incident_entries),
        )


def _weight(incident: DigestIncident) -> tuple[int, int, str]:
    return SEVERITIES.index(incident.severity), incident.pairs, incident.incident
