"""Links in messages: valid for one incident until they expire, and signed with the key of the settings."""

import base64
import subprocess
import sys
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from detection.delivery.deliver import SCHEDULE, next_due
from detection.delivery.signed_links import (
    FORM_LIFETIME,
    KEY_BYTES,
    PROCESS_KEY,
    LinkSigner,
    _signature,
)
from tests.support.builders import START, TICK

BASE = "https://app.example/api"
SECOND = timedelta(seconds=1)
LINK_KEY = SecretStr("k" * 32)
SIGNER = LinkSigner(LINK_KEY, BASE)
END = START + SCHEDULE  # of a link that is made at START


def _link_parts(link: str) -> tuple[str, str, str]:
    """The parts of a link: the incident, the time of its end, and the signature."""
    parts = urlsplit(link)
    query = parse_qs(parts.query)
    return parts.path.rpartition("/")[2], query["until"][0], query["signature"][0]


LINK = SIGNER.link_to("in_1", START) or ""


def test_link_names_incident_and_end_in_the_open() -> None:
    until = int(END.timestamp())
    assert LINK.startswith(f"{BASE}/look/in_1?until={until}&signature=")


def test_link_opens_up_to_its_end_and_no_longer() -> None:
    valid = [SIGNER.verify(*_link_parts(LINK), END + delay) for delay in (-SECOND, 0 * SECOND, TICK)]
    assert valid == [True, True, False]


def test_link_opens_no_other_incident() -> None:
    _, until, signature = _link_parts(LINK)
    assert not SIGNER.verify("in_2", until, signature, START)


def test_link_to_an_incident_with_a_lone_surrogate_opens_nothing() -> None:
    _, until, signature = _link_parts(LINK)
    assert not SIGNER.verify("in_1\ud800", until, signature, START)


def test_links_end_cannot_be_put_off() -> None:
    incident, until, signature = _link_parts(LINK)
    assert not SIGNER.verify(incident, str(int(until) + 1), signature, START)


def test_link_of_another_key_opens_nothing() -> None:
    assert not LinkSigner(SecretStr("n" * 32), BASE).verify(*_link_parts(LINK), START)


def test_no_bit_of_a_signature_can_be_changed() -> None:
    incident, until, signature = _link_parts(LINK)
    raw = base64.urlsafe_b64decode(signature + "=")
    for bit in range(8 * len(raw)):
        forged_signature = bytearray(raw)
        forged_signature[bit // 8] ^= 1 << bit % 8
        forged_text = base64.urlsafe_b64encode(forged_signature).decode().rstrip("=")
        assert not SIGNER.verify(incident, until, forged_text, START)


@pytest.mark.parametrize(
    "until", ["", "-1", "1e12", "99999999999999999999", "１７", "17.5", " 17", "until", "0x10"]
)
def test_end_that_is_no_number_opens_nothing(until: str) -> None:
    assert not SIGNER.verify("in_1", until, _link_parts(LINK)[2], START)


@pytest.mark.parametrize(
    "signature",
    ["", "é", "\N{SNOWMAN}", "\ud800", "a" * 100_000],
    ids=["empty", "accent", "snowman", "surrogate", "long"],
)
def test_signature_that_is_none_opens_nothing(signature: str) -> None:
    assert not SIGNER.verify("in_1", _link_parts(LINK)[1], signature, START)


# ------------------------------------------------------------------------------------------------------ a signer


def test_schedule_is_the_time_from_the_first_attempt_to_the_last() -> None:
    due, attempt = START, 0
    while next_attempt := next_due(attempt + 1, due, None):
        due, attempt = next_attempt, attempt + 1
    assert due - START == SCHEDULE


@pytest.mark.parametrize("key, address", [(LINK_KEY, None), (None, BASE)])
def test_without_an_address_or_a_key_there_are_no_links(key: SecretStr | None, address: str | None) -> None:
    assert LinkSigner(key, address).link_to("in_1", START) is None


def test_without_a_key_no_link_opens_also_not_with_the_key_of_forms() -> None:
    until = _link_parts(LINK)[1]
    signature = _signature(PROCESS_KEY, "look", "in_1", until)
    assert not LinkSigner(None, BASE).verify("in_1", until, signature, START)


# ------------------------------------------------------------------------------------------------------ forms


@pytest.mark.parametrize("key", [LINK_KEY, None])
def test_form_is_taken_from_whom_it_was_shown_to_for_its_incident_until_its_end(
    key: SecretStr | None,
) -> None:
    token = LinkSigner(key, None).form_token("in_1", "alice", START)
    signer = LinkSigner(key, None)  # of a later request
    assert signer.verify_form_token(token, "in_1", "alice", START + FORM_LIFETIME)
    assert not signer.verify_form_token(token, "in_1", "alice", START + FORM_LIFETIME + SECOND)
    assert not signer.verify_form_token(token, "in_2", "alice", START)
    assert not signer.verify_form_token(token, "in_1", "bob", START)


def test_without_a_key_every_process_makes_its_own() -> None:
    code = "from detection.delivery.signed_links import PROCESS_KEY; print(PROCESS_KEY.hex())"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (len(PROCESS_KEY), process.stdout.strip() != PROCESS_KEY.hex()) == (KEY_BYTES, True)


def test_link_is_no_form_and_form_is_no_link() -> None:
    incident, until, signature = _link_parts(LINK)
    assert not SIGNER.verify_form_token(f"{until}.{signature}", incident, "", START)
    until, _, signature = SIGNER.form_token("in_1", "", START).partition(".")
    assert not SIGNER.verify("in_1", until, signature, START)


@pytest.mark.parametrize("token", ["", ".", "1.2.3", "\ud800.\ud800", "99999999999." + "x" * 43])
def test_form_of_somebody_else_is_not_taken(token: str) -> None:
    assert not LinkSigner(LINK_KEY, None).verify_form_token(token, "in_1", "", START)
