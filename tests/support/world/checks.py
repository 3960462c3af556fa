"""Compares the promise with what the table took: pairs, messages, incidents."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

from detection.incidents.incident import ALERTS_PER_INCIDENT, Incident
from detection.incidents.keys import Key
from detection.store.gaps import Gap
from detection.store.incident_list import IncidentList
from detection.store.outbox import Outbox
from tests.support.builders import DAY, HOUR
from tests.support.world.history import History, Ledger
from tests.support.world.promise import Promise, PromiseMaker
from tests.support.world.views import Candidate, key_of


def problems_of(history: History) -> list[str]:
    """What contradicts the promise, in words; nothing if it was kept."""
    problems: list[str] = []
    history.figures["worlds"] += 1
    history.figures["late"] += sum(row.arrived - row.time > HOUR for row in history.world.rows)
    for edit in history.world.edits:
        history.figures[f"edits of {edit.kind}"] += 1
    for ledger in history.ledgers.values():
        promise = PromiseMaker(history.world, ledger).promise()
        problems += [
            f"wrong incident: {alert.id} of {alert.key} holds {ids} of {key}"
            for alert in ledger.alerts
            for ids in alert.pairs
            if (pair := promise.candidates.get(ids))
            and alert.key != (key := key_of(pair, alert.configuration))
        ]
        problems += _gap_problems(ledger)
        problems += _pair_problems(history, ledger, promise)
        problems += _message_problems(history, ledger)
        problems += _alert_problems(history, ledger)
    return problems


def _pair_problems(history: History, ledger: Ledger, promise: Promise) -> list[str]:
    """Every promised pair is alerted once, and only allowed pairs are."""
    alerted = ledger.alerted_pairs
    lost = sorted(promise.promised - alerted.keys())
    wrong = sorted(alerted.keys() - promise.allowed)
    twice = {pair: times for pair, times in alerted.items() if times > 1 and pair not in promise.retimed}
    limits = {"covered by a flood": promise.covered, "unalerted by an edit": promise.edited}
    unread = {
        pair
        for pair, time in promise.gap.items()
        if pair not in alerted
        and _lies_in(time, [gap for gap in ledger.gaps.values() if gap.state == "open"])
    }
    history.figures.update(
        floods=len(ledger.floods),
        gaps=len(ledger.gaps),
        pairs=len(promise.promised | alerted.keys()),
        silenced=len(promise.silenced - alerted.keys()),
        alerts=len(ledger.alerts),
        lost=len(lost),
        twice=sum(times - 1 for times in twice.values()),
        wrong=len(wrong),
        **{name: len(pairs - alerted.keys()) for name, pairs in limits.items()},
        **{"twice by a new time outside a flood": sum(alerted[pair] > 1 for pair in promise.retimed)},
        **{"alerted after a silence by a new time": len(promise.unsilenced & alerted.keys())},
        **{"in an open gap": len(unread)},
        **{"in a gap that was read": len(promise.gap.keys() - alerted.keys() - unread)},
        **{"gaps read": sum(gap.state == "read" for gap in ledger.gaps.values())},
    )
    problems = [f"lost {pair}" for pair in lost]
    problems += [f"wrong: alerted {pair}, which no run read as a pair" for pair in wrong]
    problems += [f"twice: alerted {pair} {times} times" for pair, times in twice.items()]
    problems += [
        f"lost {pair}: a run no longer read its signal of {time}, and it lies in no recorded gap"
        for pair, time in promise.gap.items()
        if pair not in alerted and not _lies_in(time, ledger.gaps.values())
    ]
    if not _is_pairing_edited(ledger):
        problems += [
            f"lost {pair}: the gap of its signal of {time} was read"
            for pair, time in promise.gap.items()
            if pair not in alerted and pair not in unread and _has_one_time(promise.candidates[pair])
        ]
    return problems


def _is_pairing_edited(ledger: Ledger) -> bool:
    """Whether the runs paired by different settings: a gap may be read by another rule than the rule that left
    it. An edit of the grouping may edit the threshold, too.
    """
    configurations = [execution.configuration for execution in ledger.executions]
    return (
        len(
            {
                (setting.threshold, setting.within, setting.identity, setting.mapping)
                for setting in configurations
            }
        )
        > 1
    )


def _has_one_time(pair: Candidate) -> bool:
    """Whether each event of a pair has one own time. By the earliest of several, it may be no pair."""
    return len(set(pair.change.times)) == len(set(pair.signal.times)) == 1


def _lies_in(time: datetime, gaps: Iterable[Gap]) -> bool:
    return any(gap.after < time <= gap.until for gap in gaps)


def _gap_problems(ledger: Ledger) -> list[str]:
    """A gap that was read was read part by part, without a part left out."""
    parts = [execution.part for execution in ledger.executions if execution.finished and execution.part]
    problems: list[str] = []
    for gap in ledger.gaps.values():
        read_until = gap.after
        for part in sorted(parts, key=lambda part: part.after):
            if part.gap == gap.id and part.after <= read_until:
                read_until = max(read_until, part.until)
        if read_until < (gap.until if gap.state == "read" else gap.read_until or gap.after):
            problems.append(f"gap {gap.id} is not read whole: up to {read_until}")
    return problems


def _message_problems(history: History, ledger: Ledger) -> list[str]:
    """Every alert is in one message, and nothing is left of digest drafts but their ends."""
    messages = [queued.delivery for queued in Outbox(history.table, ledger.folder).waiting("soc")]
    history.figures["digests"] += sum(delivery.incident.startswith("digest") for delivery in messages)
    named = Counter(name for delivery in messages for name in json.loads(delivery.body))
    rows = history.table.scan(ledger.folder, "s|", "s}")
    problems = ["a digest entry is left behind"] * any("published" not in row.values for row in rows)
    if named != Counter(alert.id for alert in ledger.alerts):
        problems.append("an alert is in no message, or in two")
    return problems


def _alert_problems(history: History, ledger: Ledger) -> list[str]:
    """The alerts are in the table, and in incidents of their key whose numbers add up."""
    alerts = {alert.alert: alert for alert in IncidentList(history.table, ledger.folder).alerts()}
    incidents = {
        incident.id: (key, incident)
        for key, incident in IncidentList(history.table, ledger.folder).incidents()
    }
    problems: list[str] = []
    if len({alert.id for alert in ledger.alerts}) < len(ledger.alerts):
        problems.append("two alerts have one id")
    if any(alert.pair_count != len(alert.pairs) for alert in ledger.alerts):
        problems.append("the alerts do not count their pairs")
    expired = (ledger.watermark or history.latest_moment) - history.world.retention
    if any(alert.id not in alerts and alert.time >= expired for alert in ledger.alerts):
        problems.append("an alert is not in the table")
    # An incident goes with the first of its alerts.
    removed = {alert.incident for alert in ledger.alerts if alert.time < expired} - incidents.keys()
    problems += [
        f"wrong incident: {alert.id} belongs to no incident of its key"
        for alert in ledger.alerts
        if alert.incident not in removed
        and (alert.incident not in incidents or incidents[alert.incident][0] != alert.key)
    ]
    for name, (_, incident) in incidents.items():
        own = [alert for alert in ledger.alerts if alert.incident == name]
        if (len(own), sum(alert.pair_count for alert in own)) != (incident.alerts, incident.pairs):
            problems.append(f"wrong incident: the numbers of {name} do not add up")
        if name in ledger.closed and replace(incident, silenced=0) != replace(
            ledger.closed[name], silenced=0
        ):
            problems.append(f"wrong incident: {name} changed after it was closed")
    return problems


def incident_problems(history: History, folder: str) -> list[str]:
    """What contradicts the rules of incidents at this moment."""
    problems: list[str] = []
    incidents_by_key: dict[Key, list[Incident]] = {}
    stored = IncidentList(history.table, folder).incidents()
    for key, incident in sorted(stored, key=lambda keyed_incident: keyed_incident[1].number):
        incidents_by_key.setdefault(key, []).append(incident)
    for key, incidents in incidents_by_key.items():
        accepting = [
            incident
            for incident in incidents
            if incident.status == "new"
            and history.latest_clock <= incident.opened + DAY
            and incident.alerts < ALERTS_PER_INCIDENT
        ]
        if len(accepting) > 1:
            problems.append(f"wrong incident: {len(accepting)} incidents of {key} accept alerts")
        if any(incident.alerts > ALERTS_PER_INCIDENT for incident in incidents):
            problems.append(f"wrong incident: an incident of {key} has too many alerts")
        if any(later.predecessor != earlier.id for earlier, later in pairwise(incidents)):
            problems.append(f"wrong incident: an incident of {key} does not name its predecessor")
    return problems
