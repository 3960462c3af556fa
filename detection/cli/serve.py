"""`incidents serve`: the incident page on this machine, over whatever table the settings name."""

import hmac
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from detection.app import Job
from detection.cli.output import write_remark
from detection.web.exchange import BODY, AccessMode, Request, Response, make_request
from detection.web.respond import respond

HOST = "127.0.0.1"  # nobody else's business
PREFIX = "/api"  # as in the cloud
LENGTH_PATTERN = re.compile(r"[0-9]{1,9}")  # of a body that could be read


class Server(ThreadingHTTPServer):
    """Answers on loopback whoever has its key, which is made anew at each start, as the Functions host does with its own."""

    daemon_threads = True

    def __init__(self, job: Job, clock: Callable[[], datetime], port: int = 0) -> None:
        super().__init__((HOST, port), _Handler)
        self.job = job
        self.clock = clock
        self.key = secrets.token_urlsafe(24)

    @property
    def origin(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.server_port}"

    @property
    def url(self) -> str:
        """Where to begin."""
        return f"{self.origin}{PREFIX}/incidents?code={self.key}"

    def answer(self, request: Request) -> Response:
        """The page's answer, if the key is right or the way in is a link; only our own name counts as ours."""
        access_key = parse_qs(urlsplit(request.url).query).get(
            "code", [request.headers.get("x-functions-key", "")]
        )[-1]
        key_matches = hmac.compare_digest(access_key.encode(errors="replace"), self.key.encode())
        if request.headers.get("host") != self.origin.removeprefix("http://") or not (
            key_matches or request.access_mode == "link"
        ):
            message = b"Open the address that `incidents serve` has printed.\n"
            return Response(401, message, {"content-type": "text/plain"})
        return respond(request, self.job, self.clock())


def serve_until_interrupted(server: Server) -> None:
    """Says where it is to be seen, and serves until somebody has seen enough."""
    write_remark(f"The incidents are at {server.url}  (Ctrl-C ends it)")
    with suppress(KeyboardInterrupt):
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    """Hands every request on, whatever its method."""

    server: Server
    timeout = 10  # seconds
    server_version, sys_version = "detection", ""

    def _send_answer(self) -> None:
        answer = self.server.answer(self._read_request())
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _send_answer  # noqa: N815

    def _read_request(self) -> Request:
        length = self.headers.get("content-length", "0")
        size = int(length) if LENGTH_PATTERN.fullmatch(length) else BODY + 1
        body = self.rfile.read(min(size, BODY + 1))
        access_mode: AccessMode = "link" if self.path.startswith(f"{PREFIX}/look/") else "key"
        url = f"{self.server.origin}/{self.path.lstrip('/')}"
        return make_request(self.command, url, dict(self.headers.items()), body, access_mode)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        """Nothing is logged: addresses hold the key."""
