"""The incident table: whether it can be written, and what it says of the job."""

from collections.abc import Iterator
from functools import partial
from itertools import islice

from detection.check.bench import PARTITION, Bench
from detection.check.failing import tried
from detection.check.finding import Finding, green, red, yellow
from detection.check.judging import judge_last_run, judge_outbox
from detection.incidents.outbox import Outbox
from detection.incidents.table import Delete, Put
from detection.rule import Rule
from detection.timestamps import iso

ROW = "probe"  # the one row that is written and deleted
LETTERS = 1_000  # that are counted at most: each has its message with it

_SET_STORAGE = "set INCIDENT_STORAGE"


def storage(bench: Bench) -> Iterator[Finding]:
    """Writes a marked row into a partition of its own, reads it and deletes it."""
    name, now = "incident table", bench.clock()
    bench.table.write(PARTITION, [Put(ROW, {"written": iso(now), "by": "python -m detection check"})])
    kept = bench.table.get(PARTITION, ROW)
    bench.table.write(PARTITION, [Delete(ROW)])
    if kept is None or kept.values["written"] != iso(now):
        yield red(
            name,
            "does not return the row that was written to it",
            "is another check at work? If not, report it",
        )
    elif _in_memory(bench):
        yield yellow(name, "in memory: all is forgotten when the process ends", _SET_STORAGE)
    else:
        milliseconds = (bench.clock() - now).total_seconds() * 1000
        yield green(name, f"a row was written, read and deleted in {milliseconds:.0f} ms")


def last_runs(bench: Bench) -> Iterator[Finding]:
    """How long ago each rule's last complete run was."""
    if _in_memory(bench):
        yield yellow("last runs", "kept in memory, where only the process that ran knows them", _SET_STORAGE)
        return
    for rule in bench.rules:
        name = f"last run of {rule.folder}"
        yield from tried(name, partial(_last_run, bench, rule, name))


def _last_run(bench: Bench, rule: Rule, name: str) -> Iterator[Finding]:
    mark = bench.job.index(rule).watermark()
    yield judge_last_run(name, bench.clock() - mark if mark else None, rule)


def outbox(bench: Bench) -> Iterator[Finding]:
    """Messages that were given up or wait."""
    kept = Outbox(bench.table, *(rule.folder for rule in bench.rules))
    waiting = [one for name in kept.destinations() for one in islice(kept.waiting(name), LETTERS)]
    yield judge_outbox("outbox", list(islice(kept.dead(), LETTERS)), waiting, bench.clock())


def _in_memory(bench: Bench) -> bool:
    return bench.settings.INCIDENT_STORAGE.get_secret_value() == "memory"
