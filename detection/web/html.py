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

from detection.incidents.outbox import Dead
from detection.job import Job, KnownIncident
from detection.messages.facts import FIRST_STEPS
from detection.messages.leads import portal_link
from detection.messages.text import inert, many
from detection.rule import Rule
from detection.timestamps import iso
from detection.web.access import Visitor
from detection.web.exchange import Door, Response, with_query
from detection.web.listing import SEVERITIES_SHOWN, STATUSES, Listing
from detection.web.story import Story, span, story, windows_of
from detection.web.timeline import HEIGHT, LINE, series, timeline

PAGES = Path(__file__).with_name("pages")
STYLE = (PAGES / "style.css").read_text(encoding="utf-8")
WIDTHS = {"wide": 1000, "narrow": 360}  # of the timeline; the style shows one of them
POLICY = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(sha256(STYLE.encode()).digest()).decode()}'"
)
SHOWN = 500  # characters of one value
SILENCES = {"PT4H": "4 hours", "P1D": "a day", "P7D": "a week", "P30D": "30 days"}
JUDGEMENTS = {
    "true-positive": "it happened, and was not allowed",
    "benign": "it happened, and was allowed",
    "false-positive": "it did not happen so",
    "undetermined": "nobody can say",
}


@dataclass(frozen=True, slots=True)
class Told:
    """How far the messages to one destination have come."""

    destination: str
    state: Literal["waiting", "dead", "sent"]
    text: str


def list_page(shown: Listing, who: Visitor, now: datetime) -> Response:
    """The list of incidents."""

    def to(page: int | None = None, **chosen: str | None) -> str:
        status, severity = chosen.get("status", shown.status), chosen.get("severity", shown.severity)
        return with_query("incidents", status=status, severity=severity, page=page, code=who.code)

    return _page(
        "list.html",
        now,
        who=who,
        shown=shown,
        statuses=STATUSES,
        severities=SEVERITIES_SHOWN,
        to=to,
        incident=lambda name: with_query(f"incidents/{name}", code=who.code),
    )


def incident_page(job: Job, known: KnownIncident, who: Visitor, form: str, now: datetime) -> Response:
    """An incident. Whoever may not act on it gets no forms."""
    rule = next(one for one in job.rules if one.folder == known.rule)
    told = story(known, rule)
    slots, earlier = series(told, rule)
    return _page(
        "incident.html",
        now,
        who=who,
        incident=known.incident,
        alerts=known.alerts,
        rule=rule,
        story=told,
        took=span(told.began, told.ended) if told.began and told.ended else "",
        drawings={name: timeline(told, rule, width) for name, width in WIDTHS.items()},
        slots=slots,
        earlier=earlier,
        told=deliveries(job, known, rule, told),
        steps=rule.on_call.runbook[:FIRST_STEPS],
        runbook=rule.on_call.runbook_url,
        silences=SILENCES,
        portal=_portal(job, known, rule),
        judgements=JUDGEMENTS,
        form=form,
        act=lambda verb: with_query(f"{known.incident.id}/{verb}", code=who.code),
        home=with_query("../incidents", code=who.code),
        height=HEIGHT,
        line=LINE,
    )


def failure_page(status: int, reason: str, door: Door) -> Response:
    """Why a request was not answered as it asked."""
    return _page("failure.html", None, status, reason=reason, who=Visitor(acts=door != "link"))


def deliveries(job: Job, known: KnownIncident, rule: Rule, told: Story) -> list[Told]:
    """What is known of the messages: those that wait, those that were given up, and that of the others nothing waits."""
    found = job.deliveries(known.incident.id)
    rows: list[Told] = []
    for one in found:
        if isinstance(one, Dead):
            rows.append(Told(one.delivery.destination, "dead", f"given up: {one.reason}"))
        else:
            tried = f"tried {many(one.delivery.attempt, 'time')}, next" if one.delivery.attempt else "due"
            rows.append(Told(one.delivery.destination, "waiting", f"{tried} {iso(one.delivery.due)}"))
    paged = job.settings.destinations if rule.on_call.mode == "page" else ()
    quiet = {one.name for one in paged if one.takes(told.severity)}
    quiet -= {row.destination for row in rows}
    rows += [Told(name, "sent", "nothing waits: sent, by itself or in a digest") for name in sorted(quiet)]
    return sorted(rows, key=lambda row: (row.state != "dead", row.state != "waiting", row.destination))


def _portal(job: Job, known: KnownIncident, rule: Rule) -> str | None:
    """The portal, with the query of the newest alert, where the settings name the workspace."""
    settings = job.settings
    if not known.alerts or not settings.LOG_ANALYTICS_RESOURCE_ID:
        return None
    return portal_link(
        settings.LOG_ANALYTICS_RESOURCE_ID,
        settings.LOG_ANALYTICS_ENDPOINT,
        rule,
        windows_of(known.alerts[-1]),
        inline=settings.PARSERS == "inline",
    )


def _page(name: str, now: datetime | None, status: int = 200, **values: object) -> Response:
    body = ENVIRONMENT.get_template(name).render(now=now, **values)
    headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": POLICY}
    return Response(status, body.encode(errors="replace"), headers)


def _shown(value: object, width: int = SHOWN) -> Markup:
    """A value from the logs, or from a form: it can neither be obeyed nor turn what stands around it."""
    return Markup("<bdi>{}</bdi>").format(inert(value, width))


def _time(at: datetime | str) -> Markup:
    """A moment for people and for programs, to the second."""
    text = at if isinstance(at, str) else iso(at)
    moment = datetime.fromisoformat(text)
    return Markup('<time datetime="{}">{}</time>').format(text, f"{moment:%Y-%m-%d %H:%M:%S}")


def _ago(at: datetime, now: datetime) -> str:
    """How long ago, in the unit that fits."""
    return "just now" if now - at < timedelta(seconds=60) else f"{span(at, now)} ago"


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"shown": _shown, "time": _time, "ago": _ago, "many": many}
    made.globals["style"] = Markup(STYLE)  # noqa: S704  # our own file
    return made


ENVIRONMENT = _environment()
