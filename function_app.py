"""The triggers, and nothing else: what they do is in detection/app.py."""

import gc
import os
from datetime import UTC, datetime
from functools import cache
from typing import Literal

# As at the keyboard, and before the imports: looking for cycles among what they make takes a tenth of their time.
gc.set_threshold(200_000, 50, 50)

import azure.functions as func  # noqa: E402

from detection.app import Job, send_heartbeat, start  # noqa: E402
from detection.telemetry import log_late  # noqa: E402

app = func.FunctionApp()

# Set where App Service signs people in: it says then who they are, in headers that it takes from nobody outside.
SIGNED_IN = os.environ.get("WEBSITE_AUTH_ENABLED", "").lower() == "true"
LEVEL = func.AuthLevel.ANONYMOUS if SIGNED_IN else func.AuthLevel.FUNCTION


def clock() -> datetime:
    """The one clock of the job."""
    return datetime.now(UTC)


@cache
def job() -> Job:
    """The job of this process: its settings are read, and its clients built, at the first trigger."""
    return start(os.environ, clock)


@app.timer_trigger("timer", "%DETECT_SCHEDULE%", run_on_startup=False, use_monitor=True)
def detect(timer: func.TimerRequest) -> None:
    """Every hour: read, correlate, commit, tell. An error fails the invocation; the next run reads what it missed."""
    if timer.past_due:
        log_late(clock())
    job().detect()
    send_heartbeat(job().settings)


@app.timer_trigger("timer", "%DELIVER_SCHEDULE%", run_on_startup=False, use_monitor=True)
def deliver(timer: func.TimerRequest) -> None:
    """Every few minutes: messages that could not be sent are tried again."""
    job().deliver()


@app.route("health", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def health(req: func.HttpRequest) -> func.HttpResponse:
    """Whether the job can do its work: 200, or 503 when something is red. docs/check.md says what it asks, each time anew."""
    from detection.check.health import health as check_health  # noqa: PLC0415  # not for the timers

    status, body = check_health(os.environ, clock)
    return func.HttpResponse(body, status_code=status, mimetype="application/json")


@app.route("incidents/{*rest}", auth_level=LEVEL)
def incidents(req: func.HttpRequest) -> func.HttpResponse:
    """The incident page, for whoever is signed in or has the function's key."""
    return _respond_to(req, "entra" if SIGNED_IN else "key")


@app.route("look/{id}", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
def look(req: func.HttpRequest) -> func.HttpResponse:
    """One incident, to look at, for whoever has the link from a message."""
    return _respond_to(req, "link")


def _respond_to(req: func.HttpRequest, access_mode: Literal["entra", "key", "link"]) -> func.HttpResponse:
    from detection.web.exchange import make_request  # noqa: PLC0415  # not for the timers: every hour is a cold start
    from detection.web.respond import respond  # noqa: PLC0415  # as above

    web_request = make_request(
        req.method, req.url, req.headers, req.get_body(), access_mode, sign_in_offered=SIGNED_IN
    )
    response = respond(web_request, job(), clock())
    return func.HttpResponse(response.body, status_code=response.status, headers=dict(response.headers))
