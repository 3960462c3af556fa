"""`deliver`: sends what waits in the outbox."""

import sys
from typing import Annotated

import typer

from detection.cli.environment import job
from detection.cli.output import say


def deliver(
    retry_dead: Annotated[bool, typer.Option("--retry-dead", help="Try dead letters again as well.")] = False,
) -> None:
    """Send the messages that are due; exit code 1 if one could not be sent."""
    present = job()
    if retry_dead:
        say(f"{present.revive()} dead letters are due again")
    attempts = list(present.deliver())
    failed = [attempt for attempt in attempts if not attempt.outcome.sent]
    for attempt in failed:
        reason = attempt.outcome.dead or attempt.outcome.reason
        say(
            f"not sent: {attempt.delivery.id} to {attempt.delivery.destination}, attempt {attempt.delivery.attempt}: {reason}"
        )
    print(f"{len(attempts) - len(failed)} sent, {len(failed)} failed")
    if failed:
        sys.exit(1)
