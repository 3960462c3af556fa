"""Reading the logs: windows, KQL, events and their actors, coverage."""
