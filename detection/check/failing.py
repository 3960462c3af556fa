"""An error as a finding: a check that fails stops no other."""

from collections.abc import Callable, Iterator

from detection.base.errors import ErrorKind, error_kind, error_sentence
from detection.check.finding import Finding, red
from detection.logs.log_analytics.answers import QueryRefused
from detection.logs.log_analytics.splitting import QueryUnfinished

_REMEDIES: dict[ErrorKind, str] = {
    "configuration": "mend what it names",
    "data": "mend the logs that it names",
    "service": "try again in some minutes; the job does so by itself",
    "bug": "report it",
}


def run_check(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check, and what it breaks off with."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001  # whatever it is: the others have to be tried
        yield error_finding(name, error)


def error_finding(name: str, error: Exception) -> Finding:
    """What an error says, without what a bug's own text may hold."""
    if isinstance(error, QueryUnfinished):
        error = error.failure
    if isinstance(error, QueryRefused) and error.hint:
        return red(name, error.message, error.hint)
    return red(name, error_sentence(error), _REMEDIES[error_kind(error)])
