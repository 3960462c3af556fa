"""What a series of runs comes to, in a few lines."""

from collections.abc import Sequence

from detection.job import KnownIncident
from detection.messages.text import inert, lines, many
from detection.replay import Comparison, Replayed
from detection.rule import Rule, load_rule
from detection.run import Record
from detection.timestamps import iso


def summary(rule: Rule, runs: Sequence[Replayed], compared: Comparison) -> str:
    """Runs, rows, chains, incidents, what was held back and why, and the published rule beside it."""
    alerts = [verdict.alert for one in runs for verdict in one.told if verdict.alert]
    last = runs[-1].record
    read = {
        side: f"{health.rows:,} rows, {health.named:,} naming an actor"
        for side, health in last.health.items()
    }
    facts = [
        (
            "runs",
            f"{len(runs)} hourly, {runs[0].record.windows.now:%d %b %H:%M} to {last.windows.now:%d %b %H:%M} UTC",
        ),
        *((f"last run, {side}", text) for side, text in read.items()),
        ("chains in view", f"{last.chains} at the last run, {last.pairs:,} pairs"),
        ("told", f"{sum(alert.counts.pairs for alert in alerts):,} pairs in {len(alerts)} alerts"),
        ("incidents", f"{len({alert.incident for alert in alerts})}"),
        (
            "told before",
            f"{sum(one.record.told_before for one in runs):,} times a pair in view was held back as told",
        ),
        *_held_back(runs),
        *(
            (f"left out: {reason}", f"{one.count:,} (first: {inert(one.first)})")
            for reason, one in last.rejected.items()
        ),
    ]
    return "\n".join([f"{name:<30} {text}" for name, text in facts] + ["", *_comparison(rule, compared)])


def _held_back(runs: Sequence[Replayed]) -> list[tuple[str, str]]:
    """The same row is seen by many runs; the most that any run held back is what there was."""
    held = [one.record.held_back for one in runs]
    return [
        (
            "held back: re-stamped rows",
            f"{max(one.restamped for one in held)} pairs that only the arrival stamp makes",
        ),
        ("held back: too late", f"{max(one.too_late for one in held)} rows older than the window"),
        ("held back: ahead of now", f"{max(one.waiting for one in held)} rows"),
    ]


def _comparison(rule: Rule, compared: Comparison) -> list[str]:
    published = rule.sequence.published
    name = published.rule if published else rule.folder
    return [
        f"The published rule ({name}) at the same {'' if published else 'own '}moments, without a memory of its own:",
        f"  returned {compared.returned:,} rows, {compared.repeated:,} of them again and again;",
        f"  missed {compared.missed:,} of the pairs told here, and returned {compared.false:,} that never were.",
    ]


def record_lines(record: Record) -> list[str]:
    """A run in a few lines: what it read, what it told, what it held back."""
    windows, held = record.windows, record.held_back
    told = f"{record.new_pairs:,} new, {len(record.alerts):,} alerts"
    outside = f"{held.too_late:,} too late, {held.waiting:,} ahead of now"
    return [
        f"{record.rule}, run of {iso(windows.now)}",
        f"  read      changes since {iso(windows.changes.after)}, signals since {iso(windows.signals.after)}",
        *(
            f"  {side:<9} {one.rows:,} rows, {one.named:,} naming an actor"
            for side, one in record.health.items()
        ),
        f"  pairs     {record.pairs:,} in {record.chains:,} chains, {told}",
        f"  held back {record.told_before:,} told before, {held.restamped:,} re-stamped, {outside}",
        *([f"  GAP       nobody has read {run_row(record)['gap']}"] if windows.gap else []),
    ]


def run_row(record: Record) -> dict[str, object]:
    """A run as a row of a table."""
    gap = record.windows.gap
    return {
        "rule": record.rule,
        "at": iso(record.windows.now),
        "changes": record.changes,
        "signals": record.signals,
        "chains": record.chains,
        "pairs": record.pairs,
        "new_pairs": record.new_pairs,
        "alerts": len(record.alerts),
        "gap": f"{iso(gap.after)} to {iso(gap.until)}" if gap and gap.until else "",
    }


def incident_lines(known: KnownIncident) -> list[str]:
    """An incident with its alerts, as an on-call reads it."""
    incident, rule = known.incident, load_rule(known.rule)
    judged = (
        f", closed as {incident.classification} {inert(incident.note)}" if incident.status == "closed" else ""
    )
    size = f"{many(incident.alerts, 'alert')}, {many(incident.pairs, 'pair')}"
    return [
        f"{incident.id} of {', '.join(inert(value) for _, value in known.key)}: {incident.status}{judged}",
        f"  opened {iso(incident.opened)}, updated {iso(incident.updated)}; {size}",
        *([f"  after {incident.predecessor}"] if incident.predecessor else []),
        "",
        *(line for alert in known.alerts for line in (*lines(alert, rule), "")),
    ]
