"""`deliver`: sends what waits in the outbox."""

import sys
from typing import Annotated

import typer

from detection.cli.environment import environment_job
from detection.cli.output import write_remark
from detection.delivery.deliver import Attempt


def deliver(
    retry_dead: Annotated[bool, typer.Option("--retry-dead", help="Try dead letters again as well.")] = False,
) -> None:
    """Send the messages that are due; exit code 1 if one could not be sent."""
    job = environment_job()
    if retry_dead:
        write_remark(f"{job.requeue()} dead letters are due again")
    attempts = job.deliver(report=_report_failure)
    failed = [attempt for attempt in attempts if not attempt.outcome.sent]
    print(f"{len(attempts) - len(failed)} sent, {len(failed)} failed")
    if failed:
        sys.exit(1)


def _report_failure(attempt: Attempt) -> None:
    if not attempt.outcome.sent:
        delivery, reason = attempt.delivery, attempt.outcome.dead_reason or attempt.outcome.reason
        write_remark(
            f"not sent: {delivery.id} to {delivery.destination}, attempt {delivery.attempt}: {reason}"
        )
