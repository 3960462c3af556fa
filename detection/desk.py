"""What people do with incidents: look, acknowledge, assign, comment, close, reopen, silence."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Literal, TypeVar
from uuid import uuid4

from detection.base.errors import ConfigurationError
from detection.base.timestamps import iso
from detection.incidents.acts import (
    AssignAct,
    CloseAct,
    CommentAct,
    IncidentAct,
    IncidentVersion,
    LiftAct,
    SilenceAct,
)
from detection.incidents.alert import Alert
from detection.incidents.incident import (
    Action,
    ActRefused,
    HistoryEntry,
    Incident,
    RulePrecision,
    rule_precision,
)
from detection.incidents.keys import Key
from detection.incidents.silencing import matches_alert
from detection.messages.text import escape_name, plural
from detection.rules.loading import RuleFault, placeholder_rule
from detection.rules.model import Rule
from detection.rules.patterns import literal_pattern
from detection.rules.silences import Silence, end_of_silence
from detection.settings import Webhook
from detection.store.gaps import Gap, GapList
from detection.store.incident_list import IncidentList, ListHead, Selection, page_table, read_page
from detection.store.incident_store import IncidentStore
from detection.store.layout import DamagedRow, OnDamage, raise_damage
from detection.store.outbox import DeadLetter, Delivery, Queued, table_outbox
from detection.store.silence_list import SilenceList, new_silence
from detection.store.table import MAX_CONFLICTS, Conflict, Operation, Table

Result = TypeVar("Result")
LOOK_BACK = timedelta(days=7)  # of the alerts that a new silence is compared with
OPEN_INCIDENTS = Selection(("new", "acknowledged"))
OPEN_PAGE = 500  # incidents of a request
MAX_IDS = 3  # that an error names
ID_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_ALERTS = 1_000  # compared with a new silence: each is a request


class NoIncident(ConfigurationError):
    """No rule that runs has an incident of that id."""


class Stale(ActRefused):
    """The author of an act has not seen what others did, or which alerts arrived. Its text says both."""


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
class RuleSilence:
    """A silence or exclusion of a rule."""

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

    `compared` counts the alerts that were compared, at most MAX_ALERTS. If it is not exact, there are more.
    """

    matching: int
    compared: int
    exact: bool = True

    @property
    def text(self) -> str:
        """The numbers in words."""
        bound = "" if self.exact else "+"
        alerts = "alert" if self.compared == 1 else "alerts"
        return (
            f"its criteria match {self.matching:,}{bound} of {self.compared:,}{bound} {alerts} of the last "
            f"{LOOK_BACK.days} days, in part or as a whole"
        )


@dataclass(frozen=True, slots=True)
class Desk:
    """The incidents and silences of the rules that run, and of the rules that cannot run, whose exclusions
    are not known. Every call may raise ServiceError.

    Lists fail for a damaged row of the table, unless `on_damage` takes its error: then they leave it out.
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

    def for_list(self, position: str = "") -> "Desk":
        """The desk for the page of the list after a position, which reads its gaps and silences, and the
        incidents of the first page, in one request of each rule.
        """
        return replace(self, table=page_table(self.table, position))

    def incidents(self, on_damage: OnDamage = raise_damage) -> list[IncidentDetail]:
        """Every rule's incidents, the incident opened last comes first."""
        details = [
            IncidentDetail(folder, key, incident)
            for folder in self.folders
            for key, incident in IncidentList(self.table, folder).incidents(on_damage)
        ]
        return sorted(details, key=lambda detail: detail.incident.opened, reverse=True)

    def incident_page(
        self,
        selection: Selection,
        size: int,
        position: str = "",
        rule: str | None = None,
        on_damage: OnDamage = raise_damage,
        *,
        is_counted: bool = True,
    ) -> IncidentPage:
        """The next `size` selected incidents after a position, of one rule or (None) of all: open ones first,
        then the most severe, then those with the latest alert. They have no history, and long keys are
        truncated. Unless the first page `is_counted`, its head has only the rows that the page read.
        """
        folders = [folder for folder in self.folders if rule in (None, folder)]
        page = read_page(self.table, folders, selection, size, position, on_damage, is_counted=is_counted)
        details = [IncidentDetail(rule, summary.key, summary.incident) for rule, summary in page.summaries]
        return IncidentPage(details, page.end, page.head)

    def incident(self, name: str, on_damage: OnDamage = raise_damage) -> IncidentDetail:
        """An incident by its id, with its alerts. Raises NoIncident."""
        for folder in self.folders:
            if parts := IncidentList(self.table, folder).incident(name, on_damage):
                return IncidentDetail(folder, *parts)
        raise no_incident(name)

    def incident_by_prefix(self, prefix: str, on_damage: OnDamage = raise_damage) -> IncidentDetail:
        """An incident by its id or a beginning of it, such as `in_3f` or `3f`.

        Raises NoIncident if no incident or several incidents have it.
        """
        return self.incident(self.id_by_prefix(prefix), on_damage)

    def id_by_prefix(self, prefix: str) -> str:
        """The id with a beginning, or the beginning if no id has it. Raises NoIncident if several have it."""
        name = prefix if prefix.startswith("in_") else f"in_{prefix}"
        if not ID_PREFIX.fullmatch(name):
            return prefix
        lists = [IncidentList(self.table, folder) for folder in self.folders]
        ids = [incident for rule_list in lists for incident in islice(rule_list.ids(name), MAX_IDS + 1)]
        if len(ids) > 1 and name not in ids:
            names = ", ".join([*ids[:MAX_IDS], *(["and more"] if len(ids) > MAX_IDS else [])])
            raise NoIncident(f"several incidents begin with {name}: {names}; type more of the id")
        return name if name in ids else ids[0] if ids else prefix

    def neighbours(self, detail: IncidentDetail) -> tuple[Incident | None, Incident | None]:
        """The incidents of the same key before and after an incident, if the table has them undamaged."""
        incidents, incident = IncidentList(self.table, detail.rule), detail.incident
        before, after = None, None
        with suppress(DamagedRow):
            before = incidents.without_alerts(incident.predecessor) if incident.predecessor else None
        with suppress(DamagedRow):
            after = incidents.successor(detail.key, incident.id)
        return before, after

    def deliveries(self, name: str) -> list[Queued | DeadLetter]:
        """The messages of an incident that wait in the outbox or are dead letters."""
        return table_outbox(self.table, self.folders).messages_of(name)

    def acknowledge(self, act: IncidentAct) -> Incident:
        """Takes an incident on. Raises ActRefused for a closed incident.

        As every act on an incident it returns the incident as it is then, raises NoIncident, raises Stale if
        the author had not seen all of it, and Conflict if runs changed it again and again in between.
        """
        return self._update(act, self._entry(act, "acknowledged"))

    def assign(self, act: AssignAct) -> Incident:
        """Assigns an incident to a person, a closed one too; its status stays."""
        return self._update(act, replace(self._entry(act, "assigned"), assignee=act.assignee))

    def comment(self, act: CommentAct) -> Incident:
        """Adds a note to an incident's history; nothing else changes."""
        return self._update(act, self._entry(act, "commented"))

    def close(self, act: CloseAct) -> Incident:
        """Closes an incident, also an older one of its key, or replaces the classification."""
        return self._update(act, replace(self._entry(act, "closed"), classification=act.classification))

    def reopen(self, act: IncidentAct) -> Incident:
        """Reopens a closed incident. It takes no alerts. Raises ActRefused for an incident that is open."""
        return self._update(act, self._entry(act, "reopened"))

    def silence(self, rule: Rule, silence: Silence) -> SilenceMatches:
        """Adds a silence to a rule, and compares it with the rule's last alerts. Adding it again, with the
        same period, changes nothing. Raises ActRefused when the rule cannot honour it or has another of its
        name.
        """
        _require_columns(rule, silence)
        silences = SilenceList(self.table, rule.folder)
        try:
            silences.add(silence)
        except Conflict:
            stored = silences.silence(silence.name)
            if stored is None or stored.model_copy(update={"created": silence.created}) != silence:
                raise ActRefused(f"there is a silence {silence.name} already; see `silences list`") from None
        return self._matches(rule, silence)

    def silence_incident(self, act: SilenceAct) -> tuple[Silence, SilenceMatches]:
        """Silences an incident's actor, and writes so into the incident's history, with the alerts that the
        silence matches: both or neither.

        Raises ActRefused when the incident has several actors.
        """
        now, detail = self.clock(), self.incident(act.incident)
        silence = silence_of_incident(detail, act, now)
        rule = self.rule(detail.rule)
        _require_columns(rule, silence)
        matches = self._matches(rule, silence)
        note = f"{silence.period}: {act.note} ({matches.text})"
        self._update(act, replace(self._entry(act, "silenced"), note=note), [new_silence(silence)])
        return SilenceList(self.table, detail.rule).silence(silence.name) or silence, matches

    def silences(self, on_damage: OnDamage = raise_damage) -> list[RuleSilence]:
        """Every rule's exclusions, and its silences, ended ones too."""
        silences: list[RuleSilence] = []
        for folder in self.folders:
            exclusions = self.rule_or_placeholder(folder).exclusions
            silences += [RuleSilence(folder, "exclusion", exclusion) for exclusion in exclusions]
            stored = SilenceList(self.table, folder).silences(on_damage)
            silences += [RuleSilence(folder, "silence", silence) for silence in stored]
        return silences

    def active_silences(self, on_damage: OnDamage = raise_damage) -> list[RuleSilence]:
        """Every rule's silences and exclusions that have not ended, silences first."""
        now = self.clock()
        active = [silence for silence in self.silences(on_damage) if not silence.silence.has_ended(now)]
        return sorted(active, key=lambda silence: silence.kind, reverse=True)

    def open_gaps(self, on_damage: OnDamage = raise_damage) -> list[tuple[str, Gap]]:
        """Every rule's gaps that are not read, with its folder, the oldest first."""
        gaps = [
            (folder, gap)
            for folder in self.folders
            for gap in GapList(self.table, folder).open_gaps(on_damage)
        ]
        return sorted(gaps, key=lambda folder_and_gap: folder_and_gap[1].until)

    def open_gaps_of(self, name: str) -> list[tuple[str, Gap]]:
        """The open gaps of that id: several rules may have a gap of the same minute.

        Raises ConfigurationError when no rule has such a gap, or it is read or abandoned.
        """
        gaps = [
            (folder, gap)
            for folder in self.folders
            for gap in GapList(self.table, folder).gaps()
            if gap.id == name
        ]
        if open_gaps := [(folder, gap) for folder, gap in gaps if gap.is_open]:
            return open_gaps
        if not gaps:
            raise ConfigurationError(f"there is no gap {name}; `runs` lists the open gaps")
        states = ", ".join(
            f"{gap.state} at {iso(gap.closed)} for {folder}" for folder, gap in gaps if gap.closed
        )
        raise ConfigurationError(f"gap {name} is not open: {states}; `runs` lists the open gaps")

    def lift(self, act: LiftAct) -> list[Silence]:
        """Ends the silences of a name now; returns them. A scheduled silence never begins. Any other still
        covers the signals from before. Lifting again changes nothing if the author has lifted it.

        Raises ActRefused when none of that name is in force or scheduled.
        """
        return _repeat_after_conflict(lambda: self._lift(act, self.clock()))

    def _lift(self, act: LiftAct, now: datetime) -> list[Silence]:
        lists = [SilenceList(self.table, folder) for folder in self.folders if act.rule in (None, folder)]
        named = [
            (silence_list, silence)
            for silence_list in lists
            if (silence := silence_list.silence(act.silence)) is not None
        ]
        ending = [(silence_list, silence) for silence_list, silence in named if not silence.has_ended(now)]
        for silence_list, silence in ending:
            silence_list.lift(silence, act.author, now)
        lifters = {silence.lifted_by for _, silence in named}
        if not ending and act.author not in lifters:
            states = ", ".join(escape_name(f"{silence.name} is {silence.state(now)}") for _, silence in named)
            raise ActRefused(
                states or f"no silence {act.silence} is in force or scheduled; see `silences list`"
            )
        return [silence for _, silence in ending]

    def _matches(self, rule: Rule, silence: Silence) -> SilenceMatches:
        damages: list[DamagedRow] = []
        alerts = IncidentList(self.table, rule.folder).alerts_since(self.clock() - LOOK_BACK, damages.append)
        matches = [matches_alert(silence, alert) for alert in islice(alerts, MAX_ALERTS)]
        is_exact = not damages and next(alerts, None) is None
        return SilenceMatches(sum(matches), len(matches), is_exact)

    def _stored(self, name: str) -> tuple[str, Incident]:
        """An incident by its id, with its rule and without its alerts. Raises NoIncident."""
        for folder in self.folders:
            if incident := IncidentList(self.table, folder).without_alerts(name):
                return folder, incident
        raise no_incident(name)

    def _entry(self, act: IncidentAct, action: Action) -> HistoryEntry:
        return HistoryEntry(
            action, act.author, self.clock(), act.note, act.self_declared, request=act.request
        )

    def _update(self, act: IncidentAct, entry: HistoryEntry, rows: Sequence[Operation] = ()) -> Incident:
        """Carries out an act in one transaction, which writes its entry. After a conflict with a run it is
        tried again, unless the author has not seen what changed.
        """
        now, (rule, stored) = entry.time, self._stored(act.incident)
        version = act.version
        if version.acts is None:
            version = replace(version, acts=stored.acts)

        def change_once(incident: Incident) -> Incident:
            if any(earlier.request == entry.request for earlier in incident.history):
                return incident
            _require_version(incident, version)
            return incident.with_act(entry)

        def messages(incident: Incident, commit: int) -> Sequence[Delivery]:
            from detection.delivery.rendering import update_messages  # noqa: PLC0415  # most hours need no message

            closed_digests = self._closed_digests(rule, incident)
            return update_messages(self.destinations, incident, commit, now, closed_digests)

        def update() -> Incident:
            store = IncidentStore(self.table, rule, f"update {now.isoformat()} {uuid4().hex[:12]}")
            return store.update(stored.id, change_once, messages, rows)

        return _repeat_after_conflict(update)

    def _closed_digests(self, rule: str, incident: Incident) -> set[str]:
        """The digests of a closed incident whose other incidents are closed too."""
        if incident.status != "closed":
            return set()
        digests, position = set(incident.digests), ""
        damages: list[DamagedRow] = []
        while digests and not damages:
            page = read_page(self.table, [rule], OPEN_INCIDENTS, OPEN_PAGE, position, damages.append)
            for _, summary in page.summaries:
                if summary.incident.id != incident.id:
                    digests -= set(summary.incident.digests)
            if page.end is None:
                break
            position = page.end
        return set() if damages else digests  # a damaged row may be that of an open incident


def no_incident(name: str) -> NoIncident:
    """The error of an id that no incident has."""
    return NoIncident(f"there is no incident {name}; see `incidents list`")


def _repeat_after_conflict(act: Callable[[], Result]) -> Result:
    for _ in range(MAX_CONFLICTS):
        with suppress(Conflict):
            return act()
    return act()


def _require_version(incident: Incident, version: IncidentVersion) -> None:
    changes = []
    if version.alerts not in (None, incident.alerts):
        changes.append(f"new alerts arrived: there are {incident.alerts} now")
    if version.acts not in (None, incident.acts):
        unseen = max(incident.acts - (version.acts or 0), 0)
        entries = incident.history[-unseen:] if unseen else ()
        texts = [
            f"{escape_name(entry.author)} {escape_name(entry.action_text)} at {iso(entry.time)}"
            for entry in entries
        ]
        changes += texts or [f"its history has {plural(incident.acts, 'act')}"]
    if changes:
        raise Stale(f"{incident.id} has changed since you saw it: {'; '.join(changes)}; decide again")


def _require_columns(rule: Rule, silence: Silence) -> None:
    if unmapped := rule.unmapped_criteria(silence):
        raise ActRefused(f"{rule.folder} maps no column for {', '.join(unmapped)}")


def silence_of_incident(detail: IncidentDetail, act: SilenceAct, now: datetime) -> Silence:
    """A silence of an incident's only actor. Its name has a part of the request's id.

    Raises ActRefused if the incident has several actors.
    """
    actors = {alert.actor for alert in detail.alerts}
    if len(actors) != 1:
        raise ActRefused(
            f"{detail.incident.id} has {len(actors)} actors: name the silenced actor with `silences add`"
        )
    begins = act.begins or now
    return Silence(
        name=f"{detail.incident.id}-{sha256(act.request.encode()).hexdigest()[:8]}",
        owner=act.author,
        reason=act.note,
        created=now,
        begins=begins,
        expires=end_of_silence(begins, act.duration),
        actor=literal_pattern(actors.pop()),
    )


def rule_precisions(details: Sequence[IncidentDetail]) -> list[RulePrecision]:
    """How each rule's incidents were closed."""
    rules = dict.fromkeys(detail.rule for detail in details)
    return [
        rule_precision(rule, [detail.incident for detail in details if detail.rule == rule]) for rule in rules
    ]
