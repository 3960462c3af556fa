"""Fixtures that several modules share: one Azurite serves them all."""

from tests.azurite import azure_table, azurite, azurite_over_tls

__all__ = ["azure_table", "azurite", "azurite_over_tls"]
