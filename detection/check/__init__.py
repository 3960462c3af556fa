"""Whether everything is in place for the job to do its work: asked one by one, each with what to do where it is not.

`python -m detection check` runs all of it (checks.py), the function `health` the quick part (health.py). Judging is pure
(evaluation.py, questions.py); what asks the services is beside it, a file for each.
"""
