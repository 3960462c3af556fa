"""The errors that this project raises on purpose.

    DetectionError
    ├── ConfigurationError   the user can correct it: a setting, a rule folder, a missing table
    ├── DataError            the logs are not in the format that they should be in
    └── ServiceError         a service failed; the next run tries again
        ├── Incomplete       an answer is not complete
        └── Unreachable      a service does not answer at all

Any other error is a bug of this project, and is shown with its traceback.
"""

import re
from datetime import timedelta
from typing import Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python

# pydantic's words for these are about Python.
_MESSAGES = {"tuple_type": "must be a list", "model_type": "must be a mapping of keys to values"}
ErrorKind = Literal["configuration", "data", "service", "bug"]


class DetectionError(Exception):
    """Base of the errors that this project raises on purpose. Its text is a sentence for the user."""


class ConfigurationError(DetectionError):
    """The user can correct the cause: a setting, a rule folder, an argument, a missing table."""


class DataError(DetectionError):
    """The logs are there but are not in the format that they should be in."""


class ServiceError(DetectionError):
    """A service failed. A later try may succeed."""


class Incomplete(ServiceError):
    """An answer is not complete. It is never correlated, and nothing is marked."""


class Unreachable(ServiceError):
    """A service does not answer at all. Another request of the same run would wait as long in vain."""


def error_kind(error: Exception) -> ErrorKind:
    """The kind of an error, as records name it."""
    if isinstance(error, ConfigurationError):
        return "configuration"
    if isinstance(error, DataError):
        return "data"
    return "service" if isinstance(error, ServiceError) else "bug"


def error_sentence(error: Exception) -> str:
    """An error as a sentence for the user. The text of a bug is not shown: it may contain secrets."""
    return str(error) if isinstance(error, DetectionError) else f"a bug of this job: {type(error).__name__}"


def error_without_url(error: Exception) -> str:
    """The text of an error of this project; of any other error the type, because its text may hold a URL."""
    return str(error) if isinstance(error, DetectionError) else type(error).__name__


def problems_of(error: ValidationError, document_name: str = "the file") -> str:
    """All problems of a document by key, without its values. `document_name` replaces an empty key."""
    problems = [
        (".".join(map(str, problem["loc"])) or document_name, problem_message(problem))
        for problem in error.errors()
    ]
    return "; ".join(f"{location}: {message}" for location, message in problems)


def problem_message(problem: ErrorDetails) -> str:
    """The message of a problem, with durations as users write them (P25D), not as Python shows them."""

    def iso_duration(match: re.Match[str]) -> str:
        units = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", match[0])}
        return str(to_jsonable_python(timedelta(**units)))

    if problem["type"] in _MESSAGES:
        return _MESSAGES[problem["type"]]
    message = problem["msg"].removeprefix("Value error, ")
    return re.sub(r"datetime\.timedelta\((?:(?:days|seconds)=\d+(?:, )?)+\)", iso_duration, message)
