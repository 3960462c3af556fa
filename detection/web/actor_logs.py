"""The logs of an actor and of addresses, asked on demand: KQL for events by hour, and its answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from requests import ReadTimeout

from detection.app import Job, open_source
from detection.base.errors import ConfigurationError, DetectionError
from detection.base.exchange import Exchange
from detection.logs.kql import ACTOR_COLUMNS, actor_queries, address_queries, narrow_bounds, with_bounds
from detection.logs.window import Window
from detection.messages.links import query_link
from detection.rules.model import Rule, Side

ASK_FOR = 30.0  # seconds in which the logs have to answer all queries of a page
RETRY_FOR = 5.0  # seconds in which a query may be sent again
ROWS = 500  # of an answer that are shown


@dataclass(frozen=True, slots=True)
class ActorEvents:
    """The number of events of a kind, in the hour that begins at `hour` (ISO 8601, UTC)."""

    hour: str
    kind: str
    events: int


@dataclass(frozen=True, slots=True)
class ActorQuery:
    """KQL for one side of a rule: of the actor, or of all actors from the actor's addresses. `portal` is its
    link to the portal, null without one.

    After the logs were asked, `answer` has the latest ROWS rows, or `reason` says why there is none;
    `more_rows` counts the others.
    """

    rule: str
    subject: Literal["actor", "addresses"]
    side: str
    query: str
    portal: str | None
    answer: Sequence[ActorEvents] | None = None
    reason: str | None = None
    more_rows: int = 0


def queries_of_actor(
    job: Job, digest: str, address_digests: Sequence[str], since: datetime, now: datetime
) -> list[ActorQuery]:
    """The queries for an actor's changes and signals of every rule, then those for all actors from the
    addresses, stamped from `since` to `now` (UTC).
    """
    settings, span = job.settings, Window(since, now)
    workspace, endpoint = settings.LOG_ANALYTICS_RESOURCE_ID, settings.LOG_ANALYTICS_ENDPOINT
    bounds = narrow_bounds(narrow_bounds({}, "changes", span), "signals", span)
    texts: list[tuple[Rule, Literal["actor", "addresses"], dict[str, str]]] = [
        (rule, "actor", actor_queries(rule, digest)) for rule in job.rules
    ]
    if address_digests:
        texts += [(rule, "addresses", address_queries(rule, address_digests)) for rule in job.rules]
    queries = []
    for rule, subject, texts_by_side in texts:
        for side, text in texts_by_side.items():
            query = with_bounds(text, bounds)
            portal = query_link(workspace, endpoint, query, span) if workspace else None
            queries.append(ActorQuery(rule.folder, subject, side, query, portal))
    return queries


def answered_queries(job: Job, queries: Sequence[ActorQuery]) -> list[ActorQuery]:
    """The queries with the answers that come within ASK_FOR seconds; the others with a reason."""
    end = job.clock() + timedelta(seconds=ASK_FOR)
    return [_answered(job, query, (end - job.clock()).total_seconds()) for query in queries]


def _answered(job: Job, query: ActorQuery, seconds: float) -> ActorQuery:
    from detection.logs.log_analytics.splitting import QueryUnfinished  # noqa: PLC0415  # every hour is a cold start

    if seconds <= 0:
        return replace(query, reason=f"not asked: the {ASK_FOR:.0f} s for this page are over")
    try:
        with Exchange(seconds):
            events = _ask(job, query)
            return replace(query, answer=events[:ROWS], more_rows=len(events[ROWS:]))
    except (ReadTimeout, QueryUnfinished):
        return replace(query, reason="no complete answer in time: run the query in the portal")
    except DetectionError as error:
        return replace(query, reason=str(error))


def _ask(job: Job, query: ActorQuery) -> list[ActorEvents]:
    from detection.logs.log_analytics.client import LogAnalytics  # noqa: PLC0415  # as above

    rule = job.desk.rule(query.rule)
    source = open_source(job.settings, rule, job.clock)
    if not isinstance(source, LogAnalytics):
        raise ConfigurationError("only a Log Analytics workspace is asked for an actor; LOGS_DIR is set")
    try:
        table = source.run_query(f"{query.rule}, {query.side} of the {query.subject}", query.query, RETRY_FOR)
    finally:
        source.close()
    side: Side = rule.sequence.sides[query.side]
    return [
        ActorEvents(str(hour), side.label(str(kind)), int(number))
        for columns in table.take_columns(ACTOR_COLUMNS)
        for kind, hour, number in zip(*columns, strict=True)
    ]
