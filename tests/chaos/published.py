"""The published rule on its own schedule over the same logs: what it returns, run by run, and what it never does.

It is the real rule, executed over what had arrived at each moment. Like Sentinel, it remembers nothing from run to run.
"""

from collections import Counter
from collections.abc import Container, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from detection.matches import matches_at
from detection.messages.text import many
from detection.rule import load_rule
from detection.sources.files import Files
from tests.chaos.world import FIRST, HOUR, Pair, expected, write_logs

PUBLISHED = load_rule("openai-config-to-abuse-sentinel")
HOURS = 30  # after the first run; by then no pair is in its windows any more
MISSED: Mapping[str, Container[int]] = {
    "every hour": (),
    "one run fails": (3,),
    "an outage of 12 hours": range(2, 14),
    "an outage of 24 hours": range(2, 26),
}


def returned(source: Files) -> dict[int, set[Pair]]:
    """The pairs that a run returns, by its hour after the first."""
    return {hour: _pairs(source, hour) for hour in range(HOURS)}


def _pairs(source: Files, hour: int) -> set[Pair]:
    chains = matches_at(PUBLISHED, FIRST + hour * HOUR, source).chains
    return {(change.id, signal.id) for one in chains for change, signal in one.pairs()}


def table() -> str:
    """What the published rule loses and repeats, by schedule, as Markdown."""
    wanted = expected()
    rows = ["| its runs | pairs | never returned | returned again |", "|---|---|---|---|"]
    with TemporaryDirectory() as folder:
        write_logs(Path(folder))
        by_hour = returned(Files(Path(folder), PUBLISHED.tables, arrival="stamped"))
    for name, missed in MISSED.items():
        found = Counter(pair for hour, pairs in by_hour.items() if hour not in missed for pair in pairs)
        again = many(sum(number - 1 for number in found.values()), "time")
        rows.append(f"| {name} | {len(wanted)} | {len(wanted.keys() - found.keys())} | {again} |")
    return "\n".join(rows) + "\n"
