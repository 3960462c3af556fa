"""The Azure adapter of the port Table: a table of a storage account, through Microsoft's SDK.

Every write is one transaction in one request, also for a single operation. The SDK repeats a request whose
answer was lost; if the first request was executed, the repeated one is a Conflict, and the incident store
recognises its token. No error of the SDK leaves this module: its text may hold an address with a signature.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, TokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DecodeError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline import PipelineResponse
from azure.data.tables import EdmType, EntityProperty, TableClient, TableEntity, UpdateMode
from requests import ReadTimeout

from detection.base.azure_transport import MALFORMED_RESPONSE, Transport
from detection.base.errors import ConfigurationError, ServiceError, Unreachable
from detection.base.exchange import Exchange
from detection.base.sign_in import PUBLIC_CLOUD, sign_in
from detection.store.table import (
    PAGE,
    Conflict,
    Delete,
    Entity,
    Insert,
    Operation,
    Put,
    Replace,
    Table,
    Value,
    check,
)

LONGEST_CALL = 45  # seconds; what fails then is for the next run
SETTINGS: Final[dict[str, Any]] = {
    "timeout": 28,  # seconds from the first attempt to the beginning of the last
    "retry_total": 3,  # after 0, 1.6 and 3.2 s; the SDK's 10 would outlast the run's time
    "retry_connect": 2,
    "retry_read": 2,  # a service that does not answer takes the longest
}
CONNECT_TIMEOUT = 3  # seconds; the table is in the app's region, or it is not there
READ_TIMEOUT = 12  # seconds; the service ends a query after 5, and answers a write in far less
LONGEST_PAUSE = 5  # seconds; a Retry-After may ask for minutes
# In a row. The service ends a page after five seconds, also without a row. The time of a run is read between
# rows, so more empty pages would outlast it.
EMPTY_PAGES = 10
_REPEATED = frozenset({"POST"})  # a transaction may be repeated when its answer was lost, see above
_RANGE = "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last"
_NO_METADATA = "application/json;odata=nometadata"  # a name with its row's version takes twice the bytes
# A filter has at most 15 comparisons ("Querying tables and entities"): the partition's, and those of rows.
_ROWS_OF_FILTER = 14
_ADDRESS = re.compile(r"https://(?P<host>[a-z0-9.-]+)(:\d+)?(/\w*)?")  # an emulator's has a port and a path
_CLOUDS = {  # the audience of tokens, and the sign-in authority
    "core.usgovcloudapi.net": ("https://storage.azure.us", "login.microsoftonline.us"),
    "core.chinacloudapi.cn": ("https://storage.azure.cn", "login.chinacloudapi.cn"),
}
_INT32 = range(-(2**31), 2**31)
_ROW_NOT_FOUND = frozenset({"ResourceNotFound", "EntityNotFound"})
# Why the service refuses an account key, by its error code ("Common REST API error codes").
_KEY_REFUSALS = {
    "AuthenticationFailed": "the account key is wrong or replaced",
    "AuthorizationFailure": (
        "the account does not allow this network; from the emulator: the account key is wrong"
    ),
    "KeyBasedAuthenticationNotPermitted": (
        "the account allows no account keys; use the https:// address of the account and a managed identity"
    ),
}

Sent = tuple[str, Mapping[str, Any], Mapping[str, Any]]  # an operation as the SDK takes it


def open_table(storage: str, name: str, client_id: str | None) -> Table:
    """The table `name` of a storage account; nothing is sent yet, and the table need not exist.

    `storage` is a connection string, `UseDevelopmentStorage=true` (the emulator), or the account's address
    `https://<account>.table.core.windows.net`, opened with the identity that `client_id` names in
    base/sign_in.py. Raises ConfigurationError for anything else.
    """
    clock = ServiceClock()
    transport = Transport(CONNECT_TIMEOUT, READ_TIMEOUT, LONGEST_PAUSE)
    settings = {**SETTINGS, "raw_response_hook": clock.read, "transport": transport}
    if "://" in storage.partition("=")[0]:
        address = _ADDRESS.fullmatch(storage)
        if address is None:
            raise ConfigurationError(
                "the address of a storage account must be https://<account>.table.core.windows.net"
            )
        audience, authority = _CLOUDS.get(address["host"].partition(".table.")[2], (None, PUBLIC_CLOUD))
        credential = sign_in(client_id, authority)
        client = TableClient(storage, name, credential=credential, audience=audience, **settings)
        return AzureTable(client, clock)
    try:
        client = TableClient.from_connection_string(storage.rstrip("; "), name, **settings)
        return AzureTable(client, clock)
    except ValueError:
        raise ConfigurationError(
            "the table storage must be a whole connection string or the https:// address of an account"
        ) from None


class ServiceClock:
    """The service's clock, as the header `Date` of its last response says, in whole seconds (UTC)."""

    def __init__(self) -> None:
        self.date: datetime | None = None  # None: no response with a readable `Date`

    def read(self, response: PipelineResponse[Any, Any]) -> None:
        """Reads a response: the hook of a client."""
        try:
            date = parsedate_to_datetime(response.http_response.headers.get("Date", ""))
        except ValueError:
            self.date = None
        else:
            self.date = date.replace(tzinfo=date.tzinfo or UTC)


class AzureTable:
    """A table of a storage account. The first write creates it if it does not exist. Once it has answered,
    a response that denies the table is an error: rows that are not read would count as rows that never were.

    `clock` hears the responses of the client; without it the table has no date.
    """

    def __init__(self, client: TableClient, clock: ServiceClock | None = None) -> None:
        self._client = client
        self._clock = clock or ServiceClock()
        self._exists = False  # whether it has answered

    def get(self, partition: str, row: str) -> Entity | None:
        with _errors(self._client):
            try:
                entity = _entity(partition, self._client.get_entity(partition, row))
            except ResourceNotFoundError as error:  # the row, or the table
                if _code(error) == "TableNotFound" and self._exists:
                    raise
                return None
            self._exists = True
            if entity.row != row:
                raise ServiceError("the table service returned another row than the one that was read")
            return entity

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        with _errors(self._client):
            yield from map(partial(_entity, partition), self._range(partition, start, end, page))

    def names(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[str]:
        with _errors(self._client):
            for entity in self._range(partition, start, end, page, select="RowKey"):
                yield entity["RowKey"]

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        check(partition, operations)
        with _errors(self._client):
            self._submit(partition, operations)

    def date(self) -> datetime | None:
        return self._clock.date

    def _range(
        self, partition: str, start: str, end: str, page: int, select: str | None = None
    ) -> Iterator[TableEntity]:
        """The rows of a range. With `select` they have only that property, and no version."""
        parameters = {"partition": partition, "first": start, "last": end}
        last_row = ""
        try:
            for entity in self._query(_RANGE, parameters, select, page):
                if not start <= entity["RowKey"] < end or (last_row and entity["RowKey"] <= last_row):
                    raise ServiceError("the table service returned rows outside the range or out of order")
                last_row = entity["RowKey"]
                yield entity
        except ResourceNotFoundError:  # a table that does not exist has no rows
            if self._exists:
                raise
        else:
            self._exists = True

    def _query(
        self, query: str, parameters: dict[str, str], select: str | None = None, rows: int = PAGE
    ) -> Iterator[TableEntity]:
        """The rows of a query, page by page. A page may be empty, so only the tokens show an end."""
        pages: Any = self._client.query_entities(
            query,
            parameters=parameters,
            select=select,
            results_per_page=rows,
            headers={"Accept": _NO_METADATA} if select else {},
        ).by_page()
        tokens, empty_pages = set[tuple[str, ...]](), 0
        for page in pages:
            entities = list(page)
            yield from entities
            token = tuple((pages.continuation_token or {}).values())
            if token in tokens:
                raise ServiceError(
                    "the table service repeats a continuation token, so its answer would never end; the next "
                    "run tries again"
                )
            empty_pages = 0 if entities else empty_pages + 1
            if token and empty_pages > EMPTY_PAGES:
                raise ServiceError(
                    f"the table service returned {empty_pages} empty pages in a row, and its answer goes on; "
                    "the next run tries again"
                )
            tokens.add(token)

    def _submit(self, partition: str, operations: Sequence[Operation], *, made: bool = False) -> None:
        if not operations:
            return
        sent = [_sent(partition, operation) for operation in operations]
        try:
            results = self._results(sent)
        except HttpResponseError as error:
            code = _code(error) if error.status_code == 404 else ""
            if code in _ROW_NOT_FOUND:
                self._submit(partition, self._without_missing(partition, operations), made=made)
            elif code == "TableNotFound" and not made:
                with suppress(ResourceExistsError):  # another run was faster
                    self._client.create_table()
                self._submit(partition, operations, made=True)
            else:
                raise
        else:
            if len(results) != len(sent):  # then the transaction may not have been executed
                raise ServiceError(
                    f"the table service returned {len(results)} results for a transaction of {len(sent)} "
                    "operations; the next run reads whether it was executed"
                )
            self._exists = True

    def _results(self, sent: Sequence[Sent]) -> Sequence[Mapping[str, Any]]:
        """The results of a transaction. The SDK reads them as a stream, after the exchange of the Session."""
        try:
            with Exchange(LONGEST_CALL):
                return self._client.submit_transaction(sent, retry_on_methods=_REPEATED)
        except ReadTimeout as error:
            raise ServiceResponseTimeoutError(error) from error

    def _without_missing(self, partition: str, operations: Sequence[Operation]) -> list[Operation]:
        """The operations without Deletes of missing rows: for one of these, the service refuses the
        transaction.
        """
        missing = {
            operation.row
            for operation in operations
            if isinstance(operation, Delete) and not operation.version
        }
        rows = sorted(missing)
        for begin in range(0, len(rows), _ROWS_OF_FILTER):
            names = {f"row{number}": row for number, row in enumerate(rows[begin : begin + _ROWS_OF_FILTER])}
            any_row = " or ".join(f"RowKey eq @{name}" for name in names)
            query = f"PartitionKey eq @partition and ( {any_row} )"  # the SDK finds names between spaces
            entities = self._query(query, {"partition": partition, **names}, select="RowKey")
            missing -= {entity["RowKey"] for entity in entities}
        if not missing:
            raise Conflict("a row that was to be changed is gone") from None
        return [operation for operation in operations if operation.row not in missing]


def _sent(partition: str, operation: Operation) -> Sent:
    keys = {"PartitionKey": partition, "RowKey": operation.row}
    match operation:
        case Insert(values=values):
            return "create", _typed(values) | keys, {}
        case Put(values=values):
            return "upsert", _typed(values) | keys, {"mode": UpdateMode.REPLACE}
        case Replace(values=values, version=version):
            return "update", _typed(values) | keys, {"mode": UpdateMode.REPLACE, **_unmodified(version)}
        case Delete(version=version):
            return "delete", keys, _unmodified(version) if version else {}


def _unmodified(version: str) -> Mapping[str, Any]:
    return {"etag": version, "match_condition": MatchConditions.IfNotModified}


def _typed(values: Mapping[str, Value]) -> dict[str, Any]:
    return {
        name: EntityProperty(value, EdmType.INT64)
        if isinstance(value, int) and value not in _INT32
        else value
        for name, value in values.items()
    }


def _entity(partition: str, entity: TableEntity) -> Entity:
    values = {
        name: value.value if isinstance(value, EntityProperty) else value
        for name, value in entity.items()
        if name not in ("PartitionKey", "RowKey")
    }
    row, version = entity["RowKey"], entity.metadata["etag"]
    if not isinstance(row, str) or not isinstance(version, str):
        raise TypeError("a row has no key or no version")
    if not all(isinstance(value, Value) for value in values.values()):
        raise TypeError("a property has a type that this job does not write")
    return Entity(row, version, values, entity.metadata["timestamp"], partition)


@contextmanager
def _errors(client: TableClient) -> Iterator[None]:
    """Turns the SDK's errors into this project's. A response of the wrong shape raises any of the built-in
    errors, in the SDK or in this module.
    """
    try:
        yield
    except (AzureError, *MALFORMED_RESPONSE, LookupError, TypeError, AttributeError) as error:
        status, code = getattr(error, "status_code", None), _code(error)
        host = urlsplit(client.url).netloc
        answer = f"{status} {code}".strip() if status else type(error).__name__
        # Without an error code, a proxy may have responded: no row has changed.
        if status in (409, 412) and code and code != "TableBeingDeleted":
            raise Conflict(f"another process changed a row ({answer})") from None
        # The table service names a code, and refuses with a status.
        if isinstance(error, ClientAuthenticationError) and not code and not status:
            raise ConfigurationError(
                f"cannot sign in to {host}: the account key in the connection string is damaged"
            ) from None
        if status in (401, 403):
            reason = _refusal(client, code)
            raise ConfigurationError(f"{host} refuses access ({answer}): {reason}") from None
        if not isinstance(error, AzureError) or isinstance(error, DecodeError):
            raise ServiceError(
                f"the table service {host} sent a response that this job cannot read "
                f"({type(error).__name__}); a proxy may have responded"
            ) from None
        has_answer = not isinstance(error, ServiceRequestError | ServiceResponseError)
        raise (ServiceError if has_answer else Unreachable)(
            f"the table service {host} failed ({answer})"
        ) from None


def _refusal(client: TableClient, code: str) -> str:
    """Why access was refused, by the error code and the kind of credential."""
    if not code:
        return "the response has no error code of the table service; a proxy or firewall may have refused"
    if isinstance(client.credential, AzureNamedKeyCredential):
        return _KEY_REFUSALS.get(code, "the error code names the reason")
    if isinstance(client.credential, TokenCredential):
        return (
            "the identity needs the role Storage Table Data Contributor on the account (a new role takes up "
            "to an hour), and the account must allow this network"
        )
    return "the shared access signature has expired or lacks a permission"


def _code(error: Exception) -> str:
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))
