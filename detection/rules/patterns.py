r"""Patterns of silences and exclusions: `*` and `?` are wildcards, `\` escapes them, case is ignored.

`*` stands for any text, `?` for one character. `\*`, `\?` and `\\` are the characters themselves. Every other
character means itself, `[` too. Addresses are compared as addresses: `::ffff:203.0.113.7` is `203.0.113.7`.
"""

import re
from collections.abc import Callable
from fnmatch import translate
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

# Characters of a value that are compared: the author of a log row must not decide how long the comparison
# takes.
MAX_COMPARED = 1_024
# Bits of the prefix of the widest network that a criterion may name, by IP version: 10.0.0.0/8 is the widest
# private network (RFC 1918, 3).
WIDEST_PREFIX = {4: 8, 6: 16}

_TOKEN = re.compile(r"\\[*?\\]|.", re.DOTALL)
_MAPPED = "::ffff:"  # before an IPv4 address in IPv6 (RFC 4291, 2.5.5.2)


def literal_pattern(value: str) -> str:
    """A pattern that matches only this value, even if the author of the log row put wildcards into it."""
    return re.sub(r"[*?\\]", r"\\\g<0>", value[:MAX_COMPARED])


def matches_everything(pattern: str) -> bool:
    """Whether a pattern has wildcards and names nothing: no letter, no digit, no escaped wildcard."""
    tokens = _TOKEN.findall(pattern)
    return any(token in {"*", "?"} for token in tokens) and not any(
        token.isalnum() or token in {r"\*", r"\?"} for token in tokens
    )


def covers_all_addresses(pattern: str) -> bool:
    """Whether a criterion for addresses is a network wider than WIDEST_PREFIX, or matches everything."""
    if network := parse_network(pattern):
        return network.prefixlen < WIDEST_PREFIX[network.version]
    return matches_everything(pattern)


@lru_cache(maxsize=1_024)
def pattern_matcher(pattern: str) -> Callable[[str], bool]:
    # In the language of fnmatch, a set of one character is that character.
    tokens = (
        f"[{token[-1]}]" if token in {r"\*", r"\?", "["} else token[-1]
        for token in _TOKEN.findall(pattern.lower())
    )
    regex = re.compile(translate("".join(tokens)))
    return lambda value: regex.match(value[:MAX_COMPARED].lower()) is not None


@lru_cache(maxsize=1_024)
def address_matcher(pattern: str) -> Callable[[str], bool]:
    """A matcher of IP addresses by an address or a network, or else by a pattern."""
    if network := parse_network(pattern):
        return lambda value: (address := _parse_address(value)) is not None and address in network
    is_mapped = pattern.lower().startswith(_MAPPED) and "." in pattern
    matches = pattern_matcher(pattern[len(_MAPPED) :] if is_mapped else pattern)
    return lambda value: matches(value) or matches(str(_parse_address(value) or value))


def parse_network(pattern: str) -> IPv4Network | IPv6Network | None:
    """The network that a criterion for addresses names, IPv4 wherever it can be; None if it is a pattern."""
    try:
        network = ip_network(pattern.strip(), strict=False)
    except ValueError:
        return None
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:  # the bits of _MAPPED
        mapped_address = network.network_address.ipv4_mapped
        if mapped_address is not None:
            return IPv4Network((mapped_address, network.prefixlen - 96))
    return network


def _parse_address(value: str) -> IPv4Address | IPv6Address | None:
    """The address, IPv4 wherever it can be; None if the value is not an address."""
    try:
        address = ip_address(value.strip())
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address
