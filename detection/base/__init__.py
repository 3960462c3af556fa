"""Errors, time and JSON for every other folder. No domain knowledge."""
