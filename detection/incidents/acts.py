"""The acts of people on incidents and silences: who acts, why, and which version of an incident they go by.

The page, the command line and programs make the same acts. The desk carries them out.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from detection.base.errors import ConfigurationError
from detection.incidents.incident import Classification
from detection.rules.silences import LONGEST_SILENCE

NAME = 200  # characters of an author
NOTE = 2_000  # characters
REASON = 500  # characters of the reason of a silence


class InvalidAct(ConfigurationError):
    """An act lacks something, or has too much of it. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class IncidentVersion:
    """The numbers of alerts and acts of an incident that an author goes by; None is not compared."""

    alerts: int | None = None
    acts: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An act: `author`, and the id of its request. A second act with the same id changes nothing.

    With `self_declared` the author named themselves; otherwise a sign-in checked the name. Raises InvalidAct
    if a text is missing or too long, as all acts do.
    """

    author: str
    request: str
    self_declared: bool = True

    def __post_init__(self) -> None:
        if not 0 < len(self.author) <= NAME:
            raise InvalidAct(f"Enter your name, in at most {NAME} characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentAct(Act):
    """An act on the incident with the id `incident`."""

    incident: str
    note: str = ""
    version: IncidentVersion = IncidentVersion()

    def __post_init__(self) -> None:
        Act.__post_init__(self)
        if len(self.note) > NOTE:
            raise InvalidAct(f"Shorten the note to at most {NOTE:,} characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignAct(IncidentAct):
    """Assigns an incident to a person."""

    assignee: str

    def __post_init__(self) -> None:
        IncidentAct.__post_init__(self)
        if not 0 < len(self.assignee) <= NAME or not self.assignee.isprintable():
            raise InvalidAct(f"Enter the name of the person to assign, in at most {NAME} characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentAct(IncidentAct):
    """Adds its note to an incident's history."""

    def __post_init__(self) -> None:
        IncidentAct.__post_init__(self)
        if not self.note:
            raise InvalidAct("Enter the comment as the note")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseAct(IncidentAct):
    """Closes an incident, or replaces the classification of a closed incident."""

    classification: Classification


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceAct(IncidentAct):
    """Silences an incident's actor from `begins` (UTC; None: now) for a duration. Its note is the reason."""

    duration: timedelta
    begins: datetime | None = None

    def __post_init__(self) -> None:
        IncidentAct.__post_init__(self)
        if not 0 < len(self.note) <= REASON:
            raise InvalidAct(f"Enter the reason for the silence, in at most {REASON} characters")
        if self.duration > LONGEST_SILENCE:
            raise InvalidAct(f"Choose a silence of at most {LONGEST_SILENCE.days} days")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiftAct(Act):
    """Ends the silences of a name, of one rule or (None) of all."""

    silence: str
    rule: str | None = None
