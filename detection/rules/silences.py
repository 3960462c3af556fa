"""Silences and exclusions: which pairs do not alert.

A silence has an end and is set by a person. An exclusion is data in the rule's folder. A pair that either
covers is counted as silenced or excluded, and never alerts, now or later.
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
# The Sentinel entities whose columns a criterion compares.
ENTITIES = {"address": "IP", "model": "CloudApplication"}
# Characters of a value that are compared: the author of a log row must not decide how long the comparison
# takes.
MAX_COMPARED = 1_024


def _day_start(value: object) -> object:
    """A date means the start of that day."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


UtcTime = Annotated[
    datetime,
    BeforeValidator(_day_start),
    AfterValidator(lambda moment: moment if moment.tzinfo else moment.replace(tzinfo=UTC)),
]
ShortText = Annotated[str, Field(min_length=1, max_length=500)]
Pattern = Annotated[str, Field(min_length=1, max_length=3 * MAX_COMPARED)]  # an escaped character takes three


def literal_pattern(value: str) -> str:
    """A pattern that matches only this value, even if the author of the log row put stars into it."""
    return escape(value[:MAX_COMPARED])


def parse_silence(values: Mapping[str, object]) -> "Silence":
    """Parses the request for a silence. Raises ConfigurationError that names each problem."""
    try:
        return Silence.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"no silence was made: {problems_of(error, 'a silence')}") from error


class Silence(BaseModel):
    """Which pairs are silenced, by whom, why, and until when (UTC). An exclusion need not end.

    A pair is silenced if it meets all criteria that are set. A criterion is a pattern with `*`, `?` and `[…]`
    that ignores case: `actor`; `address`, an IP address or network that the change came from; `change` and
    `signal`, their kinds (a signal's kind is its finish reason); `model`.
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
    def _has_criteria(self) -> Self:
        if not self.criteria:
            raise ValueError(f"needs at least one of {', '.join(CRITERIA)}: everything cannot be silenced")
        return self

    @property
    def criteria(self) -> dict[str, str]:
        """The patterns by criterion."""
        return {name: value for name in CRITERIA if (value := getattr(self, name)) is not None}

    def state(self, now: datetime) -> str:
        """Its state in words: in force, ended, or lifted and by whom."""
        if self.lifted_by:
            return f"lifted by {self.lifted_by}"
        return "in force" if self.is_in_force(now) else "ended"

    def is_in_force(self, now: datetime) -> bool:
        """Whether it is in force. It is not at its end, nor after it was lifted."""
        return not self.lifted_by and (self.expires is None or now < self.expires)
