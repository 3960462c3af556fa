"""The messages of alerts: one function for each format."""
