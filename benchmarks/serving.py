"""A process of its own that answers every POST, so that what answers costs the measured process nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Process, Queue

Answer = Callable[[str], bytes]  # the JSON that answers a request's body; it is handed to the process


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Answers on a free port of the loopback while the context lasts; its endpoint."""
    ports: Queue[int] = Queue()
    process = Process(target=_serve, args=(answer, ports), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ports.get(timeout=60)}"
    finally:
        process.terminate()
        process.join()


def _serve(answer: Answer, ports: "Queue[int]") -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = answer(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        ports.put(server.server_port)
        server.serve_forever()
