"""The bridges between a change's actor and what the signals call him, as rule.yaml lists them in `identity`.

The audit log knows an e-mail. At runtime a caller says what it likes: OpenAI's `user` is deprecated for
`safety_identifier`, for which it recommends to hash the e-mail (openai-openapi, openapi.yaml), and `metadata`
is free. A bridge makes a key of either side, as KQL over result columns; equal keys are one identity. No value
of either side ever stands in a query, and so no salt either: whoever hashes with one lists the pairs in a file.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

OptionKind = Literal["exact", "hash", "metadata", "local-part", "mapping", "none"]
DigestEncoding = Literal["hex", "base64"]

HEX_DIGITS: Mapping[str, int] = {"sha256": 64, "sha1": 40, "md5": 32}  # of a digest
ALLOWED_OPTIONS = (
    "must be exact, local-part, none, {hash: sha256}, {metadata: <key>} or {mapping: <file>.csv}"
)

# An e-mail by who uses it at runtime, who may use several; and one runtime identity may be of several e-mails.
EmailsByUser = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class MatchingOption:
    """One bridge; `of` is its hash function, the key of the metadata, or its file, and `form` that of a digest."""

    kind: OptionKind
    parameter: str = ""
    encoding: DigestEncoding = "hex"

    @property
    def name(self) -> str:
        """What alerts and records call it: exact, sha256:hex, metadata:<key>, local-part, mapping, none."""
        if self.kind == "hash":
            return f"{self.parameter}:{self.encoding}"
        return f"metadata:{self.parameter}" if self.kind == "metadata" else self.kind

    @property
    def description(self) -> str:
        """What people read of it."""
        encoding_text = " in base64" if self.encoding == "base64" else ""
        return {
            "exact": "the same identity",
            "hash": f"{self.parameter} of the e-mail{encoding_text}",
            "metadata": f"{self.parameter} in the metadata",
            "local-part": "local part of the e-mail, which others may share",
            "mapping": self.parameter,
            "none": "nothing: signals of anybody after the change",
        }[self.kind]

    def change_key_steps(self, column: str, actor: str) -> list[str]:
        """KQL, step by step, that makes `column` of the actor's column; no step: the actor is the key."""
        if self.kind == "local-part":
            return [f'{column} = extract(@"^(.*)@", 1, {actor})']
        if self.kind != "hash":
            return []
        digest = f"{column} = hash_{self.parameter}(tolower({actor}))"
        return (
            [digest]
            if self.encoding == "hex"
            else [digest, *_base64_of_hex(column, HEX_DIGITS[self.parameter])]
        )

    def signal_key(self, user: str, metadata: str) -> str:
        """KQL for the signals' key, of the column that says `user` or the one of all metadata; empty: the user is the key."""
        if self.kind == "metadata":
            return f'tolower(tostring({metadata}["{self.parameter}"]))'
        if self.kind == "hash" and self.encoding == "base64":  # with or without padding, in either alphabet
            return f'replace_string(replace_string(trim_end("=+", tolower({user})), "-", "+"), "_", "/")'
        return ""


EXACT = MatchingOption("exact")


def parse_option(written: object) -> MatchingOption:
    """A bridge as rule.yaml writes it. Raises ValueError."""
    if isinstance(written, MatchingOption):
        return written
    if written in ("exact", "local-part", "none"):
        return MatchingOption(written)
    match written:
        case {"hash": str(hash_name), **rest} if hash_name in HEX_DIGITS and not rest.keys() - {"as"}:
            return MatchingOption("hash", hash_name, _encoding(rest.get("as", "hex")))
        case {"hash": _}:
            raise ValueError(f"hash must be {', '.join(HEX_DIGITS)}, beside it only `as`")
        case {"metadata": str(key), **rest} if not rest:
            return MatchingOption("metadata", _metadata_key(key))
        case {"mapping": str(file), **rest} if not rest:
            if not re.fullmatch(r"\w[\w.-]*\.csv", file, re.ASCII):
                raise ValueError("mapping must be the name of a .csv file beside rule.yaml")
            return MatchingOption("mapping", file)
    raise ValueError(ALLOWED_OPTIONS)


def option_problems(options: Sequence[MatchingOption]) -> Iterator[str]:
    """What is wrong with a list of bridges."""
    kinds = [option.kind for option in options]
    if "none" in kinds and len(options) > 1:
        yield "identity: none matches everybody, and so stands alone"
    if len(set(options)) < len(options):
        yield "identity: a bridge stands twice"
    if kinds.count("mapping") > 1:
        yield "identity: there can be one mapping"


def _encoding(written: object) -> DigestEncoding:
    if written == "hex":
        return "hex"
    if written == "base64":
        return "base64"
    raise ValueError("as must be hex or base64")


def _metadata_key(key: str) -> str:
    """OpenAI takes keys of up to 64 characters; the key becomes part of the query."""
    if not re.fullmatch(r'[^"\\\x00-\x1f\x7f]{1,64}', key):
        raise ValueError("metadata must be a key of 1 to 64 characters, without quotes and backslashes")
    return key


# -------------------------------------------------------------------------------------------------------- base64 in KQL


def _base64_of_hex(column: str, digits: int) -> Iterator[str]:
    """Steps that turn a digest in hex into base64, in lower case (as the rules have the user) and without padding.

    Kusto makes base64 only of text, or of bytes that it has no way to make of hex. So every hex digit becomes four
    letters for its bits, and every six of those, closed by a dot so that they are found nowhere else, become one.
    """
    padding = "0" * (-digits % 3)
    padded = f'strcat({column}, "{padding}")'
    yield f"{column} = {_replaced(padded, {f'{digit:x}': _bits(digit, 4) for digit in range(16)})}"
    yield f'{column} = replace_regex({column}, "(.{{6}})", @"\\1.")'
    # In several steps: no parser likes an expression that is nested too deep.
    alphabet = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz0123456789+/"
    for start in range(0, 64, 16):
        letters = {f"{_bits(value, 6)}.": alphabet[value] for value in range(start, start + 16)}
        yield f"{column} = {_replaced(column, letters)}"
    yield f"{column} = substring({column}, 0, {-(-digits * 4 // 6)})"


def _replaced(expression: str, texts: Mapping[str, str]) -> str:
    for old, new in texts.items():
        expression = f'replace_string({expression}, "{old}", "{new}")'
    return expression


def _bits(value: int, width: int) -> str:
    """The bits as letters that are no hex digits."""
    return f"{value:0{width}b}".replace("0", "p").replace("1", "q")
