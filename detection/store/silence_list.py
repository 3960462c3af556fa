"""The silences of a rule."""

from dataclasses import dataclass
from datetime import datetime

from detection.rules.silences import Silence
from detection.store.layout import OnDamage, content_of, raise_damage, readable, silence_row, split
from detection.store.table import Conflict, Insert, Operation, Replace, Table, Value


@dataclass(frozen=True, slots=True)
class SilenceList:
    """The silences that the table holds for a rule. Every call may raise ServiceError."""

    table: Table
    rule: str

    def silences(self, on_damage: OnDamage = raise_damage) -> list[Silence]:
        """Every silence, ended ones too until their retention is over."""
        rows = self.table.scan(self.rule, silence_row(""), "k}")
        return list(readable(rows, lambda row: content_of(row, Silence), on_damage))

    def silence(self, name: str) -> Silence | None:
        """The silence of that name, or None."""
        row = self.table.get(self.rule, silence_row(name))
        return content_of(row, Silence) if row else None

    def add(self, silence: Silence) -> None:
        """Adds a silence. Raises Conflict when the rule has another of the same name."""
        try:
            self.table.write(self.rule, [new_silence(silence)])
        except Conflict:  # only the answer may be lost
            if self.silence(silence.name) != silence:
                raise

    def lift(self, silence: Silence, author: str, now: datetime) -> None:
        """Ends a silence now. It stays in the list, because rows of signals from before may arrive later, and
        to explain what it suppressed. Raises Conflict if it is not as it was read.
        """
        row = self.table.get(self.rule, silence_row(silence.name))
        if row is None or content_of(row, Silence) != silence:
            raise Conflict(f"silence {silence.name} has changed")
        ended = silence.model_copy(update={"expires": now, "lifted_by": author})
        self.table.write(self.rule, [Replace(row.row, _content(ended), row.version)])


def new_silence(silence: Silence) -> Operation:
    """Writes a silence whose name the rule does not have yet."""
    return Insert(silence_row(silence.name), _content(silence))


def _content(silence: Silence) -> dict[str, Value]:
    return split(silence.model_dump_json(exclude_defaults=True).encode())
