"""Identity matching options: how signals name the actor of a change, as rule.yaml lists them in `identity`.

The audit log names an e-mail. At runtime a caller sends any text: OpenAI deprecates `user` for
`safety_identifier`, which it recommends to fill with a hash of the e-mail (openai-openapi, openapi.yaml), and
`metadata` is free. An option computes a key of either side, as KQL over result columns; equal keys are one
identity. A query contains no value of either side, and so no salt: an owner of salted hashes lists the pairs
in a file (a mapping).
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

# The e-mails of each runtime identity. An identity may have several e-mails, and an e-mail several
# identities.
EmailsByUser = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class MatchingOption:
    """An identity matching option. `parameter` is its hash function, metadata key or mapping file."""

    kind: OptionKind
    parameter: str = ""
    encoding: DigestEncoding = "hex"

    @property
    def name(self) -> str:
        """Its name in alerts and records: exact, sha256:hex, metadata:<key>, local-part, mapping, none."""
        if self.kind == "hash":
            return f"{self.parameter}:{self.encoding}"
        return f"metadata:{self.parameter}" if self.kind == "metadata" else self.kind

    @property
    def description(self) -> str:
        """Its description for people."""
        encoding_text = " in base64" if self.encoding == "base64" else ""
        return {
            "exact": "the same identity",
            "hash": f"{self.parameter} of the e-mail{encoding_text}",
            "metadata": f"{self.parameter} in the metadata",
            "local-part": "local part of the e-mail, which others may share",
            "mapping": self.parameter,
            "none": "nothing: any signal after the change",
        }[self.kind]

    def change_key_steps(self, column: str, actor: str) -> list[str]:
        """KQL assignments that compute `column` from the actor's column; [] if the actor itself is the key.

        A digest in base64 is in lower case, as the rules have the user, and without padding. Kusto makes
        base64 only of text, or of bytes that it cannot make of hex. So every hex digit becomes four letters
        for its bits, and every six of those become a base64 letter. A dot closes each six, so that they match
        only at their place.
        """
        if self.kind == "local-part":
            return [f'{column} = extract(@"^(.*)@", 1, {actor})']
        if self.kind != "hash":
            return []
        steps = [f"{column} = hash_{self.parameter}(tolower({actor}))"]
        if self.encoding == "hex":
            return steps
        digits = HEX_DIGITS[self.parameter]
        padded = f'strcat({column}, "{"0" * (-digits % 3)}")'
        letters = {f"{digit:x}": _bits(digit, 4) for digit in range(16)}
        steps += [
            f"{column} = {_replaced(padded, letters)}",
            f'{column} = replace_regex({column}, "(.{{6}})", @"\\1.")',
        ]
        # Several steps, because query parsers limit the depth of an expression.
        alphabet = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz0123456789+/"
        for start in range(0, 64, 16):
            letters = {f"{_bits(value, 6)}.": alphabet[value] for value in range(start, start + 16)}
            steps.append(f"{column} = {_replaced(column, letters)}")
        return [*steps, f"{column} = substring({column}, 0, {-(-digits * 4 // 6)})"]

    def signal_key(self, user: str, metadata: str) -> str:
        """KQL for the key of a signal, from its `user` or `metadata` column; "" if the user is the key."""
        if self.kind == "metadata":
            return f'tolower(tostring({metadata}["{self.parameter}"]))'
        if self.kind == "hash" and self.encoding == "base64":  # with or without padding, in either alphabet
            return f'replace_string(replace_string(trim_end("=+", tolower({user})), "-", "+"), "_", "/")'
        return ""


EXACT = MatchingOption("exact")


def parse_option(written: object) -> MatchingOption:
    """Parses an option as rule.yaml writes it. Raises ValueError."""
    if isinstance(written, MatchingOption):
        return written
    if written in ("exact", "local-part", "none"):
        return MatchingOption(written)
    match written:
        case {"hash": str(hash_name), **rest} if hash_name in HEX_DIGITS and not rest.keys() - {"as"}:
            encoding = rest.get("as", "hex")
            if encoding == "hex":
                return MatchingOption("hash", hash_name, "hex")
            if encoding == "base64":
                return MatchingOption("hash", hash_name, "base64")
            raise ValueError("as must be hex or base64")
        case {"hash": _}:
            raise ValueError(f"hash must be {', '.join(HEX_DIGITS)}; only `as` may be next to it")
        case {"metadata": str(key), **rest} if not rest:
            # OpenAI takes keys of up to 64 characters; the key becomes part of the query.
            if not re.fullmatch(r'[^"\\\x00-\x1f\x7f]{1,64}', key):
                raise ValueError(
                    "metadata must be a key of 1 to 64 characters, without quotes and backslashes"
                )
            return MatchingOption("metadata", key)
        case {"mapping": str(file), **rest} if not rest:
            if not re.fullmatch(r"\w[\w.-]*\.csv", file, re.ASCII):
                raise ValueError("mapping must be the name of a .csv file next to rule.yaml")
            return MatchingOption("mapping", file)
    raise ValueError(ALLOWED_OPTIONS)


def option_problems(options: Sequence[MatchingOption]) -> Iterator[str]:
    kinds = [option.kind for option in options]
    if "none" in kinds and len(options) > 1:
        yield "identity: none matches every actor, so it must be the only option"
    if len(set(options)) < len(options):
        yield "identity: an option is listed twice; remove it"
    if kinds.count("mapping") > 1:
        yield "identity: only one mapping is allowed; put all pairs into one file"


def _replaced(expression: str, texts: Mapping[str, str]) -> str:
    for old, new in texts.items():
        expression = f'replace_string({expression}, "{old}", "{new}")'
    return expression


def _bits(value: int, width: int) -> str:
    """The bits as letters that are not hex digits."""
    return f"{value:0{width}b}".replace("0", "p").replace("1", "q")
