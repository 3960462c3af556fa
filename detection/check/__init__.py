"""Checks that the job can do its work: each finding says how it went and how to fix it.

`python -m detection check` runs every check (checks.py), the function `health` the quick ones (health.py).
evaluation.py and questions.py decide and phrase; the other modules ask the services.
"""
