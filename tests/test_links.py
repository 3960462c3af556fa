"""Links in messages: good for one incident and for a while, made with a key that lies beside the incidents."""

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from detection.capability import signed, verify
from detection.deliver import SCHEDULE, next_due
from detection.incidents.table import Delete, MemoryTable, Table
from detection.links import PARTITION, ROW, Links
from tests.builders import START, TICK

BASE = "https://app.example/api"
KEY = bytes(range(32))
SECOND = timedelta(seconds=1)


def _asked(link: str) -> tuple[str, str, str]:
    """What a request for a link says: the incident, until when, and the signature."""
    parts = urlsplit(link)
    asked = parse_qs(parts.query)
    return parts.path.rpartition("/")[2], asked["until"][0], asked["signature"][0]


LINK = signed(BASE, "in_1", START + timedelta(hours=1), KEY)


def test_link_names_incident_and_end_in_the_open() -> None:
    until = int((START + timedelta(hours=1)).timestamp())
    assert LINK.startswith(f"{BASE}/look/in_1?until={until}&signature=")


def test_link_opens_up_to_its_end_and_no_longer() -> None:
    end = START + timedelta(hours=1)
    assert [verify(*_asked(LINK), end + late, KEY) for late in (-SECOND, 0 * SECOND, TICK)] == [
        True,
        True,
        False,
    ]


def test_link_opens_no_other_incident() -> None:
    _, until, signature = _asked(LINK)
    assert not verify("in_2", until, signature, START, KEY)


def test_links_end_cannot_be_put_off() -> None:
    incident, until, signature = _asked(LINK)
    assert not verify(incident, str(int(until) + 1), signature, START, KEY)


def test_link_of_another_key_opens_nothing() -> None:
    assert not verify(*_asked(LINK), START, bytes(32))


def test_no_bit_of_a_signature_can_be_changed() -> None:
    incident, until, signature = _asked(LINK)
    raw = base64.urlsafe_b64decode(signature + "=")
    for bit in range(8 * len(raw)):
        other = bytearray(raw)
        other[bit // 8] ^= 1 << bit % 8
        assert not verify(incident, until, base64.urlsafe_b64encode(other).decode().rstrip("="), START, KEY)


@pytest.mark.parametrize(
    "until", ["", "-1", "1e12", "99999999999999999999", "１７", "17.5", " 17", "until", "0x10"]
)
def test_end_that_is_no_number_opens_nothing(until: str) -> None:
    assert not verify("in_1", until, _asked(LINK)[2], START, KEY)


@pytest.mark.parametrize("signature", ["", "é", "\N{SNOWMAN}", "a" * 100_000])
def test_signature_that_is_none_opens_nothing(signature: str) -> None:
    assert not verify("in_1", _asked(LINK)[1], signature, START, KEY)


# ------------------------------------------------------------------------------------------------------ with a table


def test_link_is_good_as_long_as_a_message_is_tried() -> None:
    links = Links(MemoryTable(), BASE)
    link = _asked(links.to("in_1", START) or "")
    assert links.opens(*link, START + SCHEDULE)
    assert not links.opens(*link, START + SCHEDULE + SECOND)


def test_schedule_is_the_time_from_the_first_attempt_to_the_last() -> None:
    due, attempt = START, 0
    while later := next_due(attempt + 1, due, None):
        due, attempt = later, attempt + 1
    assert due - START == SCHEDULE


def test_every_process_makes_the_same_link(azure_table: Table) -> None:
    assert Links(azure_table, BASE).to("in_1", START) == Links(azure_table, BASE).to("in_1", START)


def test_of_many_that_make_the_key_at_once_one_does(azure_table: Table) -> None:
    with ThreadPoolExecutor(8) as together:
        made = set(together.map(lambda _: Links(azure_table, BASE).to("in_1", START), range(16)))
    assert len(made) == 1


def test_keys_of_two_tables_differ() -> None:
    link = Links(MemoryTable(), BASE).to("in_1", START) or ""
    other = Links(MemoryTable(), BASE)
    other.to("in_1", START)
    assert not other.opens(*_asked(link), START)


def test_removed_key_ends_all_links_also_where_it_is_known_already() -> None:
    table = MemoryTable()
    links = Links(table, BASE)
    link = _asked(links.to("in_1", START) or "")
    table.write(PARTITION, [Delete(ROW)])
    assert not links.opens(*link, START)


def test_looking_makes_no_key() -> None:
    table = MemoryTable()
    assert not Links(table, BASE).opens("in_1", "1800000000", "x", START)
    assert table.get(PARTITION, ROW) is None


def test_without_an_address_there_are_no_links_and_no_key() -> None:
    table = MemoryTable()
    assert Links(table, None).to("in_1", START) is None
    assert table.get(PARTITION, ROW) is None
