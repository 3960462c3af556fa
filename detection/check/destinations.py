"""The destinations of alerts: list them or, with --send or --canary, post a test alert to each."""

from collections.abc import Iterator, Mapping

from detection.check.canary import send_test
from detection.check.checklist import Finding, green, red
from detection.check.context import CheckContext
from detection.check.evaluation import evaluate_unset_format
from detection.check.health import check_destinations
from detection.delivery.templates import require_template
from detection.settings import MessageFormat
from detection.store.table import MemoryTable, Table

_REDIRECTED = "The address redirects. Set the address it redirects to."
_REMEDIES = {
    301: _REDIRECTED,
    302: _REDIRECTED,
    307: _REDIRECTED,
    308: _REDIRECTED,
    400: "The receiver rejects this format. Check the destination's `format`.",
    401: "The receiver requires authentication. Check whether the webhook's address has changed.",
    403: "The receiver rejects the sender. Check whether the address, the signing secret or the routing key "
    "has changed.",
    404: "Nothing exists at this address. Check whether the webhook was deleted.",
    410: "The receiver has deleted the webhook. Create a new one.",
    413: "The receiver does not accept messages of this size. Raise its limit, or use another destination.",
}
# What a 2xx of a receiver says about the message.
_PROOFS: Mapping[MessageFormat, str] = {
    "native": "This proves that the receiver has the message, not that it acts on it: check its own log.",
    "slack": "An incoming webhook answers so once the message is in the channel. A workflow (/triggers/, "
    "/workflows/) answers so even if it shows nothing: look for the message.",
    "teams": "A workflow answers before it posts, and may fail afterwards: look for the card in Teams.",
    "ocsf": "The receiver has the event, but may not store it: search there for the test alert.",
    "pagerduty": "PagerDuty answers before it opens the incident: look for it in the service.",
}
_CHECK_ADDRESS = "Check the address and the receiver's own log."
ALARM_RECIPIENTS = ("ALARM_EMAILS", "ACTION_GROUP_RESOURCE_ID")  # variables of the deployment


def check_alarms(context: CheckContext) -> Iterator[Finding]:
    """Whether the deployment has recipients, in these variables, for the alarms on the job itself."""
    recipients = [name for name in ALARM_RECIPIENTS if context.environment.get(name, "").strip(" ,\n")]
    if recipients:
        yield green("alarms", f"The alarms on the job itself notify those in {' and '.join(recipients)}.")
    else:
        yield red(
            "alarms",
            f"The alarms on the job itself notify no person: {' and '.join(ALARM_RECIPIENTS)} are empty.",
            "Set ALARM_EMAILS and deploy again (`azd env set ALARM_EMAILS …`, `azd provision`). If the "
            "deployment has it, export it to this command, too.",
        )


def list_destinations(context: CheckContext) -> Iterator[Finding]:
    """The destinations that the settings name; sends nothing."""
    if not context.settings.destinations:
        yield from check_destinations(context)
    for webhook in context.settings.destinations:
        if webhook.message_format is None:
            yield evaluate_unset_format(webhook.name)
            continue
        if webhook.template:
            require_template(webhook.template, webhook.name)
        signed = "signed" if webhook.secret else "not signed"
        yield green(
            f"destination {webhook.name}",
            f"Format {webhook.format or webhook.message_format}, "
            f"severity {webhook.minimum_severity} and above, {signed}. "
            "Nothing was sent; --send posts a test alert.",
        )


def send_tests(context: CheckContext) -> Iterator[Finding]:
    """Send a test alert to every destination from a table in memory."""
    yield from _send(context, MemoryTable(), "destination")


def send_canary(context: CheckContext) -> Iterator[Finding]:
    """Commit a test alert to the incident table and deliver it to every destination from its outbox."""
    yield from _send(context, context.table, "canary to")


def _send(context: CheckContext, table: Table, prefix: str) -> Iterator[Finding]:
    """A finding per destination. It never shows the address, which is a secret."""
    webhooks = context.settings.destinations
    attempts = send_test(context.rules[0], table, webhooks, context.clock)
    if not webhooks:
        yield from check_destinations(context)
    for webhook in webhooks:
        if webhook.message_format is None:
            yield evaluate_unset_format(webhook.name)
            continue
        name = f"{prefix} {webhook.name}"
        if webhook.name not in attempts:
            message = "The test alert did not reach the destination within a minute."
            yield red(name, message, "Check whether other destinations are slow, then try again.")
            continue
        outcome = attempts[webhook.name].outcome
        if outcome.sent:
            resolved = " and its resolution" if webhook.message_format == "pagerduty" else ""
            accepted = f"Accepted the test alert (HTTP {outcome.status}), marked TEST{resolved}."
            yield green(name, f"{accepted} {_PROOFS[webhook.message_format]}")
        elif outcome.dead_reason:
            remedy = _REMEDIES.get(outcome.status or 0, _CHECK_ADDRESS)
            yield red(name, f"Refused the test alert: {outcome.dead_reason}.", remedy)
        else:
            message = f"Did not accept the test alert: {outcome.reason}."
            yield red(name, message, f"The job retries an alert for three days. {_CHECK_ADDRESS}")
