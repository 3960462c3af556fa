"""Silences and exclusions: which pairs do not alert.

A silence has an end and is set by a person. An exclusion is data in the rule's folder. A pair that either
covers is counted as silenced or excluded, and never alerts, now or later. The signal's own time decides
whether a pair is covered, never the time of the run: rows arrive late.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
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
from detection.rules.patterns import (
    MAX_COMPARED,
    WIDEST_PREFIX,
    covers_all_addresses,
    matches_everything,
    parse_network,
)

CRITERIA = ("actor", "address", "change", "signal", "model")
# The Sentinel entities whose columns a criterion compares.
ENTITIES = {"address": "IP", "model": "CloudApplication"}
LONGEST_SILENCE = timedelta(days=30)  # of a silence; an exclusion needs no end


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
Pattern = Annotated[str, Field(min_length=1, max_length=2 * MAX_COMPARED)]  # an escaped character takes two


def _require_network(pattern: str) -> str:
    """Refuses a mistyped network, which would never match: no address contains a slash."""
    if "/" in pattern and not parse_network(pattern):
        raise ValueError("must be an IP address, a network such as 203.0.113.0/24, or a pattern")
    return pattern


def parse_silence(values: Mapping[str, object]) -> "Silence":
    """Parses the request for a silence. Raises ConfigurationError that names each problem."""
    try:
        return Silence.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"no silence was made: {problems_of(error, 'a silence')}") from error


def end_of_silence(begins: datetime, duration: timedelta) -> datetime:
    """The end of a silence. Raises ConfigurationError for a duration of more than LONGEST_SILENCE."""
    if duration > LONGEST_SILENCE:
        raise ConfigurationError(
            f"a silence lasts at most {LONGEST_SILENCE.days} days; shorten it, or write an exclusion into "
            "exclusions.yaml"
        )
    return begins + duration


class Silence(BaseModel):
    """Which pairs are silenced, by whom, why, and from when to when (UTC).

    It covers signals whose own time lies in [begins, expires). A bound that is not set does not limit: an
    exclusion need not end. `created` is the time at which it was made.

    A pair is silenced if it meets all criteria that are set. A criterion is a pattern (patterns.py): `actor`;
    `address`, an IP address or network that the change came from; `change` and `signal`, their kinds (a
    signal's kind is its finish reason); `model`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,60}$")]
    owner: ShortText
    reason: ShortText
    created: UtcTime | None = None
    begins: UtcTime | None = None
    expires: UtcTime | None = None
    lifted_by: str = ""
    actor: Pattern | None = None
    address: Annotated[Pattern, AfterValidator(_require_network)] | None = None
    change: Pattern | None = None
    signal: Pattern | None = None
    model: Pattern | None = None

    @model_validator(mode="after")
    def _names_pairs(self) -> Self:
        if not self.criteria:
            raise ValueError(f"needs at least one of {', '.join(CRITERIA)}: everything cannot be silenced")
        if all(
            covers_all_addresses(pattern) if name == "address" else matches_everything(pattern)
            for name, pattern in self.criteria.items()
        ):
            raise ValueError(
                "matches every pair: give a pattern with a letter or digit, or a network of at least "
                f"/{WIDEST_PREFIX[4]} (IPv6: /{WIDEST_PREFIX[6]})"
            )
        return self

    @property
    def criteria(self) -> dict[str, str]:
        return {name: value for name in CRITERIA if (value := getattr(self, name)) is not None}

    @property
    def criteria_text(self) -> str:
        return ", ".join(f"{name} {pattern}" for name, pattern in self.criteria.items())

    @property
    def period(self) -> str:
        """The time that it covers, in words."""
        begins, expires = (
            f"{bound:%Y-%m-%d %H:%M}" if bound else "" for bound in (self.begins, self.expires)
        )
        bounds = [f"from {begins}" if begins else "", f"until {expires}" if expires else ""]
        return f"{' '.join(filter(None, bounds))} UTC" if begins or expires else "without an end"

    def covers(self, earliest: datetime, latest: datetime) -> bool:
        """Whether it covers a part of the time from `earliest` to `latest`, both inclusive."""
        has_begun = self.begins is None or self.begins <= latest
        return has_begun and not self.has_ended(earliest)

    def state(self, now: datetime) -> str:
        """Its state in words: scheduled, in force, ended, or lifted and by whom."""
        if self.lifted_by:
            return f"lifted by {self.lifted_by}"
        if self.has_ended(now):
            return "ended"
        return "in force" if self.covers(now, now) else "scheduled"

    def has_ended(self, now: datetime) -> bool:
        """Whether it has ended. A silence that was lifted ended then."""
        return self.expires is not None and self.expires <= now
