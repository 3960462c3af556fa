"""What people do with incidents: look, acknowledge, close, silence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal
from uuid import uuid4

from detection.base.errors import ConfigurationError
from detection.base.timestamps import iso
from detection.incidents.alert import Alert
from detection.incidents.incident import (
    Classification,
    Incident,
    RulePrecision,
    acknowledged,
    closed,
    rule_precision,
    silenced,
)
from detection.incidents.keys import Key
from detection.incidents.silencing import matches_alert
from detection.messages.text import plural
from detection.rules.loading import RuleFault, placeholder_rule
from detection.rules.model import Rule
from detection.rules.patterns import literal_pattern
from detection.rules.silences import Silence, end_of_silence
from detection.settings import Webhook
from detection.store.gaps import Gap, GapList
from detection.store.incident_list import IncidentList, ListHead, Selection, read_page
from detection.store.incident_store import IncidentStore
from detection.store.outbox import DeadLetter, Delivery, Queued, table_outbox
from detection.store.silence_list import SilenceList
from detection.store.table import Conflict, Table

LOOK_BACK = timedelta(days=7)  # of the alerts that a new silence is compared with
MAX_ALERTS = 1_000  # compared with a new silence: each is a request


@dataclass(frozen=True, slots=True)
class IncidentDetail:
    """An incident with its rule and key; `alerts` are empty in lists."""

    rule: str
    key: Key
    incident: Incident
    alerts: Sequence[Alert] = ()


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """A page of the list of incidents. `end` is its position if more incidents may follow."""

    incidents: Sequence[IncidentDetail]
    end: str | None
    head: ListHead


@dataclass(frozen=True, slots=True)
class ActiveSilence:
    """A silence or exclusion of a rule that has not ended: in force or scheduled."""

    rule: str
    kind: Literal["silence", "exclusion"]
    silence: Silence

    @property
    def title(self) -> str:
        """Its name, rule and period in words."""
        return f"{self.kind} {self.silence.name} of {self.rule}, {self.silence.period}"


@dataclass(frozen=True, slots=True)
class SilenceMatches:
    """How many of the alerts of the last LOOK_BACK have values that a new silence matches.

    `compared` counts the alerts that were compared, at most MAX_ALERTS.
    """

    matching: int
    compared: int

    @property
    def text(self) -> str:
        """The numbers in words."""
        return (
            f"its criteria match {self.matching:,} of {plural(self.compared, 'alert')} of the last "
            f"{LOOK_BACK.days} days, in part or as a whole"
        )


@dataclass(frozen=True, slots=True)
class Desk:
    """The incidents and silences of the rules that run, and the incidents of the rules that cannot run. Every
    call may raise ServiceError.

    `self_declared` says that the author of a change named themselves and nothing checked the name.
    """

    rules: Sequence[Rule]
    table: Table
    destinations: Sequence[Webhook]
    clock: Callable[[], datetime]
    rule_faults: Sequence[RuleFault] = ()

    @property
    def folders(self) -> list[str]:
        """The folders of all these rules."""
        return [*(rule.folder for rule in self.rules), *(fault.folder for fault in self.rule_faults)]

    def rule(self, folder: str) -> Rule:
        """A rule that runs, by its folder. Raises ConfigurationError when no such rule runs."""
        if rule := next((rule for rule in self.rules if rule.folder == folder), None):
            return rule
        if fault := next((fault for fault in self.rule_faults if fault.folder == folder), None):
            raise ConfigurationError(fault.text)
        names = ", ".join(rule.folder for rule in self.rules)
        raise ConfigurationError(f"{folder} is not among the rules that run: {names}")

    def rule_or_placeholder(self, folder: str) -> Rule:
        """The rule of an incident. Of a rule that cannot run it has the name, and no columns for alerts."""
        return next((rule for rule in self.rules if rule.folder == folder), None) or placeholder_rule(folder)

    def incidents(self) -> list[IncidentDetail]:
        """Every rule's incidents, the incident opened last comes first."""
        details = [
            IncidentDetail(folder, key, incident)
            for folder in self.folders
            for key, incident in IncidentList(self.table, folder).incidents()
        ]
        return sorted(details, key=lambda detail: detail.incident.opened, reverse=True)

    def incident_page(self, selection: Selection, size: int, position: str = "") -> IncidentPage:
        """The next `size` selected incidents after a position: open ones first, then the most severe, then
        those with the latest alert. They have no history, and long keys are truncated.
        """
        page = read_page(self.table, self.folders, selection, size, position)
        details = [IncidentDetail(rule, summary.key, summary.incident) for rule, summary in page.summaries]
        return IncidentPage(details, page.end, page.head)

    def incident(self, name: str) -> IncidentDetail:
        """An incident by its id, with its alerts. Raises ConfigurationError when no rule has it."""
        for folder in self.folders:
            if parts := IncidentList(self.table, folder).incident(name):
                return IncidentDetail(folder, *parts)
        raise ConfigurationError(f"there is no incident {name}; see `incidents list`")

    def deliveries(self, name: str) -> list[Queued | DeadLetter]:
        """The messages of an incident that wait in the outbox or are dead letters."""
        return table_outbox(self.table, self.folders).messages_of(name)

    def acknowledge(
        self, detail: IncidentDetail, author: str, note: str = "", *, self_declared: bool = True
    ) -> None:
        """Takes an incident on. Raises Conflict when a run or another person changed it in between."""
        now = self.clock()
        self._update(
            detail, lambda incident: acknowledged(incident, author, now, note, self_declared=self_declared)
        )

    def close(
        self,
        detail: IncidentDetail,
        classification: Classification,
        author: str,
        note: str = "",
        *,
        self_declared: bool = True,
    ) -> None:
        """Closes an incident, also an older one of its key. Raises Conflict as `acknowledge` does."""
        now = self.clock()
        self._update(
            detail,
            lambda incident: closed(incident, classification, author, now, note, self_declared=self_declared),
        )

    def silence(self, rule: Rule, silence: Silence) -> SilenceMatches:
        """Adds a silence to a rule, and compares it with the rule's last alerts. Raises ConfigurationError
        when the rule cannot honour it or has one of its name.
        """
        if unmapped := rule.unmapped_criteria(silence):
            raise ConfigurationError(f"{rule.folder} maps no column for {', '.join(unmapped)}")
        try:
            SilenceList(self.table, rule.folder).add(silence)
        except Conflict:
            raise ConfigurationError(
                f"there is a silence {silence.name} already; see `silences list`"
            ) from None
        alerts = IncidentList(self.table, rule.folder).alerts_since(self.clock() - LOOK_BACK)
        matches = [matches_alert(silence, alert) for alert in islice(alerts, MAX_ALERTS)]
        return SilenceMatches(sum(matches), len(matches))

    def silence_incident(
        self,
        detail: IncidentDetail,
        duration: timedelta,
        author: str,
        reason: str,
        *,
        begins: datetime | None = None,
        self_declared: bool = True,
    ) -> tuple[Silence, SilenceMatches]:
        """Silences an incident's actor from `begins` (UTC, by default now) for a duration, and writes so into
        the incident's history, with the alerts that the silence matches.

        Raises ConfigurationError when the incident has several actors, or as `end_of_silence` and `silence`
        do.
        """
        now = self.clock()
        silence = silence_of_incident(detail, begins or now, duration, author, reason, now)
        matches = self.silence(self.rule(detail.rule), silence)
        note = f"{silence.period}: {reason} ({matches.text})"
        self._update(
            detail, lambda incident: silenced(incident, author, now, note, self_declared=self_declared)
        )
        return silence, matches

    def silences(self) -> list[tuple[Rule, Silence]]:
        """Every rule's exclusions, and its silences, ended ones too."""
        return [
            (rule, silence)
            for rule in self.rules
            for silence in (*rule.exclusions, *SilenceList(self.table, rule.folder).silences())
        ]

    def active_silences(self) -> list[ActiveSilence]:
        """Every rule's silences and exclusions that have not ended, silences first."""
        now = self.clock()
        actives = [
            ActiveSilence(rule.folder, "exclusion" if silence in rule.exclusions else "silence", silence)
            for rule, silence in self.silences()
            if not silence.has_ended(now)
        ]
        return sorted(actives, key=lambda active: active.kind, reverse=True)

    def open_gaps(self) -> list[tuple[Rule, Gap]]:
        """Every rule's gaps that are not read, the oldest first."""
        gaps = [(rule, gap) for rule in self.rules for gap in GapList(self.table, rule.folder).open_gaps()]
        return sorted(gaps, key=lambda rule_and_gap: rule_and_gap[1].until)

    def open_gaps_of(self, name: str) -> list[tuple[Rule, Gap]]:
        """The open gaps of that id: several rules may have a gap of the same minute.

        Raises ConfigurationError when no rule has such a gap, or it is read or abandoned.
        """
        gaps = [
            (rule, gap)
            for rule in self.rules
            for gap in GapList(self.table, rule.folder).gaps()
            if gap.id == name
        ]
        if open_gaps := [(rule, gap) for rule, gap in gaps if gap.state == "open"]:
            return open_gaps
        if not gaps:
            raise ConfigurationError(f"there is no gap {name}; `runs` lists the open gaps")
        states = ", ".join(
            f"{gap.state} at {iso(gap.closed)} for {rule.folder}" for rule, gap in gaps if gap.closed
        )
        raise ConfigurationError(f"gap {name} is not open: {states}; `runs` lists the open gaps")

    def lift(self, name: str, author: str, rule_name: str | None = None) -> None:
        """Ends the silences of a name now, of one rule or of all. A scheduled silence never begins. Any other
        still covers the signals from before.

        Raises ConfigurationError when none of that name is in force or scheduled.
        """
        now = self.clock()
        lists = [SilenceList(self.table, folder) for folder in self.folders if rule_name in (None, folder)]
        ending = [
            (silence_list, silence)
            for silence_list in lists
            for silence in silence_list.silences()
            if silence.name == name and not silence.has_ended(now)
        ]
        if not ending:
            raise ConfigurationError(f"no silence {name} is in force or scheduled; see `silences list`")
        for silence_list, silence in ending:
            silence_list.lift(silence, author, now)

    def _update(self, detail: IncidentDetail, change: Callable[[Incident], Incident]) -> None:
        now = self.clock()

        def messages(incident: Incident, commit: int) -> Sequence[Delivery]:
            from detection.delivery.rendering import update_messages  # noqa: PLC0415  # most hours need no message

            return update_messages(self.destinations, incident, commit, now)

        store = IncidentStore(self.table, detail.rule, f"update {now.isoformat()} {uuid4().hex[:12]}")
        store.update(detail.incident.id, change, messages)


def silence_of_incident(
    detail: IncidentDetail, begins: datetime, duration: timedelta, author: str, reason: str, now: datetime
) -> Silence:
    """A silence of an incident's only actor.

    Raises ConfigurationError if the incident has several actors, or as `end_of_silence` does.
    """
    actors = {alert.actor for alert in detail.alerts}
    if len(actors) != 1:
        raise ConfigurationError(
            f"{detail.incident.id} has {len(actors)} actors: name the silenced actor with `silences add`"
        )
    return Silence(
        name=f"{detail.incident.id}-{now:%Y%m%dT%H%M%S}",
        owner=author,
        reason=reason,
        created=now,
        begins=begins,
        expires=end_of_silence(begins, duration),
        actor=literal_pattern(actors.pop()),
    )


def rule_precisions(details: Sequence[IncidentDetail]) -> list[RulePrecision]:
    """How each rule's incidents were closed."""
    rules = dict.fromkeys(detail.rule for detail in details)
    return [
        rule_precision(rule, [detail.incident for detail in details if detail.rule == rule]) for rule in rules
    ]
