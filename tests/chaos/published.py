"""The published rule on its own schedule over the same logs: what it returns, run by run, and what it never does.

It is the real rule, executed over what had arrived at each moment. Like Sentinel, it remembers nothing from run to run.
"""

from collections import Counter
from collections.abc import Container, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from detection.correlation.detection import detect_at
from detection.logs.files.source import FileSource
from detection.messages.text import plural
from detection.rules.loading import load_rule
from tests.chaos.world import FIRST_RUN, HOUR, Pair, expected, write_logs

PUBLISHED = load_rule("openai-config-to-abuse-sentinel")
HOURS = 30  # after the first run; by then no pair is in its windows any more
MISSED: Mapping[str, Container[int]] = {
    "every hour": (),
    "one run fails": (3,),
    "an outage of 12 hours": range(2, 14),
    "an outage of 24 hours": range(2, 26),
}


def returned_pairs(source: FileSource) -> dict[int, set[Pair]]:
    """The pairs that a run returns, by its hour after the first."""
    return {hour: _pairs(source, hour) for hour in range(HOURS)}


def _pairs(source: FileSource, hour: int) -> set[Pair]:
    chains = detect_at(PUBLISHED, FIRST_RUN + hour * HOUR, source).chains
    return {(change.id, signal.id) for chain in chains for change, signal in chain.pairs()}


def table() -> str:
    """What the published rule loses and repeats, by schedule, as Markdown."""
    expected_pairs = expected()
    rows = ["| its runs | pairs | never returned | returned again |", "|---|---|---|---|"]
    with TemporaryDirectory() as folder:
        write_logs(Path(folder))
        by_hour = returned_pairs(FileSource(Path(folder), PUBLISHED.tables, arrival="stamped"))
    for name, missed_hours in MISSED.items():
        return_counts = Counter(
            pair for hour, pairs in by_hour.items() if hour not in missed_hours for pair in pairs
        )
        repeats = plural(sum(number - 1 for number in return_counts.values()), "time")
        rows.append(
            f"| {name} | {len(expected_pairs)} | {len(expected_pairs.keys() - return_counts.keys())} | {repeats} |"
        )
    return "\n".join(rows) + "\n"
