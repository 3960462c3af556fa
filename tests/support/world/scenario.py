"""What happens in a world: rows arrive, runs are executed and go wrong, people edit and silence."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Literal

from detection.incidents.decide import EVENTS_PER_PART, FLOOD
from detection.logs.window import MAX_CATCH_UP
from detection.rules.identity import parse_option
from detection.rules.loading import default_rule, load_rule
from detection.rules.model import Rule
from detection.rules.silences import Silence
from tests.support.builders import RULE, Method, grouped_by

SideName = Literal["changes", "signals"]
PairIds = tuple[str, str]
# How a signal may name an actor: the identity matching options by short names.
OptionName = Literal["exact", "sha256", "base64", "metadata", "local-part", "mapping", "none"]
METADATA_KEY = "employee"
THRESHOLD_KIND = "length"  # the kind of signal that has a threshold
_WRITTEN_OPTIONS: dict[OptionName, object] = {
    "exact": "exact",
    "sha256": {"hash": "sha256"},
    "base64": {"hash": "sha256", "as": "base64"},
    "metadata": {"metadata": METADATA_KEY},
    "local-part": "local-part",
    "mapping": {"mapping": "users.csv"},
    "none": "none",
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A row of the log store: what happened, and when it could first be read.

    The `actor` of a signal is the text that the caller sent as user; `employee` is in its metadata.
    """

    side: SideName
    id: str
    actor: str
    time: datetime
    stamped: datetime
    arrived: datetime
    kind: str = "content_filter"
    ip: str = "203.0.113.7"
    model: str = "gpt-4o-2024-08-06"
    employee: str = ""


@dataclass(frozen=True, slots=True)
class Mute:
    """A silence or an exclusion: the signals of [begins, expires) that meet all criteria do not alert."""

    name: str
    criteria: tuple[tuple[str, str], ...]
    begins: datetime | None = None
    expires: datetime | None = None

    def silence(self) -> Silence:
        """The same for the product."""
        return Silence.model_validate(
            {"name": self.name, "owner": "soc", "reason": "model", **dict(self.criteria)}
            | {name: bound for name in ("begins", "expires") if (bound := getattr(self, name))}
        )

    def covers(self, change: Arrival, signal: Arrival, signal_time: datetime) -> bool:
        """Whether it covers a pair, by the model's own reading of the criteria."""
        if (self.begins and signal_time < self.begins) or (self.expires and signal_time >= self.expires):
            return False
        texts = {"actor": change.actor, "change": change.kind, "signal": signal.kind, "model": signal.model}
        return all(
            _lies_in(change.ip, pattern) if name == "address" else fnmatchcase(texts[name], pattern)
            for name, pattern in self.criteria
        )


def _lies_in(ip: str, network: str) -> bool:
    address = ip_address(ip)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address) in ip_network(network)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What engineers set for a rule: in its folder, and in the settings of the job.

    `threshold` is the least number of signals of THRESHOLD_KIND that a change must reach. `mapping` holds the
    lines (email, user) of users.csv.
    """

    threshold: int = 1
    within: timedelta = RULE.sequence.within
    identity: tuple[OptionName, ...] = ("exact",)
    mapping: tuple[tuple[str, str], ...] = ()
    method: Method = "Selected"
    entities: tuple[str, ...] = ("Account",)
    exclusions: tuple[Mute, ...] = ()
    lateness: timedelta = RULE.lateness
    max_catch_up: timedelta = MAX_CATCH_UP

    @property
    def grouping(self) -> tuple[Method, frozenset[str]]:
        """The part of it that makes grouping keys."""
        return self.method, frozenset(self.entities if self.method == "Selected" else ())


UNEDITED = Configuration()
# Of a rule that runs nothing: a copy would take over the cached places of its columns.
_SEQUENCE = load_rule(default_rule()).sequence


@lru_cache(maxsize=1_000)
def rule_with(configuration: Configuration, folder: str = RULE.folder) -> Rule:
    """The rule of a folder with a configuration."""
    options = tuple(parse_option(_WRITTEN_OPTIONS[name]) for name in configuration.identity)
    threshold = {THRESHOLD_KIND: configuration.threshold} if configuration.threshold > 1 else {}
    sequence = _SEQUENCE.model_copy(
        update={"identity": options, "within": configuration.within, "threshold": threshold}
    )
    emails_by_user: dict[str, list[str]] = {}
    for email, user in configuration.mapping:
        emails_by_user.setdefault(user, []).append(email)
    return grouped_by(configuration.method, *configuration.entities).model_copy(
        update={
            "folder": folder,
            "sequence": sequence.with_key_columns(),
            "emails_by_user": emails_by_user,
            "exclusions": tuple(mute.silence() for mute in configuration.exclusions),
        }
    )


EditKind = Literal[
    "threshold", "within", "identity", "mapping", "exclusions", "lateness", "catch-up", "grouping"
]


@dataclass(frozen=True, slots=True)
class Edit:
    """From `moment` on, runs of a rule have this configuration."""

    moment: datetime
    configuration: Configuration
    kind: EditKind = "threshold"
    folder: str = RULE.folder


@dataclass(frozen=True, slots=True)
class Silencing:
    """At `moment` a person adds a silence to a rule, or lifts it."""

    moment: datetime
    mute: Mute
    lifts: bool = False
    folder: str = RULE.folder


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong with the writes of one run; they are counted from 1.

    `crash` dies before or after that write takes effect; `lost` writes take effect without an answer.
    """

    crash: int | None = None
    crash_after: bool = False
    lost: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of the rule `folder`: at `moment` the clock says `now`. With `gap` it reads an open gap instead,
    picked by that number; without open gaps nothing happens.

    The store is read a little after that: the changes and the signals each so much later. `race` is another
    whole run, executed just before the `race_at`-th access to the table. A run that anything is wrong with, or
    that is raced, may give up with a ServiceError; any other must complete. `close` picks the grouping key
    whose incident a person closes after the run.
    """

    moment: datetime
    now: datetime
    incomplete: bool = False
    limit: int = EVENTS_PER_PART
    faults: Faults = Faults()
    changes_later: timedelta = timedelta()
    signals_later: timedelta = timedelta()
    race: "Plan | None" = None
    race_at: int = 1
    close: int | None = None
    gap: int | None = None
    folder: str = RULE.folder

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong with it."""
        return not (self.incomplete or self.race or self.faults.crash or self.faults.lost)


@dataclass(frozen=True, slots=True)
class World:
    """All that happens: rows, runs, and how often a run was skipped that should have been.

    `configuration` is that of every rule before its first edit. The first run of a rule and its last two are
    never faulty. More than `storm` alerts in a run go out in one digest; a key keeps at most `flood` marks of
    signals.
    """

    name: str
    rows: Sequence[Arrival]
    plans: Sequence[Plan]
    skipped: int = 0
    storm: int | None = None
    flood: int = FLOOD
    retention: timedelta = timedelta(days=90)
    configuration: Configuration = UNEDITED
    edits: Sequence[Edit] = field(default=())
    silencings: Sequence[Silencing] = field(default=())

    @property
    def folders(self) -> list[str]:
        """The rules that run, in the order of their first runs."""
        return list(dict.fromkeys(plan.folder for plan in self.plans))

    def configuration_at(self, moment: datetime, folder: str) -> Configuration:
        """The configuration of a rule that is in force at a moment."""
        edits = [edit for edit in self.edits if edit.folder == folder and edit.moment <= moment]
        return edits[-1].configuration if edits else self.configuration
