"""Where alerts go: what the settings say, and with --send or --canary whether a marked test arrives there."""

from collections.abc import Iterator

from detection.check.bench import Bench
from detection.check.canary import Walk
from detection.check.finding import Finding, green, red, yellow
from detection.deliver import Attempt
from detection.incidents.table import MemoryTable, Table
from detection.settings import Webhook

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


def listed(bench: Bench) -> Iterator[Finding]:
    """The destinations that the settings name; nothing is sent."""
    if not bench.settings.destinations:
        yield _nobody()
    for webhook in bench.settings.destinations:
        signed = "signed" if webhook.secret else "not signed"
        what = f"{webhook.message_format}, {webhook.minimum_severity} and worse, {signed}; nothing was sent"
        yield green(f"destination {webhook.name}", f"{what} (--send posts a test)")


def sent(bench: Bench) -> Iterator[Finding]:
    """A test alert to every destination, from a memory of its own."""
    yield from _walked(bench, MemoryTable(), "destination")


def canary(bench: Bench) -> Iterator[Finding]:
    """The same, committed to the incident table and delivered from its outbox."""
    yield from _walked(bench, bench.table, "canary to")


def _walked(bench: Bench, table: Table, name: str) -> Iterator[Finding]:
    webhooks = bench.settings.destinations
    attempts = Walk(table, webhooks, bench.clock).test(bench.rules[0])
    if not webhooks:
        yield _nobody()
    for webhook in webhooks:
        yield _judged(f"{name} {webhook.name}", webhook, attempts.get(webhook.name))


def _judged(name: str, webhook: Webhook, attempt: Attempt | None) -> Finding:
    """What came of the attempt. Whatever failed, the address is not shown: it is a secret."""
    if attempt is None:
        return red(
            name, "the test alert did not reach it in a minute", "are other destinations slow? Try again"
        )
    outcome = attempt.outcome
    if outcome.sent:
        resolved = ", and resolved there" if webhook.message_format == "pagerduty" else ""
        return green(name, f"took the test alert (HTTP {outcome.status}), marked TEST{resolved}")
    if outcome.dead:
        return red(
            name,
            f"refused the test alert: {outcome.dead}",
            _REMEDIES.get(outcome.status or 0, _CHECK_ADDRESS),
        )
    return red(
        name,
        f"did not take the test alert: {outcome.reason}",
        f"an alert would be tried for three days; {_CHECK_ADDRESS}",
    )


def _nobody() -> Finding:
    what = "alerts are kept in the table, and nobody is told"
    return yellow("destinations", what, "set WEBHOOK_URL or WEBHOOKS")
