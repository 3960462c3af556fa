"""Links in messages: valid for one incident until they expire, and signed with the key in the table."""

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from detection.delivery.deliver import SCHEDULE, next_due
from detection.delivery.signed_links import FORM_LIFETIME, PARTITION, ROW, LinkSigner, sign_link, verify_link
from detection.store.table import Delete, MemoryTable, Table
from tests.support.builders import START, TICK

BASE = "https://app.example/api"
KEY = bytes(range(32))
SECOND = timedelta(seconds=1)


def _link_parts(link: str) -> tuple[str, str, str]:
    """The parts of a link: the incident, the time of its end, and the signature."""
    parts = urlsplit(link)
    query = parse_qs(parts.query)
    return parts.path.rpartition("/")[2], query["until"][0], query["signature"][0]


LINK = sign_link(BASE, "in_1", START + timedelta(hours=1), KEY)


def test_link_names_incident_and_end_in_the_open() -> None:
    until = int((START + timedelta(hours=1)).timestamp())
    assert LINK.startswith(f"{BASE}/look/in_1?until={until}&signature=")


def test_link_opens_up_to_its_end_and_no_longer() -> None:
    end = START + timedelta(hours=1)
    assert [verify_link(*_link_parts(LINK), end + delay, KEY) for delay in (-SECOND, 0 * SECOND, TICK)] == [
        True,
        True,
        False,
    ]


def test_link_opens_no_other_incident() -> None:
    _, until, signature = _link_parts(LINK)
    assert not verify_link("in_2", until, signature, START, KEY)


def test_link_to_an_incident_with_a_lone_surrogate_opens_nothing() -> None:
    _, until, signature = _link_parts(LINK)
    assert not verify_link("in_1\ud800", until, signature, START, KEY)


def test_links_end_cannot_be_put_off() -> None:
    incident, until, signature = _link_parts(LINK)
    assert not verify_link(incident, str(int(until) + 1), signature, START, KEY)


def test_link_of_another_key_opens_nothing() -> None:
    assert not verify_link(*_link_parts(LINK), START, bytes(32))


def test_no_bit_of_a_signature_can_be_changed() -> None:
    incident, until, signature = _link_parts(LINK)
    raw = base64.urlsafe_b64decode(signature + "=")
    for bit in range(8 * len(raw)):
        forged_signature = bytearray(raw)
        forged_signature[bit // 8] ^= 1 << bit % 8
        assert not verify_link(
            incident, until, base64.urlsafe_b64encode(forged_signature).decode().rstrip("="), START, KEY
        )


@pytest.mark.parametrize(
    "until", ["", "-1", "1e12", "99999999999999999999", "１７", "17.5", " 17", "until", "0x10"]
)
def test_end_that_is_no_number_opens_nothing(until: str) -> None:
    assert not verify_link("in_1", until, _link_parts(LINK)[2], START, KEY)


@pytest.mark.parametrize(
    "signature",
    ["", "é", "\N{SNOWMAN}", "\ud800", "a" * 100_000],
    ids=["empty", "accent", "snowman", "surrogate", "long"],
)
def test_signature_that_is_none_opens_nothing(signature: str) -> None:
    assert not verify_link("in_1", _link_parts(LINK)[1], signature, START, KEY)


# ----------------------------------------------------------------------------------------------- with a table


def test_link_is_good_as_long_as_a_message_is_tried() -> None:
    signer = LinkSigner(MemoryTable(), BASE)
    link = _link_parts(signer.link_to("in_1", START) or "")
    assert signer.verify(*link, START + SCHEDULE)
    assert not signer.verify(*link, START + SCHEDULE + SECOND)


def test_schedule_is_the_time_from_the_first_attempt_to_the_last() -> None:
    due, attempt = START, 0
    while next_attempt := next_due(attempt + 1, due, None):
        due, attempt = next_attempt, attempt + 1
    assert due - START == SCHEDULE


def test_every_process_makes_the_same_link(azure_table: Table) -> None:
    assert LinkSigner(azure_table, BASE).link_to("in_1", START) == LinkSigner(azure_table, BASE).link_to(
        "in_1", START
    )


def test_of_many_that_make_the_key_at_once_one_does(azure_table: Table) -> None:
    with ThreadPoolExecutor(8) as executor:
        links = set(executor.map(lambda _: LinkSigner(azure_table, BASE).link_to("in_1", START), range(16)))
    assert len(links) == 1


def test_keys_of_two_tables_differ() -> None:
    link = LinkSigner(MemoryTable(), BASE).link_to("in_1", START) or ""
    other_signer = LinkSigner(MemoryTable(), BASE)
    other_signer.link_to("in_1", START)
    assert not other_signer.verify(*_link_parts(link), START)


def test_removed_key_ends_all_links_also_where_it_is_known_already() -> None:
    table = MemoryTable()
    signer = LinkSigner(table, BASE)
    link = _link_parts(signer.link_to("in_1", START) or "")
    table.write(PARTITION, [Delete(ROW)])
    assert not signer.verify(*link, START)


def test_looking_makes_no_key() -> None:
    table = MemoryTable()
    assert not LinkSigner(table, BASE).verify("in_1", "1800000000", "x", START)
    assert table.get(PARTITION, ROW) is None


def test_without_an_address_there_are_no_links_and_no_key() -> None:
    table = MemoryTable()
    assert LinkSigner(table, None).link_to("in_1", START) is None
    assert table.get(PARTITION, ROW) is None


# ------------------------------------------------------------------------------------------------------ forms


def test_form_is_taken_from_whom_it_was_shown_to_for_its_incident_until_its_end() -> None:
    signer = LinkSigner(MemoryTable(), None)
    token = signer.form_token("in_1", "alice", START)
    assert signer.verify_form_token(token, "in_1", "alice", START + FORM_LIFETIME)
    assert not signer.verify_form_token(token, "in_1", "alice", START + FORM_LIFETIME + SECOND)
    assert not signer.verify_form_token(token, "in_2", "alice", START)
    assert not signer.verify_form_token(token, "in_1", "bob", START)


def test_link_is_no_form_and_form_is_no_link() -> None:
    signer = LinkSigner(MemoryTable(), BASE)
    incident, until, signature = _link_parts(signer.link_to("in_1", START) or "")
    assert not signer.verify_form_token(f"{until}.{signature}", incident, "", START)
    until, _, signature = signer.form_token("in_1", "", START).partition(".")
    assert not signer.verify("in_1", until, signature, START)


@pytest.mark.parametrize("token", ["", ".", "1.2.3", "\ud800.\ud800", "99999999999." + "x" * 43])
def test_form_of_somebody_else_is_not_taken(token: str) -> None:
    signer = LinkSigner(MemoryTable(), None)
    signer.form_token("in_1", "", START)
    assert not signer.verify_form_token(token, "in_1", "", START)
