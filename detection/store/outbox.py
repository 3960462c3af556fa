"""The outbox: messages, committed with their alert, that wait to be sent.

    d|<destination>|<incident>|<commit>      a delivery: the message, its attempts, the next due time
    d}                                       the mark of a rule that has dead letters
    x|<destination>|<incident>|<commit>      a dead letter: a delivery that was given up, and why

The rows sort in the order in which an incident's messages to one destination must arrive. The mark sorts
behind them: the request that finds no message, or no further one, finds it. They are in the
partition of their rule, in the transaction of their alert, but they belong to the table: a message is sent
whether its rule still runs or not. Table Storage cannot list the partitions of a table, so a partition lists
the rules:

    <rule>                                   a rule of this table; written before its first commit
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from detection.base.timestamps import iso, parse_time
from detection.store.layout import delete_rows, joined, parse_row, split, time_of
from detection.store.table import Conflict, Delete, Entity, Insert, Put, Replace, Table

RULES_PARTITION = "~rules"
DEAD_LETTERS_MARK = "d}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one destination: `id` and `body` are the same at every attempt.

    `due` is the time of the next attempt (UTC); a claim moves it to the end of the claim.
    """

    id: str
    destination: str
    incident: str
    commit: int
    body: bytes
    created: datetime
    due: datetime
    attempt: int = 0

    @property
    def queue_key(self) -> tuple[str, str]:
        """Messages with the same key are sent in their order."""
        return self.destination, self.incident


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that was given up, with the reason."""

    rule: str
    delivery: Delivery
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The number of dead letters, their destinations, and the reason of the first."""

    number: int
    destinations: Sequence[str]
    reason: str


@dataclass(frozen=True, slots=True)
class Queued:
    """A delivery with its row and the version of the row; None after a claim, which does not learn it."""

    rule: str
    delivery: Delivery
    row: str
    version: str | None


def list_rule(table: Table, rule: str) -> None:
    """Puts a rule on the table's list of rules. A partition of another kind, named ~…, is not listed."""
    if not rule.startswith("~"):
        table.write(RULES_PARTITION, [Put(rule, {})])


def listed_rules(table: Table) -> list[str]:
    """All rules that ever committed to the table, sorted. One request; raises ServiceError."""
    return [entity.row for entity in table.scan(RULES_PARTITION, "!", "~")]


def queue(delivery: Delivery) -> Insert:
    """The operation that puts a delivery into the outbox, in the transaction of its alert."""
    return Insert(f"d|{_place(delivery)}", _values(delivery))


def table_outbox(table: Table, running_rules: Iterable[str]) -> "Outbox":
    """The outbox of all rules of a table: the running rules, and the rules on its list."""
    return Outbox(table, *sorted({*running_rules, *listed_rules(table)}))


class Outbox:
    """The outbox of some rules. Every call may raise ServiceError; calls that write raise Conflict when
    another process changed the row in between.
    """

    def __init__(self, table: Table, *rules: str) -> None:
        self._table = table
        self.rules = rules
        # The marks of rules with dead letters, as `destinations` saw them; None: this process wrote the mark.
        self._marks: dict[str, Entity | None] = {}

    def destinations(self) -> list[str]:
        """The destinations that have waiting messages, also those that the settings no longer name."""
        return sorted({name for rule in self.rules for name in self._destinations(rule, "d")})

    def waiting(self, destination: str) -> Iterator[Queued]:
        """The messages to a destination that are not sent yet, each incident's in their order."""
        for rule in self.rules:
            for entity in self._table.scan(rule, f"d|{destination}|", f"d|{destination}}}"):
                yield Queued(rule, _delivery(entity), entity.row, entity.version)

    def claim(self, queued: Queued, until: datetime) -> Queued:
        """Claims a delivery for this process: no other process sends it before `until`. One request.

        A claim whose response was lost raises Conflict too, because the client repeats the request. The
        delivery then waits until the claim ends.
        """
        claimed = replace(queued.delivery, due=until, attempt=queued.delivery.attempt + 1)
        self._replace(queued, claimed)
        return replace(queued, delivery=claimed, version=None)

    def sent(self, queued: Queued) -> None:
        """Removes a delivery that was sent, even if another process has claimed it since."""
        self._table.write(queued.rule, [Delete(queued.row)])

    def reschedule(self, queued: Queued, due: datetime) -> None:
        """Puts a claimed delivery back until it is due again."""
        self._replace(queued, replace(queued.delivery, due=due))

    def dead_letter(self, queued: Queued, reason: str) -> None:
        """Gives a delivery up: it becomes a dead letter, and the next message of its queue is due."""
        dead = {**_values(queued.delivery), "reason": reason[:1_000]}
        deletion = Delete(queued.row, self._version(queued))
        row = "x" + queued.row[1:]
        self._table.write(queued.rule, [deletion, Put(row, dead), Put(DEAD_LETTERS_MARK, {})])
        self._marks[queued.rule] = None

    def dead_letters(self) -> Iterator[DeadLetter]:
        """All dead letters."""
        for rule in self.rules:
            for entity in self._table.scan(rule, "x|", "x}"):
                yield _dead_letter(rule, entity)

    def count_dead_letters(self) -> DeadLetters | None:
        """Counts the dead letters of the rules of which `destinations` found any, or a message was given up;
        None if there is no such rule. The count may be zero, once.
        """
        if not self._marks:
            return None
        names = {rule: list(self._table.names(rule, "x|", "x}")) for rule in self._marks}
        reason = ""
        for rule, mark in self._marks.items():
            if mark and not names[rule]:
                with suppress(Conflict):  # a message was given up in between
                    self._table.write(rule, [Delete(DEAD_LETTERS_MARK, mark.version)])
            elif names[rule] and not reason and (entity := self._table.get(rule, names[rule][0])):
                reason = str(entity.values.get("reason", ""))
        rows = [row for rule_names in names.values() for row in rule_names]
        return DeadLetters(len(rows), sorted({row.split("|")[1] for row in rows}), reason)

    def messages_of(self, incident: str) -> list[Queued | DeadLetter]:
        """The waiting messages and the dead letters of an incident."""
        messages: list[Queued | DeadLetter] = []
        for rule in self.rules:
            for name in self._destinations(rule, "d"):
                place = f"d|{name}|{incident}|"
                waiting = self._table.scan(rule, place, place[:-1] + "}")
                messages += [
                    Queued(rule, _delivery(entity), entity.row, entity.version) for entity in waiting
                ]
            for name in self._destinations(rule, "x"):
                place = f"x|{name}|{incident}|"
                messages += [
                    _dead_letter(rule, entity) for entity in self._table.scan(rule, place, place[:-1] + "}")
                ]
        return messages

    def requeue(self, dead: DeadLetter, now: datetime) -> None:
        """Puts a dead letter back into the outbox, with no attempts."""
        place = _place(dead.delivery)
        fresh = replace(dead.delivery, attempt=0, due=now)
        self._table.write(dead.rule, [Delete(f"x|{place}"), Put(f"d|{place}", _values(fresh))])

    def delete_dead_letters(self, before: datetime) -> int:
        """Deletes the dead letters that were created before a time (UTC); returns how many."""
        number = 0
        for rule in self.rules:
            rows = [row.row for row in self._table.scan(rule, "x|", "x}") if time_of(row, "created") < before]
            delete_rows(self._table, rule, rows)
            number += len(rows)
        return number

    def _replace(self, queued: Queued, delivery: Delivery) -> None:
        replacement = Replace(queued.row, _values(delivery), self._version(queued))
        self._table.write(queued.rule, [replacement])

    def _version(self, queued: Queued) -> str:
        """The version of a delivery's row. Reads a row that was claimed: a message that is sent, as most are,
        needs no version. No other claim has the same content: it ends at another time.
        """
        if queued.version:
            return queued.version
        entity = self._table.get(queued.rule, queued.row)
        if entity is None or _delivery(entity) != queued.delivery:
            raise Conflict("the claim ended, and another process has claimed the message")
        return entity.version

    def _destinations(self, rule: str, kind: Literal["d", "x"]) -> Iterator[str]:
        """One request for each destination, and one more."""
        behind = f"{kind}|"
        while entity := next(self._table.scan(rule, behind, f"{kind}~", 1), None):
            if entity.row == DEAD_LETTERS_MARK:
                self._marks[rule] = entity
                return
            name = parse_row(entity, lambda row: row.row.split("|")[1])
            yield name
            behind = f"{kind}|{name}}}"


def _dead_letter(rule: str, entity: Entity) -> DeadLetter:
    reason = parse_row(entity, lambda row: str(row.values["reason"]))
    return DeadLetter(rule, _delivery(entity), reason)


def _place(delivery: Delivery) -> str:
    return f"{delivery.destination}|{delivery.incident}|{delivery.commit:010}"


def _values(delivery: Delivery) -> dict[str, str | int | bytes | bool]:
    return {
        "id": delivery.id,
        "destination": delivery.destination,
        "incident": delivery.incident,
        "commit": delivery.commit,
        "created": iso(delivery.created),
        "due": iso(delivery.due),
        "attempt": delivery.attempt,
        **split(delivery.body),
    }


def _delivery(entity: Entity) -> Delivery:
    """The delivery that a row holds. Raises DamagedRow, also for a message without a body."""
    return parse_row(entity, _parse_delivery)


def _parse_delivery(entity: Entity) -> Delivery:
    values = entity.values
    if not joined(values):
        raise ValueError("no body")
    return Delivery(
        id=str(values["id"]),
        destination=str(values["destination"]),
        incident=str(values["incident"]),
        commit=int(values["commit"]),
        body=joined(values),
        created=parse_time(str(values["created"])),
        due=parse_time(str(values["due"])),
        attempt=int(values["attempt"]),
    )
