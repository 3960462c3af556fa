"""The silences of a rule."""

from dataclasses import dataclass
from datetime import datetime

from detection.rules.silences import Silence
from detection.store.layout import content_of, split
from detection.store.table import Insert, Put, Table, Value


@dataclass(frozen=True, slots=True)
class SilenceList:
    """The silences that the table holds for a rule. Every call may raise ServiceError."""

    table: Table
    rule: str

    def silences(self) -> list[Silence]:
        """Every silence, ended ones too until their retention is over."""
        rows = self.table.scan(self.rule, "q|", "q}")
        return [content_of(row, Silence) for row in rows]

    def add(self, silence: Silence) -> None:
        """Adds a silence. Raises Conflict when the rule has one of the same name."""
        self.table.write(self.rule, [Insert(f"q|{silence.name}", _content(silence))])

    def lift(self, silence: Silence, author: str, now: datetime) -> None:
        """Ends a silence now. It stays in the list, because rows of signals from before may arrive later, and
        to explain what it suppressed.
        """
        ended = silence.model_copy(update={"expires": now, "lifted_by": author})
        self.table.write(self.rule, [Put(f"q|{silence.name}", _content(ended))])


def _content(silence: Silence) -> dict[str, Value]:
    return split(silence.model_dump_json(exclude_defaults=True).encode())
