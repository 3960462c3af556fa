"""Rows of many keys: complete and in few requests, however the wanted keys lie among the others."""

from collections.abc import Iterator
from random import Random

import pytest

from detection.store.key_rows import KEYS_PER_SCAN, SPARSE, rows_of_keys
from detection.store.table import Entity, Insert, MemoryTable
from tests.support.examples import examples, many

RULE = "rule"


class Pages:
    """A table that counts the requests of its scans."""

    def __init__(self, rows: list[str]) -> None:
        self._table = MemoryTable()
        self.requests = 0
        for row in rows:
            self._table.write(RULE, [Insert(row, {})])

    def scan(self, start: str, end: str, page: int) -> Iterator[Entity]:
        for number, entity in enumerate(self._table.scan(RULE, start, end)):
            self.requests += number % page == 0 and number > 0
            yield entity

    def read(self, start: str, end: str, page: int) -> Iterator[Entity]:
        self.requests += 1
        return self.scan(start, end, page)


def digest(number: int) -> str:
    return f"{number:032x}"


def names(pages: Pages, digests: list[str], page: int) -> list[str]:
    return [entity.row for entity in rows_of_keys(pages.read, "m", digests, page)]


@many
def test_exactly_the_rows_of_the_wanted_keys_come_in_their_order() -> None:
    for seed in range(examples(200, many=3_000)):
        random = Random(seed)
        keys = [digest(number) for number in range(random.choice((1, 5, 40)))]
        rows = sorted(
            f"m|{key}|{part}" if part else f"m|{key}" for key in keys for part in range(random.randrange(4))
        )
        wanted = [*random.sample(keys, random.randrange(len(keys) + 1)), digest(10**6)]
        pages = Pages([*rows, "l|before", "n|behind"])

        read_rows = names(pages, wanted, random.choice((1, 2, 3, SPARSE, 25)))

        assert read_rows == [row for row in rows if row.split("|")[1] in wanted], seed


def test_no_keys_take_no_request() -> None:
    pages = Pages(["m|a"])
    assert names(pages, [], 10) == []
    assert pages.requests == 0


@pytest.mark.parametrize(
    "keys, apart, requests",
    [
        pytest.param(400, 1, 5, id="dense: a request for each full page, and one for the end"),
        pytest.param(3, 1_000, 4, id="far apart: about one for each key"),
    ],
)
def test_requests_are_few(keys: int, apart: int, requests: int) -> None:
    pages = Pages([f"m|{digest(number)}" for number in range(keys * apart)])
    assert len(names(pages, [digest(number * apart) for number in range(keys)], 100)) == keys
    assert pages.requests <= requests


def test_many_keys_are_read_by_several_scans_at_the_same_time() -> None:
    rows = [f"m|{digest(number)}" for number in range(2 * KEYS_PER_SCAN + 1)]
    pages = Pages(rows)
    assert names(pages, [row[2:] for row in rows], 1_000) == rows
    assert pages.requests == 3
