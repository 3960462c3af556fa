"""What a series of runs comes to, in a few lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from detection.base.timestamps import iso
from detection.desk import IncidentDetail
from detection.logs.coverage import coverage_text, coverage_warning
from detection.messages.text import escape_line, lines, plural
from detection.rules.loading import load_rule
from detection.rules.model import Rule
from detection.runs.record import RunFailure, RunRecord, run_time
from detection.runs.replay import Comparison, Replayed


def summary(rule: Rule, runs: Sequence[Replayed], comparison: Comparison) -> str:
    """Runs, rows, chains, incidents, what was held back and why, and the published rule beside it."""
    alerts = [verdict.alert for replayed in runs for verdict in replayed.verdicts if verdict.alert]
    last = runs[-1].record
    health_texts = {
        side: f"{health.rows:,} rows, {health.named:,} naming an actor"
        for side, health in last.health.items()
    }
    facts = [
        (
            "runs",
            f"{len(runs)} hourly, {runs[0].record.windows.now:%d %b %H:%M} to {last.windows.now:%d %b %H:%M} UTC",
        ),
        *((f"last run, {side}", text) for side, text in health_texts.items()),
        ("chains in view", f"{last.chains} at the last run, {last.pairs:,} pairs"),
        ("told", f"{sum(alert.counts.pairs for alert in alerts):,} pairs in {len(alerts)} alerts"),
        ("incidents", f"{len({alert.incident for alert in alerts})}"),
        (
            "told before",
            f"{sum(replayed.record.already_alerted for replayed in runs):,} times a pair in view was held back as told",
        ),
        *_suppressed_facts(runs),
        *(
            (f"left out: {reason}", f"{rejected.count:,} (first: {escape_line(rejected.first_location)})")
            for reason, rejected in last.rejected.items()
        ),
    ]
    return "\n".join([f"{name:<30} {text}" for name, text in facts] + ["", *_comparison(rule, comparison)])


def _suppressed_facts(runs: Sequence[Replayed]) -> list[tuple[str, str]]:
    """The same row is seen by many runs; the most that any run held back is what there was."""
    suppressed_by_run = [replayed.record.suppressed for replayed in runs]
    return [
        (
            "held back: re-stamped rows",
            f"{max(suppressed.restamped for suppressed in suppressed_by_run)} pairs that only the arrival stamp makes",
        ),
        (
            "held back: too late",
            f"{max(suppressed.too_late for suppressed in suppressed_by_run)} rows older than the window",
        ),
        ("held back: ahead of now", f"{max(suppressed.in_future for suppressed in suppressed_by_run)} rows"),
    ]


def _comparison(rule: Rule, comparison: Comparison) -> list[str]:
    published = rule.sequence.published
    name = published.rule if published else rule.folder
    return [
        f"The published rule ({name}) at the same {'' if published else 'own '}moments, without a memory of its own:",
        f"  returned {comparison.returned:,} rows, {comparison.repeated:,} of them again and again;",
        f"  missed {comparison.missed:,} of the pairs told here, and returned {comparison.false:,} that never were.",
    ]


def record_lines(record: RunRecord) -> list[str]:
    """A run in a few lines: what it read, what it told, what it held back."""
    windows, suppressed = record.windows, record.suppressed
    observe_note = " (observing: nobody is paged)" if record.mode == "observe" else ""
    alert_text = f"{record.new_pairs:,} new, {record.alerts:,} alerts{observe_note}"
    outside_text = f"{suppressed.too_late:,} too late, {suppressed.in_future:,} ahead of now"
    return [
        f"{record.rule}, run of {iso(windows.now)}",
        f"  read      changes since {iso(windows.changes.after)}, signals since {iso(windows.signals.after)}",
        *(
            f"  {side:<9} {side_health.rows:,} rows, {side_health.named:,} naming an actor"
            for side, side_health in record.health.items()
        ),
        f"  coverage  {coverage_text(record.coverage)}",
        f"  pairs     {record.pairs:,} in {record.chains:,} chains, {alert_text}",
        f"  held back {record.already_alerted:,} told before, {suppressed.restamped:,} re-stamped, {outside_text}",
        *(f"  silenced  {number:,} by {name}" for name, number in record.silenced.items()),
        *(
            [f"  threshold {suppressed.below_threshold:,} signals of which there are not enough yet"]
            if suppressed.below_threshold
            else []
        ),
        *([f"  GAP       nobody has read {run_row(record)['gap']}"] if windows.gap else []),
    ]


def run_row(record: RunRecord | RunFailure) -> dict[str, object]:
    """A run as a row of a table."""
    row = {"rule": record.rule, "time": iso(run_time(record)), "outcome": record.outcome}
    if isinstance(record, RunFailure):
        counts = ("changes", "signals", "chains", "pairs", "new_pairs", "silenced", "alerts", "coverage")
        return row | dict.fromkeys(counts) | {"gap": "", "reason": f"{record.error}: {record.reason}"}
    gap = record.windows.gap
    return row | {
        "changes": record.changes,
        "signals": record.signals,
        "chains": record.chains,
        "pairs": record.pairs,
        "new_pairs": record.new_pairs,
        "silenced": sum(record.silenced.values()),
        "alerts": record.alerts,
        "coverage": f"{coverage.matched}/{coverage.identities}" if (coverage := record.coverage) else "",
        "gap": f"{iso(gap.after)} to {iso(gap.until)}" if gap and gap.until else "",
        "reason": "",
    }


@dataclass(frozen=True, slots=True)
class RunHealth:
    """How a rule stands, in a line; good if its last run was complete."""

    text: str
    healthy: bool


def run_health(rule: str, age: timedelta | None, records: Sequence[RunRecord | RunFailure]) -> RunHealth:
    """When a rule was last read to the end, and why not since; `records` are the newest first."""
    text = f"{rule}: " + (
        f"the last complete run was {age} ago" if age is not None else "no complete run yet"
    )
    failures: list[RunFailure] = []
    for record in (run_record for run_record in records if run_record.rule == rule):
        if not isinstance(record, RunFailure):
            break
        failures.append(record)
    if not failures:
        return RunHealth(text, healthy=age is not None)
    last = failures[0]
    reason_text = f"; since then {plural(len(failures), 'run')} failed, the last at {iso(last.now)}: {last.error}: {escape_line(last.reason)}"
    return RunHealth(text + reason_text, healthy=False)


def blind_rules(rules: Sequence[str], records: Sequence[RunRecord | RunFailure]) -> list[str]:
    """What is to be said of the rules whose callers are not whom the audit log knows; `records` are the newest first."""
    warnings = []
    for rule in rules:
        coverages = [
            record.coverage for record in records if isinstance(record, RunRecord) and record.rule == rule
        ]
        if text := coverage_warning(
            coverages[0] if coverages else None, [coverage for coverage in coverages[1:] if coverage]
        ):
            warnings.append(f"{rule}: {text}")
    return warnings


def incident_lines(detail: IncidentDetail) -> list[str]:
    """An incident with its alerts, as an on-call reads it."""
    incident, rule = detail.incident, load_rule(detail.rule)
    classification_text = f" as {incident.classification}" if incident.classification else ""
    size = f"{plural(incident.alerts, 'alert')}, {plural(incident.pairs, 'pair')}"
    size += f", {incident.silenced:,} silenced" if incident.silenced else ""
    return [
        f"{incident.id} of {', '.join(escape_line(value) for _, value in detail.key)}: {incident.status}{classification_text}",
        f"  opened {iso(incident.opened)}, updated {iso(incident.updated)}; {size}",
        *([f"  after {incident.predecessor}"] if incident.predecessor else []),
        *(
            f"  {entry.action} {iso(entry.time)} by {escape_line(entry.author)}{': ' if entry.note else ''}{escape_line(entry.note)}"
            for entry in incident.history
        ),
        "",
        *(line for alert in detail.alerts for line in (*lines(alert, rule), "")),
    ]
