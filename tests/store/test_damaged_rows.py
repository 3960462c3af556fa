"""Rows that another program changed: every reader fails with an error that names the row, and no reader with a traceback."""

from collections.abc import Callable, Iterator, Mapping

import pytest

from detection.base.errors import error_kind
from detection.desk import Desk
from detection.messages.context import DigestEntry
from detection.rules.silences import Silence
from detection.runs.commit import RunOptions
from detection.runs.run import run
from detection.store.digest_draft import DigestDraft, publish_abandoned_digests
from detection.store.gaps import GapList
from detection.store.incident_list import IncidentList, Selection, read_page
from detection.store.incident_store import IncidentStore
from detection.store.layout import DamagedRow
from detection.store.outbox import Outbox
from detection.store.retention import delete_old_rows
from detection.store.silence_list import SilenceList
from detection.store.table import MemoryTable, Put, Table, Value
from tests.runs.test_contradicting_table import StoredLogs, actor_rows, render, render_digest
from tests.support.builders import ALICE, DAY, HOUR, RULE, START

NOW = START + 2 * HOUR
ENTRY = DigestEntry("al_1", "in_1", True, "High", "alice@example.com created an API key", 1, 1, 1)
SILENCE = Silence(name="vacation", owner="bob", reason="test", created=START, expires=NOW + DAY, actor="bob")


@pytest.fixture(scope="module")
def whole_table() -> MemoryTable:
    """A table with a row of every kind."""
    table, options = MemoryTable(), RunOptions(render)
    for token, now, source in (
        ("1", START - 60 * DAY, StoredLogs([], [])),
        ("2", START, actor_rows([ALICE], 1)),  # leaves a gap
    ):
        run(RULE, now, source, IncidentStore(table, RULE.folder, token), options)
    table.write(RULE.folder, [DigestDraft(table, RULE.folder, "draft", START).operation([ENTRY])])
    SilenceList(table, RULE.folder).add(SILENCE)
    outbox = Outbox(table, RULE.folder)
    (queued,) = outbox.waiting("soc")
    row = table.get(RULE.folder, queued.row)
    assert row
    outbox.dead_letter(queued, "HTTP 410")
    table.write(RULE.folder, [Put(row.row, row.values)])
    return table


KINDS = ["h", "i", "m", "a", "l", "w", "u", "j", "r", "k", "s", "d", "x"]


def test_table_of_these_tests_has_a_row_of_every_kind(whole_table: MemoryTable) -> None:
    kinds = {row.row.split("|")[0] for row in whole_table.scan(RULE.folder, "!", "~")}
    assert kinds == {*KINDS, "p", "e", "d}"}


def without_properties(_: Mapping[str, Value]) -> dict[str, Value]:
    return {"other": 1}


def with_broken_content(values: Mapping[str, Value]) -> dict[str, Value]:
    return {
        name: value[: len(value) // 2 + 1] if isinstance(value, bytes) else "?"
        for name, value in values.items()
    }


def with_damage(
    table: Table, kind: str, damage: Callable[[Mapping[str, Value]], dict[str, Value]]
) -> MemoryTable:
    """A copy of the table in which all rows of a kind are damaged."""
    copy = MemoryTable()
    for row in table.scan(RULE.folder, "!", "~"):
        values = damage(row.values) if row.row.split("|")[0] == kind else row.values
        copy.write(RULE.folder, [Put(row.row, values)])
    return copy


def readers(table: Table) -> Iterator[Callable[[], object]]:
    """Everything that reads rows of the table."""
    incidents, outbox = IncidentList(table, RULE.folder), Outbox(table, RULE.folder)
    desk = Desk([RULE], table, (), lambda: NOW)
    store, later = IncidentStore(table, RULE.folder, "3"), START + 200 * DAY
    yield lambda: list(incidents.incidents())
    yield lambda: read_page(table, [RULE.folder], Selection(["new"]), 50)
    yield lambda: list(incidents.alerts())
    yield lambda: list(incidents.alerts_since(START - 90 * DAY))
    yield lambda: [incidents.incident(row.row.split("|")[1]) for row in table.scan(RULE.folder, "i|", "i}")]
    yield desk.active_silences
    yield GapList(table, RULE.folder).gaps
    yield lambda: [list(outbox.waiting(name)) for name in outbox.destinations()]
    yield lambda: list(outbox.dead_letters())
    yield lambda: outbox.messages_of("in_1")
    yield lambda: publish_abandoned_digests(table, RULE.folder, NOW, render_digest)
    yield lambda: delete_old_rows(table, RULE.folder, later, later)
    yield lambda: run(RULE, NOW, actor_rows([ALICE], 3), store, RunOptions(render))


@pytest.mark.parametrize("damage", [without_properties, with_broken_content])
@pytest.mark.parametrize("kind", [*KINDS, "p", "e"])
def test_damaged_row_is_named_by_the_failing_service_error_of_each_reader(
    whole_table: MemoryTable, kind: str, damage: Callable[[Mapping[str, Value]], dict[str, Value]]
) -> None:
    errors = []
    for number in range(len(list(readers(whole_table)))):
        read = list(readers(with_damage(whole_table, kind, damage)))[number]
        try:
            read()
        except DamagedRow as error:
            errors.append(error)
    assert errors or kind in ("r", "p", "e")  # only the list of runs reads a record; pointers have no content
    for failure in errors:
        assert error_kind(failure) == "service"
        assert f"in the partition {RULE.folder}" in str(failure)
        assert str(failure).split()[1].split("|")[0] == kind
        assert "delete it" in str(failure)
