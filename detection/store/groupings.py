"""The groupings by which runs committed, a row each, with the time of the last run that named it.

Marks belong to grouping keys. While marks of a former grouping are kept, its row is kept, and runs consult
them. Runs of two groupings commit different heads, so they never conflict. Each writes the row of its own
grouping before its first commit and then reads the rows of the others: of two runs at once, at least one sees
the other.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from detection.base.errors import ServiceError
from detection.base.json_types import type_adapter
from detection.base.timestamps import iso
from detection.incidents.keys import Grouping
from detection.store.layout import content_of, split, time_of, whole_from
from detection.store.table import Conflict, ConflictCount, Delete, Entity, Insert, Replace, Table

FIRST_GROUPING, AFTER_LAST_GROUPING = "u|", "u}"


@dataclass(frozen=True, slots=True)
class NamedGrouping:
    """A grouping by which a run committed or was about to; `time` (UTC) is the latest `now` of such a run."""

    grouping: Grouping
    time: datetime
    version: str


def groupings_of(entities: Iterable[Entity]) -> list[NamedGrouping]:
    """The groupings that these rows name; other rows are left out. Raises DamagedRow."""
    return [
        NamedGrouping(content_of(entity, Grouping), time_of(entity, "now"), entity.version)
        for entity in entities
        if entity.row.startswith(FIRST_GROUPING)
    ]


def name_grouping(
    table: Table, rule: str, grouping: Grouping, now: datetime, groupings: Iterable[NamedGrouping]
) -> list[NamedGrouping]:
    """Names the grouping of a run at `now`; returns the groupings of the table, read after that.

    `groupings` are those that the caller has seen. The time of a row never moves back.
    """
    content = type_adapter(Grouping).dump_json(grouping)
    row = FIRST_GROUPING + sha256(content).hexdigest()[:32]
    own = next((named for named in groupings if named.grouping == grouping), None)
    conflicts = ConflictCount(own)
    while True:
        values = {"now": iso(max(now, own.time) if own else now), **split(content)}
        with suppress(Conflict):  # a run with this grouping came first, or the answer was lost: the row tells
            table.write(rule, [Replace(row, values, own.version) if own else Insert(row, values)])
        stored = groupings_of(table.scan(rule, FIRST_GROUPING, AFTER_LAST_GROUPING))
        own = next((named for named in stored if named.grouping == grouping), None)
        if own and own.time >= now:
            return stored
        if conflicts.is_exceeded(own):
            raise ServiceError(
                f"the grouping of this run cannot be named in row {row} of {rule}, though no other run does: "
                "what the table service stores and returns contradict each other"
            )


def forget_groupings(table: Table, rule: str, before: datetime) -> None:
    """Deletes the groupings whose marks lie on days that a purge up to `before` deletes."""
    for entity in table.scan(rule, FIRST_GROUPING, AFTER_LAST_GROUPING):
        if time_of(entity, "now") < whole_from(before):
            with suppress(Conflict):  # a run has just named it
                table.write(rule, [Delete(entity.row, entity.version)])
