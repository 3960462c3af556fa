"""Incidents: grouped (pure), remembered (the index), kept (the port Table)."""
