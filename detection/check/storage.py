"""The incident table: whether it can be written, and what it says of the job."""

from collections.abc import Iterator
from functools import partial
from itertools import islice

from detection.base.timestamps import iso
from detection.check.checklist import Finding, green, red, run_check, yellow
from detection.check.context import CHECK_PARTITION, CheckContext
from detection.check.evaluation import evaluate_last_run, evaluate_outbox
from detection.rules.model import Rule
from detection.store.outbox import Outbox
from detection.store.table import Delete, Put

PROBE_ROW = "probe"  # the one row that is written and deleted
MAX_COUNTED = 1_000  # that are counted at most: each has its message with it

_SET_STORAGE = "set INCIDENT_STORAGE"


def check_incident_table(context: CheckContext) -> Iterator[Finding]:
    """Writes a marked row into a partition of its own, reads it and deletes it."""
    name, now = "incident table", context.clock()
    context.table.write(
        CHECK_PARTITION, [Put(PROBE_ROW, {"written": iso(now), "by": "python -m detection check"})]
    )
    stored = context.table.get(CHECK_PARTITION, PROBE_ROW)
    context.table.write(CHECK_PARTITION, [Delete(PROBE_ROW)])
    if stored is None or stored.values["written"] != iso(now):
        yield red(
            name,
            "does not return the row that was written to it",
            "is another check at work? If not, report it",
        )
    elif _in_memory(context):
        yield yellow(name, "in memory: all is forgotten when the process ends", _SET_STORAGE)
    else:
        milliseconds = (context.clock() - now).total_seconds() * 1000
        yield green(name, f"a row was written, read and deleted in {milliseconds:.0f} ms")


def check_last_runs(context: CheckContext) -> Iterator[Finding]:
    """How long ago each rule's last complete run was."""
    if _in_memory(context):
        yield yellow("last runs", "kept in memory, where only the process that ran knows them", _SET_STORAGE)
        return
    for rule in context.rules:
        name = f"last run of {rule.folder}"
        yield from run_check(name, partial(_check_last_run, context, rule, name))


def _check_last_run(context: CheckContext, rule: Rule, name: str) -> Iterator[Finding]:
    watermark = context.job.store(rule).watermark()
    yield evaluate_last_run(name, context.clock() - watermark if watermark else None, rule)


def check_outbox(context: CheckContext) -> Iterator[Finding]:
    """Messages that were given up or wait."""
    outbox = Outbox(context.table, *(rule.folder for rule in context.rules))
    waiting = [
        queued
        for destination in outbox.destinations()
        for queued in islice(outbox.waiting(destination), MAX_COUNTED)
    ]
    yield evaluate_outbox(
        "outbox", list(islice(outbox.dead_letters(), MAX_COUNTED)), waiting, context.clock()
    )


def _in_memory(context: CheckContext) -> bool:
    return context.settings.INCIDENT_STORAGE.get_secret_value() == "memory"
