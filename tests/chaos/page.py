"""The tables in docs/reliability.md that are made from the models of tests/chaos."""

from collections.abc import Callable, Mapping

from tests.chaos import peers, published

TABLES: Mapping[str, Callable[[], str]] = {"deliveries": peers.table, "published": published.table}
