"""A webhook receiver on this machine: it keeps what it is sent, and answers as it is told, or as badly."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from detection.delivery.webhook import THREAD

HIDDEN = "hunter2"  # stands in every URL: nothing that is logged or printed may hold it


class Handler(BaseHTTPRequestHandler):
    """Hands every request to the receiver."""

    server: "Receiver"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer is written in several pieces

    def do_POST(self) -> None:
        length = int(self.headers["content-length"] or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # the sender was killed
            self.close_connection = True
            return
        self.server.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.close_connection = not self.server.keeps_connections
        try:
            self.server.answer(self)
        except OSError:
            self.server.broken.set()

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    do_GET = do_CONNECT = do_POST  # noqa: N815  # the names of the base

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        pass


Answer = Callable[[Handler], None]


class Receiver(ThreadingHTTPServer):
    """A receiver: what it `got`, in order. The next answers come from `answers`, then it is `always` the same one."""

    daemon_threads = False  # closing waits for them
    keeps_connections = False  # for the next request of a client, which then has to close them
    connections = 0  # ever opened

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[Answer] = []
        self.default_answer: Answer = status(204)
        self.stopped, self.broken = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{HIDDEN}"

    @property
    def headers(self) -> list[Mapping[str, str]]:
        """The headers of what it got, with lower-case names."""
        return [headers for headers, _ in self.requests]

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, body in self.requests]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The bodies as JSON."""
        return [json.loads(body) for body in self.bodies]

    def answer(self, handler: Handler) -> None:
        (self.answers.pop(0) if self.answers else self.default_answer)(handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


def status(code: int, **fields: str) -> Answer:
    """Answers with a status, headers, and two bytes where a body may be."""
    body = b"" if code == 204 else b"ok"

    def answer(handler: Handler) -> None:
        handler.send_response(code)
        closing = {"connection": "close"} if handler.close_connection else {}
        for name, value in {"content-length": str(len(body)), **closing, **fields}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def raw(content: bytes) -> Answer:
    """Answers with these bytes and closes."""
    return lambda handler: _write(handler, content)


def dripping(head: bytes, drop: bytes, every: float = 0.05) -> Answer:
    """Answers with the head at once, and then without end, bit by bit, one every so many seconds."""

    def answer(handler: Handler) -> None:
        _write(handler, head)
        while not handler.server.stopped.wait(every):
            _write(handler, drop)

    return answer


def _write(handler: Handler, content: bytes) -> None:
    handler.wfile.write(content)
    handler.wfile.flush()


HANGING = dripping(b"", b"")
DROPPING = raw(b"")


@contextmanager
def receiving(server: Receiver | None = None) -> Iterator[Receiver]:
    """Runs a receiver, and ends all its threads and those of who asked it."""
    receiver = server or Receiver()
    thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.stopped.set()
        receiver.shutdown()
        receiver.server_close()
        thread.join()
        for running_thread in threading.enumerate():
            if running_thread.name == THREAD:
                running_thread.join(10)
