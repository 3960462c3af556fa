"""The quick checks, for the function `health`: each time one query for each source, and a few table requests.

Left out is what costs more, writes, or sends: `python -m detection check` has all of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import TypeAdapter

from detection.check import basics, keeping
from detection.check.bench import Bench
from detection.check.failing import tried
from detection.check.finding import Finding, Level, green
from detection.check.judging import SILENT, judge_age
from detection.check.order import Check, run
from detection.check.questions import newest_query
from detection.check.workspaces import SourceOf, arrivals_in, sources_of
from detection.job import Clock
from detection.timestamps import iso

PATIENCE = 30.0  # seconds in which a question may be sent again; whoever asks waits for the answer


@dataclass(frozen=True, slots=True)
class Health:
    """The answer: the worst of the findings, when they were made (ISO 8601, UTC), and all of them."""

    status: Level
    at: str
    findings: Sequence[Finding]


HEALTH = TypeAdapter(Health)


def health(environment: Mapping[str, str], clock: Clock) -> tuple[int, bytes]:
    """The HTTP status and the JSON body: 200 unless something is red, then 503. No secret and no setting's value is in it."""
    findings = looked_at(Bench(environment, clock))
    answer = Health(worst(findings), iso(clock()), findings)
    return 503 if answer.status == "red" else 200, HEALTH.dump_json(answer)


def looked_at(bench: Bench) -> list[Finding]:
    """The findings of the quick checks."""
    return list(run(_quick(bench)))


def worst(findings: Sequence[Finding]) -> Level:
    """The worst level among them."""
    levels = {finding.level for finding in findings}
    return "red" if "red" in levels else "yellow" if "yellow" in levels else "green"


def _quick(bench: Bench) -> Iterator[Check]:
    yield Check("settings", partial(basics.settings, bench))
    yield Check("rules", partial(basics.rules, bench), ("settings",))
    yield Check("logs", partial(_logs, bench), ("rules",))
    yield Check("last runs", partial(keeping.last_runs, bench), ("rules",))
    yield Check("outbox", partial(keeping.outbox, bench), ("rules",))


def _logs(bench: Bench) -> Iterator[Finding]:
    """The newest row of each source, in all workspaces together."""
    if bench.settings.LOGS_DIR:
        yield green("logs", "exported ones, in a folder")
        return
    for source in sources_of(bench):
        name = f"newest row of {source.name}"
        yield from tried(name, partial(_newest, bench, source, name))


def _newest(bench: Bench, source: SourceOf, name: str) -> Iterator[Finding]:
    now = bench.clock()
    query = newest_query(source.rule, source.side, now - 2 * SILENT, inline=bench.inline)
    yield judge_age(name, arrivals_in(bench.logs.ask(name, query, PATIENCE)), now, 2 * SILENT)
