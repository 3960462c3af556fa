"""Prove that a deployed app refuses a forged sign-in and completes a run, on request and by its timer.

    APP_KEY=… python scripts/prove_deployment.py https://APP.azurewebsites.net

Needs the default function key of the app, and no right to its data. The last step waits for the next run of
the timer, an hour and a half at most. Exits 1, with what to do, if a step fails. Needs Python alone.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

EVERY = 30  # seconds between two questions
# App Service ends a request after 230 s: learn.microsoft.com/azure/azure-functions/functions-scale#timeout
REQUEST = 240
# functionTimeout in host.json, and the time of a first start.
RUN_WITHIN = timedelta(minutes=40)
TIMER_WITHIN = timedelta(minutes=95)  # the timer is hourly, and its run takes half an hour at most
# App Service sets these headers, and should remove them from requests that come from outside.
FORGED = {
    "x-ms-client-principal": "eyJhdXRoX3R5cCI6ImFhZCIsImNsYWltcyI6W119",
    "x-ms-client-principal-id": "00000000-0000-0000-0000-000000000000",
    "x-ms-client-principal-idp": "aad",
    "x-ms-client-principal-name": "admin",
}
REFUSED = (301, 302, 307, 401, 403)
TIMERS_STOPPED = "Timers do not fire. docs/deploy.md, When the timers stop, has what to do."


class NotProvenError(Exception):
    """A step failed; the message has the reason and what to do."""


class Answer(NamedTuple):
    """The status and the body of a response. A status of 0 means that there was no response."""

    status: int
    body: bytes


class App:
    """The deployed app, as a program with its key sees it."""

    def __init__(
        self, url: str, key: str, clock: Callable[[], datetime], sleep: Callable[[float], None]
    ) -> None:
        self.url, self.key, self.clock, self.sleep = url.rstrip("/"), key, clock, sleep

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Send a request. Follows no redirect."""
        opener = urllib.request.build_opener(NoRedirect)
        body = b"" if method == "POST" else None
        request = urllib.request.Request(self.url + path, body, dict(headers), method=method)
        try:
            with opener.open(request, timeout=REQUEST) as response:
                return Answer(response.status, response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read())
        except OSError as error:  # also a timeout: a long run goes on
            return Answer(0, str(error).encode())

    def health(self) -> dict[str, object]:
        """The answer of the function `health`; empty if there is none."""
        answer = self.request("GET", "/api/health", {"x-functions-key": self.key})
        if answer.status == 401:
            raise NotProvenError("The app refuses the key. Is APP_KEY a function key of this app?")
        try:
            report = json.loads(answer.body)
        except ValueError:
            report = None
        return report if isinstance(report, dict) else {}

    def wait_for_run(self, since: datetime, within: timedelta) -> dict[str, object]:
        """Wait until every rule has completed a run that began after a time; return that health answer."""
        deadline = self.clock() + within
        while True:
            report = self.health()
            times = run_times(report)
            if times and min(times) > since:
                return report
            if self.clock() >= deadline:
                raise NotProvenError(explain(report))
            self.sleep(EVERY)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as the response."""

    def redirect_request(self, *_: object) -> None:
        """Follow nothing."""
        return


def prove(app: App) -> None:
    """Run every step. Raises NotProvenError."""
    deployed = app.clock()
    answer = app.request("GET", "/api/incidents", {**FORGED, "accept": "application/json"})
    if answer.status == 0:
        raise NotProvenError(f"The app does not answer: {answer.body.decode(errors='replace')}")
    if answer.status == 404:
        raise NotProvenError("The app has no incident page: its package is not deployed, or does not start.")
    if answer.status not in REFUSED:
        raise NotProvenError(
            f"A request with a forged sign-in got status {answer.status}: anyone could read and close "
            "incidents. Turn sign-in off now: azd env set PAGE_CLIENT_ID '', azd provision."
        )
    print(f"A forged sign-in is refused (HTTP {answer.status}).")

    answer = app.request("POST", "/api/run", {"x-functions-key": app.key})
    answered = app.clock()  # a later run is not of this request
    print(f"Requested a run (HTTP {answer.status or 'no answer'}; 204 means complete).")
    report = app.wait_for_run(deployed, RUN_WITHIN)
    print(f"Every rule has completed a run: {json.dumps(report['last_complete_runs'])}")

    try:
        report = app.wait_for_run(max(answered, *run_times(report)), TIMER_WITHIN)
    except NotProvenError as error:
        raise NotProvenError(f"{TIMERS_STOPPED}\n{error}") from None
    print(f"The timer has completed a run: {json.dumps(report['last_complete_runs'])}")
    print(f"health: {report.get('status')}\n{findings(report)}")


def run_times(report: Mapping[str, object]) -> list[datetime]:
    """The times of the last complete runs of all rules; none if a rule has not completed one."""
    runs = report.get("last_complete_runs")
    times = list(runs.values()) if isinstance(runs, dict) else []
    return [datetime.fromisoformat(run_time) for run_time in times] if all(times) else []


def findings(report: Mapping[str, object]) -> str:
    """The findings of an answer of `health` that are not green, a line each."""
    listed = report.get("findings")
    return "\n".join(
        f"  {finding['level']}: {finding['name']}: {finding['message']} {finding['remedy']}"
        for finding in (listed if isinstance(listed, list) else [])
        if finding["level"] != "green"
    )


def explain(report: Mapping[str, object]) -> str:
    """Why no complete run is recorded, and what to do."""
    if not report:
        return (
            "The function health gave no answer: the package is not deployed, or does not start. "
            "az functionapp function list -g GROUP -n APP must list health; docs/deploy.md, Common problems."
        )
    return (
        f"No complete run is recorded: {json.dumps(report.get('last_complete_runs'))}\n{findings(report)}\n"
        "The field reason of the last line in traces has the cause: docs/deploy.md, Common problems."
    )


if __name__ == "__main__":
    try:
        prove(App(sys.argv[1], os.environ["APP_KEY"], lambda: datetime.now(UTC), time.sleep))
    except NotProvenError as error:
        sys.exit(str(error))
