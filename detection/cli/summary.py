"""Texts of a few lines: the summary of many runs, a run record, the health of a rule, an incident."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from detection.base.timestamps import iso
from detection.desk import IncidentDetail
from detection.logs.coverage import coverage_text, coverage_warning
from detection.messages.text import escape_line, escape_name, plural
from detection.rules.model import Rule
from detection.runs.record import RunFailure, RunRecord, run_time
from detection.runs.replay import Comparison, Replayed
from detection.web.evidence import Cell
from detection.web.incident_view import incident_view

LATEST = 3  # changes, signals and steps of an incident


def summary(rule: Rule, runs: Sequence[Replayed], comparison: Comparison) -> str:
    """Counts of a series of runs, and a comparison with the published rule at the same times.

    Many runs read the same row, so each suppressed count is the largest of any run.
    """
    alerts = [verdict.alert for replayed in runs for verdict in replayed.verdicts if verdict.alert]
    records = [replayed.record for replayed in runs]
    suppressed, last = [record.suppressed for record in records], records[-1]
    pair_count = sum(alert.counts.pairs for alert in alerts)
    silenced = sum(sum(record.silenced.values()) for record in records)
    restamped = max(counts.restamped for counts in suppressed)
    too_late = max(counts.too_late for counts in suppressed)
    in_future = max(counts.in_future for counts in suppressed)
    begin, end = records[0].windows.now, last.windows.now
    facts = [
        (
            "runs",
            f"{len(runs)} hourly, {begin:%d %b %H:%M} to {end:%d %b %H:%M} UTC",
        ),
        *(
            (f"last run, {side}", f"{health.rows:,} rows, {health.named:,} naming an actor")
            for side, health in last.health.items()
        ),
        ("last run, chains", f"{plural(last.chains, 'chain')}, {plural(last.pairs, 'pair')}"),
        ("alerted", f"{plural(pair_count, 'pair')} in {plural(len(alerts), 'alert')}"),
        ("incidents", f"{len({alert.incident for alert in alerts}):,}"),
        (
            "already alerted",
            f"{sum(record.already_alerted for record in records):,} times a run read a pair alerted before",
        ),
        ("suppressed: silenced", f"{plural(silenced, 'pair')} of silenced actors"),
        ("suppressed: re-stamped", f"{plural(restamped, 'pair')} that only a re-stamped row makes"),
        ("suppressed: too late", f"{plural(too_late, 'row')} older than the window"),
        ("suppressed: in future", f"{plural(in_future, 'row')} later than the run"),
        *(
            (f"left out: {reason}", f"{rejected.count:,} (first: {escape_line(rejected.first_location)})")
            for reason, rejected in last.rejected.items()
        ),
    ]
    fact_lines = "\n".join(f"{label:<28} {text}" for label, text in facts)
    published = rule.sequence.published.rule if rule.sequence.published else rule.folder
    return (
        f"{fact_lines}\n\n"
        f"The published rule ({published}) at the same times, without deduplication:\n"
        f"  returned {plural(comparison.returned, 'row')}, "
        f"{comparison.repeated:,} of them for pairs that it had returned before;\n"
        f"  missed {plural(comparison.missed, 'pair')} alerted here, and returned "
        f"{plural(comparison.false, 'pair')} not alerted here."
    )


def record_lines(record: RunRecord) -> list[str]:
    """A complete run: what it read, alerted and suppressed."""
    windows, suppressed, gap = record.windows, record.suppressed, run_row(record)["gap"]
    suppressed_text = (
        f"{record.already_alerted:,} already alerted, {suppressed.restamped:,} re-stamped, "
        f"{suppressed.too_late:,} too late, {suppressed.in_future:,} in future, "
        f"{suppressed.below_threshold:,} below threshold"
    )
    observe_note = " (mode observe: no messages)" if record.mode == "observe" else ""
    facts = [
        ("read", f"changes since {iso(windows.changes.after)}, signals since {iso(windows.signals.after)}"),
        *(
            (side, f"{plural(health.rows, 'row')}, {health.named:,} naming an actor")
            for side, health in record.health.items()
        ),
        ("coverage", coverage_text(record.coverage)),
        ("pairs", f"{record.pairs:,} in {plural(record.chains, 'chain')}, {record.new_pairs:,} new"),
        ("alerts", f"{record.alerts:,}{observe_note}"),
        ("suppressed", suppressed_text),
        *(("silenced", f"{count:,} by {name}") for name, count in record.silenced.items()),
        *([("GAP", f"not read: {gap}")] if gap else []),
        *(("open gap", f"read it with `run --gap {name}`") for name in record.open_gaps),
    ]
    return [f"{record.rule}, run of {iso(windows.now)}", *(f"  {label:<11} {text}" for label, text in facts)]


def run_row(record: RunRecord | RunFailure) -> dict[str, object]:
    """A run as a row of the table of `runs`."""
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
    """The health of a rule in a line; healthy if its last run was complete."""

    text: str
    healthy: bool


def run_health(rule: str, age: timedelta | None, records: Sequence[RunRecord | RunFailure]) -> RunHealth:
    """The age of a rule's last complete run, and the failures since then; `records` are the newest first."""
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
    failure_text = (
        f"; since then {plural(len(failures), 'run')} failed, "
        f"the last at {iso(last.now)}: {last.error}: {escape_line(last.reason)}"
    )
    return RunHealth(text + failure_text, healthy=False)


def coverage_warnings(rules: Sequence[str], records: Sequence[RunRecord | RunFailure]) -> list[str]:
    """The coverage warning of each rule that has one, from its last runs; `records` are the newest first."""
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


def incident_lines(detail: IncidentDetail, rule: Rule) -> list[str]:
    """An incident in as many lines as a terminal shows at once: its newest changes, signals and acts."""
    incident, view = detail.incident, incident_view(detail, rule)
    status = f"closed as {incident.classification}" if incident.classification else incident.status
    people = [
        f"{verb} {escape_name(name)}"
        for verb, name in (("acknowledged by", incident.acknowledged_by), ("assigned to", incident.assignee))
        if name
    ]
    size = f"{plural(incident.pairs, 'pair')} in {plural(incident.alerts, 'alert')}"
    if incident.changes:
        size = f"{plural(incident.changes, 'change')}, {plural(incident.signals, 'signal')}, {size}"
    size += f", {incident.silenced:,} silenced" if incident.silenced else ""
    acts = [
        f"{escape_name(entry.action_text)} {iso(entry.time)} by {escape_name(entry.author)}"
        + (f": {escape_line(entry.note)}" if entry.note else "")
        for entry in incident.history
    ]
    signals = []
    for row in view.evidence.signals[:LATEST]:
        text = f"{iso(row.signal.time)} {_cell_text(row.signal)}, after {_cell_text(row.changes[0])}"
        earlier = len(row.changes) + len(row.more_changes) - 1
        signals.append(text + (f" and {plural(earlier, 'more change')}" if earlier else ""))
    facts = [(name, text) for name, text in view.facts if name not in ("Actor", "Tactics")]
    return [
        f"{view.severity.upper()}  {view.title}",
        *([f"  {view.severity_text}"] if view.severity_text else []),
        f"  {incident.id} · {', '.join([status, *people])} · {detail.rule}",
        f"  opened {iso(incident.opened)}, last new {iso(incident.updated)}; {size}",
        *([f"  after {incident.predecessor}"] if incident.predecessor else []),
        *(f"  {name:<10}  {escape_line(text)}" for name, text in facts),
        *_latest("changed", view.changed[::-1], incident.changes),
        *([f"  {'':<10}  {view.without_object}"] if view.without_object else []),
        *_latest("signals", signals, view.evidence.signal_count),
        *_latest("undo", [undo.step for undo in view.undo], len(view.undo)),
        *_latest("acts", acts[::-1], incident.acts, 5),
    ]


def _latest(name: str, texts: Sequence[str], count: int, shown: int = LATEST) -> list[str]:
    """The first `shown` texts, a line each, and the number of all others."""
    lines = [f"  {name if number == 0 else '':<10}  {text}" for number, text in enumerate(texts[:shown])]
    omitted_count = count - len(lines)
    return [*lines, f"  {'':<10}  and {omitted_count:,} more"] if lines and omitted_count > 0 else lines


def _cell_text(cell: Cell) -> str:
    values = " ".join(escape_name(text, 60) for text in cell.values)
    return f"{escape_line(cell.label)} {values}".strip()
