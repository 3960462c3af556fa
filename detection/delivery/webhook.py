"""A webhook as Destination: signs by Standard Webhooks, posts, and says what the answer means.

The URL is a secret (for Slack and Teams it is all one needs to post): it is in no message and no log.
"""

import base64
import hashlib
import hmac
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue

import requests
from pydantic_core import to_json

from detection.delivery.deliver import DEADLINE, Outcome
from detection.settings import Webhook
from detection.store.outbox import Delivery

# Worth another try; every other 4xx, and every redirect, will be refused again (Standard Webhooks; RFC 9110).
TRANSIENT = {408, 425, 429}
USER_AGENT = "openai-config-to-abuse/0.1"
THREAD = "webhook"  # the name of the threads that post
MAX_RETRY_AFTER = 10**6  # seconds that are read of a Retry-After
# Below this level it logs the path of a request, or with broken headers the whole URL: the secret.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class WebhookDestination:
    """One webhook with its secrets; `deadline` is that of one attempt."""

    def __init__(self, webhook: Webhook, deadline: timedelta = DEADLINE) -> None:
        self._deadline = deadline.total_seconds()
        self._url = webhook.url.get_secret_value()
        self._secrets = [secret.get_secret_value() for secret in webhook.secret]
        self._routing_key = webhook.routing_key and webhook.routing_key.get_secret_value()

    def send(self, delivery: Delivery, now: datetime) -> Outcome:
        """One attempt, within the deadline as a whole: a receiver that drips its headers gains nothing."""
        answers: SimpleQueue[Outcome] = SimpleQueue()
        thread = threading.Thread(
            target=lambda: answers.put(self._post(delivery, now)), name=THREAD, daemon=True
        )
        thread.start()
        try:
            return answers.get(timeout=self._deadline)
        except Empty:
            return self._no_answer()

    def _post(self, delivery: Delivery, now: datetime) -> Outcome:
        if self._routing_key:
            delivery = replace(delivery, body=with_routing_key(delivery.body, self._routing_key))
        try:
            with requests.post(
                self._url,
                data=delivery.body,
                headers=headers(delivery, now, self._secrets),
                timeout=self._deadline,
                allow_redirects=False,
                stream=True,  # the status says everything: the body is not read
            ) as answer:
                return outcome_of(answer.status_code, answer.headers, now)
        except requests.Timeout:  # it may come a moment before the deadline as a whole
            return self._no_answer()
        except Exception as error:  # noqa: BLE001  # whatever it is: here it would end a thread in silence
            # The type says what happened; the text would show the URL.
            return Outcome(None, reason=type(error).__name__)

    def _no_answer(self) -> Outcome:
        return Outcome(None, reason=f"no answer within {self._deadline:g} s")


def headers(delivery: Delivery, now: datetime, secrets: Sequence[str]) -> dict[str, str]:
    """The headers of one attempt: the id stays, the time and with it the signature are the attempt's."""
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
    """Standard Webhooks' symmetric signature: HMAC-SHA256 over id, time and the exact bytes sent."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = b".".join([message_id.encode(), timestamp.encode(), body])
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def with_routing_key(body: bytes, routing_key: str) -> bytes:
    """An event for PagerDuty with the key of the service that it is for; the same bytes at every attempt."""
    return b'{"routing_key":' + to_json(routing_key) + b"," + body[1:]


def outcome_of(status: int, answer_headers: Mapping[str, str], now: datetime) -> Outcome:
    """What an answer means: 2xx is sent; what may pass is tried again; the rest is dead."""
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
    """The wait that a receiver asks for, in seconds or until a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return timedelta(seconds=min(int(value.strip()[:9]), MAX_RETRY_AFTER))
    try:
        until = parsedate_to_datetime(value)
        return max(until.replace(tzinfo=until.tzinfo or UTC) - now, timedelta(0))
    except ValueError:
        return None
