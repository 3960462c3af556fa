"""Incidents: grouped , remembered (the index), kept (the port Table)."""
