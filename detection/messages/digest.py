"""Many alerts as one message: the incidents by severity and size. Pure.

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

from detection.adapter import adapter
from detection.incidents.batch import Share
from detection.messages import native, pagerduty, slack, teams
from detection.messages.fitting import fewer, fitting
from detection.messages.text import many
from detection.rule import SEVERITIES, Rule, Severity
from detection.timestamps import iso

NAMED = 50  # incidents in a digest, at most
LIST = "python -m detection incidents list"


@dataclass(frozen=True, slots=True)
class IncidentNamed:
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
    at: str
    rule: native.RuleTold
    alerts: int
    incidents: int
    pairs: int
    severities: Mapping[Severity, int]
    named: Sequence[IncidentNamed]
    more_incidents: int
    see: str


@dataclass(frozen=True, slots=True)
class NativeDigest:
    """The message, in the shape that Standard Webhooks recommends."""

    type: Literal["detection.alert.digest"]
    timestamp: str
    data: Digest


def digest(name: str, at: datetime, shares: Sequence[Share], rule: Rule, see: str = LIST) -> Digest:
    """The digest of some alerts, at least one; the worst incidents first, among them the largest. `see` is where all are."""
    incidents = sorted(_incidents(shares), key=_weight, reverse=True)
    pairs = sum(one.pairs for one in shares)
    size = f"{many(len(shares), 'alert')} in {many(len(incidents), 'incident')}"
    return Digest(
        digest=name,
        title=f"Alert storm: {size}, {many(pairs, 'pair')} in one run",
        severity=incidents[0].severity,
        at=iso(at),
        rule=native.rule_told(rule),
        alerts=len(shares),
        incidents=len(incidents),
        pairs=pairs,
        severities=dict(Counter(one.severity for one in incidents)),
        named=incidents[:NAMED],
        more_incidents=max(len(incidents) - NAMED, 0),
        see=see,
    )


def as_native(told: Digest) -> bytes:
    """The digest as this project's own JSON."""
    return adapter(NativeDigest).dump_json(
        NativeDigest("detection.alert.digest", told.at, told), ensure_ascii=True
    )


def as_slack(told: Digest) -> bytes:
    """The digest as a Slack message."""
    return _fitting(told, _slack, slack.MESSAGE_BYTES)


def as_teams(told: Digest) -> bytes:
    """The digest as an Adaptive Card."""
    return _fitting(told, _teams, teams.MESSAGE_BYTES)


def as_pagerduty(told: Digest) -> bytes:
    """The digest as an event of PagerDuty, with an incident of its own there."""
    return _fitting(told, _pagerduty, pagerduty.MESSAGE_BYTES)


def _fitting(told: Digest, render: Callable[[Digest], Mapping[str, object]], limit: int) -> bytes:
    """The message; where it would be too long, it names fewer incidents."""

    def shortened(shown: int) -> bytes:
        fewer = replace(told, named=told.named[:shown], more_incidents=told.incidents - shown)
        return to_json(render(fewer), ensure_ascii=True)

    return fitting(fewer(len(told.named)), shortened, limit)


def _lines(told: Digest) -> list[str]:
    lines = [f"{slack.ICONS[one.severity]} {one.title} ({_size(one)}) {one.incident}" for one in told.named]
    more = told.more_incidents
    return [*lines, *([f"and {many(more, 'incident')} more: {told.see}"] if more else [])]


def _origin(told: Digest) -> str:
    return f"{told.rule.name} · run of {told.at} · {told.digest} · all of them: {told.see}"


def _slack(told: Digest) -> slack.Block:
    blocks: list[slack.Block] = [
        {"type": "section", "text": slack.plain(text, slack.SECTION)} for text in _texts(_lines(told))
    ]
    return slack.message(f"{slack.ICONS[told.severity]} {told.title}", blocks, _origin(told))


def _teams(told: Digest) -> teams.Element:
    return teams.card(told.title, told.severity, [teams.runs(line) for line in _lines(told)], _origin(told))


def _pagerduty(told: Digest) -> pagerduty.Event:
    details = {"Incidents": "\n".join(_lines(told)), "From": _origin(told)}
    return pagerduty.trigger(told.digest, told.title, told.severity, told.rule.name, told.at, details)


def _texts(lines: Sequence[str]) -> Iterator[str]:
    """The lines in as many texts as a section's limit makes of them."""
    text = ""
    for line in lines:
        if text and len(text) + len(line) + 1 > slack.SECTION:
            yield text
            text = ""
        text = f"{text}\n{line}" if text else line
    yield text


def _size(one: IncidentNamed) -> str:
    return f"{'opened' if one.opened else 'updated'}, {many(one.pairs, 'pair')}"


def _incidents(shares: Sequence[Share]) -> Iterator[IncidentNamed]:
    by_incident = attrgetter("incident")
    for name, some in groupby(sorted(shares, key=by_incident), key=by_incident):
        own = list(some)
        worst = max(own, key=lambda one: SEVERITIES.index(one.severity))
        yield IncidentNamed(
            incident=name,
            opened=any(one.opened for one in own),
            severity=worst.severity,
            title=worst.title,
            alerts=len(own),
            changes=sum(one.changes for one in own),
            signals=sum(one.signals for one in own),
            pairs=sum(one.pairs for one in own),
        )


def _weight(one: IncidentNamed) -> tuple[int, int, str]:
    return SEVERITIES.index(one.severity), one.pairs, one.incident
