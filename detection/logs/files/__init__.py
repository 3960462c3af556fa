"""The source at the keyboard: exported logs in a folder, read by DuckDB."""
