"""Rule tests as data: the cases in a rule folder's `tests/`, run through the rule's own KQL. For the keyboard, not deployed.

objects.py   objects of a vendor's API → the rows that its connector writes
cases.py     a test file → cases
isolated_runs.py   what many runs of many cases read, in a few queries
compare.py   what came of a case, beside what was expected
suite.py     the line: files → cases → rows → readings → outcomes
junit.py     outcomes → the XML that build servers read
"""
