"""Patterns of silences and exclusions: which values they match."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.base.errors import ConfigurationError
from detection.rules.patterns import MAX_COMPARED, address_matcher, literal_pattern, pattern_matcher
from detection.rules.silences import parse_silence

MATCHES = {
    "itself": ("carol@example.com", "carol@example.com", True),
    "in other case": ("CAROL@example.com", "carol@Example.com", True),
    "the whole value only": ("carol", "carol@example.com", False),
    "a star is any text": ("carol@*", "carol@example.com", True),
    "a star is no text too": ("carol*", "carol", True),
    "a star spans lines": ("a*c", "a\nb\nc", True),
    "a question mark is one character": ("o?", "o3", True),
    "a question mark is not two": ("o?", "o31", False),
    "brackets are no set": ("svc[bot]@example.com", "svc[bot]@example.com", True),
    "brackets match no member": ("svc[bot]@example.com", "svcb@example.com", False),
    "a negated set is text": ("[!a]", "[!a]", True),
    "an open bracket": ("a[", "a[", True),
    "an escaped star is a star": (r"a\*", "a*", True),
    "an escaped star is no wildcard": (r"a\*", "ab", False),
    "an escaped question mark is no wildcard": (r"a\?", "ab", False),
    "an escaped backslash, then a star": (r"CONTOSO\\*", "CONTOSO\\carol", True),
    "a backslash before a letter is a backslash": (r"CONTOSO\carol", "CONTOSO\\carol", True),
    "a backslash at the end": ("a\\", "a\\", True),
}


@pytest.mark.parametrize("pattern, value, expected", MATCHES.values(), ids=MATCHES)
def test_pattern_matches(pattern: str, value: str, expected: bool) -> None:
    assert pattern_matcher(pattern)(value) is expected


@given(st.text(alphabet="ab*?\\[]!^-", min_size=1, max_size=12), st.text(alphabet="ab*?\\[]!^-", max_size=12))
def test_literal_pattern_matches_its_own_value_and_no_other(value: str, other_value: str) -> None:
    matches = pattern_matcher(literal_pattern(value))
    assert matches(value)
    assert matches(other_value) is (value == other_value)


def test_matching_takes_no_longer_for_a_value_made_to_slow_it_down() -> None:
    assert not pattern_matcher("*a" * 500 + "b")("a" * MAX_COMPARED)  # backtracking would never end


ADDRESSES = {
    "IPv4 in IPv6, of a network": ("203.0.113.0/24", "::ffff:203.0.113.7", True),
    "IPv4 in IPv6, of an address": ("203.0.113.7", "::FFFF:203.0.113.7", True),
    "IPv4 in IPv6 in hexadecimal": ("203.0.113.7", "::ffff:cb00:7107", True),
    "IPv4 of a network in IPv6": ("::ffff:203.0.113.0/120", "203.0.113.7", True),
    "IPv4 outside a network in IPv6": ("::ffff:203.0.113.0/120", "203.0.114.7", False),
    "IPv4 of an address in IPv6": ("::ffff:203.0.113.7", "203.0.113.7", True),
    "IPv4 in IPv6, by pattern": ("203.0.113.*", "::ffff:203.0.113.7", True),
    "IPv4 by a pattern in IPv6": ("::ffff:203.0.113.*", "203.0.113.7", True),
    "IPv6 in long form": ("2001:db8::1", "2001:0DB8:0:0:0:0:0:1", True),
    "IPv6 in long form, by pattern": ("2001:db8::*", "2001:0db8:0:0:0:0:0:1", True),
    "an address with spaces": ("203.0.113.7", " 203.0.113.7 ", True),
    "no address": ("203.0.113.0/24", "localhost", False),
    "no address, by pattern": ("local*", "localhost", True),
    "no address is not called None": ("n*", "localhost", False),
    "the other version": ("2001:db8::/32", "203.0.113.7", False),
}


@pytest.mark.parametrize("pattern, value, expected", ADDRESSES.values(), ids=ADDRESSES)
def test_address_matches(pattern: str, value: str, expected: bool) -> None:
    assert address_matcher(pattern)(value) is expected


def test_mistyped_network_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="address: must be an IP address, a network"):
        parse_silence({"name": "a", "owner": "b", "reason": "c", "address": "203.0.113.0/33"})
