"""Rule tests as data: run the cases in a rule folder's `tests/` through the rule's KQL. Not deployed.

cases.py reads the test files, objects.py turns API objects into log rows, isolated_runs.py queries the rows
of all cases together, compare.py compares results with expectations, and suite.py combines these steps.
"""
