"""What pages nobody: silences, which end, and exclusions, which stand as data beside the rule.

A pair that one of them names is decided: it is counted, and never told, now or later.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from glob import escape
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from detection.base.errors import ConfigurationError, problems_of

CRITERIA = ("actor", "address", "change", "signal", "model")
# The Sentinel entities whose columns a criterion looks at.
ENTITIES = {"address": "IP", "model": "CloudApplication"}
MAX_COMPARED = (
    1_024  # characters of a value that are compared: who writes the logs does not decide how long it takes
)


def _day_start(value: object) -> object:
    """A day means its beginning."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def _with_zone(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


UtcTime = Annotated[datetime, BeforeValidator(_day_start), AfterValidator(_with_zone)]
ShortText = Annotated[str, Field(min_length=1, max_length=500)]
Pattern = Annotated[str, Field(min_length=1, max_length=3 * MAX_COMPARED)]  # each character in brackets


def literal_pattern(value: str) -> str:
    """A pattern that only describes this value: who writes the logs may write stars."""
    return escape(value[:MAX_COMPARED])


def parse_silence(values: Mapping[str, object]) -> "Silence":
    """A silence as somebody asks for it. Raises ConfigurationError that names what is wrong."""
    try:
        return Silence.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"no silence was made: {problems_of(error, 'a silence')}") from error


class Silence(BaseModel):
    """Who silenced which pairs, why, and until when (UTC); an exclusion need not end.

    A pair is silenced if all criteria given hold. Each is a pattern with `*`, `?` and `[…]`, whatever the case:
    `actor`; `address`, an IP address or network that the change came from; `change` and `signal`, their kinds (a
    signal's kind is its finish reason); `model`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,60}$")]
    owner: ShortText
    reason: ShortText
    created: UtcTime | None = None
    expires: UtcTime | None = None
    lifted_by: str = ""
    actor: Pattern | None = None
    address: Pattern | None = None
    change: Pattern | None = None
    signal: Pattern | None = None
    model: Pattern | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.criteria:
            msg = f"needs at least one of {', '.join(CRITERIA)}: everything cannot be silenced"
            raise ValueError(msg)
        return self

    @property
    def criteria(self) -> dict[str, str]:
        """What a pair must have, by criterion."""
        return {name: value for name in CRITERIA if (value := getattr(self, name)) is not None}

    def state(self, now: datetime) -> str:
        """How it stands, in a word or two."""
        if self.lifted_by:
            return f"lifted by {self.lifted_by}"
        return "in force" if self.is_in_force(now) else "ended"

    def is_in_force(self, now: datetime) -> bool:
        """Whether it is in force; at its end, or lifted, it no longer is."""
        return not self.lifted_by and (self.expires is None or now < self.expires)
