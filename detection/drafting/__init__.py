"""Draft a rule folder from a published Sentinel rule that joins two sources. Not deployed.

query.py reads the query with pieces.py, connector.py finds or guesses the sources' tables, side.py drafts
each side of the join, fields.py converts the other fields, and draft.py combines these into files.
"""
