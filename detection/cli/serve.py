"""The incident page on this machine, over the table of a job: `incidents serve` and `demo --serve`."""

import hmac
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from detection.app import Job
from detection.base.errors import ConfigurationError
from detection.cli.output import write_remark
from detection.web.exchange import BODY, AccessMode, Request, Response, make_request
from detection.web.respond import respond

HOST = "127.0.0.1"  # not reachable from other machines
PREFIX = "/api"  # as in the cloud
LENGTH_PATTERN = re.compile(r"[0-9]{1,9}")  # of a content-length that is parsed


class Server(ThreadingHTTPServer):
    """A server on loopback for requests with its key. Every start makes a new key.

    Raises ConfigurationError if the port cannot be listened on.
    """

    daemon_threads = True

    def __init__(self, job: Job, clock: Callable[[], datetime], port: int = 0) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise ConfigurationError(
                f"port {port} cannot be listened on: {error.strerror}; choose another with --port"
            ) from error
        self.job = job
        self.clock = clock
        self.key = secrets.token_urlsafe(24)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://{HOST}:{self.server_port}"

    @property
    def url(self) -> str:
        """The address of the list of incidents, with the key."""
        return f"{self.origin}{PREFIX}/incidents?code={self.key}"

    def answer(self, request: Request) -> Response:
        """The page's response; 401 without the key, unless the request is for a signed link.

        A Host header with another name gets 401 too: a name that resolves to loopback must not reach the page
        (DNS rebinding).
        """
        access_key = parse_qs(urlsplit(request.url).query).get(
            "code", [request.headers.get("x-functions-key", "")]
        )[-1]
        key_matches = hmac.compare_digest(access_key.encode(errors="replace"), self.key.encode())
        if request.headers.get("host") != self.origin.removeprefix("http://") or not (
            key_matches or request.access_mode == "link"
        ):
            message = b"Open the address that `incidents serve` printed.\n"
            return Response(401, message, {"content-type": "text/plain"})
        return respond(request, self.job, self.clock())


def serve_until_interrupted(server: Server) -> None:
    """Prints the address and serves until Ctrl-C."""
    write_remark(f"Serving the incidents at {server.url}  (stop with Ctrl-C)")
    with suppress(KeyboardInterrupt):
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    """Passes every request to the server, whatever its method."""

    server: Server
    timeout = 10  # seconds
    server_version, sys_version = "detection", ""

    def do_GET(self) -> None:
        length = self.headers.get("content-length", "0")
        size = int(length) if LENGTH_PATTERN.fullmatch(length) else BODY + 1
        body = self.rfile.read(min(size, BODY + 1))
        access_mode: AccessMode = "link" if self.path.startswith(f"{PREFIX}/look/") else "key"
        url = f"{self.server.origin}/{self.path.lstrip('/')}"
        answer = self.server.answer(
            make_request(self.command, url, dict(self.headers.items()), body, access_mode)
        )
        self.send_response(answer.status)
        for name, text in answer.headers.items():
            self.send_header(name, text)
        self.send_header("content-length", str(len(answer.body)))
        self.send_header("connection", "close")
        with suppress(ConnectionError):  # the browser has left
            self.end_headers()
            self.wfile.write(answer.body)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Logs nothing: addresses hold the key."""
