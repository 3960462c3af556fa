"""The port Table: one contract for every implementation."""

from collections.abc import Iterator

import pytest

from benchmarks.table_double import SortedTable, serving_table
from detection.store.azure_table import open_table
from detection.store.table import (
    MAX_CONFLICTS,
    Conflict,
    ConflictCount,
    Delete,
    Insert,
    MemoryTable,
    Operation,
    Put,
    Replace,
    Table,
    Value,
)
from tests.support.azurite import connection_string
from tests.support.builders import START

KIB = 2**10
MIB = 2**20
RULE = "rule"

# Azurite counts an entity as it is sent, in base64; the service counts what it stores.
NOT_ON_AZURITE = pytest.mark.parametrize("table", ["MemoryTable"], indirect=True)


@pytest.fixture(params=["MemoryTable", "AzureTable", "AzureTable on the double"])
def table(request: pytest.FixtureRequest) -> Table:
    if request.param == "MemoryTable":
        return MemoryTable()
    fixture = "azure_table" if request.param == "AzureTable" else "table_on_the_double"
    azure_table: Table = request.getfixturevalue(fixture)
    return azure_table


@pytest.fixture
def table_on_the_double() -> Iterator[Table]:
    """A table on the double of the benchmarks, which answers at once."""
    with serving_table(SortedTable(START)) as port:
        yield open_table(connection_string(port), "incidents", None)


def write(table: Table, *operations: Operation) -> None:
    table.write(RULE, operations)


def values(table: Table, row: str) -> dict[str, Value] | None:
    entity = table.get(RULE, row)
    return dict(entity.values) if entity else None


def version(table: Table, row: str) -> str:
    entity = table.get(RULE, row)
    assert entity is not None
    return entity.version


def all_rows(table: Table) -> dict[str, dict[str, Value]]:
    return {entity.row: dict(entity.values) for entity in table.scan(RULE, "", "~")}


def sized(properties: int, size: int) -> dict[str, Value]:
    return {f"b{number}": bytes(size) for number in range(properties)}


# ----------------------------------------------------------------------------------------------------------- reading


def test_a_row_that_is_not_there_is_none(table: Table) -> None:
    assert table.get(RULE, "a") is None


@pytest.mark.parametrize(
    "value",
    ["", "ключ 🔑 \x00\n'\"", 0, -(2**31), 2**40, True, False, b"", b"\x00\xff"],
    # pytest does not find a test by a name with a backslash.
    ids=["empty text", "text", "0", "-2^31", "2^40", "True", "False", "no bytes", "bytes"],
)
def test_a_value_comes_back_as_it_was_written(table: Table, value: Value) -> None:
    write(table, Insert("a", {"value": value}))

    stored = values(table, "a")

    assert stored == {"value": value}
    assert type(stored["value"]) is type(value)


def test_table_in_memory_has_the_clock_that_a_caller_passes_in() -> None:
    table, clocked_table = MemoryTable(), MemoryTable(lambda: START)
    for memory_table in (table, clocked_table):
        memory_table.write(RULE, [Put("a", {})])
    entity, clocked_entity = table.get(RULE, "a"), clocked_table.get(RULE, "a")

    assert entity
    assert clocked_entity
    assert (table.date(), entity.written) == (None, None)
    assert (clocked_table.date(), clocked_entity.written) == (START, START)


def test_a_row_may_have_no_values(table: Table) -> None:
    write(table, Put("a", {}))

    assert values(table, "a") == {}


def test_a_scan_returns_its_range_without_the_end_in_the_order_of_the_keys(table: Table) -> None:
    write(table, *(Insert(row, {}) for row in ("c", "a|2", "b", "a|10", "a", "d")))

    assert [entity.row for entity in table.scan(RULE, "a|", "c")] == ["a|10", "a|2", "b"]
    assert [entity.row for entity in table.scan(RULE, "b", "d")] == ["b", "c"]


def test_a_scan_of_nothing_is_empty(table: Table) -> None:
    assert list(table.scan(RULE, "a", "b")) == []


def test_a_scan_brings_values_and_versions(table: Table) -> None:
    write(table, Insert("a", {"n": 1}))

    (entity,) = table.scan(RULE, "a", "b")

    assert entity == table.get(RULE, "a")


def test_names_are_those_of_the_scanned_rows_over_several_pages(table: Table) -> None:
    write(table, *(Insert(row, {"text": "x" * 99}) for row in ("c", "a|2", "b", "a|10", "a", "d")))

    assert list(table.names(RULE, "a|", "d", page=2)) == ["a|10", "a|2", "b", "c"]
    assert list(table.names(RULE, "x", "y")) == []


def test_rows_may_be_written_while_a_scan_goes_on(table: Table) -> None:
    write(table, *(Insert(row, {}) for row in "abc"))

    for entity in table.scan(RULE, "a", "z"):
        write(table, Delete(entity.row), Put(f"done-{entity.row}", {}))

    assert set(all_rows(table)) >= {"done-a", "done-b", "done-c"}


def test_partitions_do_not_see_each_other(table: Table) -> None:
    write(table, Insert("a", {"n": 1}))
    table.write("other", [Insert("a", {"n": 2})])

    assert values(table, "a") == {"n": 1}
    assert len(list(table.scan("other", "", "~"))) == 1


# ----------------------------------------------------------------------------------------------------------- writing


def test_insert_refuses_a_row_that_exists(table: Table) -> None:
    write(table, Insert("a", {"n": 1}))

    with pytest.raises(Conflict):
        write(table, Insert("a", {"n": 2}))

    assert values(table, "a") == {"n": 1}


def test_replace_writes_over_the_version_it_knows(table: Table) -> None:
    write(table, Insert("a", {"n": 1, "old": True}))

    write(table, Replace("a", {"n": 2}, version(table, "a")))

    assert values(table, "a") == {"n": 2}


def test_replace_refuses_a_version_that_is_gone(table: Table) -> None:
    write(table, Insert("a", {"n": 1}))
    old_version = version(table, "a")
    write(table, Put("a", {"n": 2}))

    with pytest.raises(Conflict):
        write(table, Replace("a", {"n": 3}, old_version))

    assert values(table, "a") == {"n": 2}


def test_replace_refuses_a_row_that_is_not_there(table: Table) -> None:
    with pytest.raises(Conflict):
        write(table, Replace("a", {}, 'W/"1"'))

    assert values(table, "a") is None


def test_replace_refuses_a_row_that_was_removed_and_written_again(table: Table) -> None:
    write(table, Insert("a", {"n": 1}))
    old_version = version(table, "a")
    write(table, Delete("a"))
    write(table, Insert("a", {"n": 1}))

    with pytest.raises(Conflict):
        write(table, Replace("a", {"n": 2}, old_version))


def test_every_write_gives_a_row_a_new_version(table: Table) -> None:
    write(table, Put("a", {"n": 1}))
    first_version = version(table, "a")

    write(table, Put("a", {"n": 1}))

    assert version(table, "a") != first_version


def test_put_writes_whether_the_row_exists_or_not(table: Table) -> None:
    write(table, Put("a", {"n": 1, "old": True}))
    write(table, Put("a", {"n": 2}))

    assert values(table, "a") == {"n": 2}


def test_delete_removes_a_row(table: Table) -> None:
    write(table, Insert("a", {}), Insert("b", {}))

    write(table, Delete("a"))

    assert all_rows(table) == {"b": {}}


def test_deleting_a_row_that_is_not_there_is_no_error(table: Table) -> None:
    write(table, Delete("a"))
    write(table, Delete("a"), Put("b", {"n": 1}))

    assert all_rows(table) == {"b": {"n": 1}}


@pytest.mark.parametrize("position", range(4))
def test_a_conflict_leaves_nothing_of_its_transaction(table: Table, position: int) -> None:
    write(table, Insert("a", {"n": 1}), Insert("b", {"n": 1}))
    rows_before = all_rows(table)
    operations: list[Operation] = [Put("a", {"n": 2}), Delete("b"), Insert("c", {"n": 2})]
    operations.insert(position, Replace("d", {}, 'W/"1"'))

    with pytest.raises(Conflict):
        write(table, *operations)

    assert all_rows(table) == rows_before


def test_what_was_stored_does_not_change_with_the_writers_dictionary(table: Table) -> None:
    row_values: dict[str, Value] = {"n": 1}
    write(table, Put("a", row_values))

    row_values["n"] = 2

    assert values(table, "a") == {"n": 1}


# ------------------------------------------------------------------------------------------------- the service's limits


def test_a_transaction_may_have_100_operations(table: Table) -> None:
    write(table, *(Put(f"{number}", {}) for number in range(100)))

    assert len(all_rows(table)) == 100


def test_101_operations_are_refused(table: Table) -> None:
    with pytest.raises(ValueError, match="101 operations"):
        write(table, *(Put(f"{number}", {}) for number in range(101)))


def test_a_transaction_of_nothing_is_refused(table: Table) -> None:
    with pytest.raises(ValueError, match="0 operations"):
        write(table)


def test_a_row_that_stands_twice_is_refused(table: Table) -> None:
    with pytest.raises(ValueError, match="twice"):
        write(table, Put("a", {}), Delete("a"))


@pytest.mark.parametrize("value", [bytes(64 * KIB), "x" * (32 * KIB)], ids=["bytes", "text"])
def test_a_property_may_take_64_kib(table: Table, value: Value) -> None:
    write(table, Put("a", {"value": value}))

    assert values(table, "a") == {"value": value}


@pytest.mark.parametrize(
    "value",
    [bytes(64 * KIB + 1), "x" * (32 * KIB + 1), "🔑" * (16 * KIB + 1)],
    ids=["bytes", "text", "astral"],
)
def test_a_larger_property_is_refused(table: Table, value: Value) -> None:
    with pytest.raises(ValueError, match=r"a\.value takes .* 65536 are allowed"):
        write(table, Put("a", {"value": value}))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_beyond_64_bits_is_refused(table: Table, number: int) -> None:
    with pytest.raises(ValueError, match=r"a\.number is beyond 64 bits"):
        write(table, Put("a", {"number": number}))


@NOT_ON_AZURITE
def test_an_entity_of_more_than_1_mib_is_refused(table: Table) -> None:
    write(table, Put("a", sized(15, 64 * KIB)))

    with pytest.raises(ValueError, match="1048576 are allowed"):
        write(table, Put("a", sized(17, 62 * KIB)))


@NOT_ON_AZURITE
def test_a_request_of_more_than_4_mib_as_sent_is_refused(table: Table) -> None:
    # In base64 three bytes are four: 3 MiB would fill the request without any framing.
    write(table, *(Put(row, sized(15, 60 * KIB)) for row in "abc"))

    with pytest.raises(ValueError, match="4194304 are allowed"):
        write(table, *(Put(row, sized(15, 60 * KIB)) for row in "abcd"))


def test_more_than_252_properties_are_refused(table: Table) -> None:
    write(table, Put("a", sized(252, 1)))

    with pytest.raises(ValueError, match="253 properties"):
        write(table, Put("a", sized(253, 1)))


@pytest.mark.parametrize("character", ["/", "\\", "#", "?", "\t", "\n", "\x00", "\x1f", "\x7f", "\x9f"])
def test_a_key_with_a_forbidden_character_is_refused(table: Table, character: str) -> None:
    with pytest.raises(ValueError, match="cannot be a key"):
        write(table, Put(f"a{character}b", {}))
    with pytest.raises(ValueError, match="cannot be a key"):
        table.write(f"a{character}b", [Put("a", {})])


@pytest.mark.parametrize("key", ["x" * 513, "🔑" * 257], ids=["plain", "astral"])
def test_a_key_of_more_than_1_kib_is_refused(table: Table, key: str) -> None:
    with pytest.raises(ValueError, match="cannot be a key"):
        write(table, Put(key, {}))


def test_a_key_may_have_1_kib(table: Table) -> None:
    write(table, Put("x" * 512, {}))

    assert len(all_rows(table)) == 1


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "a.b", "naïve", "x" * 256])
def test_a_name_that_no_property_can_have_is_refused(table: Table, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a property"):
        write(table, Put("a", {name: 1}))


def test_a_refused_transaction_leaves_nothing(table: Table) -> None:
    with pytest.raises(ValueError, match="cannot be a property"):
        write(table, Put("a", {}), Put("b", {"no name": 1}))

    assert all_rows(table) == {}


# --------------------------------------------------------------------------------------------------------- conflicts


def test_count_is_exceeded_by_the_last_conflict_that_is_allowed_over_the_same_lock() -> None:
    conflicts = ConflictCount("v1")

    assert [conflicts.is_exceeded("v1") for _ in range(MAX_CONFLICTS)] == [False, False, True]


def test_count_begins_again_when_another_process_has_changed_the_lock() -> None:
    conflicts = ConflictCount("v1")
    locks = ["v1", "v1", "v2", "v2", "v2", "v2"]

    assert [conflicts.is_exceeded(lock) for lock in locks] == [*[False] * 5, True]
