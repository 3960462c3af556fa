"""The job of the environment's settings, for commands that act on it."""

import os
from datetime import UTC, datetime

from detection.app import Job, open_job
from detection.settings import settings_from


def clock() -> datetime:
    """The one clock of the command line."""
    return datetime.now(UTC)


def environment_job() -> Job:
    """The job that the environment describes. Raises ConfigurationError naming every wrong variable."""
    return open_job(settings_from(os.environ), clock)
