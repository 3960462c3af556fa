"""Microsoft's KQL parser, for the tests."""
