"""The webhook: signs messages by Standard Webhooks, posts them, and reads the status of the answer.

The URL is a secret (with Slack and Teams it is all that posting needs): no message or log line contains it.
"""

import base64
import hashlib
import hmac
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from queue import Empty, SimpleQueue

import requests
from pydantic_core import to_json

from detection.base.errors import error_without_url
from detection.base.exchange import Exchange
from detection.base.sessions import Session
from detection.delivery.deliver import DEADLINE, Destination, Outcome
from detection.settings import Webhook
from detection.store.outbox import Delivery

# Retried. A receiver would refuse every other 4xx, and every redirect, again (Standard Webhooks; RFC 9110).
TRANSIENT = {408, 425, 429}
USER_AGENT = "openai-config-to-abuse/0.1"
ANSWER_BYTES = 2**12  # the longest answer that is read to its end
ANSWER_DEADLINE = 0.25  # seconds to read it in; it mostly arrives with its headers
THREAD = "webhook"  # the name of the threads that post
MAX_RETRY_AFTER = 10**6  # seconds; a longer Retry-After is read as this
# Below ERROR, urllib3 logs the path of a request, and the whole URL if headers are broken: the secret.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class WebhookDestination:
    """A webhook as Destination. The deadline of an attempt lasts from connecting to the answer's headers.

    Attempts at the same time have a connection each; later attempts use these again.
    """

    def __init__(self, webhook: Webhook, deadline: timedelta = DEADLINE) -> None:
        self._webhook = webhook
        self._deadline = deadline.total_seconds()
        self._no_answer = Outcome(None, reason=f"no answer within {self._deadline:g} s")
        self._session = Session(self._deadline)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # attempts share nothing

    def send(self, delivery: Delivery, now: datetime) -> Outcome:
        """Signs and posts a message, and reads the status of the answer. Raises nothing. Safe for threads.

        The request runs in a thread of its own, because nothing ends the search for the address of a host.
        """
        outcomes: SimpleQueue[Outcome] = SimpleQueue()
        threading.Thread(
            target=lambda: outcomes.put(self._exchange(delivery, now)), name=THREAD, daemon=True
        ).start()
        try:
            return outcomes.get(timeout=self._deadline)
        except Empty:
            return self._no_answer

    def close(self) -> None:
        """Closes the connections that no attempt uses."""
        self._session.close()

    def _exchange(self, delivery: Delivery, now: datetime) -> Outcome:
        try:
            with self._post(delivery, now) as answer:
                outcome = outcome_of(answer.status_code, answer.headers, now)
                _finish(answer)
        except requests.Timeout:
            return self._no_answer
        except Exception as error:  # noqa: BLE001  # it would end the thread without an outcome
            return Outcome(None, reason=error_without_url(error))
        return outcome

    def _post(self, delivery: Delivery, now: datetime) -> requests.Response:
        webhook = self._webhook
        if webhook.routing_key:
            body = with_routing_key(delivery.body, webhook.routing_key.get_secret_value())
            delivery = replace(delivery, body=body)
        return self._session.post(
            webhook.url.get_secret_value(),
            data=delivery.body,
            headers=headers(delivery, now, [secret.get_secret_value() for secret in webhook.secret]),
            timeout=self._deadline,
            allow_redirects=False,
            stream=True,  # of a long answer the status is enough
        )


def _finish(answer: requests.Response) -> None:
    """Reads a short answer to its end, without which its connection cannot be used again."""
    connection = answer.raw.connection  # None: the answer is at its end
    if connection and connection.sock:
        with suppress(Exception), Exchange(ANSWER_DEADLINE) as exchange:
            exchange.watch(connection.sock)
            answer.raw.read(ANSWER_BYTES)


@contextmanager
def open_destinations(webhooks: Iterable[Webhook]) -> Iterator[Mapping[str, Destination]]:
    """The webhooks as destinations, by name; their connections are closed at the end."""
    destinations = {webhook.name: WebhookDestination(webhook) for webhook in webhooks}
    try:
        yield destinations
    finally:
        for destination in destinations.values():
            destination.close()


def headers(delivery: Delivery, now: datetime, secrets: Sequence[str]) -> dict[str, str]:
    """The headers of one attempt.

    All attempts share the id; the time, and so the signature, is that of the attempt.
    """
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
    """The wait of a Retry-After header, in seconds or until a date (RFC 9110, 10.2.3).

    Returns None if the header is neither.
    """
    if value is None:
        return None
    if value.strip().isdecimal():
        return timedelta(seconds=min(int(value.strip()[:9]), MAX_RETRY_AFTER))
    try:
        until = parsedate_to_datetime(value)
        return max(until.replace(tzinfo=until.tzinfo or UTC) - now, timedelta(0))
    except ValueError:
        return None
