"""What a series of runs comes to, in a few lines."""

from collections.abc import Sequence

from detection.messages.text import inert
from detection.replay import Comparison, Replayed
from detection.rule import Rule


def summary(rule: Rule, runs: Sequence[Replayed], compared: Comparison) -> str:
    """Runs, rows, chains, incidents, what was held back and why, and the published rule beside it."""
    alerts = [verdict.alert for one in runs for verdict in one.told if verdict.alert]
    last = runs[-1].record
    read = {
        side: f"{health.rows:,} rows, {health.named:,} naming an actor"
        for side, health in last.health.items()
    }
    lines = [
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
    return "\n".join([f"{name:<30} {text}" for name, text in lines] + ["", *_comparison(rule, compared)])


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
