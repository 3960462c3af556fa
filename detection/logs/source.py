"""The port Source: where the logs come from. One implementation a file."""

from typing import Protocol

from detection.logs.events import Logs
from detection.logs.window import Windows
from detection.rules.model import Rule


class Source(Protocol):
    """Answers one question: what do both logs hold in these windows, for this rule?"""

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides, complete.

        Raises Incomplete when any part of the answer is missing, ConfigurationError when the logs
        cannot be asked that way, ServiceError when they cannot be asked now.
        """
        ...
