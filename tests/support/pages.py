"""The incident page as `incidents serve` serves it, on a free port of this machine, while a test runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from detection.app import Job
from detection.cli.serve import Server


@contextmanager
def serving(job: Job) -> Iterator[Server]:
    """A server over a job's table, at the job's own time."""
    with Server(job, job.clock) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
