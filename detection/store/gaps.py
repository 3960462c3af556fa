"""The gaps of a rule: signals that a run after a long outage could no longer read.

A gap is open from the run that records it until it is read, part by part, or abandoned. While it is open, the
marks that its reading needs are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from detection.base.json_types import type_adapter
from detection.base.timestamps import iso
from detection.logs.window import Window
from detection.store.layout import OnDamage, content_of, delete_rows, gap_row, raise_damage, readable, split
from detection.store.table import Entity, Insert, Operation, Replace, Table

GAP_KEPT = timedelta(days=90)  # an open gap; then it is abandoned, and its marks go


@dataclass(frozen=True, slots=True)
class Gap:
    """The signals in (`after`, `until`], which the run at `recorded` could not read. Times are UTC.

    `marks` are the days whose marks the gap keeps while it is open. All parts up to `read_until` have been
    read. `closed` is when the gap was read or abandoned. `version` is the table's token of the gap's row.
    """

    after: datetime
    until: datetime
    marks: Window
    recorded: datetime
    state: Literal["open", "read", "abandoned"] = "open"
    read_until: datetime | None = None
    closed: datetime | None = None
    version: str = ""

    @property
    def id(self) -> str:
        """The minute at which the gap ends: each gap of a rule ends later than the gap before."""
        return f"{self.until:%Y%m%d-%H%M}"

    @property
    def is_open(self) -> bool:
        """Whether it is neither read nor abandoned."""
        return self.state == "open"

    @property
    def unread(self) -> Window:
        """The range that is still to be read."""
        return Window(self.read_until or self.after, self.until)

    @property
    def title(self) -> str:
        """The range that is still to be read, and the command that reads it."""
        return f"{iso(self.unread.after)} to {iso(self.until)} is not read: `{self.command}`"

    @property
    def command(self) -> str:
        """Reads the gap."""
        return f"python -m detection run --gap {self.id}"

    def operation(self) -> Operation:
        """Writes the gap's row; fails with Conflict where the row is not the one that `version` names."""
        row, values = gap_row(self.id), split(type_adapter(Gap).dump_json(replace(self, version="")))
        return Replace(row, values, self.version) if self.version else Insert(row, values)

    def close(self, state: Literal["read", "abandoned"], now: datetime) -> "Gap":
        """The gap in its last state."""
        return replace(self, state=state, closed=now)


@dataclass(frozen=True, slots=True)
class GapList:
    """The gaps that the table holds for a rule. Every call may raise ServiceError."""

    table: Table
    rule: str

    def gaps(self, on_damage: OnDamage = raise_damage) -> list[Gap]:
        """Every gap, the oldest first; closed gaps too until their retention is over."""
        return list(readable(self.table.scan(self.rule, gap_row(""), "j}"), gap_of, on_damage))

    def open_gaps(self, on_damage: OnDamage = raise_damage) -> list[Gap]:
        """The gaps that are neither read nor abandoned, the oldest first."""
        return [gap for gap in self.gaps(on_damage) if gap.is_open]

    def write(self, gap: Gap) -> None:
        """Replaces a gap's row. Raises Conflict if it has changed since it was read."""
        self.table.write(self.rule, [gap.operation()])

    def delete(self, gaps: Sequence[Gap]) -> None:
        """Deletes the rows of gaps."""
        delete_rows(self.table, self.rule, [gap_row(gap.id) for gap in gaps])


def gap_of(entity: Entity) -> Gap:
    """The gap that a row holds. Raises DamagedRow."""
    return replace(content_of(entity, Gap), version=entity.version)
