"""Where alerts go: what the settings say, and with --send or --canary whether a marked test arrives there."""

from collections.abc import Iterator

from detection.check.canary import CanaryDelivery
from detection.check.checklist import Finding, green, red, yellow
from detection.check.context import CheckContext
from detection.delivery.deliver import Attempt
from detection.settings import Webhook
from detection.store.table import MemoryTable, Table

_REMEDIES = {
    301: "it redirects: give the address that it leads to",
    302: "it redirects: give the address that it leads to",
    307: "it redirects: give the address that it leads to",
    308: "it redirects: give the address that it leads to",
    400: "it does not take this format: is `format` right for it?",
    401: "it wants to know who posts: has the address been replaced?",
    403: "it does not take this sender: has the address, the signing secret or the routing key been replaced?",
    404: "there is nothing at this address: has the webhook been deleted?",
    410: "the webhook has been deleted there: make another",
    413: "it does not take messages of this size",
}
_CHECK_ADDRESS = "check the address and the receiver's own log"


def list_destinations(context: CheckContext) -> Iterator[Finding]:
    """The destinations that the settings name; nothing is sent."""
    if not context.settings.destinations:
        yield _no_destination()
    for webhook in context.settings.destinations:
        signed = "signed" if webhook.secret else "not signed"
        message = (
            f"{webhook.message_format}, {webhook.minimum_severity} and worse, {signed}; nothing was sent"
        )
        yield green(f"destination {webhook.name}", f"{message} (--send posts a test)")


def send_tests(context: CheckContext) -> Iterator[Finding]:
    """A test alert to every destination, from a memory of its own."""
    yield from _test_findings(context, MemoryTable(), "destination")


def send_canary(context: CheckContext) -> Iterator[Finding]:
    """The same, committed to the incident table and delivered from its outbox."""
    yield from _test_findings(context, context.table, "canary to")


def _test_findings(context: CheckContext, table: Table, prefix: str) -> Iterator[Finding]:
    webhooks = context.settings.destinations
    attempts = CanaryDelivery(table, webhooks, context.clock).send_test(context.rules[0])
    if not webhooks:
        yield _no_destination()
    for webhook in webhooks:
        yield _evaluate_attempt(f"{prefix} {webhook.name}", webhook, attempts.get(webhook.name))


def _evaluate_attempt(name: str, webhook: Webhook, attempt: Attempt | None) -> Finding:
    """What came of the attempt. Whatever failed, the address is not shown: it is a secret."""
    if attempt is None:
        return red(
            name, "the test alert did not reach it in a minute", "are other destinations slow? Try again"
        )
    outcome = attempt.outcome
    if outcome.sent:
        resolved = ", and resolved there" if webhook.message_format == "pagerduty" else ""
        return green(name, f"took the test alert (HTTP {outcome.status}), marked TEST{resolved}")
    if outcome.dead_reason:
        return red(
            name,
            f"refused the test alert: {outcome.dead_reason}",
            _REMEDIES.get(outcome.status or 0, _CHECK_ADDRESS),
        )
    return red(
        name,
        f"did not take the test alert: {outcome.reason}",
        f"an alert would be tried for three days; {_CHECK_ADDRESS}",
    )


def _no_destination() -> Finding:
    message = "alerts are kept in the table, and nobody is told"
    return yellow("destinations", message, "set WEBHOOK_URL or WEBHOOKS")
