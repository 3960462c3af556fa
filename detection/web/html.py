"""The pages as HTML: one document each, with its style inside, nothing loaded from anywhere and no script.

Everything that comes from the logs goes through `inert` and stands in a <bdi>; Jinja2 escapes it.
"""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from detection.app import Job
from detection.base.timestamps import iso
from detection.desk import IncidentDetail
from detection.messages.facts import FIRST_STEPS
from detection.messages.links import portal_link
from detection.messages.text import escape_line, plural
from detection.rules.model import Rule
from detection.store.outbox import DeadLetter
from detection.web.access import Visitor
from detection.web.exchange import AccessMode, Response, with_query
from detection.web.incident_view import IncidentView, duration_text, incident_view, windows_of
from detection.web.listing import SEVERITIES_SHOWN, STATUSES, Listing
from detection.web.timeline import HEIGHT, LINE, series, timeline

PAGES = Path(__file__).with_name("pages")
STYLE = (PAGES / "style.css").read_text(encoding="utf-8")
WIDTHS = {"wide": 1000, "narrow": 360}  # of the timeline; the style shows one of them
POLICY = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(sha256(STYLE.encode()).digest()).decode()}'"
)
VALUE_WIDTH = 500  # characters of one value
SILENCE_LENGTHS = {"PT4H": "4 hours", "P1D": "a day", "P7D": "a week", "P30D": "30 days"}
CLASSIFICATION_HELP = {
    "true-positive": "it happened, and was not allowed",
    "benign": "it happened, and was allowed",
    "false-positive": "it did not happen so",
    "undetermined": "nobody can say",
}


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """How far the messages to one destination have come."""

    destination: str
    state: Literal["waiting", "dead", "sent"]
    text: str


def list_page(listing: Listing, visitor: Visitor, now: datetime) -> Response:
    """The list of incidents."""

    def list_url(page: int | None = None, **chosen: str | None) -> str:
        status, severity = chosen.get("status", listing.status), chosen.get("severity", listing.severity)
        return with_query("incidents", status=status, severity=severity, page=page, code=visitor.access_key)

    return _page(
        "list.html",
        now,
        visitor=visitor,
        listing=listing,
        statuses=STATUSES,
        severities=SEVERITIES_SHOWN,
        list_url=list_url,
        incident_url=lambda name: with_query(f"incidents/{name}", code=visitor.access_key),
    )


def incident_page(job: Job, detail: IncidentDetail, visitor: Visitor, form: str, now: datetime) -> Response:
    """An incident. Whoever may not act on it gets no forms."""
    rule = next(candidate for candidate in job.rules if candidate.folder == detail.rule)
    view = incident_view(detail, rule)
    slots, earlier = series(view, rule)
    return _page(
        "incident.html",
        now,
        visitor=visitor,
        incident=detail.incident,
        alerts=detail.alerts,
        rule=rule,
        view=view,
        duration=duration_text(view.began, view.ended) if view.began and view.ended else "",
        drawings={name: timeline(view, rule, width) for name, width in WIDTHS.items()},
        slots=slots,
        earlier=earlier,
        deliveries=delivery_states(job, detail, rule, view),
        steps=rule.on_call.runbook[:FIRST_STEPS],
        runbook=rule.on_call.runbook_url,
        silence_lengths=SILENCE_LENGTHS,
        portal=_portal(job, detail, rule),
        classifications=CLASSIFICATION_HELP,
        form=form,
        action_url=lambda verb: with_query(f"{detail.incident.id}/{verb}", code=visitor.access_key),
        list_url=with_query("../incidents", code=visitor.access_key),
        height=HEIGHT,
        line=LINE,
    )


def failure_page(status: int, reason: str, access_mode: AccessMode) -> Response:
    """Why a request was not answered as it asked."""
    return _page("failure.html", None, status, reason=reason, visitor=Visitor(can_act=access_mode != "link"))


def delivery_states(job: Job, detail: IncidentDetail, rule: Rule, view: IncidentView) -> list[DeliveryState]:
    """What is known of the messages: those that wait, those that were given up, and that of the others nothing waits."""
    messages = job.desk.deliveries(detail.incident.id)
    states: list[DeliveryState] = []
    for message in messages:
        if isinstance(message, DeadLetter):
            states.append(DeliveryState(message.delivery.destination, "dead", f"given up: {message.reason}"))
        else:
            attempt_text = (
                f"tried {plural(message.delivery.attempt, 'time')}, next"
                if message.delivery.attempt
                else "due"
            )
            states.append(
                DeliveryState(
                    message.delivery.destination, "waiting", f"{attempt_text} {iso(message.delivery.due)}"
                )
            )
    destinations = job.settings.destinations if rule.on_call.mode == "page" else ()
    idle_destinations = {
        destination.name for destination in destinations if destination.accepts(view.severity)
    }
    idle_destinations -= {state.destination for state in states}
    states += [
        DeliveryState(name, "sent", "nothing waits: sent, by itself or in a digest")
        for name in sorted(idle_destinations)
    ]
    return sorted(
        states, key=lambda state: (state.state != "dead", state.state != "waiting", state.destination)
    )


def _portal(job: Job, detail: IncidentDetail, rule: Rule) -> str | None:
    """The portal, with the query of the newest alert, where the settings name the workspace."""
    settings = job.settings
    if not detail.alerts or not settings.LOG_ANALYTICS_RESOURCE_ID:
        return None
    return portal_link(
        settings.LOG_ANALYTICS_RESOURCE_ID,
        settings.LOG_ANALYTICS_ENDPOINT,
        rule,
        windows_of(detail.alerts[-1]),
        inline=settings.PARSERS == "inline",
    )


def _page(name: str, now: datetime | None, status: int = 200, **values: object) -> Response:
    body = ENVIRONMENT.get_template(name).render(now=now, **values)
    headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": POLICY}
    return Response(status, body.encode(errors="replace"), headers)


def _escaped_value(value: object, width: int = VALUE_WIDTH) -> Markup:
    """A value from the logs, or from a form: it can neither be obeyed nor turn what stands around it."""
    return Markup("<bdi>{}</bdi>").format(escape_line(value, width))


def _time(time: datetime) -> Markup:
    """A moment for people and for programs, to the second."""
    return Markup('<time datetime="{}">{}</time>').format(iso(time), f"{time:%Y-%m-%d %H:%M:%S}")


def _ago(time: datetime, now: datetime) -> str:
    """How long ago, in the unit that fits."""
    return "just now" if now - time < timedelta(seconds=60) else f"{duration_text(time, now)} ago"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"escaped": _escaped_value, "time": _time, "ago": _ago, "plural": plural}
    environment.globals["style"] = Markup(STYLE)  # noqa: S704  # our own file
    return environment


ENVIRONMENT = _environment()
