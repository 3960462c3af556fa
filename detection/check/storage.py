"""The incident table: whether the job can write to it, and what it says about runs and deliveries."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice

from detection.base.timestamps import iso
from detection.check.checklist import Finding, catch_errors, green, red
from detection.check.context import CHECK_PARTITION, CheckContext
from detection.check.evaluation import (
    MAX_COUNTED,
    SHARED_WITHIN,
    evaluate_clock,
    evaluate_former_rule,
    evaluate_gaps,
    evaluate_last_run,
    evaluate_outbox,
    evaluate_silences,
)
from detection.store.incident_store import IncidentStore
from detection.store.table import Delete, Put

PROBE_ROW = "probe"  # the row that is written and deleted


def check_incident_table(context: CheckContext) -> Iterator[Finding]:
    """Write a row to a partition of its own, read it and delete it."""
    name, now = "incident table", context.clock()
    context.table.write(
        CHECK_PARTITION, [Put(PROBE_ROW, {"written": iso(now), "by": "python -m detection check"})]
    )
    stored = context.table.get(CHECK_PARTITION, PROBE_ROW)
    context.table.write(CHECK_PARTITION, [Delete(PROBE_ROW)])
    lead = now - (context.table.date() or now)
    clock_finding = evaluate_clock("clock of the table service", max(lead, timedelta(0)))
    if clock_finding.level != "green":
        yield clock_finding
    if stored is None or stored.values.get("written") != iso(now):
        message = "The table did not return the row that was written to it."
        yield red(name, message, "If another check is running, try again after it. Otherwise report this.")
    else:
        milliseconds = (context.clock() - now).total_seconds() * 1000
        yield green(name, f"Wrote, read and deleted a row in {milliseconds:.0f} ms.")


def check_last_runs(context: CheckContext) -> Iterator[Finding]:
    """How long ago the last complete run of each rule was, its gaps, and whether other rules run here."""
    for rule in context.rules:
        name = f"last run of {rule.folder}"
        context.last_complete_runs[rule.folder] = None
        with catch_errors(name) as findings:
            store = context.job.store(rule.folder)
            context.last_complete_runs[rule.folder] = watermark = store.watermark()
            age = context.clock() - watermark if watermark else None
            findings.append(evaluate_last_run(name, age, rule))
            findings.extend(evaluate_gaps(f"gaps of {rule.folder}", store.gaps))
        yield from findings
    for folder in sorted({*context.outbox.rules} - {*context.job.folders}):
        watermark = IncidentStore(context.table, folder, "look").watermark()
        if watermark and context.clock() - watermark < SHARED_WITHIN:
            yield evaluate_former_rule("other rules", folder, context.clock() - watermark)


def check_outbox(context: CheckContext) -> Iterator[Finding]:
    """Deliveries that failed for good or wait."""
    outbox, destinations = context.outbox, {webhook.name for webhook in context.settings.destinations}
    waiting = [
        queued
        for destination in outbox.destinations()
        for queued in islice(outbox.waiting(destination), MAX_COUNTED)
    ]
    dead_letters = list(islice(outbox.dead_letters(), MAX_COUNTED))
    yield evaluate_outbox("outbox", dead_letters, waiting, context.clock(), destinations)


def check_silences(context: CheckContext) -> Iterator[Finding]:
    yield evaluate_silences("silences", context.job.desk.active_silences())
