"""The links of a message: the page of the incident, the rule's KQL in the portal, the runbook."""

import base64
import zlib
from dataclasses import dataclass
from urllib.parse import quote

from detection.base.timestamps import iso
from detection.logs.kql import bounds, queries, with_bounds
from detection.logs.window import Window, Windows
from detection.rules.loading import without_comments
from detection.rules.model import Rule

# A Slack section takes 3,000 characters, including the text of the link.
MAX_LENGTH = 2_900
PORTALS = {
    "https://api.loganalytics.us": "https://portal.azure.us",
    "https://api.loganalytics.azure.cn": "https://portal.azure.cn",
}


@dataclass(frozen=True, slots=True)
class MessageLinks:
    """The links of a message; None where the job has no such address."""

    page: str | None = None
    portal: str | None = None
    runbook: str | None = None

    def urls_by_label(self) -> dict[str, str]:
        """The links by their text in messages."""
        urls = {
            "Open the incident": self.page,
            "See the signals in Log Analytics": self.portal,
            "Runbook": self.runbook,
        }
        return {name: url for name, url in urls.items() if url}


def portal_link(workspace: str, endpoint: str, rule: Rule, windows: Windows) -> str | None:
    """The link to the portal with a run's query for signals, without comments; `workspace` is a resource id.

    Returns None if the link would be longer than MAX_LENGTH. The form is that of Azure Monitor's own alerts
    (azure-monitor-docs, alerts-payload-samples.md, `linkToSearchResultsUI`): scope, and the query deflated,
    in base64.
    """
    query = with_bounds(queries(rule)["signals"], bounds(windows))
    return query_link(workspace, endpoint, query, Window(windows.changes.after, windows.now))


def query_link(workspace: str, endpoint: str, query: str, span: Window) -> str | None:
    """The link to the portal with a query, without comments. See portal_link."""
    compressed = base64.b64encode(zlib.compress(without_comments(query).encode(), 9)).decode()
    scope = f'{{"resources":[{{"resourceId":"{workspace}"}}]}}'
    times = f"{iso(span.after)}/{iso(span.until or span.after)}"
    link = (
        f"{PORTALS.get(endpoint, 'https://portal.azure.com')}/#blade/Microsoft_Azure_Monitoring_Logs/LogsBlade"
        f"/source/Alerts.EmailLinks/scope/{quote(scope, safe='')}/q/{quote(compressed, safe='')}/prettify/1"
        f"/timespan/{quote(times, safe='')}"
    )
    return link if len(link) <= MAX_LENGTH else None
