"""A double of the managed identity endpoint of App Service on this machine: real HTTP, real tokens or faults."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

HEADER = "identity-header"  # the secret that the platform hands to the app
TOKEN = "identity-token"  # no receiver checks it


class IdentityEndpoint:
    """Answers with `status` and `body`, or never while `hangs`; `requests` are the queries of the requests."""

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self.status: int = HTTPStatus.OK
        self.body: bytes | None = None  # None: a token
        self.headers: dict[str, str] = {}
        self.hangs = False
        self.stopped = Event()
        self.url = ""

    def environment(self) -> dict[str, str]:
        """What the platform sets for the app."""
        return {"IDENTITY_ENDPOINT": self.url, "IDENTITY_HEADER": HEADER}

    def refuse(self, status: int, retry_after: int | None = None) -> None:
        """From now on answers with an error, in the shape that App Service gives it."""
        self.status, self.body = status, json.dumps({"statusCode": status, "message": "no"}).encode()
        self.headers = {"Retry-After": str(retry_after)} if retry_after else {}

    def answer(self, resource: str) -> bytes:
        if self.body is not None:
            return self.body
        token: dict[str, Any] = {"access_token": TOKEN, "resource": resource, "token_type": "Bearer"}
        return json.dumps(token | {"expires_on": str(int(time.time()) + 3600)}).encode()


@contextmanager
def identity_endpoint() -> Iterator[IdentityEndpoint]:
    """The double, listening at its `url`."""
    endpoint = IdentityEndpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            endpoint.requests.append(query | {"header": self.headers["X-IDENTITY-HEADER"] or ""})
            if endpoint.hangs:
                endpoint.stopped.wait()
                self.close_connection = True
                return
            body = endpoint.answer(query.get("resource", ""))
            self.send_response(endpoint.status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
            for name, text in (headers | endpoint.headers).items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that went away is no news."""

    with Server(("127.0.0.1", 0), Handler) as server:
        endpoint.url = f"http://127.0.0.1:{server.server_port}/msi/token"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield endpoint
        finally:
            endpoint.stopped.set()
            server.shutdown()
            thread.join()
