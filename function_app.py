"""The triggers of the function app. They call detection/app.py and detection/web."""

import gc
import os
from datetime import UTC, datetime
from functools import cache
from typing import Literal

# As on the command line. Before the imports: by default, collecting takes a tenth of their time.
gc.set_threshold(200_000, 50, 50)

import azure.functions as func  # noqa: E402

from detection.app import Job, run_rules, start  # noqa: E402
from detection.telemetry import log_late  # noqa: E402

app = func.FunctionApp()

# Set where App Service signs people in. It names them in headers that it strips from outside requests.
SIGNED_IN = os.environ.get("WEBSITE_AUTH_ENABLED", "").lower() == "true"
LEVEL = func.AuthLevel.ANONYMOUS if SIGNED_IN else func.AuthLevel.FUNCTION


def clock() -> datetime:
    """The clock of the job, in UTC."""
    return datetime.now(UTC)


@cache
def job() -> Job:
    """The job of this process. The first trigger reads the settings and builds the clients."""
    return start(os.environ, clock)


@app.timer_trigger("timer", "%DETECT_SCHEDULE%", run_on_startup=False, use_monitor=True)
def detect(timer: func.TimerRequest) -> None:
    """Runs every rule once an hour. An error fails the invocation; the next run reads its time, too."""
    if timer.past_due:
        log_late(clock())
    run_rules(job())


@app.timer_trigger("timer", "%DELIVER_SCHEDULE%", run_on_startup=False, use_monitor=True)
def deliver(timer: func.TimerRequest) -> None:
    """Retries messages, every few minutes."""
    job().deliver_logged()


@app.route("run", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
def run(req: func.HttpRequest) -> func.HttpResponse:
    """Runs every rule at once, for an outside scheduler or where timers do not fire: 204, or 500 on an error.

    The platform answers for a run of more than 230 s. The run goes on, and `health` has its end.
    """
    run_rules(job())
    return func.HttpResponse(status_code=204)


@app.route("health", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def health(req: func.HttpRequest) -> func.HttpResponse:
    """Health of the job: 200, or 503 if any check is red. docs/check.md lists the checks."""
    from detection.check.health import health as check_health  # noqa: PLC0415  # the timers do not need it

    status, body = check_health(os.environ, clock)
    return func.HttpResponse(body, status_code=status, mimetype="application/json")


@app.route("incidents/{*rest}", auth_level=LEVEL)
def incidents(req: func.HttpRequest) -> func.HttpResponse:
    """The incident page, for signed-in people or requests with the function key."""
    return _respond_to(req, "entra" if SIGNED_IN else "key")


@app.route("look/{id}", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
def look(req: func.HttpRequest) -> func.HttpResponse:
    """A read-only page of an incident, for requests with the signed link of a message."""
    return _respond_to(req, "link")


def _respond_to(req: func.HttpRequest, access_mode: Literal["entra", "key", "link"]) -> func.HttpResponse:
    from detection.web.exchange import make_request  # noqa: PLC0415  # every hour is a cold start
    from detection.web.respond import load_and_respond  # noqa: PLC0415  # as above

    web_request = make_request(
        req.method, req.url, req.headers, req.get_body(), access_mode, sign_in_offered=SIGNED_IN
    )
    response = load_and_respond(web_request, job, clock())
    return func.HttpResponse(response.body, status_code=response.status, headers=dict(response.headers))
