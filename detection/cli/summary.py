"""What a series of runs comes to, in a few lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from detection.coverage import in_words, warning
from detection.job import KnownIncident
from detection.messages.text import inert, lines, many
from detection.record import Failure, Record, moment_of
from detection.replay import Comparison, Replayed
from detection.rule import Rule, load_rule
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
    nobody = " (observing: nobody is paged)" if record.mode == "observe" else ""
    told = f"{record.new_pairs:,} new, {record.told:,} alerts{nobody}"
    outside = f"{held.too_late:,} too late, {held.waiting:,} ahead of now"
    return [
        f"{record.rule}, run of {iso(windows.now)}",
        f"  read      changes since {iso(windows.changes.after)}, signals since {iso(windows.signals.after)}",
        *(
            f"  {side:<9} {one.rows:,} rows, {one.named:,} naming an actor"
            for side, one in record.health.items()
        ),
        f"  coverage  {in_words(record.coverage)}",
        f"  pairs     {record.pairs:,} in {record.chains:,} chains, {told}",
        f"  held back {record.told_before:,} told before, {held.restamped:,} re-stamped, {outside}",
        *(f"  silenced  {number:,} by {name}" for name, number in record.silenced.items()),
        *(
            [f"  minimum   {held.below_minimum:,} signals of which there are not enough yet"]
            if held.below_minimum
            else []
        ),
        *([f"  GAP       nobody has read {run_row(record)['gap']}"] if windows.gap else []),
    ]


def run_row(record: Record | Failure) -> dict[str, object]:
    """A run as a row of a table."""
    row = {"rule": record.rule, "at": iso(moment_of(record)), "outcome": record.outcome}
    if isinstance(record, Failure):
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
        "alerts": record.told,
        "coverage": f"{covered.matched}/{covered.identities}" if (covered := record.coverage) else "",
        "gap": f"{iso(gap.after)} to {iso(gap.until)}" if gap and gap.until else "",
        "reason": "",
    }


@dataclass(frozen=True, slots=True)
class Standing:
    """How a rule stands, in a line; good if its last run was complete."""

    text: str
    good: bool


def standing(rule: str, age: timedelta | None, records: Sequence[Record | Failure]) -> Standing:
    """When a rule was last read to the end, and why not since; `records` are the newest first."""
    text = f"{rule}: " + (
        f"the last complete run was {age} ago" if age is not None else "no complete run yet"
    )
    failures: list[Failure] = []
    for record in (one for one in records if one.rule == rule):
        if not isinstance(record, Failure):
            break
        failures.append(record)
    if not failures:
        return Standing(text, good=age is not None)
    last = failures[0]
    why = f"; since then {many(len(failures), 'run')} failed, the last at {iso(last.now)}: {last.error}: {inert(last.reason)}"
    return Standing(text + why, good=False)


def blind_rules(rules: Sequence[str], records: Sequence[Record | Failure]) -> list[str]:
    """What is to be said of the rules whose callers are not whom the audit log knows; `records` are the newest first."""
    said = []
    for rule in rules:
        seen = [one.coverage for one in records if isinstance(one, Record) and one.rule == rule]
        if text := warning(seen[0] if seen else None, [one for one in seen[1:] if one]):
            said.append(f"{rule}: {text}")
    return said


def incident_lines(known: KnownIncident) -> list[str]:
    """An incident with its alerts, as an on-call reads it."""
    incident, rule = known.incident, load_rule(known.rule)
    judged = f" as {incident.classification}" if incident.classification else ""
    size = f"{many(incident.alerts, 'alert')}, {many(incident.pairs, 'pair')}"
    size += f", {incident.silenced:,} silenced" if incident.silenced else ""
    return [
        f"{incident.id} of {', '.join(inert(value) for _, value in known.key)}: {incident.status}{judged}",
        f"  opened {iso(incident.opened)}, updated {iso(incident.updated)}; {size}",
        *([f"  after {incident.predecessor}"] if incident.predecessor else []),
        *(
            f"  {act.what} {iso(act.at)} by {inert(act.by)}{': ' if act.note else ''}{inert(act.note)}"
            for act in incident.history
        ),
        "",
        *(line for alert in known.alerts for line in (*lines(alert, rule), "")),
    ]
