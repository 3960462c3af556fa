"""The webhook: signs messages by Standard Webhooks, posts them, and evaluates the answer. The heartbeat.

The URL is a secret (with Slack and Teams it is all that posting needs): no message or log line contains it.
"""

import base64
import hashlib
import hmac
import logging
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from queue import Empty, SimpleQueue
from typing import NamedTuple

import requests
from pydantic import SecretStr
from pydantic_core import to_json

from detection.base.errors import error_without_url
from detection.base.exchange import Exchange
from detection.base.sessions import Session
from detection.delivery.deliver import DEADLINE, UNSET_FORMAT, Destination, Outcome
from detection.settings import MessageFormat, Webhook
from detection.store.outbox import Delivery

# Retried. A receiver would refuse every other 4xx, and every redirect, again (Standard Webhooks; RFC 9110).
TRANSIENT = {408, 425, 429}
USER_AGENT = "openai-config-to-abuse/0.1"
ANSWER_BYTES = 2**12  # of an answer, as it comes: the longest that is read to its end
ANSWER_DEADLINE = 0.25  # seconds to read it in; it mostly arrives with its headers
THREAD = "webhook"  # the name of the threads that post
# With these bodies Healthchecks.io answers 200 to a heartbeat that it does not count (its pinging API).
HEARTBEAT_REFUSALS = (b"OK (not found)", b"OK (rate limited)")
# With such a body Teams' own webhooks answer 200 although they are throttled or refuse the message
# (learn.microsoft.com, "Create and send messages", rate limiting for connectors).
TEAMS_FAILURE = b"Webhook message delivery failed with error"
# Of a message in every format together, after decompression: more than all of their limits.
BODY_BYTES = 2**18
EVERY_FORMAT = b"in every format\n"  # the beginning of a body that has a message in every format
MAX_RETRY_AFTER = 10**6  # seconds; a longer Retry-After is read as this
# Below ERROR, urllib3 logs the path of a request, and the whole URL if headers are broken: the secret.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class Answer(NamedTuple):
    """The answer of a receiver, and the beginning of its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ReceiverClient:
    """Requests to receivers. Each has a deadline, in seconds, from the search for the host to the answer's
    headers. Follows no redirect, and reads only the beginning of an answer.

    Requests at the same time have a connection each; later requests use these again.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._no_answer = Outcome(None, reason=f"no answer within {deadline:g} s")
        self._session = Session(deadline)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # requests share nothing
        self._session.headers["accept-encoding"] = "identity"  # a body is read as it comes

    def request(
        self, method: str, url: SecretStr, fields: Mapping[str, str], body: bytes = b""
    ) -> Answer | Outcome:
        """Sends a request with the headers `fields`. Returns the answer, or an Outcome if there is none.
        Raises nothing. Safe for threads.

        The request runs in a thread of its own, because nothing ends the search for the address of a host.
        """
        answers: SimpleQueue[Answer | Outcome] = SimpleQueue()
        threading.Thread(
            target=lambda: answers.put(self._exchange(method, url, fields, body)), name=THREAD, daemon=True
        ).start()
        try:
            return answers.get(timeout=self._deadline)
        except Empty:
            return self._no_answer

    def close(self) -> None:
        self._session.close()

    def _exchange(
        self, method: str, url: SecretStr, fields: Mapping[str, str], body: bytes
    ) -> Answer | Outcome:
        try:
            with self._session.request(
                method,
                url.get_secret_value(),
                data=body,
                headers=dict(fields),
                timeout=self._deadline,
                allow_redirects=False,
                stream=True,
            ) as response:
                return Answer(response.status_code, response.headers, _beginning(response))
        except requests.Timeout:
            return self._no_answer
        except Exception as error:  # noqa: BLE001  # it would end the thread without an outcome
            return Outcome(None, reason=error_without_url(error))


class WebhookDestination:
    """A webhook as Destination."""

    def __init__(self, webhook: Webhook, deadline: timedelta = DEADLINE) -> None:
        self._webhook = webhook
        self._client = ReceiverClient(deadline.total_seconds())

    def send(self, delivery: Delivery, now: datetime) -> Outcome:
        """Signs and posts a message, and evaluates the answer. Raises nothing. Safe for threads."""
        webhook = self._webhook
        try:
            body = body_in_format(delivery.body, webhook.message_format)
        except (LookupError, ValueError, zlib.error):
            return Outcome(None, dead_reason="the stored message is damaged")
        if webhook.template:
            # Jinja is loaded with the first such message: most hours are quiet.
            from detection.delivery.templates import TemplateFailure, render  # noqa: PLC0415  # it needs Jinja

            try:
                body = render(webhook.template, body)
            except TemplateFailure as failure:
                return Outcome(None, dead_reason=f"{webhook.format}: {failure}")
        if webhook.routing_key:
            body = with_routing_key(body, webhook.routing_key.get_secret_value())
        secrets = [secret.get_secret_value() for secret in webhook.secret]
        fields = headers(replace(delivery, body=body), now, secrets)
        answer = self._client.request("POST", webhook.url, fields, body)
        if isinstance(answer, Outcome):
            return answer
        outcome = outcome_of(answer.status, answer.headers, now)
        if outcome.sent and webhook.message_format == "teams" and answer.body.startswith(TEAMS_FAILURE):
            return Outcome(answer.status, reason=f"HTTP {answer.status}, whose body says that Teams failed")
        return outcome

    def close(self) -> None:
        self._client.close()


def request_heartbeat(url: SecretStr, deadline: float) -> str:
    """Requests a URL. Returns why that failed, or "" after a 2xx. The deadline is in seconds."""
    with closing(ReceiverClient(deadline)) as client:
        answer = client.request("GET", url, {"user-agent": USER_AGENT})
    if isinstance(answer, Outcome):
        return answer.reason
    if refusal := next(filter(answer.body.startswith, HEARTBEAT_REFUSALS), None):
        return f"HTTP {answer.status}, whose body is {refusal.decode()}"
    return "" if 200 <= answer.status < 300 else f"HTTP {answer.status}"


def _beginning(response: requests.Response) -> bytes:
    """The beginning of the body. A short body is read to its end, and its connection can be used again."""
    with suppress(Exception), Exchange(ANSWER_DEADLINE) as exchange:
        connection = response.raw.connection  # None: the answer is at its end
        if connection and connection.sock:
            exchange.watch(connection.sock)
        content: bytes = response.raw.read(ANSWER_BYTES)
        return content
    return b""


@contextmanager
def open_destinations(webhooks: Sequence[Webhook]) -> Iterator[Mapping[str, Destination | Outcome]]:
    """The webhooks as destinations, by name; their connections are closed at the end.

    In place of a webhook whose format is not set there is the Outcome that says so.
    """
    unset = {webhook.name: UNSET_FORMAT for webhook in webhooks if webhook.message_format is None}
    destinations = {
        webhook.name: WebhookDestination(webhook) for webhook in webhooks if webhook.name not in unset
    }
    try:
        yield {**destinations, **unset}
    finally:
        for destination in destinations.values():
            destination.close()


def headers(delivery: Delivery, now: datetime, secrets: Sequence[str]) -> dict[str, str]:
    """The headers of one attempt. All share the id; the time, and so the signature, is of the attempt."""
    timestamp = str(int(now.timestamp()))
    base_headers = {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": delivery.id,
        "webhook-timestamp": timestamp,
    }
    signatures = " ".join(signature(secret, delivery.id, timestamp, delivery.body) for secret in secrets)
    return base_headers | ({"webhook-signature": signatures} if signatures else {})


def signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """The symmetric signature of Standard Webhooks: HMAC-SHA256 over id, time and the exact bytes sent."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = b".".join([message_id.encode(), timestamp.encode(), body])
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def with_routing_key(body: bytes, routing_key: str) -> bytes:
    """An event for PagerDuty with the routing key of its service; every attempt sends the same bytes."""
    return b'{"routing_key":' + to_json(routing_key) + b"," + body[1:]


def body_in_every_format(bodies: Mapping[MessageFormat, bytes]) -> bytes:
    """One body with a message in every format, for a destination whose format is not set.

    It is compressed, to fit into the transaction of its alert.
    """
    lines = [name.encode() + b" " + body for name, body in bodies.items()]  # a message is JSON on one line
    return EVERY_FORMAT + zlib.compress(b"\n".join(lines))


def body_in_format(body: bytes, message_format: MessageFormat | None) -> bytes:
    """The body as it is, or of a body in every format the message in this one.

    Raises LookupError, ValueError or zlib.error if the body is damaged.
    """
    if not body.startswith(EVERY_FORMAT):
        return body
    text = zlib.decompressobj().decompress(body.removeprefix(EVERY_FORMAT), BODY_BYTES)
    bodies = dict(line.split(b" ", 1) for line in text.split(b"\n"))
    return bodies.get((message_format or "native").encode(), bodies[b"native"])


def outcome_of(status: int, answer_headers: Mapping[str, str], now: datetime) -> Outcome:
    """The outcome by HTTP status: 2xx is sent, TRANSIENT and 5xx are retried, all other statuses are dead."""
    if 200 <= status < 300:
        return Outcome(status, sent=True)
    if status >= 500 or status in TRANSIENT:
        return Outcome(
            status,
            reason=f"HTTP {status}",
            retry_after=parse_retry_after(answer_headers.get("retry-after"), now),
        )
    return Outcome(status, dead_reason=f"HTTP {status}")


def parse_retry_after(value: str | None, now: datetime) -> timedelta | None:
    """The wait of a Retry-After, in seconds or until a date (RFC 9110, 10.2.3); None if it is neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return timedelta(seconds=min(int(value.strip()[:9]), MAX_RETRY_AFTER))
    try:
        until = parsedate_to_datetime(value)
        return max(until.replace(tzinfo=until.tzinfo or UTC) - now, timedelta(0))
    except ValueError:
        return None
