"""`deliver`: sends what waits in the outbox."""

import sys
from typing import Annotated

import typer

from detection.cli.environment import job
from detection.cli.output import say
from detection.deliver import Attempt


def deliver(
    retry_dead: Annotated[bool, typer.Option("--retry-dead", help="Try dead letters again as well.")] = False,
) -> None:
    """Send the messages that are due; exit code 1 if one could not be sent."""
    present = job()
    if retry_dead:
        say(f"{present.revive()} dead letters are due again")
    attempts = present.deliver(report=_say)
    failed = [attempt for attempt in attempts if not attempt.outcome.sent]
    print(f"{len(attempts) - len(failed)} sent, {len(failed)} failed")
    if failed:
        sys.exit(1)


def _say(attempt: Attempt) -> None:
    if not attempt.outcome.sent:
        one, reason = attempt.delivery, attempt.outcome.dead or attempt.outcome.reason
        say(f"not sent: {one.id} to {one.destination}, attempt {one.attempt}: {reason}")
