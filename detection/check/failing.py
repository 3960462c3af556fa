"""An error as a finding: a check that fails stops no other."""

from collections.abc import Callable, Iterator

from detection.check.finding import Finding, red
from detection.errors import ErrorKind, kind_of, sentence
from detection.sources.answer import Refused
from detection.sources.halving import Unfinished

_REMEDIES: dict[ErrorKind, str] = {
    "configuration": "mend what it names",
    "data": "mend the logs that it names",
    "service": "try again in some minutes; the job does so by itself",
    "bug": "report it",
}


def tried(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check, and what it breaks off with."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001  # whatever it is: the others have to be tried
        yield failed(name, error)


def failed(name: str, error: Exception) -> Finding:
    """What an error says, without what a bug's own text may hold."""
    if isinstance(error, Unfinished):
        error = error.failure
    if isinstance(error, Refused) and error.hint:
        return red(name, error.said, error.hint)
    return red(name, sentence(error), _REMEDIES[kind_of(error)])
