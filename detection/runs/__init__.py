"""One run, its record, and runs over the past."""
