"""The parts of the stage: made once for all scenarios that a process plays."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.stage import RULE, Stage, staged
from tests.chaos.table_proxy import TableProxy, proxying
from tests.chaos.world import write_logs
from tests.support.azurite import connection_string, running
from tests.support.identity_endpoint import IdentityEndpoint, identity_endpoint
from tests.support.query_api import QueryApi, query_api, tables_of
from tests.support.receiver import receiving


@pytest.fixture(scope="session")
def azurite_port() -> Iterator[int]:
    with running() as port:
        yield port


@pytest.fixture(scope="session")
def proxy(azurite_port: int) -> Iterator[TableProxy]:
    with proxying(azurite_port) as table_proxy:
        yield table_proxy


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryApi]:
    folder = tmp_path_factory.mktemp("logs")
    write_logs(folder)
    with tables_of(folder, RULE.tables) as tables, query_api(tables) as log_api:
        yield log_api


@pytest.fixture
def identity() -> Iterator[IdentityEndpoint]:
    with identity_endpoint() as double:
        yield double


@pytest.fixture
def stage(
    proxy: TableProxy, api: QueryApi, identity: IdentityEndpoint, azurite_port: int, tmp_path: Path
) -> Iterator[Stage]:
    connection = connection_string(azurite_port)
    with (
        receiving() as receiver,
        staged(proxy, api, identity, receiver, tmp_path, connection) as new_stage,
    ):
        yield new_stage
