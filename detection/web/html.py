"""The incident page as HTML: without scripts, and nothing is loaded.

Text from the logs passes the filters `escaped`, `named` or `titled`: it is on one line, inert, and names are
inside <bdi>, marked if they mix scripts.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from detection.app import Job
from detection.base.html import content_policy, page_templates
from detection.base.timestamps import iso
from detection.desk import IncidentDetail
from detection.incidents.acts import NOTE
from detection.incidents.incident import Incident
from detection.messages.facts import FIRST_STEPS
from detection.messages.links import portal_link
from detection.messages.text import escape_line, escape_name, plural, script_mark
from detection.rules.model import Rule
from detection.store.incident_list import Count
from detection.store.outbox import DeadLetter
from detection.web.access import Visitor
from detection.web.actor import ActorPage, actor_id
from detection.web.exchange import Request, RequestRefused, Response, with_query
from detection.web.incident_view import IncidentView, duration_text, incident_view, windows_of
from detection.web.listing import (
    FILTER_FIELDS,
    PER_PAGE,
    SEVERITIES_SHOWN,
    STATUSES,
    Listing,
    ListQuery,
    RowFault,
)
from detection.web.timeline import timeline

EVIDENCE_PAGE = re.compile(r"[0-9]{1,4}")
VALUE_WIDTH = 500  # characters of one value
SILENCE_LENGTHS = {"PT4H": "4 hours", "P1D": "a day", "P7D": "a week", "P30D": "30 days"}
CLASSIFICATION_HELP = {
    "true-positive": "It happened and was not allowed.",
    "benign": "It happened and was allowed.",
    "false-positive": "It did not happen as described.",
    "undetermined": "The evidence does not settle it.",
}


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """The state of the messages of an incident to one destination."""

    destination: str
    state: Literal["waiting", "dead", "sent"]
    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What came of an act, at the top of a page. If it was refused, the forms have what was typed."""

    text: str
    is_refusal: bool = False
    typed: Mapping[str, str] = field(default_factory=dict)


def list_page(
    listing: Listing,
    query: ListQuery,
    rules: Sequence[str],
    visitor: Visitor,
    tokens: Mapping[str, str],
    now: datetime,
    path: str,
    notice: Notice | None = None,
) -> Response:
    """A page of the list of incidents and silences, at a path. `tokens` are its forms' tokens by subject."""
    incidents, key = f"{'../' * path.count('/')}incidents", visitor.access_key

    def list_url(**changed: object) -> str:
        """The address of the list with the fields of the query, some of them changed, from its first page."""
        return with_query(incidents, **{**query.texts, "after": None, "format": None, **changed, "code": key})

    def local_time(time: datetime) -> str:
        return f"{time.astimezone(query.zone):%Y-%m-%d %H:%M %Z}" if query.zone else ""

    return _page(
        "list.html",
        now,
        visitor=visitor,
        listing=listing,
        query=query,
        rules=rules,
        statuses=STATUSES,
        severities=SEVERITIES_SHOWN,
        classifications=CLASSIFICATION_HELP,
        list_url=list_url,
        list_path=with_query(incidents, code=key),
        is_filtered=any(name in query.texts for name in FILTER_FIELDS),
        per_page=PER_PAGE,
        local_time=local_time,
        tokens=tokens,
        close_url=with_query(f"{incidents}/selected/close", **query.texts, code=key),
        lift_url=with_query(f"{incidents}/silences/lift", code=key),
        incident_url=lambda name: with_query(f"{incidents}/{name}", code=key),
        notice=notice,
    )


def incident_page(
    job: Job,
    detail: IncidentDetail,
    visitor: Visitor,
    form: str,
    now: datetime,
    request: Request,
    faults: Sequence[RowFault],
    notice: Notice | None = None,
) -> Response:
    """An incident, with forms if the visitor can act. `form` is the token of the forms, `faults` are the rows
    of its alerts that cannot be read.
    """
    path, query = request.path, request.query
    incidents = f"{'../' * path.count('/')}incidents"
    number = query.get("evidence", "")

    def evidence_url(page: int) -> str:
        address = f"{'../' * path.count('/')}{path.partition('/')[0]}/{detail.incident.id}"
        access = {name: query.get(name) for name in ("until", "signature", "code")}
        return with_query(address, evidence=page, **access) + "#evidence"

    rule, runs = job.desk.rule_or_placeholder(detail.rule), detail.rule in {rule.folder for rule in job.rules}
    if not runs:
        detail = replace(detail, alerts=())  # without the rule's columns no evidence can be shown
    view = incident_view(detail, rule, int(number) if EVIDENCE_PAGE.fullmatch(number) else 1)
    portal, settings = None, job.settings
    if detail.alerts and settings.LOG_ANALYTICS_RESOURCE_ID:
        portal = portal_link(
            settings.LOG_ANALYTICS_RESOURCE_ID,
            settings.LOG_ANALYTICS_ENDPOINT,
            rule,
            windows_of(detail.alerts[-1]),
        )
    before, after = job.desk.neighbours(detail) if visitor.can_act else (None, None)
    actor = detail.incident.actor
    actor_url = with_query(
        f"{incidents}/actors/{actor_id(actor)}", incident=detail.incident.id, code=visitor.access_key
    )
    return _page(
        "incident.html",
        now,
        before=before,
        after=after,
        actor_url=actor_url if actor and visitor.can_act else "",
        visitor=visitor,
        incident=detail.incident,
        alerts=detail.alerts,
        rule=rule,
        runs=runs,
        view=view,
        timeline=timeline(view, rule),
        deliveries=delivery_states(job, detail, rule, view),
        steps=rule.on_call.runbook[:FIRST_STEPS],
        runbook=rule.on_call.runbook_url,
        silence_lengths=SILENCE_LENGTHS,
        portal=portal,
        classifications=CLASSIFICATION_HELP,
        form=form,
        evidence_url=evidence_url,
        faults=faults,
        url=lambda *names: with_query("/".join((incidents, *names)), code=visitor.access_key),
        notice=notice,
    )


def actor_html(page: ActorPage, visitor: Visitor, now: datetime, query: Mapping[str, str]) -> Response:
    """A week of an actor. `query` is that of the request."""
    key = visitor.access_key
    return _page(
        "actor.html",
        now,
        title=escape_name(page.name),
        visitor=visitor,
        page=page,
        is_asked=query.get("logs") == "1",
        home=with_query("../../incidents", code=key),
        ask_url=with_query(page.id, incident=query.get("incident"), logs=1, code=key),
        incident_url=lambda name: with_query(f"../{name}", code=key),
        actor_url=lambda actor: with_query(actor.id, incident=actor.incident, code=key),
    )


def failure_page(request: Request, refusal: RequestRefused, fields: Mapping[str, str]) -> Response:
    """Why a request was refused, and what to do, with links back. A form sends the fields again."""
    urls: dict[str, str] = {}
    with suppress(RequestRefused):  # of an address that leads nowhere
        folder, *names = request.path.split("/")
        if folder == "incidents" and request.access_mode != "link":
            root, key = f"{'../' * len(names)}incidents", request.access_key
            if len(names) == 2 and names[0] not in ("silences", "selected", "messages", "actors"):  # an act
                urls["Back to the incident"] = with_query(f"{root}/{names[0]}", code=key)
            urls["All incidents"] = with_query(root, code=key)
    return _page("failure.html", None, refusal.status, reason=refusal.reason, fields=fields, urls=urls)


def delivery_states(job: Job, detail: IncidentDetail, rule: Rule, view: IncidentView) -> list[DeliveryState]:
    """The messages by destination: dead letters first, then waiting ones. A sent message leaves no row."""
    states = []
    for message in job.desk.deliveries(detail.incident.id):
        delivery = message.delivery
        if isinstance(message, DeadLetter):
            states.append(DeliveryState(delivery.destination, "dead", f"given up: {message.reason}"))
        else:
            attempts = f"tried {plural(delivery.attempt, 'time')}, next" if delivery.attempt else "due"
            states.append(DeliveryState(delivery.destination, "waiting", f"{attempts} {iso(delivery.due)}"))
    pending = {state.destination for state in states}
    states += [
        DeliveryState(destination.name, "sent", "no message waits: sent alone or in a digest")
        for destination in job.settings.destinations
        if rule.on_call.mode == "page"
        and destination.accepts(view.severity)
        and destination.name not in pending
    ]
    order = ("dead", "waiting", "sent")
    return sorted(states, key=lambda state: (order.index(state.state), state.destination))


def count_text(count: Count) -> str:
    """A count in digits, with + if there may be more; empty if none was reached."""
    return f"{count.number:,}{'' if count.exact else '+'}" if count.exact or count.number else ""


def outcome(incident: Incident) -> str:
    """What people did with an incident, in words: "was closed as benign by Ann"."""
    acts = [entry for entry in incident.history if entry.action in ("acknowledged", "closed", "reopened")]
    if incident.status == "new":
        return "is new"
    if not acts:  # of an incident whose history dropped them
        return f"was {incident.status}" + (
            f" as {incident.classification}" if incident.classification else ""
        )
    return f"was {escape_name(acts[-1].action_text)} by {escape_name(acts[-1].author)}"


def named(name: str) -> Markup:
    """A name or an id from the logs, with a mark behind it if it mixes scripts."""
    text = Markup("<bdi>{}</bdi>").format(escape_line(name, VALUE_WIDTH))
    mark = Markup(' <span class="tag mixed">{}</span>').format(script_mark(name, VALUE_WIDTH).strip(" []"))
    return text + mark if script_mark(name, VALUE_WIDTH) else text


def titled(title: str, names: Iterable[str]) -> Markup:
    """A title, with the name that it begins with in <bdi>: the name's direction is not that of the title."""
    name = next((text for text in map(escape_line, names) if text and title.startswith(text)), title)
    remainder = escape_line(title[len(name) :], VALUE_WIDTH)
    return Markup("<bdi>{}</bdi>{}").format(escape_line(name, VALUE_WIDTH), remainder)


def _page(
    name: str, now: datetime | None, status: int = 200, notice: Notice | None = None, **values: object
) -> Response:
    typed = notice.typed if notice else {}
    body = TEMPLATES.get_template(name).render(**values, typed=typed, now=now, notice=notice)
    headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": POLICY}
    return Response(status, body.encode(errors="replace"), headers)


TEMPLATES = page_templates(
    Path(__file__).with_name("pages"),
    {
        "named": named,
        "titled": titled,
        "escaped": lambda text, width=VALUE_WIDTH: Markup("<bdi>{}</bdi>").format(escape_line(text, width)),
        "typed": lambda text: escape_line(" ".join(text.split()), NOTE),
        "time": lambda time: Markup('<time datetime="{}">{}</time>').format(
            iso(time), f"{time:%Y-%m-%d %H:%M:%S}"
        ),
        "duration": duration_text,
        "plural": plural,
        "count": count_text,
        "outcome": outcome,
    },
)
POLICY = content_policy(
    TEMPLATES, "img-src data:", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"
)
