"""What the Functions host does with the app, as far as it can be had without the host.

From Python 3.13 on, the host's worker hands its gRPC messages to the library azure-functions-runtime. Here
that library gets look-alikes of the messages; what it then does with the app is what happens in the cloud.
"""

import asyncio
import json
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

OLDEST = (3, 13)  # the library wants it; on older Pythons the cloud runs a worker that is not published
APP = "function_app"
INVOCATION = "invocation-1"  # the id of every invocation


class Message(SimpleNamespace):
    """A look-alike of a protobuf message: its fields are what it was made with."""


class TypedData(Message):
    """A message that is one of several kinds of value."""

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802  # protobuf's name
        return next(iter(vars(self)), None)


class ParameterBinding(Message):
    """An argument of an invocation."""

    def WhichOneof(self, _group: str) -> str:  # noqa: N802  # protobuf's name
        return "data"


class StatusResult(Message):
    """How a request ended."""

    Failure = 0
    Success = 1


class BindingInfo(Message):
    """A binding of a function; its direction is a number."""

    inout = 2
    out = 1


_PLAIN = (
    "FunctionMetadataResponse",
    "InvocationResponse",
    "RpcException",
    "RpcHttp",
    "RpcFunctionMetadata",
    "WorkerInitResponse",
    "WorkerMetadata",
)
PROTOS = SimpleNamespace(
    BindingInfo=BindingInfo,
    ParameterBinding=ParameterBinding,
    StatusResult=StatusResult,
    TypedData=TypedData,
    **{name: type(name, (Message,), {}) for name in _PLAIN},
)


@dataclass(frozen=True, slots=True)
class InvocationFailure:
    """What the host is told of an invocation that failed, and logs."""

    message: str
    trace: str


@dataclass(frozen=True, slots=True)
class FunctionResponse:
    """What the host is told to answer to a request."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that has indexed an app. `module` is the app as it was imported."""

    runtime: Any
    module: ModuleType
    functions: dict[str, Any]

    def bindings(self, name: str) -> list[dict[str, Any]]:
        """The bindings of a function, as the host reads them."""
        return [json.loads(binding) for binding in self.functions[name].raw_bindings]

    def invoke(self, name: str, *, past_due: bool = False) -> InvocationFailure | None:
        """Runs a function as its timer does; None if it succeeded."""
        timer = json.dumps({"Schedule": {}, "ScheduleStatus": {}, "IsPastDue": past_due})
        return _failure(self._run(name, TypedData(json=timer)).result)

    def ask(
        self, name: str, method: str, url: str, headers: dict[str, str], body: bytes = b""
    ) -> FunctionResponse:
        """Runs a function as a request does. Raises RuntimeError if it failed."""
        parts = urlsplit(url)
        http = Message(
            method=method,
            url=url,
            headers=headers,
            params={},
            query=dict(parse_qsl(parts.query)),
            body=TypedData(bytes=body),
        )
        answer = self._run(name, TypedData(http=http))
        if failure := _failure(answer.result):
            raise RuntimeError(f"{failure.message}\n{failure.trace}")
        response = answer.return_value.http
        return FunctionResponse(int(response.status_code), dict(response.headers), response.body.bytes)

    def _run(self, name: str, data: TypedData) -> Any:  # noqa: ANN401  # a message, and those have any fields
        binding = self.bindings(name)[0]
        request = Message(
            invocation_id=INVOCATION,
            function_id=self.functions[name].function_id,
            input_data=[ParameterBinding(name=binding["name"], data=data)],
            trigger_metadata={},
            trace_context=Message(trace_parent="", trace_state="", attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
        )
        return _ask(self.runtime.invocation_request(_wrapped(invocation_request=request)))


@contextmanager
def running(folder: Path) -> Iterator[Worker]:
    """A worker that has indexed the app in a folder which is on the path. Needs Python 3.13."""
    runtime: Any = import_module("azure_functions_runtime")
    sys.modules.pop(APP, None)  # an app can be indexed once
    runtime.start_threadpool_executor()
    try:
        start = Message(capabilities={}, function_app_directory=str(folder))
        answer = _ask(runtime.worker_init_request(_wrapped(worker_init_request=start)))
        if failure := _failure(answer.result):
            raise RuntimeError(failure.message)
        functions = _ask(runtime.functions_metadata_request(_wrapped())).function_metadata_results
        yield Worker(runtime, sys.modules[APP], {function.name: function for function in functions})
    finally:
        runtime.stop_threadpool_executor()


def _wrapped(**request: Message) -> Message:
    return Message(request=Message(**request), properties={"host": "127.0.0.1", "protos": PROTOS})


def _ask(answer: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  # a message, and those have any fields
    return asyncio.run(answer)


def _failure(result: StatusResult) -> InvocationFailure | None:
    if result.status == StatusResult.Success:
        return None
    return InvocationFailure(result.exception.message, result.exception.stack_trace)
