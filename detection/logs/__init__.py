"""What a run reads: windows, the KQL, events and their actors, coverage."""
