"""What can go wrong, as one small tree.

    DetectionError
    ├── ConfigurationError   yours to mend: a setting, a rule folder, a missing table
    ├── DataError            the logs cannot be read as what they claim to be
    └── ServiceError         a service failed; the next run tries again
        └── Incomplete       an answer that is not the whole answer

Anything else that escapes is a bug of this project, and is shown with its traceback.
"""

from typing import Literal

from pydantic import ValidationError

ErrorKind = Literal["configuration", "data", "service", "bug"]


class DetectionError(Exception):
    """Base of every error this project raises on purpose; its text is one sentence for the user."""


class ConfigurationError(DetectionError):
    """Something the user set or wrote is wrong: a setting, a rule folder, an argument, a missing table."""


class DataError(DetectionError):
    """The logs are there but cannot be read as what they claim to be."""


class ServiceError(DetectionError):
    """A service did not do its part; trying again later is the remedy."""


class Incomplete(ServiceError):
    """An answer that is not the whole answer: it is never correlated, and nothing is marked."""


def error_kind(error: Exception) -> ErrorKind:
    """Which of the four an error is."""
    if isinstance(error, ConfigurationError):
        return "configuration"
    if isinstance(error, DataError):
        return "data"
    return "service" if isinstance(error, ServiceError) else "bug"


def error_sentence(error: Exception) -> str:
    """An error as one sentence for the user. A bug's own text is not shown: it may hold anything."""
    return str(error) if isinstance(error, DetectionError) else f"a bug of this job: {type(error).__name__}"


def problems_of(error: ValidationError, document_name: str = "the file") -> str:
    """All that is wrong with a document, by key, without showing its values; `whole` is what has no key."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or document_name}: {problem['msg']}"
        for problem in error.errors()
    )
